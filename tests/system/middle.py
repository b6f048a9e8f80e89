"""A man in the middle: a real PostgreSQL whose answers are replaced where a story says so.

What no real server says, said by one that is real in everything else: so it is seen what becomes of the session, of those who
wait for its server, and of the process.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

from tests.fixtures.between import Between, Pump
from tests.system import wire
from tests.system.rawclient import Address


class Middle(Between):
    """Between a pooler and PostgreSQL; `answers` has, by a piece of what is asked, what is said instead of asking, once;
    `questions` what is asked instead, `stalls` what must happen before it is asked."""

    def __init__(self, server: Address) -> None:
        super().__init__((server.host, server.port))
        self.address = Address(self.host, self.port)
        self.answers: dict[bytes, bytes] = {}
        self.stalls: dict[bytes, threading.Event] = {}
        self.questions: dict[bytes, bytes] = {}
        # What becomes of a message of the server's login; by default nothing.
        self.login: Callable[[wire.Message], bytes] = whole
        self.asked: list[bytes] = []  # the bodies of all messages to servers, after their logins

    def pumps(self, client: socket.socket, server: socket.socket) -> Iterator[Pump]:
        quiet = Quiet()
        yield partial(self._questions, client, server, quiet)
        yield partial(self._answers, client, server, quiet)

    def _questions(self, client: socket.socket, server: socket.socket, quiet: Quiet) -> None:
        """From the pooler to the server, message by message."""
        buffer = bytearray()
        started = False
        try:
            while data := client.recv(65536):
                buffer += data
                if not started and len(buffer) >= 8 and len(buffer) >= (size := int.from_bytes(buffer[:4], "big")):
                    server.sendall(buffer[:size])
                    del buffer[:size]
                    started = True
                for message in wire.split(buffer) if started else ():
                    self.asked.append(message.body)
                    for stall in [event for piece, event in self.stalls.items() if piece in message.body]:
                        stall.wait(10)
                    asked = next((piece for piece in self.answers if piece in message.body), None)
                    if asked is None:
                        quiet.asked(message)
                        other = next((piece for piece in self.questions if piece in message.body), None)
                        server.sendall(whole(message) if other is None else self.questions.pop(other))
                    else:
                        quiet.wait()  # a server answers one after the other, whatever it says
                        client.sendall(self.answers.pop(asked))
        except OSError:
            pass
        _end(server)

    def _answers(self, client: socket.socket, server: socket.socket, quiet: Quiet) -> None:
        """From the server to the pooler, message by message."""
        buffer = bytearray()
        ready = False
        try:
            while data := server.recv(65536):
                buffer += data
                answers = []
                for message in wire.split(buffer):
                    answers.append(whole(message) if ready else self.login(message))
                    ready = ready or message.kind == "Z"
                client.sendall(b"".join(answers))
                quiet.answered(answers)
        except OSError:
            pass
        _end(client)


class Quiet:
    """Whether a server has answered everything that was asked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owed = 0

    def asked(self, message: wire.Message) -> None:
        if message.kind in "QSF":
            with self._changed:
                self._owed += 1

    def answered(self, answers: list[bytes]) -> None:
        with self._changed:
            self._owed = max(0, self._owed - sum(answer[:1] == b"Z" for answer in answers))
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._owed, 10)


def whole(message: wire.Message) -> bytes:
    """The message as it came."""
    return wire.raw(message.kind.encode("latin-1"), message.body)


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
