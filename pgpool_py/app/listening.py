"""The listening connections: one for each pool whose clients listen; opened when first needed, closed when unused.

Such a connection is outside its pool's size, within max_db_connections and max_user_connections. What it does is
`relay.listening`; here is when there is one, and what it may cost others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgpool_py.app.place import Place
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.query import ask
from pgpool_py.backend.target import ServerLogin
from pgpool_py.config.values import ListenLoss
from pgpool_py.observe.log import label
from pgpool_py.pool.limits import Limit, evict_surplus
from pgpool_py.relay._io import clock
from pgpool_py.relay.listening import LISTENING_NAME, ListeningConnection
from pgpool_py.relay.tls import adopt
from pgpool_py.session.channels import quoted

if TYPE_CHECKING:
    from pgpool_py.app.broker import Broker

ROOM_INTERVAL = 0.05  # seconds between two looks for a place under a full limit
ASK_INTERVAL = 1.0  # and between two busy servers that are asked to give theirs up
# Known to some versions only; in force it would end a connection that waits for notifications.
STAY = (
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
    " WHERE name IN ('idle_session_timeout', 'statement_timeout')"
)
# What comes is the same for all who listen, whatever they read: nothing is converted.
AS_IT_IS = "SELECT pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), false)"


class ListeningConnections:
    """All of them, by pool."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._known: dict[Any, ListeningConnection] = {}
        self._opening: set[ListeningConnection] = set()
        self._retry_at: dict[ListeningConnection, float] = {}

    def __iter__(self) -> Iterator[ListeningConnection]:
        return iter(list(self._known.values()))

    def get(self, pool: Any) -> ListeningConnection:
        """The connection for the clients of *pool*, opened if there is none."""
        found = self._known.get(pool)
        if found in self._retry_at and not found.members:
            found.lost("could not be opened")
            found = None
        if found is None:
            found = self._known[pool] = ListeningConnection(self.broker.relay, pool)
            found.notifier = lambda pid: self.broker.notifier_of(pool, pid)
            self.configure(found)
            self._open(found)
        return found

    def reload(self) -> None:
        """Take over what the configuration says now."""
        for connection in self:
            self.configure(connection)

    def configure(self, connection: ListeningConnection) -> None:
        """Tell *connection* what the configuration says."""
        main = self.broker.config.pgbouncer
        connection.answer_timeout = main.server_connect_timeout
        connection.mailbox_size = main.listen_buffer_size
        connection.loss_is_fatal = main.listen_loss is ListenLoss.FATAL

    # --- opening ---

    def _open(self, connection: ListeningConnection) -> None:
        self._opening.add(connection)
        self._retry_at.pop(connection, None)
        self.broker.begin(self._launch(connection))

    async def _launch(self, connection: ListeningConnection) -> None:
        if connection.closed:
            return
        broker = self.broker
        pool = connection.pool
        place = broker.places[pool]
        connection.connect_time = clock()
        counted = False
        try:
            await self._wait_for_place(connection)
            counted = True
            login = await self._log_in(place, connection)
        except Exception as error:
            code = error.sqlstate if isinstance(error, ServerConnectError) else "08006"
            self._opening.discard(connection)
            if counted:
                self._uncount(pool)
            if connection.closed:
                return
            who = label("S", 0, pool.database, pool.user, None)
            broker.log.warning(f"closing because: no listening connection: {error}", who)
            self._retry_at[connection] = clock() + max(broker.config.pgbouncer.server_login_retry, 1.0)
            connection.not_opened(code, str(error))
            return
        self._opening.discard(connection)
        if broker.closing or connection.closed:
            login.sock.close()
            self._uncount(pool)
            return
        self._adopt(connection, login)

    async def _wait_for_place(self, connection: ListeningConnection) -> None:
        """A place under the shared limits: a free one, that of an idle server of any pool, or the next that becomes free."""
        broker, pool = self.broker, connection.pool
        # Those who begin to listen wait for this with a transaction open, perhaps: no longer than for a server.
        patience = broker.config.query_wait_timeout(broker.places[pool].entry, pool.user)
        end = clock() + patience if patience else float("inf")
        asked_at = 0.0
        for limit in pool.limits:
            limit.count += 1  # reserved: no pool takes the place that becomes free
        try:
            while True:
                for server in evict_surplus(pool.limits):
                    broker.close_server(server, "evicted")
                exceeded = [limit for limit in pool.limits if limit.exceeded]
                if not exceeded:
                    return
                if clock() - asked_at >= ASK_INTERVAL:
                    asked_at = clock()
                    if not all(ask_for_place(limit) for limit in exceeded):
                        end = 0.0
                if clock() >= end:
                    raise ServerConnectError("53300", f"no server connection left to listen with ({exceeded[0].name})")
                await asyncio.sleep(ROOM_INTERVAL)
        except BaseException:
            self._uncount(pool)
            raise

    async def _log_in(self, place: Place, connection: ListeningConnection, again: bool = True) -> ServerLogin:
        """A connection to listen with; *again*: once more, if it is lost after its login."""
        config = self.broker.config
        target = place.target(config)
        target = replace(target, application_name=target.application_name or LISTENING_NAME)
        login = await place.connect(config, self.broker.names, target)
        try:
            async with asyncio.timeout(config.pgbouncer.server_connect_timeout or None):
                await ask(login.sock, STAY)
                ((encoding,),) = await ask(login.sock, AS_IT_IS)
                connection.encoding = encoding or b""
                await ask(login.sock, "LISTEN " + quoted(connection.marker).decode())
        except BaseException as error:
            login.sock.close()
            if again and isinstance(error, ConnectionError):
                return await self._log_in(place, connection, again=False)
            raise
        return login

    def _adopt(self, connection: ListeningConnection, login: ServerLogin) -> None:
        broker = self.broker
        connection.fd, connection.tls = adopt(login.sock)
        connection.number = broker.next_server_number()
        connection.address, connection.pid = login.address, login.pid
        broker.relay.now = clock()
        connection.opened = True
        connection.heard_at = connection.unused_since = broker.relay.now
        broker.log.log("new listening connection to server", self.label(connection))
        broker.relay.add(connection, b"")
        connection.pump()
        broker.relay.reap()

    # --- closing ---

    def closed(self, connection: ListeningConnection, reason: str) -> None:
        """The connection is gone."""
        if self._known.get(connection.pool) is connection:
            del self._known[connection.pool]
        self._retry_at.pop(connection, None)
        if connection.opened:
            self._uncount(connection.pool)
            age = int(clock() - connection.connect_time)
            self.broker.log.log(f"closing because: {reason} (age={age}s)", self.label(connection))

    def close(self, reason: str, pool: Any = None) -> None:
        """Close those of *pool*, or all."""
        for connection in self:
            if pool is None or connection.pool is pool:
                connection.lost(reason)

    def _uncount(self, pool: Any) -> None:
        for limit in pool.limits:
            limit.count -= 1

    def tick(self, now: float) -> None:
        """Close what nobody uses, try again, and see whether those that are silent still answer."""
        main = self.broker.config.pgbouncer
        for connection in self:
            if connection in self._opening:
                continue
            if not connection.opened:
                if not connection.members:
                    connection.lost("not needed")
                elif now >= self._retry_at.get(connection, 0.0):
                    self._open(connection)
                continue
            idle = now - connection.unused_since
            if not connection.members:
                wanted = any(limit.blocked for limit in connection.pool.limits)
                if wanted or 0 < main.server_idle_timeout < idle:
                    connection.lost("server idle timeout")
            elif main.server_check_delay and now - connection.heard_at > main.server_check_delay:
                connection.check()

    @staticmethod
    def label(connection: ListeningConnection) -> str:
        """Who it is, in the log."""
        return label("S", connection.number, connection.pool.database, connection.pool.user, connection.address)


def ask_for_place(limit: Limit) -> bool:
    """Have a busy server closed at the end of its transaction; False when all are held by those who wait to listen."""
    for pool in limit.pools:
        if pool.connecting or pool.tested or pool.being_canceled:
            return True
        servers: Iterable[Any] = pool.active
        for server in servers:
            if server.client is None or not server.client.awaiting:
                server.close_needed = True
                return True
    return False
