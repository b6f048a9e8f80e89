"""What the catalogs tell, and when they must be read again."""

from __future__ import annotations

import pytest

from pgpool_py.session import flags
from pgpool_py.session.flags import DIRTY, describe
from pgpool_py.session.reach import reached
from pgpool_py.session.verdict import call_verdict, classify, parameters_verdict
from pgpool_py.testing import PostgresServer
from tests.session.conftest import NewDatabase
from tests.session.corpus import SCHEMA
from tests.session.facts import fingerprint, read_facts

LEAK = "create function leak() returns text language sql as $$ select set_config('a.b', 'c', false) $$;"

CHANGES = [
    "create function f() returns int language sql as 'select 1'",
    "create or replace function quiet() returns int language sql as 'select 2'",
    "alter function quiet() rename to loud",
    "alter function quiet() set app.x = '1'",
    "drop function quiet()",
    "create table other (a int)",
    "alter table plain rename to renamed",
    "create view v as select 1 as a",
    "create or replace view old_view as select 2 as a",
    "create rule r as on insert to plain do also select quiet()",
    "create trigger t before insert on plain for each row execute function trigger_one()",
    "create policy p on plain using (quiet() > 0)",
    "alter table plain alter a set default quiet()",
    "alter table plain add check (quiet() > a)",
    "create index on plain ((a + 1))",
    "create domain d as int check (value > 0)",
    "alter domain old_domain add check (value > quiet())",
    "alter table plain add b old_domain",
    "alter table plain alter c type old_domain",
    "create operator === (leftarg = int, rightarg = int, function = int4eq)",
    "create cast (mood as int) with function of_mood(mood)",
    "create extension citext",
    "create table child () inherits (plain)",
    "alter table loose inherit plain",
    "alter table plain add foreign key (a) references old_table",
    "create aggregate agg(int) (sfunc = int4pl, stype = int)",
    "create event trigger e on ddl_command_end execute function on_ddl()",
]
UNCHANGED = [
    "insert into plain values (1)",
    "truncate plain",
    "create temp table z (a int default 1 check (a > 0))",
    "vacuum plain",
    "analyze plain",
]
QUIET = """
create function quiet() returns int language sql as 'select 1';
create function trigger_one() returns trigger language plpgsql as 'begin return new; end';
create function on_ddl() returns event_trigger language plpgsql as 'begin end';
create type mood as enum ('sad'); create function of_mood(mood) returns int language sql as 'select 1';
create domain old_domain as int; create table plain (a int, c int); create table loose (a int, c int);
create table old_table (a int primary key); create view old_view as select 1 as a;
"""


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_sees_the_change(change: str, new_database: NewDatabase) -> None:
    """Whatever FACTS_QUERY reads, a change of it changes the fingerprint, and a rollback does not."""
    connection = new_database(QUIET)
    before = fingerprint(connection)
    assert fingerprint(connection) == before
    connection.execute(change.encode())
    assert fingerprint(connection) != before


def test_what_is_dropped_and_made_anew_is_not_the_same(new_database: NewDatabase) -> None:
    """Object ids and transactions count up together; no two states share a fingerprint for that."""
    connection = new_database("")
    seen = [fingerprint(connection)]
    for n in range(40):
        connection.execute(f"create function made_{n}() returns int language sql as 'select {n}'".encode())
        seen.append(fingerprint(connection))
        connection.execute(f"drop function made_{n}()".encode())
        if n % 3 == 0:
            connection.execute(f"create table made_table_{n} (); drop table made_table_{n}".encode())
    assert len(set(seen)) == len(seen)


def test_fingerprint_ignores_data(new_database: NewDatabase) -> None:
    """Rows, statistics, TRUNCATE and temporary tables are no reason to read the catalogs again."""
    connection = new_database(QUIET)
    before = fingerprint(connection)
    for statement in UNCHANGED:
        connection.execute(statement.encode())
        assert fingerprint(connection) == before, statement


def test_unprivileged_user_reads_the_same(postgres: PostgresServer, new_database: NewDatabase) -> None:
    """No rights are needed to know."""
    connection = new_database(SCHEMA)
    connection.execute("create schema hidden; create table hidden.t (a int default public.leak_int())")
    facts = read_facts(connection)
    connection.execute("drop role if exists nobody_special; create role nobody_special login")
    connection.execute("set session authorization nobody_special")
    assert read_facts(connection).suspicious == facts.suspicious
    connection.execute("reset session authorization; drop role nobody_special")


def test_settings_of_the_reader_do_not_matter(new_database: NewDatabase) -> None:
    """A search_path with traps in it, and quoted names everywhere, change nothing."""
    connection = new_database(LEAK + "create view v as select leak() as a; create schema evil;")
    facts = read_facts(connection)
    connection.execute(
        "create function evil.concat_ws(text, variadic text[]) returns text language sql as $$ select 'x' $$;"
        "create function evil.quote_ident(name) returns text language sql as $$ select 'x' $$;"
    )
    connection.execute("set search_path = evil, pg_catalog, public; set standard_conforming_strings = off")
    again = read_facts(connection)
    assert {name: again.suspicious[name] for name in facts.suspicious} == facts.suspicious
    connection.execute("reset all; set quote_all_identifiers = on")
    assert read_facts(connection).suspicious == again.suspicious
    assert connection.execute("show search_path").fetchone() == ('"$user", public',)


def test_overloaded_builtin_is_not_plain(new_database: NewDatabase) -> None:
    """A user function named like a built-in one makes the name as bad as itself."""
    connection = new_database("")
    assert not classify(b"SELECT lower('A')", read_facts(connection)) & DIRTY
    connection.execute(LEAK + "create function upper(int) returns text language sql as 'select 1::text'")
    assert not classify(b"SELECT upper('A')", read_facts(connection)) & DIRTY
    connection.execute("create function lower(int) returns text language sql as 'select leak()'")
    assert classify(b"SELECT Lower('A')", read_facts(connection)) & DIRTY


@pytest.mark.parametrize(
    "hidden",
    [
        "create operator === (leftarg = int, rightarg = int, function = leak2)",
        "create type c as (a int);"
        "create function to_int(c) returns int language sql as 'select leak2(1, 2)::int';"
        "create cast (c as int) with function to_int(c) as implicit",
        "create function cmp(int, int) returns int language sql immutable as 'select leak2($1, $2)::int';"
        "create operator class ops for type int using btree as operator 1 <, operator 2 <=, operator 3 =,"
        "operator 4 >=, operator 5 >, function 1 cmp(int, int)",
    ],
)
def test_code_without_a_name_makes_everything_opaque(hidden: str, new_database: NewDatabase) -> None:
    """Operators, casts and operator classes run where no text shows it."""
    connection = new_database(
        LEAK
        + "create function leak2(int, int) returns bool language sql as 'select leak() is null';"
        + hidden
    )
    facts = read_facts(connection)
    assert facts.everything_opaque
    for text in (b"SELECT 1 === 2", b"SELECT a FROM t", b"TABLE t", b"INSERT INTO t VALUES (1)"):
        assert classify(text, facts) & DIRTY
    assert not classify(b"BEGIN; COMMIT", facts) & DIRTY


def test_harmless_operators_stay_plain(new_database: NewDatabase) -> None:
    """Operators and casts over plain functions do not spoil the database."""
    connection = new_database(
        "create function same(int, int) returns bool language sql as 'select $1 = $2';"
        "create operator === (leftarg = int, rightarg = int, function = same)"
    )
    facts = read_facts(connection)
    assert not facts.everything_opaque
    assert not classify(b"SELECT 1 === 2", facts) & DIRTY


def test_range_types_stay_plain(new_database: NewDatabase) -> None:
    """What PostgreSQL makes with one (constructors, a cast) computes, but for what runs in its subtype."""
    connection = new_database(
        LEAK + "create type timerange as range (subtype = time);"
        "create domain tame as text check (value <> ''); create type tamerange as range (subtype = tame)"
    )
    facts = read_facts(connection)
    assert not facts.everything_opaque
    for text in (b"SELECT 1", b"SELECT timerange('10:00', '11:00')", b"SELECT '{}'::timemultirange, tamerange('a', 'b')"):
        assert not classify(text, facts) & DIRTY, text
    connection.execute("create domain d as text check (leak() <> value); create type drange as range (subtype = d)")
    facts = read_facts(connection)
    for text in (b"SELECT drange('a', 'b')", b"SELECT '[a,b]'::drange", b"SELECT '{[a,b]}'::dmultirange"):
        assert classify(text, facts) & DIRTY, text


@pytest.mark.parametrize(
    "extension",
    [
        "citext",
        "hstore",
        "pg_trgm",
        "pgcrypto",
        "uuid-ossp",
        "btree_gin",
        "btree_gist",
        "ltree",
        "unaccent",
        "intarray",
        "cube",
    ],
)
def test_known_extension_stays_plain(
    extension: str, new_database: NewDatabase, postgres: PostgresServer
) -> None:
    """Extensions everybody uses cost nothing."""
    connection = new_database("")
    found = connection.execute("select from pg_available_extensions where name = %s", [extension]).fetchone()
    if found is None:
        pytest.skip(f"{extension} is not installed here")
    connection.execute(f'create extension "{extension}"'.encode())
    facts = read_facts(connection)
    assert not facts.everything_opaque
    for text in (
        b"SELECT digest('a', 'md5'), uuid_generate_v4()",
        b"SELECT 'a'::citext = 'A', similarity('a', 'b')",
    ):
        assert not classify(text, facts) & DIRTY
    if extension == "pg_trgm":
        assert classify(b"SELECT set_limit(0.5)", facts) & DIRTY


def test_unknown_extension_is_opaque(new_database: NewDatabase) -> None:
    """Functions in C that nobody judged may do anything."""
    connection = new_database("create extension tablefunc; create extension dblink")
    facts = read_facts(connection)
    for text in (b"SELECT * FROM crosstab('select leak()') AS t(a int)", b"SELECT dblink_exec('x', 'y')"):
        assert classify(text, facts) & DIRTY


@pytest.mark.parametrize(("encoding", "call"), [("UTF8", "SELECT évil()"), ("LATIN1", "SELECT ÉVIL()")])
def test_names_outside_ascii_are_never_trusted(encoding: str, call: str, new_database: NewDatabase) -> None:
    """Encodings decide how they fold and what their bytes are: one that is suspicious spoils all."""
    connection = new_database(LEAK + "create table t (a int)", encoding)
    assert not classify("SELECT naïve FROM t".encode(), read_facts(connection)) & DIRTY
    connection.execute("create function évil() returns text language sql as 'select leak()'".encode())
    connection.execute("create view v as select évil() as a".encode())
    facts = read_facts(connection)
    for client_encoding in ("utf-8", "latin-1"):
        assert classify(call.encode(client_encoding), facts) & DIRTY
        assert classify(b'SELECT "' + "évil".encode(client_encoding) + b'"()', facts) & DIRTY
    assert classify(b"SELECT * FROM v", facts) & DIRTY
    assert not classify("SELECT 'é' FROM t".encode(), facts) & DIRTY


def test_readers_are_told_through_functions(new_database: NewDatabase) -> None:
    """lastval, the statements' view and channels are found where they hide, and stay plain."""
    connection = new_database(
        "create function last() returns bigint language sql as 'select lastval()';"
        "create view statements as select * from pg_prepared_statements;"
        "create table t (id serial, a int); create table i (id int generated always as identity, a int);"
        "create table s (a int); create table plain (a int); create view seen as select a from t;"
        "create function stamp() returns trigger language plpgsql as 'begin perform nextval(''t_id_seq''); return new; end';"
        "create trigger t before delete on s for each row execute function stamp();"
        "create function look() returns int language sql as 'select a from t';"
        "create function make() returns int language sql as 'insert into i (a) values (1) returning id';"
        "create function made() returns int language plpgsql as 'begin return make(); end'"
    )
    facts = read_facts(connection)
    for text, expected in (
        (b"SELECT last()", flags.READS_SEQUENCE),
        (b"SELECT currval('t_id_seq')", flags.READS_SEQUENCE),
        (b"SELECT * FROM statements", flags.READS_STATEMENTS),
        (b"SELECT pg_listening_channels()", flags.READS_CHANNELS),
        (b"INSERT INTO t (a) VALUES (1)", flags.WRITES_SEQUENCE),
        (b"INSERT INTO seen (a) VALUES (1)", flags.WRITES_SEQUENCE),
        (b"WITH x AS (INSERT INTO i (a) VALUES (1)) SELECT 1", flags.WRITES_SEQUENCE),
        (b"SELECT 1; COPY i (a) FROM STDIN", flags.WRITES_SEQUENCE),
        (b"EXPLAIN ANALYZE DELETE FROM s", flags.WRITES_SEQUENCE),
        (b"SELECT made()", flags.WRITES_SEQUENCE),
        (b"SELECT look()", 0),
        (b"SELECT * FROM t JOIN seen USING (a)", 0),
        (b"INSERT INTO plain (a) VALUES (1)", 0),
        (b"SELECT 1", 0),
    ):
        assert describe(classify(text, facts)) == describe(expected)


def test_domain_as_parameter_type_is_seen(new_database: NewDatabase) -> None:
    """Parse names types by oid: a value bound to a domain runs its checks."""
    connection = new_database(
        LEAK + "create domain d as text check (leak() <> value); create type mood as enum ('sad');"
        "create type ranged as range (subtype = d, multirange_type_name = manyranged); alter type manyranged rename to many;"
        "create domain ofmany as many; create type holder as (a ofmany)"
    )
    facts = read_facts(connection)
    rows = connection.execute("select typname, oid::int from pg_type where oid >= 16384").fetchall()
    oids = {str(name): int(str(oid)) for name, oid in rows}
    assert parameters_verdict([23, 0, oids["mood"], oids["_mood"]], facts) == 0
    for name in ("d", "_d", "ranged", "many", "_many", "ofmany", "holder", "_holder"):
        assert parameters_verdict([23, oids[name]], facts) & DIRTY, name
    assert parameters_verdict([23, 4_000_000_000], facts) & DIRTY
    assert parameters_verdict([oids["mood"]], None) & DIRTY
    assert not parameters_verdict([23, 25], None)


@pytest.mark.parametrize("relation", ["16400", "'16400'", "$1", "'no_view'", "'v'"])
def test_what_a_value_says_may_be_any_relation(relation: str, new_database: NewDatabase) -> None:
    """Its number, which nobody can read: functions that run what belongs to one do what any of them does."""
    connection = new_database("create table t (a text); create view v as select a from t")
    text = f"SELECT table_to_xml({relation}, true, false, '')".encode()
    facts = read_facts(connection)
    assert not reached(text, (), classify(text, facts), facts.scanner.code)[0]
    connection.execute("create or replace view v as select set_config('app.' || a, 'x', false) a from t")
    facts = read_facts(connection)
    assert reached(text, (), classify(text, facts), facts.scanner.code)[0] & flags.DYNAMIC


def test_function_call_is_opaque_but_for_large_objects() -> None:
    """FunctionCall names its function by oid: lo_open is 952, set_config 2078."""
    assert not call_verdict(952) & DIRTY
    assert call_verdict(2078) & DIRTY
