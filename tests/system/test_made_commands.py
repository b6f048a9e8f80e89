"""Commands that code makes at run time: what they leave is its owner's, and nobody else's; and they cost nobody a session.

Custom settings are in no catalog: one whose name nobody has read can only be kept, and kept from others, with its server.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient
from tests.system.unnamed import asks

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="what other poolers do not keep")

FUNCTIONS = r"""
create table made_cmds (c text);
insert into made_cmds values ('set_config(''zz.data'', ''v'', false)');
create table made_parts (c text);
insert into made_parts values ('set_'), ('config(');
create table made_log (c text);
create function made_mk(k text) returns text language plpgsql as $$ begin return set_config('z' || 'z.' || k, 'v', false); end $$;
create function made_run(a text) returns text language plpgsql as $$
  declare r text; begin execute 'select ' || a into r; return r; end $$;
create function made_runs(a text) returns text language plpgsql as $$ declare r text; begin execute a into r; return r; end $$;
create function made_does(a text) returns int language plpgsql as $$ begin execute a; return 1; end $$;
create function made_loop() returns int language plpgsql as $$
  declare r record; n int := 0;
  begin for r in select c from made_cmds loop execute 'select ' || r.c; n := n + 1; end loop; return n; end $$;
create function made_call() returns int language plpgsql as $$ begin execute 'select made_mk(''call'')'; return 1; end $$;
create function made_count(a text) returns bigint language plpgsql as $$
  declare r bigint; begin execute 'select count(*) from ' || a into r; return r; end $$;
create function made_format(a text, n text) returns text language plpgsql as $$
  declare r text; begin execute format('select %I(%L, %L, false)', a, n, 'v') into r; return r; end $$;
create function made_open(a text) returns text language plpgsql as $$
  declare r text; c refcursor; begin open c for execute 'select ' || a; fetch c into r; close c; return r; end $$;
create function made_query(a text) returns setof text language plpgsql as $$ begin return query execute 'select ' || a; end $$;
create view made_view as select made_mk('view');
create function made_views(v text) returns text language plpgsql as $$
  declare r text; begin execute format('select * from %I', v) into r; return r; end $$;
create function made_wrap(a text) returns text language sql as $$ select made_run(a) $$;
create function made_on_insert() returns trigger language plpgsql as $$
  declare r text; begin execute 'select ' || new.c into r; new.c := r; return new; end $$;
create trigger made_trigger before insert on made_log for each row execute function made_on_insert();
create function made_set(k text, v text) returns text language plpgsql as
  $$ begin return set_config('zz.' || k, v, false); end $$;
create function made_set_local(k text, v text) returns text language sql as $$ select set_config('zz.' || k, v, true) $$;
create function made_set_number(n int, v text) returns text language sql as $$ select set_config('zz.p' || n, v, true) $$;
create function made_sets(names text[]) returns void language sql as
  $$ select set_config(k, 'v', false) from unnest($1) k $$;
create view made_printed as select set_config('zz.printed', 'v', false);
create view made_selected as select set_config from set_config('zz.selected', 'v', true);
create table made_ruled (a text);
create rule made_rule as on insert to made_ruled do also select set_config('zz.rule', new.a, false);
create function made_load() returns int language plpgsql as $$ begin execute 'load ''auto_explain'''; return 1; end $$;
create function made_build(a text) returns bigint language plpgsql as $$
  declare q text := 'select count(*) from made_cmds where true'; n bigint;
  begin if a is not null then q := q || ' and c <> ' || quote_literal(a); end if; execute q into n; return n; end $$;
"""
REMOVE = """
do $$ declare r record; begin
  for r in select oid::regprocedure f from pg_proc where proname like 'made\\_%' loop
    execute 'drop function ' || r.f || ' cascade';
  end loop;
end $$;
drop view made_printed, made_selected;
drop table made_cmds, made_parts, made_log, made_ruled
"""
WAYS = {
    "a function": ("select made_mk('fn')", "zz.fn"),
    "a DO": ("do $$ begin perform made_mk('do'); end $$", "zz.do"),
    "an argument": ("select made_run('made_mk(''arg'')')", "zz.arg"),
    "an argument alone": ("select made_runs('select made_mk(''args'')')", "zz.args"),
    "a command that calls it": ("select made_call()", "zz.call"),
    "a view": ("select * from made_view", "zz.view"),
    "a view by its name": ("select made_views('made_' || 'view')", "zz.view"),
    "a row": ("select made_run(c) from made_cmds", "zz.data"),
    "a row, wrapped": ("select made_wrap(c) from made_cmds", "zz.data"),
    "a row alone": ("select made_runs('select ' || c) from made_cmds", "zz.data"),
    "a loop": ("select made_loop()", "zz.data"),
    "a cursor": ("select made_open(c) from made_cmds", "zz.data"),
    "rows of rows": ("select made_query(c) from made_cmds", "zz.data"),
    "parts": (
        "select made_run((select string_agg(c, '') from made_parts) || quote_literal('z' || 'z.h') || ',''v'',false)')",
        "zz.h",
    ),
    "a table's name": ("select made_count('made_cmds, ' || (select c from made_cmds))", "zz.data"),
    "a function's name": ("select made_format('set_' || 'config', 'z' || 'z.fi')", "zz.fi"),
    "a trigger": ("insert into made_log select c from made_cmds", "zz.data"),
    "a loop in a DO": (
        "do $$ declare r record; begin for r in select c from made_cmds loop execute 'select ' || r.c; end loop; end $$",
        "zz.data",
    ),
}


@pytest.fixture(scope="module")
def functions(direct: Callable[..., RawClient]) -> Iterator[None]:
    """The code that makes commands."""
    with direct() as owner:
        assert wire.errors(owner.query(FUNCTIONS)) == []
    yield
    with direct() as owner:
        assert wire.errors(owner.query(REMOVE)) == []


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler], functions: None) -> stack.Pooler:
    """One server, and a few for those who need one of their own."""
    return start_pooler({"pin_pool_size": 2, "admin_users": stack.ADMIN})


@pytest.fixture(scope="module")
def narrow(start_pooler: Callable[..., stack.Pooler], functions: None) -> stack.Pooler:
    """One server, and no others."""
    return start_pooler({"pin_pool_size": 0})


@pytest.mark.parametrize("way", WAYS)
def test_what_commands_set_is_their_owners(pooler: stack.Pooler, way: str) -> None:
    """Whoever has run them finds it in his next transaction, and nobody else finds that there ever was such a setting."""
    text, name = WAYS[way]
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        assert wire.errors(owner.query(text)) == []
        assert other.ask(asks(name)) == "undefined"
        assert owner.ask(asks(name)) == "v"
        assert other.ask(asks(name)) == "undefined"


@pytest.mark.parametrize("way", WAYS)
def test_what_commands_set_goes_with_its_server(narrow: stack.Pooler, way: str) -> None:
    """Where others need the only server there is, it is not the one on which they would find it."""
    text, name = WAYS[way]
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        owner.query(text)
        for _ in range(2):
            assert other.ask(asks(name)) == "undefined"


def test_nobody_is_sent_away_for_commands_that_nobody_has_seen(pooler: stack.Pooler) -> None:
    """More clients than servers may be kept for run such code, as applications do, over and over."""
    clients = [pooler.connect("one") for _ in range(8)]
    try:
        for _ in range(3):
            for client in clients:
                assert client.ask("select made_loop()") == "1"
        pooler.wait_for_log(re.escape('no reset ends commands that nobody has seen of "select made_loop()"'))
    finally:
        for client in clients:
            client.leave()


def test_commands_that_can_be_read_cost_no_server(narrow: stack.Pooler) -> None:
    """Those of quoted names and literals, and those that a client hands over in full."""
    with narrow.connect("one") as one, narrow.connect("one") as two:
        server = one.ask("select pg_backend_pid()")
        for client in (one, two, one, two):
            assert client.ask("select made_build('x')") == "1"
            assert client.ask("select made_count('made_cmds')") == "1"
            assert client.ask("select made_run('1')") == "1"
        assert two.ask("select pg_backend_pid()") == server


def test_bound_commands_are_read(pooler: stack.Pooler) -> None:
    """What is bound to a function that runs it makes names like what stands in a text."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        for value, name in ((b"made_mk('bound')", "zz.bound"), (b"set_config('z' || 'z.built', 'v', false)", "zz.built")):
            assert wire.errors(owner.exchange(wire.run("select made_run($1)", [value]))) == []
            assert other.ask(asks(name)) == "undefined"
            assert owner.ask(asks(name)) == "v"


NAMED = {
    "by a function": ("select made_set('fn', 'v')", [], "zz.fn", "v"),
    "by a function, bound": ("select made_set($1, $2)", [b"bound", b"v"], "zz.bound", "v"),
    "by a function, the value made": ("select made_set('val', 'v' || 1)", [], "zz.val", "v1"),
    "by a function, the value a number": ("select made_set('num', 5::text)", [], "zz.num", "5"),
    "by a function, for the transaction": ("select made_set_local($1, 'v')", [b"local"], "zz.local", ""),
    "in a DO": ("do $$ begin perform made_set('do', 'v'); end $$", [], "zz.do", "v"),
    "in a DO, in parts": ("do $$ begin perform set_config('zz.' || 'parts', 'v', false); end $$", [], "zz.parts", "v"),
    "in parts": ("select set_config('zz.' || $1, 'v', false)", [b"direct"], "zz.direct", "v"),
    "in parts, bound": ("select set_config('zz.' || $1, $2, false)", [b"both", b"v"], "zz.both", "v"),
    "in parts, for the transaction": ("select set_config('zz.' || $1, 'v', true)", [b"passing"], "zz.passing", ""),
    "out of a list": (
        "select set_config(el->>0, el->>1, true) from json_array_elements($1::json) el",
        [b'[["role", "story_owner"], ["zz.list", "v"]]'],
        "zz.list",
        "",
    ),
    "out of a list, for good": (
        "select set_config(el->>0, el->>1, false) from json_array_elements($1::json) el",
        [b'[["work_mem", "7MB"], ["zz.kept", "v"]]'],
        "zz.kept",
        "v",
    ),
    "out of an object": (
        "select set_config(key, value, false) from json_each_text($1)",
        [b'{"zz.object": "v"}'],
        "zz.object",
        "v",
    ),
    "out of arrays": (
        "select set_config(k, v, false) from unnest($1::text[], $2::text[]) u(k, v)",
        [b"{zz.array}", b"{v}"],
        "zz.array",
        "v",
    ),
    "under its own name": ("select set_config('zz.own'::character varying, 'v', false) as set_config", [], "zz.own", "v"),
    "under its own name, of rows": ("select t.set_config from (select set_config('zz.rows', 'v', true)) t", [], "zz.rows", ""),
    "by a view": ("select * from made_printed", [], "zz.printed", "v"),
    "by a view of rows": ("select * from made_selected", [], "zz.selected", ""),
    "by a rule": ("insert into made_ruled values ('v')", [], "zz.rule", "v"),
}


@pytest.mark.parametrize("way", NAMED)
def test_settings_named_by_what_was_seen_pin_nobody(narrow: stack.Pooler, way: str) -> None:
    """Row-level security is often fed by such code: its names are known, so its clients share one server."""
    text, values, name, kept = NAMED[way]
    with narrow.connect("one") as owner, narrow.connect("one") as second, narrow.connect("one") as other:
        for client in (owner, second, owner, second):
            assert wire.errors(client.exchange(wire.run(text, values))) == []
        for client in (owner, second):
            assert client.ask(asks(name)) == kept
        assert second.ask("select pg_backend_pid()") == owner.ask("select pg_backend_pid()")
        assert other.ask(asks(name)) == "undefined"


@pytest.mark.parametrize("value", [5, 12345, -1, 1 << 20, 1 << 40, True, 1.5, Decimal("1.5"), UUID(int=5)])
def test_values_in_the_binary_format_are_what_they_say(narrow: stack.Pooler, value: Any) -> None:
    """psycopg sends numbers like that; as values of settings, in names of settings, and where code runs what it is given."""
    with psycopg.connect(narrow.uri("one"), autocommit=True) as owner, narrow.connect("one") as other:
        said = owner.execute("select made_set('binary', %s::text)", (value,)).fetchone()
        assert owner.execute("select current_setting('zz.binary')").fetchone() == said
        assert owner.execute("select made_count('made_parts') from (select %b) v", (value,)).fetchone() == (2,)
        for text in ("select set_config('zz.b' || (%b), 'secret', false)", "select set_config('zz.b' || %s, 'secret', true)"):
            with contextlib.suppress(psycopg.Error):  # most of them are no names
                owner.execute(text, (value,))
            name = f"zz.b{str(value).lower()}"
            kept = owner.execute(asks(name)).fetchone()
            assert kept == (("secret",) if is_name(name) else ("undefined",))
            assert other.ask(asks(name)) == "undefined"


def is_name(name: str) -> bool:
    """Whether PostgreSQL takes it for the name of a custom setting."""
    return re.fullmatch(r"[a-z_.0-9$]+", name) is not None and name.count(".") == 1


@pytest.mark.parametrize("length", [5, 48, 65, 97, 122, 200])
def test_names_in_an_array_in_the_binary_format_are_seen(narrow: stack.Pooler, length: int) -> None:
    """Their lengths stand before them there, in bytes that may be letters."""
    name = "zz." + "a" * (length - 3)
    with psycopg.connect(narrow.uri("one"), autocommit=True) as owner, narrow.connect("one") as other:
        for text in ("select set_config(k, 'v', false) from unnest(%b::text[]) k", "select made_sets(%b)"):
            owner.execute(text, ([name],))
            assert other.ask(asks(name)) == "undefined"
            assert owner.execute(asks(name)).fetchone() == ("v",)
            name += "b"


def test_what_is_set_again_is_what_was_set_last(narrow: stack.Pooler) -> None:
    """Also where the name is the client's already."""
    texts = ("select set_config('zz.' || $1, $2, false)", "select made_set($1, $2)")
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        for text in texts:
            for value in ("v", "w", ""):
                owner.exchange(wire.run(text, [b"again", value.encode()]))
                assert other.ask("show work_mem") == "4MB"
                assert owner.ask(asks("zz.again")) == value


def test_what_a_text_of_its_own_names_by_a_table_is_held(narrow: stack.Pooler) -> None:
    """set_config, for the transaction, of names in rows: nobody else gets its server, and its client comes back to it."""
    text = "select set_config(k, 'v', true) from (select 'zz.' || c as k from (values ('row')) v (c)) t"
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        server = owner.ask("select pg_backend_pid()")
        for _ in range(3):
            assert owner.ask(text) == "v"
        assert owner.ask("select pg_backend_pid()") == server
        assert other.ask(asks("zz.row")) == "undefined"


def test_a_right_to_execute_is_no_execute(narrow: stack.Pooler) -> None:
    """Whatever statements its client has prepared."""
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        owner.exchange(wire.run("select set_config('zz.named', $1, false)", [b"v"], "s1"))
        for text in ("grant execute on function made_build(text) to public", "select made_build('x')"):
            assert wire.errors(owner.query(text)) == []
        assert owner.ask("execute s1(upper('w'))") == "W"
        assert other.ask("select 1") == "1"
        assert owner.ask(asks("zz.named")) == "W"


def test_names_that_nobody_knows_are_held_where_nothing_is_lost(narrow: stack.Pooler) -> None:
    """What ends with the transaction leaves only a definition, for which nobody is pinned."""
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        for client in (owner, other, owner):
            assert client.ask("select made_set_number(3, 'v')") == "v"
        assert other.ask(asks("zz.p3")) == "undefined"


MANY = " ".join(f"host{i}.example.org" for i in range(300))
# More than the pooler asks for.
TOO_MANY = " ".join(f"h{i}.org" for i in range(2500))


def test_many_words_with_dots_cost_no_server(narrow: stack.Pooler) -> None:
    """Data, or the columns of many tables, beside code that nobody has read, or while nobody knows what code there is."""
    with narrow.connect("one") as one, narrow.connect("one") as two:
        server = one.ask("select pg_backend_pid()")
        for client in (one, two, one, two):
            assert client.ask(f"select made_count('made_cmds'), '{MANY}'") == "1"
            for text in ("begin", "create table made_new (a int)", f"select '{MANY}'", "rollback"):
                assert wire.errors(client.query(text)) == []
        assert two.ask("select pg_backend_pid()") == server


@pytest.mark.parametrize("words", [MANY, TOO_MANY], ids=["many", "too many"])
def test_a_name_among_many_words_with_dots_is_not_overlooked(narrow: stack.Pooler, words: str) -> None:
    """Neither in a text nor in what is bound; where they are too many, nobody else gets the server."""
    ways = [
        wire.query(f"select '{words}', made_does('reset zz.crowd')"),
        wire.run("select made_does($1)", [f"select '{words}'; reset zz.crowd".encode()]),
        wire.query(f"do $$ begin perform '{words}'; set zz.crowd = 'v'; end $$"),
    ]
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        for way in ways:
            assert wire.errors(owner.exchange(way)) == []
            for _ in range(2):
                assert other.ask(asks("zz.crowd")) == "undefined"
        assert owner.ask(asks("zz.crowd")) == "v"


@pytest.mark.parametrize("words", [MANY, TOO_MANY], ids=["many", "too many"])
def test_names_are_found_where_nothing_is_kept(start_pooler: Callable[..., stack.Pooler], functions: None, words: str) -> None:
    """With session_state = reset a setting stays defined all the same: whoever never touched it gets another server."""
    del functions
    pooler = start_pooler({"session_state": "reset"})
    ways = [
        wire.run("select made_does($1)", [b"set zz.bound = 'v'"]),
        wire.query(f"select '{words}', made_does('reset zz.bound')"),
        wire.run("select made_does($1)", [f"select '{words}'; reset zz.bound".encode()]),
    ]
    for way in ways:
        with pooler.connect("one") as owner, pooler.connect("one") as other:
            assert other.ask(asks("zz.bound")) == "undefined"
            assert wire.errors(owner.exchange(way)) == []
            assert other.ask(asks("zz.bound")) == "undefined"


OUTLIVE = {
    "a library": "do $$ begin load 'auto_explain'; end $$",
    "a library in a command": "do $$ begin execute 'load ' || quote_literal('auto_explain'); end $$",
    "a library in a function": "select made_load()",
    "an origin": "do $$ begin perform pg_replication_origin_session_setup('made_origin'); end $$",
    "an origin in an argument": "select made_runs('select 1 from pg_replication_origin_session_setup(''made_origin'')')",
    "a slot": "do $$ begin perform pg_create_physical_replication_slot('made_slot', true, true); end $$",
    "an extension's script": "create extension if not exists citext",
    "an extension's script in a DO": "do $$ begin create extension if not exists citext; end $$",
}


@pytest.mark.parametrize("text", OUTLIVE.values(), ids=OUTLIVE)
def test_what_no_reset_ends_goes_with_its_server(narrow: stack.Pooler, admin: RawClient, text: str) -> None:
    """Nobody else gets it, whatever the words stand in."""
    admin.query("select pg_replication_origin_create('made_origin')")
    with narrow.connect("one", stack.ADMIN) as owner, narrow.connect("one", stack.ADMIN) as other:
        server = owner.ask("select pg_backend_pid()")
        assert wire.errors(owner.query(text)) == []
        assert other.ask("select pg_backend_pid()") != server


@pytest.mark.parametrize("said", ["unable to load '' %", "load %", "to create extension %"])
def test_words_of_it_in_a_message_keep_no_server(narrow: stack.Pooler, said: str) -> None:
    """Who only speaks of loading a library, or of creating an extension, has done neither."""
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        server = owner.ask("select pg_backend_pid()")
        assert wire.errors(owner.query(f"do $$ begin raise notice '{said}', 1; end $$")) == []
        assert other.ask("select pg_backend_pid()") == server


SEEDS = {
    "a function": "select setseed(0.5)",
    "SET": "set seed = 0.5",
    "SET of a quoted name": "set \"Seed\" = 0.5",
    "SET SESSION": "set session \"seed\" to 0.5",
    "SET LOCAL": "begin; set local \"seed\" = 0.5; commit",
    "set_config": "select set_config('seed', '0.5', false)",
    "set_config, passing": "select set_config('seed', '0.5', true)",
}


@pytest.mark.parametrize("text", SEEDS.values(), ids=SEEDS)
def test_a_seed_is_its_owners_while_there_are_servers(pooler: stack.Pooler, text: str) -> None:
    """What no reset ends keeps its server, as long as nobody needs that: others draw other numbers."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        owner.query(text)
        expected = owner.ask("select random()")
        owner.query(text)
        assert other.ask("select random()") != expected
        assert owner.ask("select random()") == expected
        with pooler.connect("pgbouncer", stack.ADMIN) as console:
            assert b"a seed, a library or a slot" in [
                column for row in console.query("show pins") if row.kind == "D" for column in row.columns
            ]


LOSING = {
    **SEEDS,
    "RESET": "reset seed",
    "RESET of a quoted name": "reset \"seed\"",
    "a DO": "do $$ begin perform set_config('seed', '0.5', false); end $$",
    "code nobody has read": "select made_does('set se' || 'ed = 0.5')",
}


@pytest.mark.parametrize("text", LOSING.values(), ids=LOSING)
def test_a_seed_that_is_lost_ends_nobody(narrow: stack.Pooler, text: str) -> None:
    """Its server was needed by others; what cannot be read cannot be set again."""
    with narrow.connect("one") as owner, narrow.connect("one") as other:
        owner.query("set work_mem = '7MB'")
        owner.query(text)
        assert other.ask("show work_mem") == "4MB"
        assert owner.ask("show work_mem") == "7MB"
