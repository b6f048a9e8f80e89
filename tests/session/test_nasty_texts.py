"""What texts are plain, on the catalogs of a real database full of traps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgpool_py.session.catalog import DatabaseFacts
from pgpool_py.session.flags import DIRTY, describe
from pgpool_py.session.verdict import classify
from pgpool_py.testing import PostgresServer
from tests.session.corpus import NASTY, ORDINARY, SCHEMA, texts
from tests.session.facts import Connection, read_facts

SESSION_STATE = b"""
select (select string_agg(name || '=' || setting, ',' order by name) from pg_settings
          where source = 'session' and name not like 'transaction_%'),
       (select count(*) from pg_locks where locktype = 'advisory'), pg_my_temp_schema(), current_user,
       (select count(*) from pg_prepared_statements), (select count(*) from pg_cursors),
       (select string_agg(c, ',') from pg_listening_channels() c), current_setting('app.leak', true)
"""


@pytest.fixture(scope="session")
def trapped(postgres: PostgresServer) -> Iterator[Connection]:
    """A connection to a database with the corpus' schema."""
    with postgres.connect() as admin:
        admin.execute("create database trapped template template0 encoding 'UTF8'")
    with postgres.connect("trapped", prepare_threshold=None) as connection:
        connection.execute(SCHEMA.encode())
        yield connection


@pytest.fixture(scope="session")
def facts(trapped: Connection) -> DatabaseFacts:
    """What the pooler knows of it."""
    return read_facts(trapped)


@pytest.mark.parametrize("text", texts(NASTY))
def test_nasty_text_is_never_plain(text: str, facts: DatabaseFacts) -> None:
    """With and without facts: nothing that may touch the session passes."""
    if "pg_input_is_valid" not in text or facts.fingerprint > b"16":  # there it does not exist
        assert classify(text.encode(), facts) & DIRTY
    assert classify(text.encode(), None) & DIRTY


@pytest.mark.parametrize("text", texts(ORDINARY))
def test_ordinary_text_is_plain(text: str, facts: DatabaseFacts) -> None:
    """Ordinary applications stay free."""
    assert describe(classify(text.encode(), facts) & DIRTY) == "PLAIN"


def test_plain_texts_leave_nothing_behind(trapped: Connection, facts: DatabaseFacts) -> None:
    """PostgreSQL's own view of the session is the same after each plain text, and each of them is valid."""
    before = trapped.execute(SESSION_STATE).fetchone()
    for text in texts(ORDINARY):
        trapped.execute(text.encode())
        assert trapped.execute(SESSION_STATE).fetchone() == before, text


def test_traps_really_touch_the_session(trapped: Connection, facts: DatabaseFacts) -> None:
    """The corpus is honest: these reach set_config, so a plain verdict would have leaked."""
    for text in (
        "select * from second_view",
        "insert into ruled values (1)",
        "insert into triggered values (1)",
        "insert into defaulted values (1)",
        "select '(0)'::composed",
        "insert into pgbench_history default values; select t.leak_row from pgbench_history t",
        "insert into indexed values (1)",
        "insert into partitioned values (1)",
    ):
        trapped.execute("select set_config('app.leak', '', false)")
        trapped.execute(text.encode())
        row = trapped.execute("select current_setting('app.leak', true)").fetchone()
        assert row == ("x",), text
        assert classify(text.encode(), facts) & DIRTY
    trapped.execute("discard all")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_disguise_never_makes_plain(data: st.DataObject, facts: DatabaseFacts) -> None:
    """Comments, white space and case put between and into the words of a nasty text change nothing."""
    text = data.draw(st.sampled_from([text for text in texts(NASTY) if not set(text) & set("'\"$\\U")]))
    pieces = text.split(" ")
    gaps = st.sampled_from([" ", "\t\n", " /* x */ ", "/**/", " -- it's\n", " /* /* ; */ ' */ ", "\n--\r"])
    cases = st.sampled_from([str.upper, str.lower, str.swapcase, str.title])
    disguised = "".join(data.draw(cases)(piece) + data.draw(gaps) for piece in pieces)
    assert classify(disguised.encode(), facts) & DIRTY
    assert classify(b"SELECT 1;" + disguised.encode(), facts) & DIRTY
