"""Prepared statements whose tables have changed since: no client reads one column, or sends one value, for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import asyncpg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(
    stack.IS_PEER and not stack.NONE,
    reason="the executable under test has no protocol-level prepared statements",
)


def test_parsed_behind_ddl_of_its_own_block(
    start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient]
) -> None:
    """The first statement behind it, too, is its client's own: one that is there for others means what it meant before."""
    with direct() as owner:
        owner.query("drop table if exists behind_ddl; create table behind_ddl (one int); insert into behind_ddl values (1)")
    pooler = start_pooler(databases={"one": "pool_size=1"})
    with pooler.connect("one") as client, pooler.connect("one") as other:
        other.exchange(wire.run("select * from behind_ddl", name="s"))
        client.query("begin")
        client.query("alter table behind_ddl add two int default 2")
        assert wire.rows(client.exchange(wire.run("select * from behind_ddl", name="s"))) == [[b"1", b"2"]]
        client.query("commit")
        assert wire.rows(client.exchange(wire.run_parsed("s"))) == [[b"1", b"2"]]


def test_changed_table_is_told(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """After ALTER TABLE a statement gives 0A000, as on a direct connection; never unannounced new columns."""
    with direct() as owner, pooler.connect("one") as client:
        owner.query("drop table if exists shape; create table shape as select 1 as a")
        client.exchange(wire.parse("s", "select * from shape"), wire.sync())
        client.exchange(wire.describe_statement("s"), wire.run_parsed("s"))
        owner.query("alter table shape add column b int default 2")
        for _ in range(3):
            assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]
        # As soon as it asks, or parses anew, it works.
        assert wire.rows(client.exchange(wire.describe_statement("s"), wire.run_parsed("s"))) == [[b"1", b"2"]]
        assert wire.rows(client.exchange(wire.run_parsed("s"))) == [[b"1", b"2"]]
        owner.query("alter table shape drop column a")
        assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]
        again = wire.close_statement("s"), wire.parse("s", "select * from shape"), wire.run_parsed("s")
        assert wire.rows(client.exchange(*again)) == [[b"2"]]


@pytest.mark.parametrize("runs", [False, True], ids=["parsed", "run"])
def test_changed_columns_that_nobody_asked_for(pooler: stack.Pooler, runs: bool) -> None:
    """A client may know the columns all the same: it gets 0A000, and only where they have changed."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        other.query("drop table if exists pay; create table pay as select 100 as paid, 5 as due")
        run = wire.bind("", "s"), wire.execute()
        client.exchange(wire.parse("s", "select * from pay"), *(run if runs else ()), wire.sync())
        other.query("create table if not exists other (one int)")
        assert wire.rows(client.exchange(wire.run_parsed("s"))) == [[b"100", b"5"]]
        other.query("drop table other")
        for rename in ("paid to x", "due to paid", "x to due"):
            other.query(f"alter table pay rename {rename}")
        for _ in range(2):
            assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]


def test_changed_columns_of_a_format_each(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """pgx asks for a format for each column that it knows, and for the columns: of all errors it understands this one."""
    with direct() as owner, pooler.connect("one") as client, pooler.connect("one") as other:
        owner.query("drop table if exists shape; create table shape as select 1 as a, 2 as b")
        client.exchange(wire.parse("s", "select * from shape"), wire.describe_statement("s"), wire.sync())
        bind = wire.raw(b"B", b"\0s\0" + b"\0\0\0\0" + b"\0\2\0\1\0\1")
        batch = bind, wire.describe_portal(""), wire.execute(), wire.sync()
        assert wire.errors(client.exchange(*batch)) == []
        other.query("alter table shape add column c int default 3")
        for _ in range(2):
            assert wire.errors(client.exchange(*batch)) == ["0A000"]


def test_changed_columns_that_the_batch_asks_for(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """A client that asks for the columns of the statement cannot be misled: it is repaired unseen. Libraries ask for those of the
    portal each time, and drivers above them do not look."""
    with direct() as owner, pooler.connect("one") as client, pooler.connect("one") as other:
        owner.query("drop table if exists shape; create table shape as select 1 as a")
        described = wire.bind("", "s"), wire.describe_portal(""), wire.execute(), wire.sync()
        client.exchange(wire.parse("s", "select * from shape"), *described)
        other.query("alter table shape add column b int default 2")
        for _ in range(2):
            assert wire.errors(client.exchange(*described)) == ["0A000"]
        assert wire.rows(client.exchange(wire.describe_statement("s"), wire.run_parsed("s"))) == [[b"1", b"2"]]
        assert wire.rows(client.exchange(*described)) == [[b"1", b"2"]]


def test_columns_that_change_while_a_statement_is_parsed(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient
) -> None:
    """A server on which it has waited for the change has others than one that was asked before."""
    alter = "select pg_advisory_xact_lock(71); alter table shape alter a type bigint; select pg_advisory_xact_lock(72)"
    with direct() as owner, pooler.connect() as client, pooler.connect() as other, pooler.connect() as third:
        owner.query("drop table if exists shape; create table shape as select 1 as a")
        client.exchange(wire.run("select * from shape", name="s"))
        owner.query("select pg_advisory_lock(71), pg_advisory_lock(72)")
        other.send(wire.query(alter))
        stack.wait_backend(admin, "wait_event = 'advisory'")
        client.exchange(wire.describe_statement("s"), wire.sync())  # as it was
        third.query("begin; select 1")  # where that was asked
        owner.query("select pg_advisory_unlock(71)")
        taken = "select count(*) > 0 from pg_locks where mode = 'AccessExclusiveLock' and relation = 'shape'::regclass"
        stack.wait_until(lambda: owner.ask(taken) == "t", "the column is changed")
        client.send(wire.run_parsed("s"))
        stack.wait_backend(admin, "wait_event = 'relation'")
        owner.query("select pg_advisory_unlock(72)")
        assert wire.errors(client.until("Z")) == ["0A000"]
        third.query("commit")
        assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]
        assert wire.errors(other.until("Z")) == []


@pytest.mark.parametrize("past", [False, True], ids=["through the pooler", "past it"])
def test_changed_columns_of_the_statement_without_a_name(
    pooler: stack.Pooler, direct: Callable[..., RawClient], past: bool
) -> None:
    """asyncpg without a cache, and others, ask for its columns, and bind it in a further batch: it then reads no others."""
    with direct() as owner, pooler.connect("two") as client, pooler.connect("two") as other:
        owner.query("drop table if exists unnamed; create table unnamed (a int, b text); insert into unnamed values (1, 'x')")
        reply = client.exchange(wire.parse("", "select * from unnamed"), wire.describe_statement(""), wire.sync())
        assert wire.kinds(reply) == "1tTZ"
        swap = "alter table unnamed alter a type text, alter b type int using 7"
        if past:
            owner.query(swap)
            owner.query("select pg_sleep(0.6)")
        else:
            other.query(swap)
        other.query("begin")
        assert wire.errors(client.exchange(wire.run_parsed(""))) == ["0A000"]
        assert wire.errors(client.exchange(wire.run_parsed(""))) == ["0A000"]
        other.query("rollback")
        assert wire.errors(client.exchange(wire.run_parsed(""))) == ["0A000"]
        assert wire.errors(client.exchange(wire.parse("", "select * from unnamed") + wire.run_parsed(""))) == []
        reply = client.exchange(wire.parse("", "select * from unnamed"), wire.describe_statement(""), wire.sync())
        for _ in range(2):
            assert wire.rows(client.exchange(wire.run_parsed(""))) == [[b"1", b"7"]]
        owner.query("drop table unnamed")


def test_columns_that_change_past_the_pooler(
    start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient]
) -> None:
    """Nobody has told it, and another server has not got the statement yet: it is asked what it has."""
    pid = "select pg_backend_pid()"
    with direct() as owner:
        owner.query("drop table if exists shape; create table shape as select 1 as a")
    pooler = start_pooler()
    with direct() as owner, pooler.connect() as client, pooler.connect() as other, pooler.connect() as third:
        for text in ("begin", "select 1", "commit"):  # two servers
            other.query(text)
            third.query(text)
        client.exchange(wire.run("select * from shape", name="s"))
        there = client.ask(pid)
        owner.query("alter table shape alter a type bigint")
        third.query("begin")
        if third.ask(pid) != there:
            other.query("begin")
            assert other.ask(pid) == there
            third.query("commit")
        for _ in range(2):
            assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]
        for holder in (other, third):
            holder.query("commit")
        for _ in range(2):
            assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["0A000"]


def test_asyncpg_values_keep_their_types(pooler: stack.Pooler) -> None:
    """It sends them in binary, in the types it was told at first: after DDL they must not be taken for others."""

    async def run() -> None:
        one, two = await asyncpg.connect(pooler.uri("two")), await asyncpg.connect(pooler.uri("two"))
        await two.execute("drop table if exists kept_types; create table kept_types (at timestamp, amount int)")
        await one.execute("set timezone = 'America/New_York'")
        insert = "insert into kept_types values ($1, $2)"
        await one.execute(insert, datetime(2024, 7, 1, 9), 7)
        await two.execute(
            "alter table kept_types alter at type timestamptz using at at time zone 'America/New_York',"
            " alter amount type real"
        )
        await one.execute(insert, datetime(2024, 7, 1, 9), 7)
        rows = await two.fetch("select at at time zone 'UTC', amount from kept_types")
        assert [tuple(row) for row in rows] == [(datetime(2024, 7, 1, 13), 7.0)] * 2
        await two.execute("drop table kept_types")
        await one.close()
        await two.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "change", ["drop table described", "alter table described drop b", "revoke all on described from story_owner"]
)
def test_described_long_ago_and_not_to_be_had_any_more(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient, change: str
) -> None:
    """The statement without a name, sent again to another server, is refused there: the batch ends, and the client goes on."""
    with direct() as owner, pooler.connect("two") as client, pooler.connect("two") as other:
        owner.query("drop table if exists described; create table described (a int, b int)")
        client.exchange(wire.parse("", "select b from described"), wire.describe_statement(""), wire.sync())
        owner.query("select pg_sleep(0.6)")
        owner.query(change)
        other.query("begin")  # on the server where it was parsed
        assert len(wire.errors(client.exchange(wire.run_parsed("")))) == 1
        other.query("rollback")
        assert client.ask("select 'goes on'") == "goes on"
        owner.query("drop table if exists described")


@pytest.mark.parametrize("columns", [300, 1500])
def test_wide_results_are_compared_too(pooler: stack.Pooler, direct: Callable[..., RawClient], columns: int) -> None:
    """Descriptions that come in several reads, and such as are too large to be kept, hold nobody up and mislead nobody."""
    names = ", ".join(f"a_column_with_a_long_name_{n} int" for n in range(columns))
    with direct() as owner, pooler.connect("one") as client, pooler.connect("one") as other:
        owner.query(f"drop table if exists wide, other; create table wide ({names}); insert into wide default values")
        other.query("create table other (one int)")
        client.exchange(wire.parse("s", "select * from wide"), wire.describe_statement("s"), wire.sync())
        other.query("alter table other add two int")
        reply = client.exchange(wire.run_parsed("s"))
        assert [len(row) for row in wire.rows(reply)] == [columns] or wire.errors(reply) == ["0A000"]
        assert [len(row) for row in wire.rows(client.exchange(wire.run_parsed("s")))] == [columns]
        owner.query("drop table wide, other")
