"""Signals: how the pooler stops, at once or in order, and how it reads its configuration again."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.NONE, reason="needs a pooler")
Start = Callable[..., stack.Pooler]


def refused(pooler: stack.Pooler) -> bool:
    """Nobody listens any more."""
    with socket.socket() as probe:
        return probe.connect_ex(pooler.address) != 0


def still_runs(pooler: stack.Pooler) -> bool:
    try:
        pooler.process.wait(0.5)
    except subprocess.TimeoutExpired:
        return True
    return False


@pytest.mark.skipif(stack.IS_PEER, reason="this PgBouncer is older than the present meaning of SIGTERM")
def test_sigterm_waits_for_clients(start_pooler: Start) -> None:
    """SIGTERM closes the port; clients finish in peace; with the last one the pooler ends with 0."""
    pooler = start_pooler()
    idle, busy = pooler.connect("app"), pooler.connect("app")
    idle.ask("select 1")
    busy.query("begin")
    pooler.send_signal(signal.SIGTERM)
    pooler.wait_for_log("got SIGTERM, shutting down, waiting for all clients disconnect")
    stack.wait_until(lambda: refused(pooler), "the port is closed")
    assert busy.ask("select 'in peace'") == "in peace"
    assert busy.query("commit")[-1].body == b"I"
    assert idle.ask("select 'another one'") == "another one"
    busy.leave()
    assert still_runs(pooler)
    idle.leave()
    assert pooler.wait() == 0


def test_sigint_waits_for_servers(start_pooler: Start) -> None:
    """SIGINT lets the running transaction end, then the pooler ends with 0, idle clients or not."""
    pooler = start_pooler()
    idle, busy = pooler.connect("app"), pooler.connect("app")
    idle.ask("select 1")
    busy.query("begin")
    pooler.send_signal(signal.SIGINT)
    pooler.wait_for_log("SIGINT")
    assert busy.ask("select 'to the end'") == "to the end"
    assert busy.query("commit")[-1].body == b"I"
    assert pooler.wait() == 0
    idle.vanish()
    busy.vanish()


def test_sigint_ends_idle_pooler_at_once(start_pooler: Start) -> None:
    """With idle clients only, SIGINT ends the pooler within two seconds: docker stop relies on it."""
    pooler = start_pooler()
    clients = [pooler.connect("app") for _ in range(10)]
    for client in clients:
        client.ask("select 1")
    pooler.send_signal(signal.SIGINT)
    assert pooler.wait(2) == 0
    for client in clients:
        client.vanish()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_now(start_pooler: Start, first: signal.Signals) -> None:
    """A second SIGTERM or SIGINT does not wait for anybody."""
    pooler = start_pooler()
    busy = pooler.connect("app")
    busy.query("begin")
    pooler.send_signal(first)
    pooler.wait_for_log(first.name)
    if stack.IS_PEER and first == signal.SIGTERM:
        assert pooler.wait() in (0, 1)
        return
    assert still_runs(pooler)
    if not stack.IS_PEER:
        for ignored in (signal.SIGUSR1, signal.SIGUSR2):
            pooler.send_signal(ignored)
            pooler.wait_for_log(f"got {ignored.name} while shutting down, ignoring")
    pooler.send_signal(first)
    assert pooler.wait() == 0
    pooler.wait_for_log(f"got {first.name} while shutting down, fast exit")
    busy.vanish()


def test_sigquit_ends_now(start_pooler: Start, admin: RawClient) -> None:
    """SIGQUIT stops at once; PostgreSQL rolls back what was open."""
    pooler = start_pooler()
    busy = pooler.connect("app")
    busy.query("create table if not exists quit_now (n int); truncate quit_now")
    busy.query("begin")
    pid = busy.ask("select pg_backend_pid()")
    busy.query("insert into quit_now values (1)")
    pooler.send_signal(signal.SIGQUIT)
    pooler.wait(3)
    stack.wait_no_backend(admin, f"pid = {pid}")
    assert admin.ask("select count(*) from quit_now") == "0"
    busy.vanish()


def test_sighup_takes_new_settings(start_pooler: Start) -> None:
    """SIGHUP: a new database can be used, and connected clients stay."""
    pooler = start_pooler()
    with pooler.connect("one") as client:
        pid = client.ask("select pg_backend_pid()")
        pooler.databases["added"] = pooler.databases["one"]
        pooler.reload()
        pooler.wait_for_log("SIGHUP")

        def there() -> bool:
            fresh = pooler.raw("added")
            fresh.send(wire.startup(fresh.startup))
            reply = wire.kinds(fresh.rest())
            fresh.vanish()
            return reply.endswith("Z")

        stack.wait_until(there, "the new database is there")
        assert client.ask("select pg_backend_pid()") == pid


def test_sighup_without_change_closes_nothing(start_pooler: Start) -> None:
    """A reload of the same configuration keeps every server."""
    pooler = start_pooler()
    with pooler.connect("one") as client:
        pid = client.ask("select pg_backend_pid()")
        for count in range(1, 4):
            pooler.reload()
            pooler.wait_for_log("SIGHUP", count=count)
            assert client.ask("select pg_backend_pid()") == pid


def test_sighup_with_fault_keeps_old(start_pooler: Start) -> None:
    """A file that cannot be used is told in the log, and everything stays as it was."""
    pooler = start_pooler()
    with pooler.connect("one") as client:
        client.ask("select 1")
        pooler.settings["no_such_setting"] = "1"
        pooler.reload()
        pooler.wait_for_log("no_such_setting")
        assert client.ask("select 'as before'") == "as before"
    with pooler.connect("two") as fresh:
        assert fresh.ask("select 'as before'") == "as before"


def test_sighup_moves_database_to_new_target(start_pooler: Start) -> None:
    """A changed target closes servers when they are free: the next transaction runs on the new one."""
    pooler = start_pooler()
    with pooler.connect("one") as client:
        client.query("begin")
        pooler.databases["one"] = pooler.databases["one"].replace(f"dbname={stack.DATABASE}", "dbname=postgres")
        pooler.reload()
        pooler.wait_for_log("SIGHUP")
        assert client.ask("select current_database()") == stack.DATABASE
        client.query("commit")
        stack.wait_until(lambda: client.ask("select current_database()") == "postgres", "the new target is used")


def test_waiting_clients_end_at_sigint(start_pooler: Start) -> None:
    """Clients that wait for a server when SIGINT comes are served or told, never left hanging."""
    pooler = start_pooler()
    holder, waiting = pooler.connect("one"), pooler.connect("one")
    holder.query("begin")
    waiting.send(wire.query("select 'waited'"))
    stack.wait_taken(waiting)
    pooler.send_signal(signal.SIGINT)
    pooler.wait_for_log("SIGINT")
    if not stack.IS_PEER:
        assert waiting.refused().fields["M"] == "server shutting down"  # at once: others may serve it
    holder.query("commit")
    reply = list(waiting.messages())
    assert wire.values(reply) == [b"waited"] or wire.kinds(reply) in ("E", "")
    assert pooler.wait() == 0
    holder.vanish()
    waiting.vanish()


def test_signals_leave_no_process_behind(start_pooler: Start) -> None:
    """After its end nobody listens on the port."""
    pooler = start_pooler()
    pooler.connect("app").leave()
    pooler.send_signal(signal.SIGINT)
    assert pooler.wait() == 0
    assert refused(pooler)
