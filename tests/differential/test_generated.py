"""Scripts that nobody thought of: random steps of three clients on two servers, each compared at once.

What is generated grows with what is built: a text takes part as soon as nothing it needs is marked in `unbuilt`.
PGPOOL_PY_EXPLORE=1000 looks for that many examples, new ones each time.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.differential.player import Player, difference
from tests.differential.script import parse_step, script
from tests.differential.unbuilt import NOT_YET
from tests.differential.world import DIRECT, POOLED, World
from tests.system.rawclient import RawClient
from tests.system.stack import wait_until

EXPLORE = int(os.environ.get("PGPOOL_PY_EXPLORE", "0"))
SERVERS = 2
NAMES = st.sampled_from("abc")

# Texts, by what they need.
TEXTS = {
    "": """
        select 1
        select 1/0
        selec
        begin
        commit
        rollback
        begin read only
        savepoint s
        rollback to s
        release s
        set application_name = 'Mine'
        set application_name to yours
        reset application_name
        show application_name
        set datestyle = 'German'
        select date '1.2.2003'
        set local datestyle = 'SQL'
        set timezone = 'Asia/Tokyo'
        select timestamptz '2020-01-01 00:00 UTC'
        set default_transaction_read_only = on
        set transaction read only
        insert into counted (note) values ('x')
        select count(*) from counted
        set local work_mem = '9MB'
        show work_mem
        select set_config('work_mem', '8MB', true)
        select pg_try_advisory_xact_lock(1)
        notify news, 'x'
        reset all
        deallocate all
        discard all
        unlisten *
        close all
        select pg_advisory_unlock_all()
    """,
    "settings": """
        set work_mem = '5MB'
        set work_mem = 6144
        reset work_mem
        set work_mem to default
        select set_config('work_mem', '7MB', false)
        set effective_cache_size = '1MB'
        show effective_cache_size
        set search_path = other_place, public
        select count(*) from plain
        set session characteristics as transaction isolation level serializable
        show transaction_isolation
        select set_memory('3MB')
        set lock_timeout = '3s'
    """,
    "settings, placeholders": """
        set app.x = 'one'
        set local app.x = 'two'
        reset app.x
        select current_setting('app.x', true)
        set app.tenant = 'one'
        select count(*) from tenants
    """,
    "role": """
        set role diff_other
        set local role diff_other
        reset role
        set role none
        select current_user, session_user
    """,
    "sql_prepare": """
        prepare plan as select 'planned'
        prepare plan (int) as select $1
        execute plan
        execute plan (1)
        deallocate plan
    """,
    "sql_prepare, catalog": "select name, statement, from_sql from pg_prepared_statements order by 1",
    "listen": """
        listen news
        listen other
        unlisten news
        notify other
        select c from pg_listening_channels() c order by 1
    """,
    "temp": """
        create temp table scratch as select 1 as n
        create temp table scratch (n int) on commit drop
        insert into scratch values (2)
        select * from scratch
        drop table scratch
        discard temp
    """,
    "locks": """
        select pg_try_advisory_lock(1)
        select pg_try_advisory_lock(2)
        select pg_advisory_unlock(1)
    """,
    "hold": """
        declare held cursor with hold for select generate_series(1, 9)
        fetch 2 from held
        close held
    """,
    "sequences": """
        select lastval()
        select currval('counted_id_seq')
        select counted_last()
        select nextval('counted_id_seq')
        select setval('counted_id_seq', 100)
        select counted_here()
        insert into identified (note) values ('x') returning id
        insert into stamped (note) values ('x'); select lastval()
        select currval('stamped_id_seq')
        discard sequences
    """,
}
USABLE = [
    line.strip()
    for needs, lines in TEXTS.items()
    if not set(needs.split(", ")) & set(NOT_YET)
    for line in lines.strip().splitlines()
]
ENDS = ("begin", "commit", "rollback", "savepoint", "release", "discard all", "set transaction", "close", "declare", "fetch")
STARTUP = ["", " application_name=new", " work_mem=2MB DateStyle=German", " role=diff_other search_path=other_place,public"]
INSIDE = [text for text in USABLE if not text.startswith(ENDS) and text != "selec"]


WHATS = st.one_of(
    st.sampled_from(USABLE).map(": {}".format),
    st.sampled_from(USABLE).map(": {}".format),
    st.sampled_from(USABLE).map("> {}".format),
    st.lists(st.sampled_from(USABLE), min_size=2, max_size=4).map("; ".join).map(": {}".format),
    st.lists(st.sampled_from(USABLE), min_size=2, max_size=3).map(" ;; ".join).map("> {}".format),
    st.sampled_from(INSIDE).map(": do $do$ begin execute $run${}$run$; end $do$".format),
    st.sampled_from(INSIDE).map("> select run($1) <- {}".format),
    st.tuples(st.sampled_from(["s1", "s2"]), st.sampled_from(USABLE)).map(lambda x: f"> [-{x[0]}] ;; [{x[0]}] {x[1]}"),
    st.sampled_from(["> [=s1]", "> [=s2]", "> [!s1]", "> [-s1]", ": deallocate s1"]),
)


class Sessions(RuleBasedStateMachine):
    """Three clients, and the same three on direct connections."""

    world: World
    lines: list[str] = []  # of the latest example

    def __init__(self) -> None:
        super().__init__()
        self.lines.clear()
        self.world.make_equal("plain counted triggered identified stamped")
        teach(self.world)
        self.right = Player(self.world.direct)
        self.ours = Player(self.world.pooled("two"))
        self.bad = False
        self.started: set[str] = set()  # who has startup parameters

    def resets_by_code(self, name: str, what: str) -> bool:
        """Code that resets what its client started with: known to lead to the server's own value until the transaction ends."""
        return name in self.started and ("do $do$" in what or "run($1)" in what) and ("reset" in what or "default" in what)

    def can_act(self, name: str) -> bool:
        """A client without a server can have one: never more than SERVERS in a transaction."""
        holders = {client for client, status in self.right.status.items() if status != "I"}
        return name in holders or len(holders) < SERVERS

    def compare(self, line: str) -> None:
        step = parse_step(line)
        self.lines.append(line)
        expected, got = self.right.play(step), self.ours.play(step)
        self.bad = expected != got
        assert not self.bad, "\n".join([line, *difference(expected, got)])

    @rule(name=NAMES, what=WHATS)
    def say(self, name: str, what: str) -> None:
        if self.can_act(name) and not self.resets_by_code(name, what):
            self.compare(name + what)

    @precondition(lambda self: self.right.clients)
    @rule(name=NAMES, way=st.sampled_from(["Terminate", "RST", "FIN"]), options=st.sampled_from(STARTUP))
    def leave(self, name: str, way: str, options: str) -> None:
        if name not in self.right.clients:
            return
        pid = self.right.clients[name].pid
        self.compare(f"{name}! {way}")
        # What a session held is free a moment later, on both sides.
        wait_until(lambda: self.world.admin.ask(f"select count(*) from pg_stat_activity where pid = {pid}") == "0", "it is gone")
        locks = "select count(*) from pg_locks, pg_database d where locktype = 'advisory' and database = d.oid and datname = '{}'"
        wait_until(
            lambda: self.world.admin.ask(locks.format(DIRECT)) == self.world.admin.ask(locks.format(POOLED)), "locks are equal"
        )
        self.compare(f"{name}! connect{options}")
        (self.started.add if options else self.started.discard)(name)

    @precondition(lambda self: any(status == "I" for status in self.right.status.values()))
    @rule(name=NAMES)
    def look(self, name: str) -> None:
        if name in self.right.clients and self.right.status[name] == "I" and self.can_act(name) and "catalog" not in NOT_YET:
            self.compare(f"{name}@")

    def teardown(self) -> None:
        """Everybody has heard what he was to hear; then the clients go, and strangers look."""
        try:
            if not self.bad:
                self.hear()
        finally:
            self.right.close()
            self.ours.close()
            left = self.world.strangers(script("generated", pool="two"))
            if self.bad or left:
                self.world.start_anew()
            assert not left, "\n".join(left)

    def hear(self) -> None:
        for name, client in self.right.clients.items():
            if self.right.status[name] != "I":
                client.query("rollback")
                self.ours.clients[name].query("rollback")
        for name, client in self.right.clients.items():
            client.query("")
            other = self.ours.clients[name]
            wait_until(lambda: heard_enough(other, len(client.notifications)), f"{name} hears {client.notifications}")  # noqa: B023
            expected = [self.right.notification(body) for body in client.notifications]
            got = [self.ours.notification(body) for body in other.notifications]
            assert got == expected, f"{name} heard {got}, should have heard {expected}"


def teach(world: World) -> None:
    """Let the pooler know that applications of all names read sequence values, as each would with its first try."""
    for name in ("", "Mine", "yours", "new"):
        with world.pooled("two")(application_name=name) as client:
            client.query("select lastval()")


def heard_enough(client: RawClient, count: int) -> bool:
    client.query("")
    return len(client.notifications) >= count


def shortened(world: World, lines: list[str]) -> list[str]:
    """What a script of these lines gets wrong on new servers, with as few lines as some trying finds."""
    best: list[str] = []
    tries = 0
    while tries < 200:
        for at in range(-1, len(lines)):
            tried = [line for number, line in enumerate(lines) if number != at]
            tries += 1
            world.start_anew()
            outcome = world.run(script("shortened", *tried, pool="two"), 2)
            found = [*outcome.differences, *outcome.left_behind]
            if found and not any("Timeout" in line for line in found):
                lines, best = tried, [str(outcome.left_behind and tried), *found]
                if at >= 0:
                    break
            elif at < 0:
                return [*lines, "not again on new servers:", *found]
        else:
            break
    return best


def test_random_sessions_are_told_as_on_direct_connections(world: World) -> None:
    """Whatever three clients do, each is answered as if it were alone on a connection of its own."""

    class Here(Sessions):
        pass

    Here.world = world
    limits: dict[str, Any] = {"max_examples": EXPLORE} if EXPLORE else {"max_examples": 25, "derandomize": True}
    chosen = settings(
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # made shorter by ourselves: servers have a memory
        **limits,
    )
    try:
        run_state_machine_as_test(Here, settings=chosen)
    except AssertionError as error:
        told = [str(error), *shortened(world, list(Here.lines))]
    else:
        return
    pytest.fail("\n".join(told))
