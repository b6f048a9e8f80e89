"""How a client's transactions are isolated by default is its own business: what the pooler asks neither waits nor fails by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack, wire
from tests.system.conftest import HBA, ROLES
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_until

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep settings")

# Each transaction that says nothing else waits until no other serializable one can disturb it (manual, SET TRANSACTION).
DEFERRABLE = "set session characteristics as transaction isolation level serializable, read only, deferrable"
PATIENT = {
    "default_transaction_isolation": "Serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "true",
}
AT_ONCE = "begin isolation level read committed, read write"
UNSAFE = "0A000"  # cannot use serializable mode in a hot standby
POOLS = {
    "reset": "pool_size=1 session_state=reset",
    "one": "pool_size=1",
}


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    """Pools of one server each."""
    return start_pooler(databases=POOLS)


@pytest.fixture
def writer(direct: Callable[..., RawClient]) -> Iterator[RawClient]:
    """A serializable transaction that others have to wait for: no snapshot is safe before it has ended."""
    with direct() as client:
        client.query("create table written (n int)")
        client.query("begin isolation level serializable; insert into written values (1)")
        yield client
        client.query("rollback; drop table written")


def test_own_transactions_begin_at_once(pooler: stack.Pooler, writer: RawClient) -> None:
    """Whose default is to wait does not, where it says so: not for the looks at its session, nor at its way to a server."""
    with pooler.connect("one") as client, pooler.connect("one", work_mem="5MB") as other:
        client.query(DEFERRABLE)
        for text in ("set local work_mem = '6MB'", "set work_mem = '7MB'", "do $$ begin perform 1; end $$", "select 1"):
            assert wire.errors(client.query(f"{AT_ONCE}; {text}; commit")) == []
            assert other.ask("show work_mem") == "5MB"
        assert client.ask("show default_transaction_isolation") == "serializable"
        assert client.ask("show default_transaction_deferrable") == "on"
        assert client.ask("show work_mem") == "7MB"


def test_startup_parameters_make_nobody_wait(pooler: stack.Pooler, writer: RawClient) -> None:
    """So it is where the client has begun with it, in words of its own."""
    with pooler.connect("one", **PATIENT) as client, pooler.connect("one") as other:
        assert wire.errors(client.query(f"{AT_ONCE}; select 1; commit")) == []
        assert other.ask("select 1") == "1"
        assert client.ask("show default_transaction_isolation") == "serializable"


@pytest.mark.parametrize("name", POOLS)
def test_next_client_does_not_wait(pooler: stack.Pooler, writer: RawClient, name: str) -> None:
    """Who gets the server next waits for nothing, whether its state was kept, or reset since it has gone."""
    with pooler.connect(name) as other:
        server = other.ask("select pg_backend_pid()")
        for leaves_something in ("select 1", "create temp table mine (n int)"):
            with pooler.connect(name) as client:
                client.query(DEFERRABLE)
                assert wire.errors(client.query(f"{AT_ONCE}; {leaves_something}; commit")) == []
            assert other.ask("select pg_backend_pid()") == server, "it was not closed for taking too long"
            assert other.ask("show default_transaction_isolation") == "read committed"


def test_check_query_does_not_wait(start_pooler: Callable[..., stack.Pooler], writer: RawClient) -> None:
    """server_check_query is asked of the server as it was left."""
    pooler = start_pooler({"server_check_delay": 0, "server_check_query": "select 'checked'"})
    with pooler.connect("one") as client, pooler.connect("one") as other:
        server = client.ask("select pg_backend_pid()")
        client.query(DEFERRABLE)
        assert other.ask("select pg_backend_pid()") == server, "it was not closed for taking too long"


def test_check_query_need_not_run_in_a_block(start_pooler: Callable[..., stack.Pooler]) -> None:
    pooler = start_pooler({"server_check_delay": 0, "server_check_query": "discard all"})
    with pooler.connect("one") as client, pooler.connect("one") as other:
        server = client.ask("select pg_backend_pid()")
        assert other.ask("select pg_backend_pid()") == server, "it was not closed for failing"


@pytest.fixture(scope="module")
def standby() -> Iterator[Address]:
    """A server that is in recovery for good, and takes readers."""
    with PostgresServer(hba=HBA) as running:
        address = Address(running.host, running.port)
        with RawClient(address, "postgres", stack.ADMIN) as admin:
            for sql in ROLES:
                admin.query(sql)
        signal = running.data / "standby.signal"
        signal.touch()
        owner = running.data.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        running.restart()
        yield address


@pytest.fixture(scope="module")
def reading(start_pooler: Callable[..., stack.Pooler], standby: Address) -> stack.Pooler:
    """A pooler in front of the standby."""
    return start_pooler(target=standby, databases=POOLS)


@pytest.mark.skipif(stack.NONE, reason="not the stories' own PostgreSQL")
@pytest.mark.parametrize("sql", ["set default_transaction_isolation = serializable", DEFERRABLE])
def test_session_outlives_what_a_standby_refuses(reading: stack.Pooler, sql: str) -> None:
    """Serializable by default on a standby: statements are refused, the session is not, nor is anybody else."""
    with reading.connect("one") as client, reading.connect("one") as other:
        assert wire.errors(client.query(sql)) == []
        assert wire.errors(client.query("select 1")) == [UNSAFE]
        assert other.ask("select 2") == "2"
        assert wire.values(client.query("begin isolation level repeatable read; select 3; commit")) == [b"3"]
        assert wire.errors(client.query("set default_transaction_isolation = 'repeatable read'")) == []
        assert client.ask("select 4") == "4"


@pytest.mark.skipif(stack.NONE, reason="not the stories' own PostgreSQL")
@pytest.mark.parametrize("name", POOLS)
def test_login_with_it_at_a_standby(reading: stack.Pooler, name: str) -> None:
    """A login with it succeeds, and leaves nothing in others' way."""
    with reading.connect(name) as other, reading.connect(name, default_transaction_isolation="serializable") as client:
        assert other.ask("select 1") == "1"
        assert wire.values(client.query("begin isolation level repeatable read; select 2; commit")) == [b"2"]
    with reading.connect(name) as other:
        wait_until(lambda: other.ask("select 3") == "3", "the server serves others")
