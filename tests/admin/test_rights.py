"""Who may enter the console, and who may say what there (CVE-2026-6667: KILL_CLIENT was open to stats_users)."""

from __future__ import annotations

import subprocess
from typing import Any

import psycopg
import pytest

from pgpool_py.admin.commands import COMMANDS, SHOWS, Right
from pgpool_py.testing import PostgresServer
from pgpool_py.testing.process import child_account, private_directory, remove_tree
from tests.admin.conftest import ADMIN, NOBODY, STATS, Pooler, Start
from tests.admin.contract import ADMIN_ONLY, SHOW
from tests.system import stack
from tests.system.test_drivers import program


@pytest.mark.parametrize("command", ADMIN_ONLY)
def test_a_reader_changes_nothing(pooler: Pooler, command: str) -> None:
    """stats_users may look; nothing that acts is theirs, whatever its arguments."""
    with pooler.console(STATS) as console:
        with pytest.raises(psycopg.Error, match=r"^admin access needed") as caught:
            console.execute(command)
        assert (caught.value.diag.severity, caught.value.sqlstate) == ("ERROR", "08P01")
        console.execute("SHOW VERSION")  # and the connection lives


@pytest.mark.parametrize("name", [name for name in SHOW if name != "FDS"])
def test_a_reader_sees_every_show_but_fds(pooler: Pooler, name: str) -> None:
    with pooler.console(STATS) as console:
        console.execute(f"SHOW {name}").fetchall()


def test_every_command_that_acts_is_the_admins() -> None:
    """The tables themselves: what is open to readers is named here, so that nothing is opened by accident."""
    assert {name for name, command in COMMANDS.items() if command.right is Right.STATS} == {
        "show", "set", "begin", "start", "commit", "end", "rollback", "abort",
    }  # fmt: skip
    assert {name for name, show in SHOWS.items() if show.right is Right.ADMIN} == {"fds", "settings_diff"}


@pytest.mark.parametrize("command", ["SHOW VERSION", "SHUTDOWN", "KILL_CLIENT 1"])
def test_nobody_else_comes_in(pooler: Pooler, command: str) -> None:
    """A user of the pooler who is in neither list is refused at the door."""
    with pytest.raises(psycopg.OperationalError, match=r"FATAL: +not allowed"), pooler.console(NOBODY) as console:
        console.execute(command)


def test_an_admin_needs_the_password(start_pooler: Start) -> None:
    """The console asks for the same proof as any database."""
    pooler = start_pooler({"auth_type": "scram-sha-256"})
    right = pooler.dsn("pgbouncer", ADMIN)
    with psycopg.connect(right, autocommit=True) as console:
        console.execute("SHOW VERSION")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(pooler.dsn("pgbouncer", ADMIN, "wrong"))
    # Not even user pgbouncer comes in without one, unless the kernel says that it is the pooler's own system user.
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(pooler.dsn("pgbouncer", "pgbouncer", stack.PASSWORD))


def test_any_makes_readers_of_everybody(start_pooler: Start) -> None:
    """Under auth_type=any nobody has proved a name: any name looks, the names in admin_users act."""
    pooler = start_pooler({"auth_type": "any"})
    with pooler.console("somebody") as console:
        console.execute("SHOW POOLS")
        with pytest.raises(psycopg.Error, match="admin access needed"):
            console.execute("RELOAD")
    assert pooler.order("RELOAD") == "RELOAD"


def test_the_console_is_not_counted(start_pooler: Start) -> None:
    """max_client_conn never keeps an operator out, and operators take nobody's place."""
    pooler = start_pooler({"max_client_conn": 1})
    with pooler.console(), pooler.console(STATS), pooler.connect("app") as client:
        assert client.ask("select 1") == "1"
        with pytest.raises(psycopg.OperationalError, match="max_client_conn"):
            psycopg.connect(pooler.uri("app"))
        with pooler.console() as console:
            console.execute("SHOW CLIENTS")


def test_own_system_user_enters_without_password(start_pooler: Start, server: PostgresServer) -> None:
    """Over the Unix socket, as user pgbouncer, by the kernel's word alone, and as admin; any other name is asked."""
    account = child_account()
    folder = private_directory("console-", account)
    try:
        pooler = start_pooler({"auth_type": "scram-sha-256", "unix_socket_dir": folder})
        base = [str(program("psql", server)), "-X", "-w", "-h", str(folder), "-p", str(pooler.port), "-d", "pgbouncer", "-At"]

        def psql(user: str) -> subprocess.CompletedProcess[str]:
            options: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, **account.popen_options}
            command = [*base, "-U", user, "-c", "RELOAD"]
            return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)

        assert psql("pgbouncer").stdout == "RELOAD\n"
        assert "password" in psql(ADMIN).stderr
    finally:
        remove_tree(folder)
