"""The running pooler: listens, keeps pools and places, reloads, and stops the way it is told to."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from pgpool_py.admin.errors import Refused
from pgpool_py.app import systemd
from pgpool_py.app.authquery import AuthQuery
from pgpool_py.app.broker import Broker, real_member
from pgpool_py.app.catalogs import Catalogs
from pgpool_py.app.desk import Desk
from pgpool_py.app.drain import CANCELLING, Drain, cut_off
from pgpool_py.app.encryption import Encryption
from pgpool_py.app.gatehouse import Gatehouse
from pgpool_py.app.place import AuthPlace, Place, fresh_settings, leads_to, socket_options
from pgpool_py.app.ports import open_ports, port_name, raise_descriptor_limit, remove_ports
from pgpool_py.app.scraping import Scraping
from pgpool_py.app.takeover import Predecessor, Successor
from pgpool_py.config import Change, Config, ConfigError, DatabaseSettings, diff, load, moot_variables, not_yet_effective
from pgpool_py.frontend.addresses import set_defer_accept
from pgpool_py.frontend.listener import Listener
from pgpool_py.observe.log import Log
from pgpool_py.observe.statistics import log_line
from pgpool_py.observe.syslog import Syslog
from pgpool_py.pool.actions import FailClient
from pgpool_py.pool.pools import Pools
from pgpool_py.relay._io import clock

TICK = 0.333  # seconds between two rounds of maintenance
# What these signals do, for the log.
FORETOLD = {
    signal.SIGHUP: "re-reading config",
    signal.SIGTERM: "shutting down, waiting for all clients disconnect",
    signal.SIGINT: "shutting down, waiting for all servers connections to be released",
    signal.SIGQUIT: "fast exit",
}
RESUMED = {"paused": "continuing from PAUSE", "suspended": "continuing from SUSPEND"}


class Pooler:
    """One process' pooler; `run` is its whole life."""

    def __init__(
        self,
        config: Config,
        log: Log,
        on_ready: Callable[[], None] | None = None,
        successor: Successor | None = None,
    ) -> None:
        self.config = config
        self.log = log
        self._on_ready = on_ready
        self._successor = successor  # of a process that we take over from
        self._predecessor = Predecessor(self)  # of one that takes over from us
        self._owns_ports = False
        self.pools = Pools()
        self.broker = Broker(config, log)
        self.desk = Desk(self)
        self.scraping = Scraping(self.desk, log)
        self.gate = Gatehouse(self.broker, self.place_for, AuthQuery(self.broker, self.auth_place_for, self.forget), self.desk)
        self.pending: dict[str, object] = {}  # settings that a reload read and a restart will put in force
        self.catalogs: dict[tuple[str, int, str], Catalogs] = {}
        self.listener: Listener | None = None
        self._done = asyncio.Event()
        self._waiting_for = ""
        self._drain: Drain | None = None
        self._ends_by = math.inf  # when servers are waited for no longer

    # --- places ---

    def place_for(self, entry: DatabaseSettings, user: str) -> Place:
        """The place of that entry and server user, made if there is none."""
        pool = self.pools.find(entry.name, user)
        if pool is not None:
            self.broker.places[pool].unused_since = None  # whoever asks is about to use it
            return self.broker.places[pool]
        pool = self.pools.get(entry.name, user, fresh_settings())
        place = Place(entry, user, pool, self.catalogs.setdefault(leads_to(entry), Catalogs()))
        self.broker.places[pool] = place
        self._configure(place)
        self.desk.orders.new_place(place)
        if entry.name not in self.config.databases:
            self.log.log(f"registered new auto-database: db={entry.name}")
        return place

    def auth_place_for(self, entry: DatabaseSettings, user: str) -> Place:
        """The place where auth_query runs as *user* in that entry's database, made if there is none."""
        pool = self.pools.find(entry.name, user, own=True)
        if pool is None:
            pool = self.pools.get(entry.name, user, fresh_settings(), own=True)
            self.broker.places[pool] = AuthPlace(entry, user, pool)
            self._configure(self.broker.places[pool])
            self.desk.orders.new_place(self.broker.places[pool])
        return self.broker.places[pool]

    def forget(self, place: Place) -> None:
        """Give up a place, if nobody uses it."""
        pool = place.pool
        if pool not in self.broker.places or pool.server_count() or pool.waiting or pool.clients:
            return
        self.broker.listening.close("not needed", pool)
        self.pools.discard(pool)
        self.desk.forget(place, database_stays=place.entry.name in self.config.databases)
        place.leave()
        del self.broker.places[pool]
        self.catalogs = {where: each for where, each in self.catalogs.items() if each.users}

    def _configure(self, place: Place) -> None:
        config = self.config
        self.pools.database_limit(place.entry.name).maximum = config.max_db_connections(place.entry)
        self.pools.user_limit(place.user).maximum = config.max_user_connections(place.user)
        place.configure(config)
        if self._waiting_for == "takeover":
            place.pool.settings.min_pool_size = 0  # the process that took over keeps as many
        place.tls = self.broker.encryption.servers

    # --- life ---

    async def run(self) -> None:
        """Serve until told to stop. Raises ListenError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        main = self.config.pgbouncer
        await self.scraping.open()
        if self._successor is not None:
            sockets, self._owns_ports = self._successor.sockets, True
        else:
            sockets, self._owns_ports = open_ports(self.config)
        raise_descriptor_limit(self.config, self.log)
        self.listener = Listener(sockets, self.gate, self.gate.hand_over, socket_options(main))
        self.listener.start()
        loop.add_reader(self.broker.relay.fd, self.broker.relay.drain)
        for number, action in (
            (signal.SIGTERM, self.stop_after_clients),
            (signal.SIGINT, self.stop_after_servers),
            (signal.SIGQUIT, self.stop_now),
            (signal.SIGHUP, self.reload),
            (signal.SIGUSR1, self.pause),
            (signal.SIGUSR2, self.resume),
        ):
            loop.add_signal_handler(number, self._signal, number, action)
        self._prefill()
        moot = (*not_yet_effective(self.config), *moot_variables(os.environ))
        for line in (*self.config.warnings, *moot, *self.broker.encryption.notes):
            self.log.warning(line)
        self.log.log(f"process up: listening on {', '.join(map(port_name, sockets))}")
        if self._on_ready is not None:
            self._on_ready()
        if self._successor is not None:
            systemd.notify("READY=1", f"MAINPID={os.getpid()}")
            self._successor.begin(self)
        else:
            systemd.notify("READY=1")
        ticker = loop.create_task(self._tick())
        try:
            await self._done.wait()
        finally:
            ticker.cancel()
            await self._close()

    def _prefill(self) -> None:
        """min_pool_size of entries with a user of their own holds from when they are read."""
        for name in self.config.databases:
            entry = self.config.find_database(name)
            if entry is not None and name != "*" and entry.user is not None and self.config.min_pool_size(entry):
                self.place_for(entry, entry.user)

    async def _tick(self) -> None:
        while True:
            self._predecessor.listen()
            await asyncio.sleep(TICK)
            await self._open_metrics()
            if self.desk.orders.mode == "suspended":
                continue
            try:
                self.broker.tick()
            except Exception as error:  # deadlines and the janitor must go on
                self.log.error(f"internal error in maintenance: {error!r}")
            self._check_stopping()
            self._forget_unused()
            self._count()

    async def _open_metrics(self) -> None:
        """If another process had the port, such as the one we took over from, it may be free now."""
        try:
            await self.scraping.open()
        except Exception as error:  # maintenance must go on
            self.log.error(str(error))
            self.scraping.close()

    def _forget_unused(self) -> None:
        """pool_idle_timeout and autodb_idle_timeout: pools that nobody has used for so long are forgotten."""
        main, now = self.config.pgbouncer, clock()
        for pool, place in list(self.broker.places.items()):
            if pool.server_count() or pool.waiting or pool.clients:
                place.unused_since = None
                continue
            if place.unused_since is None:
                place.unused_since = now
            made_by_star = place.entry.name not in self.config.databases
            limits = [main.pool_idle_timeout, main.autodb_idle_timeout if made_by_star else 0.0]
            if any(0 < limit <= now - place.unused_since for limit in limits):
                self.log.log(f"cleaning up idle pool {pool.database}/{pool.user}")
                self.forget(place)

    def _count(self) -> None:
        """Once in a stats_period: remember the counters, and say what they say."""
        main, periods, now = self.config.pgbouncer, self.desk.periods, clock()
        if periods.due(now, main.stats_period):
            current = self.desk.totals()
            line = log_line(periods.average_of_all(current, now))
            if main.log_stats:
                self.log.log(line)
            systemd.notify(f"STATUS={line}")
            periods.turn(now, current)

    # --- signals ---

    def _signal(self, number: signal.Signals, action: object) -> None:
        ends = number in (signal.SIGTERM, signal.SIGINT)
        if ends and self.desk.orders.mode == "suspended":
            self.log.log(f"got {number.name}, suspend was in progress, going down immediately")
            self.stop_now()
        elif ends and self._waiting_for:
            self.log.log(f"got {number.name} while shutting down, fast exit")
            self.stop_now()
        elif self._waiting_for and number in (signal.SIGUSR1, signal.SIGUSR2):
            self.log.log(f"got {number.name} while shutting down, ignoring")
        else:
            self.log.log(f"got {number.name}, {self._foretold(number)}")
            assert callable(action)
            action()

    def _foretold(self, number: signal.Signals) -> str:
        """What a signal is about to do, in PgBouncer's words."""
        mode = self.desk.orders.mode
        if number == signal.SIGUSR1:
            return "pausing all activity" if mode == "active" else "but already paused/suspended"
        if number == signal.SIGUSR2:
            return RESUMED.get(mode, "but not paused/suspended")
        return FORETOLD[number]

    def pause(self) -> None:
        """SIGUSR1: as PAUSE; nobody waits for its end."""
        with suppress(Refused):
            self.desk.orders.pause(None)

    def resume(self) -> None:
        """SIGUSR2: as RESUME."""
        with suppress(Refused):
            self.desk.orders.resume(None)

    def stop_after_clients(self) -> None:
        """SIGTERM: no new clients; end when the last one has left, or after drain_timeout."""
        main = self.config.pgbouncer
        self._drain = Drain(main.drain_delay, main.drain_timeout, clock(), self._close_ports)
        self._stop("clients")

    def stop_after_servers(self) -> None:
        """SIGINT: no new clients; end when every transaction is finished."""
        self._stop("servers")
        self.desk.orders.everything_pauses()
        self._check_stopping()

    def step_down(self) -> None:
        """Another process serves our addresses: hand over what can go, and end with the last client."""
        self._owns_ports = False
        self.scraping.close()  # its metrics are the other's now
        if self.listener is not None:
            self.listener.close()
        self._waiting_for = "takeover"
        for place in self.broker.places.values():
            self._configure(place)
        self._check_stopping()

    def stop_now(self) -> None:
        """SIGQUIT: end at once."""
        self._done.set()

    def _stop(self, waiting_for: str) -> None:
        self._waiting_for = waiting_for
        systemd.notify("STOPPING=1")
        if waiting_for == "servers" and (self._drain is None or self._drain.accepting):
            self._close_ports()
        self._check_stopping()

    def _close_ports(self) -> None:
        self.broker.stopping = True
        self.broker.waiting_for_clients = self._waiting_for == "clients"
        if self.listener is not None:
            # Unix sockets stay for the console: whoever ends the process may want to see what it waits for.
            self.listener.close_tcp()

    def _check_stopping(self) -> None:
        if self._waiting_for == "clients":
            assert self._drain is not None
            if self._drain.step(self.broker.clients.values(), clock()):
                cut_off(self.broker.clients.values())
                self._ends_by = clock() + CANCELLING
                self.stop_after_servers()
                return
            left = len(self.broker.clients) + len(self.broker.tunnels) + self._drain.accepting + self._logins()
        elif self._waiting_for == "takeover":
            left = len(self.broker.clients) + len(self.broker.tunnels) + self._logins()
            if self._successor is not None:
                left += self._successor.waiting + (not self._successor.over)  # whose clients are reached, and come, through us
        elif self._waiting_for == "servers":
            self._fail_waiting()
            left = self.pools.busy_count()
        else:
            return
        if not left or clock() > self._ends_by:
            self._done.set()

    def _fail_waiting(self) -> None:
        """Nobody gets a server any more: whoever waits for one can go where there are some."""
        for action in self.pools.fail_waiting("server shutting down", clock()):
            if isinstance(action, FailClient):
                real_member(action.client).refuse("57P01", action.message)
        self.broker.relay.reap()

    def _logins(self) -> int:
        return self.listener.logins if self.listener is not None else 0

    async def _close(self) -> None:
        self.broker.stopping = self.broker.closing = True
        self._predecessor.close()
        self.scraping.close()
        if self.listener is not None:
            self.listener.close()
            await self.listener.end_logins()
        await self.desk.close()
        for client in list(self.broker.clients.values()):
            client.refuse("57P01", "server shutting down")
        tunnels = list(self.broker.tunnels.values())
        for tunnel in tunnels:
            tunnel.end()
        await asyncio.gather(*(tunnel.task for tunnel in tunnels if tunnel.task is not None), return_exceptions=True)
        self.broker.listening.close("server shutting down")
        for place in self.broker.places.values():
            for server in list(place.pool.servers()):
                real_member(server).close("server shutting down")
        asyncio.get_running_loop().remove_reader(self.broker.relay.fd)
        self.broker.relay.close()
        if self._owns_ports:
            remove_ports(self.config)
        self.log.log("shutdown complete")

    # --- reload ---

    def reload(self) -> bool:
        """SIGHUP, RELOAD: read the files again; all of it, or nothing and say why. Whether it succeeded."""
        systemd.reloading()
        try:
            config = load(self.config.pgbouncer.conffile or self.config.path)
            self.pending = {waits.name: waits.new for waits in self.take_over(config, Encryption.of(config))}
        except ConfigError as error:
            for line in str(error).splitlines():
                self.log.error(line)
            self.log.error("RELOAD failed, the old configuration stays in force")
            return False
        finally:
            systemd.notify("READY=1")
        return True

    def take_over(self, config: Config, encryption: Encryption | None = None) -> tuple[Change, ...]:
        """Put *config* in force as far as that can be done while running; what has to wait for a restart.

        Without *encryption* contexts are made where a setting of TLS changed. ConfigError, and nothing changed, if that fails or
        the log file cannot be written.
        """
        started = time.monotonic()
        if encryption is None:
            encryption = self.broker.encryption.renewed(self.config, config)
        change = diff(self.config, config)
        configure_log(self.log, change.config)
        self.config = self.broker.config = change.config
        self.broker.encryption = encryption
        main = self.config.pgbouncer
        for line in self.config.warnings:
            self.log.warning(line)
        for waits in change.needs_restart:
            self.log.warning(f"{waits.name}: the new value waits for a restart")
        self.gate.reload()
        self.broker.configure(change.config)
        if self.listener is not None:
            self.listener.options = socket_options(main)
            if any(each.name == "tcp_defer_accept" for each in change.changed):
                for sock in self.listener.sockets:
                    if sock.family != socket.AF_UNIX:
                        set_defer_accept(sock, main.tcp_defer_accept)
        now = clock()
        for pool, place in list(self.broker.places.items()):
            entry = self.config.find_database(place.entry.name)
            if entry is None:
                for client in [c for c in self.broker.clients.values() if c.pool is pool]:
                    client.refuse("08P01", "database removed")
                for tunnel in [t for t in self.broker.tunnels.values() if t.place is place]:
                    tunnel.end("database removed")
                self.broker.perform(self.pools.kill("database removed", now, pool.database))
                self.broker.listening.close("database removed", pool)
                continue
            place.entry = entry
            self._configure(place)
            key = place.entry.name if place.entry.name in self.config.databases else "*"
            if change.recycle_all or key in change.recycled:
                place.learn_reported(None)
                self.broker.perform(pool.reconnect(now))
                self.broker.listening.close("database configuration changed", pool)
                # A stream of replication may never end by itself.
                for tunnel in [t for t in self.broker.tunnels.values() if t.place is place]:
                    tunnel.end("database configuration changed")
        self._prefill()
        self.log.log(f"reload done in {time.monotonic() - started:.3f} s, {len(change.changed)} settings changed")
        return change.needs_restart


def configure_log(log: Log, config: Config) -> None:
    """Log where and how *config* says; ConfigError, and everything as it was, if its file cannot be written."""
    main = config.pgbouncer
    syslog = Syslog(main.syslog_ident, main.syslog_facility) if main.syslog else None
    try:
        log.configure(main.logfile, main.verbose, not log.stderr, syslog)
    except OSError as error:
        where = config.origins.get(("pgbouncer", "logfile"), config.path)
        raise ConfigError([f"{where}: [pgbouncer] logfile: cannot write {main.logfile!r}: {error.strerror}"]) from None
