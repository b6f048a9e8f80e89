"""Accepts clients and starts a login for each of them.

Knows listening sockets and login tasks. Does not know what is said during a login (login.py), and forgets a
client at the hand-over: after it no task, timer or closure of the control plane refers to it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..sockets import SocketOptions
from .gate import ClientLogin, Gate, Peer
from .login import serve_login

ACCEPTS_AT_ONCE = 64  # per wake-up and listening socket: a storm of clients must not starve the loop
PAUSE_SECONDS = 1.0  # after accept() ran out of descriptors or memory

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UCRED = struct.Struct("3i")  # pid, uid, gid


@dataclass(frozen=True, slots=True)
class Attempt:
    """A client that is logging in, as far as the listener knows it."""

    number: int
    fd: int
    peer: Peer
    connect_time: float  # time.time()


class Listener:
    """Feeds the clients of some listening sockets, logged in, to *hand_over*.

    *hand_over* owns the client's socket from its call on, whatever happens in it.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        gate: Gate,
        hand_over: Callable[[ClientLogin], None],
        options: SocketOptions | None = None,
    ) -> None:
        self.sockets = list(sockets)
        self.options = options or SocketOptions()  # replaced by a reload
        self._gate = gate
        self._hand_over = hand_over
        self._numbers = itertools.count(1)
        self._logins: set[asyncio.Task[None]] = set()
        self.attempts: dict[int, Attempt] = {}  # by number: who is between accept and hand-over
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Listener {len(self.sockets)} sockets, {len(self._logins)} logins>"

    @property
    def logins(self) -> int:
        """How many clients are between accept and hand-over."""
        return len(self._logins)

    def start(self) -> None:
        """Accept from now on, in the running loop."""
        loop = asyncio.get_running_loop()
        for listening in self.sockets:
            loop.add_reader(listening, self._accept, loop, listening)

    def close(self, listening: socket.socket | None = None) -> None:
        """Stop accepting on *listening* or on all; logins under way go on."""
        loop = asyncio.get_running_loop()
        for each in [listening] if listening is not None else list(self.sockets):
            loop.remove_reader(each)
            if pause := self._pauses.pop(each, None):
                pause.cancel()
            self.sockets.remove(each)
            each.close()

    def next_number(self) -> int:
        """The number of a client that comes another way than by accept()."""
        return next(self._numbers)

    def close_tcp(self) -> None:
        """Stop accepting where clients of other machines come in. Whoever has connected already is taken: with so_reuseport
        its connection is this socket's, and closing would reset it though another process listens."""
        loop = asyncio.get_running_loop()
        for each in list(self.sockets):
            if each.family != socket.AF_UNIX:
                while each not in self._pauses and self._accept(loop, each):
                    pass
                self.close(each)

    async def end_logins(self) -> None:
        """Break off the logins under way; their clients are told that the pooler stops."""
        logins = list(self._logins)
        for login in logins:
            login.cancel()
        await asyncio.gather(*logins, return_exceptions=True)

    def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> bool:
        """Take some clients; whether there may be more."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause(loop, listening, error)
                    return False
                continue  # the client was gone before it was accepted
            sock.setblocking(False)
            self._begin(loop, sock, address, listening)
        return True

    def _begin(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, address: object, listening: socket.socket
    ) -> None:
        try:
            self.options.apply(sock)
            peer = peer_of(sock, address, listening)
        except OSError:
            sock.close()  # gone already
            return
        task = loop.create_task(self._login(next(self._numbers), sock, peer))
        self._logins.add(task)
        task.add_done_callback(self._logins.discard)

    async def _login(self, number: int, sock: socket.socket, peer: Peer) -> None:
        self.attempts[number] = Attempt(number, sock.fileno(), peer, time.time())
        try:
            login = await serve_login(sock, peer, self._gate, number)
        finally:
            del self.attempts[number]
        if login is not None:
            self._hand_over(login)  # nothing of this coroutine outlives the call

    def _pause(self, loop: asyncio.AbstractEventLoop, listening: socket.socket, error: OSError) -> None:
        """Look away for a while: the socket stays readable and would spin the loop."""
        self._gate.log("", f"accept() failed: {error.strerror}, trying again in {PAUSE_SECONDS:g} s")
        loop.remove_reader(listening)
        self._pauses[listening] = loop.call_later(PAUSE_SECONDS, self._resume, loop, listening)

    def _resume(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        del self._pauses[listening]
        loop.add_reader(listening, self._accept, loop, listening)


def peer_of(sock: socket.socket, address: object, listening: socket.socket) -> Peer:
    """Who is at the other end of *sock*, as accept() told us."""
    if sock.family == socket.AF_UNIX:
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Peer("unix", _port_in_name(listening), pid=pid, uid=uid)
    assert isinstance(address, tuple)
    return Peer(sys.intern(address[0].removeprefix("::ffff:")), address[1])


def _port_in_name(listening: socket.socket) -> int:
    name = listening.getsockname()
    last = (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).rpartition(".")[2]
    return int(last) if last.isdecimal() else 0
