"""The lexical rules and the kinds of verdicts, without a database."""

from __future__ import annotations

import random

import pytest

from pgpool_py.session import flags, functions
from pgpool_py.session.flags import DIRTY, describe
from pgpool_py.session.scan import PLPGSQL, Scanner
from pgpool_py.session.verdict import IN_DOUBT, UNINFORMED, classify

SCANNER = Scanner(functions.KINDS, True)

KINDS = {
    "": "PLAIN",
    ";;": "PLAIN",
    "SELECT 1": "PLAIN",
    "COMMIT": "TRANSACTION_END|TRANSACTION_EXIT_ONLY",
    " /* x */ rollback work ;": "TRANSACTION_END|TRANSACTION_EXIT_ONLY",
    "END": "TRANSACTION_END|TRANSACTION_EXIT_ONLY",
    "ABORT": "TRANSACTION_END|TRANSACTION_EXIT_ONLY",
    "PREPARE TRANSACTION 'x'": "TRANSACTION_END|TRANSACTION_EXIT_ONLY",
    "ROLLBACK TO SAVEPOINT a": "TRANSACTION_EXIT_ONLY",
    "ROLLBACK TO a; SELECT 1": "PLAIN",
    "COMMIT; BEGIN": "TRANSACTION_END",
    "SELECT 1; END": "TRANSACTION_END",
    "COMMIT PREPARED 'x'": "DDL",
    "ROLLBACK PREPARED 'x'": "PLAIN",
    "CALL p()": "TRANSACTION_END",
    "SET LOCAL work_mem = '1MB'": "TRANSACTION_LOCAL",
    "SET TRANSACTION READ ONLY": "TRANSACTION_LOCAL",
    "SET CONSTRAINTS public.a DEFERRED": "TRANSACTION_LOCAL",
    "SELECT pg_advisory_xact_lock(1)": "TRANSACTION_LOCAL",
    "SET work_mem = '1MB'": "SETTINGS",
    "RESET work_mem": "SETTINGS",
    "RESET ALL": "SETTINGS|CLEANUP",
    "SET seed = 0.1": "SETTINGS|SEED",
    "SELECT set_config('a', 'b', false)": "SETTINGS|FUNCTION",
    "PREPARE p AS SELECT 1": "STATEMENT",
    "DEALLOCATE p": "STATEMENT|CLEANUP",
    "LISTEN c": "LISTEN",
    "UNLISTEN *": "LISTEN|CLEANUP",
    "DISCARD ALL": "CLEANUP|RELEASES",
    "CREATE TABLE t (a int)": "DDL",
    "CREATE TEMPORARY TABLE t (a int)": "PIN|DDL",
    "DROP TABLE t": "DDL|RELEASES",
    "CLOSE c": "RELEASES",
    "SELECT pg_advisory_lock(1)": "PIN|FUNCTION",
    "SELECT pg_advisory_unlock_all()": "CLEANUP|RELEASES",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1": "PIN",
    "SELECT lastval()": "READS_SEQUENCE",
    "SELECT 1 FROM pg_prepared_statements": "READS_STATEMENTS",
}


# DDL that runs code which is there already: while nothing is known of the database that may be anything.
RUNS_CODE = {
    "ALTER TABLE t VALIDATE CONSTRAINT c": True,
    "REFRESH MATERIALIZED VIEW m": True,
    "ANALYZE t": True,
    "CREATE TABLE t AS SELECT f()": True,
    "CREATE TEMP TABLE t AS VALUES (f())": True,
    "CREATE TABLE t AS TABLE v": True,
    "CREATE MATERIALIZED VIEW m AS WITH x AS (SELECT f()) SELECT * FROM x": True,
    "CREATE TABLE t (a int DEFAULT f())": False,
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT g() $$": False,
    "CREATE VIEW v AS SELECT f()": False,
    "GRANT SELECT ON t TO u": False,
    "DROP TABLE t": False,
}


@pytest.mark.parametrize("text", RUNS_CODE)
def test_ddl_runs_code_that_is_there(text: str) -> None:
    assert bool(IN_DOUBT.scan(text.encode()) & flags.OPAQUE) == RUNS_CODE[text]
    assert not SCANNER.scan(text.encode()) & flags.OPAQUE


@pytest.mark.parametrize("text", ["CREATE TABLE t (a int)", "COMMENT ON TABLE t IS 'x'", "DROP TABLE t", "SELECT 1 AS a INTO t"])
def test_ddl_runs_event_triggers(text: str) -> None:
    """Where there may be some."""
    assert Scanner(functions.KINDS, True, flags.UNKNOWN).scan(text.encode()) & flags.OPAQUE
    assert UNINFORMED.scan(text.encode()) & flags.OPAQUE


@pytest.mark.parametrize("text", KINDS)
def test_kind_is_told_exactly(text: str) -> None:
    """The bits that the pooler acts on."""
    assert describe(SCANNER.scan(text.encode())) == KINDS[text]


@pytest.mark.parametrize(
    "text", ["BEGIN", "SELECT 1", "select $1, 'x', NULL", "SHOW work_mem", "COMMIT", "SAVEPOINT a", ""]
)
def test_little_is_plain_without_facts(text: str) -> None:
    """What names nothing needs no catalog."""
    assert not classify(text.encode(), None) & DIRTY


@pytest.mark.parametrize(
    "text",
    [
        "SELECT lower('a')",
        "SELECT 1 + 1",
        "SELECT a",
        "TABLE t",
        "SELECT temp()",
        "SELECT seed",
        "CALL p()",
        "SELECT -1",
    ],
)
def test_names_and_operators_need_facts(text: str) -> None:
    """Any of them may be a user's."""
    assert classify(text.encode(), None) & DIRTY


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'a\\', 'b'",  # where the string ends depends on standard_conforming_strings
        b"SELECT E'\x83\\' , 1'",  # half a character in SJIS
        b"SELECT 1e'x'",
        b"SELECT 0x1F",  # two tokens before PostgreSQL 16
        b"SELECT $1a",
        b'SELECT U&"a"',
        b"SELECT \\ 1",
        b"SELECT \x01",
        b'SELECT "' + b"a" * 64 + b'"',
    ],
)
def test_doubtful_text_is_unsure(text: bytes) -> None:
    """Where settings, encodings or versions decide, everything is possible."""
    assert SCANNER.scan(text) & flags.UNSURE == flags.UNSURE


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        ("begin return 1; end", True),
        ("declare x int := 1; begin x := 2; return x; end", True),
        ("begin update t set a = 1; end", True),
        (
            "begin if x then null; elsif y then z := 1; else raise exception 'a' using hint = b; end if; end",
            True,
        ),
        ("<<a>> begin for i in 1..10 loop a.b[i] := case when c then 1 else d end; end loop a; end a", True),
        (
            "begin select a into strict b from t; perform f(); get diagnostics n = row_count; commit; end",
            True,
        ),
        ("begin set local work_mem = '1MB'; end", True),
        ("begin set local app.x = '1'; end", False),
        ("begin set work_mem = '1MB'; end", False),
        ("begin if a then set work_mem = '1MB'; end if; end", False),
        ("begin loop set work_mem = '1MB'; end loop; end", False),
        ("begin <<b>> set work_mem = '1MB'; end", False),
        ("begin <<close /* c */ >> set work_mem = '1MB'; end", False),
        ('begin <<"b">> set work_mem = 1; end', False),
        ("begin null; exception when others then reset all; end", False),
        ("begin execute 'x'; end", False),
        ("begin for r in execute 'x' loop null; end loop; end", False),
        ("begin return query execute 'x'; end", False),
        ("begin create temp table t (a int); end", False),
        ("begin a := 1; listen c; end", False),
        ("begin unheard_of command; end", False),
    ],
)
def test_function_body_is_read(body: str, plain: bool) -> None:
    """PL/pgSQL: what begins a statement, and where."""
    assert bool(SCANNER.scan(body.encode(), PLPGSQL) & DIRTY) is not plain


_PIECES = r"""' '' \ \' E' e' $$ $a$ $1 $ -- /* */ / * " "" ; a 1 1e 1e5 . set_config SET_CONFIG(
    "set_config" "s""t" U& u&' N' B' é + < @ e _ ( )"""
PIECES = [*_PIECES.split(), "\n", "\r", " "]


def test_names_agree_with_postgresql_lexer() -> None:
    """On any soup of tokens: what PostgreSQL's own lexer takes for a name, the scan sees, or it is unsure."""
    parser = pytest.importorskip("pglast").parser
    choose = random.Random(1)
    judged = 0
    for _ in range(5000):
        text = "SELECT " + "".join(choose.choice(PIECES) for _ in range(choose.randint(1, 12)))
        try:
            tokens = parser.scan(text)
        except parser.ParseError:
            continue
        found: set[bytes] = set()
        verdict = SCANNER.scan(text.encode(), 0, found)
        if verdict & flags.UNSURE == flags.UNSURE:
            continue
        judged += 1
        names = set()
        for token in tokens:
            word = text[token.start : token.end + 1]
            if word.startswith('"'):
                names.add(word[1:-1].replace('""', '"').encode())
            elif token.name == "IDENT" or token.kind != "NO_KEYWORD":
                names.add(word.encode().lower())
        assert names <= found, text
        assert bool(b"set_config" in names) <= bool(verdict & DIRTY), text
    assert judged > 500
