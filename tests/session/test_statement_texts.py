"""What texts say about prepared statements."""

from __future__ import annotations

import pytest

from pgpool_py.session import flags
from pgpool_py.session.statement_texts import deallocated_name, is_of_the_moment, may_clear, names_statements, read_later

DEALLOCATES = flags.STATEMENT | flags.CLEANUP


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"deallocate s", b"s"),
        (b" DEALLOCATE  PREPARE Plan ; ", b"plan"),
        (b'deallocate "Pl""an"', b'Pl"an'),
        (b"deallocate all", None),
        (b"deallocate prepare all", None),
        (b"deallocate s; select 1", None),
        (b"deallocate /* it */ s", None),
        (b"deallocate s -- it", None),
        (b"discard all", None),
    ],
)
def test_the_name_of_one_deallocate(text: bytes, name: bytes | None) -> None:
    assert deallocated_name(text + b"\0") == name


@pytest.mark.parametrize(
    ("verdict", "text", "expected"),
    [
        (DEALLOCATES, b"deallocate s", False),
        (DEALLOCATES, b"deallocate all", False),
        (DEALLOCATES, b"rollback; deallocate s", True),
        (DEALLOCATES, b"deallocate s /* it */", True),
        (flags.STATEMENT, b"execute s", True),
        (flags.CLEANUP, b"discard all", False),
        (flags.OPAQUE, b"do $$ begin execute 'select 1'; end $$", True),
        (flags.OPAQUE, b"select unread()", False),
        (flags.READS_STATEMENTS, b"select * from pg_prepared_statements", True),
    ],
)
def test_texts_that_need_the_clients_own_names(verdict: int, text: bytes, expected: bool) -> None:
    """One DEALLOCATE does not: it is put into the server's words."""
    assert names_statements(verdict, text) is expected


@pytest.mark.parametrize("text", [b"discard all", b"/* c */ DEALLOCATE ALL", b"discard temp"])
def test_what_may_end_statements(text: bytes) -> None:
    assert may_clear(text)
    assert not may_clear(b"reset all")


@pytest.mark.parametrize(
    "text",
    [
        b"vacuum plain",
        b"  -- c\n/* c */ VACUUM",
        b"set transaction isolation level serializable",
        b"create unique index concurrently i on t (a)",
        b"commit",
        b" /* nothing */ ",
        b"",
    ],
)
def test_commands_that_get_their_meaning_later(text: bytes) -> None:
    assert read_later(text + b"\0\0\0")


@pytest.mark.parametrize(
    "text",
    [
        b"select date '1.2.2003'",
        b"explain select date '1.2.2003'",
        b"create table t as select date '1.2.2003'",
        b"declare c cursor for select date '1.2.2003'",
        b"settings",
        b"set a.b = '\\'",  # how far it goes depends on standard_conforming_strings
        b"/* a /* nested */ vacuum */ select date '1.2.2003'",
        b"/* open vacuum",
    ],
)
def test_texts_that_mean_something_at_parse(text: bytes) -> None:
    assert not read_later(text + b"\0\0\0")


@pytest.mark.parametrize(
    "text",
    [
        b"select 'now'::timestamptz",
        b"select $$now$$::timestamptz",
        b"select date $a$ today $a$",
        b"select e'n\\157w'::timestamptz",
        b"select 'no'\n'w'::timestamptz",
        b"select '{2020-01-01, tomorrow}'::date[]",
        b"fetch 1 from c",
    ],
)
def test_texts_of_the_moment(text: bytes) -> None:
    assert is_of_the_moment(text + b"\0\0\0")


@pytest.mark.parametrize(
    "text", [b"update t\nset at = now()\nwhere id = $1", b"select 'a',\n'b'", b"select 'a\\'", b"select $1, now()"]
)
def test_texts_of_any_moment(text: bytes) -> None:
    assert not is_of_the_moment(text + b"\0\0\0")
