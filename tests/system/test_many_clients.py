"""More clients than servers: each gets its own answers, and the servers stay within the pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.system import stack, wire
from tests.system.rawclient import RawClient


def test_many_clients_share_few_servers(pooler: stack.Pooler) -> None:
    """Sixty clients on a pool of five: each gets its own answer, from no more than five servers."""

    def work(number: int) -> set[str]:
        with pooler.connect() as client:
            pids: set[str] = set()
            for step in range(20):
                marker = f"{number}:{step}"
                reply = client.query(f"select pg_backend_pid(), '{marker}'")
                row = next(message for message in reply if message.kind == "D")
                assert row.columns[1] == marker.encode()
                pids.add(str(row.columns[0]))
            return pids

    with ThreadPoolExecutor(60) as threads:
        pids = set[str]().union(*threads.map(work, range(60)))
    assert 1 <= len(pids) <= 5


def test_idle_clients_hold_no_server(pooler: stack.Pooler) -> None:
    """A client between transactions leaves a pool of one to the others."""
    clients = [pooler.connect("one") for _ in range(10)]
    for number, client in enumerate(clients):
        assert client.ask(f"select {number}") == str(number)
    for number, client in enumerate(clients):
        assert client.ask(f"select {number}") == str(number)
        client.leave()


def test_transaction_keeps_its_server(pooler: stack.Pooler) -> None:
    """Inside a transaction every statement runs on the same server, and a second client cannot get it."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        first.query("begin")
        pid = first.ask("select pg_backend_pid()")
        second.send(wire.query("select pg_backend_pid()"))
        stack.wait_taken(second)
        assert [first.ask("select pg_backend_pid()") for _ in range(3)] == [pid] * 3
        first.query("commit")
        reply = second.until("Z")
        assert wire.values(reply) == [str(pid).encode()]


def test_busy_transactions_do_not_mix(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """Concurrent transfers in transactions leave the sum of all accounts as it was."""
    with direct() as owner:
        owner.query("drop table if exists transfer; create table transfer (id int primary key, amount int)")
        owner.query("insert into transfer select n, 100 from generate_series(0, 9) n")

    def work(number: int) -> None:
        with pooler.connect() as client:
            for step in range(10):
                source, sink = (number + step) % 10, (number * 3 + step + 1) % 10
                low, high = sorted((source, sink))
                client.query("begin")
                client.query(f"select 1 from transfer where id in ({low}, {high}) order by id for update")
                client.query(f"update transfer set amount = amount - 1 where id = {source}")
                client.query(f"update transfer set amount = amount + 1 where id = {sink}")
                assert client.query("commit" if step % 3 else "rollback")[-1].body == b"I"

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(work, range(20)))
    with direct() as owner:
        assert owner.ask("select sum(amount) from transfer") == "1000"
