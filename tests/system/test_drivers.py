"""Programs and drivers as people use them: psql, pgbench, psycopg, asyncpg."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest

from pgpool_py.testing import PostgresServer, local_bin_dirs
from tests.system import stack, wire
from tests.system.rawclient import RawClient


def program(name: str, server: PostgresServer) -> Path:
    """psql or pgbench: beside the server's programs, or the system's."""
    places = [server.bin_dir, *local_bin_dirs()]
    found = [path / name for path in places if (path / name).exists()]
    found += [Path(path) for path in [shutil.which(name)] if path]
    if not found:
        pytest.skip(f"{name} is not installed")
    return found[0]


def run(command: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}
    return subprocess.run([command, *arguments], input=text, capture_output=True, text=True, timeout=60, env=environment, cwd="/")


def test_psql_runs_a_script(pooler: stack.Pooler, server: PostgresServer) -> None:
    """A psql session with transactions, errors, COPY and meta-commands."""
    script = r"""
        \set ON_ERROR_STOP 0
        create table if not exists from_psql (n int, word text);
        truncate from_psql;
        \copy from_psql from stdin
1	one
2	two
\.
        begin; insert into from_psql values (3, 'three'); rollback;
        begin; insert into from_psql values (4, 'four'); select 1/0; commit;
        \echo :ERROR
        select string_agg(word, ',' order by n) from from_psql;
        \d from_psql
        select $1::text as bound \bind 'value' \g
    """
    done = run(program("psql", server), "-X", "-A", "-t", pooler.uri("one"), text=script)
    assert "one,two" in done.stdout
    assert "division by zero" in done.stderr
    assert "n|integer" in done.stdout
    assert done.returncode == 0


def test_psql_negotiates_without_tls(pooler: stack.Pooler, server: PostgresServer) -> None:
    """sslmode=prefer and gssencmode=prefer probe first, are refused in the open, and go on in clear."""
    host, port = pooler.address
    dsn = f"host={host} port={port} dbname=one user={stack.OWNER} sslmode=prefer gssencmode=prefer"
    done = run(program("psql", server), "-X", "-A", "-t", "-c", "select 'in clear'", dsn)
    assert done.stdout.strip() == "in clear", done.stderr


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["-S", "-b tpcb-like", "-b simple-update"])
def test_pgbench_passes(
    pooler: stack.Pooler, server: PostgresServer, direct: Callable[..., RawClient], mode: str, script: str
) -> None:
    """pgbench's own scripts, 20 clients on five servers, in each protocol: no transaction fails."""
    if mode == "prepared" and stack.IS_PEER:
        pytest.skip("the executable under test has no protocol-level prepared statements")
    pgbench = program("pgbench", server)
    host, port = server.host, str(server.port)
    with direct() as owner:
        there = owner.ask("select to_regclass('pgbench_accounts') is not null")
    if there != "t":
        made = run(pgbench, "-i", "-q", "-h", host, "-p", port, "-U", stack.OWNER, stack.DATABASE)
        assert made.returncode == 0, made.stderr
    # A thread for each client: pgbench prepares synchronously, so two clients of one thread can block each other, one
    # inside a transaction and the other waiting for the server it holds.
    done = run(
        pgbench,
        *("-n", *script.split(), "-M", mode, "-c", "20", "-j", "20", "-t", "50"),
        *("-h", pooler.address.host, "-p", str(pooler.address.port), "-U", stack.OWNER),
        stack.DATABASE if stack.NONE else "app",
    )
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 1000/1000" in done.stdout
    with direct() as owner:
        balanced = owner.ask("select (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)")
    assert balanced == "t" or script == "-b simple-update"


def test_psycopg_types_and_cursors(pooler: stack.Pooler) -> None:
    """Binary results, server-side cursors, executemany and notices."""
    with psycopg.connect(pooler.uri("one"), prepare_threshold=None) as connection:
        cursor = connection.cursor(binary=True)
        assert cursor.execute("select 1, 'x'::text, 1.5::float8, array[1,2]").fetchone() == (1, "x", 1.5, [1, 2])
        with connection.cursor("named") as named:
            named.execute("select generate_series(1, 1000)")
            assert sum(row[0] for row in named) == 500500
        connection.execute("create table if not exists many (n int, t text)")
        connection.execute("truncate many")
        cursor.executemany("insert into many values (%s, %s)", [(n, str(n)) for n in range(500)])
        connection.commit()
        assert connection.execute("select count(*), sum(n) from many").fetchone() == (500, 124750)
        notices: list[str | None] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("do $$ begin raise notice 'heard'; end $$")
        assert notices == ["heard"]


def test_psycopg_async_crowd(pooler: stack.Pooler) -> None:
    """Forty asynchronous psycopg connections at once on two servers."""

    async def one(number: int) -> int:
        async with await psycopg.AsyncConnection.connect(pooler.uri("two"), prepare_threshold=None) as connection:
            cursor = await connection.execute("select %s::int, pg_sleep(0.005)", [number])
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

    async def crowd() -> list[int]:
        return await asyncio.gather(*(one(number) for number in range(40)))

    assert asyncio.run(crowd()) == list(range(40))


def test_asyncpg_recovers_after_ddl(pooler: stack.Pooler) -> None:
    """Its cached statements are prepared anew when their columns have changed, as on a direct connection."""

    async def story() -> None:
        connection = await asyncpg.connect(pooler.uri("one"))
        other = await asyncpg.connect(pooler.uri("one"))
        try:
            await other.execute("drop table if exists grows; create table grows (a int); insert into grows values (1)")
            for number in range(1, 4):
                rows = await connection.fetch("select * from grows")
                assert [tuple(row) for row in rows] == [(1, *range(1, number))]
                await other.execute(f"alter table grows add column b{number} int default {number}")
            assert len(await connection.fetchrow("select * from grows")) == 4
        finally:
            await connection.close()
            await other.close()

    asyncio.run(story())


@pytest.mark.skipif(stack.IS_PEER, reason="idle servers of the executable under test stay")
def test_databases_come_and_go_as_test_runners_have_it(start_pooler: Callable[..., stack.Pooler]) -> None:
    """A database that was used through the pooler can be copied, renamed and dropped once its clients have gone."""
    names = {"first": "test_main", "second": 'Test "1"'}
    bases = {"main": "dbname=postgres", "base": "dbname=template1"}
    pooler = start_pooler(databases=bases | {entry: f"dbname='{name}'" for entry, name in names.items()})
    with pooler.connect("main", stack.ADMIN) as admin:
        with pooler.connect("base", stack.ADMIN) as client:
            client.query("select 1")  # the model of each new one
        for entry, name in names.items():
            quoted = '"' + name.replace('"', '""') + '"'
            assert wire.errors(admin.query(f"create database {quoted}")) == []
            with pooler.connect(entry, stack.ADMIN) as client:
                assert client.ask("select current_database()") == name
            for text in (
                f"create database copied template {quoted}",
                f"alter database {quoted} rename to renamed",
                "drop database if exists renamed",
                "drop database copied",
            ):
                assert wire.errors(admin.query(text)) == [], text
            with pooler.connect(entry, stack.ADMIN) as client:
                client.send(wire.query("select 1"))
                assert wire.errors(client.messages()) == ["3D000"]  # there is nothing to wait for


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such setting")
def test_pg_dump_needs_no_server_of_its_own(
    start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient], server: PostgresServer, tmp_path: Path
) -> None:
    """Neither it nor its workers, of which there may be more than servers can be kept."""
    with direct() as owner:  # through the pooler it would be DDL that overtakes the dump
        owner.query("create table if not exists dumped as select generate_series(1, 10) n")
    pooler = start_pooler({"session_pin": "error", "auth_type": "trust"})
    done = run(program("pg_dump", server), "-Fd", "-j4", "-t", "dumped", "-f", str(tmp_path / "dump"), pooler.uri("app"))
    assert (done.stderr, done.returncode) == ("", 0)
    assert "no reset ends" not in pooler.log


def test_asyncpg_copy_and_cursor(pooler: stack.Pooler) -> None:
    """asyncpg's COPY, cursors and executemany."""

    async def story() -> None:
        connection = await asyncpg.connect(pooler.uri("one"), statement_cache_size=0)
        try:
            await connection.execute("create table if not exists apg (n int, t text)")
            await connection.execute("truncate apg")
            await connection.copy_records_to_table("apg", records=[(n, str(n)) for n in range(1000)])
            await connection.executemany("insert into apg values ($1, $2)", [(n, "x") for n in range(100)])
            async with connection.transaction():
                total = 0
                async for row in connection.cursor("select n from apg", prefetch=50):
                    total += row["n"]
            assert total == 499500 + 4950
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("select * from no_such_table")
            assert await connection.fetchval("select 1") == 1
        finally:
            await connection.close()

    asyncio.run(story())
