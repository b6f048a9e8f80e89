"""A discrete-event simulation of users who share one limit: load in, waits and use of servers out."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.pool.world import FakeClient, FakeServer, World

TICK = 1 / 3


@dataclass(frozen=True)
class Load:
    """The clients of one user: each thinks, asks for a server, works on it, and so on. Times are means."""

    user: str
    clients: int
    work: float
    think: float = 0.0
    starts_at: float = 0.0


@dataclass
class Result:
    waits: dict[str, list[float]] = field(default_factory=dict)
    work_done: float = 0.0
    capacity: float = 0.0
    logins: int = 0

    def p99(self, user: str) -> float:
        waits = sorted(self.waits[user])
        return waits[int(len(waits) * 0.99)]

    @property
    def ratio(self) -> float:
        """The worst user's p99 wait over the best one's."""
        p99s = [self.p99(user) for user in self.waits]
        return max(p99s) / min(p99s)

    @property
    def use(self) -> float:
        """The share of the allowed servers' time that was spent on transactions."""
        return self.work_done / self.capacity

    def __repr__(self) -> str:
        p99s = ", ".join(f"{user} {self.p99(user) * 1000:.0f} ms" for user in self.waits)
        return f"<p99 {p99s}; ratio {self.ratio:.2f}, use {self.use:.2f}, {self.logins} logins>"


class Simulation(World):
    def __init__(self, loads: list[Load], limit: int, login: float, seed: int) -> None:
        super().__init__()
        self.loads = {load.user: load for load in loads}
        self.maximum = limit
        self.login = login
        self.random = random.Random(seed)
        self.events: list[tuple[float, int, Callable[[], object]]] = []
        self.order = itertools.count()
        self.asked: dict[FakeClient, float] = {}
        self.result = Result({load.user: [] for load in loads})
        self.measure_from = 0.0
        self.pools.database_limit("app").maximum = limit

    def run(self, seconds: float, warm_up: float) -> Result:
        start = self.now
        self.measure_from = start + warm_up
        for load in self.loads.values():
            pool = self.pool(user=load.user, pool_size=0, query_wait_timeout=0.0)
            for _ in range(load.clients):
                client = self.client(pool)
                self.after(load.starts_at + self.random.random() * 0.1, self._asker(client))
        self.after(TICK, self._tick)
        while self.events[0][0] < start + seconds:
            self.now, _, event = heapq.heappop(self.events)
            event()
        for client in self.clients:
            if client in client.pool.waiting:  # those still waiting have waited, too
                self._waited(client)
        self.result.capacity = self.maximum * (seconds - warm_up)
        return self.result

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), event))

    def check(self) -> None:
        pass  # the books are checked at each tick: every step would take too long

    def _tick(self) -> None:
        self.tick()
        super().check()
        self.after(TICK, self._tick)

    def _asker(self, client: FakeClient) -> Callable[[], None]:
        def ask() -> None:
            self.asked[client] = self.now
            self.ask(client)
            self._logins()

        return ask

    def _waited(self, client: FakeClient) -> None:
        if self.now >= self.measure_from:
            self.result.waits[client.pool.user].append(self.now - self.asked[client])

    def _link(self, client: FakeClient, server: object) -> None:
        super()._link(client, server)
        self._waited(client)
        load = self.loads[client.pool.user]
        work = self.random.expovariate(1 / load.work)
        if self.now >= self.measure_from:
            self.result.work_done += work

        def done() -> None:
            self.finish(client)
            self._logins()
            think = self.random.expovariate(1 / load.think) if load.think else 0.0
            self.after(think, self._asker(client))

        self.after(work, done)

    def _logins(self) -> None:
        """Give every new launch its time to log in."""
        while self.started < len(self.connecting) + self.finished:
            self.started += 1
            self.after(self.login, self._login_done)

    def _login_done(self) -> FakeServer:
        self.finished += 1
        self.result.logins += 1
        server = self.log_in()
        self._logins()
        return server

    started = 0
    finished = 0
