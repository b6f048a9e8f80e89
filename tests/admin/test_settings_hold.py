"""Settings that are changed on the running pooler hold from then on: set on the console, and seen by clients or in the log."""

from __future__ import annotations

import psycopg
import pytest

from tests.admin.conftest import Pooler
from tests.system import stack, wire


def test_login_notify_message_is_said_at_each_login(shared: Pooler) -> None:
    shared.order("SET login_notify_message = 'maintenance at noon'")
    raw = shared.raw("one")
    raw.send(wire.startup(raw.startup))
    assert "maintenance at noon" in str(raw.until("Z"))
    raw.vanish()


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("log_connections", "login attempt: db=two user=story_owner"),
        ("log_disconnections", "closing because: client close request"),
        ("log_disconnections", "closing because: no such database: nowhere"),
        ("log_pooler_errors", "pooler error: transaction blocks not allowed in statement pooling mode"),
        ("log_pooler_errors", "pooler error: no such database: nowhere"),
    ],
)
def test_log_lines_can_be_switched_off(shared: Pooler, setting: str, line: str) -> None:
    """With 1 the line is written, with 0 it is not; an order on the console marks the place in the log."""

    def lines_of_a_visit(marker: str) -> str:
        before = len(shared.log)
        with shared.connect("two") as client:
            client.ask("select 1")
        broken = shared.connect("statement")
        broken.query("begin")
        broken.vanish()
        lost = shared.raw("nowhere")
        lost.send(wire.startup(lost.startup))
        assert lost.refused().sqlstate == "3D000"
        lost.vanish()
        with shared.console() as console, pytest.raises(psycopg.Error):
            console.execute(f"PAUSE {marker}")
        shared.wait_for_log(f"no such database: {marker}")
        return shared.log[before:]

    assert line in lines_of_a_visit(f"{setting}_on")
    shared.order(f"SET {setting} = 0")
    assert line not in lines_of_a_visit(f"{setting}_off")


def test_server_reset_query_runs_between_sessions(shared: Pooler) -> None:
    """In session mode, when the client has left; the next one finds nothing of it."""
    shared.order("SET server_reset_query = 'DISCARD ALL'")
    with shared.connect("session") as client:
        pid = client.ask("select pg_backend_pid()")
        client.query("set work_mem to '7MB'")
    with shared.connect("session") as client:
        assert client.ask("select pg_backend_pid()") == pid
        assert client.ask("show work_mem") != "7MB"


def test_server_reset_query_always_resets_each_transaction(shared: Pooler) -> None:
    """Also after a text that leaves nothing behind: PostgreSQL counts a reset for each."""
    with shared.connect("one") as client:
        client.ask("select 1")
        assert client.ask("select count(*) from pg_prepared_statements") == "0"
    shared.order("SET server_reset_query_always = 1")
    with shared.connect("one") as client:
        resets = "select query from pg_stat_activity where pid = %s"
        pid = client.ask("select pg_backend_pid()")
        with psycopg.connect(host=shared.server.host, port=shared.server.port, user="postgres", dbname="postgres") as admin:
            stack.wait_until(lambda: admin.execute(resets, [pid]).fetchone() == ("DISCARD ALL",), "the reset was the last query")


def test_server_reset_timeout_closes_a_server_that_takes_too_long(shared: Pooler) -> None:
    """Between two clients; the next one gets another server at once."""
    shared.order("SET server_reset_query = 'select pg_sleep(60)'")
    shared.order("SET server_reset_timeout = 0.3")
    with shared.connect("session") as client:
        pid = client.ask("select pg_backend_pid()")
    with shared.connect("session") as client:
        assert client.ask("select pg_backend_pid()") != pid
    shared.wait_for_log("closing because: server reset timed out")


def test_max_packet_size_refuses_larger_messages(shared: Pooler) -> None:
    """Whoever sends more than that is told and closed; others notice nothing."""
    with shared.connect("two") as other:
        shared.order("SET max_packet_size = 10000")
        with shared.connect("two") as client:
            client.send(wire.query("select '" + "x" * 20_000 + "'"))
            assert "invalid message length" in str(client.rest())
        assert other.ask("select 1") == "1"


def test_query_wait_timeout_of_a_running_pooler(shared: Pooler) -> None:
    shared.order("SET query_wait_timeout = 0.2")
    with shared.connect("one") as busy:
        busy.query("begin")
        waiting = shared.connect("one", stack.OWNER)
        waiting.send(wire.query("select 1"))
        assert "query_wait_timeout" in str(waiting.rest())
