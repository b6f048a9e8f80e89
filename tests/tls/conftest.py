"""Fixtures of the TLS stories: authorities, a PostgreSQL that speaks TLS, and clients that speak bytes through it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler, PostgresError, PostgresServer, local_bin_dirs
from pgpool_py.testing.process import child_account, private_directory, remove_tree
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_until
from tests.tls.pki import Authority, Identity
from tests.tls.wiretap import Wiretap

SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSSENC_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x30"
SECONDS = 10.0
USER = "tls_user"  # trusted, however it comes
CERT_USER = "tls_cert_user"  # let in by PostgreSQL with its certificate only
PLAIN_USER = "tls_plain_user"  # let in by PostgreSQL without TLS only

MakeContext = Callable[..., ssl.SSLContext]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Where certificates lie: readable for the user that servers and poolers run as."""
    path = private_directory("pgpool_py-tls-", child_account())
    yield path
    remove_tree(path)


@pytest.fixture(scope="session")
def authority(folder: Path) -> Authority:
    """The root that everybody trusts."""
    return Authority(folder)


@pytest.fixture(scope="session")
def stranger(folder: Path) -> Authority:
    """A root that nobody trusts."""
    return Authority(folder, "strange root")


@pytest.fixture(scope="session")
def identity(authority: Authority) -> Identity:
    """Who the poolers and servers of these tests are."""
    return authority.issue("localhost", ["localhost"], ["127.0.0.1"])


@pytest.fixture(scope="session")
def tls_postgres(authority: Authority, identity: Identity) -> Iterator[PostgresServer]:
    """A PostgreSQL that speaks TLS and asks for a certificate where pg_hba.conf says so."""
    found = local_bin_dirs()
    if not found:
        pytest.skip("no PostgreSQL is installed, and the one of the wheel has no TLS")
    hba = [
        f"hostssl all {CERT_USER} 127.0.0.1/32 cert",
        f"hostnossl all {PLAIN_USER} 127.0.0.1/32 trust",
        f"host all {USER} 127.0.0.1/32 trust",
    ]
    settings = {
        "ssl": "on",
        "ssl_cert_file": f"'{identity.cert}'",
        "ssl_key_file": f"'{identity.key}'",
        "ssl_ca_file": f"'{authority.file}'",
    }
    server = PostgresServer(bin_dir=found[0], settings=settings, hba=hba)
    try:
        server.start()
    except PostgresError as error:
        if "SSL is not supported by this build" not in str(error):
            raise
        pytest.skip("the installed PostgreSQL has no TLS")
    try:
        with server.connect() as connection:
            for name in (USER, CERT_USER, PLAIN_USER):
                connection.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
            connection.execute(f"GRANT ALL ON SCHEMA public TO {USER}".encode())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def plain_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL without TLS."""
    with PostgresServer(hba=[f"host all {USER} 127.0.0.1/32 trust"]) as server:
        with server.connect() as connection:
            connection.execute(f'CREATE ROLE "{USER}" LOGIN'.encode())
            connection.execute(f"GRANT ALL ON SCHEMA public TO {USER}".encode())
        yield server


@pytest.fixture(scope="session")
def client_settings(identity: Identity, authority: Authority) -> dict[str, object]:
    """TLS for clients, as the [pgbouncer] section has it."""
    return {
        "auth_type": "trust",
        "pool_mode": "transaction",
        "client_tls_sslmode": "prefer",
        "client_tls_key_file": identity.key,
        "client_tls_cert_file": identity.cert,
        "client_tls_ca_file": authority.file,
    }


def target(server: PostgresServer | Pooler | Wiretap | Address, **more: object) -> str:
    """What the [databases] section says of *server*."""
    words = {"host": server.host, "port": server.port, "dbname": "postgres", **more}
    return " ".join(f"{key}={value}" for key, value in words.items())


@pytest.fixture(scope="module")
def pooler(plain_postgres: PostgresServer, client_settings: dict[str, object]) -> Iterator[Pooler]:
    """A pooler that offers TLS, shared by one file; its servers speak clear text."""
    databases = {"app": target(plain_postgres, pool_size=5), "one": target(plain_postgres, pool_size=1)}
    with Pooler(databases, {USER: "x", "nobody": "x"}, client_settings) as running:
        yield running
        assert "Traceback" not in running.log
        assert "do not add up" not in running.log


@pytest.fixture(scope="session")
def trusting(authority: Authority) -> MakeContext:
    """Make a client's context that trusts the authority."""

    def make(own: Identity | None = None, alpn: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority.file))
        if own is not None:
            context.load_cert_chain(own.cert, own.key)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        return context

    return make


class TlsClient(RawClient):
    """The raw client of the stories, behind a handshake."""

    def __init__(
        self, pooler: Pooler, context: ssl.SSLContext, database: str = "app", *, direct: bool = False, login: bool = True
    ) -> None:
        super().__init__(Address(pooler.host, pooler.port), database, USER, login=False)
        if not direct:
            self.sock.sendall(SSL_REQUEST)
            assert self.sock.recv(1) == b"S"
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
            if login:
                self.log_in()
        except BaseException:
            self.sock.close()
            raise

    @property
    def tls(self) -> ssl.SSLSocket:
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.sock


@pytest.fixture
def connect(pooler: Pooler, trusting: MakeContext) -> Iterator[Callable[..., TlsClient]]:
    """Raw clients of the file's pooler, over TLS; those still there at the end leave."""
    clients: list[TlsClient] = []

    def make(database: str = "app") -> TlsClient:
        clients.append(TlsClient(pooler, trusting(), database))
        return clients[-1]

    yield make
    for client in clients:
        client.leave()


def uri(pooler: Pooler, database: str = "app", user: str = USER, **options: object) -> str:
    """For libpq; sslmode and the like are *options*."""
    words = "&".join(f"{key}={value}" for key, value in options.items())
    return f"postgresql://{user}@{pooler.host}:{pooler.port}/{database}?{words}"


def ask(pooler: Pooler, query: str = "select 1", database: str = "app", user: str = USER, **options: object) -> object:
    """The one value of *query*, through psycopg."""
    with psycopg.connect(uri(pooler, database, user, **options), connect_timeout=10) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def closes(sock: socket.socket) -> bool:
    """Whether the other side closes and says nothing more."""
    return everything(sock) == b""


def everything(sock: socket.socket) -> bytes:
    """What the other side still says before it closes, by a reset perhaps."""
    sock.settimeout(SECONDS)
    said = b""
    try:
        while data := sock.recv(65536):
            said += data
    except ConnectionResetError:
        pass
    return said


def wait_running(server: PostgresServer, mark: str) -> None:
    """Return once a query with *mark* in it is running."""
    query = "select count(*) from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()"
    with server.connect() as admin:
        wait_until(lambda: admin.execute(query, [f"%{mark}%"]).fetchone() == (1,), f"{mark!r} is running")


def plain_environment(**more: str) -> dict[str, str]:
    """For psql: this process's environment less what would steer libpq."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "HOME": "/", **more}
