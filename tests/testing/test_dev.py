"""`pgpool_py dev`: one command, both running; any end of one is the end of both."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import free_port
from pgpool_py.testing.pooler import own_environment
from tests.fixtures.processes import alive, until


class Dev:
    """A running `pgpool_py dev`, what it said, and its two children."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.said:
            line = self.process.stdout.readline()
            assert line, f"it ended without {text!r}: {self.said}"
            self.said += line

    def rest(self) -> str:
        assert self.process.stdout is not None
        self.said += self.process.stdout.read()
        return self.said

    @property
    def dsn(self) -> str:
        found = re.search(r"DSN: (\S+)", self.said)
        assert found
        return found.group(1)

    def child(self, name: str) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children if name in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(found) == 1, (name, found)
        return found[0]

    @property
    def postgres(self) -> int:
        return self.child("bin/postgres")

    @property
    def pooler(self) -> int:
        return self.child("pgbouncer.ini")


@contextmanager
def dev(*arguments: str) -> Iterator[Dev]:
    """Start it on a free port; when the block ends it must have ended, too, or is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgpool_py", "dev", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env={**os.environ, **own_environment(), "PYTHONUNBUFFERED": "1"},
    )
    with process:
        try:
            yield Dev(process)
        finally:
            if process.poll() is None:
                process.terminate()


@contextmanager
def ready_dev(*arguments: str) -> Iterator[Dev]:
    with dev("--port", str(free_port()), *arguments) as started:
        started.read_until("ctrl-C stops both")
        yield started


def test_printed_dsn_answers() -> None:
    with ready_dev() as started, psycopg.connect(started.dsn) as connection:
        row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row == ("app", "app")
        assert "PGPASSWORD=" in started.said
        assert f"-h 127.0.0.1 -p {connection.info.port} -U app app" in started.said


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_both(name: signal.Signals) -> None:
    with ready_dev() as started:
        children = [started.postgres, started.pooler]
        started.process.send_signal(name)
        said = started.rest()
        assert started.process.wait(10) == 0
    assert f"{name.name}: stopping the pooler and PostgreSQL" in said
    assert not any(alive(pid) for pid in children)


def test_kill_stops_both() -> None:
    with ready_dev() as started:
        children = [started.postgres, started.pooler]
        started.process.kill()
        until(lambda: not any(alive(pid) for pid in children))


def test_death_of_the_pooler_stops_postgres() -> None:
    with ready_dev() as started:
        postgres = started.postgres
        os.kill(started.pooler, signal.SIGKILL)
        assert "the pooler ended with exit code -9" in started.rest()
        assert started.process.wait(10) == 1
    assert not alive(postgres)


def test_death_of_postgres_stops_the_pooler() -> None:
    with ready_dev() as started:
        pooler = started.pooler
        os.kill(started.postgres, signal.SIGINT)
        said = started.rest()
        assert started.process.wait(10) == 1
    assert "PostgreSQL ended" in said
    assert "received fast shutdown request" in said
    assert not alive(pooler)


def test_taken_port_is_said_in_one_line() -> None:
    with ready_dev() as first:
        port = psycopg.conninfo.conninfo_to_dict(first.dsn)["port"]
        with dev("--port", str(port)) as second:
            said = second.rest()
            assert second.process.wait(10) == 1
    assert said == (
        f"pgpool_py dev: port {port} on 127.0.0.1: address already in use; choose another one with --port\n"
    )


def test_kept_data_is_found_again(open_path: Path) -> None:
    options = ("--data", str(open_path / "data"), "--password", "mine")
    with ready_dev(*options) as started, psycopg.connect(started.dsn) as connection:
        connection.execute("CREATE TABLE kept (i int)")
    with ready_dev(*options) as started, psycopg.connect(started.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_wrong_argument_exits_with_two() -> None:
    with dev("--no-such-option") as started:
        assert "usage: pgpool_py dev" in started.rest()
        assert started.process.wait(10) == 2
