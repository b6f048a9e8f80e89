"""Where the console's clients are received, and what they see of the pooler. Implements `admin.world.World`.

A login to the database `pgbouncer` ends here: whether the user may enter, with which rights, and the list of those inside.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgpool_py.admin.commands import Right, right_of
from pgpool_py.admin.console import Console
from pgpool_py.app.checkauth import check_auth
from pgpool_py.app.orders import Orders
from pgpool_py.app.place import Place
from pgpool_py.config import ADMIN_DATABASE, Config
from pgpool_py.frontend.errors import ConsoleNotAllowed
from pgpool_py.frontend.gate import ClientLogin, Welcome
from pgpool_py.frontend.limits import ClientCounts
from pgpool_py.frontend.listener import Attempt
from pgpool_py.frontend.startup import StartupRequest
from pgpool_py.observe.statistics import Periods, Totals, totals_of
from pgpool_py.pool.pool import Pool
from pgpool_py.relay._io import clock
from pgpool_py.relay.client import Client
from pgpool_py.relay.holding import KEEPS_HELD, held_for
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.version import PGBOUNCER

if TYPE_CHECKING:
    from pgpool_py.app.place import Place
    from pgpool_py.app.pooler import Pooler
    from pgpool_py.app.tunnel import Tunnel

HELLO = {
    b"server_version": f"{PGBOUNCER}/bouncer".encode(),
    b"client_encoding": b"UTF8",
    b"server_encoding": b"UTF8",
    b"DateStyle": b"ISO",
    b"TimeZone": b"GMT",
    b"standard_conforming_strings": b"on",
    b"is_superuser": b"on",
}


@dataclass(frozen=True, slots=True)
class ConsoleEntry:
    """The virtual database, as a login sees it."""

    name: str = ADMIN_DATABASE
    forced_user: str | None = None
    disabled: bool = False
    is_console: bool = True
    max_client_connections: int = 0


@dataclass(slots=True)
class ConsoleCounters:
    """What the console's clients did, under the names of a pool's counters."""

    query_count: int = 0
    transaction_count: int = 0
    query_time: float = 0.0
    transaction_time: float = 0.0
    bytes_received: int = 0
    bytes_sent: int = 0
    client_parse_count: int = 0
    server_parse_count: int = 0
    bind_count: int = 0
    login_count: int = 0


class Desk:
    """The console's reception."""

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler
        self.entry = ConsoleEntry()
        self.orders = Orders(pooler)
        self.periods = Periods(clock())
        self.counters = ConsoleCounters()
        self.consoles: set[Console] = set()
        self.keys: dict[int, tuple[bytes, Console]] = {}  # by cancel key
        self._gone: dict[str, Totals] = {}  # what forgotten pools had counted, by database
        self._gone_doubts: Counter[str] = Counter()  # likewise
        self.cancelling: Counter[Pool] = Counter()  # cancel requests being passed on
        self.due: Counter[Client] = Counter()  # those that could not be at once, until they were

    # --- coming and going ---

    def welcome(self, request: StartupRequest, own_user: bool) -> Welcome:
        """Let an authenticated user in, or raise ConsoleNotAllowed."""
        right = right_of(self.config, request.user, own_user)
        if right is None:
            raise ConsoleNotAllowed
        return Welcome(HELLO, pool=right)

    def receive(self, login: ClientLogin, who: str) -> None:
        """A login is finished: serve this client."""
        assert isinstance(login.pool, Right)  # as `welcome` made it
        console = Console(self, login.sock, login.user, login.pool, protocol=login.protocol, leftover=login.leftover)
        console.number = login.number
        console.peer = login.peer
        console.connect_time = login.connect_time
        console.application_name = login.settings.get("application_name", "")
        console.who = who
        self.consoles.add(console)
        self.keys[login.pid] = (login.key, console)
        self.counters.login_count += 1
        console.start(lambda console, reason: self._left(console, login, reason))

    def _left(self, console: Console, login: ClientLogin, reason: str) -> None:
        self.consoles.discard(console)
        self.keys.pop(login.pid, None)
        self._pooler.broker.counts.leave(ADMIN_DATABASE, login.user)
        if self.config.pgbouncer.log_disconnections:
            age = int(time.time() - login.connect_time)
            self.log(f"closing because: {reason} (age={age}s)", console.who)
        if self.orders.mode == "suspended" and not self.consoles and not self._pooler.broker.closing:
            self.log("admin disappeared when suspended, doing RESUME")
            self.orders.resume(None)

    def cancel(self, pid: int, secret: bytes) -> bool:
        """Act on a cancel request if its key is a console's."""
        known = self.keys.get(pid)
        if known is None:
            return False
        if hmac.compare_digest(known[0], secret):
            known[1].cancel()
        return True

    async def close(self) -> None:
        """The process ends: whoever is here is told."""
        consoles = list(self.consoles)
        for console in consoles:
            console.end("server shutting down")
        for console in consoles:
            await console.closed()

    # --- the world, as the console sees it ---

    @property
    def config(self) -> Config:
        return self._pooler.config

    @property
    def pending(self) -> Mapping[str, Any]:
        return self._pooler.pending

    @property
    def places(self) -> Collection[Place]:
        return self._pooler.broker.places.values()

    @property
    def clients(self) -> Collection[Client]:
        return self._pooler.broker.clients.values()

    @property
    def tunnels(self) -> Collection[Tunnel]:
        return self._pooler.broker.tunnels.values()

    @property
    def counts(self) -> ClientCounts:
        return self._pooler.broker.counts

    @property
    def logins(self) -> Collection[Attempt]:
        listener = self._pooler.listener
        return list(listener.attempts.values()) if listener is not None else []

    @property
    def listening(self) -> Iterable[socket.socket]:
        listener = self._pooler.listener
        return list(listener.sockets) if listener is not None else []

    @property
    def channel_servers(self) -> Collection[ListeningConnection]:
        return list(self._pooler.broker.listening)

    def forget(self, place: Place, *, database_stays: bool) -> None:
        """A pool is no more: what it has counted stays with its database, if there still is one."""
        name, pool = place.pool.database, place.pool
        if database_stays:
            mine = totals_of(place.context, pool.server_assignment_count, pool.wait_time)
            self._gone[name] = self._gone.get(name, Totals()).plus(mine)
            self._gone_doubts[name] += place.context.doubts
        else:
            self._gone.pop(name, None)
            self._gone_doubts.pop(name, None)

    def totals(self) -> dict[str, Totals]:
        found: dict[str, Totals] = {ADMIN_DATABASE: totals_of(self.counters), **self._gone}
        for place in self.places:
            pool = place.pool
            mine = totals_of(place.context, pool.server_assignment_count, pool.wait_time)
            before = found.get(pool.database)
            found[pool.database] = mine if before is None else before.plus(mine)
        return found

    def doubts(self) -> Mapping[str, int]:
        """How many servers of each database were closed because their replies did not add up."""
        found = self._gone_doubts.copy()
        for place in self.places:
            found[place.pool.database] += place.context.doubts
        return found

    def pins(self, client: Client) -> Iterator[tuple[str, float]]:
        for reason in client.pins:
            yield reason, client.pin_start
        if client.server is not None and client.keeps_server & KEEPS_HELD:
            yield held_for(client.server), client.value_since
        # A statement that only lives on this server keeps it, too.
        if client.server is not None and client.context.pooling and client.keeps_server & ~KEEPS_HELD and not client.pins:
            yield "a statement too long to be remembered", client.transaction_start or client.request_time

    def cancels(self, pool: Pool) -> int:
        return self.cancelling[pool] + sum(client.cancels for client in self.due if client.pool is pool)

    def cancels_due(self, pool: Pool) -> int:
        return sum(count for client, count in self.due.items() if client.pool is pool and client.cancel_due)

    def dns_hosts(self) -> Iterable[tuple[str, int, str]]:
        names = self._pooler.broker.names
        return names.shown(asyncio.get_running_loop().time())

    def dns_zones(self) -> Iterable[tuple[str, int, int]]:
        return self._pooler.broker.names.shown_zones()

    @property
    def dns_queries(self) -> int:
        return self._pooler.broker.names.under_way

    async def check_auth(self, user: str, database: str, address: str | None) -> tuple[str, str]:
        return await check_auth(self._pooler.gate, self, user, database, address)

    def clock(self) -> float:
        return clock()

    def log(self, text: str, who: str = "") -> None:
        self._pooler.log.log(text, who)

    def refused(self, message: str, who: str) -> None:
        self._pooler.log.error(message, who)
        if self.config.pgbouncer.log_pooler_errors:
            self._pooler.log.warning(f"pooler error: {message}", who)
