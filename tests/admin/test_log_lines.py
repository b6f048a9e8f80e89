"""The lines that operators and log analysers look for, each from the event that it is about; their layout is of tests/observe."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pgpool_py.testing import PostgresServer
from tests.admin.conftest import Pooler
from tests.system import stack, wire
from tests.system.rawclient import Address

DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] "


@pytest.fixture(scope="module")
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture(scope="module")
def pooler(server: PostgresServer, silent: socket.socket) -> Iterator[Pooler]:
    databases = {
        "away": "port=1",
        "lost": "host=no-such-host.invalid",
        "silent": f"port={silent.getsockname()[1]}",
        "old": "server_lifetime=0.2",
        "shared": "max_db_connections=1",
        "*": "",
    }
    settings: dict[str, object] = {"server_connect_timeout": 0.5, "server_idle_timeout": 0.7, "cancel_wait_timeout": 0.3}
    with Pooler(Address(server.host, server.port), settings, databases=databases) as running:
        yield running


def expect(pooler: Pooler, who: str, words: str) -> None:
    """That line comes, in the layout, about a connection *who* of "C-" or "S-" and "database/user"."""
    side, _, names = who.partition(" ")
    pooler.wait_for_log(rf"{DATE}(LOG|WARNING) {side}-0x[0-9a-f]+: {names}@[\w.-]+:\d+ {words}")


@pytest.mark.parametrize(
    ("database", "reason"),
    [
        ("away", "connect failed"),
        ("lost", "server DNS lookup failed"),
        ("silent", "connect timeout"),
    ],
)
def test_servers_that_cannot_be_had(pooler: Pooler, database: str, reason: str) -> None:
    client = pooler.raw(database)
    client.send(wire.startup(client.startup))
    assert "cached error" in client.refused().fields["M"]
    client.vanish()
    expect(pooler, f"S {database}/{stack.OWNER}", rf"closing because: {reason}: .* \(age=\d+s\)")
    expect(pooler, f"C {database}/{stack.OWNER}", "pooler error: server login has been failing, cached error: ")


def test_servers_that_come_and_go(pooler: Pooler, server: PostgresServer) -> None:
    """Each way for a server to end has its words."""
    who = f"S one/{stack.OWNER}"
    with pooler.connect("one") as client:
        pid = client.ask("select pg_backend_pid()")
        expect(pooler, who, r"new connection to server \(from 127\.0\.0\.1:\d+\)")
        expect(pooler, who, r"closing because: server idle timeout \(age=\d+s\)")
        assert client.ask("select pg_backend_pid()") != pid
        pooler.order("RECONNECT one")
        expect(pooler, who, r"closing because: database configuration changed \(age=\d+s\)")
        client.query("begin")
        pid = client.ask("select pg_backend_pid()")
        client.send(wire.query("select pg_sleep(60)"))
        server.execute(f"select pg_terminate_backend({pid})")
        assert client.refused().sqlstate in ("57P01", "08006")
        expect(pooler, who, r"closing because: server conn crashed\? \(age=\d+s\)")
    with pooler.connect("old") as client:
        client.ask("select pg_sleep(0.3)")
    expect(pooler, f"S old/{stack.OWNER}", r"closing because: server lifetime over \(age=\d+s\)")
    with pooler.connect("shared") as client, pooler.connect("shared", stack.OTHER) as other:
        client.ask("select 1")
        other.ask("select 1")
    expect(pooler, f"S shared/({stack.OWNER}|{stack.OTHER})", r"closing because: evicted \(age=\d+s\)")


def test_clients_that_come_and_go(pooler: Pooler) -> None:
    who = f"C two/{stack.OWNER}"
    with pooler.connect("two") as client:
        expect(pooler, who, f"login attempt: db=two user={stack.OWNER} tls=no")
        client.ask("select 1")
    expect(pooler, who, r"closing because: client close request \(age=\d+s\)")
    pooler.connect("two").vanish()
    expect(pooler, who, r"closing because: client unexpected eof \(age=\d+s\)")
    refused = pooler.raw("two", "stranger")
    refused.send(wire.startup(refused.startup))
    assert refused.refused().fields["M"] == '"trust" authentication failed'
    refused.vanish()
    expect(pooler, "C two/stranger", 'closing because: "trust" authentication failed: no such user')
    expect(pooler, "C two/stranger", 'pooler error: "trust" authentication failed')
    broken = pooler.connect("statement")
    broken.query("begin")
    broken.vanish()
    expect(pooler, f"C statement/{stack.OWNER}", "closing because: transaction blocks not allowed in statement pooling mode")


def test_databases_made_from_the_star(pooler: Pooler) -> None:
    with pooler.connect(stack.DATABASE) as client:
        client.ask("select 1")
    pooler.wait_for_log(f"{DATE}LOG registered new auto-database: db={stack.DATABASE}")


def test_errors_on_the_console(pooler: Pooler) -> None:
    with pooler.connect("pgbouncer", "console_admin") as console:
        assert wire.errors(console.query("nonsense")) == ["08P01"]
    expect_words = "invalid command 'nonsense', use SHOW HELP;"
    pooler.wait_for_log(rf"{DATE}ERROR C-0x[0-9a-f]+: pgbouncer/console_admin@127.0.0.1:\d+ {expect_words}")
    expect(pooler, "C pgbouncer/console_admin", f"pooler error: {expect_words}")
