"""Every place from which code runs, and every disguise of what it runs: a custom setting that comes of it is nobody else's.

Each case has objects in a schema of their own, and a text that makes a setting whose name stands nowhere; others then ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient
from tests.system.unnamed import asks

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="what other poolers do not keep")

SCHEMA = r"""
create schema named_base;
set search_path = named_base;
create table cmds (c text);
insert into cmds values ('set_config(''zz.data'', ''v'', false)');
create function mk(k text) returns text language plpgsql as $$ begin return set_config('z' || 'z.' || k, 'v', false); end $$;
create function mkimm(k text) returns text language plpgsql immutable as
  $$ begin return set_config('z' || 'z.' || k, 'v', false); end $$;
create function run(a text) returns text language plpgsql as
  $$ declare r text; begin execute 'select ' || a into r; return r; end $$;
create function mk0() returns text language plpgsql as $$ begin return set_config('z' || 'z.mk0', 'v', false); end $$;
create function getc() returns text language sql stable as $$ select c from cmds limit 1 $$;
"""


def function(arguments: str, declared: str, body: str) -> str:
    """A function f in PL/pgSQL; what it puts into r is its result."""
    return (
        f"create function f({arguments}) returns text language plpgsql as"
        f" $f$ declare r text; {declared} begin {body} return r; end $f$"
    )


def view(name: str, key: str) -> str:
    """A view that makes a setting with that key, which stands in no code."""
    return (
        f"create table t (a text); insert into t values ('{key}');"
        f" create view {name} as select set_config('z' || 'z.' || a, 'v', false) from t;"
    )


MADE_BY_DATA = (
    "create table t (a text); insert into t values ('{}');"
    " create function mkt() returns text language sql as $$ select set_config('z' || 'z.' || a, 'v', false) from t $$;"
)


def runner(name: str) -> str:
    """A function that runs what it is given."""
    return (
        f"create function {name}(a text) returns text language plpgsql as"
        " $$ declare r text; begin execute 'select ' || a into r; return r; end $$"
    )


def namer(name: str, key: str = "text", begin: str = "zz.") -> str:
    """A function that makes a setting with the key that it is given, a value of that type."""
    code = f"select set_config('{begin}' || a::text, 'v', false)"
    return f"create function {name}(a {key}) returns text language sql as $$ {code} $$"


def field(parameters: str, key: str, more: str = "", of: str = "t", rows: str = "t") -> tuple[str, list[str], str]:
    """A case: a function that makes a setting with that key, and is written as a column by a name that nobody knows."""
    made = (
        f"create table t (a text); insert into t values ('{key}'); {more}"
        f" create function g({parameters}) returns text language plpgsql as"
        " $$ begin return set_config('z' || 'z.' || (select a from t), 'v', false); end $$;"
    )
    of_rows = of + ".%I from " + rows.replace("'", "''")
    return made + function("", "", f"execute format('select {of_rows}', chr(103)) into r;"), ["select f()"], f"zz.{key}"


GO = "create function go(a text) returns text language plpgsql as $$ begin execute a; return a; end $$;"
MADE = "'z' || 'z.{}', 'v', false"
CASES: dict[str, tuple[str, list[str], str]] = {
    # Places
    "a view": (f"create view v as select set_config({MADE.format('a')})", ["select * from v"], "zz.a"),
    "a view named in dollar quotes": (
        "create table t (a text); insert into t values ('dollars');"
        " create view v as select set_config('z' || 'z.' || a, 'v', false) from t",
        ["do $a$ begin execute $$table v$$; end $a$"],
        "zz.dollars",
    ),
    "a function named behind an escape": (
        "create table t (a text); insert into t values ('escapes');"
        " create function mkt() returns text language sql as $$ select set_config('z' || 'z.' || a, 'v', false) from t $$;"
        + function("", "", r"execute E'select\nmkt()' into r;"),
        ["select f()"],
        "zz.escapes",
    ),
    "a default": (
        f"create table t (a int, b text default set_config({MADE.format('b')}))",
        ["insert into t values (1)"],
        "zz.b",
    ),
    "a check": (
        "create table t (a text check (set_config('z' || 'z.' || a, 'v', false) is not null))",
        ["insert into t values ('c')"],
        "zz.c",
    ),
    "a domain": (
        "create domain d as text check (set_config('z' || 'z.' || value, 'v', false) is not null)",
        ["select 'd'::d"],
        "zz.d",
    ),
    "a rule": (
        "create table t (a text); create rule r as on insert to t do also select set_config('z' || 'z.' || new.a, 'v', false)",
        ["insert into t values ('e')"],
        "zz.e",
    ),
    "a trigger's condition": (
        "create table t (a text); create function tf() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger tr before insert on t for each row when (set_config('z' || 'z.' || new.a, 'v', false) is not null)"
        " execute function tf()",
        ["insert into t values ('f')"],
        "zz.f",
    ),
    "an argument's default": (
        f"create function f(a text default set_config({MADE.format('g')})) returns text language sql as 'select $1'",
        ["select f()"],
        "zz.g",
    ),
    "an aggregate": (
        "create aggregate ag(text, bool) (sfunc = set_config, stype = text, initcond = 'zz.h')",
        ["select ag('v', false)"],
        "zz.h",
    ),
    "a materialized view": (
        "create materialized view m as select mk('i') with no data",
        ["refresh materialized view m"],
        "zz.i",
    ),
    "an index": (
        "create table t (a text); insert into t values ('j'); create index ix on t (mkimm(a))",
        ["reindex index ix"],
        "zz.j",
    ),
    "statistics": (
        "create table t (a text); insert into t values ('k'), ('k'); create index ix on t (mkimm(a))",
        ["analyze"],
        "zz.k",
    ),
    "an operator": ("create operator @@@ (function = run, rightarg = text)", ["select @@@ c from cmds"], "zz.data"),
    "a wrapper": (
        "create function wrap(a text) returns text language sql as 'select run($1)'",
        ["select wrap(c) from cmds"],
        "zz.data",
    ),
    "a wrapper of a maker": (
        "create function wrap(text) returns text language plpgsql as 'begin return run($1); end'",
        ["select wrap('mk(''l'')')"],
        "zz.l",
    ),
    "a default that is run": (
        "create function f(a text default getc()) returns text language plpgsql as"
        " $$ declare r text; begin execute 'select ' || a into r; return r; end $$",
        ["select f()"],
        "zz.data",
    ),
    "a procedure that answers": (
        "create procedure p(out r text, q text) language plpgsql as $$ begin execute 'select ' || q into r; end $$",
        ["do $$ declare r text; q text; begin select c into q from cmds; call p(r, q); end $$"],
        "zz.data",
    ),
    "a function's own setting": ("", ["create function f() returns int language sql set zz.m = '1' as 'select 1'"], "zz.m"),
    "a function's changed setting": (
        "create function f() returns int language sql as 'select 1'",
        ["alter function f() set \"zz.n\" = '1'"],
        "zz.n",
    ),
    "a temporary view": ("", ["create temp view tv as select mk('o')", "select * from tv", "drop view tv"], "zz.o"),
    "a temporary function": (
        "",
        [
            "create function pg_temp.tf(text) returns text language sql as"
            " $$ select set_config('z' || 'z.' || $1, 'v', false) $$",
            "select pg_temp.tf('p')",
            "drop function pg_temp.tf(text)",
        ],
        "zz.p",
    ),
    "code of the same transaction": (
        "",
        [
            "begin",
            f"create function f() returns text language plpgsql as $$ begin return set_config({MADE.format('q')}); end $$",
            "select f()",
            "rollback",
        ],
        "zz.q",
    ),
    "code of just now": (
        "",
        [
            "create function f(text) returns text language sql as $$ select set_config('z' || 'z.' || $1, 'v', false) $$",
            "select f('r')",
        ],
        "zz.r",
    ),
    # Disguises of variables
    "a quoted variable": (
        "create procedure p(inout v text) language plpgsql as $$ begin select 'select ' || c into v from cmds; end $$;"
        + function("", "v text := 'select 1';", 'call p("v"); execute v into r;'),
        ["select f()"],
        "zz.data",
    ),
    "two dots in a string": (
        function("", "v text;", "for v in select c from cmds where '..' = '..' loop execute 'select ' || v into r; end loop;"),
        ["select f()"],
        "zz.data",
    ),
    "a number of that name": (
        function("v text", "", "for v in 1..2 loop null; end loop; execute 'select ' || v into r;"),
        ["select f(c) from cmds"],
        "zz.data",
    ),
    "a variable called function": (
        function("function text", "", "execute function into r;"),
        ["select f('select ' || c) from cmds"],
        "zz.data",
    ),
    "a number that goes on": (
        function("", "", "execute 'select ' || 1::int operator(pg_catalog.||) (select ',' || c from cmds) into r;"),
        ["select f()"],
        "zz.data",
    ),
    "another quote_ident": (
        "create function quote_ident(a int) returns text language sql as 'select c from cmds limit 1';"
        + function("", "", "execute 'select ' || quote_ident(1) into r;"),
        ["select f()"],
        "zz.data",
    ),
    # ... and of texts
    "a call behind a comment": (
        function("a text, n text", "", "execute format('select %I/**/(%L, %L, false)', a, n, 'v') into r;"),
        ["select f('set_' || 'config', 'z' || 'z.s')"],
        "zz.s",
    ),
    "a reset": (function("a text", "", "execute format('reset %I', a);"), ["select f('z' || 'z.t')"], "zz.t"),
    "two arguments": (
        function("a text, b text", "", "execute a || ' ' || b into r;"),
        ["select f('select set_config', '(''z''||''z.u'', ''v'', false)')"],
        "zz.u",
    ),
    "a literal that goes on": ("", ["select run('m'\n'k(''v'')')"], "zz.v"),
    "a literal in a literal": (function("", "", "execute 'select run(c) from cmds' into r;"), ["select f()"], "zz.data"),
    "part of an object": ("", ["select run('{\"c\":\"m\\u006b(''w'')\"}'::json->>'c')"], "zz.w"),
    "a number that is a name": (
        "",
        ["do $$ begin perform run('named_base.mk0'::regproc::oid::regprocedure::text); end $$"],
        "zz.mk0",
    ),
    "a template": (
        function("a text, b text", "", "execute format('select 1 as ' || quote_ident(a), b) into r;"),
        ["select f('%s', 'x\", ' || c || ' as \"y') from cmds"],
        "zz.data",
    ),
    "an alias of an argument": (
        function("a text", "b alias for $1;", "b := (select 'select ' || c from cmds limit 1); execute a into r;"),
        ["select f('select 1')"],
        "zz.data",
    ),
    "an argument by its number": (
        function("a text", "", "$1 := (select 'select ' || c from cmds limit 1); execute a into r;"),
        ["select f('select 1')"],
        "zz.data",
    ),
    "characters by their numbers": ("", [r"do E'begin set zz\x2enumbered = 1; end'"], "zz.numbered"),
    "characters by their numbers, in other words": ("", [r"do U&'begin set zz\002eunicode = 1; end'"], "zz.unicode"),
    "a multirange of a domain": (
        "create domain checked as text check (named_base.mk('mr') is not null);"
        "create type pairs as range (subtype = checked, multirange_type_name = manypairs)",
        ["select '{[a,b]}'::manypairs is null"],
        "zz.mr",
    ),
    "a quoted name in a string": (
        view('"my-view"', "quoted") + function("", "", "execute 'select * from \"my-view\"' into r;"),
        ["select f()"],
        "zz.quoted",
    ),
    "a quoted name in a DO": (
        view('"my-view"', "quoted_do"),
        ["do $$ begin execute 'select * from \"my-view\"'; end $$"],
        "zz.quoted_do",
    ),
    "a quoted name that a client runs": (
        view('"my-view"', "quoted_run"),
        ["select run('(select set_config from \"my-view\")')"],
        "zz.quoted_run",
    ),
    "a name whose quotes stand in the code": (
        view('"my-view"', "completed") + function("a text", "", "execute 'select * from \"' || a || '\"' into r;"),
        ["select f('my-view')"],
        "zz.completed",
    ),
    "a name of capitals in a string": (
        view('"MyView"', "capitals") + function("", "", "execute 'select * from \"MyView\"' into r;"),
        ["select f()"],
        "zz.capitals",
    ),
    "a name without words": (
        view('"1+1"', "wordless") + function("", "", "execute 'select * from \"1+1\"' into r;"),
        ["select f()"],
        "zz.wordless",
    ),
    "a name with a quote": (
        view('"a""b"', "inner"),
        ["do $$ begin execute 'select * from \"a\"\"b\"'; end $$"],
        "zz.inner",
    ),
    "a name that is cut": (
        view("n" * 63, "cut") + function("", "", f"execute 'select * from {'n' * 70}' into r;"),
        ["select f()"],
        "zz.cut",
    ),
    "a quoted name in a long text": (
        view('"my-view"', "long"),
        ["select 1 from \"my-view\" where '" + "x " * 20000 + "' is not null"],
        "zz.long",
    ),
    "a name with a quote in a long text": (
        view('"a""b"', "inner_long"),
        ["select 1 from \"a\"\"b\" where '" + "x " * 20000 + "' is not null"],
        "zz.inner_long",
    ),
    "a temporary view of a quoted one": (
        view('"My-View"', "temporary"),
        ['create temp view tv as select * from "My-View"', "select * from tv", "drop view tv"],
        "zz.temporary",
    ),
    "a temporary function of a quoted one": (
        view('"My-View"', "temporary"),
        [
            "create function pg_temp.tf() returns text language sql as 'select set_config from \"My-View\"'",
            "select pg_temp.tf()",
            "drop function pg_temp.tf()",
        ],
        "zz.temporary",
    ),
    "a runner with a quoted name": (runner('"run""it"'), ['select "run""it"(c) from cmds'], "zz.data"),
    "a runner with capitals in its name": (
        runner('"Run"') + "; create function f() returns text language sql as 'select \"Run\"(c) from cmds'",
        ["select f()"],
        "zz.data",
    ),
    "an argument of a quoted name": (namer('"set-it"'), ["select \"set-it\"('minus')"], "zz.minus"),
    "an argument of a name of capitals": (namer('"SetIt"'), ["select \"SetIt\"('both')"], "zz.both"),
    # Names outside ASCII, under another encoding than that of the catalogs
    "a foreign name in a string": (
        view("größe", "foreign"),
        ["set client_encoding = latin1", "do $$ begin execute 'select * from gr\udcf6\udcdfe'; end $$"],
        "zz.foreign",
    ),
    "a foreign name that is called": (
        "create table t (a text); insert into t values ('called');"
        " create function grö() returns text language sql as $$ select set_config('z' || 'z.' || a, 'v', false) from t $$",
        ["set client_encoding = latin1", "select gr\udcf6()"],
        "zz.called",
    ),
    "a runner with a foreign name": (
        runner("grö"),
        ["set client_encoding = latin1", "select gr\udcf6(c) from cmds"],
        "zz.data",
    ),
    "an argument of a foreign name": (
        namer("grö"),
        ["set client_encoding = latin1", "select gr\udcf6('argument')"],
        "zz.argument",
    ),
    # Names that nobody knows
    "a foreign argument": (namer("so"), ["select so('grö')"], "zz.grö"),
    "a foreign argument in code": (
        namer("so") + "; create function f() returns text language sql as 'select so(''grö'')'",
        ["select f()"],
        "zz.grö",
    ),
    "a foreign argument of a prepared statement": (
        "",
        ["prepare s as select set_config('zz.' || $1, 'v', false)", "execute s('grö')", "deallocate s"],
        "zz.grö",
    ),
    # What is handed over is spelled otherwise than it stands there
    "a number as an argument": (namer("so", begin="zz.p"), ["select so(5::text)"], "zz.p5"),
    "a number as an argument in a DO": (namer("so", begin="zz.p"), ["do $$ begin perform so(5::text); end $$"], "zz.p5"),
    "a truth as an argument": (namer("so"), ["select so(true::text)"], "zz.true"),
    "a number in code that calls": (
        namer("so", begin="zz.p") + "; create function f() returns text language sql as 'select so(6::text)'",
        ["select f()"],
        "zz.p6",
    ),
    "a number of a procedure": (
        "create procedure p(a text) language plpgsql as $$ begin perform set_config('zz.p' || a, 'v', false); end $$",
        ["call p(3::text)"],
        "zz.p3",
    ),
    "an argument of any type": (namer("so", "anyelement", "zz.p"), ["select so(6)"], "zz.p6"),
    "an argument of a domain": ("create domain d as int;" + namer("so", "d", "zz.p"), ["select so('08')"], "zz.p8"),
    "an argument that is a procedure": (namer("so", "regproc"), ["select so('pg_catalog.now')"], "zz.now"),
    "an argument that is an object": (namer("so", "jsonb", "zz.p"), ["select so(' 12 ')"], "zz.p12"),
    "an argument behind two casts": (namer("so"), ["select so('1'::bool::text)"], "zz.true"),
    "a long argument": (namer("so"), [f"select so('{'a' * 300}')"], "zz." + "a" * 300),
    "a number that is executed": (
        "",
        ["prepare s(int) as select set_config('zz.p' || $1, 'v', false)", "execute s(9)", "deallocate s"],
        "zz.p9",
    ),
    "a text that is executed with a number": (
        "",
        ["prepare s(text) as select set_config('zz.p' || $1, 'v', false)", "execute s(9)", "deallocate s"],
        "zz.p9",
    ),
    "a truth that is executed": (
        "",
        ["prepare s(bool) as select set_config('zz.' || $1, 'v', false)", "execute s('t')", "deallocate s"],
        "zz.true",
    ),
    "a long argument that is executed": (
        "",
        [
            "prepare s(text) as select set_config('zz.' || $1, 'v', false)",
            f"execute s('{'a' * 300}')",
            "deallocate s",
        ],
        "zz." + "a" * 300,
    ),
    # RESET of what is no setting yet makes one
    "a reset of a quoted name": ("", ['do $$ begin reset "zz"."rq"; end $$'], "zz.rq"),
    "a reset between spaces": ("", ["do $$ begin reset zz . rs; end $$"], "zz.rs"),
    "a reset in front of a comment": ("", ["do $$ begin reset zz/* */.rc; end $$"], "zz.rc"),
    "a reset that is executed": ("", ["do $$ begin execute 'reset \"zz\".\"rx\"'; end $$"], "zz.rx"),
    "a reset that is handed over": (
        "create function go(a text) returns int language plpgsql as $$ begin execute a; return 1; end $$",
        ["select go('reset \"zz\".\"rh\"')"],
        "zz.rh",
    ),
    "a reset of a function": (
        "create function f() returns int language plpgsql as $$ begin reset \"zz\".\"rf\"; return 1; end $$",
        ["select f()"],
        "zz.rf",
    ),
    "a reset of a function in SQL": (
        "create function f() returns void language sql as 'reset zz . rsq'",
        ["select f()"],
        "zz.rsq",
    ),
    # What is picked out of an argument, and changed, or comes from elsewhere
    "a pick that is turned round": (
        "",
        [
            "prepare s(json) as select set_config(reverse(el->>0), 'v', false) from json_array_elements($1) el",
            "execute s('[[\"kcip.zz\"]]')",
            "deallocate s",
        ],
        "zz.pick",
    ),
    "a pick that another function completes": (
        "create function pre(k text) returns text language sql immutable as $$ select 'zz.' || k $$;"
        + function("j json", "", "perform set_config(pre(e.key), e.value, false) from json_each_text(j) e;"),
        ["select f('{\"pre\": \"v\"}')"],
        "zz.pre",
    ),
    "a pick beside a table": (
        "create table m (n text); insert into m values ('zz.beside');"
        " create function f(j json) returns text language sql as"
        " $$ select set_config(m.n, e.value, false) from json_each_text($1) e, m $$",
        ["select f('{\"a\": \"v\"}')"],
        "zz.beside",
    ),
    "a pick of a variable": (
        "create table m (n text); insert into m values ('zz.variable');"
        + function(
            "j json", "v text;", "select n into v from m; perform set_config(v, e.value, false) from json_each_text(j) e;"
        ),
        ["select f('{\"a\": \"v\"}')"],
        "zz.variable",
    ),
    "an argument called like a column": (
        "create table t (a text, b text); insert into t values ('column');"
        " create function f(a text) returns int language sql as"
        " $$ update t set b = set_config('zz.' || a, 'v', false); select 1 $$",
        ["select f('x')"],
        "zz.column",
    ),
    "a cursor's argument called like the function's": (
        "create table t (a text); insert into t values ('cursor');"
        + function(
            "k text",
            "c cursor (k text) for select set_config('zz.' || k, 'v', false);",
            "open c((select a from t)); fetch c into r; close c;",
        ),
        ["select f('x')"],
        "zz.cursor",
    ),
    "a variable of an object": (
        function("", "k jsonb := ' 5 ';", "r := set_config('zz.p' || k::text, 'v', false);"), ["select f()"], "zz.p5"
    ),
    "a variable of a procedure": (
        function("", "k regproc := 'pg_catalog.now';", "r := set_config('zz.' || k::text, 'v', false);"),
        ["select f()"],
        "zz.now",
    ),
    # Names that literals make together
    "a view in two literals": (
        view("vv", "two") + function("", "", "execute 'select * from v' || 'v' into r;"), ["select f()"], "zz.two"
    ),
    "a view in a literal and a variable": (
        view("vv", "literal") + function("", "k text := 'v';", "execute 'select * from v' || k into r;"),
        ["select f()"],
        "zz.literal",
    ),
    "a view in two literals of a DO": (
        view("vv", "two_do"),
        ["do $$ begin execute 'select * from v' || 'v'; end $$"],
        "zz.two_do",
    ),
    "a view with a number": (
        view("v_1", "numbered") + function("", "", "execute 'select * from v_' || 1 into r;"), ["select f()"], "zz.numbered"
    ),
    "a view in a format": (
        view("vv", "formatted") + function("", "", "execute format('select * from v%s', 'v') into r;"),
        ["select f()"],
        "zz.formatted",
    ),
    "a default that is handed over": (
        GO + "create table t (a int, b text default go('set zz.handed = ''v'''))",
        ["insert into t values (1)"],
        "zz.handed",
    ),
    "a check that is handed over": (
        GO + "create table t (a int check (go('set zz.checked = ''v''') is not null))",
        ["insert into t values (1)"],
        "zz.checked",
    ),
    "a trigger's condition that is handed over": (
        GO + "create table t (a int); create function tf() returns trigger language plpgsql as 'begin return new; end';"
        " create trigger tr before insert on t for each row when (go('set zz.condition = ''v''') is not null)"
        " execute function tf()",
        ["insert into t values (1)"],
        "zz.condition",
    ),
    "a call behind an index": (
        "create table t (a text); insert into t values ('behind_index'); create table tt (a text); insert into tt values ('x');"
        " create function g(b text) returns text language plpgsql as"
        " $$ begin return set_config('z' || 'z.' || (select a from t), 'v', false); end $$;"
        + function(
            "c text", "", "execute format('create index on tt (a); create table q as select 1 from tt join tt t2"
            " on %I(t2.a) is not null', c);",
        ),
        ["select f(chr(103))"],
        "zz.behind_index",
    ),
    "a relation in a DO": (view("v", "unknown"), ["do $$ begin execute format('table %I', chr(118)); end $$"], "zz.unknown"),
    "a domain by its number": (
        MADE_BY_DATA.format("number") + " create domain d as text check (mkt() is not null);",
        ["select domain_in('x', oid, -1) is null from pg_type where typname = chr(100) and typbasetype = 25"],
        "zz.number",
    ),
    "a domain in an array": (
        MADE_BY_DATA.format("array") + " create domain d as text check (mkt() is not null);",
        ["select array_in('{x}', oid, -1) from pg_type where typname = chr(100) and typbasetype = 25"],
        "zz.array",
    ),
    "a domain by its name": (
        MADE_BY_DATA.format("name") + " create domain d as text check (mkt() is not null);",
        ["select pg_input_is_valid('x', chr(100))"],
        "zz.name",
    ),
    "an index by its name": (
        "create table t (a text); create index ix on t using brin (mkimm(a)) with (pages_per_range = 1);"
        " insert into t select 'brin' from generate_series(1, 1000)",
        ["select brin_summarize_new_values('ix')"],
        "zz.brin",
    ),
    "a table of a domain with a default": (
        MADE_BY_DATA.format("domain_default") + " create domain d as text default mkt(); create table g (a int, b d);"
        + function("", "", "execute format('insert into %I (a) values (1)', chr(103));"),
        ["select f()"],
        "zz.domain_default",
    ),
    "a function of any type": field("anyelement", "any"),
    "a function of rows": field("record", "rows"),
    "a function with a default": field("t, int default 1", "default"),
    "a function of many": field("variadic t[]", "variadic"),
    "a function of a domain": field("d", "domain", "create domain d as t;"),
    "a function of what is cast": field("text", "cast", "create cast (t as text) with inout as implicit;"),
    "a function of a value": field("text", "value", of="(t.a)"),
    "a function of a function's value": field("text", "alias", of="x", rows="lower('a') as x"),
    "a function of a function's own name": field("text", "own", of="lower", rows="lower('a')"),
    "a function of a parameter": (
        "create function g(a text) returns text language sql as $$ select set_config('zz.' || a, 'v', false) $$;"
        + function("", "", "execute format('select $1.%I', chr(103)) into r using text 'using';"),
        ["select f()"],
        "zz.using",
    ),
    "an escape": (
        "create function f() returns text language plpgsql set standard_conforming_strings = off as"
        " $$ begin return set_config('z\\172.x', 'v', false); end $$",
        ["select f()"],
        "zz.x",
    ),
}


SUPERUSERS = ("zz.m", "zz.n")  # PostgreSQL asks for one there


@pytest.fixture(scope="module")
def base(direct: Callable[..., RawClient]) -> Iterator[None]:
    """What the cases are made of."""
    with direct() as owner:
        assert wire.errors(owner.query(SCHEMA)) == []
    yield
    with direct() as owner:
        owner.query("drop schema named_base cascade")


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler], base: None) -> stack.Pooler:
    """One server, and a few for those who need one of their own."""
    return start_pooler({"pin_pool_size": 3, "admin_users": stack.ADMIN})


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, pooler: stack.Pooler) -> Iterator[tuple[list[str], str]]:
    """The texts of one, and the setting that they make; its objects have been read."""
    objects, texts, name = CASES[request.param]
    with pooler.connect("one") as owner, pooler.connect("pgbouncer", stack.ADMIN) as console:
        made = owner.query(f"create schema named_case; set search_path = named_case, named_base; {objects}")
        assert wire.errors(made) == []
        console.query("reconnect one")  # a new server begins with reading them
        owner.query("select 1")
    yield texts, name
    with pooler.connect("one") as owner:
        owner.query("drop schema named_case cascade")


def test_nobody_else_sees_that_there_is_such_a_setting(pooler: stack.Pooler, case: tuple[list[str], str]) -> None:
    """Neither while its owner is there, nor when he has gone."""
    texts, name = case
    user = stack.ADMIN if name in SUPERUSERS else stack.OWNER
    path = "-c search_path=named_case,named_base"
    with pooler.connect("one", user) as other:
        assert other.ask(asks(name)) == "undefined"
        with pooler.connect("one", user, options=path) as owner:
            for text in texts:
                assert wire.errors(owner.query(text)) == [], text
            assert other.ask(asks(name)) == "undefined"
        for _ in range(2):
            assert other.ask(asks(name)) == "undefined"
