"""How long clients may run, idle and wait: a sweep over the connections at each tick, by stamps the relay leaves on them.

Knows `query_timeout`, `transaction_timeout`, `idle_transaction_timeout`, `client_idle_timeout`, `query_wait_notify`,
`pin_timeout` and, behind a forced user, `query_wait_timeout`; and whom each applies to. The client's own user's entry goes
before that of a forced user, which counts for what its servers are held for, and that before [pgbouncer]. Also PostgreSQL's
`idle_session_timeout`, which a client has from its session and which must not end a server that is nobody's. Nothing of it is on
the path of a transaction, so a timeout is acted on up to a third of a second late. What becomes of the server of a client that
is sent away is `Server.let_go`: a query that still runs is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgpool_py.app.place import Place
from pgpool_py.config import Config
from pgpool_py.pool.states import ServerState
from pgpool_py.relay.client import Client
from pgpool_py.relay.server import Server
from pgwire import NoticeResponse

IDLE = ord("I")  # the status byte of ReadyForQuery: outside a transaction
QUEUED = NoticeResponse.make(
    "NOTICE", "00000", "No server connection available in postgres backend, client being queued"
).encode()


@dataclass(frozen=True, slots=True)
class Times:
    """What holds for the clients of one user, in seconds; 0 is for ever."""

    query: float
    transaction: float
    idle_transaction: float
    client_idle: float
    # Only what the user's own entry says, None if it does not.
    query_wait: float | None = None

    @property
    def watches_servers(self) -> bool:
        """Whether clients that hold a server need a look."""
        return bool(self.query or self.transaction or self.idle_transaction or self.client_idle)


class Timeouts:
    """The times in force, and who has overrun them."""

    def __init__(self, config: Config) -> None:
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over what the configuration says now."""
        self.config = config
        self.default = _times(config, None)
        self.by_user = {name: _times(config, name) for name in config.users}
        self._behind: dict[tuple[str, str], Times] = {}  # by own and forced user
        every = [self.default, *self.by_user.values()]
        self.any_busy = any(times.watches_servers for times in every)
        self.any_idle = any(times.client_idle for times in every)
        self.any_waiting = any(times.query for times in every)
        self.by_client = any(times.query_wait is not None for times in every)

    def of(self, client: Client, forced: str | None = None) -> Times:
        """What holds for this client, which may be another user on the server."""
        if forced is None or forced not in self.by_user or forced == client.user:
            return self.by_user.get(client.user, self.default)
        key = (client.user if client.user in self.by_user else "", forced)
        times = self._behind.get(key)
        if times is None:
            times = self._behind[key] = _times(self.config, *key)
        return times

    def sweep_idle(self, clients: Iterable[Client], now: float) -> None:
        """Send away the clients that hold nothing, ask nothing, and have done so for too long."""
        if not self.any_idle:
            return
        for client in list(clients):
            limit = self.of(client).client_idle
            if 0 < limit < now - max(client.request_time, client.idle_since) and client.state is client.relay.client_idle_state:
                client.refuse("08P01", "client_idle_timeout")

    def sweep_sessions(self, place: Place, now: float) -> None:
        """Act on idle_session_timeout: PostgreSQL does, where a client keeps its server; here, where it has none."""
        if not place.context.watching or not (place.idle_timeout or place.context.table.timed):
            return
        for client in list(place.pool.clients):
            assert isinstance(client, Client)
            own: float | None = client.settings.idle_timeout
            limit = place.idle_timeout if own is None else own
            if 0 < limit < now - max(client.request_time, client.idle_since) and client.state is client.relay.client_idle_state:
                client.refuse("57P05", "terminating connection due to idle-session timeout")
        for server in [*place.pool.used, *place.pool.idle]:
            assert isinstance(server, Server)
            if not server.close_needed and server.idle_timeout():
                place.pool.move(server, ServerState.TESTED)
                server.stay()

    def sweep(self, place: Place, now: float) -> None:
        """Look at the clients of one place that hold a server or wait for one."""
        main = self.config.pgbouncer
        if self.any_busy or main.server_fast_close:
            for server in [*place.pool.active, *place.pool.pinned]:
                assert isinstance(server, Server)
                client = server.client
                if isinstance(client, Client) and not client.ending:
                    self._look(client, server, self.of(client, place.entry.user), now)
        if main.pin_timeout:
            for server in list(place.pool.pinned):
                assert isinstance(server, Server)
                client = server.client
                if isinstance(client, Client) and client.pin_age() > main.pin_timeout:
                    client.refuse("57P01", f"{client.pinned_for()} has kept a server for too long (pin_timeout)")
        forced = place.entry.user is not None and self.by_client
        if place.pool.waiting and (self.any_waiting or forced or main.query_wait_notify):
            self._sweep_queue(place, forced, now)

    def _look(self, client: Client, server: Server, times: Times, now: float) -> None:
        reason = overdue(times, client, server, now)
        if reason is not None:
            client.refuse("08P01", reason)
        elif (
            self.config.pgbouncer.server_fast_close
            and server.close_needed
            and not client.context.pooling
            and server.ready
            and server.status == IDLE
        ):
            server.close("database configuration changed")

    def _sweep_queue(self, place: Place, forced: bool, now: float) -> None:
        notify = self.config.pgbouncer.query_wait_notify
        for client in list(place.pool.waiting):
            if not isinstance(client, Client):
                continue  # an errand
            times = self.of(client, place.entry.user)
            waited = now - client.wait_start
            patience = 0.0
            if forced:
                own = times.query_wait
                patience = self.config.query_wait_timeout(place.entry, "") if own is None else own
            if 0 < times.query < waited:
                message = "query_timeout"
            elif 0 < patience < waited:
                message = "query_wait_timeout"
            else:
                if 0 < notify < waited and client.noticed != client.wait_start:
                    client.noticed = client.wait_start
                    client.send_data(QUEUED)
                continue
            place.pool.stop_waiting(client, now)
            client.refuse("08P01", message)


def overdue(times: Times, client: Client, server: Server, now: float) -> str | None:
    """Why a client that holds *server* must go, or None.

    A query runs from the client's last words, or from the reply to the one before it in a pipeline, whichever is later.
    """
    since = max(client.request_time, server.answered_at)
    asleep = now - since
    if server.expected.size():
        if 0 < times.query < asleep:
            return "query timeout"
    elif server.ready and server.status == IDLE:
        # A session's server, as in PgBouncer, does not make its client idle; one that is only kept for what lives on it does.
        return "client_idle_timeout" if client.context.pooling and 0 < times.client_idle < asleep else None
    elif 0 < times.idle_transaction < asleep:
        return "idle transaction timeout"
    begun = server.transaction_start if server.status != IDLE else since
    return "transaction timeout" if 0 < times.transaction < now - begun else None


def _times(config: Config, user: str | None, forced: str | None = None) -> Times:
    entry = config.users.get(user) if user is not None else None

    def of(key: str) -> float:
        own = getattr(entry, key, None)
        return float(config.effective(None, forced, key) if own is None else own)

    return Times(
        query=of("query_timeout"),
        transaction=of("transaction_timeout"),
        idle_transaction=of("idle_transaction_timeout"),
        client_idle=float(config.effective(None, user, "client_idle_timeout")),
        query_wait=entry.query_wait_timeout if entry is not None else None,
    )
