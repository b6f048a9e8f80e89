"""What PL/pgSQL code runs that it makes at run time, as far as that can be told from the code."""

from __future__ import annotations

import pytest

from pgpool_py.session import flags
from pgpool_py.session.code_facts import Given
from pgpool_py.session.commands import commands
from pgpool_py.session.effects import effects
from pgpool_py.session.made_texts import FIELD, GIVEN, MAKES, READ, RELATION, UNREAD
from pgpool_py.session.reach import Reach, bound_to, completions, executed_in_full, reach

PARAMETERS = ((b"t", b"text"), (b"n", b"integer"), (b"r", b"regclass"), (b"made", b"text"))

READABLE = {
    "a literal": "execute 'select 1'",
    "with a value": "execute 'select count(*) from t where a = $1' into n using t",
    "a quoted name": "execute 'select count(*) from ' || quote_ident(t)",
    "a quoted name of a schema": "execute 'select count(*) from app.' || quote_ident(t) || ' where a > 1'",
    "a quoted literal": "execute 'select 1 where ' || quote_literal(t) || ' = ''a'''",
    "a number": "execute 'select * from part_' || n || ' where a = ' || n::text",
    "a relation": "execute 'truncate ' || r",
    "a cast to one": "execute 'truncate ' || t::regclass::text",
    "format": "execute format('insert into %I.%I (a, b) values (%L, %s)', t, t, t, n)",
    "format with positions": "execute format('select %2$L, %1$L, %%', t, t)",
    "a date": "execute 'insert into log_' || to_char(now(), 'YYYY_MM') || ' values ($1.*)' using new",
    "its table": "execute 'insert into ' || tg_table_name || '_log select $1.*' using new",
    "a variable": "declare q text; begin q := 'select 1'; execute q",
    "a constant": "declare q constant text := 'select '; begin execute q || '1'",
    "a name for later": "declare q text := quote_ident(t); begin execute format('analyze %s', q)",
    "conditions": "declare q text := 'select * from t where true'; begin if n > 1 then q := q || ' and a = ' || n; end if;"
    " if t is not null then q := q || ' and b = ' || quote_literal(t); end if; q := q || ' order by 1'; execute q",
    "an alternative": "execute 'select 1 order by 1 ' || case when n > 1 then 'asc' else 'desc' end",
    "a loop of numbers": "begin for i in 1..3 loop execute 'create table p_' || i || ' (a int)'; end loop",
    "a loop of numbers from a variable": "begin for i in reverse n .. 1 loop execute 'drop table p_' || i; end loop",
    "by return query": "return query execute 'select * from ' || quote_ident(t) using n",
    "for a loop": "for x in execute 'select * from ' || quote_ident(t) loop null; end loop",
    "for a cursor": "open c for execute format('select * from %I', t)",
    "a known setting": "perform set_config('app.' || 'tenant', t, false)",
    "one of two settings": "perform set_config(case when n > 1 then 'app.a' else 'app.b' end, t, false)",
    "known names": "execute 'set app.tenant = ' || quote_literal(t)",
    "known names by format": "execute format('select set_config(''app.tenant'', %L, true)', t)",
    "an index": "execute format('create index %I on %I (a)', t, t)",
    "a foreign key": "execute format('alter table %I add foreign key (a) references %I (b)', t, t)",
    "a privilege": "grant execute on function f() to public",
    "a trigger": "execute 'create trigger x before insert on t for each row execute function f()'",
    "a default": "execute 'select ' || coalesce(quote_literal(t), 'null')",
    "lines": "execute 'select 1' || chr(10) || E'\\n from t'",
    "parts": "execute concat('select ', quote_literal(t), ' from t')",
    "an alias": "perform set_config('app.a', t, true) as set_config",
    "an alias of rows": "perform set_config from set_config('app.b', t, true) set_config(set_config)",
    "an alias at the end": "execute 'select set_config(''app.a'', $1, true) as set_config' using t",
    "a setting of that type": "perform set_config(('app.a'::character varying)::text, t, false)",
    "a variable of that name": "declare set_config text; begin set_config := t",
    "a long literal": "execute 'select 1 as " + "a" * 5_000 + "'",
    "dollars": "execute $q$ select 'a' from $q$ || quote_ident(t)",
}
ARGUMENTS = {
    "itself": "execute t",
    "in an expression": "execute 'select ' || t",
    "by its number": "execute 'select ' || $1",
    "a setting": "perform set_config('app.' || t, 'x', false)",
    "a setting by format": "perform set_config(format('app.%s.id', t), 'x', true)",
    "settings of a list": "perform set_config(j->>0, j->>1, true) from json_array_elements(t::json) j",
    "settings of an object": "perform set_config(key, value, false) from jsonb_each_text($1)",
    "settings of arrays": "perform set_config(k, v, true) from unnest(t::text[], made::text[]) as u(k, v)",
    "for a name": "execute 'select count(*) from ' || t",
    "by format": "execute format('select %s from %I', t, t)",
    "by a variable": "declare q text := 'select ' || t; begin execute q",
    "behind others": "declare q text := 'select 1'; begin q := q || ', ' || t; execute q",
}
NOBODYS = {
    "of a table": "declare q text; begin select c into q from cmds; execute q",
    "of a row": "begin for x in select c from cmds loop execute 'select ' || x.c; end loop",
    "of a new row": "execute 'select ' || new.c",
    "of a loop": "begin foreach x in array xs loop execute x; end loop",
    "of a cursor": "fetch c into q; execute q",
    "of a function": "execute f(t)",
    "of an array": "execute xs[1]",
    "of a block": "execute b.q",
    "assigned through a block": "declare q text := 'select 1'; begin b.q := f(); execute q",
    "assigned by a procedure": "declare q text := 'select 1'; begin call p(q); execute q",
    "assigned by quoted name": 'declare q text := \'select 1\'; begin "q" := f(); execute q',
    "told by SQL": "execute 'select ' || (select c from cmds)",
    "an argument, changed": "execute 'select ' || replace(t, 'x', '')",
    "an argument in a word": "execute 'select set_' || t",
    "a function's name": "execute format('select %I(%L)', t, t)",
    "a function's name with a schema": "execute 'select app.' || quote_ident(t) || '(1)'",
    "a function of a number": "execute 'select f_' || n || '()'",
    "a width": "execute format('select %*s', n, t)",
    "a template": "execute format(t, n)",
    "a list": "execute format('select %s', variadic xs)",
    "a statement of SQL": "execute 'execute ' || quote_ident(t)",
    "code": "execute format('do %L', t)",
    "half a literal": "declare q text := 'select '''; begin q := q || n || ''' '; execute q",
    "parts that may join": "declare q text := 'select set_'; begin q := q || 'config(1)'; execute q",
    "a pattern": "execute 'select ' || to_char(n, t)",
    "an escape": "execute E'select \\x31'",
    "a setting of a row, for the transaction": "perform set_config('app.' || k, v, true) from cmds",
    "a setting of a row's list": "perform set_config(j->>0, j->>1, true) from cmds, json_array_elements(t::json) j",
    "a setting of a changed list": "perform set_config('x' || (j->>0), j->>1, true) from json_array_elements(t::json) j",
    "a setting of a number, for the transaction": "perform set_config('app.p' || n, '1', true)",
    "a setting by name, for the transaction": "execute format('set local %I = %L', t, t)",
    "set_config by name, for the transaction": "execute format('select set_config(%L, %L, true)', t, t)",
    "a column before a variable": "#variable_conflict use_column begin execute 'select ' || t",
    "a set, perhaps": "declare q text := 'set'; begin q := q || ' x = 1'; execute q",
}
NAMES = {
    "by set_config": "execute format('select set_config(%L, %L, false)', t, t)",
    "by set_config of a number": "execute 'select set_config(''app.p' || n || ''', ''1'', false)'",
    "by set": "execute 'set ' || quote_ident(t) || ' = 1'",
    "by set_config of a row": "perform set_config('app.' || k, v, false) from cmds",
    "by set_config, perhaps": "perform set_config('app.' || k, v, n > 1) from cmds",
    "by set in a class": "execute format('set app.%I = 1', t)",
    "by a number": "execute 'set app.p' || n || ' = 1'",
    "in the end": "declare q text := 'select set_config'; begin q := q || '(' || quote_literal(t) || ', 1, true)'; execute q",
    "by set_config of what an aggregate has": "create aggregate a(text, bool) (sfunc = pg_catalog.set_config, stype = text)",
    "by set_config of nothing": "perform set_config()",
    "behind a comment": "execute 'select set_config/* of course */(''app.x'', ''1'', false)'",
}
ALL = {READ: READABLE, GIVEN: ARGUMENTS, UNREAD: NOBODYS, MAKES: NAMES}


@pytest.mark.parametrize(("code", "bits"), [(code, bits) for bits, codes in ALL.items() for code in codes.values()])
def test_commands_are_read_as_far_as_they_stand_in_the_code(code: str, bits: int) -> None:
    """Ordinary code hides nothing; what an argument says is the caller's to say; the rest nobody can know."""
    found = commands(code.encode() + b"; end", PARAMETERS).bits
    assert found & (READ | bits) == bits
    assert not (found & ~bits and bits in (READ, GIVEN)), "it is known better"


def test_what_a_command_names_is_known() -> None:
    """Words in literals name functions; a relation whose name is made at run time may be any."""
    found = commands(b"execute 'select maker(1) from ' || quote_ident(t)", PARAMETERS)
    assert b"maker" in found.words
    assert found.unknown == {RELATION}
    assert not commands(b"execute 'select ' || quote_literal(t)", PARAMETERS).unknown
    assert commands(b"execute format('select ($1).%I', t) using n", PARAMETERS).unknown == {RELATION, FIELD}
    assert commands(b"execute format('select ($1).%I', t) into n using old, new;", PARAMETERS).unknown == {RELATION}


def test_code_without_commands_makes_none() -> None:
    """Nothing is read of it at all."""
    assert commands(b"begin perform 1; return t; end", PARAMETERS).words == frozenset()


@pytest.mark.parametrize(
    ("code", "patterns", "given"),
    [
        ("perform set_config('App.' || made, t, false)", {(b"app.", b"")}, {3}),
        ("perform set_config(format('app.%s.id', t), 'x', true)", {(b"app.", b".id")}, {0}),
        ("execute 'select ' || t; perform set_config('app.x', made, true)", set(), {0}),
        ("perform set_config(j->>0, j->>1, true) from json_array_elements($4) j", set(), {3}),
    ],
)
def test_names_that_arguments_complete(code: str, patterns: set[tuple[bytes, bytes]], given: set[int]) -> None:
    """What stands around them is known; and which of the arguments it is that the caller has to show."""
    found = commands(code.encode() + b"; end", PARAMETERS)
    assert found.bits == GIVEN
    assert found.patterns == patterns
    assert found.given == given


def test_names_are_completed_from_what_is_seen() -> None:
    """From literals, within code too, and from what is bound."""
    patterns = frozenset(((b"app.", b""), (b"", b".id")))
    text = b"do $$ begin perform set_ctx('Tenant', '1'); end $$"
    assert {b"app.tenant", b"tenant.id", b"app.1", b"1.id"} <= (completions(patterns, text, ()) or set())
    names = completions(frozenset(((b"app.", b""),)), b"select set_ctx($1, $2)", (b"user ", b"x" * 64, b"y" * 300))
    # As they are, and as arguments of the types character and name have them.
    assert names == frozenset((b"app.user ", b"app.user", b"app." + b"x" * 64, b"app." + b"x" * 63))
    assert completions(patterns, b"select f(" + b", ".join(b"'%d'" % n for n in range(300)) + b")", ()) is None


@pytest.mark.parametrize(
    "code",
    ["execute chr(" + "1" * 5_000 + ")", "execute format('%" + "1" * 5_000 + "$s', t)", "execute $" + "1" * 5_000, "execute $0"],
)
def test_numbers_that_are_none_are_not_read(code: str) -> None:
    """Whoever may make a function must not make its database unreachable."""
    assert commands(code.encode(), PARAMETERS).bits == UNREAD
    assert effects(b"select set_config($0, $" + b"1" * 5_000 + b", false)", flags.SETTINGS).whole


def test_functions_of_the_database_are_not_the_built_in_ones() -> None:
    """Whatever they are called."""
    code = b"execute 'select * from ' || quote_ident(t)"
    assert commands(code, PARAMETERS).bits == READ
    assert commands(code, PARAMETERS, frozenset((b"quote_ident",))).bits == UNREAD


RUN = Given({b"run": frozenset()})
SEEN = (
    "select run('select 1')",
    "select run($1, 2, null)",
    "select run('x', -1), other(a || b)",
    "select run('x'::text)",
    "select run(E'x')",
    "select run($$x$$)",
    "insert into t values ('run it', 'do it', 'execute it')",
    "do $$ begin perform run('select 1'); execute 'select 2'; end $$",
    "select runner(a)",
)
UNSEEN = (
    "select run(c) from cmds",
    "select run('a' || c) from cmds",
    "select run('a' || 'b')",
    "select run((select c from cmds))",
    "select run(upper('x'))",
    "select run(t => 'x')",
    "select run(16400::regprocedure::text)",
    "select run('m'\n'k(1)')",
    "select run('{}'::json->>'c')",
    "select run('select run($1)')",
    "select Run (c) from cmds",
    'select "run"(c) from cmds',
    "select run from t",
    "select run('select run(c) from cmds')",
    "do $$ begin perform run(c) from cmds; end $$",
    "do $$ declare q text; begin select c into q from cmds; execute q; end $$",
    "do 'begin execute (select c from cmds); end'",
    "create function f(x text) returns text language plpgsql as $$ begin execute x; end $$",
    "select run('do $do$ begin execute (select 1); end $do$')",
    "select run('x' /* no end",
)

CALLED_NOWHERE = (
    "select set_config('app.tenant', 'x', true) as set_config",
    "select set_config from set_config('app.tenant', 'x', true)",
    "select t.set_config from (select set_config('app.tenant', 'x', true)) t order by set_config",
    "select set_config from set_config('app.tenant'::text, 'x'::text, true) set_config(set_config)",
    "select \"set_config\" from set_config('app.tenant'::character varying, 'x', false) where set_config = 'x'",
)
CALLED = (
    "select set_config(t.name, 'x', false) as set_config from t",
    "select 1 as set_config, set_config /* here */ (t.name, 'x', false) from t",
    "select distinct on (a) set_config(t.name, 'x', false) from t",
    "select set_config(case when t.end then 'app.x' end, 'x', false)",
    "select set_config(array['app.x', 'app.y'][1], 'x', false)",
    "create aggregate a(text, bool) (sfunc = set_config, stype = text, initcond = 'app.x')",
    "create aggregate a(text, bool) (stype = text, sfunc = pg_catalog . \"set_config\")",
    "select set_config(t.name, 'x'",
)


def quoted(text: str) -> str:
    """A literal of it."""
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("text", SEEN)
def test_what_is_handed_over_as_a_literal_was_seen(text: str) -> None:
    """So was a parameter; and nothing runs the words of other data."""
    assert reach(text.encode(), (), RUN) == Reach()


@pytest.mark.parametrize("text", UNSEEN)
def test_what_is_put_together_was_not_seen(text: str) -> None:
    """Nor what comes out of a table, wherever the call stands."""
    assert reach(text.encode(), (), RUN) == Reach(UNREAD)


def test_values_are_read_where_something_runs_them() -> None:
    """What is bound to such a function is a command like any other."""
    assert reach(b"select run($1)", (b"select run(c) from cmds",), RUN)[0] == UNREAD
    assert reach(b"select run($1)", (b"select 1",), RUN)[0] == READ
    assert reach(b"select run($1)", (b"[\"\\u0061\"]",), RUN)[0] == UNREAD
    assert reach(b"insert into t values ($1)", (b"run(c)",), RUN)[0] == READ


def test_only_arguments_that_run_must_be_seen() -> None:
    """The value of a setting may come from anywhere."""
    given = Given({b"set_ctx": frozenset((0,))})
    assert reach(b"select set_ctx('tenant', current_tenant(a, b)) from t", (), given)[0] == READ
    assert reach(b"select set_ctx(k, 'x') from t", (), given)[0] == UNREAD
    assert reach(b"select set_ctx(v => 'x', k => k) from t", (), given)[0] == UNREAD


def test_numbers_that_are_handed_over_as_names_are_nobodys() -> None:
    """They are spelled in other words there, as is what is cast; values may be as they like."""
    given = Given({b"set_ctx": frozenset((0,))}, (b"set_ctx",))
    for key in (b"5", b"5::text", b"-1", b"true::text", b"null", b"'1'::bool::text", b"'" + b"a" * 300 + b"'"):
        assert reach(b"select set_ctx(%b, 'x')" % key, (), given)[0] == UNREAD
    assert reach(b"select set_ctx('name'::text, 5::text)", (), given)[0] == READ
    assert reach(b"select set_ctx($1::text, true::text)", (b"name",), given)[0] == READ


def test_arguments_of_what_is_executed_are_names_by_their_places() -> None:
    """Only what names a setting must be seen."""
    name = frozenset((0,))
    assert executed_in_full(b"execute s('name', 5, true)", name)
    assert not executed_in_full(b"execute s(5, 'x')", name)
    assert not executed_in_full(b"execute s('name', 5)", frozenset())


def test_names_of_arguments_that_are_spelled_otherwise_are_made() -> None:
    """A number, a truth or a procedure that is given has another spelling in the name."""
    text = b"select set_config('app.' || %b, 'x', false)"
    for type_ in (b"jsonb", b"regproc", b"anyelement", b"d"):
        assert commands(text % b"a::text", [(b"a", type_)], is_sql=True).bits == MAKES
        assert commands(b"prepare s(text, %b) as " % type_ + text % b"$2", is_sql=True).bits == MAKES
    assert commands(text % b"a", [(b"a", b"character varying")], is_sql=True).bits == GIVEN
    assert commands(b"prepare s(text, int) as " + text % b"$1", is_sql=True).bits == GIVEN


def test_names_outside_ascii_that_are_handed_over_are_nobodys() -> None:
    """Nobody asks for such a setting; its value may be as it likes."""
    given = Given({b"set_ctx": frozenset((0,))}, (b"set_ctx",))
    assert reach("select set_ctx('größe', 'x')".encode(), (), given)[0] == UNREAD
    assert reach("select set_ctx('name', 'Müller')".encode(), (), given)[0] == READ
    assert reach(b"select set_ctx($2, $1)", (b"x", "größe".encode()), given)[0] == UNREAD
    assert reach(b"select set_ctx($2, $1)", ("Müller".encode(), b"name"), given)[0] == READ


def test_names_outside_ascii_that_are_bound_are_nobodys() -> None:
    """The same where a text of its own completes them, or picks them out of a list."""
    completed = commands(b"select set_config('app.' || $2, $1, false)", is_sql=True)
    assert bound_to(completed, (b"x", "größe".encode()))[0] == UNREAD
    assert bound_to(completed, ("Müller".encode(), b"names")) == (READ, frozenset((b"app.names",)))
    picked = commands(b"select set_config(el->>0, el->>1, false) from json_array_elements($1) el", is_sql=True)
    assert bound_to(picked, ('[["app.größe", "x"]]'.encode(),))[0] == UNREAD
    assert bound_to(picked, ('[["app.name", "Müller"]]'.encode(),)) == (READ, frozenset((b"app.name",)))


def test_numbers_that_are_bound_are_what_they_say() -> None:
    """In the binary format, where they might be texts; what is none in either is nobody's."""
    completed = commands(b"select set_config('app.k' || $1, 'x', false)", is_sql=True)
    assert bound_to(completed, (b"\x00\x05",)) == (UNREAD, frozenset((b"app.k5",)))
    assert bound_to(completed, (b"09",)) == (READ, frozenset((b"app.k12345", b"app.k09")))
    assert bound_to(completed, (b"\x00\x01\x00\x00\x00\x00\x00\x01",))[0] == UNREAD


@pytest.mark.parametrize(
    ("rows", "column", "is_field"),
    [
        ("lower(''a'') x", "x.%I", True),
        ("t, lateral unnest(t.a) as \"x\"", "\"x\".%I", True),
        ("lower(''a'')", "lower.%I", True),
        ("t x", "x.%I", False),
        ("(select lower(a) from t) x", "x.%I", False),
        ("t x, lower(''a'') y", "x.%I", False),
    ],
)
def test_a_column_of_what_a_function_returns_may_be_a_function_of_it(rows: str, column: str, is_field: bool) -> None:
    """Where that is no row; rows of tables and queries have columns."""
    unknown = commands(f"execute format('select {column} from {rows}', c);".encode()).unknown
    assert (FIELD in unknown) == is_field


@pytest.mark.parametrize("piece", ["set_config", "set_config -- ", "set_config /* ", "set_config (", "set_config('app.x'"])
def test_a_piece_of_a_command_may_go_on(piece: str) -> None:
    """Where it ends: what follows the name of the function stands somewhere else."""
    literal = "select " + piece
    assert reach(f"select run({quoted(literal)} || c) from cmds".encode(), (), RUN)[0] & MAKES


@pytest.mark.parametrize("text", CALLED_NOWHERE)
def test_a_column_or_an_alias_is_no_call(text: str) -> None:
    """PostgreSQL names the result of a function after it, and says so where it prints code."""
    for found in (effects(text.encode(), flags.SETTINGS), effects(text.encode(), flags.UNKNOWN)):
        assert not found.unknowable
        assert b"app.tenant" in found.passing | found.names | found.candidates
    assert commands(text.encode(), is_sql=True).bits == READ


@pytest.mark.parametrize("text", CALLED)
def test_what_may_be_a_call_is_one(text: str) -> None:
    """However it is written, and also where something else calls it."""
    text = f"set app.other = 1; {text}"
    assert effects(text.encode(), flags.SETTINGS).unknowable
    assert effects(text.encode(), flags.UNKNOWN).unknowable


def test_a_do_says_what_it_puts_together() -> None:
    """Names that its own literals make."""
    text = b"do $$ begin perform set_config('app.' || 'tenant', '1', false); end $$"
    assert reach(text, (), RUN) == Reach(READ, frozenset((b"app.tenant",)))
