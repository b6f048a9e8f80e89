"""Keys of entries of [databases] that say what a new server connection is told and asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

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


START = (
    "set timezone = ''Asia/Tokyo''; set lock_timeout = 4242; set app.region = ''north''; set search_path = pg_catalog, public;"
    f" set role {stack.OTHER}"
)
NAMES = ("timezone", "lock_timeout", "app.region", "search_path", "role", "work_mem")
STARTED = ["Asia/Tokyo", "4242ms", "north", "pg_catalog, public", stack.OTHER, "4MB"]


def shown(client: RawClient) -> list[str | None]:
    """What the client finds of the settings that connect_query makes, and of another."""
    return [client.ask(f"show {name}") for name in NAMES]


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test hands on what a client leaves")
@pytest.mark.parametrize("level", ["transparent", "reset"])
@pytest.mark.parametrize(
    "text",
    [
        "set timezone = 'UTC'; set lock_timeout = 1; set app.region = 'south'; set search_path = public; set role none",
        "do $$ begin set timezone = 'UTC'; set lock_timeout = 1; set app.region = 'south'; reset role; end $$",
        "reset all; reset role",
        "reset timezone; reset app.region; set lock_timeout to default; reset search_path; set role none",
        "discard all",
        "begin; set timezone = 'UTC'; reset lock_timeout; set app.region = 'south'; rollback",
    ],
)
def test_connect_query_is_everybodys_start(start_pooler: Start, level: str, text: str) -> None:
    """Whatever one does to what it has set, another finds it as it was, and needs no server of its own for that."""
    pooler = start_pooler(databases={"asked": f"pool_size=1 connect_query='{START}' session_state={level}"})
    with pooler.connect("asked") as client, pooler.connect("asked") as other:
        pid = other.ask("select pg_backend_pid()")
        assert shown(client) == shown(other) == STARTED
        assert wire.errors(client.query(text)) == []
        assert shown(other) == STARTED
        if level == "transparent":
            assert other.ask("select pg_backend_pid()") == pid
        with pooler.connect("asked") as third:
            assert shown(third) == STARTED


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test keeps nothing of this")
def test_connect_query_is_what_resets_lead_to(start_pooler: Start) -> None:
    """For its own client as well: as if the server had been set up that way. What is given at startup goes before it."""
    pooler = start_pooler(databases={"asked": f"pool_size=1 connect_query='{START}'"})
    with pooler.connect("asked") as client, pooler.connect("asked", lock_timeout="7s", work_mem="9MB") as own:
        assert client.parameters["TimeZone"] == "Asia/Tokyo"
        before = [*STARTED[:1], "7s", *STARTED[2:5], "9MB"]
        for who, started in (client, STARTED), (own, before):
            assert shown(who) == started
            for reset in "reset all; reset role", "discard all", "reset lock_timeout; set role to default":
                for name, value in zip(NAMES, ("UTC", "1s", "south", "public", "none", "7MB"), strict=True):
                    who.query(f"set {name} = {value!r}")
                assert wire.errors(who.query(reset)) == []
                found = dict(zip(NAMES, shown(who), strict=True))
                if "lock_timeout;" in reset:
                    assert (found["lock_timeout"], found["role"]) == (started[1], started[4])
                else:
                    assert list(found.values()) == started


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test says nothing else")
def test_connect_query_that_makes_a_temporary_table(start_pooler: Start) -> None:
    """No server of such a pool takes temp_buffers: that is PostgreSQL's to say, and no server is looked for in vain."""
    pooler = start_pooler(databases={"asked": "pool_size=1 connect_query='create temp table of_all as select 1 as n'"})
    with pooler.connect("asked") as client, pooler.connect("asked") as other:
        assert client.ask("select n from of_all") == "1"
        assert wire.errors(client.query("set temp_buffers = '2MB'")) == ["22023"]
        client.query("do $$ begin perform 1; end $$")
        assert wire.errors(other.query("set temp_buffers = '2MB'")) == ["22023"]
        assert other.ask("select n from of_all") == "1"


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_reported_settings_of_connect_query_come_back(start_pooler: Start, mode: str) -> None:
    """Also where nothing else is followed: a client that asks for another time zone leaves the next one that of the entry."""
    level = "" if stack.IS_PEER else " session_state=pgbouncer"
    entry = f"pool_size=1 pool_mode={mode} connect_query='set timezone = ''Asia/Tokyo'''{level}"
    pooler = start_pooler(databases={"asked": entry})
    with pooler.connect("asked") as client:
        assert client.parameters["TimeZone"] == "Asia/Tokyo"
        assert client.ask("show timezone") == "Asia/Tokyo"
    with pooler.connect("asked", timezone="UTC") as client:
        assert client.ask("show timezone") == "UTC"
    with pooler.connect("asked") as client:
        assert client.ask("show timezone") == "Asia/Tokyo"
