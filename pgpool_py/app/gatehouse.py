"""What logins ask of the pooler: who may enter, where a client belongs, what it is told. Implements `frontend.gate.Gate`."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pgpool_py.app.authquery import AuthQuery
from pgpool_py.app.broker import Broker
from pgpool_py.app.desk import ConsoleEntry, Desk
from pgpool_py.app.encryption import Encryption
from pgpool_py.app.errand import ErrandFailed
from pgpool_py.app.peers import Peers
from pgpool_py.app.place import Place
from pgpool_py.app.tunnel import Tunnel
from pgpool_py.auth.secret import Secret
from pgpool_py.backend.query import QueryFailed
from pgpool_py.config import ADMIN_DATABASE, Config, DatabaseSettings, SessionState
from pgpool_py.frontend.errors import LoginRefused, PoolerStopping
from pgpool_py.frontend.gate import ClientLogin, Credentials, Database, LoginRules, Peer, Welcome
from pgpool_py.frontend.limits import ClientCounts
from pgpool_py.frontend.slowdown import Slowdown
from pgpool_py.frontend.startup import StartupRequest
from pgpool_py.observe.log import label
from pgpool_py.relay._io import clock
from pgpool_py.relay.client import Client
from pgpool_py.relay.tls import adopt
from pgpool_py.session.catalog_queries import major_version
from pgpool_py.session.look import Question, Row, read
from pgpool_py.session.settings import PASSING, Settings

MAX_ENTRIES = 1000  # database entries remembered as logins see them
MAX_STARTUPS = 1000  # distinct startup settings remembered for a pool
MAX_APPLICATION_NAME = 63  # bytes
CANCEL_LOOK = 0.01  # seconds between two looks whether a cancel that is due was carried out
# Startup parameters that PgBouncer takes: the settings it tracks (those of its next version). In lower case.
TRACKED = frozenset(
    {
        *("application_name", "client_encoding", "datestyle", "default_transaction_read_only", "intervalstyle"),
        *("scram_iterations", "search_path", "session_authorization", "standard_conforming_strings", "timezone"),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A database entry as a login sees it."""

    settings: DatabaseSettings
    client_limit: int
    disabled: bool = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def forced_user(self) -> str | None:
        return self.settings.user

    @property
    def is_console(self) -> bool:
        return False

    @property
    def max_client_connections(self) -> int:
        return self.client_limit


class Gatehouse:
    """The gate of this pooler."""

    def __init__(
        self, broker: Broker, place_for: Callable[[DatabaseSettings, str], Place], auth_query: AuthQuery, desk: Desk
    ) -> None:
        self.broker = broker
        self.place_for = place_for
        self.peers = Peers(broker)
        self.elsewhere: Callable[[int, bytes], Awaitable[None]] | None = None  # for clients that a process before us still has
        self.auth_query = auth_query
        self.desk = desk
        self.slowdown = Slowdown()
        self.reload()
        self._mock_key = self.rules.mock_key
        self._entries: dict[str, Entry] = {}

    @property
    def counts(self) -> ClientCounts:
        return self.broker.counts

    def reload(self) -> None:
        """Take over what the configuration says now."""
        config = self.broker.config
        self.rules = self._rules(config, self.broker.encryption)
        tracked = TRACKED | {name.lower() for name in config.pgbouncer.track_extra_parameters}
        self._narrow_rules = replace(self.rules, startup_parameters=tracked)
        levels = [config.pgbouncer.session_state]
        levels += [entry.session_state for entry in config.databases.values() if entry.session_state is not None]
        levels += [entry.session_state for entry in config.users.values() if entry.session_state is not None]
        self._any_narrow = SessionState.PGBOUNCER in levels

    @staticmethod
    def _rules(config: Config, encryption: Encryption) -> LoginRules:
        main = config.pgbouncer
        asks = main.auth_user or any(entry.auth_user for entry in config.databases.values())
        knows_scram = asks or any(s.kind == "scram-sha-256" for stored in config.userlist.values() for s in stored)
        return LoginRules(
            auth_type=main.auth_type.value,
            hba=config.hba,
            ldap=config.ldap,
            auth_failure_delay=main.auth_failure_delay,
            tls=encryption.clients,
            client_login_timeout=main.client_login_timeout,
            max_client_conn=main.max_client_conn,
            scram_iterations=main.scram_iterations,
            startup_parameters=None,
            ignore_startup_parameters=frozenset(name.lower() for name in main.ignore_startup_parameters),
            unknown_user_method="scram-sha-256" if knows_scram else "md5",
        )

    def find_database(self, name: str) -> Entry | ConsoleEntry | None:
        if name == ADMIN_DATABASE:
            return self.desk.entry
        config = self.broker.config
        entry = config.find_database(name)
        if entry is None:
            return None
        limit = int(config.effective(entry, None, "max_db_client_connections"))
        found = Entry(entry, limit, self.desk.orders.is_disabled(name))
        same = self._entries.get(name)
        if same == found:
            return same  # one object for all its clients
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
        self._entries[name] = found
        return found

    def startup_rules(self, database: str, user: str) -> LoginRules:
        """The rules that startup parameters are judged by: at session_state = pgbouncer few are taken."""
        config = self.broker.config
        entry = config.find_database(database) if self._any_narrow else None
        if entry is None or database == ADMIN_DATABASE:
            return self.rules
        level = config.effective(entry, config.pool_user(entry, user), "session_state")
        return self._narrow_rules if level is SessionState.PGBOUNCER else self.rules

    def admit(self, request: StartupRequest, peer: Peer) -> None:
        # Who comes over TCP connected before the port was closed, and is waited for like the others.
        in_time = self.broker.waiting_for_clients and peer.host != "unix"
        if self.broker.stopping and request.database != ADMIN_DATABASE and not in_time:
            raise PoolerStopping

    async def secrets_of(self, user: str, database: Database | None, why: bool = False) -> Sequence[str] | None:
        """With *why*, NotTheUsers says why a user that was looked up is not known."""
        ask = self.auth_query.look_up if why else self.auth_query.ask
        stored = self.broker.config.userlist.get(user)
        if stored is not None:
            return [secret.reveal() for secret in stored]
        if isinstance(database, Entry):
            return await ask(user, database.settings)
        # Of a database that there is not, nobody is asked.
        return await ask(user, None) if database is not None and database.is_console else None

    def is_own_user(self, user: str, peer: Peer) -> bool:
        return user == ADMIN_DATABASE and peer.host == "unix" and peer.uid == os.getuid()

    def max_client_connections_of(self, user: str) -> int:
        return int(self.broker.config.effective(None, user, "max_user_client_connections"))

    async def welcome(self, request: StartupRequest, database: Database, credentials: Credentials, peer: Peer) -> Welcome:
        if database.is_console:
            return self.desk.welcome(request, self.is_own_user(request.user, peer))
        await self.desk.orders.running.wait()
        assert isinstance(database, Entry)
        place = self.place_for(database.settings, database.forced_user or request.user)
        if database.forced_user is None:
            # A forced user has secrets of its own, which those of clients must not replace.
            place.scram_keys = credentials.scram_keys or place.scram_keys
            place.learned = Secret(credentials.secret) if credentials.secret else place.learned
        if self.broker.config.pgbouncer.application_name_add_host:
            _add_host(request.settings, peer)
        if request.replication:
            await self.desk.orders.served(database.name)
            kind = "database" if request.replication == "logical" else "true"
            tunnel = await Tunnel.opened(self.broker, place, kind, request.settings)
            return Welcome(tunnel.server.parameters, pool=tunnel, discard=tunnel.discard)
        settings, told = await self._startup(place, request.settings)
        return Welcome(told, pool=(place, settings, told), notice=self.broker.config.pgbouncer.login_notify_message)

    async def _startup(self, place: Place, wanted: dict[str, str]) -> tuple[Settings, dict[bytes, bytes]]:
        """The settings a client starts with, as the server spells them, and what it is told."""
        key = frozenset(wanted.items())
        known = place.startups.get(key)
        if known is not None:
            return known
        if place.parameters is None:
            await self._errand(place, place.context.table.empty)
        base = place.parameters or {}
        wanted = _with_clean_name(wanted, base)
        table = place.context.table
        start = place.context.start.values
        simple = _simple(wanted)
        if simple is not None:
            settings = table.get({**start, **simple})
            told = place.context.same_reported({**base, **simple})
        else:
            raw = {place.spelled(name): _bytes(value) for name, value in wanted.items()}
            names = Question(names={name.lower() for name in raw})
            rows, told = await self._errand(place, table.get({**start, **raw}), names.text().decode("utf-8", "surrogateescape"))
            lasting = {name: value for name, value in wanted.items() if _bytes(name.lower()) not in PASSING}
            if lasting != wanted:
                return await self._startup(place, lasting)
            values = read(rows, names).values
            canonical = {name: values.get(name.lower()) or value for name, value in raw.items()}
            settings = table.get({**start, **canonical})
        if len(place.startups) >= MAX_STARTUPS:
            place.startups.clear()
        place.startups[key] = settings, told
        return settings, told

    async def _errand(self, place: Place, settings: Settings, text: str = "") -> tuple[list[Row], dict[bytes, bytes]]:
        """The answer to *text* under *settings*, and what a server of the place reports under them."""
        try:
            return await self.broker.errand(place, text, settings)
        except QueryFailed as failure:
            message, code = failure.error.message, failure.error.code or "22023"
            if code == "55P02" and any(name.lower() in place.defaults and name.decode() in message for name in settings.values):
                message += ", and servers are shared by clients (ignore_startup_parameters)"
            raise LoginRefused(message, code) from None
        except ErrandFailed as failure:
            raise LoginRefused(str(failure), failure.sqlstate) from None

    def new_key(self, length: int) -> tuple[int, bytes]:
        pid = self.peers.new_pid(self.broker.clients, self.broker.tunnels, self.desk.keys)
        return pid, secrets.token_bytes(length)

    def pids(self) -> list[int]:
        """The process ids that must not be given out once more."""
        return [*self.broker.clients, *self.broker.tunnels, *self.desk.keys, *self.peers.taken]

    async def cancel(self, pid: int, secret: bytes, peer: Peer) -> None:
        if self.desk.cancel(pid, secret):
            return
        if (owner := self.peers.owner(pid)) is not None:
            await self.peers.forward(*owner, pid, secret)
            return
        tunnel = self.broker.tunnels.get(pid)
        if tunnel is not None and tunnel.login is not None and hmac.compare_digest(tunnel.login.key, secret):
            await tunnel.cancel()
            return
        client = self.broker.clients.get(pid)
        if client is None and self.elsewhere is not None:
            await self.elsewhere(pid, secret)
        if client is None or not hmac.compare_digest(client.cancel_secret, secret):
            return
        if client.cancel():
            server = client.server
            if server is not None:
                server.cancel_begun()
                cancelling = self.desk.cancelling
                cancelling[client.pool] += 1
                try:
                    await self.broker.send_cancel(server)
                finally:
                    cancelling[client.pool] -= 1
        elif client.cancel_due:
            await self._carried_out(client)

    async def _carried_out(self, client: Client) -> None:
        """Wait until the cancel that is due was carried out, or there is nothing left to cancel; it is given up with the last who
        waits for it."""
        due = self.desk.due
        due[client] += 1
        try:
            async with asyncio.timeout(self.broker.config.pgbouncer.cancel_wait_timeout or None):
                while not client.closed and (client.cancel_due or client.cancels):
                    await asyncio.sleep(CANCEL_LOOK)
        except TimeoutError:
            self.broker.log.warning("cancel request failed: cancel_wait_timeout", self.broker.client_label(client))
        finally:
            due[client] -= 1
            if not due[client]:
                del due[client]
                client.cancel_due = False

    def hand_over(self, login: ClientLogin) -> None:
        """A login is finished: the relay has the client from now on."""
        if login.database.is_console:
            self.desk.receive(login, label("C", login.number, login.database.name, login.user, login.peer))
            return
        if isinstance(login.pool, Tunnel):
            login.pool.begin(login)
            return
        assert isinstance(login.pool, tuple)  # as `welcome` made it
        place: Place = login.pool[0]
        settings: Settings = login.pool[1]
        broker = self.broker
        fd, tls = adopt(login.sock)
        client = Client(broker.relay, fd, place.pool, place.context)
        client.tls = tls
        client.number = login.number
        client.database = login.database
        client.user = sys.intern(login.user)  # thousands of clients have the same
        client.peer = login.peer
        client.connect_time = login.connect_time
        client.request_time = client.idle_since = clock()
        client.cancel_key = login.pid
        client.cancel_secret = login.key
        client.state = broker.relay.client_idle_state
        client.settings = client.startup = settings
        client.told = login.pool[2]
        broker.clients[login.pid] = client
        place.pool.client_joined(client)
        place.context.login_count += 1
        broker.relay.add(client, login.leftover)

    def log(self, who: str, text: str) -> None:
        if self.broker.config.pgbouncer.log_connections or not text.startswith("login attempt"):
            self.broker.log.client(who, text)

    def log_failure(self, who: str, reason: str, age: float, explanation: str, *, told: bool) -> None:
        main = self.broker.config.pgbouncer
        if main.log_disconnections:
            detail = f": {explanation}" if explanation else ""
            self.broker.log.client(who, f"closing because: {reason}{detail} (age={int(age)}s)")
        if told and main.log_pooler_errors:
            self.broker.log.warning(f"pooler error: {reason}", who)


def _add_host(settings: dict[str, str], peer: Peer) -> None:
    """Say in application_name where the client is; PostgreSQL would cut it after as many bytes."""
    name = settings.get("application_name") or "app"
    where = f" - {peer}"
    kept = name.encode("utf-8", "surrogateescape")[: max(0, MAX_APPLICATION_NAME - len(where))]
    settings["application_name"] = kept.decode("utf-8", "ignore") + where


def _with_clean_name(wanted: dict[str, str], server: Mapping[bytes, bytes]) -> dict[str, str]:
    """The settings as PostgreSQL takes them in: each byte of application_name that is not printable ASCII becomes `?`, from
    version 16 on its number (manual, 20.8). It is cut before that; here after it, if the database's encoding is not UTF-8."""
    numbers = major_version(server.get(b"server_version", b"")) >= 16
    clean = dict(wanted)
    for name, value in wanted.items():
        if name.lower() == "application_name" and not (value.isascii() and value.isprintable()):
            said = _bytes(value)
            cut = said[:MAX_APPLICATION_NAME].decode("utf-8", "ignore").encode()
            if len(said) > MAX_APPLICATION_NAME and said.startswith(cut):
                said = cut
            shown = "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" if numbers else "?" for b in said)
            clean[name] = shown if server.get(b"server_encoding") == b"UTF8" else shown[:MAX_APPLICATION_NAME]
    return clean


def _simple(wanted: dict[str, str]) -> dict[bytes, bytes] | None:
    """The canonical settings where no server is needed to know them: the common ones, in their common spellings."""
    simple: dict[bytes, bytes] = {}
    for name, value in wanted.items():
        if name == "application_name" and value.isascii() and value.isprintable() and len(value) < 64:
            simple[b"application_name"] = value.encode()
        elif name == "client_encoding" and "".join(filter(str.isalnum, value)).lower() in ("utf8", "unicode"):
            simple[b"client_encoding"] = b"UTF8"
        else:
            return None
    return simple


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
