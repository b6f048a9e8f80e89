"""The grammar of the console, its errors, and how drivers talk to it."""

from __future__ import annotations

import asyncio
import json
import subprocess

import asyncpg
import psycopg
import pytest

from pgpool_py.testing import PostgresServer
from tests.admin.conftest import ADMIN, Pooler
from tests.system import wire
from tests.system.test_drivers import program

HELLO = {
    "server_version": "1.25.2/bouncer",
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "DateStyle": "ISO",
    "TimeZone": "GMT",
    "standard_conforming_strings": "on",
    "is_superuser": "on",
}


def test_the_hello_is_pgbouncers(pooler: Pooler) -> None:
    """What drivers decide by at the start."""
    with pooler.connect("pgbouncer", ADMIN) as client:
        assert client.parameters == HELLO


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense", "invalid command 'nonsense', use SHOW HELP;"),
        ("SHOW NOTHING", "invalid command 'SHOW NOTHING', use SHOW HELP;"),
        ("SHOW", "invalid command 'SHOW', use SHOW HELP;"),
        ("SHOW POOLS; SHOW POOLS", "invalid command 'SHOW POOLS; SHOW POOLS', use SHOW HELP;"),
        ("SHOW POOLS -- all", "invalid command 'SHOW POOLS -- all', use SHOW HELP;"),
        ("RELOAD now", "invalid command 'RELOAD now', use SHOW HELP;"),
        ("SUSPEND app", "invalid command 'SUSPEND app', use SHOW HELP;"),
        ("SHUTDOWN SOON", "invalid command 'SHUTDOWN SOON', use SHOW HELP;"),
        ("SET verbose", "invalid command 'SET verbose', use SHOW HELP;"),
        ("averylongcommand16 x", "bad arguments"),
        ("PAUSE " + "x" * 64, "bad arguments"),
        (f"SET verbose = '{'1' * 256}'", "bad arguments"),
        ("PAUSE nowhere", "no such database: nowhere"),
        ("RESUME nowhere", "no such database: nowhere"),
        ("RESUME app", "database app is not paused"),
        ("RESUME pgbouncer", "database pgbouncer is not paused"),
        ("RESUME", "pooler is not paused/suspended"),
        ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
        ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
        ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("ENABLE pgbouncer", "cannot enable admin db: pgbouncer"),
        ("RECONNECT pgbouncer", "cannot reconnect admin db: pgbouncer"),
        ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer"),
        ("DISABLE", "a database is required"),
        ("ENABLE", "a database is required"),
        ("KILL_CLIENT", "invalid client pointer supplied"),
        ("KILL_CLIENT x", "invalid client pointer supplied"),
        ("KILL_CLIENT 999999", "client not found"),
        ("SET no_such_setting = 1", "SET failed"),
        ("SET listen_port = 1", "SET failed"),
        ("SET pool_mode = 'never'", "SET failed"),
        ("SHOW SETTINGS_DIFF", "invalid command 'SHOW SETTINGS_DIFF', use SHOW HELP;"),
        ("SHOW SETTINGS_DIFF 999999", "client not found"),
        ("CHECK AUTH", "invalid command 'CHECK AUTH', use SHOW HELP;"),
    ],
)
@pytest.mark.parametrize("simple", [True, False], ids=["simple", "extended"])
def test_what_is_wrong_is_said_in_pgbouncers_words(pooler: Pooler, simple: bool, text: str, error: str) -> None:
    """ERROR, 08P01, and the connection lives on, in both protocols."""
    with pooler.console(simple=simple) as console:
        with pytest.raises(psycopg.Error) as caught:
            console.execute(text)
        assert caught.value.diag.message_primary == error
        assert (caught.value.diag.severity, caught.value.sqlstate) == ("ERROR", "08P01")
        row = console.execute("SHOW VERSION").fetchone()
        assert row is not None and str(row[0]).startswith("PgBouncer")


@pytest.mark.parametrize("text", ["show version", "SHOW VERSION;", " \n Show\tversion ; ", '"show" "version"', "SELECT version"])
def test_case_blanks_and_quotes(pooler: Pooler, text: str) -> None:
    with pooler.console() as console:
        assert console.execute(text).fetchall()


def test_help_is_a_notice(pooler: Pooler) -> None:
    """A NOTICE with the usage as its DETAIL, and no rows: every command is in it."""
    said: list[tuple[str | None, str | None]] = []
    with pooler.console() as console:
        console.add_notice_handler(lambda notice: said.append((notice.message_primary, notice.message_detail)))
        cursor = console.execute("SHOW HELP")
        assert (cursor.statusmessage, cursor.description) == ("SHOW", None)
    assert said[0][0] == "Console usage"
    for word in ("STATS_AVERAGES", "PEER_POOLS", "KILL_CLIENT <client_id>", "WAIT_CLOSE [<db>]", "SETTINGS_DIFF", "CHECK AUTH"):
        assert word in (said[0][1] or "")


def test_settings_of_pushy_drivers(pooler: Pooler) -> None:
    """Shown as PgBouncer shows them; SET is ignored with a notice, for readers too."""
    said: list[str | None] = []
    with pooler.console("console_stats") as console:
        console.add_notice_handler(lambda notice: said.append(notice.message_primary))
        for name, value in (
            ("client_encoding", "UTF-8"),
            ("default_transaction_isolation", "read committed"),
            ("standard_conforming_strings", "on"),
            ("datestyle", "ISO"),
            ("timezone", "GMT"),
        ):
            assert console.execute(f"SHOW {name}").fetchone() == (value,)
            assert console.execute(f"SET {name} TO 'x'").statusmessage == "SET"
    assert said == ["SET ignored"] * 5


def test_psql_reads_it(pooler: Pooler, server: PostgresServer) -> None:
    """As operators do, aligned and not."""
    command = [str(program("psql", server)), "-X", pooler.uri("pgbouncer", ADMIN)]
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run([*command, "-c", "SHOW POOLS"], capture_output=True, text=True, timeout=30, env=env, cwd="/")
    assert shown.returncode == 0 and "cl_waiting_cancel_req" in shown.stdout
    plain = subprocess.run([*command, "-Atc", "SHOW POOLS AS JSON"], capture_output=True, text=True, timeout=30, env=env, cwd="/")
    assert any(pool["database"] == "pgbouncer" for pool in json.loads(plain.stdout))


def test_json_on_request(pooler: Pooler) -> None:
    """Any table as one array of objects, typed json; numbers stay numbers and NULL is null."""
    with pooler.console() as console:
        cursor = console.execute("SHOW DATABASES AS JSON")
        assert [(column.name, column.type_code) for column in cursor.description or ()] == [("json", 114)]
        row = cursor.fetchone()
        assert row is not None and isinstance(row[0], list)
        one = next(each for each in row[0] if each["name"] == "one")
    assert (one["pool_size"], one["force_user"], one["paused"]) == (1, None, 0)


def test_psycopg_with_its_transactions(pooler: Pooler) -> None:
    """psycopg begins a transaction by itself: taken with a notice, and its books are right."""
    with psycopg.connect(pooler.uri("pgbouncer", ADMIN)) as console:
        assert console.execute("SHOW POOLS").fetchall()
        assert console.info.transaction_status.name == "INTRANS"
        console.commit()
        assert console.info.transaction_status.name == "IDLE"
        with console.transaction():
            console.execute("SHOW LISTS")


def test_prepared_and_in_pieces(pooler: Pooler) -> None:
    """A named statement run twice, through a portal that is read row by row."""

    async def read() -> list[list[str]]:
        connection = await asyncpg.connect(pooler.uri("pgbouncer", ADMIN))
        try:
            statement = await connection.prepare("SHOW CONFIG")
            whole = [row["key"] for row in await statement.fetch()]
            async with connection.transaction():
                pieces = [row["key"] async for row in statement.cursor(prefetch=7)]
            return [whole, pieces]
        finally:
            await connection.close()

    whole, pieces = asyncio.run(read())
    assert whole == pieces and len(whole) > 100


def test_parameters_are_refused(pooler: Pooler) -> None:
    """There is nothing they could stand for."""
    with pooler.console(simple=False) as console:
        with pytest.raises(psycopg.Error):
            console.execute("PAUSE %s", ["app"])
        console.execute("SHOW VERSION")


def test_extended_errors_are_postgresqls(pooler: Pooler) -> None:
    """Unknown statement and portal, a name twice; after an error all is skipped up to Sync."""
    with pooler.connect("pgbouncer", ADMIN) as client:
        twice = wire.parse("twice", "SHOW VERSION")
        for message, code in ((wire.bind("", "nowhere"), "26000"), (wire.execute("nowhere"), "34000"), (twice + twice, "42P05")):
            reply = client.exchange(message, wire.describe_statement("nowhere"), wire.sync())
            assert wire.errors(reply) == [code]


def test_an_oversized_command_ends_only_this_client(pooler: Pooler) -> None:
    """No operator needs 64 KiB; whoever sends more is told and closed."""
    with pooler.console() as other, pooler.connect("pgbouncer", ADMIN) as client:
        client.send(wire.query("x" * 100_000))
        assert wire.kinds(client.rest()) == "E"
        other.execute("SHOW VERSION")
