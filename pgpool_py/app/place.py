"""A place: one pool with everything that serves it: the database entry, the sessions' context, the way to its servers.

Decides nothing about clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgpool_py.app.catalogs import NOT_READ, Catalogs
from pgpool_py.auth.secret import Secret
from pgpool_py.backend.connect import connect_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.fleet import Fleet, Role
from pgpool_py.backend.hosts import Names
from pgpool_py.backend.target import ServerLogin, ServerTarget, ServerTls
from pgpool_py.config import Config, DatabaseSettings, Placeholders, PoolMode, SessionPin, SessionState
from pgpool_py.config.values import LoadBalance, SessionAttrs
from pgpool_py.pool.pool import Pool
from pgpool_py.pool.settings import PoolSettings
from pgpool_py.session import flags
from pgpool_py.session.catalog_queries import CUSTOM_DEFAULTS_QUERY
from pgpool_py.session.settings import IDLE_TIMEOUT, RENAMED, Settings, seconds
from pgpool_py.session.spelling import answered, literal
from pgpool_py.session.statements import PIN_ALLOW, PIN_ERROR, PIN_NOTICE, SessionContext
from pgpool_py.session.verdict import UNINFORMED, parameters_verdict
from pgpool_py.sockets import SocketOptions
from pgwire import ScramKeys

SESSION_RESET = flags.RESET  # what makes a server of a session pool run server_reset_query
PIN_MODES = {SessionPin.ALLOW: PIN_ALLOW, SessionPin.NOTICE: PIN_NOTICE, SessionPin.ERROR: PIN_ERROR}
HOLD_TIME = 60.0  # seconds in which a client may read sequence values that it left in an earlier transaction
ROLE_RETRY = 1.0  # seconds between two looks for a host in the role asked for
INVALID_PASSWORD = "28P01"


class Place:
    """One (database entry, user)."""

    def __init__(self, entry: DatabaseSettings, user: str, pool: Pool, catalogs: Catalogs) -> None:
        self.entry = entry
        self.user = user
        self.pool = pool
        self.catalogs = catalogs
        facts = catalogs.facts
        self.context = SessionContext(facts.scanner if facts else UNINFORMED, self.judge_types)
        self.context.user = user.encode()
        self.context.placeholders = facts.placeholders if facts else frozenset()
        # how its own user logged in, when auth_file does not say: for logging in to servers
        self.scram_keys: ScramKeys | None = None
        self.learned: Secret | None = None
        self.opened_by: Secret | None = None  # the secret that the last server took
        # what a new client is told: the reported settings of a fresh server
        self.parameters: dict[bytes, bytes] | None = None
        # what a fresh server's settings are: name in lower case: (name, value)
        self.defaults: dict[bytes, tuple[bytes, bytes]] = {}
        self.idle_timeout = 0.0  # idle_session_timeout among them
        # startup settings -> (settings, what the client is told), for those that were tried on a server
        self.startups: dict[frozenset[tuple[str, str]], tuple[Settings, dict[bytes, bytes]]] = {}
        self.mode = PoolMode.SESSION
        self.tls = ServerTls()
        self.fleet = Fleet(("",))
        self.unused_since: float | None = None  # when the pool was first seen without clients and servers
        if catalogs is not NOT_READ:
            catalogs.users.append(self)

    def __repr__(self) -> str:
        return f"<Place {self.pool!r}>"

    def learn_reported(self, reported: dict[bytes, bytes] | None) -> None:
        """What clients are told from now on; None: what the next server says, for which they wait. A server may come back
        with another version, so nothing is told any more that was remembered from before."""
        if reported is not self.parameters:
            self.parameters = reported
            self.startups.clear()

    def learn_start(self, start: Settings) -> None:
        """What clients start with from now on."""
        if start is not self.context.start:
            self.context.start = start
            self.startups.clear()

    def custom_defaults_query(self) -> str:
        """The question for the custom settings that a new server starts with."""
        names = b", ".join(map(literal, sorted(self.context.placeholders | self.context.seen))).decode()
        return names.join(CUSTOM_DEFAULTS_QUERY)

    def learn_defaults(self, rows: Sequence[Sequence[bytes | None]]) -> None:
        """Take in the settings of a new server, as (name, value), or (name, value, whether its user may not set it)."""
        defaults = {name.lower(): (name, answered(value) or b"") for name, value, *_ in rows if name is not None}
        privileged = [(row[0], row[2]) for row in rows if row[0] is not None and len(row) > 2 and row[2] is not None]
        self.context.forbidden = frozenset([name for name, forbidden in privileged if forbidden == b"t"])
        self.context.privileged = frozenset([name.lower() for name, _ in privileged])
        if defaults != self.defaults:
            self.defaults = defaults
            self.idle_timeout = seconds(defaults.get(IDLE_TIMEOUT, (b"", b""))[1])

    def spelled(self, name: str) -> bytes:
        """A setting's name as the server spells it; custom ones in lower case."""
        lower = name.lower().encode("utf-8", "surrogateescape")
        known = self.defaults.get(lower) or self.defaults.get(RENAMED.get(lower, b""))
        return known[0] if known else lower

    def judge_types(self, types: bytes) -> int:
        """What binding parameters of these types, 4 bytes each, may do to a session."""
        oids = (int.from_bytes(types[i : i + 4], "big") for i in range(0, len(types) - 3, 4))
        return parameters_verdict(oids, self.catalogs.facts)

    def leave(self) -> None:
        """The pool is forgotten: its database's catalogs no longer concern it."""
        if self in self.catalogs.users:
            self.catalogs.users.remove(self)

    def configure(self, config: Config) -> None:
        """Take over what the configuration says now."""
        main, entry, user = config.pgbouncer, self.entry, self.user
        settings = self.pool.settings
        settings.pool_size = config.pool_size(entry, user)
        settings.min_pool_size = config.min_pool_size(entry)
        settings.reserve_pool_size = config.reserve_pool_size(entry, user)
        settings.pin_pool_size = main.pin_pool_size
        settings.hold_time = min(HOLD_TIME, main.pin_timeout or HOLD_TIME)
        settings.reserve_pool_timeout = main.reserve_pool_timeout
        # Behind a forced user each client's own user may say something else: then the sweep sees to it.
        by_client = entry.user is not None and any(each.query_wait_timeout is not None for each in config.users.values())
        settings.query_wait_timeout = 0.0 if by_client else config.query_wait_timeout(entry, user)
        settings.server_lifetime = config.server_lifetime(entry)
        settings.server_idle_timeout = main.server_idle_timeout
        # Where a promotion is waited for, clients wait with it.
        settings.patient = entry.target_session_attrs is not SessionAttrs.ANY
        settings.server_login_retry = min(main.server_login_retry, ROLE_RETRY) if settings.patient else main.server_login_retry
        hosts, in_turn = entry.hosts or (main.unix_socket_dir or "/tmp",), entry.load_balance_hosts is LoadBalance.ROUND_ROBIN
        if (hosts, in_turn) != (self.fleet.hosts, self.fleet.round_robin):
            self.fleet = Fleet(hosts, in_turn)
        settings.server_check_delay = main.server_check_delay
        settings.server_check_query = bool(main.server_check_query)
        settings.server_round_robin = main.server_round_robin
        settings.forced_user = entry.user is not None
        self.pool.settings_changed()
        self.mode = config.pool_mode(entry, user)
        context = self.context
        context.pooling = self.mode is not PoolMode.SESSION
        context.statement_pooling = self.mode is PoolMode.STATEMENT
        reset = main.server_reset_query
        context.session_reset = SESSION_RESET if reset and self.mode is PoolMode.SESSION else 0
        context.reset_query = (reset if reset and self.mode is PoolMode.SESSION else "DISCARD ALL").encode()
        context.always_reset = context.pooling and bool(main.server_reset_query_always)
        context.no_simple_query = main.disable_pqexec
        level = config.effective(entry, user, "session_state")
        context.watching = level is not SessionState.PGBOUNCER
        context.connect_query = (entry.connect_query or "").encode() if context.pooling and context.watching else b""
        if not entry.connect_query:
            self.learn_start(context.table.empty)
        context.keeping = context.pooling and level is SessionState.TRANSPARENT
        context.exact = main.session_placeholders is Placeholders.EXACT
        context.pin_mode = PIN_MODES[config.effective(entry, user, "session_pin")]
        context.pin_timeout = main.pin_timeout
        context.max_prepared_statements = main.max_prepared_statements
        context.max_packet_size = main.max_packet_size
        context.reset_timeout = main.server_reset_timeout
        context.leaving_query_timeout = main.leaving_query_timeout

    def server_secrets(self, config: Config) -> list[Secret]:
        """The secrets a server may take, the one that the last server took first: several during a change of password."""
        entry = self.entry
        if entry.password is not None and entry.user in (None, self.user):
            return [entry.password]
        stored = config.userlist.get(self.user) or ((self.learned,) if self.learned else ())
        usable = [secret for secret in stored if secret and secret.kind != "scram-sha-256"]
        return sorted(usable, key=lambda secret: secret != self.opened_by)

    async def connect(self, config: Config, names: Names, wanted: ServerTarget | None = None) -> ServerLogin:
        """A new server connection, opened by the first of the place's secrets that the server takes."""

        async def to_one(target: ServerTarget, timeout: float | None) -> ServerLogin:
            secrets = self.server_secrets(config)
            for secret in secrets[:-1]:
                try:
                    login = await connect_server(replace(target, password=secret.reveal()), timeout, names)
                except ServerConnectError as error:
                    if error.sqlstate != INVALID_PASSWORD:
                        raise
                else:
                    self.opened_by = secret
                    return login
            last = secrets[-1] if secrets else None
            login = await connect_server(replace(target, password=last.reveal() if last else None), timeout, names)
            self.opened_by = last
            return login

        timeout = config.pgbouncer.server_connect_timeout
        return await self.fleet.connect(wanted or self.target(config), self.entry.target_session_attrs, timeout, to_one)

    def overtake(self, client: Any, made: int, named: frozenset[bytes]) -> None:
        """The catalogs change, by *client* or (None) past the pooler: what is under way for others was judged by what there was
        before. *made*, *named*: what is known of what is new, as of `Noter.made`."""
        if self.context.pooling and self.context.watching:
            for server in self.pool.servers():
                if client is None or server.client is not client:  # type: ignore[attr-defined]
                    server.others_change_catalogs(made, named)  # type: ignore[attr-defined]

    def retire_unfit(self) -> None:
        """Servers that are no longer what target_session_attrs asks for serve their transaction to its end, and no other."""
        attrs = self.entry.target_session_attrs
        if attrs in (SessionAttrs.ANY, SessionAttrs.PREFER_STANDBY):
            return
        for server in self.pool.servers():
            reported = server.reported  # type: ignore[attr-defined]
            standby = reported.get(b"in_hot_standby")
            # default_transaction_read_only is the client's own business by now.
            if standby is not None and not Role(standby == b"on", standby == b"on").serves(attrs):
                server.close_needed = True

    def target(self, config: Config, secret: Secret | None = None) -> ServerTarget:
        """Where a new server connection of this place goes, with *secret* or the first that it has."""
        entry, main = self.entry, config.pgbouncer
        secret = secret or next(iter(self.server_secrets(config)), None)
        parameters = {
            name: value
            for name, value in (
                ("client_encoding", entry.client_encoding),
                ("DateStyle", entry.datestyle),
                ("TimeZone", entry.timezone),
            )
            if value
        }
        return ServerTarget(
            host=self.fleet.hosts[0] if len(self.fleet.hosts) == 1 else ",".join(self.fleet.hosts),
            port=entry.port,
            dbname=entry.dbname or entry.name,
            user=self.user,
            password=secret.reveal() if secret else None,
            scram_keys=self.scram_keys,
            parameters=parameters,
            application_name=entry.application_name,
            options=socket_options(main),
            tls=self.tls,
        )


class AuthPlace(Place):
    """Where auth_query runs: servers that no client ever gets, so nobody's session can be in their way."""

    def __init__(self, entry: DatabaseSettings, user: str, pool: Pool) -> None:
        Place.__init__(self, entry, user, pool, NOT_READ)

    def server_secrets(self, config: Config) -> list[Secret]:
        """Its own first: `password=` of an entry that forces no user is the clients'."""
        stored = [secret for secret in config.userlist.get(self.user, ()) if secret and secret.kind != "scram-sha-256"]
        return stored or Place.server_secrets(self, config)

    def configure(self, config: Config) -> None:
        """As of any pool in transaction mode that has no client of its own."""
        Place.configure(self, config)
        self.mode = PoolMode.TRANSACTION
        self.context.pooling, self.context.statement_pooling, self.context.session_reset = True, False, 0
        self.context.reset_query = b"DISCARD ALL"
        settings = self.pool.settings
        settings.min_pool_size, settings.forced_user = 0, False
        settings.query_wait_timeout = config.query_wait_timeout(self.entry, self.user)
        self.pool.settings_changed()


def leads_to(entry: DatabaseSettings) -> tuple[str, int, str]:
    """Host, port and database of an entry: what is equal is one database, as far as its words tell."""
    return entry.host or "", entry.port, entry.dbname or entry.name


def socket_options(main: Any) -> SocketOptions:
    """The tcp_* settings of [pgbouncer]."""
    return SocketOptions(
        tcp_keepalive=main.tcp_keepalive,
        tcp_keepcnt=main.tcp_keepcnt,
        tcp_keepidle=int(main.tcp_keepidle),
        tcp_keepintvl=int(main.tcp_keepintvl),
        tcp_user_timeout=main.tcp_user_timeout,
        tcp_socket_buffer=main.tcp_socket_buffer,
    )


def fresh_settings() -> PoolSettings:
    """Settings for a pool that `Place.configure` fills in."""
    return PoolSettings()


Entries = Mapping[str, DatabaseSettings]
