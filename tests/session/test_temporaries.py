"""DDL that nobody else can meet."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pgpool_py.session.temporaries import private
from tests.session.test_scan import SCANNER

OWN = frozenset((b"mine", b"Odd", b"other"))


@pytest.mark.parametrize(
    ("text", "made", "dropped"),
    [
        ("create temp table new (n int)", {b"new"}, ()),
        ("CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS New (n int) ON COMMIT DROP;", {b"new"}, ()),
        ('create temp table "New" as select 1', {b"New"}, ()),
        ("select 1 into temp table new", {b"new"}, ()),
        ("drop table mine", (), {b"mine"}),
        ('drop table if exists mine, "Odd" cascade;', (), {b"mine", b"Odd"}),
        ("drop table pg_temp.mine", (), {b"mine"}),
        ("create index on mine (n)", (), ()),
        ("create unique index if not exists i on mine using btree (n)", (), ()),
        ("analyze mine", (), ()),
        ("vacuum theirs", (), ()),
        ("reindex table theirs", (), ()),
    ],
)
def test_temporary_tables_are_their_owners(text: str, made: Iterable[bytes], dropped: Iterable[bytes]) -> None:
    assert private(text.encode(), SCANNER.scan(text.encode()), OWN) == (frozenset(made), frozenset(dropped))


@pytest.mark.parametrize(
    "text",
    [
        "create table new (n int)",
        "create table temp (n int)",
        "create temp view new as select 1",
        "create temp table new (n int); create function f() returns int language sql as 'select 1'",
        "create temp table new (n int default set_config('a.b', 'c', false)::int)",
        "create temp table new as select pg_advisory_lock(1), set_config('a.b', 'c', false)",
        "select 'into temp new' into theirs",
        "select 1 into /* into temp new */ theirs",
        "drop table theirs",
        "drop table mine, theirs",
        "drop table odd",
        "drop table mine; drop function f()",
        "drop function mine",
        "create index on theirs (n)",
        "create index mine on theirs (n)",
        "create trigger mine before insert on mine for each row execute function f()",
        "alter table mine add n int",
        "comment on table mine is 'x'",
        "create or replace function f() returns void language sql as $$ select 1 into temp new $$",
        "create function temp() returns void language sql as 'select 1 into temp new'",
    ],
)
def test_any_other_ddl_is_everybodys(text: str) -> None:
    assert private(text.encode(), SCANNER.scan(text.encode()), OWN) is None
