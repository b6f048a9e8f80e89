"""A client that speaks bytes: one blocking socket, a few verbs, and every way of going away.

It knows the order of a trust (or clear text) login and how to wait for a reply; what a reply should be is the
story's.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple

from tests.system import wire
from tests.system.wire import Message

TIMEOUT = 10.0


class Address(NamedTuple):
    """Where a PostgreSQL or a pooler listens."""

    host: str
    port: int


class ServerError(Exception):
    """An ErrorResponse where the story expected none."""

    def __init__(self, message: Message) -> None:
        super().__init__(repr(message))
        self.message = message
        self.sqlstate = message.sqlstate


class RawClient:
    """A logged-in client over a raw socket."""

    def __init__(
        self,
        address: Address,
        database: str,
        user: str,
        *,
        login: bool = True,
        password: str | None = None,
        timeout: float = TIMEOUT,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self.sock = socket.create_connection(address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.startup = {"user": user, "database": database, **(parameters or {})}
        self.password = password
        self.parameters: dict[str, str] = {}
        self.notifications: list[bytes] = []
        self.pid, self.secret = 0, b""
        self._buffer = bytearray()
        if login:
            try:
                self.log_in()
            except BaseException:
                self.sock.close()
                raise

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()

    def __del__(self) -> None:
        if hasattr(self, "sock"):
            self.sock.close()  # a story that failed midway leaves no descriptor behind

    # Login

    def log_in(self) -> None:
        """Send the StartupMessage and read up to the first ReadyForQuery."""
        self.send(wire.startup(self.startup))
        while (message := self.receive()).kind != "Z":
            if message.kind == "E":
                raise ServerError(message)
            if message.kind == "R" and message.body == struct.pack("!I", 3):
                self.send(wire.raw(b"p", wire.text(self.password or "")))
            elif message.kind == "K":
                self.pid, self.secret = struct.unpack("!I", message.body[:4])[0], message.body[4:]

    # The two directions

    def send(self, *messages: bytes) -> None:
        self.sock.sendall(b"".join(messages))

    def receive(self) -> Message:
        """The next message; EOFError when the other side has closed."""
        while True:
            for message in wire.split(self._buffer):
                if message.kind == "S":
                    name, value = message.body.split(b"\0")[:2]
                    self.parameters[name.decode()] = value.decode(errors="replace")
                elif message.kind == "A":
                    self.notifications.append(message.body)
                return message
            data = self.sock.recv(262144)
            if not data:
                raise EOFError("the other side closed the connection")
            self._buffer += data

    def messages(self) -> Iterator[Message]:
        """Every message until the other side closes."""
        try:
            while True:
                yield self.receive()
        except (EOFError, ConnectionResetError):
            return

    def until(self, kind: str, count: int = 1) -> list[Message]:
        """Messages up to and including the *count*-th of *kind*."""
        seen: list[Message] = []
        while count:
            seen.append(self.receive())
            count -= seen[-1].kind == kind
        return seen

    def rest(self) -> list[Message]:
        """Messages up to the next ReadyForQuery, or to the end of the connection where none comes."""
        seen: list[Message] = []
        for message in self.messages():
            seen.append(message)
            if message.kind == "Z":
                break
        return seen

    def exchange(self, *messages: bytes, ready: int = 1) -> list[Message]:
        """Send, then read up to the *ready*-th ReadyForQuery; ParameterStatus left out."""
        self.send(*messages)
        return [message for message in self.until("Z", ready) if message.kind not in "SNA"]

    def query(self, sql: str | bytes) -> list[Message]:
        """The reply to a simple Query, whatever it is."""
        return self.exchange(wire.query(sql))

    def ask(self, sql: str | bytes) -> str | None:
        """The one value of a query that must succeed."""
        reply = self.query(sql)
        for message in reply:
            if message.kind == "E":
                raise ServerError(message)
        value = wire.values(reply)[0]
        return None if value is None else value.decode()

    def refused(self) -> Message:
        """The ErrorResponse that ends this connection; the connection must be closed after it."""
        seen = list(self.messages())
        found = [message for message in seen if message.kind == "E"]
        assert len(found) == 1, f"expected one ErrorResponse and the end, got {seen}"
        return found[0]

    # Cancel

    def cancel(self, wait: bool = True) -> None:
        """Send a CancelRequest for this client on a connection of its own."""
        with self.canceling(wait):
            pass

    @contextmanager
    def canceling(self, wait: bool = True) -> Iterator[socket.socket]:
        """A CancelRequest for this client, on a connection of its own, until it is answered: that one is closed."""
        with socket.create_connection(self.address, timeout=TIMEOUT) as sock:
            sock.sendall(wire.cancel_request(self.pid, self.secret))
            yield sock
            if wait:
                try:
                    sock.recv(1)
                except ConnectionResetError:
                    pass

    # Ways of going away

    def leave(self) -> None:
        """Terminate and close, as libpq does."""
        try:
            self.send(wire.terminate())
        except OSError:
            pass
        self.sock.close()

    def vanish(self) -> None:
        """Close without a Terminate: the other side sees FIN."""
        self.sock.close()

    def reset(self) -> None:
        """Close so that the other side sees RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """Say that nothing more will come, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)


WAYS_OUT = {"Terminate": RawClient.leave, "FIN": RawClient.vanish, "RST": RawClient.reset}
