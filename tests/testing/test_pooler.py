"""A pooler as a child process: this one, and PgBouncer where it is installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler, PoolerError, running_pooler
from pgpool_py.testing.pooler import own_environment, run_cli
from pgpool_py.testing.process import child_account
from tests.conftest import StartPooler
from tests.fixtures.processes import alive, until
from tests.fixtures.real_postgres import Database

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or ""

either = pytest.mark.parametrize(
    "command",
    [
        pytest.param(None, id="pgpool_py"),
        pytest.param(
            [PGBOUNCER],
            id="pgbouncer",
            marks=pytest.mark.skipif(not PGBOUNCER, reason="PgBouncer is not installed"),
        ),
    ],
)


def answer(dsn: str, query: bytes = b"SELECT current_user") -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


@either
def test_query_passes_through(
    start_pooler: StartPooler, database: Database, command: list[str] | None
) -> None:
    pooler = start_pooler(command=command)
    assert answer(pooler.dsn(database.name, database.user)) == database.user


@either
def test_pooler_never_runs_as_root(start_pooler: StartPooler, command: list[str] | None) -> None:
    pooler = start_pooler(command=command)
    status = Path(f"/proc/{pooler.pid}/status").read_text()
    assert f"Uid:\t{child_account().uid}\t" in status
    if os.geteuid() == 0:
        assert "CapEff:\t0000000000000000" in status


@either
def test_stopping_leaves_nothing(database: Database, command: list[str] | None) -> None:
    """A client that stays does not keep it from stopping."""
    users = {database.user: database.password}
    with running_pooler({"app": database.line}, users, command=command) as pooler:
        client = psycopg.connect(pooler.dsn("app", database.user))
        pid, directory = pooler.pid, pooler.directory
        pooler.stop()
    client.close()
    assert not alive(pid)
    assert not directory.exists()


@either
def test_reload_reads_what_was_written(
    start_pooler: StartPooler, database: Database, command: list[str] | None
) -> None:
    pooler = start_pooler(command=command)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(pooler.dsn("late", database.user))
    pooler.databases["late"] = database.line
    pooler.reload()
    until(lambda: _accepts(pooler.dsn("late", database.user)))


def test_wrong_configuration_shows_the_log(database: Database) -> None:
    with pytest.raises(PoolerError, match="no_such_setting"):
        Pooler({"app": database.line}, settings={"no_such_setting": 1}).start()


def test_somebody_else_on_the_port_is_not_the_pooler(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PoolerError, match="ddress already in use"):
            Pooler({database.name: database.line}, {database.user: database.password}, port=port).start()


def test_crash_fails_the_block(database: Database) -> None:
    pooler = Pooler({"app": database.line})
    with pytest.raises(PoolerError, match="ended unasked with -9"), pooler:  # noqa: PT012
        os.kill(pooler.pid, signal.SIGKILL)
        until(lambda: not pooler.running)


def test_log_can_be_awaited(start_pooler: StartPooler, database: Database) -> None:
    pooler = start_pooler()
    answer(pooler.dsn(database.name, database.user))
    assert database.user in pooler.wait_for_log(r"C-.* login attempt: .*").group()


def test_pooler_ends_with_its_parent() -> None:
    program = (
        "from pgpool_py.testing import Pooler\n"
        "pooler = Pooler({'app': 'host=127.0.0.1'}).start()\n"
        "print(pooler.pid, pooler.directory, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **own_environment()},
    )
    with parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.kill()
    until(lambda: not alive(int(pid)))
    until(lambda: not Path(directory).exists())


def test_cli_runs_to_its_end() -> None:
    done = run_cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("PgBouncer 1.25.2 (pgpool_py ")


def _accepts(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True
