"""What is added to a text so that RESET leads to a client's own start, and how positions in the text are found again."""

from __future__ import annotations

import pytest

from pgpool_py.session.defaults import Unclear, completed, single_way_back, statement

START = {b"work_mem": (b"work_mem", b"5MB"), b"role": (b"role", b"some body"), b"timezone": (b"TimeZone", b"UTC")}


def text(sql: str, conforming: bool = True, encoding: bytes = b"UTF8", alone: bool = True) -> str:
    found = completed(sql.encode(), START, conforming, encoding, alone)
    return sql if found is None else found.text.decode()


LOCAL = """; SET LOCAL "work_mem" = E'5MB'"""
MEMORY, ZONE, WHO = """; SET "work_mem" = E'5MB'""", """; SET "TimeZone" = E'UTC'""", """; SET "role" = E'some body'"""


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("reset work_mem", f"reset work_mem{MEMORY}"),
        ("reset work_mem -- x", f"reset work_mem{MEMORY} -- x"),
        ("RESET/**/\n\"Work_Mem\" ;select 1", f"RESET/**/\n\"Work_Mem\"{MEMORY} ;select 1"),
        ("reset all; reset role", f"reset all{ZONE}{MEMORY}; reset role{WHO}"),
        ("set session authorization default", f"set session authorization default{WHO}"),
        ("set local work_mem to default; select 1", f"set local work_mem to default{LOCAL}; select 1"),
        ("set local work_mem to default", "set local work_mem to default"),
        ("select 'reset work_mem'; reset nosuch", "select 'reset work_mem'; reset nosuch"),
        ("do $$ reset work_mem; $$", "do $$ reset work_mem; $$"),
        ("discard all", "discard all"),
        ("reset transaction isolation level", "reset transaction isolation level"),
        ("reset work_mem /*", "reset work_mem /*"),
    ],
)
def test_statements_follow_what_they_complete(sql: str, expected: str) -> None:
    """Each reset is followed, within its statement's place, by what leads to the client's start; nothing else is touched."""
    assert text(sql) == expected


def test_own_tags_are_counted() -> None:
    """Of the tags SET, RESET and DO in their order it is known which the client must not hear."""
    found = completed(b"set a.b = 1; do 'x'; set constraints all deferred; reset all; reset work_mem", START, True, b"UTF8", True)
    assert found is not None
    assert [found.own_tag() for _ in range(8)] == [False, False, False, True, True, False, True, False]


def test_positions_are_the_clients() -> None:
    """A position counts characters of what the client said; one in what was added is left out."""
    found = completed("select 'ä€'; reset work_mem; selec".encode(), START, True, b"UTF8", True)
    assert found is not None
    size = len(MEMORY)
    for position, expected in ((1, b"P1"), (27, b"P27"), (28, None), (27 + size, None), (28 + size, b"P28"), (30 + size, b"P30")):
        fields = found.error(b"SERROR\0P%d\0Mx\0\0" % position).split(b"\0")
        assert fields == [b"SERROR", *([expected] if expected else []), b"Mx", b"", b""]


@pytest.mark.parametrize(
    ("sql", "conforming", "encoding"),
    [
        (r"select 'it\'; reset work_mem; '", False, b"UTF8"),
        (r"/* ' */ select 'it\'; reset work_mem; --'", False, b"UTF8"),
        ("select E'a'\n'it\\'; reset work_mem; '", True, b"UTF8"),
        ("select 'ä'; reset work_mem", True, b"SJIS"),
        ("select 'ä'; reset work_mem", True, b""),
    ],
)
def test_what_is_not_certain_is_left_alone(sql: str, conforming: bool, encoding: bytes) -> None:
    """Where a string, or a character, may end elsewhere, nothing is put into the text."""
    with pytest.raises(Unclear):
        text(sql, conforming, encoding)


def test_backslashes_are_certain_where_they_mean_nothing() -> None:
    """With standard_conforming_strings on, and in E'' strings always, strings end where they seem to."""
    assert text(r"select '\', E'\''; reset work_mem") == rf"select '\', E'\''; reset work_mem{MEMORY}"
    assert text(r"select E'\''; reset work_mem", conforming=False) == rf"select E'\''; reset work_mem{MEMORY}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"application_name", b"it's a \\", rb"""SET "application_name" = E'it''s a \\'"""),
        (b"app.x", b"", b"""SET "app"."x" = E''"""),
        (b"app.x", "ä'f".encode(), rb"""SET "app"."x" = E'\xc3\xa4''f'"""),
        (
            b"search_path",
            b"user, public",
            rb"DO LANGUAGE plpgsql E'BEGIN PERFORM pg_catalog.set_config(E''search_path'', E''user, public'', false); END'",
        ),
        (b"search_path", b'"$user", public, "a ""b"""', b"""SET "search_path" = E'$user', E'public', E'a "b"'"""),
        (
            b"search_path",
            b"",
            rb"DO LANGUAGE plpgsql E'BEGIN PERFORM pg_catalog.set_config(E''search_path'', E'''', false); END'",
        ),
    ],
)
def test_statement_sets_the_value_exactly(name: bytes, value: bytes, expected: bytes) -> None:
    """Lists of names element by element; a spelling that SET would change, by a function."""
    assert statement(name, value, False) == expected


def test_single_statement() -> None:
    """What follows an Execute; nothing follows DISCARD ALL, behind which the client's settings are put in force anyway."""
    assert single_way_back(b" reset /**/ work_mem ", START) == [b"""SET "work_mem" = E'5MB'"""]
    assert single_way_back(b"DISCARD ALL", START) == []
    assert single_way_back(b"set work_mem = '6MB'", START) == []
