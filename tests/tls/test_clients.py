"""TLS with clients: who is let in how, what comes before the handshake, and what the log says."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest

from pgpool_py.testing import Pooler, PostgresServer
from pgpool_py.testing.process import free_port
from tests.system import wire
from tests.tls.conftest import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    USER,
    MakeContext,
    TlsClient,
    ask,
    closes,
    everything,
    plain_environment,
    target,
    uri,
    wait_running,
)
from tests.tls.pki import Authority, Identity

ALPN = "postgresql"
StartPooler = Callable[..., Pooler]


@pytest.fixture(scope="module")
def start(plain_postgres: PostgresServer, client_settings: dict[str, object]) -> Iterator[StartPooler]:
    """Poolers of this file with settings of their own, each made once."""
    made: dict[tuple[tuple[str, object], ...], Pooler] = {}

    def start_one(**settings: object) -> Pooler:
        key = tuple(sorted(settings.items(), key=str))
        if key not in made:
            made[key] = Pooler({"app": target(plain_postgres)}, {USER: "x"}, {**client_settings, **settings}).start()
        return made[key]

    yield start_one
    for pooler in made.values():
        pooler.close()


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_offered_tls_may_be_taken_or_left(start: StartPooler, mode: str) -> None:
    pooler = start(client_tls_sslmode=mode)
    assert ask(pooler, sslmode="require") == 1
    assert ask(pooler, sslmode="disable") == 1


def test_tls_that_is_off_is_not_offered(start: StartPooler) -> None:
    pooler = start(client_tls_sslmode="disable")
    assert ask(pooler, sslmode="prefer") == 1
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL, but SSL was required"):
        ask(pooler, sslmode="require")


def test_required_tls_refuses_clear_text(start: StartPooler) -> None:
    pooler = start(client_tls_sslmode="require")
    assert ask(pooler, sslmode="require") == 1
    with pytest.raises(psycopg.OperationalError, match="FATAL:  SSL required"):
        ask(pooler, sslmode="disable")
    pooler.wait_for_log(r"closing because: SSL required \(age=")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_is_insisted_on(
    start: StartPooler, authority: Authority, stranger: Authority, trusting: MakeContext, mode: str
) -> None:
    pooler = start(client_tls_sslmode=mode)
    good = authority.issue("ann")
    assert ask(pooler, sslmode="require", sslcert=good.cert, sslkey=good.key) == 1
    for wrong in (None, stranger.issue("ann"), authority.issue("ann", expired=True)):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            TlsClient(pooler, trusting(wrong))
    pooler.wait_for_log("closing because: TLS handshake failed: peer did not return a certificate")
    pooler.wait_for_log("closing because: TLS handshake failed: certificate verify failed: unable to get local issuer")
    pooler.wait_for_log("closing because: TLS handshake failed: certificate verify failed: certificate has expired")
    with pytest.raises(psycopg.OperationalError, match="FATAL:  SSL required"):
        ask(pooler, sslmode="disable")


def test_a_certificate_that_nobody_asked_for_must_be_right(
    start: StartPooler, authority: Authority, stranger: Authority, trusting: MakeContext
) -> None:
    """With roots configured a certificate is checked where it is shown; without roots none is asked for."""
    pooler = start(client_tls_sslmode="require")
    TlsClient(pooler, trusting(authority.issue("ann"))).leave()
    TlsClient(pooler, trusting()).leave()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsClient(pooler, trusting(stranger.issue("ann")))
    careless = start(client_tls_sslmode="require", client_tls_ca_file="")
    TlsClient(careless, trusting(stranger.issue("ann"))).leave()


def test_clients_can_verify_the_pooler(pooler: Pooler, authority: Authority, stranger: Authority) -> None:
    assert ask(pooler, sslmode="verify-full", sslrootcert=authority.file) == 1
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        ask(pooler, sslmode="verify-ca", sslrootcert=stranger.file)


@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not installed")
def test_psql_says_what_protects_it(pooler: Pooler) -> None:
    done = subprocess.run(
        ["psql", "-X", uri(pooler, sslmode="require"), "-c", "\\conninfo"],
        capture_output=True,
        text=True,
        env=plain_environment(),
        timeout=30,
    )
    assert re.search(r"SSL connection \(protocol: TLSv1\.3, cipher: TLS_", done.stdout), done


def test_asyncpg_with_its_prepared_statements(pooler: Pooler, trusting: MakeContext) -> None:
    async def story() -> list[int]:
        connection = await asyncpg.connect(
            host="localhost", port=pooler.port, user=USER, database="app", ssl=trusting(), timeout=10
        )
        try:
            return [await connection.fetchval("select $1::int + 1", number) for number in range(20)]
        finally:
            await connection.close()

    assert asyncio.run(story()) == list(range(1, 21))


def test_the_log_says_what_protects_a_login(pooler: Pooler, connect: Callable[..., TlsClient]) -> None:
    client = connect()
    port = client.sock.getsockname()[1]
    cipher = client.tls.cipher()
    assert cipher is not None
    line = f"app/{USER}@127.0.0.1:{port} login attempt: db=app user={USER} tls=TLSv1.3/{cipher[0]}"
    assert line in pooler.log
    ask(pooler, sslmode="disable")
    assert f"login attempt: db=app user={USER} tls=no" in pooler.log


def test_protocols_bind(start: StartPooler, trusting: MakeContext) -> None:
    pooler = start(client_tls_protocols="tlsv1.2")
    client = TlsClient(pooler, trusting())
    assert client.tls.version() == "TLSv1.2"
    assert client.ask("select 42") == "42"
    client.leave()
    newer = trusting()
    newer.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsClient(pooler, newer)


def test_ciphers_bind(start: StartPooler, trusting: MakeContext) -> None:
    pooler = start(client_tls_protocols="tlsv1.2", client_tls_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    client = TlsClient(pooler, trusting())
    assert client.tls.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
    client.leave()


def test_what_python_cannot_set_is_said_once_at_start(start: StartPooler) -> None:
    if hasattr(ssl.SSLContext, "set_ciphersuites"):
        pytest.skip("this Python can set the suites of TLS 1.3")
    pooler = start(client_tls13_ciphers="TLS_AES_128_GCM_SHA256")
    ask(pooler, sslmode="require")
    said = "WARNING .*client_tls13_ciphers: this Python cannot choose suites of TLS 1.3, OpenSSL's own are used"
    assert len(re.findall(said, pooler.log)) == 1


# --- before the handshake ---


def test_clear_text_behind_the_request_is_refused(pooler: Pooler) -> None:
    """CVE-2021-23222: it would pass for something said under encryption."""
    with socket.create_connection((pooler.host, pooler.port)) as sock:
        sock.sendall(SSL_REQUEST + wire.startup({"user": USER, "database": "app"}))
        assert b"received unencrypted data after SSL request" in everything(sock)


def test_the_handshake_may_not_come_before_the_answer(pooler: Pooler) -> None:
    """An impatient ClientHello in the same segment is clear text behind the request, too."""
    with socket.create_connection((pooler.host, pooler.port)) as sock:
        sock.sendall(SSL_REQUEST + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
        assert everything(sock)[:1] != b"S"


def test_gssapi_is_refused_and_tls_may_follow(pooler: Pooler, trusting: MakeContext) -> None:
    with socket.create_connection((pooler.host, pooler.port), timeout=10) as sock:
        sock.sendall(GSSENC_REQUEST)
        assert sock.recv(1) == b"N"
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        with trusting().wrap_socket(sock, server_hostname="localhost") as encrypted:
            encrypted.sendall(wire.startup({"user": USER, "database": "app"}))
            assert encrypted.recv(1) == b"R"


def test_tls_is_not_asked_for_twice(pooler: Pooler, trusting: MakeContext) -> None:
    client = TlsClient(pooler, trusting(), login=False)
    client.send(SSL_REQUEST)
    assert client.receive().kind == "E"
    assert closes(client.sock)
    client.vanish()


def test_nonsense_for_a_handshake_ends_it(pooler: Pooler) -> None:
    with socket.create_connection((pooler.host, pooler.port)) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        sock.sendall(b"no handshake at all, and long enough to be read as the head of a record")
        everything(sock)  # an alert, perhaps
    pooler.wait_for_log("closing because: TLS handshake failed: wrong version number")


def test_an_unfinished_handshake_is_given_up(start: StartPooler) -> None:
    pooler = start(client_login_timeout=0.2)
    with socket.create_connection((pooler.host, pooler.port)) as sock:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
        assert closes(sock)
    pooler.wait_for_log("closing because: client_login_timeout")


def test_direct_tls_with_the_protocols_name(pooler: Pooler, trusting: MakeContext) -> None:
    """PostgreSQL 17's sslnegotiation=direct: no request, the handshake comes first."""
    client = TlsClient(pooler, trusting(alpn=ALPN), direct=True)
    assert client.tls.selected_alpn_protocol() == ALPN
    assert client.ask("select 42") == "42"
    client.leave()


def test_direct_tls_byte_by_byte(pooler: Pooler, trusting: MakeContext) -> None:
    """The first byte of the handshake alone in its segment: nothing of it may be lost."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(alpn=ALPN).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((pooler.host, pooler.port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.send(bytes([byte]))
                incoming.write(sock.recv(65536))
        assert tls.selected_alpn_protocol() == ALPN


def test_clear_text_behind_a_direct_hello_is_nobodys(pooler: Pooler, trusting: MakeContext) -> None:
    """A whole login in the segment of the hello: it is no record of TLS, and never a word of the client's."""
    seen = len(pooler.log)
    outgoing = ssl.MemoryBIO()
    tls = trusting(alpn=ALPN).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection((pooler.host, pooler.port), timeout=10) as sock:
        sock.sendall(outgoing.read() + wire.startup({"user": USER, "database": "app"}) + wire.query("select 1"))
        everything(sock)
    pooler.wait_for_log("closing because: TLS handshake failed")
    assert "login attempt" not in pooler.log[seen:]


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_direct_tls_without_the_protocols_name_is_refused(pooler: Pooler, trusting: MakeContext, alpn: str | None) -> None:
    """Else a browser could be led to speak to us with the certificate of a web server of the same name."""
    seen = len(pooler.log)
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        TlsClient(pooler, trusting(alpn=alpn), direct=True)
    pooler.wait_for_log("closing because: TLS setup failed: direct TLS without ALPN postgresql")
    assert "login attempt" not in pooler.log[seen:]


def test_direct_tls_is_refused_where_there_is_none(start: StartPooler, trusting: MakeContext) -> None:
    pooler = start(client_tls_sslmode="disable")
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        TlsClient(pooler, trusting(alpn=ALPN), direct=True)
    pooler.wait_for_log("closing because: TLS setup failed: direct TLS is not supported")


def test_a_unix_socket_needs_no_tls(start: StartPooler) -> None:
    """Nobody can listen in on it: `require` is for TCP, and a request is answered with "no"."""
    pooler = start(client_tls_sslmode="require", unix_socket_dir=f"@pgpool_py-{free_port()}")
    name = f"\0{str(pooler.settings['unix_socket_dir'])[1:]}/.s.PGSQL.{pooler.port}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(name)
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"N"
        sock.sendall(wire.startup({"user": USER, "database": "app"}))
        assert sock.recv(1) == b"R"


# --- cancel ---


def test_a_cancel_request_comes_over_tls(
    pooler: Pooler, connect: Callable[..., TlsClient], trusting: MakeContext, plain_postgres: PostgresServer
) -> None:
    client = connect()
    client.send(wire.query("select pg_sleep(30) /* to be cancelled */"))
    wait_running(plain_postgres, "to be cancelled")
    canceller = TlsClient(pooler, trusting(), login=False)
    canceller.send(wire.cancel_request(client.pid, client.secret))
    assert closes(canceller.sock)
    assert [message.sqlstate for message in client.rest() if message.kind == "E"] == ["57014"]
    assert client.ask("select 42") == "42"
    canceller.vanish()


def test_psycopg_cancels_over_tls(pooler: Pooler, plain_postgres: PostgresServer) -> None:
    """libpq's own way; from libpq 17 on the request is encrypted."""
    with psycopg.connect(uri(pooler, sslmode="require"), autocommit=True) as connection:

        def cancel() -> None:
            wait_running(plain_postgres, "psycopg has had enough")
            connection.cancel_safe()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
            connection.execute("select pg_sleep(30) /* psycopg has had enough */")
        thread.join()
        assert connection.execute("select 42").fetchone() == (42,)


# --- reload ---


def test_new_certificates_without_dropping_anybody(
    plain_postgres: PostgresServer, client_settings: dict[str, object], authority: Authority, trusting: MakeContext
) -> None:
    def served(client: TlsClient) -> bytes | None:
        return client.tls.getpeercert(binary_form=True)

    with Pooler({"app": target(plain_postgres)}, {USER: "x"}, client_settings) as pooler:
        old = TlsClient(pooler, trusting())
        fresh: Identity = authority.issue("localhost", ["localhost"])
        pooler.settings.update(client_tls_key_file=fresh.key, client_tls_cert_file=fresh.cert)
        pooler.reload()
        pooler.wait_for_log("reload done")
        new = TlsClient(pooler, trusting())
        assert served(new) not in (None, served(old))
        assert (old.ask("select 1"), new.ask("select 2")) == ("1", "2")
        # The same names, other contents: a renewal in place.
        renewed = authority.issue("localhost", ["localhost"])
        fresh.key.write_bytes(renewed.key.read_bytes())
        fresh.cert.write_bytes(renewed.cert.read_bytes())
        pooler.reload()
        pooler.wait_for_log("reload done", count=2)
        newest = TlsClient(pooler, trusting())
        assert served(newest) not in (None, served(old), served(new))
        for client in (old, new, newest):
            assert client.ask("select 3") == "3"
            client.leave()


def test_a_bad_file_keeps_the_old_and_says_why(
    plain_postgres: PostgresServer, client_settings: dict[str, object], authority: Authority, trusting: MakeContext
) -> None:
    with Pooler({"app": target(plain_postgres)}, {USER: "x"}, client_settings) as pooler:
        other = authority.issue("other")
        pooler.wait_for_log("process up")
        pooler.settings["client_tls_key_file"] = other.key
        pooler.reload()
        pooler.wait_for_log(
            rf"ERROR .*pgbouncer\.ini:\d+: \[pgbouncer\] client_tls_key_file: {other.key}: does not belong to the certificate"
        )
        pooler.wait_for_log("RELOAD failed")
        client = TlsClient(pooler, trusting())
        assert client.ask("select 42") == "42"
        client.leave()


def test_tls_can_be_switched_on_and_off(
    plain_postgres: PostgresServer, client_settings: dict[str, object], trusting: MakeContext
) -> None:
    with Pooler({"app": target(plain_postgres)}, {USER: "x"}, client_settings) as pooler:
        early = TlsClient(pooler, trusting())
        pooler.settings["client_tls_sslmode"] = "disable"
        pooler.reload()
        pooler.wait_for_log("reload done")
        with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
            ask(pooler, sslmode="require")
        assert early.ask("select 42") == "42"
        early.leave()


def test_the_console_sets_tls_or_changes_nothing(
    plain_postgres: PostgresServer, client_settings: dict[str, object], trusting: MakeContext
) -> None:
    settings = {**client_settings, "admin_users": USER}
    with Pooler({"app": target(plain_postgres)}, {USER: "x"}, settings) as pooler:
        with psycopg.connect(
            uri(pooler, "pgbouncer", sslmode="require"), autocommit=True, cursor_factory=psycopg.ClientCursor
        ) as console:
            with pytest.raises(psycopg.Error, match="SET failed") as refused:
                console.execute("SET client_tls_cert_file = '/no/such/file'")
            assert "client_tls_cert_file: /no/such/file: No such file" in (refused.value.diag.message_detail or "")
            assert ask(pooler, sslmode="disable") == 1
            console.execute("SET client_tls_sslmode = 'require'")
            with pytest.raises(psycopg.OperationalError, match="SSL required"):
                ask(pooler, sslmode="disable")
            shown = console.execute("SHOW CLIENTS").fetchall()
            columns = [column.name for column in console.execute("SHOW CLIENTS").description or ()]
            assert [row[columns.index("tls")][:12] for row in shown] == ["TLSv1.3/TLS_"]
