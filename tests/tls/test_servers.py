"""TLS with servers: the six modes against servers with and without it, certificates both ways, cancel requests."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pgpool_py.testing import Pooler, PostgresServer
from pgwire import AuthenticationOk, ReadyForQuery
from tests.system.rawclient import Address
from tests.tls.conftest import CERT_USER, PLAIN_USER, SSL_REQUEST, USER, ask, target, uri, wait_running
from tests.tls.pki import Authority, Identity
from tests.tls.wiretap import Wiretap

IS_ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
# Nothing of a hello of TLS: who reads along sees the version and that it is a handshake.
HANDSHAKE = b"\x16\x03"


class Front:
    """A pooler in front of one server, with settings of server_tls_*: as seen by one test."""

    def __init__(self, pooler: Pooler, database: str) -> None:
        self.pooler = pooler
        self.database = database
        self._seen = len(pooler.log)

    @property
    def log(self) -> str:
        """What the pooler has written since this test began."""
        return self.pooler.log[self._seen :]

    @property
    def uri(self) -> str:
        return uri(self.pooler, self.database)

    def ask(self, query: str = "select 1", user: str = USER) -> object:
        return ask(self.pooler, query, self.database, user)

    def refused(self, user: str = USER) -> str:
        """What a client is told when no server can be had."""
        with pytest.raises(psycopg.OperationalError) as caught:
            self.ask(user=user)
        return str(caught.value)

    def change(self, **settings: object) -> None:
        """Reload with other settings; returns when that has succeeded or failed."""
        self.pooler.settings.update(settings)
        done = len(re.findall(ENDS_RELOAD, self.pooler.log))
        self.pooler.reload()
        self.pooler.wait_for_log(ENDS_RELOAD, count=done + 1)


ENDS_RELOAD = "reload done|RELOAD failed"
Start = Callable[..., Front]


@pytest.fixture(scope="module")
def shared(plain_postgres: PostgresServer) -> Iterator[Pooler]:
    """One process for the whole file: each test reloads it with settings and a database of its own."""
    users = {USER: "x", CERT_USER: "x", PLAIN_USER: "x"}
    settings = {"auth_type": "trust", "pool_mode": "transaction"}
    with Pooler({"none": target(plain_postgres)}, users, settings) as pooler:
        yield pooler
        assert "Traceback" not in pooler.log


@pytest.fixture
def start(shared: Pooler, authority: Authority) -> Start:
    """A pooler in front of *server*."""
    numbers = itertools.count(1)

    def start_one(
        server: PostgresServer | Pooler | Wiretap | Address, mode: str, where: dict[str, object] | None = None, **settings: object
    ) -> Front:
        database = f"db_{shared.port}_{len(shared.log)}_{next(numbers)}"
        shared.databases = {database: target(server, **(where or {}))}
        for name in [name for name in shared.settings if name.startswith("server_tls")]:
            del shared.settings[name]
        front = Front(shared, database)
        tls = {"server_tls_sslmode": mode, "server_tls_ca_file": authority.file, **settings}
        front.change(**{name: value for name, value in tls.items() if value})
        assert "reload done" in front.log, front.log
        return front

    return start_one


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [("disable", False), ("allow", True), ("prefer", True), ("require", True), ("verify-ca", True), ("verify-full", True)],
)
def test_modes_with_a_server_that_has_tls(
    tls_postgres: PostgresServer, start: Start, mode: str, encrypted: bool
) -> None:
    pooler = start(tls_postgres, mode)
    assert pooler.ask(IS_ENCRYPTED) is encrypted
    assert (" SSL established: TLSv1.3/TLS_" in pooler.log) is encrypted


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_modes_that_do_without_tls(plain_postgres: PostgresServer, start: Start, mode: str) -> None:
    assert start(plain_postgres, mode).ask() == 1


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_modes_that_do_not(plain_postgres: PostgresServer, start: Start, mode: str) -> None:
    pooler = start(plain_postgres, mode)
    assert "server refused SSL" in pooler.refused()
    assert "closing because: login failed: server refused SSL" in pooler.log


def test_prefer_is_the_default(tls_postgres: PostgresServer, start: Start) -> None:
    assert start(tls_postgres, "").ask(IS_ENCRYPTED) is True


@pytest.mark.parametrize(("mode", "checked"), [("require", False), ("verify-ca", True), ("verify-full", True)])
def test_whose_root_signed_it(
    tls_postgres: PostgresServer, start: Start, stranger: Authority, mode: str, checked: bool
) -> None:
    pooler = start(tls_postgres, mode, server_tls_ca_file=stranger.file)
    if checked:
        assert "certificate verify failed: " in pooler.refused()
    else:
        assert pooler.ask(IS_ENCRYPTED) is True


@pytest.mark.parametrize(("mode", "checked"), [("verify-ca", False), ("verify-full", True)])
def test_whose_name_is_in_it(
    start: Start, plain_postgres: PostgresServer, client_settings: dict[str, object], authority: Authority,
    mode: str, checked: bool,
) -> None:  # fmt: skip
    """Another pooler stands for the server: its certificate has another name than the one we connect to."""
    other = authority.issue("db.example", ["db.example"])
    settings = {**client_settings, "client_tls_key_file": other.key, "client_tls_cert_file": other.cert}
    with Pooler({"postgres": target(plain_postgres)}, {USER: "x"}, settings) as server:
        pooler = start(server, mode)
        if checked:
            assert "certificate verify failed: IP address mismatch" in pooler.refused()
        else:
            assert pooler.ask() == 1


def test_a_name_is_checked_not_the_address_it_leads_to(tls_postgres: PostgresServer, start: Start) -> None:
    assert start(tls_postgres, "verify-full", {"host": "localhost"}).ask(IS_ENCRYPTED) is True


def test_each_of_several_hosts_is_checked_by_its_own_name(tls_postgres: PostgresServer, start: Start) -> None:
    pooler = start(tls_postgres, "verify-full", {"host": "localhost,127.0.0.1", "pool_size": 2})
    with psycopg.connect(pooler.uri) as first, psycopg.connect(pooler.uri) as second:
        for client in (first, second):  # both in a transaction, so with servers of their own
            assert client.execute(IS_ENCRYPTED.encode()).fetchone() == (True,)


def test_our_own_certificate_lets_us_in(tls_postgres: PostgresServer, start: Start, authority: Authority) -> None:
    """PostgreSQL's method `cert`, which is also how it is without passwords."""
    own = authority.issue(CERT_USER)
    pooler = start(tls_postgres, "verify-full", server_tls_key_file=own.key, server_tls_cert_file=own.cert)
    assert pooler.ask("select current_user", user=CERT_USER) == CERT_USER


def test_without_our_certificate_we_are_not(tls_postgres: PostgresServer, start: Start) -> None:
    assert "connection requires a valid client certificate" in start(tls_postgres, "require").refused(CERT_USER)


def test_prefer_does_not_try_again_in_clear_text(tls_postgres: PostgresServer, start: Start) -> None:
    """As PgBouncer, unlike libpq: whoever can make a login fail must not be able to switch encryption off."""
    assert "password authentication failed" in start(tls_postgres, "prefer").refused(PLAIN_USER)
    assert start(tls_postgres, "disable").ask(user=PLAIN_USER) == 1


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
def test_clear_text_behind_the_servers_yes_is_refused(start: Start, mode: str) -> None:
    """CVE-2021-3935, CVE-2021-43767: a whole login in clear text behind the S would pass for something said under encryption."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard: list[bytes] = []

        def forge() -> None:
            sock, _ = listening.accept()
            with sock:
                heard.append(sock.recv(8))
                sock.sendall(b"S" + AuthenticationOk().encode() + ReadyForQuery("I").encode())
                while words := sock.recv(4096):
                    heard.append(words)

        thread = threading.Thread(target=forge)
        thread.start()
        pooler = start(Address(*listening.getsockname()), mode)
        assert "received unencrypted data after SSL response" in pooler.refused()
        thread.join(10)
    assert heard == [SSL_REQUEST], "nothing is said to it, neither a name nor a password"


def test_a_reload_that_changes_nothing_closes_nothing(tls_postgres: PostgresServer, start: Start) -> None:
    """pgbouncer #1157: each reload made all servers with TLS anew."""
    pooler = start(tls_postgres, "verify-full")
    with psycopg.connect(pooler.uri, autocommit=True) as client:
        before = client.execute("select pg_backend_pid(), pg_backend_pid()").fetchone()
        pooler.change()
        assert client.execute("select pg_backend_pid(), pg_backend_pid()").fetchone() == before
    assert "closing because: database configuration changed" not in pooler.log


def test_protocols_bind(tls_postgres: PostgresServer, start: Start) -> None:
    pooler = start(tls_postgres, "require", server_tls_protocols="tlsv1.2")
    assert pooler.ask("select version from pg_stat_ssl where pid = pg_backend_pid()") == "TLSv1.2"


def test_a_change_of_settings_replaces_servers_and_drops_nobody(tls_postgres: PostgresServer, start: Start) -> None:
    pooler = start(tls_postgres, "disable")
    with psycopg.connect(pooler.uri, autocommit=True) as client:
        assert client.execute(IS_ENCRYPTED.encode()).fetchone() == (False,)
        with client.transaction():
            client.execute("select 1")
            pooler.change(server_tls_sslmode="verify-full")
            assert client.execute(IS_ENCRYPTED.encode()).fetchone() == (False,), "in its transaction it keeps its server"
        assert client.execute(IS_ENCRYPTED.encode()).fetchone() == (True,)


def test_a_bad_file_keeps_the_old_and_says_why(tls_postgres: PostgresServer, start: Start) -> None:
    pooler = start(tls_postgres, "verify-full")
    assert pooler.ask(IS_ENCRYPTED) is True
    pooler.change(server_tls_ca_file="/no/such/file")
    assert re.search(r"\[pgbouncer\] server_tls_ca_file: /no/such/file: No such file or directory", pooler.log)
    assert "RELOAD failed" in pooler.log
    assert pooler.ask(IS_ENCRYPTED) is True


# --- how it begins, and what else goes the same way ---


@pytest.fixture
def tapped(tls_postgres: PostgresServer) -> Iterator[Wiretap]:
    """The server with TLS, and somebody who listens in on the way to it."""
    with Wiretap(tls_postgres.host, tls_postgres.port) as tap:
        yield tap


@pytest.mark.parametrize("sslmode", ["verify-full", "prefer"])
def test_cancel_requests_are_encrypted_as_their_server_is(
    tapped: Wiretap, tls_postgres: PostgresServer, start: Start, sslmode: str
) -> None:
    pooler = start(tapped, sslmode)
    with psycopg.connect(pooler.uri, autocommit=True) as client:

        def cancel() -> None:
            wait_running(tls_postgres, "an encrypted cancel")
            client.cancel_safe()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
            client.execute("select pg_sleep(30) /* an encrypted cancel */")
        thread.join()
        assert client.execute("select 42").fetchone() == (42,)
    assert len(tapped.first_words) >= 2, "the cancel request had a connection of its own"
    for words in tapped.first_words:
        assert words.startswith(SSL_REQUEST + HANDSHAKE), words


def test_clear_text_stays_clear_text_for_cancels(plain_postgres: PostgresServer, start: Start) -> None:
    with Wiretap(plain_postgres.host, plain_postgres.port) as tap:
        pooler = start(tap, "disable")
        with psycopg.connect(pooler.uri, autocommit=True) as client:

            def cancel() -> None:
                wait_running(plain_postgres, "a plain cancel")
                client.cancel_safe()

            thread = threading.Thread(target=cancel)
            thread.start()
            with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
                client.execute("select pg_sleep(30) /* a plain cancel */")
            thread.join()
        assert any(bytes(words).startswith(b"\0\0\0\x10\x04\xd2\x16\x2e") for words in tap.first_words)
        assert not any(bytes(words).startswith(SSL_REQUEST) for words in tap.first_words)


def test_direct_tls_with_a_server(
    plain_postgres: PostgresServer, start: Start, client_settings: dict[str, object], identity: Identity
) -> None:
    """The server is another pooler, since the PostgreSQL at hand may be older than 17."""
    with Pooler({"postgres": target(plain_postgres)}, {USER: "x"}, client_settings) as server:
        with Wiretap(server.host, server.port) as tap:
            pooler = start(tap, "verify-full", server_tls_negotiation="direct")
            assert pooler.ask("select 42") == 42
            assert all(bytes(words).startswith(HANDSHAKE) for words in tap.first_words)
        assert "login attempt: db=postgres" in server.log


def test_direct_tls_with_a_server_that_has_none(plain_postgres: PostgresServer, start: Start) -> None:
    pooler = start(plain_postgres, "require", server_tls_negotiation="direct")
    assert "TLS handshake with the server failed" in pooler.refused()
