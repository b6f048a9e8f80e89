"""What one client does to its session is never seen by the next client of the same server.

For each kind of state and each way out: A creates it, goes, and B, on a pool of one and so on the same server, looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.system import stack, wire
from tests.system.rawclient import WAYS_OUT, RawClient


@dataclass(frozen=True)
class State:
    """How a kind of state is made, and what a client that has none of it sees."""

    name: str
    make: str
    look: str
    clean: tuple[str | None, ...]
    transactional: bool = True  # a rollback undoes it


STATES = [
    State("set", "set work_mem = '7MB'", "show work_mem", ("4MB",)),
    State("set_in_capitals", "SET SESSION Work_Mem TO '7MB'", "show work_mem", ("4MB",)),
    State("set_after_comment", "/* select */ set work_mem = '7MB'", "show work_mem", ("4MB",)),
    State("set_second", "select 1; set work_mem = '7MB'", "show work_mem", ("4MB",)),
    State("set_timeout", "set statement_timeout = '31s'", "show statement_timeout", ("0",)),
    State("set_search_path", "set search_path to pg_catalog", "show search_path", ('"$user", public',)),
    State("read_only", "set session characteristics as transaction read only", "show default_transaction_read_only", ("off",)),
    State("set_config", "select set_config('work_mem', '7MB', false)", "show work_mem", ("4MB",)),
    State("set_config_qualified", "select PG_CATALOG.Set_Config('work_mem', '7MB', false)", "show work_mem", ("4MB",)),
    State(
        "set_config_in_cte",
        "with x as materialized (select set_config('work_mem', '7MB', false)) select * from x",
        "show work_mem",
        ("4MB",),
    ),
    State("set_config_in_function", "select sneaky()", "show work_mem", ("4MB",)),
    State("set_in_do_block", "do $$ begin perform set_config('work_mem', '7MB', false); end $$", "show work_mem", ("4MB",)),
    State("set_config_by_view", "select * from sneaky_view", "show work_mem", ("4MB",)),
    State("update_pg_settings", "update pg_settings set setting = '7168' where name = 'work_mem'", "show work_mem", ("4MB",)),
    State("custom_setting", "set app.tenant = 'a'", "select current_setting('app.tenant', true)", ("", None)),
    State("role", f"set role {stack.OTHER}", "select current_user", (stack.OWNER,)),
    State("temp_table", "create temp table scratch as select 1 as n", "select to_regclass('pg_temp.scratch')", (None,)),
    State("select_into_temp", "select 1 as n into temp scratch", "select to_regclass('pg_temp.scratch')", (None,)),
    State(
        "advisory_lock",
        "select pg_advisory_lock(4711)",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        ("0",),
        transactional=False,
    ),
    State(
        "try_advisory_lock",
        "select pg_try_advisory_lock(1, 2)",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        ("0",),
        transactional=False,
    ),
    State("listen", "listen news", "select count(*) from pg_listening_channels()", ("0",)),
    State("hold_cursor", "declare held cursor with hold for select 1", "select count(*) from pg_cursors", ("0",)),
    State(
        "sql_prepare",
        "prepare plan as select 1",
        "select count(*) from pg_prepared_statements where from_sql",
        ("0",),
        transactional=False,
    ),
    State("lastval", "insert into counted default values", "select lastval()", ("55000",), transactional=False),
    State("currval", "select nextval('counted_id_seq')", "select currval('counted_id_seq')", ("55000",), transactional=False),
]


@pytest.fixture(scope="module", autouse=True)
def schema(direct: Callable[..., RawClient]) -> None:
    """A table with a sequence, and functions and views that change settings behind a plain-looking query."""
    with direct() as owner:
        for sql in (
            "create table if not exists counted (id serial)",
            "create or replace function sneaky() returns text language sql as $$ select set_config('work_mem', '7MB', false) $$",
            "create or replace view sneaky_view as select sneaky()",
        ):
            assert wire.errors(owner.query(sql)) == []


def seen_by_next(pooler: stack.Pooler, look: str, database: str = "one") -> str | None:
    """What a new client sees: a value, or the SQLSTATE of the error."""
    with pooler.connect(database) as client:
        reply = client.query(look)
        if wire.errors(reply):
            return wire.errors(reply)[0]
        value = wire.values(reply)[0]
        return None if value is None else value.decode()


def make_and_leave(client: RawClient, state: State, way: str) -> None:
    """Create the state inside the way out that is named."""
    if way == "commit":
        client.query("begin")
        assert wire.errors(client.query(state.make)) == []
        client.query("commit")
    elif way == "rollback":
        client.query("begin")
        assert wire.errors(client.query(state.make)) == []
        client.query("rollback")
    elif way == "error":
        assert wire.errors(client.query(state.make)) == []
        client.query("select 1/0")
    elif way == "extended":
        for part in [state.make] if "$$" in state.make else state.make.split(";"):
            assert wire.errors(client.exchange(wire.run(part))) == []
    elif way == "in transaction":
        client.query("begin")
        assert wire.errors(client.query(state.make)) == []
        client.leave()
    else:
        assert wire.errors(client.query(state.make)) == []
        WAYS_OUT[way](client)


@pytest.mark.skipif(stack.IS_PEER, reason="leaks are what the executable under test is known for")
@pytest.mark.parametrize("way", ["commit", "rollback", "error", "extended", "in transaction", *WAYS_OUT])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_state_is_not_seen_by_next(pooler: stack.Pooler, state: State, way: str) -> None:
    """Whatever the kind of state and however its maker goes, the next client finds none of it."""
    client = pooler.connect("one")
    make_and_leave(client, state, way)
    assert seen_by_next(pooler, state.look) in state.clean
    client.vanish()


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test resets session mode only on disconnect")
@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_state_is_not_seen_in_session_mode(pooler: stack.Pooler, state: State, way: str) -> None:
    """The same in session mode, when the client has gone."""
    client = pooler.connect("session")
    make_and_leave(client, state, way)
    assert seen_by_next(pooler, state.look, "session") in state.clean


def test_session_mode_keeps_state_for_owner(pooler: stack.Pooler) -> None:
    """In session mode a client keeps what it made, and its server."""
    with pooler.connect("session") as client:
        pid = client.ask("select pg_backend_pid()")
        client.query("set work_mem = '7MB'; create temp table mine as select 'kept' as word; listen news")
        client.query("select pg_advisory_lock(4712); prepare plan as select 'planned'")
        assert client.ask("show work_mem") == "7MB"
        assert client.ask("select word from mine") == "kept"
        assert client.ask("execute plan") == "planned"
        assert client.ask("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == "1"
        client.query("notify news, 'hello'")
        assert len(client.notifications) == 1
        assert client.ask("select pg_backend_pid()") == pid


def test_notification_reaches_no_stranger(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """After a client that had listened, a NOTIFY does not reach the server's next client."""
    if stack.IS_PEER:
        pytest.skip("leaks are what the executable under test is known for")
    with pooler.connect("one") as listener:
        listener.query("listen news")
    with pooler.connect("one") as stranger, direct() as sender:
        stranger.ask("select 1")
        sender.query("notify news, 'secret'")
        for number in range(5):
            assert stranger.ask(f"select {number}") == str(number)
        assert stranger.notifications == []


def test_set_local_ends_with_transaction(pooler: stack.Pooler) -> None:
    """SET LOCAL works inside its transaction and is gone after it."""
    with pooler.connect("one") as client:
        client.query("begin")
        client.query("set local work_mem = '9MB'")
        assert client.ask("show work_mem") == "9MB"
        client.query("commit")
    assert seen_by_next(pooler, "show work_mem") == "4MB"


def test_role_switch_leaves_login_user(pooler: stack.Pooler) -> None:
    """After any reset current_user, session_user and the login user are one."""
    with pooler.connect("one") as client:
        client.query(f"set role {stack.OTHER}")
    with pooler.connect("one") as client:
        assert client.ask("select current_user = session_user and current_user = 'story_owner'") == "t"


RESETS = [
    "reset role",
    "reset session authorization",
    "set session authorization default",
    "reset all",
    "discard all",
    "rollback",
    "reset role; discard all; select 1/0",
]


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("switch", [f"set role {stack.OTHER}", f"set session authorization {stack.OTHER}"])
def test_after_any_reset_everybody_is_themselves(pooler: stack.Pooler, switch: str, reset: str) -> None:
    """pgdog #1341: by value and by the catalog, for a superuser, who may switch to anybody."""
    who = "select concat_ws(' ', current_user, session_user, current_setting('role'), current_setting('session_authorization'))"
    with pooler.connect("one", stack.ADMIN) as client, pooler.connect("one", stack.ADMIN) as other:
        assert client.ask(who) == "postgres postgres none postgres"
        client.query(f"begin; {switch}" if reset == "rollback" else switch)
        client.query(reset)
        assert other.ask(who) == "postgres postgres none postgres"
        client.query("reset session authorization; reset role")
        assert client.ask(who) == "postgres postgres none postgres"
        assert other.ask(who) == "postgres postgres none postgres"


@pytest.mark.parametrize("named", [False, True], ids=["text", "prepared"])
def test_row_security_follows_the_role(pooler: stack.Pooler, admin: RawClient, named: bool) -> None:
    """CVE-2024-10976, 10978: a plan made for one role must not show another role's rows, on whatever server it runs."""
    for sql in (
        "create table if not exists secured (owner text)",
        "delete from secured",
        f"insert into secured values ('{stack.OWNER}'), ('{stack.OTHER}')",
        "alter table secured enable row level security",
        "drop policy if exists own on secured",
        "create policy own on secured using (owner = current_user)",
        f"grant select on secured to {stack.OWNER}, {stack.OTHER}",
    ):
        assert wire.errors(admin.query(sql)) == []
    look = "select string_agg(owner, ',') from secured"

    def rows(client: RawClient) -> bytes | None:
        if named:
            return wire.values(client.exchange(wire.bind("", "look"), wire.execute(), wire.sync()))[0]
        return wire.values(client.query(look))[0]

    with pooler.connect("one") as owner, pooler.connect("one") as switched, pooler.connect("one", stack.OTHER) as other:
        for client in (owner, switched, other):
            client.exchange(wire.parse("look", look), wire.sync())
        assert wire.errors(switched.query(f"set role {stack.OTHER}")) == []
        for _ in range(7):  # more often than PostgreSQL makes a plan of its own each time
            assert rows(owner) == stack.OWNER.encode()
            assert rows(switched) == stack.OTHER.encode()
            assert rows(other) == stack.OTHER.encode()


def test_no_answer_is_kept_for_anybody(pooler: stack.Pooler, admin: RawClient) -> None:
    """A pooler that kept answers showed them to users without the right to ask: each question is asked."""
    look = "select string_agg(word, ',') from asked"
    admin.query("create table if not exists asked (word text)")
    admin.query(f"delete from asked; insert into asked values ('one'); grant select on asked to {stack.OWNER}")
    with pooler.connect("one") as client, pooler.connect("one", stack.OTHER) as stranger:
        assert client.ask(look) == "one"
        assert wire.errors(stranger.query(look)) == ["42501"]
        admin.query("update asked set word = 'two'")
        assert client.ask(look) == "two"
        admin.query(f"revoke select on asked from {stack.OWNER}")
        assert wire.errors(client.query(look)) == ["42501"]


def test_users_do_not_share_servers(pooler: stack.Pooler) -> None:
    """Two users of one database get servers of their own identity."""
    with pooler.connect("one") as first, pooler.connect("one", stack.OTHER) as second:
        for _ in range(5):
            assert first.ask("select session_user") == stack.OWNER
            assert second.ask("select session_user") == stack.OTHER


@pytest.mark.skipif(stack.IS_PEER, reason="leaks are what the executable under test is known for")
def test_plain_statements_cost_no_reset(
    pooler: stack.Pooler, admin: RawClient, direct: Callable[..., RawClient]
) -> None:
    """Statements without session state are followed by no DISCARD: the statement last seen is the client's own."""
    with pooler.connect("one") as client:
        pid = client.ask("select pg_backend_pid()")
        with direct() as maker:  # past the pooler: after DDL of its own client it takes nothing for plain for a while
            maker.query("create table if not exists plain (n int)")
        for sql in (
            "select count(*) from plain",
            "insert into plain values (1)",
            "update plain set n = 2",
            "delete from plain",
            "select n, lower('X') from plain where n > 1 order by n limit 1",
        ):
            client.query("begin")
            client.query(sql)
            client.query("commit")
            client.query(sql)
            last = admin.ask(f"select query from pg_stat_activity where pid = {pid}")
            assert last == sql
