"""Opens a connection to a server and logs in.

Knows addresses and time limits. What is said on the connection is login.py's; who wants the connection, and
what happens when there is none, is the pool's.
"""

from __future__ import annotations

import asyncio
import socket

from ..sockets import SocketOptions
from .errors import CONNECTION_FAILURE, ServerConnectError, connect_failed, why
from .hosts import Names, resolve
from .login import log_in
from .target import ServerAddress, ServerLogin, ServerTarget

UNIX_RETRY_SECONDS = 0.01


async def connect_server(target: ServerTarget, timeout: float | None, names: Names | None = None) -> ServerLogin:
    """A server that is ready for queries, or ServerConnectError within *timeout* (server_connect_timeout)."""
    stage = "look-up"
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout or None):
            addresses = await (names.resolve if names else resolve)(target.host, target.port)
            stage = "connect"
            sock, address = await _connect_any(addresses, target.options, timeout)
            stage = "login"
            login = await log_in(sock, address, target)
            sock = None
            return login
    except TimeoutError:
        raise ServerConnectError(
            CONNECTION_FAILURE, f"connect timeout: {target} ({stage})", "connect timeout"
        ) from None
    finally:
        if sock is not None:
            sock.close()


async def _connect_any(
    addresses: list[ServerAddress], options: SocketOptions, timeout: float | None
) -> tuple[socket.socket, ServerAddress]:
    """The first address that answers. Each but the last gets only its share of the time."""
    share = timeout / len(addresses) if timeout else None
    failure: ServerConnectError | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(share if address is not addresses[-1] else None):
                return await open_socket(address, options), address
        except TimeoutError:
            failure = connect_failed(str(address), "timeout")
        except ServerConnectError as error:
            failure = error
    assert failure is not None
    raise failure


async def open_socket(address: ServerAddress, options: SocketOptions) -> socket.socket:
    """A non-blocking socket connected to *address*."""
    loop = asyncio.get_running_loop()
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise connect_failed(str(address), why(error)) from None
    try:
        options.apply(sock)
        await _connect(loop, sock, address)
    except OSError as error:
        _forget(loop, sock)
        raise connect_failed(str(address), why(error)) from None
    except BaseException:
        _forget(loop, sock)
        raise
    return sock


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, address: ServerAddress) -> None:
    if address.family != socket.AF_UNIX:
        await loop.sock_connect(sock, address.sockaddr)
        return
    while True:
        try:
            return sock.connect(address.sockaddr)
        except BlockingIOError:
            # The server's backlog is full. Nothing was begun, and no event will tell when there is room.
            await asyncio.sleep(UNIX_RETRY_SECONDS)


def _forget(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    loop.remove_reader(sock)
    loop.remove_writer(sock)
    sock.close()
