"""Keys of entries of [databases] that say what a new server connection is told and asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack

pytestmark = pytest.mark.skipif(stack.NONE, reason="needs a pooler")
Start = Callable[..., stack.Pooler]


def test_connect_query_runs_on_each_new_server(start_pooler: Start) -> None:
    """Once for each connection; one that fails is said in the log, and the connection serves all the same."""
    query = "create table if not exists connected (pid int); insert into connected values (pg_backend_pid())"
    databases = {"asked": f"pool_size=1 connect_query='{query}'", "wrong": "pool_size=1 connect_query='select nonsense'"}
    pooler = start_pooler(databases=databases)
    with pooler.connect("asked") as client:
        assert client.ask("select count(*) from connected where pid = pg_backend_pid()") == "1"
        client.query("drop table connected")
    with pooler.connect("wrong") as client:
        assert client.ask("select 'served'") == "served"
    if not stack.IS_PEER:
        pooler.wait_for_log('connect_query failed: column "nonsense" does not exist')


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test loses it with DISCARD ALL")
@pytest.mark.parametrize("reset", ["discard all", "reset all", "do $$ begin execute 'select 1'; end $$"])
def test_connect_query_runs_again_after_a_reset(start_pooler: Start, reset: str) -> None:
    """What it sets holds for whoever comes next."""
    pooler = start_pooler(databases={"asked": "pool_size=1 connect_query='set lock_timeout = 4242'"})
    with pooler.connect("asked") as client, pooler.connect("asked") as other:
        assert client.ask("show lock_timeout") == "4242ms"
        client.query(reset)
        assert other.ask("show lock_timeout") == "4242ms"


def test_settings_of_an_entry_hold_for_its_servers(start_pooler: Start) -> None:
    """For clients that do not say otherwise."""
    keys = "application_name=entry client_encoding=LATIN1 datestyle='SQL, DMY' timezone=Asia/Tokyo"
    pooler = start_pooler(databases={"told": f"pool_size=1 {keys}"})
    with pooler.connect("told") as plain, pooler.connect("told", timezone="UTC", application_name="own") as own:
        assert [plain.ask(f"show {name}") for name in ("client_encoding", "datestyle", "timezone")] == [
            "LATIN1",
            "SQL, DMY",
            "Asia/Tokyo",
        ]
        assert plain.ask("show application_name") == "entry"
        assert [own.ask(f"show {name}") for name in ("application_name", "timezone", "datestyle")] == ["own", "UTC", "SQL, DMY"]
