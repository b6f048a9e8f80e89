"""Real drivers and programs doing what they do in applications: with the same results as on direct connections."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from pgpool_py.testing import local_bin_dirs
from tests.differential.unbuilt import NOT_YET, marks
from tests.differential.world import DIRECT, OWNER, RESTORED, World

PATIENCE = 0.5 if "listen" in NOT_YET else 10.0


def needing(words: str = "") -> pytest.MarkDecorator:
    """The mark for what the habit needs, see `unbuilt`."""
    found = marks(words.split(", "))
    return found[0] if found else pytest.mark.filterwarnings("error")


def on_both(world: World, story: Callable[[str], Any]) -> None:
    """The story's result on direct connections and through the pooler is the same."""
    expected = story(world.uri())
    assert story(world.uri("two")) == expected


def asyncpg_story(world: World, story: Callable[[str], Awaitable[Any]]) -> None:
    on_both(world, lambda uri: asyncio.run(asyncio.wait_for(story(uri), 30)))


def test_asyncpg_pool_resets_on_each_release(world: World) -> None:
    """Eight tasks share asyncpg's own pool of four; what one checkout set is gone at the next."""

    async def story(uri: str) -> Any:
        async def task(pool: Any, number: int) -> list[Any]:
            found = []
            for turn in range(3):
                async with pool.acquire() as connection:
                    async with connection.transaction():
                        await connection.execute(f"set local work_mem = '{number + 1}MB'")
                        found.append(await connection.fetchval("show work_mem"))
                    found.append(await connection.fetchval("show work_mem"))
                    found.append(await connection.fetchval("select $1::int + $2", number, turn))
                    await connection.execute(f"set application_name = 'task {number}'")
                    found.append(await connection.fetchval("show application_name"))
                async with pool.acquire() as connection:
                    found.append(await connection.fetchval("show application_name"))
            return found

        async with asyncpg.create_pool(uri, min_size=1, max_size=4) as pool:
            return await asyncio.gather(*(task(pool, number) for number in range(8)))

    asyncpg_story(world, story)


@needing("settings")
def test_asyncpg_pool_keeps_settings_for_a_checkout(world: World) -> None:
    """A setting lasts as long as the checkout, and no longer."""

    async def story(uri: str) -> Any:
        async def task(pool: Any, number: int) -> list[Any]:
            async with pool.acquire() as connection:
                await connection.execute(f"set work_mem = '{number + 1}MB'")
                await asyncio.sleep(0)
                found = [await connection.fetchval("show work_mem") for _ in range(3)]
            async with pool.acquire() as connection:
                return [*found, await connection.fetchval("show work_mem")]

        async with asyncpg.create_pool(uri, min_size=4, max_size=4) as pool:
            return await asyncio.gather(*(task(pool, number) for number in range(8)))

    asyncpg_story(world, story)


@needing("listen")
def test_asyncpg_listeners_hear(world: World) -> None:
    """add_listener on one connection, NOTIFY from others."""

    async def story(uri: str) -> Any:
        listener, sender = await asyncpg.connect(uri), await asyncpg.connect(uri)
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        try:
            await listener.add_listener("news", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
            for number in range(3):
                await sender.execute("select pg_notify('news', $1)", str(number))
            return [await asyncio.wait_for(heard.get(), PATIENCE) for _ in range(3)]
        finally:
            await listener.close()
            await sender.close()

    asyncpg_story(world, story)


def test_psycopg_prepares_automatically(world: World) -> None:
    """Statements prepared after a few executions, more of them than the driver keeps, on two connections in turn."""

    def story(uri: str) -> Any:
        found = []
        with psycopg.connect(uri, autocommit=True) as one, psycopg.connect(uri, autocommit=True) as two:
            for connection in (one, two):
                connection.prepare_threshold = 2
                connection.prepared_max = 2
            for turn in range(6):
                for number, connection in enumerate((one, two)):
                    for width in range(4):
                        row = connection.execute(f"select %s::int + {width}, '{number}'", [turn]).fetchone()
                        found.append(row)
        return found

    on_both(world, story)


@needing("hold")
def test_django_style_server_side_cursors(world: World) -> None:
    """Cursors WITH HOLD outside of transactions, two at a time, between other statements."""

    def story(uri: str) -> Any:
        found: list[Any] = []
        with psycopg.connect(uri, autocommit=True) as one, psycopg.connect(uri, autocommit=True) as two:
            one.execute("select set_config('TimeZone', 'Europe/Rome', false)")
            with one.cursor("chunks", withhold=True, scrollable=False) as first:
                with two.cursor("chunks", withhold=True, scrollable=False) as second:
                    first.execute("select n, timestamptz '2020-01-01 00:00 UTC' from generate_series(1, 50) n")
                    second.execute("select n, timestamptz '2020-01-01 00:00 UTC' from generate_series(101, 150) n")
                    for _ in range(5):
                        found += first.fetchmany(10)
                        found += second.fetchmany(10)
                        found += one.execute("select count(*) from plain").fetchall()
        return [str(row) for row in found]

    on_both(world, story)


def test_psycopg_transactions_with_characteristics(world: World) -> None:
    """isolation_level, read_only and deferrable, nested transactions and errors."""

    def story(uri: str) -> Any:
        found = []
        with psycopg.connect(uri) as one, psycopg.connect(uri) as two:
            one.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            one.read_only = True
            for connection in (one, two, one):
                found += connection.execute("show transaction_isolation").fetchall()
                found += connection.execute("show transaction_read_only").fetchall()
                connection.commit()
            with two.transaction():
                try:
                    with two.transaction():
                        two.execute("select 1/0")
                except psycopg.errors.DivisionByZero:
                    found.append(("divided",))
                found += two.execute("select 1").fetchall()
        return found

    on_both(world, story)


@needing("locks")
def test_migrations_exclude_each_other(world: World) -> None:
    """The second migration sees the lock of the first, over several transactions, and runs after it."""

    def story(uri: str) -> Any:
        found = []
        with psycopg.connect(uri, autocommit=True) as one, psycopg.connect(uri, autocommit=True) as two:
            one.execute("select pg_advisory_lock(hashtext('migrations'))")
            for step in range(3):
                with one.transaction():
                    one.execute(f"create table migration_{step} (n int)")
                found += two.execute("select pg_try_advisory_lock(hashtext('migrations'))").fetchall()
                with one.transaction():
                    one.execute(f"drop table migration_{step}")
            found += one.execute("select pg_advisory_unlock(hashtext('migrations'))").fetchall()
            found += two.execute("select pg_try_advisory_lock(hashtext('migrations'))").fetchall()
            found += two.execute("select pg_advisory_unlock(hashtext('migrations'))").fetchall()
        return found

    on_both(world, story)


@needing("temp")
def test_bulk_load_by_a_temporary_table(world: World) -> None:
    """COPY into a temporary table, merged in another transaction, from two connections at once."""

    def story(uri: str) -> Any:
        found = []
        with psycopg.connect(uri, autocommit=True) as one, psycopg.connect(uri, autocommit=True) as two:
            one.execute("truncate plain")
            for number, connection in enumerate((one, two)):
                connection.execute("create temp table loading (id int, note text)")
                with connection.cursor().copy("copy loading from stdin") as copy:
                    for row in range(10):
                        copy.write_row((number * 100 + row, f"row {row}"))
            for connection in (two, one):
                connection.execute("insert into plain select * from loading")
                connection.execute("drop table loading")
            found += two.execute("select * from plain order by id").fetchall()
            one.execute("truncate plain")
        return found

    on_both(world, story)


# pg_dump and pg_restore


def run(name: str, *arguments: str) -> str:
    program = next((path / name for path in local_bin_dirs() if (path / name).exists()), None)
    if program is None:
        pytest.skip(f"{name} is not installed")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return "".join(line for line in done.stdout.splitlines(True) if not line.startswith(("\\restrict", "\\unrestrict")))


@needing("settings")
def test_pg_dump_is_the_same(world: World) -> None:
    """A dump through the pooler is a direct dump, to the byte."""
    for janitor in world.janitors:
        janitor.query("truncate plain; insert into plain values (1, 'one'), (2, null)")
    assert run("pg_dump", "--enable-row-security", world.uri("two")) == run("pg_dump", "--enable-row-security", world.uri())


def test_pg_restore_restores(world: World, tmp_path: Path) -> None:
    """A database dumped and restored through the pooler, by two jobs at a time, dumps as before."""
    file = str(tmp_path / "dump")
    run("pg_dump", "--enable-row-security", "--format=custom", f"--file={file}", world.uri("two"))
    run("pg_restore", "--jobs=2", "--no-owner", f"--dbname={world.uri('restored')}", file)
    with psycopg.connect(world.uri(database=RESTORED), autocommit=True) as connection:
        with psycopg.connect(world.uri(database=DIRECT), autocommit=True) as original:
            for sql in ("select count(*) from pg_proc where pronamespace = 'public'::regnamespace", "select * from tenants"):
                assert connection.execute(sql).fetchall() == original.execute(sql).fetchall()
    assert OWNER in world.uri()


def test_custom_settings_that_servers_start_with_keep_nobody_away(world: World) -> None:
    """Of ALTER DATABASE at once, of postgresql.conf once a client touched it: they are the session's own on every server."""
    connect = world.pooled("one")
    name = "custom settings"  # of its own: applications that read sequence values hold servers
    with connect(application_name=name) as first, connect(application_name=name) as second:
        first.query("set local app.z = 'x'; set local myapp.user_id = '1'")
        second.query("select 1")
        server = second.ask("select pg_backend_pid()")
        for client in (first, second):
            for text in (
                "set app.z = 'own'",
                "do $$ begin perform set_config('myapp.user_id', '7', false); end $$",
                "reset app.z",
                "discard all",
                "set myapp.user_id = '8'; set myapp.user_id = '0'",
            ):
                client.query(text)
                assert (text, first.ask("select pg_backend_pid()")) == (text, server)
                assert (text, second.ask("select pg_backend_pid()")) == (text, server)
