"""Carries a cancel request to a server.

Knows the rule that makes it safe: PostgreSQL closes the connection of a cancel request only after it has
signalled the backend, so whoever waits for that close may hand the server on. It is encrypted where the
connection to the server is. Whose request it is, is
decided by the caller.
"""

from __future__ import annotations

import asyncio

from pgpool_py.tls import stream
from pgwire import CancelRequest, PeerViolation, ServerSide

from ..conversation import Conversation
from ..sockets import SocketOptions
from .connect import open_socket
from .encryption import shake_hands
from .errors import CONNECTION_FAILURE, ServerConnectError, why
from .target import ServerAddress


async def cancel_server(
    address: ServerAddress, pid: int, key: bytes, timeout: float | None, options: SocketOptions | None = None
) -> None:
    """Return when the server has taken the cancel request; ServerConnectError when that is not certain.

    A server that gave no key cannot be cancelled: then too the caller must not count on it.
    """
    if not key:
        raise ServerConnectError(CONNECTION_FAILURE, "the server gave no cancel key", "cancel failed")
    try:
        async with asyncio.timeout(timeout or None):
            await _send(address, CancelRequest(pid, key), options or SocketOptions())
    except TimeoutError:
        raise ServerConnectError(CONNECTION_FAILURE, "cancel_wait_timeout", "cancel_wait_timeout") from None


async def _send(address: ServerAddress, request: CancelRequest, options: SocketOptions) -> None:
    talk = Conversation(await open_socket(address, options), ServerSide())
    try:
        if address.tls is not None and not await shake_hands(talk, address.tls):
            # The server had TLS for its own connection: whoever says "no" now is not to see the key.
            raise ServerConnectError(CONNECTION_FAILURE, "server refused SSL for a cancel request", "cancel failed")
        talk.add(talk.side.send(request))
        await talk.flush()
        # Nothing is ever answered; a server that says something is read to its end all the same.
        while await stream.receive(talk.sock, 4096):
            pass
    except PeerViolation as violation:
        raise ServerConnectError(CONNECTION_FAILURE, f"cancel request failed: {violation.message}", "cancel failed") from None
    except OSError as error:  # a reset too: PostgreSQL closes properly, so who knows what that was
        raise ServerConnectError(
            CONNECTION_FAILURE, f"cancel request failed: {why(error)}", "cancel failed"
        ) from None
    finally:
        talk.close()
