"""A non-blocking socket and the protocol machine that speaks over it, for as long as a login lasts.

Moves bytes between the two, and nothing more: it knows neither what is said nor what an error means. After
the last await the socket is registered nowhere, and what was received but not consumed is in
side.leftover(). The socket may become a TLS one on the way (`encrypt`).
"""

from __future__ import annotations

import socket
import ssl
from typing import Generic, Protocol, TypeVar

from pgpool_py.tls import stream
from pgwire import NEED_DATA

RECEIVE_BYTES = 8192  # more than a login message usually has; nothing is read ahead of need


class Side(Protocol):
    """pgwire.ClientSide or pgwire.ServerSide."""

    def receive(self, data: bytes) -> None: ...
    def next_event(self) -> object: ...
    def leftover(self) -> bytes: ...


AnySide = TypeVar("AnySide", bound=Side)


class PeerClosed(ConnectionError):
    """The peer closed its end in the middle of a login."""


class Conversation(Generic[AnySide]):
    """One login's dialogue. What add() collects leaves in one write, before the next wait for the peer."""

    __slots__ = ("_unsent", "side", "sock")

    def __init__(self, sock: socket.socket, side: AnySide) -> None:
        self.sock = sock
        self.side = side
        self._unsent = bytearray()

    def add(self, wire: bytes) -> None:
        """Send *wire* with the next flush."""
        self._unsent += wire

    async def flush(self) -> None:
        """Send what was collected."""
        if self._unsent:
            wire = bytes(self._unsent)
            self._unsent.clear()
            await stream.send_all(self.sock, wire)

    async def next_event(self) -> object:
        """What the peer says next; sends what was collected first."""
        await self.flush()
        while (event := self.side.next_event()) is NEED_DATA:
            data = await stream.receive(self.sock, RECEIVE_BYTES)
            if not data:
                raise PeerClosed
            self.side.receive(data)
        return event

    async def encrypt(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None) -> ssl.SSLSocket:
        """Shake hands after sending what was collected; stream.HandshakeFailed when that fails, and all is closed."""
        await self.flush()
        encrypted = await stream.shake_hands(
            self.sock, context, server_side=server_side, server_hostname=server_hostname
        )
        self.sock = encrypted
        return encrypted

    def last_words(self, wire: bytes) -> None:
        """Send what was collected and *wire*, as far as the socket takes it without waiting."""
        with_rest = bytes(self._unsent) + wire
        self._unsent.clear()
        try:
            self.sock.send(with_rest)
            stream.say_goodbye(self.sock)
            self.sock.shutdown(socket.SHUT_WR)
            # Unread input would turn the close into a reset, and the peer might never see our words.
            for _ in range(8):
                if not self.sock.recv(RECEIVE_BYTES):
                    break
        except OSError:
            pass  # gone, or nothing to read

    def release(self) -> socket.socket:
        """The socket, registered nowhere in the loop."""
        stream.forget(self.sock)
        return self.sock

    def close(self) -> None:
        """Close the socket, whatever it has become."""
        stream.close(self.sock)
