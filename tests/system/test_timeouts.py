"""Timeouts: each ends what it should, on the server too, and touches nobody else.

All users here are the same on the server; each has an entry of its own in [users], and `bystander` has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="fractions in [users], cancels: more than PgBouncer has")

Start = Callable[..., stack.Pooler]
USERS = {
    "runner": "query_timeout=0.5",
    "holder": "idle_transaction_timeout=1",
    "lingerer": "transaction_timeout=1",
    "sleeper": "client_idle_timeout=0.5",
    "hasty": "query_wait_timeout=0.5",
    "hurried": "query_timeout=0.5",
    stack.OTHER: "query_timeout=0.5 client_idle_timeout=0.5",
    "patient": "query_wait_timeout=0 query_timeout=0 idle_transaction_timeout=0 client_idle_timeout=0 transaction_timeout=0",
}


@pytest.fixture(scope="module")
def pooler(start_pooler: Start) -> stack.Pooler:
    """No timeout for everybody, one for each of these users."""
    forced = f"user={stack.OWNER}"
    behind = f"pool_size=8 user={stack.OTHER}"
    databases = {"many": f"pool_size=8 {forced}", "single": f"pool_size=1 {forced}", "keep": f"{forced} pool_mode=session"}
    databases["behind"] = behind
    return start_pooler({"auth_type": "any", "query_wait_notify": 0}, databases, USERS)


@pytest.fixture
def bystander(pooler: stack.Pooler) -> Iterator[RawClient]:
    """Idle in a transaction all the while, and it must not matter."""
    with pooler.connect("many", "bystander") as client:
        client.query("begin")
        yield client
        assert client.ask("select 'undisturbed'") == "undisturbed"
        client.query("commit")


def told(client: RawClient) -> str:
    """The words with which the pooler closed the connection."""
    error = client.refused()
    assert (error.fields["S"], error.sqlstate) == ("FATAL", "08P01")
    client.vanish()
    return error.fields["M"]


def test_query_timeout_cancels_on_the_server(pooler: stack.Pooler, bystander: RawClient, admin: RawClient) -> None:
    """The client is told and closed, the query stops, and somebody else's just as long one runs to its end."""
    runner, other = pooler.connect("many", "runner"), pooler.connect("many", "bystander")
    runner.send(wire.query("select pg_sleep(60), 'overrun'"))
    other.send(wire.query("select 'ran' from pg_sleep(1.2)"))
    assert told(runner) == "query timeout"
    stack.wait_no_backend(admin, "query like '%overrun%' and state = 'active' and pid <> pg_backend_pid()")
    assert wire.values(other.until("Z")) == [b"ran"]
    other.leave()
    pooler.wait_for_log("runner@.* closing because: query timeout")


def test_query_timeout_cancels_a_batch_without_sync(pooler: stack.Pooler, admin: RawClient) -> None:
    """Its server cannot be used again, and PostgreSQL would not notice a mere close before the query ends."""
    runner = pooler.connect("many", "runner")
    runner.send(wire.parse("", "select pg_sleep(60), 'unsynced'"), wire.bind("", ""), wire.execute(), wire.flush())
    assert told(runner) == "query timeout"
    stack.wait_no_backend(admin, "query like '%unsynced%' and state = 'active' and pid <> pg_backend_pid()")


def test_query_timeout_counts_each_query_of_a_pipeline(pooler: stack.Pooler) -> None:
    """Eight short queries sent at once take longer than the limit, and none of them does."""
    with pooler.connect("many", "runner") as runner:
        runner.send(wire.query("select pg_sleep(0.1)") * 8)
        assert len(wire.values(runner.until("Z", 8))) == 8


def test_query_timeout_ends_the_wait_too(pooler: stack.Pooler) -> None:
    """A query that never got a server is over time all the same."""
    with pooler.connect("single", "bystander") as holder:
        holder.query("begin")
        hurried = pooler.connect("single", "hurried")
        hurried.send(wire.query("select 1"))
        assert told(hurried) == "query_timeout"
        holder.query("commit")


def test_idle_transaction_timeout_rolls_back(pooler: stack.Pooler, bystander: RawClient, admin: RawClient) -> None:
    """The transaction is undone, the server serves on, and a transaction of somebody else stays open."""
    admin.query("create table if not exists idle_undone (n int); grant all on idle_undone to public; truncate idle_undone")
    holder = pooler.connect("many", "holder")
    holder.query("begin")
    pid = holder.ask("insert into idle_undone values (1) returning pg_backend_pid()")
    assert told(holder) == "idle transaction timeout"
    stack.wait_backend(admin, f"pid = {pid} and state = 'idle'")
    assert admin.ask("select count(*) from idle_undone") == "0"
    pooler.wait_for_log("holder@.* closing because: idle transaction timeout")


def test_transaction_timeout_counts_from_the_begin(pooler: stack.Pooler, bystander: RawClient) -> None:
    """However busy the client is, its transaction ends when its time is over; autocommit may go on for ever."""
    lingerer = pooler.connect("many", "lingerer")
    for _ in range(6):
        lingerer.query("select pg_sleep(0.1)")
    lingerer.query("begin")
    messages: list[wire.Message] = []
    for _ in range(100):
        lingerer.send(wire.query("select pg_sleep(0.1)"))
        messages += lingerer.rest()
        if messages[-1].kind == "E" or wire.errors(messages):
            break
    assert [message.fields["M"] for message in messages if message.kind == "E"] == ["transaction timeout"]
    lingerer.vanish()


def test_transaction_timeout_cancels_the_query(pooler: stack.Pooler, admin: RawClient) -> None:
    """A single statement is a transaction too."""
    lingerer = pooler.connect("many", "lingerer")
    lingerer.send(wire.query("select pg_sleep(60), 'lingers'"))
    assert told(lingerer) == "transaction timeout"
    pooler.wait_for_log("lingerer@.* closing because: transaction timeout")
    stack.wait_no_backend(admin, "query like '%lingers%' and state = 'active' and pid <> pg_backend_pid()")


def test_transaction_timeout_in_session_mode_counts_the_transaction(pooler: stack.Pooler) -> None:
    """A session stays as long as it likes (see the next story); its transaction does not."""
    lingerer = pooler.connect("keep", "lingerer")
    lingerer.query("select pg_sleep(0.3)")
    time.sleep(0.3)
    lingerer.query("begin")
    assert lingerer.ask("select 'counted from here' from pg_sleep(0.3)") == "counted from here"
    assert told(lingerer) == "transaction timeout"


def test_timeouts_spare_what_they_are_not_for(pooler: stack.Pooler) -> None:
    """No query runs while a transaction waits for its client; a query inside one is not idleness; a session has no end."""
    runner, holder = pooler.connect("many", "runner"), pooler.connect("many", "holder")
    lingerer, sleeper = pooler.connect("keep", "lingerer"), pooler.connect("keep", "sleeper")
    runner.query("begin")
    holder.query("begin")
    lingerer.query("select 1")
    sleeper.query("select 1")  # as in PgBouncer, in session mode a client that has its server is not idle in this sense
    assert holder.ask("select 'busy' from pg_sleep(1.6)") == "busy"
    for client in (runner, holder):
        assert client.query("commit")[-1].body == b"I"
    for client in (lingerer, sleeper):
        assert client.ask("select 'still here'") == "still here"
    for client in (runner, holder, lingerer, sleeper):
        client.leave()


def test_client_idle_timeout_applies_to_its_user_only(pooler: stack.Pooler) -> None:
    """With the global setting at 0 an entry for one user does not close another user's idle client (PgBouncer's does)."""
    with pooler.connect("many", "bystander") as other:
        other.query("select 1")
        sleeper = pooler.connect("many", "sleeper")
        sleeper.query("select pg_sleep(1)")  # being served is not idling
        assert sleeper.ask("select 'served'") == "served"
        assert told(sleeper) == "client_idle_timeout"
        pooler.wait_for_log("sleeper@.* closing because: client_idle_timeout")
        assert other.ask("select 'still here'") == "still here"


def test_the_forced_users_entry_holds_for_what_its_servers_do(pooler: stack.Pooler, bystander: RawClient) -> None:
    """As in PgBouncer; a client's own entry goes before it, idleness is the client's own affair, and others are let alone."""
    runner, other = pooler.connect("behind", "somebody"), pooler.connect("behind", "patient")
    other.send(wire.query("select 'ran' from pg_sleep(1.2)"))
    runner.send(wire.query("select pg_sleep(60)"))
    assert told(runner) == "query timeout"
    assert wire.values(other.until("Z")) == [b"ran"]
    with pooler.connect("behind", "somebody") as idler:
        idler.query("select 1")
        time.sleep(1.2)
        assert idler.ask("select 'still here'") == "still here"
    other.leave()


def test_query_wait_timeout_is_the_clients_own(pooler: stack.Pooler) -> None:
    """Behind a forced user too, the entry of the client's user decides how long it waits."""
    with pooler.connect("single", "bystander") as holder, pooler.connect("single", "bystander") as other:
        holder.query("begin")
        other.send(wire.query("select 'waited'"))
        stack.wait_taken(other)
        hasty = pooler.connect("single", "hasty")
        hasty.send(wire.query("select 'never'"))
        assert told(hasty) == "query_wait_timeout"
        holder.query("commit")
        assert wire.values(other.until("Z")) == [b"waited"]


def test_entries_lift_the_limits_for_everybody(start_pooler: Start) -> None:
    """A global timeout holds for who has no entry; a 0 in an entry lifts it, which PgBouncer cannot do."""
    settings = {
        "auth_type": "any",
        "client_idle_timeout": 0.5,
        "idle_transaction_timeout": 0.5,
        "query_timeout": 0.5,
        "query_wait_timeout": 0.5,
    }
    pooler = start_pooler(settings, {"many": f"pool_size=8 user={stack.OWNER}"}, USERS)
    with pooler.connect("many", "patient") as idle, pooler.connect("many", "patient") as holder:
        idle.query("select 1")
        holder.query("begin")
        bystander, sleeper = pooler.connect("many", "bystander"), pooler.connect("many", "bystander")
        bystander.query("begin")
        assert told(bystander) == "idle transaction timeout"
        assert told(sleeper) == "client_idle_timeout"
        assert holder.ask("select 'open' from pg_sleep(1)") == "open"
        assert idle.ask("select 'here'") == "here"
        holder.query("commit")
        pooler.settings["client_idle_timeout"] = 0
        pooler.reload()
        pooler.wait_for_log("reload done")
        with pooler.connect("many", "bystander") as idler:
            time.sleep(1.2)
            assert idler.ask("select 'lifted'") == "lifted"


def test_who_waits_is_told_so_once(start_pooler: Start) -> None:
    """After query_wait_notify seconds the client gets one notice; its query is served when its turn comes."""
    pooler = start_pooler({"query_wait_notify": 1})
    with pooler.connect("one") as holder, pooler.connect("one") as waiting:
        holder.query("begin")
        waiting.send(wire.query("select 'served'"))
        notice = waiting.until("N")[-1]
        assert notice.fields["M"] == "No server connection available in postgres backend, client being queued"
        holder.query("select pg_sleep(0.8)")
        holder.query("commit")
        reply = waiting.until("Z")
        assert wire.kinds(reply) == "TDCZ" and wire.values(reply) == [b"served"]


def test_a_message_half_way_through_is_not_interrupted(start_pooler: Start) -> None:
    """A client that reads no more of a large value is closed; nothing of ours appears in the middle of its row."""
    pooler = start_pooler({"query_timeout": 2})
    client = pooler.connect("one")
    client.send(wire.query("select repeat('x', 20000000)"))
    pooler.wait_for_log("closing because: query timeout")
    received = b""
    try:
        while data := client.sock.recv(1 << 20):
            received += data
    except ConnectionResetError:
        pass
    assert b"query timeout" not in received
    client.vanish()


def test_simple_queries_can_be_refused(start_pooler: Start) -> None:
    """disable_pqexec: a Query ends the connection, the extended protocol works."""
    pooler = start_pooler({"disable_pqexec": 1})
    client = pooler.connect("one")
    assert wire.values(client.exchange(wire.run("select 'extended'"))) == [b"extended"]
    client.send(wire.query("select 'simple'"))
    assert told(client) == "PQexec disallowed"
    with pooler.connect("one") as other:
        assert wire.values(other.exchange(wire.run("select 'again'"))) == [b"again"]


def test_fast_close_does_not_wait_for_the_session(start_pooler: Start) -> None:
    """server_fast_close: after a change of the target a session ends with its transaction."""
    pooler = start_pooler({"server_fast_close": 1})
    with pooler.connect("session") as client:
        client.query("begin")
        pooler.databases["session"] += " connect_query='select 1'"
        pooler.reload()
        pooler.wait_for_log("reload done")
        assert client.ask("select 'in peace'") == "in peace"
        client.query("commit")
        assert [message.fields["M"] for message in client.messages() if message.kind == "E"] == ["database configuration changed"]
