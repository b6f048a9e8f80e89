"""A gate that knows a few users and databases, and a frontend that runs in a thread of its own.

Tests talk to it over real sockets and look at what was handed over, logged and counted.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pgpool_py.frontend.addresses import open_tcp
from pgpool_py.frontend.errors import LoginRefused
from pgpool_py.frontend.gate import ClientLogin, Credentials, Database, LoginRules, Peer, Welcome
from pgpool_py.frontend.limits import ClientCounts
from pgpool_py.frontend.listener import Listener
from pgpool_py.frontend.slowdown import Slowdown
from pgpool_py.frontend.startup import StartupRequest
from pgwire import NEED_DATA, Message, ServerSide, StartupMessage

SECONDS = 10.0  # how long a test waits for what must come
Result = TypeVar("Result")

PARAMETERS = {b"server_version": b"18.1", b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}


@dataclass
class FakeDatabase:
    name: str
    forced_user: str | None = None
    disabled: bool = False
    is_console: bool = False
    max_client_connections: int = 0


@dataclass
class FakeGate:
    rules: LoginRules = field(default_factory=LoginRules)
    counts: ClientCounts = field(default_factory=ClientCounts)
    slowdown: Slowdown = field(default_factory=Slowdown)
    databases: dict[str, FakeDatabase] = field(default_factory=lambda: {"app": FakeDatabase("app")})
    secrets: dict[str, list[str]] = field(default_factory=dict)
    user_limits: dict[str, int] = field(default_factory=dict)
    own_uid: int | None = None
    not_admitted: LoginRefused | None = None
    no_welcome: Exception | None = None
    hold_welcome: bool = False
    notice: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    failures: queue.Queue[tuple[str, str, str]] = field(default_factory=queue.Queue)
    cancels: list[tuple[int, bytes]] = field(default_factory=list)
    cancel_gate: threading.Event | None = None
    requests: list[StartupRequest] = field(default_factory=list)

    def find_database(self, name: str) -> Database | None:
        return self.databases.get(name)

    def startup_rules(self, database: str, user: str) -> LoginRules:
        return self.rules

    def admit(self, request: StartupRequest, peer: Peer) -> None:
        self.requests.append(request)
        if self.not_admitted:
            raise self.not_admitted

    async def secrets_of(self, user: str, database: Database | None) -> Sequence[str] | None:
        return self.secrets.get(user)

    def is_own_user(self, user: str, peer: Peer) -> bool:
        return user == "pgbouncer" and peer.uid == self.own_uid

    def max_client_connections_of(self, user: str) -> int:
        return self.user_limits.get(user, 0)

    async def welcome(
        self, request: StartupRequest, database: Database, credentials: Credentials, peer: Peer
    ) -> Welcome:
        if self.no_welcome:
            raise self.no_welcome
        if self.hold_welcome:
            await asyncio.get_running_loop().create_future()
        return Welcome(PARAMETERS, pool=("pool of", database.name), notice=self.notice)

    def new_key(self, length: int) -> tuple[int, bytes]:
        return 4711, bytes(range(length))

    async def cancel(self, pid: int, secret: bytes, peer: Peer) -> None:
        self.cancels.append((pid, secret))
        if self.cancel_gate:
            await asyncio.to_thread(self.cancel_gate.wait, SECONDS)

    def log(self, who: str, text: str) -> None:
        self.lines.append((who, text))

    def log_failure(self, who: str, reason: str, age: float, explanation: str, *, told: bool) -> None:
        assert age >= 0
        self.failures.put((who, reason, explanation))

    def next_failure(self) -> tuple[str, str, str]:
        """Who, reason and explanation of the next failure; there must be one."""
        return self.failures.get(timeout=SECONDS)


class Frontend:
    """A listener in its own loop and thread. Clients that got in are in .clients."""

    def __init__(
        self,
        gate: FakeGate,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        sockets: list[socket.socket] | None = None,
    ) -> None:
        self.gate = gate
        self.clients: queue.Queue[ClientLogin] = queue.Queue()
        self.kept: list[ClientLogin] = []
        self.loop = new_loop()
        self.sockets = sockets or open_tcp(["127.0.0.1"], 0)
        self.port: int = self.sockets[0].getsockname()[1] if sockets is None else 0
        self.listener = Listener(self.sockets, gate, self.clients.put)
        self.thread = threading.Thread(target=self.loop.run_forever, name="frontend")

    def __enter__(self) -> Frontend:
        self.thread.start()
        self.call(self.listener.start)
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self.listener.close)
        self.run(self.listener.end_logins())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.loop.close()
        while not self.clients.empty():
            self.kept.append(self.clients.get())
        for client in self.kept:
            client.sock.close()

    def call(self, function: Callable[[], Result]) -> Result:
        """Call *function* in the frontend's thread."""

        async def caller() -> Result:
            return function()

        return self.run(caller())

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)

    def next_client(self) -> ClientLogin:
        """The next client handed over; there must be one."""
        client = self.clients.get(timeout=SECONDS)
        self.kept.append(client)
        return client

    def connect(self) -> RawClient:
        return RawClient(socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS))


class RawClient:
    """A client that says what it is told to say. Its protocol machine only reads what the pooler answers."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.side = ServerSide()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, message: object) -> None:
        """A message that is right at this moment."""
        self.sock.sendall(self.side.send(message))  # type: ignore[arg-type]

    def startup(self, user: str = "ann", database: str = "app", **parameters: str) -> None:
        self.send(StartupMessage({"user": user, "database": database, **parameters}))

    def event(self) -> object:
        """What the pooler says next; None at the end."""
        while (event := self.side.next_event()) is NEED_DATA:
            data = self.sock.recv(8192)
            if not data:
                return None
            self.side.receive(data)
        return event

    def events(self, until: type[Message]) -> list[object]:
        """All the pooler says up to and with a message of that class."""
        found = [self.event()]
        while not isinstance(found[-1], until):
            assert found[-1] is not None, f"the pooler closed after {found[:-1]}"
            found.append(self.event())
        return found

    def at_end(self) -> bool:
        """Whether the pooler closes now and says nothing more."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
