"""The throw-away PostgreSQL: started, restarted, kept, and gone whatever way its parent ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import PostgresError, PostgresServer, embedded_bin_dir, free_port, local_bin_dirs
from pgpool_py.testing import binaries as binaries_module
from pgpool_py.testing.pooler import own_environment
from pgpool_py.testing.process import child_account
from tests.fixtures.processes import alive, until


def value(server: PostgresServer, query: str) -> object:
    with server.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def test_server_answers_and_is_gone() -> None:
    with PostgresServer() as server:
        directory, pid = server.directory, server.pid
        assert value(server, "SELECT 1") == 1
        assert value(server, "SHOW fsync") == "off"
    assert not directory.exists()
    assert not alive(pid)


def test_server_never_runs_as_root() -> None:
    with PostgresServer() as server:
        assert os.stat(f"/proc/{server.pid}").st_uid == child_account().uid != 0


def test_wrong_password_is_refused() -> None:
    failure = pytest.raises(psycopg.OperationalError, match="password authentication failed")
    with PostgresServer() as server, failure:
        psycopg.connect(server.dsn(user="postgres", password="wrong"))


def test_restart_keeps_port_and_data() -> None:
    with PostgresServer() as server:
        server.execute("CREATE TABLE kept (i int)")
        port = server.port
        server.restart()
        assert server.port == port
        assert value(server, "SELECT count(*) FROM kept") == 0


def test_crashed_server_restarts() -> None:
    with PostgresServer() as server:
        server.crash()
        assert not server.running
        server.restart()
        assert value(server, "SELECT 1") == 1


def test_kept_data_survives(open_path: Path) -> None:
    """The password differs at every start, the data does not."""
    data = open_path / "data"
    with PostgresServer(data=data) as first:
        first.execute("CREATE TABLE kept (i int)")
    with PostgresServer(data=data) as second:
        assert second.password != first.password
        assert value(second, "SELECT count(*) FROM kept") == 0


def test_data_of_someone_else_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a directory of another user")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    with pytest.raises(PostgresError, match='user "nobody" must own and reach it'):
        PostgresServer(data=tmp_path / "data").start()


def test_taken_port_is_named() -> None:
    with PostgresServer() as server, pytest.raises(PostgresError, match="Address already in use"):
        PostgresServer(port=server.port).start()


def test_settings_and_hba_reach_the_server() -> None:
    with PostgresServer(settings={"work_mem": "7MB"}, hba=["host all nopass 127.0.0.1/32 trust"]) as server:
        server.execute("CREATE ROLE nopass LOGIN")
        with psycopg.connect(server.dsn(user="nopass")) as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)


def test_callers_libpq_settings_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    with PostgresServer() as server:
        assert server.running


@pytest.mark.skipif(not local_bin_dirs(), reason="no PostgreSQL installed by the system")
def test_other_installation_can_be_named() -> None:
    bin_dir = local_bin_dirs()[0]
    with PostgresServer(bin_dir=bin_dir) as server:
        assert str(value(server, "SHOW server_version")).startswith(bin_dir.parent.name)


def test_unreadable_wheel_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in /root is not readable by the user that the server runs as."""
    if os.geteuid() != 0:
        pytest.skip("only root runs the server as another user")
    monkeypatch.setattr(binaries_module, "_everybody_can_enter", lambda path: False)
    uid = child_account().uid
    copied = embedded_bin_dir(uid)
    assert copied.is_relative_to("/var/cache/pgpool_py")
    assert embedded_bin_dir(uid) == copied
    with PostgresServer(bin_dir=copied) as server:
        assert value(server, "SELECT 1") == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_server_ends_with_its_parent(end: signal.Signals) -> None:
    """Even a parent that cannot tidy up leaves neither process nor directory behind."""
    program = (
        "from pgpool_py.testing import PostgresServer\n"
        "server = PostgresServer().start()\n"
        "print(server.pid, server.directory, flush=True)\n"
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
        parent.send_signal(end)
    until(lambda: not alive(int(pid)))
    until(lambda: not Path(directory).exists())


def test_free_port_can_be_bound() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
