"""Limits of pools and clients, the order of waiting, and how long one waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient


def backends(admin: RawClient, marker: str) -> int:
    """Server connections whose last statement carries the marker."""
    sql = f"select count(*) from pg_stat_activity where query like '%{marker}%' and usename <> '{stack.ADMIN}'"
    return int(admin.ask(sql) or 0)


def ask_all(clients: list[RawClient], marker: str) -> list[RawClient]:
    """Have every client open a transaction; who gets a server is the pool's business."""
    for client in clients:
        client.send(wire.query(f"begin; select '{marker}'"))
        stack.wait_taken(client)
    return clients


@pytest.mark.parametrize(("database", "size"), [("one", 1), ("two", 2), ("app", 5)])
def test_pool_size_is_kept(pooler: stack.Pooler, admin: RawClient, database: str, size: int) -> None:
    """However many clients hold transactions open, no more servers than pool_size are used."""
    marker = f"limit {database}"
    clients = ask_all([pooler.connect(database) for _ in range(size * 3)], marker)
    stack.wait_until(lambda: backends(admin, marker) == size, "the pool is full")
    done = 0
    for client in clients:
        assert backends(admin, marker) <= size
        client.until("Z")
        done += 1
        client.query("commit")
        client.leave()
    assert done == size * 3


def test_waiting_clients_are_served_in_order(pooler: stack.Pooler) -> None:
    """First come, first served: ten waiting inserts run in the order of their arrival."""
    with pooler.connect("one") as holder:
        holder.query("drop table if exists arrival; create table arrival (at serial, who int)")
        holder.query("begin")
        waiting = [pooler.connect("one") for _ in range(10)]
        for number, client in enumerate(waiting):
            client.send(wire.query(f"insert into arrival (who) values ({number})"))
            stack.wait_taken(client)
        holder.query("commit")
        for client in waiting:
            client.until("Z")
            client.leave()
        order = wire.values(holder.query("select who from arrival order by at"))
        assert order == [str(number).encode() for number in range(10)]


def test_returning_client_queues_behind_waiting(pooler: stack.Pooler) -> None:
    """A client that comes back at once does not overtake those who wait."""
    with pooler.connect("one") as greedy, pooler.connect("one") as patient:
        greedy.query("drop table if exists arrival; create table arrival (at serial, who text)")
        greedy.query("begin")
        patient.send(wire.query("insert into arrival (who) values ('patient')"))
        stack.wait_taken(patient)
        greedy.query("commit")
        greedy.query("insert into arrival (who) values ('greedy')")
        patient.until("Z")
        assert wire.values(greedy.query("select who from arrival order by at")) == [b"patient", b"greedy"]


def test_query_wait_timeout_is_told(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Who waits too long is told query_wait_timeout and disconnected; the holder is not touched."""
    pooler = start_pooler({"query_wait_timeout": 1})
    with pooler.connect("one") as holder:
        holder.query("begin")
        waiting = pooler.connect("one")
        start = time.monotonic()
        waiting.send(wire.query("select 'never'"))
        error = waiting.refused()
        assert error.sqlstate == "08P01" and error.fields["M"] == "query_wait_timeout"
        assert 0.9 <= time.monotonic() - start < 5
        assert holder.ask("select 'held'") == "held"
        holder.query("commit")
        waiting.vanish()


def test_timed_out_pipeline_is_dropped(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Of a pipelined request that timed out nothing runs later, and nobody gets its replies."""
    pooler = start_pooler({"query_wait_timeout": 1})
    with pooler.connect("one") as holder:
        holder.query("create table if not exists late (n int); truncate late")
        holder.query("begin")
        waiting = pooler.connect("one")
        waiting.send(wire.run("insert into late values (1)") * 5)
        assert wire.kinds(waiting.messages()) == "E"
        waiting.vanish()
        holder.query("commit")
        for number in range(20):
            assert holder.ask(f"select 'm{number}'") == f"m{number}"
        assert holder.ask("select count(*) from late") == "0"


def test_max_client_conn_is_kept(start_pooler: Callable[..., stack.Pooler]) -> None:
    """One client too many is refused with the setting's name; when one leaves there is room again."""
    pooler = start_pooler({"max_client_conn": 5})
    clients = [pooler.connect("app") for _ in range(5)]
    for client in clients:
        client.ask("select 1")
    extra = pooler.raw("app")
    extra.send(wire.startup(extra.startup))
    error = extra.refused()
    assert error.fields["S"] == "FATAL" and "max_client_conn" in error.fields["M"]
    extra.vanish()
    assert clients[0].ask("select 'undisturbed'") == "undisturbed"
    clients.pop().leave()

    def admitted() -> bool:
        client = pooler.raw("app")
        client.send(wire.startup(client.startup))
        kinds = wire.kinds(client.rest())
        client.vanish()
        return kinds.endswith("Z")

    stack.wait_until(admitted, "there is room again")
    for client in clients:
        client.leave()


def test_max_db_connections_is_kept(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """Two users of one database share its limit, and both get their turn."""
    pooler = start_pooler({"max_db_connections": 2}, {"shared": "pool_size=5"})

    def work(user: str) -> int:
        with pooler.connect("shared", user) as client, RawClient(*looking) as looker:
            for _ in range(10):
                client.query("begin; select 'db limit'")
                assert backends(looker, "db limit") <= 2
                client.query("commit")
        return 10

    looking = (admin.address, stack.DATABASE, stack.ADMIN)
    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(work, [stack.OWNER, stack.OTHER] * 3))
    assert done == [10] * 6


def test_max_user_connections_is_kept(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """A user's limit holds over all databases together, and leaves other users alone."""
    pooler = start_pooler(users={stack.OWNER: "max_user_connections=2"})
    # All log in first: a pool that never had a server needs one for its first client.
    clients = [pooler.connect(database) for database in ("app", "two") for _ in range(3)]
    free = ask_all([pooler.connect("app", stack.OTHER) for _ in range(3)], "user free")
    for client in free:
        client.until("Z")
    ask_all(clients, "user limit")
    stack.wait_until(lambda: backends(admin, "user limit") == 2, "the limit is reached")
    assert backends(admin, "user limit") <= 2
    assert backends(admin, "user free") == 3
    for client in clients:
        client.until("Z")
        client.query("commit")
    for client in [*clients, *free]:
        client.leave()


def test_reserve_pool_helps_long_waiters(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """After reserve_pool_timeout an extra server is opened for those who wait."""
    pooler = start_pooler({"reserve_pool_timeout": 1}, {"reserved": "pool_size=1 reserve_pool=1"})
    clients = ask_all([pooler.connect("reserved") for _ in range(3)], "reserve")
    clients[0].until("Z")
    clients[1].until("Z")
    assert backends(admin, "reserve") == 2
    pooler.wait_for_log("WARNING C-0x.*: reserved/.* taking connection from reserve_pool")
    for client in clients[:2]:
        client.query("commit")
    clients[2].until("Z")
    for client in clients:
        client.leave()


def test_min_pool_size_is_opened(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """With one client connected the pool is filled to min_pool_size without being asked."""
    before = int(admin.ask(f"select count(*) from pg_stat_activity where usename = '{stack.OTHER}'") or 0)
    pooler = start_pooler(databases={"warm": "pool_size=5 min_pool_size=3"})
    with pooler.connect("warm", stack.OTHER) as client:
        client.ask("select 1")
        sql = f"select count(*) from pg_stat_activity where usename = '{stack.OTHER}'"
        stack.wait_until(lambda: int(admin.ask(sql) or 0) >= before + 3, "three servers are open")


def test_idle_servers_are_closed(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """server_idle_timeout closes servers that nobody uses; their clients get new ones."""
    pooler = start_pooler({"server_idle_timeout": 1})
    with pooler.connect("app") as client:
        pid = client.ask("select pg_backend_pid()")
        stack.wait_no_backend(admin, f"pid = {pid}")
        assert client.ask("select pg_backend_pid()") != pid


def test_old_servers_are_replaced(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """server_lifetime closes a server when it is free, never inside a transaction."""
    pooler = start_pooler({"server_lifetime": 1})
    with pooler.connect("one") as client:
        client.query("begin")
        pid = client.ask("select pg_backend_pid()")
        admin.ask("select pg_sleep(2)::text")
        assert client.ask("select pg_backend_pid()") == pid
        client.query("commit")
        stack.wait_no_backend(admin, f"pid = {pid}")
        assert client.ask("select pg_backend_pid()") != pid


def test_limits_of_one_user_spare_others(start_pooler: Callable[..., stack.Pooler]) -> None:
    """A [users] entry changes nothing for anybody else."""
    pooler = start_pooler(users={stack.OTHER: "pool_mode=session max_user_connections=1"})
    with pooler.connect("one") as first, pooler.connect("one") as second:
        assert first.ask("select 1") == "1"
        assert second.ask("select 2") == "2"


def test_any_database_falls_back_to_star(start_pooler: Callable[..., stack.Pooler]) -> None:
    """With a `*` entry the database is the one the client names."""
    pooler = start_pooler()
    server = pooler.server
    pooler.databases["*"] = f"host={server.host} port={server.port}"
    pooler.reload()
    pooler.wait_for_log("SIGHUP")
    with psycopg.connect(pooler.uri(stack.DATABASE), prepare_threshold=None) as connection:
        assert connection.execute("select current_database()").fetchone() == (stack.DATABASE,)
