"""Reading, writing and shaking hands on a non-blocking socket, plain or TLS, for the length of a login.

asyncio's own socket calls refuse TLS sockets, and its transports read ahead, so a connection could not be handed over. Here
nothing is read ahead: after each call the socket is registered nowhere, and nothing is left in the SSL object, because a read is
never given less room than a record needs.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from .context import explain

RECORD = 16384
Result = TypeVar("Result")


class HandshakeFailed(Exception):
    """The two could not agree; the text says what about."""


async def receive(sock: socket.socket, size: int) -> bytes:
    """What the peer sends next; empty at the end."""
    if isinstance(sock, ssl.SSLSocket):
        return await _repeat(sock, lambda: sock.recv(max(size, RECORD)))
    return await asyncio.get_running_loop().sock_recv(sock, size)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send *data*."""
    if not isinstance(sock, ssl.SSLSocket):
        await asyncio.get_running_loop().sock_sendall(sock, data)
        return
    while data:
        data = data[await _repeat(sock, lambda part=data: sock.send(part)) :]  # type: ignore[misc]


async def first_byte(sock: socket.socket) -> bytes:
    """The first byte that waits in a plain socket, which stays there; empty at the end."""
    while True:
        try:
            return sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await _ready(sock, writing=False)


async def shake_hands(
    sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
) -> ssl.SSLSocket:
    """The TLS socket that *sock* has become, which it no longer is; HandshakeFailed when they cannot agree.

    On any failure everything is closed.
    """
    try:
        encrypted = context.wrap_socket(
            sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=server_hostname
        )
    except (OSError, ValueError) as error:  # gone already, or a host name that cannot be one
        sock.close()
        raise HandshakeFailed(explain(error)) from None
    try:
        await _repeat(encrypted, encrypted.do_handshake)
    except (OSError, ValueError) as error:
        close(encrypted)
        raise HandshakeFailed(explain(error)) from None
    except BaseException:
        close(encrypted)
        raise
    return encrypted


def say_goodbye(sock: socket.socket) -> None:
    """Tell a TLS peer that nothing more comes, as far as the socket takes it; the socket is a plain one then."""
    if isinstance(sock, ssl.SSLSocket):
        try:
            sock.unwrap()
        except (OSError, ValueError):
            pass  # the peer's own goodbye is not awaited


def forget(sock: socket.socket) -> None:
    """Take the socket out of the loop, whatever was waited for."""
    if sock.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())


def close(sock: socket.socket) -> None:
    """Forget and close it."""
    forget(sock)
    say_goodbye(sock)
    sock.close()


async def _repeat(sock: socket.socket, call: Callable[[], Result]) -> Result:
    """Call until TLS wants nothing more of the socket; either direction may want the other."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            await _ready(sock, writing=False)
        except ssl.SSLWantWriteError:
            await _ready(sock, writing=True)


# Who waits for a socket, by descriptor. A tunnel reads and writes at once, and a read may want to write: then two wait for the
# same, and the loop takes one callback only.
_readers: dict[int, asyncio.Event] = {}
_writers: dict[int, asyncio.Event] = {}


async def _ready(sock: socket.socket, *, writing: bool) -> None:
    """Return when the socket may be ready; whoever waits tries again and sees."""
    loop = asyncio.get_running_loop()
    fd = sock.fileno()
    waiting = _writers if writing else _readers
    if (event := waiting.get(fd)) is not None:
        await event.wait()
        return
    event = waiting[fd] = asyncio.Event()
    (loop.add_writer if writing else loop.add_reader)(fd, event.set)
    try:
        await event.wait()
    finally:
        del waiting[fd]
        (loop.remove_writer if writing else loop.remove_reader)(fd)
        event.set()
