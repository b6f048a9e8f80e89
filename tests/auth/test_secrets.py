"""Several secrets of one user, while a password changes; and what strangers can do before they are anybody."""

from __future__ import annotations

import socket

import psycopg
import pytest

from pgpool_py.testing import Pooler
from pgwire import AuthenticationSASL, ErrorResponse, NegotiateProtocolVersion, ScramSecret, StartupMessage
from tests.auth.conftest import WriteFile, refusal
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database, RealPostgres
from tests.frontend.fakes import RawClient


def test_a_password_changes_without_an_interruption(
    start_pooler: StartPooler, shared_postgres: RealPostgres, database: Database, write_file: WriteFile
) -> None:
    """Old and new stand in auth_file: clients come in with either, and servers are opened with the one they take."""
    user, old = database.user, database.password
    users = write_file("users", f'"{user}" "new one"\n"{user}" "{old}"\n')
    pooler = start_pooler({"auth_file": users, "server_login_retry": 0.1}, databases={"app": database.line}, users={})

    def both_come_in() -> None:
        for password in ("new one", old):
            with psycopg.connect(pooler.dsn("app", user, password)) as connection:
                assert connection.execute("select current_user").fetchone() == (user,)

    both_come_in()
    with shared_postgres.connect() as admin:
        admin.execute(f"ALTER ROLE {user} PASSWORD 'new one'".encode())
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'".encode())
    pooler.wait_for_log("closing because: server")
    both_come_in()
    assert "authentication failed" in refusal(pooler.dsn("app", user, "neither"))
    write_file("users", f'"{user}" "new one"\n')
    pooler.reload()
    pooler.wait_for_log("reload done")
    assert "authentication failed" in refusal(pooler.dsn("app", user, old))


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_a_warm_server_opens_nothing(start_pooler: StartPooler, database: Database, auth_type: str) -> None:
    """Pgpool-II CVE-2025-46801: whoever came before, a wrong password is refused; the secret is SCRAM here."""
    secret = ScramSecret.derive(database.password, 4096).text()
    forced = f"{database.line} user={database.user} password={database.password}"
    pooler = start_pooler({"auth_type": auth_type}, databases={"app": forced}, users={"ann": secret})
    for _ in range(2):
        psycopg.connect(pooler.dsn("app", "ann", database.password)).close()
        for wrong in ("wrong", secret, database.password + "x"):
            assert "authentication failed" in refusal(pooler.dsn("app", "ann", wrong))
    for unseen in (database.password, secret, secret.split("$")[-1]):
        assert unseen not in pooler.log


def test_scram_iterations_make_the_secret_of_a_plain_password(start_pooler: StartPooler, database: Database) -> None:
    """The client is asked for as many; a secret that is stored keeps its own."""
    stored = ScramSecret.derive(database.password, 4321).text()
    users = {"plain": database.password, "stored": stored}
    pooler = start_pooler({"auth_type": "scram-sha-256", "scram_iterations": 5000}, databases={"app": database.line}, users=users)
    for user, iterations in (("plain", b",i=5000"), ("stored", b",i=4321")):
        with connected(pooler) as client:
            client.startup(user, "app")
            assert isinstance(client.event(), AuthenticationSASL)
            client.sock.sendall(b"p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=abcdefghijklmnopqrstuvwx")
            assert client.sock.recv(8192).endswith(iterations)


def start_for_strangers(start_pooler: StartPooler, database: Database, **settings: object) -> Pooler:
    star = f"host={database.host} port={database.port} user={database.user} password={database.password}"
    return start_pooler({"auth_type": "trust", **settings}, databases={"*": star, "app": database.line}, users={"ann": ""})


def connected(pooler: Pooler) -> RawClient:
    return RawClient(socket.create_connection((pooler.host, pooler.port), timeout=10))


def test_names_of_any_length_harm_nobody(start_pooler: StartPooler, database: Database) -> None:
    """CVE-2012-4575: with "*" among the databases, an over-long name ended the process."""
    pooler = start_for_strangers(start_pooler, database)
    for length in (1, 63, 64, 127, 128, 1024, 9_900, 65_000):
        for user, name in (("ann", "d" * length), ("u" * length, "app"), ("ann", "\N{SNOWMAN}" * (length // 3))):
            with connected(pooler) as client:
                client.sock.sendall(StartupMessage({"user": user, "database": name}).encode())
                try:
                    answer = client.event()
                except OSError:
                    continue  # closed before all was read
                assert isinstance(answer, ErrorResponse | None), answer
    assert "username too long" in pooler.log
    forced = pooler.dsn(database.name, "ann", "")
    with psycopg.connect(forced) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("protocol", [0x0003_0003, 0x0003_270F])
def test_one_negotiation_though_the_login_takes_time(
    start_pooler: StartPooler, shared_postgres: RealPostgres, database: Database, protocol: int
) -> None:
    """pgbouncer #1460: a login delayed by auth_query was told of the protocol twice."""
    with shared_postgres.login_role() as ann:
        pooler = start_pooler(
            {"auth_type": "trust", "auth_user": shared_postgres.user},
            databases={"app": f"{database.line} user={database.user} password={database.password}"},
            users={shared_postgres.user: shared_postgres.password or ""},
        )
        with connected(pooler) as client:
            packet = StartupMessage({"user": ann[0], "database": "app", "_pq_.nonsense": "1"}, protocol).encode()
            client.sock.sendall(packet)
            data = b""
            while b"Z\0\0\0\x05I" not in data:
                more = client.sock.recv(8192)
                assert more, data
                data += more
            assert kinds(data).count(ord("v")) == 1
    assert NegotiateProtocolVersion.message_type == ord("v")


def kinds(data: bytes) -> list[int]:
    """The types of the messages in *data*."""
    found = []
    at = 0
    while at < len(data):
        found.append(data[at])
        at += 1 + int.from_bytes(data[at + 1 : at + 5], "big")
    return found
