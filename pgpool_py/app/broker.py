"""Carries out what pools decide, and tells pools what happened to servers.

The relay and the pools meet here: launches, closes, checks, hand-overs, cancels. No rule of its own.
"""

from __future__ import annotations

import asyncio
import socket
import time
import traceback
from collections.abc import Coroutine, Iterable
from typing import Any

from pgpool_py.app.catalogs import UNREADABLE, Catalogs, PreparedChanges
from pgpool_py.app.encryption import Encryption
from pgpool_py.app.errand import Errand, ErrandFailed
from pgpool_py.app.launching import look_at_catalogs, run_connect_query
from pgpool_py.app.listening import ListeningConnections
from pgpool_py.app.place import AuthPlace, Place, leads_to
from pgpool_py.app.relaystates import RELAY_STATES
from pgpool_py.app.timeouts import Timeouts
from pgpool_py.app.tunnel import Tunnel
from pgpool_py.backend.cancel import cancel_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.hosts import Names
from pgpool_py.backend.query import Row
from pgpool_py.backend.target import ServerAddress, ServerLogin
from pgpool_py.config import Config
from pgpool_py.frontend.gate import ClientLogin
from pgpool_py.frontend.limits import ClientCounts
from pgpool_py.observe.log import Log, label
from pgpool_py.pool.actions import Action, CheckServer, CloseServer, FailClient, GiveUp, HandOver, Launch, LookAgain
from pgpool_py.pool.states import ServerState
from pgpool_py.relay._io import clock
from pgpool_py.relay.client import Client
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.relay.relay import Relay
from pgpool_py.relay.server import Server
from pgpool_py.relay.tls import adopt
from pgpool_py.session.catalog import FACTS_QUERY
from pgpool_py.session.look import Finding

NO_SUCH_DATABASE = "3D000"
CANCELS = 3  # at most, of what has been sent just now
CANCEL_AGAIN = 0.05  # seconds between them


class Broker:
    """Everything that crosses between relay, pools, and new server connections."""

    def __init__(self, config: Config, log: Log) -> None:
        self.config = config
        self.encryption = Encryption.of(config)
        self.log = log
        self.relay = Relay(self, RELAY_STATES)
        self.places: dict[Any, Place] = {}  # by pool
        self.counts = ClientCounts()
        self.timeouts = Timeouts(config)
        self.names = Names(self._addresses_gone, log.log, log.debug)
        self.listening = ListeningConnections(self)
        self.servers: dict[tuple[Any, int], Server] = {}  # by database and process id
        self.configure(config)
        self.clients: dict[int, Client] = {}  # by cancel key
        self.tunnels: dict[int, Tunnel] = {}  # replication clients, by cancel key
        self.stopping = False  # no new clients
        self.waiting_for_clients = False  # and the end comes when those that there are have left
        self.closing = False  # no new servers either
        self._server_numbers = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, config: Config) -> None:
        """Take over what the configuration says now."""
        self.config, main = config, config.pgbouncer
        self.timeouts.configure(config)
        self.listening.reload()
        self.names.configure(main.dns_max_ttl, main.dns_nxdomain_ttl, main.dns_zone_check_period, main.resolv_conf)

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine* in the background; an unexpected failure is logged, never lost."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self.relay.busy = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error(f"internal error: {type(error).__name__}: {error}")

    # --- pools' decisions ---

    def perform(self, actions: Iterable[Action]) -> None:
        """Carry out what a pool asks for."""
        for action in actions:
            match action:
                case Launch(pool, from_reserve):
                    if from_reserve:
                        self._log_reserve(pool)
                    self.begin(self._launch(self.places[pool]))
                case HandOver(client, server):
                    real_member(client).linked(server)
                case CloseServer(server, reason):
                    real_member(server).close(reason)
                case CheckServer(server):
                    real_member(server).check(self._check_query())
                case FailClient(client, message):
                    real_member(client).refuse("08P01", message)
                case GiveUp(server):
                    holder = real_member(server).client
                    if holder is not None:
                        holder.give_up()
                case LookAgain(pool, delay):
                    asyncio.get_running_loop().call_later(delay, self._look_again, pool)
        self.relay.reap()

    def _log_reserve(self, pool: Any) -> None:
        longest = next(iter(pool.waiting), None)
        who = self.client_label(longest) if isinstance(longest, Client) else ""
        self.log.warning("taking connection from reserve_pool", who)

    def _check_query(self) -> bytes:
        text = self.config.pgbouncer.server_check_query
        return b"" if text == "<empty>" else text.encode()

    async def _launch(self, place: Place, again: bool = True) -> None:
        """Open one connection; *again*: once more, if it is lost after its login, as any server can be at any time."""
        pool = place.pool
        started = clock()
        self.log.debug("connecting to server", label("S", 0, pool.database, pool.user, place.target(self.config)))
        try:
            login = await place.connect(self.config, self.names)
        except ServerConnectError as error:
            self._log_launch_failed(place.target(self.config), place, f"{error.reason}: {error.message}", started)
            pool.connect_failed(error.message, clock(), hopeless=error.sqlstate == NO_SUCH_DATABASE)
            actions = pool.activate(clock())
            # Whoever is not logged in yet hears nothing of how auth_query's servers are logged in to.
            if error.reason == "login failed" and not isinstance(place, AuthPlace):
                actions = _pass_on(error, pool, actions)
            self.perform(actions)
            return
        try:
            limit = self.config.pgbouncer.server_connect_timeout or None
            what = "reading the catalogs"
            await look_at_catalogs(place, login, limit, self.log)
            what = "reading what connect_query has set"
            left = await run_connect_query(place, login, limit, self.log)
        except Exception as error:
            # Whatever it was, the pool must know that this connection will not come.
            login.sock.close()
            self._log_launch_failed(login.address, place, f"{what} failed: {error!r}", started)
            if again and isinstance(error, ConnectionError):
                await self._launch(place, again=False)
                return
            pool.connect_failed(f"server conn crashed? {error}", clock())
            self.perform(pool.activate(clock()))
            return
        self._adopt(place, login, left, started)

    def _log_launch_failed(self, address: object, place: Place, why: str, started: float) -> None:
        who = label("S", self.next_server_number(), place.pool.database, place.pool.user, address)
        self.log.warning(f"closing because: {why} (age={int(clock() - started)}s)", who)

    def _addresses_gone(self, host: str, gone: set[ServerAddress]) -> None:
        """*host* does not lead there any more: these servers serve their transactions to the end, and no others."""
        for place in self.places.values():
            if host in place.fleet.hosts:
                for server in place.pool.servers():
                    if real_member(server).address.at(0) in gone:
                        server.close_needed = True
        for connection in self.listening:
            if host in self.places[connection.pool].fleet.hosts and connection.opened and connection.address.at(0) in gone:
                connection.lost("its address is gone")

    def _adopt(self, place: Place, login: ServerLogin, left: Finding, started: float) -> None:
        pool, context = place.pool, place.context
        fd, tls = adopt(login.sock)
        server = Server(self.relay, fd, pool, context)
        server.tls = tls
        server.number = self.next_server_number()
        server.address = login.address
        server.pid, server.key = login.pid, login.key
        self.servers[place.catalogs, server.pid] = server
        server.connect_time = started
        server.defaults = place.defaults
        server.starts(left)
        server.reported = context.same_reported(login.parameters)
        place.learn_start(server.start)
        place.learn_reported(server.reported)
        self.log.log(f"new connection to server (from {_local_address(server.fd)})", self.server_label(server))
        if tls is not None:
            self.log.log(f"SSL established: {tls.description}", self.server_label(server))
        self.relay.add(server, b"")
        self.relay.now = clock()  # the relay may have been idle all the while
        client = pool.server_connected(server, self.relay.now)
        if client is not None:
            real_member(client).linked(server)
        elif server.state is ServerState.CLOSED:
            server.close("pool is full")
        self.perform(pool.activate(clock()))

    def next_server_number(self) -> int:
        """A number for a new server connection, as the log names it."""
        self._server_numbers += 1
        return self._server_numbers

    def close_server(self, server: Any, reason: str) -> None:
        """Close a server that a pool has given up."""
        real_member(server).close(reason)

    # --- notifications ---

    def listening_connection(self, client: Client) -> ListeningConnection:
        """The connection that listens for this client; it may not be open yet."""
        return self.listening.get(client.pool)

    def listening_successor(self, connection: ListeningConnection) -> ListeningConnection:
        """The connection that listens instead of one that was lost."""
        return self.listening.get(connection.pool)

    def listening_closed(self, connection: ListeningConnection, reason: str) -> None:
        """A listening connection's socket is closed; its clients are told by itself."""
        self.listening.closed(connection, reason)

    def notifier(self, server: Server, pid: int) -> int:
        """The process id that was given to the client whose server, of the same database as *server*, has *pid*; 0: none."""
        return self.notifier_of(server.pool, pid)

    def notifier_of(self, pool: Any, pid: int) -> int:
        """The same for a server of *pool*'s database."""
        place = self.places.get(pool)
        server = self.servers.get((place.catalogs, pid)) if place is not None else None
        if server is None:
            return 0
        # Before it has answered its new owner once, it is the one before whose notification is on its way still: as far as can
        # be told. For those who listen it can be (Subscription.taken).
        return server.owner_key if server.answered_at > server.owner_since or not server.former_key else server.former_key

    # --- what the relay reports ---

    def client_waits(self, client: Any) -> None:
        """A client has to wait: perhaps a server must be started."""
        self.perform(client.pool.activate(self.relay.now))

    def exchange(self, client: Client | Errand, server: Server) -> Server | None:
        """The pool gave *client* a server that does not fit: another one instead, or None, it waits."""
        pool = server.pool
        for other in reversed(list(pool.idle)):
            if not other.close_needed and client.fits(other):
                pool.exchange(client, server, other)
                return real_server(other)
        pool.wait_first(client, self.relay.now)
        custom = server.takes_buffers(client.settings)
        what = "custom settings of other clients are defined" if custom else "temp_buffers can no longer be set"
        server.close(f"{what} on it")
        return None

    def catalogs_changed(self, client: Client, prepared: bytes | None) -> None:
        """A text that ends a transaction with DDL goes out: what was read from the catalogs proves nothing any more. Or it is
        *prepared* under that name."""
        catalogs = self.places[client.pool].catalogs
        catalogs.doubt(client)
        if prepared is not None:
            catalogs.prepare(client, prepared)

    def changes_prepared(self, client: Client, name: bytes) -> PreparedChanges | None:
        """What committing that prepared transaction changes in the catalogs; None: nothing that is known."""
        return self.places[client.pool].catalogs.take_prepared(name)

    def catalogs_settled(self, client: Client) -> None:
        """That transaction has ended: read the catalogs again."""
        place = self.places[client.pool]
        place.catalogs.settle(client)
        if place.catalogs.due(self.relay.now):
            place.catalogs.reading = True
            self.begin(self._read_again(place))

    def leave_databases(self, client: Client, names: set[str]) -> None:
        """The client says what PostgreSQL does only while nobody is connected to these databases, and waits a few seconds for:
        servers that no client has any more are closed."""
        host, port, _ = leads_to(self.places[client.pool].entry)
        meant = {(host, port, name) for name in names}
        for pool, place in list(self.places.items()):
            if leads_to(place.entry) in meant and not pool.clients:
                self.perform(pool.reconnect(self.relay.now, "a client wants nobody to be connected to this database"))

    def pinned(self, client: Any) -> None:
        """A client keeps its server: the pool has a place more."""
        asyncio.get_running_loop().call_soon(self._activate, client.pool)

    def released(self, server: Server) -> None:
        """The pool took a server back and wants something done."""
        pool = server.pool
        if server.state is ServerState.CLOSED:
            server.close(_why_closed(server, self.relay.now))
        else:
            self.perform(pool.activate(self.relay.now))

    def cancel_server(self, server: Server, client: Client | None = None) -> None:
        """Cancel what the server is doing, or what *client* has just sent to it and it may not have begun."""
        server.cancel_begun()  # at once: the server may become ready in the same batch of events
        if client is None:
            self.begin(self.send_cancel(server))
        else:
            client.cancels += 1
            self.begin(self._cancel_for(client, server))

    async def _cancel_for(self, client: Client, server: Server) -> None:
        try:
            await self.send_cancel(server, CANCELS)
        finally:
            client.cancels -= 1

    async def send_cancel(self, server: Server, times: int = 1) -> None:
        """Send a cancel request, after `cancel_begun`; the server is not handed on before it has taken effect.

        So many *times*, as long as the server goes on with the same: PostgreSQL ignores one that comes before it has begun.
        """
        main = self.config.pgbouncer
        self.log.debug("cancel request is passed on", self.server_label(server))
        answered_at = server.answered_at
        while times:
            times -= 1
            try:
                await cancel_server(server.address, server.pid, server.key, main.cancel_wait_timeout)
            except ServerConnectError as error:
                if not server.closed:
                    server.close(f"cancel failed: {error.message}")
                return
            if times:
                await asyncio.sleep(CANCEL_AGAIN)
                if server.closed or server.ready or server.answered_at != answered_at:
                    break
        if not server.closed:
            server.cancel_ended()

    def client_closed(self, client: Client, reason: str) -> None:
        """A client's socket is closed: uncount it."""
        if client.subscription is not None:
            client.subscription.leave()
        client.pool.client_gone(client, self.relay.now)
        if client.overturns:
            self.catalogs_settled(client)
        self.clients.pop(client.cancel_key, None)
        self.counts.leave(client.database.name, client.user)
        self.counts.depart()
        if self.config.pgbouncer.log_disconnections:
            age = int(time.time() - client.connect_time)
            self.log.log(f"closing because: {reason} (age={age}s)", self.client_label(client))

    def tunnel_closed(self, tunnel: Tunnel, login: ClientLogin, reason: str) -> None:
        """A replication client and its server are closed: uncount it."""
        self.tunnels.pop(login.pid, None)
        self.counts.leave(login.database.name, login.user)
        self.counts.depart()
        if self.config.pgbouncer.log_disconnections:
            who = label("C", login.number, login.database.name, login.user, login.peer)
            self.log.log(f"closing because: {reason} (age={int(time.time() - login.connect_time)}s)", who)
        if not self.closing:
            self._activate(tunnel.place.pool)

    def server_closed(self, server: Server, reason: str) -> None:
        """A server's socket is closed: its place in the pool is free."""
        pool, now = server.pool, self.relay.now
        age = int(now - server.connect_time)
        self.log.log(f"closing because: {reason} (age={age}s)", self.server_label(server))
        pool.server_lost(server, now)
        place = self.places.get(pool)
        if place is not None and self.servers.get((place.catalogs, server.pid)) is server:
            del self.servers[place.catalogs, server.pid]
        if not self.closing:
            asyncio.get_running_loop().call_soon(self._activate, pool)

    def _look_again(self, pool: Any) -> None:
        if not self.closing:
            self._activate(pool)

    def _activate(self, pool: Any) -> None:
        self.relay.now = clock()
        self.perform(pool.activate(self.relay.now))

    def internal_error(self, connection: Any, error: Exception) -> None:
        """A connection's event ended in an exception: close it, whatever state it is in."""
        where = "".join(traceback.format_exception(error)).replace("\n", " | ")
        self.log.error(f"internal error, closing {connection!r}: {where}")
        if isinstance(connection, Server):
            connection.doubt(f"internal error: {error}")
        elif isinstance(connection, Client):
            connection.refuse("XX000", "internal error")
        elif isinstance(connection, ListeningConnection):
            connection.lost(f"internal error: {error}")

    def pooler_error(self, client: Client, message: str) -> None:
        """A client was sent an error of the pooler's own."""
        if self.config.pgbouncer.log_pooler_errors:
            self.log.warning(f"pooler error: {message}", self.client_label(client))

    # --- maintenance ---

    def tick(self) -> None:
        """About three times a second: deadlines, pools, catalogs."""
        self.relay.tick()
        now = clock()
        self.timeouts.sweep_idle(self.clients.values(), now)
        self.names.tick(asyncio.get_running_loop().time())
        self.listening.tick(now)
        looked: set[Catalogs] = set()
        for place in list(self.places.values()):
            self.timeouts.sweep(place, now)
            self.timeouts.sweep_sessions(place, now)
            place.retire_unfit()
            self.perform(place.pool.tick(now))
            catalogs = place.catalogs
            if catalogs not in looked and place.pool.connected_count():
                looked.add(catalogs)
                if catalogs.due(now):
                    catalogs.reading = True
                    self.begin(self._read_again(place))

    async def _read_again(self, place: Place) -> None:
        catalogs = place.catalogs
        doubts = catalogs.doubts

        async def question(text: str) -> list[Row]:
            # Sources of functions may have letters that a client's encoding has not; the question before them is all ASCII.
            settings = place.context.table.empty if text is FACTS_QUERY else None
            rows, _ = await self.errand(place, text, settings, upkeep=True)
            return rows

        try:
            for each in catalogs.users:
                each.context.facts_stale = False
            await catalogs.read(question)
        except ErrandFailed:
            # No server is to be had: what was read counts on, and is looked at as soon as there is one.
            for each in catalogs.users:
                each.context.facts_stale = True
        except UNREADABLE:
            catalogs.learn(None, clock(), doubts)
        finally:
            catalogs.reading = False

    async def errand(
        self,
        place: Place,
        text: str = "",
        settings: Any = None,
        parameters: tuple[bytes, ...] | None = None,
        *,
        upkeep: bool = False,
    ) -> tuple[list[Any], dict[bytes, bytes]]:
        """Ask a question on one of the place's servers, under *settings*; waits in line (see `Errand`)."""
        data = text.encode("utf-8", "surrogateescape")
        errand = Errand(self.relay, place.pool, place.context, settings, data, parameters, upkeep)
        now = clock()
        self.relay.now = now
        server = place.pool.acquire(errand, now)
        if server is not None:
            errand.linked(server)
        else:
            self.perform(place.pool.activate(now))
        try:
            return await errand.outcome
        except asyncio.CancelledError:
            place.pool.stop_waiting(errand, clock())
            if parameters is not None:
                errand.abandon()
            raise

    # --- names for the log ---

    @staticmethod
    def client_label(client: Client) -> str:
        """Who a client is, in the log."""
        return label("C", client.number, client.database.name, client.user, client.peer)

    @staticmethod
    def server_label(server: Server) -> str:
        """Who a server is, in the log."""
        return label("S", server.number, server.pool.database, server.pool.user, server.address)


def real_member(member: Any) -> Any:
    """A pool's client or server as what it is here: the relay's, or an errand; the pool knows a few attributes only."""
    return member


def _pass_on(error: ServerConnectError, pool: Any, actions: Iterable[Action]) -> list[Action]:
    """Tell who waited for the login that the server has refused so in the server's own words; what is left to be done."""
    others: list[Action] = []
    for action in actions:
        if isinstance(action, FailClient) and real_member(action.client).pool is pool:
            real_member(action.client).refuse(error.sqlstate, error.message)
        else:
            others.append(action)
    return others


def _why_closed(server: Server, now: float) -> str:
    """Why a pool did not take a server back."""
    pool = server.pool
    if server.ends:
        return "server conn crashed?"
    if pool.paused:
        return "pause mode"
    if server.close_needed:
        return "database configuration changed"
    if now - server.connect_time >= pool.settings.server_lifetime:
        return "server lifetime over"
    return "too many servers in the pool"


def real_server(member: Any) -> Server:
    """A pool's server as the relay's."""
    assert isinstance(member, Server)
    return member


def _local_address(fd: int) -> str:
    with socket.socket(fileno=fd) as sock:
        name = sock.getsockname()
        sock.detach()
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
