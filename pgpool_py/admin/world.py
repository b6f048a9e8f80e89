"""What the console sees of the pooler, and the orders it can give. `app` implements both.

Names only, no rules: so the console's modules know neither the broker nor the gatehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pgpool_py.config import Config, DatabaseSettings, PoolMode
from pgpool_py.observe.statistics import Counters, Periods, Totals
from pgpool_py.pool.pool import Pool
from pgpool_py.relay.client import Client
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.session.statements import SessionContext


class Place(Protocol):
    """One (database entry, user) with its pool."""

    @property
    def entry(self) -> DatabaseSettings: ...
    @property
    def user(self) -> str: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def context(self) -> SessionContext: ...
    @property
    def mode(self) -> PoolMode: ...


class ConsoleClient(Protocol):
    """A client of the console itself, as SHOW CLIENTS lists it."""

    number: int
    user: str
    peer: Any
    connect_time: float  # time.time()
    request_time: float  # the same
    busy: bool

    @property
    def fd(self) -> int: ...
    @property
    def application_name(self) -> str: ...
    @property
    def prepared_statements(self) -> int: ...
    def end(self, message: str) -> None:
        """Tell it *message* as a FATAL error and close."""
        ...


class LoginAttempt(Protocol):
    """A client that is logging in."""

    @property
    def number(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def peer(self) -> Any: ...
    @property
    def connect_time(self) -> float: ...


class Tunnel(Protocol):
    """A replication client with the server that it has for itself."""

    replication: str  # physical or logical

    @property
    def login(self) -> Any: ...
    @property
    def server(self) -> Any: ...
    @property
    def place(self) -> Place: ...


class Counts(Protocol):
    """Clients by database and by user."""

    by_database: dict[str, int]
    by_user: dict[str, int]


@dataclass(frozen=True, slots=True)
class Wait:
    """An order that is carried out bit by bit: answered when *over* holds. A cancel request calls *undo*."""

    over: Callable[[], bool]  # may raise Refused
    undo: Callable[[], None] = lambda: None


class Orders(Protocol):
    """PAUSE and the like. Each raises Refused with PgBouncer's sentence; None for a database is all of them."""

    @property
    def mode(self) -> str:
        """What SHOW STATE says: "active", "paused" or "suspended"."""
        ...

    def is_paused(self, database: str) -> bool:
        """Whether this database was paused by name (or killed)."""
        ...

    def is_disabled(self, database: str) -> bool: ...
    def pause(self, database: str | None) -> Wait: ...
    def resume(self, database: str | None) -> None: ...
    def suspend(self) -> Wait: ...
    def disable(self, database: str) -> None: ...
    def enable(self, database: str) -> None: ...
    def reconnect(self, database: str | None) -> None: ...
    def wait_close(self, database: str | None) -> Wait: ...
    def kill(self, database: str | None) -> None: ...
    def kill_client(self, number: int) -> None: ...
    def shutdown(self, mode: str) -> None:
        """End: "" at once, or "wait_for_servers", "wait_for_clients"."""
        ...

    def reload(self) -> None: ...
    def set(self, key: str, value: str) -> None:
        """Change one setting of [pgbouncer] until the next reload."""
        ...


class World(Protocol):
    """The pooler as the console sees it."""

    @property
    def config(self) -> Config: ...
    @property
    def pending(self) -> Mapping[str, Any]:
        """Settings that a reload read and only a restart will put in force, with their new value."""
        ...

    @property
    def places(self) -> Collection[Place]: ...
    @property
    def clients(self) -> Collection[Client]: ...
    @property
    def tunnels(self) -> Collection[Tunnel]: ...
    @property
    def consoles(self) -> Collection[ConsoleClient]: ...
    @property
    def counters(self) -> Counters:
        """What the console's own clients did."""
        ...

    @property
    def counts(self) -> Counts: ...
    @property
    def logins(self) -> Collection[LoginAttempt]:
        """Clients between accept and the end of their login."""
        ...

    @property
    def listening(self) -> Iterable[Any]:
        """The sockets we listen on."""
        ...

    @property
    def channel_servers(self) -> Collection[ListeningConnection]:
        """The server connections that listen for clients."""
        ...

    @property
    def periods(self) -> Periods: ...
    def totals(self) -> dict[str, Totals]:
        """Totals by database, the console's own included."""
        ...

    def pins(self, client: Client) -> Iterable[tuple[str, float]]:
        """Why this client keeps its server between transactions, and since when (of `clock`)."""
        ...

    async def check_auth(self, user: str, database: str, address: str | None) -> tuple[str, str]:
        """"ok", "refused" or "doubtful", and in one line why, or on what it depends."""
        ...

    def cancels(self, pool: Pool) -> int:
        """Cancel requests of this pool's clients that are being passed on."""
        ...

    def cancels_due(self, pool: Pool) -> int:
        """Cancel requests of this pool's clients that wait for that."""
        ...

    def dns_hosts(self) -> Iterable[tuple[str, int, str]]:
        """Names that were looked up and are remembered: the name, seconds left, the addresses."""
        ...

    def dns_zones(self) -> Iterable[tuple[str, int, int]]:
        """The zones of these names: the zone, its serial number, how many names."""
        ...

    @property
    def dns_queries(self) -> int:
        """Questions about names and zones that are not answered yet."""
        ...

    @property
    def orders(self) -> Orders: ...
    def clock(self) -> float:
        """The clock of the relay's stamps."""
        ...

    def log(self, text: str, who: str = "") -> None: ...
    def refused(self, message: str, who: str) -> None:
        """A command was answered with this error: for the log."""
        ...
