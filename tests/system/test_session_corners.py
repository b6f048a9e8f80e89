"""Sessions where chance and the protocol's corners decide: cancels at any moment, types by oid, seeds, statement mode."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack, wire
from tests.system.rawclient import Address, RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep sessions")

SCHEMA = (
    "create function run(sql text) returns void language plpgsql as $$ begin execute sql; end $$",
    "create function sets() returns text language sql as $$ select set_config('work_mem', '7MB', false) $$",
    "create domain setting as int check (sets() is not null)",
    "create function chosen(what text) returns text language plpgsql as"
    " $$ declare r text; begin execute 'select ' || what into r; return r; end $$",
    "create function named(name text) returns text language sql as $$ select set_config('app.' || name, 'mine', false) $$",
)
# What is there when the pooler meets the database.
CODE = (
    "create view corner_settings as select * from pg_settings",
    "create function corner_view() returns void language sql as"
    " $$ update corner_settings set setting = '7MB' where name = 'work_mem' $$",
    "create table corner_noted (n int)",
    "create rule also as on insert to corner_noted do also update corner_settings set setting = '7MB' where name = 'work_mem'",
    *(
        f"create function corner_{kind}(v {type_}) returns text language sql as"
        " $$ select set_config('app.' || v::text, 'mine', false) $$"
        for kind, type_ in (("blank", "bpchar"), ("cut", "name"), ("letter", '"char"'))
    ),
    "create table corner_indexed (n int)",
    "insert into corner_indexed values (1)",
    "create function corner_index(v bigint) returns bigint language plpgsql immutable as $$ begin"
    " perform pg_try_advisory_lock(77); perform set_config('app.corner', 'mine', false); return v; end $$",
    "create index corner_index on corner_indexed (corner_index(n))",
    "create type corner_type as (n int)",
    "create table corner_typed of corner_type",
    "insert into corner_typed values (1)",
    "create index on corner_typed (corner_index(n))",
)
WAYS = ("set work_mem = '{}'", "select run('set work_mem = ''{}''')", "begin; set work_mem = '{}'; commit")


@pytest.fixture(scope="module", autouse=True)
def schema(direct: Callable[..., RawClient]) -> None:
    """A function that runs any text, and a domain whose check sets something."""
    with direct() as owner:
        for text in SCHEMA:
            assert wire.errors(owner.query(text)) == []


def test_cancels_lose_and_leak_no_settings(pooler: stack.Pooler) -> None:
    """Cancels that come before, during and after the pooler's own questions, differences and resets: what was set is set, and
    what failed is not; the neighbour on the same server is never hit, and sees none of it."""
    stop = threading.Event()
    wrong: list[object] = []
    seen = [0]

    def neighbour() -> None:
        with pooler.connect("one") as client:
            before = client.ask("show work_mem")
            while not stop.is_set():
                reply = client.query("show work_mem")
                if wire.errors(reply) or wire.values(reply) != [str(before).encode()]:
                    wrong.append(reply)
                seen[0] += 1

    thread = threading.Thread(target=neighbour)
    thread.start()
    chance = random.Random(7)
    try:
        with pooler.connect("one") as client:
            expected = b"4MB"
            for _ in range(80):
                size = f"{chance.randint(5, 60)}MB"
                client.send(wire.query(chance.choice(WAYS).format(size)))
                time.sleep(chance.random() * 0.002)  # random on purpose, see above
                client.cancel(wait=chance.random() < 0.5)
                reply = client.until("Z")
                if not wire.errors(reply):
                    expected = size.encode()
                else:
                    assert wire.errors(reply) == ["57014"]
                    if reply[-1].body != b"I":
                        stack.wait_until(lambda: not wire.errors(client.query("rollback")), "it is rolled back")
                reply = client.query("show work_mem")
                assert wire.errors(reply) == ["57014"] or wire.values(reply) == [expected]
    finally:
        stop.set()
        thread.join(20)
    assert wrong == []
    assert seen[0] > 20


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
        "deallocate all",
        "discard all",
        "discard plans",
        "select set_config('app.tenant', 'one', true)",
        "select set_config('work_mem', '7MB', false)",
        "set role story_other",
    ],
)
def test_what_is_known_costs_no_reset(pooler: stack.Pooler, admin: RawClient, text: str) -> None:
    """Clean-up batches of drivers, and settings by name: PostgreSQL sees no DISCARD ALL of ours behind them."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query(text)
        assert other.ask("select 1") == "1"  # whoever waited for the server has waited for a reset, too
        pid = other.ask("select pg_backend_pid()")
        client.query(text)
        last = str(admin.ask(f"select query from pg_stat_activity where pid = {pid}"))
        assert last == text or "pg_catalog.current_setting" in last or "pg_catalog.pg_my_temp_schema" in last


def test_parameter_of_a_domain_s_type_runs_its_check(pooler: stack.Pooler) -> None:
    """The text names nothing: the type comes by its oid in Parse."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        oid = int(str(client.ask("select 'setting'::regtype::oid")))
        batch = wire.parse("", "select $1", [oid]) + wire.bind("", "", [b"1"]) + wire.execute() + wire.sync()
        assert wire.errors(client.exchange(batch)) == []
        assert other.ask("show work_mem") == "4MB"
        assert client.ask("show work_mem") == "7MB"


def test_settings_of_a_text_too_long_to_keep(pooler: stack.Pooler) -> None:
    """What it begins with is looked through for custom names; other settings are found wherever they stand."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        long = "x" * 100_000
        assert wire.errors(client.query(f"set app.long = 'mine'; select '{long}'; set work_mem = '7MB'")) == []
        assert other.ask("select current_setting('app.long', true) is null") == "t"
        assert other.ask("show work_mem") == "4MB"
        assert client.ask("show app.long") == "mine"
        assert client.ask("show work_mem") == "7MB"
        batch = wire.parse("", f"select set_config('app.other', $1, false), '{long}'") + wire.bind("", "", [b"mine"])
        assert wire.errors(client.exchange(batch + wire.execute() + wire.sync())) == []
        client.query("")
        assert other.ask("select current_setting('app.other', true) is null") == "t"
        assert client.ask("show app.other") == "mine"


def test_settings_at_the_end_of_long_code(pooler: stack.Pooler) -> None:
    """Of a text that is long without data nobody knows what it names: its client keeps the server."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        code = f"do $$ begin perform '{'x' * 40_000}'; perform set_config('app.late', 'mine', false); end $$"
        assert wire.errors(client.query(code)) == []
        assert other.ask("select current_setting('app.late', true) is null") == "t"
        assert client.ask("show app.late") == "mine"
    with pooler.connect("one") as third:
        assert third.ask("select current_setting('app.late', true) is null") == "t"


LONG = "'" + "x" * 100_000 + "'"
FAR = {
    "set_config": f"select {LONG}; select set_config('app.late', 'mine', false)",
    "set": f"select {LONG}, {LONG}; set /* a comment */ \"app\" . late = 'mine'",
    "do": f"select {LONG}; do $$ begin execute 'set app.' || 'late = ''mine'' '; end $$",
    "function": f"select {LONG}, named('late')",
    "argument": f"select chosen(concat('set_config(''app.late'', ''mine'', false), ', quote_literal({LONG})))",
    "quoted": "do $$ begin set \"app\".\"late\" = 'mine'; end $$",
}


@pytest.mark.parametrize(("how", "way"), [*((how, "query") for how in FAR), ("function", "parse"), ("argument", "parse")])
def test_settings_are_found_wherever_they_stand(pooler: stack.Pooler, how: str, way: str) -> None:
    """Behind any amount of data, in quotes, in the argument of code: the owner keeps them, nobody else finds them defined."""
    text = FAR[how]
    with pooler.connect("one") as client, pooler.connect("one") as other:
        batch = wire.parse("", text) + wire.bind("", "") + wire.execute() + wire.sync()
        assert wire.errors(client.exchange(wire.query(text) if way == "query" else batch)) == []
        client.query("")  # a statement too long to be remembered keeps its server until then
        assert other.ask("select current_setting('app.late', true) is null") == "t"
        assert client.ask("show app.late") == "mine"
    with pooler.connect("one") as third:
        assert third.ask("select current_setting('app.late', true) is null") == "t"


def test_settings_in_a_long_bound_value(pooler: stack.Pooler) -> None:
    """Code that is bound, and longer than a message that is kept."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        code = f"{LONG} || set_config('app.late', 'mine', false)"
        batch = wire.parse("", "select chosen($1)") + wire.bind("", "", [code.encode()]) + wire.execute() + wire.sync()
        assert wire.errors(client.exchange(batch)) == []
        assert other.ask("select current_setting('app.late', true) is null") == "t"
        assert client.ask("show app.late") == "mine"


@pytest.fixture(scope="module")
def seeded(pooler: stack.Pooler, start_pooler: Callable[..., stack.Pooler]) -> dict[str, stack.Pooler]:
    """A pooler for each way to keep what is one's own from others."""
    return {
        "transparent": pooler,
        "reset": start_pooler({"session_state": "reset"}),
        "reset, empty": start_pooler({"session_state": "reset", "session_placeholders": "empty"}),
    }


SEEDING = [
    "select setseed(0.5)",
    "set seed = 0.5",
    "set \"Seed\" = 0.5",
    "do $$ begin perform setseed(0.5); end $$",
    "select run('select setseed(0.5)')",
    "select run('select set' || 'seed(0.5)')",
    "select set_config('seed', '0.5', false)",
    "select set_config('seed', '0.5', true)",
    "begin; set local \"seed\" = 0.5; rollback",
    "select run('set se' || 'ed = 0.5')",
]


@pytest.mark.parametrize("level", ["transparent", "reset", "reset, empty"])
@pytest.mark.parametrize("text", SEEDING)
def test_seed_of_one_is_not_another_s(
    seeded: dict[str, stack.Pooler], direct: Callable[..., RawClient], text: str, level: str
) -> None:
    """Random numbers that somebody else can foretell are his, whatever hid the seed."""
    with direct() as known:
        known.query("select setseed(0.5)")
        foretold = known.ask("select random()")
    pooler = seeded[level]
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query(text)
        assert other.ask("select random()") != foretold


@pytest.mark.parametrize("text", SEEDING)
def test_seed_is_not_another_s_behind_discard_all(pooler: stack.Pooler, direct: Callable[..., RawClient], text: str) -> None:
    """PostgreSQL's own clean-up leaves it."""
    with direct() as known:
        known.query("select setseed(0.5)")
        foretold = known.ask("select random()")
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query(text)
        client.query("discard all")
        assert other.ask("select random()") != foretold


@pytest.mark.parametrize(
    ("make", "look", "expected"),
    [
        ("set work_mem = '7MB'", "show work_mem", "7MB"),
        ("select run('set work_mem = ''7MB''')", "show work_mem", "7MB"),
        ("set app.tenant = 'one'", "select current_setting('app.tenant', true)", "one"),
        ("set role story_other", "select current_user", "story_other"),
        ("prepare plan as select 'mine'", "execute plan", "mine"),
        ("create temp table scratch as select 'mine' as word", "select word from scratch", "mine"),
        ("select pg_advisory_lock(7)", "select pg_advisory_unlock(7)", "t"),
    ],
)
def test_statement_mode_keeps_sessions(pooler: stack.Pooler, make: str, look: str, expected: str) -> None:
    """As in transaction mode."""
    with pooler.connect("statement") as client, pooler.connect("statement") as other:
        assert wire.errors(client.query(make)) == []
        reply = other.query(look)
        assert wire.errors(reply) or wire.values(reply) != [expected.encode()]
        assert client.ask(look) == expected


UNREADABLE = {
    "set": [wire.query("set dynamic_library_path = 'x'")],
    "reset": [wire.query("reset dynamic_library_path")],
    "bound": [wire.run("select set_config($1, 'x', false)", [b"dynamic_library_path"])],
    "rolled back": [wire.query(text) for text in ("begin; savepoint s", "set log_directory = 'x'", "rollback to s; commit")],
}


@pytest.mark.parametrize("way", UNREADABLE)
def test_what_only_superusers_may_read_ends_nobody(pooler: stack.Pooler, way: str) -> None:
    """A setting that PostgreSQL does not show to its user is refused by PostgreSQL, and the session goes on with what it had."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("set work_mem = '5MB'")
        for message in UNREADABLE[way]:
            client.exchange(message)
        assert [each.ask("show work_mem") for each in (other, client)] == ["4MB", "5MB"]


def test_what_may_be_set_but_not_read_is_nobody_else_s(pooler: stack.Pooler, admin: RawClient) -> None:
    """GRANT SET ON PARAMETER lets a client set what it may not read: the next client of that server does not have it."""
    admin.query(f"grant set on parameter dynamic_library_path to {stack.OWNER}")
    admin.query("create function library_path() returns text language sql security definer as"
                " $$ select current_setting('dynamic_library_path') $$")  # fmt: skip
    try:
        with pooler.connect("one") as client, pooler.connect("one") as other:
            pid = client.ask("select pg_backend_pid()")
            assert wire.errors(client.query("set dynamic_library_path = 'x'")) == []
            assert other.ask("select library_path()") == "$libdir"
            assert client.ask("select pg_backend_pid()") == pid
    finally:
        admin.query(f"revoke set on parameter dynamic_library_path from {stack.OWNER}; drop function library_path")


# In these encodings a letter's second byte may be that of a backslash (manual, 24.3.1).
HALVES = {"sjis": b"\x95\x5c", "big5": b"\xa5\x5c", "gbk": b"\x81\x5c", "uhc": b"\xb0\xa1"}
INJECTED = "public,{}',false);set/**/work_mem=66666;select/**/pg_advisory_lock(9);COMMIT--"


@pytest.mark.parametrize("text", [INJECTED, "{}", "it's {}\\", "it's", "$p0 {} $p"])
@pytest.mark.parametrize("encoding", HALVES)
def test_values_in_any_encoding_follow_their_owner(pooler: stack.Pooler, encoding: str, text: str) -> None:
    """And nothing in them is read as anything else."""
    value = text.encode().replace(b"{}", HALVES[encoding])
    with pooler.connect("two") as owner, pooler.connect("two") as other:
        owner.query(f"set client_encoding = '{encoding}'; set backslash_quote = off")
        names = ("app.note", "search_path") if text == INJECTED else ("app.note",)
        for name in names:
            reply = owner.exchange(wire.run(f"select set_config('{name}', $1, false)", [value]))
            assert wire.values(reply) == [value]
        for _ in range(2):
            for name in names:
                assert wire.values(owner.query(f"show {name}")) == [value]
            other.query("begin")
        with pooler.connect("two") as third:
            for client in (other, third):
                assert client.ask("show work_mem") == "4MB"
                assert client.ask("select count(*) from pg_locks where locktype = 'advisory'") == "0"
        other.query("rollback")


@pytest.mark.parametrize("encoding", ["WIN1251", "LATIN1"])
def test_values_with_letters_that_the_encoding_lacks(pooler: stack.Pooler, encoding: str) -> None:
    """A client that changes its encoding keeps its values, on any server, whether it could read them or not."""
    path, look = '"схема", "größer"', "select encode(convert_to(current_setting('{}'), 'UTF8'), 'hex')"
    with pooler.connect("two", search_path=path) as owner, pooler.connect("two") as other:
        owner.query("set app.letter = 'Müller Мюллер'")
        assert wire.errors(owner.query(f"set client_encoding = '{encoding}'")) == []
        for _ in range(2):
            assert owner.ask(look.format("search_path")) == path.encode().hex()
            assert owner.ask(look.format("app.letter")) == "Müller Мюллер".encode().hex()
            other.query("begin")
        reply = owner.query(f"set search_path = public; reset search_path; {look.format('search_path')}")
        assert wire.errors(reply) == [] and wire.values(reply) == [path.encode().hex().encode()]
        assert wire.errors(owner.query("do $$ begin perform 1; end $$; set client_encoding = 'UTF8'")) == []
        assert owner.ask("show search_path") == path
        other.query("rollback")


def test_defaults_with_letters_that_the_encoding_lacks(server: PostgresServer, admin: RawClient) -> None:
    """What each session starts with (ALTER ROLE, ALTER DATABASE) ends nobody who cannot read it."""
    admin.query(f"alter role {stack.OTHER} set app.greeting = 'Привет'; alter role {stack.OTHER} set search_path = 'схема'")
    try:
        with (
            stack.Pooler(Address(server.host, server.port)) as pooler,
            pooler.connect("one", stack.OTHER, client_encoding="LATIN1") as client,
            pooler.connect("one", stack.OTHER) as other,
        ):
            assert wire.errors(client.query("do $$ begin perform 1; end $$")) == []
            assert client.ask("select length(current_setting('app.greeting'))") == "6"
            assert other.ask("show app.greeting") == "Привет"
    finally:
        admin.query(f"alter role {stack.OTHER} reset all")


@pytest.fixture(scope="module")
def corners(direct: Callable[..., RawClient]) -> Iterator[None]:
    """The database with CODE; not while others are tested, as the index does something whatever table is analyzed."""
    undo = (
        "drop function if exists corner_view; drop table if exists corner_noted, corner_indexed, corner_typed;"
        " drop view if exists corner_settings; drop type if exists corner_type;"
        " drop function if exists corner_blank, corner_cut, corner_letter, corner_index;"
    )
    with direct() as owner:
        for text in (undo, *CODE):
            assert wire.errors(owner.query(text)) == [], text
        yield
        owner.query(undo)


MEMORY = "select current_setting('work_mem')"


def custom(name: str) -> str:
    """The question for a custom setting that must not be there."""
    return f"select coalesce(current_setting('{name}', true), 'undefined')"


def parsed(name: str, sql: str) -> bytes:
    return wire.parse(name, sql) + wire.sync()


def bound_name(name: str, sql: str, type_: int) -> bytes:
    """A set_config of a name that is a parameter of that type."""
    return wire.parse("", sql, [type_]) + wire.bind("", "", [name.encode()]) + wire.execute() + wire.sync()


BPCHAR, NAME = 1042, 19
TOO_LONG = "app." + "y" * 80
CORNERS = {
    "a view in a function": (MEMORY, [wire.query("select corner_view()")]),
    "a view in a rule": (MEMORY, [wire.query("insert into corner_noted values (1)")]),
    "a name with blanks": (MEMORY, [bound_name("work_mem ", "select set_config($1, '7MB', false)", BPCHAR)]),
    "a name cast": (MEMORY, [bound_name("work_mem ", "select set_config($1::text, '7MB', false)", BPCHAR)]),
    "a name of an inferred type": (
        MEMORY, [bound_name("work_mem ", "select $1::bpchar, set_config($1, '7MB', false)", 0)],
    ),
    "a long name": (custom(TOO_LONG[:63]), [bound_name(TOO_LONG, "select set_config($1, 'mine', false)", NAME)]),
    **{
        f"elements cut by {text}": (custom("app.x"), [wire.run(text, [value])])
        for text, value in (
            ("select set_config(x, 'mine', false) from unnest($1::varchar(5)[]) x", b"{app.xyz}"),
            ("select set_config(x::varchar(5), 'mine', false) from unnest($1::text[]) x", b"{app.xyz}"),
            ("select set_config(x::varchar(5), 'mine', false) from json_array_elements_text($1) x", b'["app.xyz"]'),
            ("select set_config((x->>0)::varchar(5), 'mine', false) from json_array_elements($1) x", b'[["app.xyz"]]'),
        )
    },
    "elements cut by their type": (
        custom(TOO_LONG[:63]),
        [wire.run("select set_config(x::name::text, 'mine', false) from unnest($1::text[]) x", [f"{{{TOO_LONG}}}".encode()])],
    ),
    "an argument with blanks": (custom("app.h"), [wire.query("select corner_blank('h ')")]),
    "a long argument": (custom("app." + "y" * 63), [wire.query(f"select corner_cut('{'y' * 80}')")]),
    "a letter": (custom("app.h"), [wire.query("select corner_letter('hyz')")]),
    "an executed statement": (
        custom("app.h"), [parsed("s", "select set_config('app.h', 'mine', false)"), wire.query("execute s")],
    ),
    "a text that executes": (
        custom("app.h"),
        [
            wire.query("prepare p as select set_config('app.' || $1, 'mine', false)"),
            wire.query("execute p('h')"),
            wire.query("discard all"),
        ],
    ),
    "a text with more that executes": (
        custom("app.h"),
        [
            wire.query("prepare p as select set_config('app.' || $1, 'mine', false)"),
            wire.query("select 'a'; execute p('h')"),
            wire.query("discard all"),
        ],
    ),
    "a long text that executes": (
        custom("app.h"),
        [
            wire.query("prepare p as select set_config('app.' || $1, 'mine', false)"),
            wire.query(f"select '{'a' * 40000}'; execute p('h')"),
            wire.query("discard all"),
        ],
    ),
    **{
        text: ("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", [wire.query(text)])
        for text in (
            "analyze", "vacuum analyze", "reindex index corner_index", "reindex schema public",
            "alter type corner_type alter attribute n type bigint cascade",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(("look", "data"), CORNERS.values(), ids=CORNERS.keys())
def test_others_see_nothing_of_what_stands_in_corners(
    start_pooler: Callable[..., stack.Pooler], corners: None, direct: Callable[..., RawClient], look: str, data: list[bytes]
) -> None:
    """And the owner sees what it would see on a direct connection."""
    del corners
    pooler = start_pooler()
    with pooler.connect("two") as owner, pooler.connect("two") as other, direct() as alone:
        nothing = other.ask(look)
        for each in data:
            for client in (owner, alone):
                assert wire.errors(client.exchange(each)) == []
        with pooler.connect("two") as third:
            for stranger in (other, third):
                stranger.query("begin")
                assert stranger.ask(look) == nothing
            for stranger in (other, third):
                stranger.query("rollback")
        assert owner.ask(look) == alone.ask(look)
