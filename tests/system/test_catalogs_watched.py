"""The catalogs change past the pooler: whoever uses the database is soon judged by what it has become."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test knows nothing of catalogs")
Start = Callable[..., stack.Pooler]
QUIET = "create or replace function quiet() returns int language sql as $$ select 1 $$"
LOUD = QUIET.replace("select 1", "select set_config('work_mem', '7MB', false); select 1")


@pytest.mark.parametrize("pause", [False, True])
def test_a_function_replaced_past_the_pooler(
    start_pooler: Start, direct: Callable[..., RawClient], admin: RawClient, pause: bool
) -> None:
    """It sets something from now on: within seconds the next client finds nothing of it. After a pause, too, in which the
    server is left alone."""
    with direct() as owner:
        assert wire.errors(owner.query(QUIET)) == []
        pooler = start_pooler(databases={"one": "pool_size=1"})
        with pooler.connect("one") as client, pooler.connect("one") as other:
            client.query("select quiet()")
            if pause:
                pid = client.ask("select pg_backend_pid()")
                silent = f"select now() - state_change > interval '3 s' from pg_stat_activity where pid = {pid}"
                stack.wait_until(lambda: admin.ask(silent) == "t", "nobody asks the server anything")
            assert wire.errors(owner.query(LOUD)) == []

            def is_kept() -> bool:
                client.query("select quiet()")
                alone = other.ask("show work_mem") == "4MB"
                if not alone:
                    other.query("discard all")
                return alone and client.ask("show work_mem") == "7MB"

            stack.wait_until(is_kept, "the function is known for what it does")


def test_an_idle_server_is_closed_while_others_are_busy(start_pooler: Start, admin: RawClient) -> None:
    """The pooler's own looks at the catalogs are no use of a server: server_idle_timeout counts on."""
    pooler = start_pooler(databases={"one": "pool_size=1"}, settings={"server_idle_timeout": 3})
    with pooler.connect("one") as idle, pooler.connect("one", user=stack.OTHER) as busy:
        first = idle.ask("select pg_backend_pid()")

        def is_gone() -> bool:
            busy.query("select 1")
            return admin.ask(f"select count(*) from pg_stat_activity where pid = {first}") == "0"

        stack.wait_until(is_gone, "the idle server is closed")
        assert idle.ask("select 'served'") == "served"


def test_what_was_read_counts_on_while_no_server_is_to_be_had(start_pooler: Start, admin: RawClient) -> None:
    """The look at the catalogs waits in line, and in vain: texts are judged as before, and plain ones cost no reset."""
    settings = {"query_wait_timeout": 1, "admin_users": stack.ADMIN}
    pooler = start_pooler(databases={"one": "pool_size=1"}, settings=settings)
    with pooler.connect("one") as client, pooler.connect("pgbouncer", user=stack.ADMIN) as console:

        client.query("create table if not exists plain (n int)")

        def is_plain() -> bool:
            client.exchange(wire.run("select 1", name="s"))
            client.query("select count(*) from plain")
            client.exchange(wire.close_statement("s") + wire.sync())
            return stack.prepared_statements(console) == [1]

        stack.wait_until(is_plain, "the table is known, so that reading it leaves the server's statements alone")
        client.query("begin")
        held = "select max(now() - xact_start) > interval '4 s' from pg_stat_activity where state = 'idle in transaction'"
        stack.wait_until(lambda: client.query("select 1") and admin.ask(held) == "t", "the look has given up")
        client.query("select count(*) from plain")
        client.query("commit")
        client.query("select 2")
        assert stack.prepared_statements(console) == [1]
        client.query("drop table plain")


PRIVATE = {
    "on commit drop": ("begin", "create temp table private_one (n int) on commit drop", "table private_one", "end"),
    "dropped": ("create temp table private_one as select 1 as n", "create index on private_one (n)", "drop table private_one"),
    "upkeep": ("analyze watched",),
}


@pytest.mark.parametrize("texts", PRIVATE.values(), ids=PRIVATE.keys())
def test_temporary_tables_cost_nobody_else_anything(start_pooler: Start, admin: RawClient, texts: tuple[str, ...]) -> None:
    """What others say stays plain, in a database without other tests' code: there is no look and no reset behind it."""
    databases = {"two": "dbname=postgres pool_size=2"}
    with start_pooler(databases=databases).connect("two", stack.ADMIN) as owner:
        owner.query("create table if not exists watched (n int)")
    pooler = start_pooler(databases=databases)
    read = "select n from watched"
    with pooler.connect("two", stack.ADMIN) as client, pooler.connect("two", stack.ADMIN) as other:
        other.query(read)
        for _ in range(3):
            for text in texts:
                assert wire.errors(client.query(text)) == [], text
                other.query("begin")
                other.query(read)
                pid = other.ask("select pg_backend_pid()")
                other.query("commit")
                with pooler.connect("two", stack.ADMIN) as third:
                    third.query("select 1")  # whoever had to be waited for has been
                last = admin.ask(f"select query from pg_stat_activity where pid = {pid}")
                assert last in ("commit", "select 1"), last
