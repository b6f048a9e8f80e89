"""A caller of the pools without sockets: fake clients, servers and clock, and verbs for what happens to them.

It does what the real caller does with the pool's answers, records it, and checks the books after each step.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.pool.actions import Action, CheckServer, CloseServer, FailClient, GiveUp, HandOver, Launch, LookAgain
from pgpool_py.pool.check import check_invariants, check_limit
from pgpool_py.pool.limits import Limit
from pgpool_py.pool.pool import Pool
from pgpool_py.pool.pools import Pools
from pgpool_py.pool.settings import PoolSettings
from pgpool_py.pool.states import ClientState, ServerState
from pgpool_py.seam import Member


class FakeClient(Member):
    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self.pool = pool
        self.ahead = self.behind = None
        self.state = ClientState.IDLE
        self.wait_start = 0.0
        self.last_server: Any = None
        self.server: FakeServer | None = None

    def __repr__(self) -> str:
        return self.name


class FakeServer(Member):
    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.ahead = self.behind = None
        self.state = ServerState.NEW
        self.pool: Any = None
        self.connect_time = now
        self.request_time = now
        self.close_needed = False

    def __repr__(self) -> str:
        return f"s{self.number}"


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.pools = Pools()
        self.clients: list[FakeClient] = []
        self.servers: list[FakeServer] = []  # every one that ever logged in
        self.connecting: list[tuple[Pool, float]] = []  # launched, in order
        self.reserve_launches = 0
        self.checking: list[FakeServer] = []
        self.closed: list[tuple[FakeServer, str]] = []
        self.failed: list[tuple[FakeClient, str]] = []
        self.looks: list[tuple[Pool, float]] = []  # at pools, that were asked for

    # things

    def pool(self, database: str = "app", user: str = "web", **settings: Any) -> Pool:
        return self.pools.get(database, user, PoolSettings(**settings))

    def client(self, pool: Pool, name: str = "") -> FakeClient:
        client = FakeClient(name or f"c{len(self.clients)}", pool)
        self.clients.append(client)
        pool.client_joined(client)
        return client

    def client_with_server(self, pool: Pool) -> FakeClient:
        """A new client that was given a server, logged in for it if need be."""
        client = self.client(pool)
        self.ask(client)
        while client.server is None:
            self.log_in()
        return client

    def idle_servers(self, pool: Pool, count: int) -> list[FakeServer]:
        """That many servers, handed back in this order."""
        clients = [self.client_with_server(pool) for _ in range(count)]
        servers = [client.server for client in clients if client.server is not None]
        for client in clients:
            self.finish(client)
            self.leave(client)
        return servers

    # what clients do

    def ask(self, client: FakeClient) -> None:
        server = client.pool.acquire(client, self.now)
        if server is None:
            self.do(client.pool.activate(self.now))
        else:
            self._link(client, server)
        self.check()

    def finish(self, client: FakeClient) -> FakeServer:
        """The client's transaction ended; its server is handed back."""
        server = client.server
        assert server is not None
        client.server = None
        client.state = ClientState.IDLE
        client.pool.unhold(server)
        if server.state is ServerState.PINNED:
            client.pool.unpin(server)
        self._handed_on(server, client.pool.release(server, self.now))
        return server

    def pin(self, client: FakeClient) -> bool:
        """What the client did leaves something that only its server has; False: no more servers can be kept."""
        assert client.server is not None
        if not client.pool.pin(client.server):
            return False
        self.do(client.pool.activate(self.now))
        self.check()
        return True

    def hold(self, client: FakeClient, spare: bool = False) -> None:
        """The client's transaction ended; it holds its server if it may."""
        assert client.server is not None
        if client.pool.hold(client.server, self.now, spare):
            self.do(client.pool.activate(self.now))
        else:
            self.finish(client)
        self.check()

    def leave(self, client: FakeClient) -> None:
        if client.server is not None:
            self.finish(client)
        client.pool.client_gone(client, self.now)
        self.clients.remove(client)
        self.check()

    # what servers do

    def log_in(self) -> FakeServer:
        """The connection launched first finishes its login."""
        pool, started = self.connecting.pop(0)
        server = FakeServer(len(self.servers), started)
        self.servers.append(server)
        self._handed_on(server, pool.server_connected(server, self.now))
        return server

    def fail_login(self, message: str = "boom") -> None:
        pool, _ = self.connecting.pop(0)
        pool.connect_failed(message, self.now)
        self.do(pool.activate(self.now))
        self.check()

    def answer_check(self) -> FakeServer:
        server = self.checking.pop(0)
        self._handed_on(server, server.pool.release(server, self.now))
        return server

    def lose(self, server: FakeServer) -> None:
        """The server's connection breaks."""
        for client in self.clients:
            if client.server is server:
                client.server = None
                client.state = ClientState.IDLE
        if server in self.checking:
            self.checking.remove(server)
        server.pool.server_lost(server, self.now)
        self.do(server.pool.activate(self.now))
        self.check()

    # time and orders

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.do(self.pools.tick(self.now))
        self.check()

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Launch(pool, from_reserve):
                    self.connecting.append((pool, self.now))
                    self.reserve_launches += from_reserve
                case CloseServer(server, reason):
                    assert isinstance(server, FakeServer) and server.state is ServerState.CLOSED
                    self.closed.append((server, reason))
                    for client in self.clients:
                        if client.server is server:
                            client.server = None
                            client.state = ClientState.IDLE
                case CheckServer(server):
                    assert isinstance(server, FakeServer) and server.state is ServerState.TESTED
                    self.checking.append(server)
                case HandOver(client, server):
                    assert isinstance(client, FakeClient)
                    self._link(client, server)
                case GiveUp(server):
                    (holder,) = (client for client in self.clients if client.server is server)
                    self.finish(holder)
                case LookAgain(pool, delay):
                    self.looks.append((pool, self.now + delay))
                case FailClient(client, message):
                    assert isinstance(client, FakeClient) and client.state is ClientState.IDLE
                    self.failed.append((client, message))

    def check(self) -> None:
        limits: set[Limit] = set()
        for pool in self.pools:
            check_invariants(pool)
            limits.update(pool.limits)
            assert pool.connecting == sum(each is pool for each, _ in self.connecting)
        for limit in limits:
            check_limit(limit)
        held = [client.server for client in self.clients if client.server is not None]
        assert len(held) == len(set(held)), "two clients hold one server"
        for client in self.clients:
            assert (client.server is not None) == (client.state is ClientState.ACTIVE)
            assert (client in client.pool.waiting) == (client.state is ClientState.WAITING)

    def _link(self, client: FakeClient, server: Any) -> None:
        assert client.state is ClientState.ACTIVE and server.state is ServerState.ACTIVE
        assert client.server is None
        client.server = server
        client.last_server = server

    def _handed_on(self, server: FakeServer, client: Any) -> None:
        if client is not None:
            self._link(client, server)
        elif server.state is not ServerState.IDLE:
            if server.state is ServerState.CLOSED:
                self.closed.append((server, ""))
            self.do(server.pool.activate(self.now) if server.pool is not None else [])
        self.check()
