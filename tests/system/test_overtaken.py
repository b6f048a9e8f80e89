"""Another client changes what a statement runs, while that is under way: judged before, it does what it did not do then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep sessions")

TRIGGER = "create or replace function over_trigger() returns trigger language plpgsql as $$ begin {} return null; end $$"
FUNCTION = "create or replace function over_function(v int) returns int language plpgsql as $$ begin {} return v; end $$"
STATE = (
    "perform set_config('app.overtaken', 'mine', false); perform set_config('work_mem', '7MB', false);"
    " perform pg_try_advisory_lock(5);"
)
LOOK = (
    "select concat_ws(' ', current_setting('work_mem'), coalesce(current_setting('app.overtaken', true), 'undefined'),"
    " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))"
)
NOTHING, ALL = "4MB undefined 0", "7MB mine 1"


@pytest.fixture
def pooler(start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient]) -> stack.Pooler:
    """With code that does nothing yet, and a pool of three."""
    with direct() as owner:
        for text in (
            "drop table if exists over_table, over_deferred",
            TRIGGER.format(""),
            FUNCTION.format(""),
            "create table over_table (n int)",
            "create table over_deferred (n int)",
            "create constraint trigger over_deferred after insert on over_deferred deferrable initially deferred"
            " for each row execute function over_trigger()",
        ):
            assert wire.errors(owner.query(text)) == [], text
    pooler = start_pooler(databases={"three": "pool_size=3"}, settings={"admin_users": stack.ADMIN})
    with pooler.connect("three") as client:
        client.query("select over_function(1), 1 from over_table, over_deferred")
    return pooler


def strangers_see_nothing(pooler: stack.Pooler) -> None:
    """On any server of the pool."""
    strangers = [pooler.connect("three") for _ in range(3)]
    for stranger in strangers:
        stranger.query("begin")
        assert stranger.ask(LOOK) == NOTHING
    for stranger in strangers:
        stranger.leave()


def migrate(client: RawClient, *texts: str) -> None:
    for text in texts:
        assert wire.errors(client.query(text)) == [], text


LOCK = ("begin", "lock table over_table")
NEW_TRIGGER = (
    TRIGGER.format(STATE),
    "create trigger over_table after insert on over_table for each row execute function over_trigger()",
    "commit",
)
NEW_FUNCTION = (FUNCTION.format(STATE), "commit")
WAITING = {
    "a trigger": ("insert into over_table values (1)", NEW_TRIGGER),
    "a function": ("select (select count(*) from over_table), over_function(1)", NEW_FUNCTION),
}


@pytest.mark.parametrize(("text", "migration"), WAITING.values(), ids=WAITING.keys())
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
def test_statement_that_waits_for_a_migration(
    pooler: stack.Pooler, admin: RawClient, text: str, migration: tuple[str, ...], leaves: bool
) -> None:
    """It waits for a lock, and then runs what has been made meanwhile."""
    client = pooler.connect("three")
    with pooler.connect("three") as other:
        migrate(other, *LOCK)
        client.send(wire.query(text))
        stack.wait_backend(admin, "wait_event_type = 'Lock'")
        if leaves:
            client.reset()
        migrate(other, *migration)
    if not leaves:
        assert wire.errors(client.until("Z")) == []
    strangers_see_nothing(pooler)
    if not leaves:
        assert client.ask(LOOK) == ALL
        client.leave()


def wait_until_read(pooler: stack.Pooler, client: RawClient, reads: str) -> None:
    """Until what is read from the catalogs counts again: *reads* is plain then."""
    with pooler.connect("pgbouncer", user=stack.ADMIN) as console:

        def is_plain() -> bool:
            client.exchange(wire.run("select 1", name="s"))
            client.query(reads)  # behind a text that was not plain there is a look, and a reset
            client.exchange(wire.close_statement("s") + wire.sync())
            return 1 in stack.prepared_statements(console)

        stack.wait_until(is_plain, "the catalogs are read")


@pytest.mark.parametrize(("text", "migration"), WAITING.values(), ids=WAITING.keys())
def test_statement_that_waits_for_a_prepared_migration(
    pooler: stack.Pooler, admin: RawClient, text: str, migration: tuple[str, ...]
) -> None:
    """Preparing the transaction has changed nothing yet: what begins behind that is judged by what is there still."""
    with pooler.connect("three") as client, pooler.connect("three") as other:
        migrate(other, *LOCK, *migration[:-1], "prepare transaction 'over'")
        wait_until_read(pooler, other, "select n from over_deferred")
        client.send(wire.query(text))
        stack.wait_backend(admin, "wait_event_type = 'Lock'")
        migrate(other, "commit prepared 'over'")
        assert wire.errors(client.until("Z")) == []
        strangers_see_nothing(pooler)
        assert client.ask(LOOK) == ALL


OPEN = {
    "a deferred trigger": (("insert into over_deferred values (1)",), TRIGGER, ("commit",)),
    "a trigger set off": (("insert into over_deferred values (1)",), TRIGGER, ("set constraints all immediate", "commit")),
    "a cursor": (
        ("declare c cursor for select over_function(n) from generate_series(1, 3) n", "fetch c"),
        FUNCTION,
        ("fetch c", "commit"),
    ),
}
READS = "select n from over_table"


@pytest.mark.parametrize(("before", "code", "after"), OPEN.values(), ids=OPEN.keys())
def test_transaction_that_goes_on_behind_a_migration(
    pooler: stack.Pooler, admin: RawClient, before: tuple[str, ...], code: str, after: tuple[str, ...]
) -> None:
    """What it has begun runs what has been made meanwhile, though that was read and its texts are plain again."""
    with pooler.connect("three") as client, pooler.connect("three") as other:
        migrate(client, "begin", *before)
        migrate(other, code.format(STATE))
        wait_until_read(pooler, other, READS)
        migrate(client, READS, *after)  # a lock makes PostgreSQL look for what has changed
        strangers_see_nothing(pooler)
        assert client.ask(LOOK) == ALL


HARMLESS = FUNCTION.format("perform set_config('app.harmless', 'x', true);")


def test_transaction_that_goes_on_behind_ddl_past_the_pooler(
    pooler: stack.Pooler, admin: RawClient, direct: Callable[..., RawClient]
) -> None:
    """When it is noticed, whatever is under way counts as having met it."""
    with pooler.connect("three") as client, pooler.connect("three") as other, direct() as owner:
        migrate(client, "begin", "insert into over_deferred values (1)")
        migrate(owner, TRIGGER.format(STATE), HARMLESS)

        def is_known() -> bool:
            other.query("select over_function(1)")  # behind which there is a reset then
            resets = f"select count(*) from pg_stat_activity where datname = '{stack.DATABASE}' and query = 'DISCARD ALL'"
            return admin.ask(resets) != "0"

        stack.wait_until(is_known, "the catalogs are read")
        migrate(client, READS, "commit")
        strangers_see_nothing(pooler)
        assert client.ask(LOOK) == ALL
