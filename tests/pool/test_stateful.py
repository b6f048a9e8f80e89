"""Any order of events keeps the books right: hypothesis drives three pools under two shared limits."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, precondition, rule

from pgpool_py.pool.states import ClientState, ServerState
from tests.pool.world import FakeClient, FakeServer, World

POOLS = [("app", "ann"), ("app", "bob"), ("crm", "bob")]


class PoolsMachine(RuleBasedStateMachine):
    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.resets: list[FakeServer] = []
        for database, user in POOLS:
            self.world.pool(
                database,
                user,
                pool_size=2,
                reserve_pool_size=1,
                server_lifetime=200.0,
                server_login_retry=3.0,
            )
        self.world.pools.database_limit("app").maximum = 3
        self.world.pools.user_limit("bob").maximum = 2

    @rule(target=clients, which=st.sampled_from(POOLS))
    def client_arrives(self, which: tuple[str, str]) -> FakeClient:
        return self.world.client(self.world.pool(*which))

    @rule(client=clients)
    def client_asks_or_finishes(self, client: FakeClient) -> None:
        if client.state is ClientState.IDLE:
            self.world.ask(client)
        elif client.state is ClientState.ACTIVE:
            self.world.finish(client)

    @rule(client=clients, spare=st.booleans())
    def client_holds_its_server(self, client: FakeClient, spare: bool) -> None:
        if client.server is not None:
            self.world.hold(client, spare)

    @rule(client=clients)
    def client_pins_its_server(self, client: FakeClient) -> None:
        server = client.server
        if server is not None and server not in client.pool.held and server.state is ServerState.ACTIVE:
            self.world.pin(client)

    @rule(client=clients)
    def client_goes_on(self, client: FakeClient) -> None:
        if client.server is not None:
            client.pool.work(client.server)

    @rule(client=clients)
    def client_finishes_with_a_reset(self, client: FakeClient) -> None:
        server = client.server
        if server is not None:
            client.server, client.state = None, ClientState.IDLE
            client.pool.unhold(server)
            if server.state is ServerState.PINNED:
                client.pool.unpin(server)
            client.pool.begin_reset(server)
            self.resets.append(server)

    @precondition(lambda self: self.resets)
    @rule()
    def reset_ends(self) -> None:
        server = self.resets.pop(0)
        if server.state is ServerState.TESTED:
            self.world._handed_on(server, server.pool.release(server, self.world.now))

    @rule(client=consumes(clients))
    def client_leaves(self, client: FakeClient) -> None:
        self.world.leave(client)

    @precondition(lambda self: self.world.connecting)
    @rule(works=st.booleans())
    def login_ends(self, works: bool) -> None:
        if works:
            self.world.log_in()
        else:
            self.world.fail_login()

    @precondition(lambda self: self.world.checking)
    @rule()
    def check_ends(self) -> None:
        self.world.answer_check()

    @precondition(lambda self: self.world.servers)
    @rule(data=st.data())
    def server_breaks(self, data: st.DataObject) -> None:
        self.world.lose(data.draw(st.sampled_from(self.world.servers)))

    @rule(seconds=st.sampled_from([0.0, 0.3, 4.0, 35.0, 150.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(which=st.sampled_from(POOLS), size=st.integers(0, 3))
    def pool_size_changes(self, which: tuple[str, str], size: int) -> None:
        pool = self.world.pool(*which)
        pool.settings.pool_size = size
        pool.settings_changed()

    @rule(maximum=st.integers(0, 4))
    def limit_changes(self, maximum: int) -> None:
        self.world.pools.database_limit("app").maximum = maximum

    @rule(delay=st.sampled_from([0.0, 30.0]), which=st.sampled_from(POOLS))
    def check_delay_changes(self, delay: float, which: tuple[str, str]) -> None:
        pool = self.world.pool(*which)
        pool.settings.server_check_delay = delay
        pool.settings_changed()

    @rule(order=st.sampled_from(["pause", "resume", "reconnect", "kill"]), which=st.sampled_from(POOLS))
    def order_is_given(self, order: str, which: tuple[str, str]) -> None:
        pool = self.world.pool(*which)
        now = self.world.now
        if order == "pause":
            self.world.do(pool.pause())
        elif order == "resume":
            self.world.do(pool.resume(now))
        elif order == "reconnect":
            self.world.do(pool.reconnect(now))
        else:
            self.world.do(pool.kill("killed", now))
            self.world.checking = [s for s in self.world.checking if s.state is ServerState.TESTED]
        self.world.check()

    def teardown(self) -> None:
        """Whatever happened: once all goes well again, every client that waits is served."""
        world = self.world
        for database, user in POOLS:
            pool = world.pool(database, user)
            pool.settings.query_wait_timeout = 0.0
            pool.settings.server_check_delay = 30.0
            world.do(pool.resume(world.now))
        world.pools.database_limit("app").maximum = 2
        while self.resets:
            self.reset_ends()
        failed = len(world.failed)
        for _ in range(100):
            world.tick(0.4)
            while world.checking:
                world.answer_check()
            while world.connecting:
                world.log_in()
            for client in world.clients:
                if client.server is not None:
                    world.finish(client)
            if not any(client.state is ClientState.WAITING for client in world.clients):
                break
        assert not any(client.state is ClientState.WAITING for client in world.clients)
        assert all("cached error" in message for _, message in world.failed[failed:])


TestPools = PoolsMachine.TestCase
TestPools.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, database=None)
