"""Cancel requests reach the query of their own client, and never anybody else's."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.system import stack, wire
from tests.system.middle import Middle
from tests.system.rawclient import RawClient


def test_cancel_stops_running_query(pooler: stack.Pooler, admin: RawClient) -> None:
    """A CancelRequest ends a sleeping query with 57014, and the session goes on."""
    with pooler.connect("one") as client:
        client.send(wire.query("select pg_sleep(30)"))
        stack.wait_backend(admin, "query like 'select pg_sleep(30%' and state = 'active'")
        client.cancel()
        reply = client.until("Z")
        assert wire.errors(reply) == ["57014"]
        assert client.ask("select 'alive'") == "alive"


def test_cancel_in_transaction_keeps_session(pooler: stack.Pooler, admin: RawClient) -> None:
    """A cancel inside a transaction leaves a failed transaction that can be rolled back."""
    with pooler.connect("one") as client:
        client.query("begin")
        client.send(wire.query("select pg_sleep(31)"))
        stack.wait_backend(admin, "query like 'select pg_sleep(31%' and state = 'active'")
        client.cancel()
        reply = client.until("Z")
        assert wire.errors(reply) == ["57014"] and reply[-1].body == b"E"
        client.query("rollback")
        assert client.ask("select 1") == "1"


def test_cancel_of_idle_client_does_nothing(pooler: stack.Pooler) -> None:
    """A cancel for a client that runs nothing hits nobody."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.ask("select 1")
        other.query("begin")
        client.cancel()
        assert other.ask("select 'untouched'") == "untouched"
        other.query("commit")
        assert client.ask("select 2") == "2"


def test_cancel_while_waiting_ends_waiting(pooler: stack.Pooler) -> None:
    """A client that waits for a server gets an answer at once, and the holder is not touched."""
    with pooler.connect("one") as holder, pooler.connect("one") as waiting:
        holder.query("begin")
        waiting.send(wire.query("select 'late'"))
        stack.wait_taken(waiting)
        waiting.cancel()
        seen = waiting.rest()
        # PgBouncer closes it; ours answers 57014 and goes on.
        if not stack.IS_PEER:
            assert wire.errors(seen) == ["57014"] and seen[-1].kind == "Z"
        assert holder.ask("select 'untouched'") == "untouched"
        holder.query("commit")
        if not stack.IS_PEER:
            assert waiting.ask("select 'on'") == "on"


def test_cancel_of_waiting_batch_drops_it_to_sync(pooler: stack.Pooler) -> None:
    """Of a waiting extended batch nothing runs; the next batch is answered as its own."""
    if stack.IS_PEER:
        pytest.skip("the executable under test closes a waiting client on cancel")
    with pooler.connect("one") as holder, pooler.connect("one") as waiting:
        holder.query("begin")
        waiting.send(wire.run("select 'dropped'"), wire.run("select 'second'"))
        stack.wait_taken(waiting)
        waiting.cancel()
        assert wire.errors(waiting.until("Z")) == ["57014"]
        holder.query("commit")
        assert wire.values(waiting.until("Z")) == [b"second"]


def test_cancel_while_settings_are_put_in_force(pooler: stack.Pooler, admin: RawClient) -> None:
    """The pooler's own question is not hit, and what the client has said behind it is cancelled."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("set default_tablespace = 'pg_default'")
        sleep = "select pg_sleep(36)"
        for message in (wire.query(sleep), wire.run(sleep), wire.query(f"begin; {sleep}")):
            other.ask("select 1")
            admin.query("begin; lock table pg_tablespace in access exclusive mode")
            client.send(message)
            stack.wait_backend(admin, "wait_event = 'relation'")
            with pooler.canceling(client):
                admin.query("rollback")
            assert wire.errors(client.until("Z")) == ["57014"]
            client.query("rollback")
            assert client.ask("show default_tablespace") == "pg_default"


@pytest.mark.parametrize("sql", ["select 1", "set work_mem = '5MB'"])
def test_cancel_while_settings_are_put_in_force_is_for_nothing_later(pooler: stack.Pooler, admin: RawClient, sql: str) -> None:
    """What the client says when its cancel request was answered is not hit, though what it was for may have ended by itself."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("set default_tablespace = 'pg_default'")
        for _ in range(20):
            other.ask("select 1")
            admin.query("begin; lock table pg_tablespace in access exclusive mode")
            client.send(wire.query(sql))
            stack.wait_backend(admin, "wait_event = 'relation'")
            with pooler.canceling(client):
                admin.query("rollback")
                assert wire.errors(client.until("Z")) in ([], ["57014"])
            assert client.ask("select pg_sleep(0.02), 'untouched'") == ""


def test_cancel_is_given_up_in_time(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """After cancel_wait_timeout it is answered, and cancels nothing any more."""
    pooler = start_pooler({"cancel_wait_timeout": 0.1})
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("set default_tablespace = 'pg_default'")
        other.ask("select 1")
        admin.query("begin; lock table pg_tablespace in access exclusive mode")
        client.send(wire.query("select pg_sleep(0.1), 'untouched'"))
        stack.wait_backend(admin, "wait_event = 'relation'")
        client.cancel()
        admin.query("rollback")
        assert wire.errors(client.until("Z")) == []
        pooler.wait_for_log("cancel request failed: cancel_wait_timeout")


def hold_up_the_look(client: RawClient, locker: RawClient, admin: RawClient) -> None:
    """Have the pooler look at the session of *client*, and wait for *locker* to roll back; the reply is read."""
    hold_up_ready(client, locker, admin)
    client.until("Z")


def hold_up_ready(client: RawClient, locker: RawClient, admin: RawClient) -> None:
    """The same, of a client that listens: its ReadyForQuery comes only then."""
    locker.query("begin; lock table pg_depend in access exclusive mode")
    client.send(wire.query("do $$ begin perform 1; end $$"))
    stack.wait_backend(admin, "wait_event = 'relation' and query like '%pg_my_temp_schema%'")


@pytest.mark.parametrize("size", [0, 3000, 1_000_000])
@pytest.mark.parametrize("extended", [False, True])
def test_cancel_of_half_a_request(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient, size: int, extended: bool
) -> None:
    """Its rest is no request of its own, whatever it holds."""
    rest = wire.query("create table smuggled (n int)")
    with pooler.connect("one") as client, direct(stack.ADMIN) as locker:
        client.query("create temp table looked_for (n int)")
        client.query("select 1")  # it was looked for
        hold_up_the_look(client, locker, admin)
        if extended:
            beginning = wire.parse("", "select $1::bytea, pg_sleep(3)", [17])
            value = b"x" * size + rest
            bound = wire.raw(b"B", b"\0\0" + b"\0\1\0\1" + b"\0\1" + len(value).to_bytes(4, "big") + value + b"\0\0")
            message = beginning + bound + wire.execute() + wire.sync()
            cut = len(beginning) + len(bound) - len(rest) - 2
        else:
            message = wire.raw(b"Q", b"select pg_sleep(3) --" + b"x" * size + rest + b"\0")
            cut = len(message) - len(rest) - 1
        client.send(message[:cut])
        with pooler.canceling(client):
            locker.query("rollback")
        client.send(message[cut:])
        assert wire.errors(client.until("Z")) in ([], ["57014"], ["08P01"])
        assert client.ask("select to_regclass('smuggled')") is None


def test_late_cancel_while_the_session_is_looked_at(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient
) -> None:
    """It was for what has ended: what the client says later is not hit."""
    with pooler.connect("one") as client, direct(stack.ADMIN) as locker:
        client.query("create temp table looked_for (n int)")
        client.query("select 1")  # it was looked for
        hold_up_the_look(client, locker, admin)
        client.cancel()
        locker.query("rollback")
        assert client.ask("select 'untouched'") == "untouched"
        assert client.ask("select pg_sleep(0.1), 'untouched'") == ""


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")
def test_late_cancel_of_a_listener(pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient) -> None:
    """The same, where its ReadyForQuery waits for that look: what it was for has ended all the same."""
    with pooler.connect("one") as client, direct(stack.ADMIN) as locker:
        client.query("listen news; create temp table looked_for (n int)")
        client.query("select 1")  # it was looked for
        hold_up_ready(client, locker, admin)
        client.cancel()
        locker.query("rollback")
        assert wire.errors(client.until("Z")) == []
        assert client.ask("select pg_sleep(0.1), 'untouched'") == ""


def test_late_cancel_while_the_start_is_put_in_force_again(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient
) -> None:
    """It was for what has ended: what the pooler does on the client's server is done once more."""
    start = {"default_tablespace": "pg_default", "client_encoding": "LATIN1"}
    with pooler.connect("one", **start) as client, direct(stack.ADMIN) as locker:
        client.query("create temp table kept as select 'kept' as what")
        waits = f"pid = {client.ask('select pg_backend_pid()')} and wait_event = 'relation'"
        client.send(wire.query("select pg_sleep(40)"))
        stack.wait_backend(admin, "query like 'select pg_sleep(40%' and state = 'active'")
        client.cancel()
        client.until("Z")
        locker.query("begin; lock table pg_tablespace in access exclusive mode")
        client.query("do $$ begin execute 'reset all'; end $$")
        stack.wait_backend(admin, waits)
        begun = admin.ask(f"select query_start from pg_stat_activity where {waits}")
        admin.query(f"select pg_cancel_backend(pid) from pg_stat_activity where {waits}")
        stack.wait_backend(admin, f"{waits} and query_start > '{begun}'")
        locker.query("rollback")
        assert client.ask("show default_tablespace") == "pg_default"
        assert client.ask("select what from kept") == "kept"


@pytest.fixture
def behind(start_pooler: Callable[..., stack.Pooler], middle: Middle) -> Iterator[stack.Pooler]:
    """A pooler whose servers are reached through the man in the middle."""
    pooler = start_pooler(target=middle.address)
    yield pooler
    pooler.end_now()


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")
def test_cancel_while_channels_are_placed(behind: stack.Pooler, middle: Middle, sender: RawClient) -> None:
    """The pooler's own LISTEN ahead of a block is not hit, and what the client has said behind it is cancelled."""
    with behind.connect("one") as client:
        client.query("listen news")
        listen = b'LISTEN "news"'
        released = middle.stalls[listen] = threading.Event()
        middle.asked.clear()
        client.send(wire.query("begin; select pg_sleep(38)"))
        stack.wait_until(lambda: any(listen in body for body in middle.asked), "it is asked")
        with behind.canceling(client):
            released.set()
        assert wire.errors(client.until("Z")) == ["57014"]
        client.query("rollback")
        sender.query("notify news, 'x'")
        assert client.until("A")[-1].body.endswith(b"news\0x\0")


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")
@pytest.mark.parametrize("status", ["I", "T"], ids=["at its beginning", "in a block"])
def test_cancel_while_the_listening_connection_is_opened(behind: stack.Pooler, middle: Middle, status: str) -> None:
    """What waits for that is cancelled, and nothing that comes later."""
    with behind.connect("one") as client:
        client.query("select 1" if status == "I" else "begin")
        opens = b'LISTEN "pgpool_py_'
        released = middle.stalls[opens] = threading.Event()
        middle.asked.clear()
        client.send(wire.query("listen other; select pg_sleep(39)"))
        stack.wait_until(lambda: any(opens in body for body in middle.asked), "it is opened")
        with behind.canceling(client):
            released.set()
        del middle.stalls[opens]
        assert wire.errors(client.until("Z")) == ["57014"]
        client.query("rollback")
        assert client.ask("select pg_sleep(0.1), 'untouched'") == ""
        assert client.ask("select count(*) from pg_listening_channels()") == "0"


def test_cancel_while_the_session_is_looked_at(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient
) -> None:
    """The same, of what has arrived and nobody has read yet."""
    with pooler.connect("one") as client, direct(stack.ADMIN) as locker:
        client.query("create temp table looked_for (n int)")
        client.query("select 1")  # it was looked for
        for message in (wire.query("select pg_sleep(37)"), wire.run("select pg_sleep(37)")):
            hold_up_the_look(client, locker, admin)
            client.send(message)
            with pooler.canceling(client):
                locker.query("rollback")
            assert wire.errors(client.until("Z")) == ["57014"]
            assert client.ask("select 'alive'") == "alive"


def test_cancel_while_the_session_is_looked_at_is_for_nothing_later(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient
) -> None:
    """What the client says when its cancel request was answered is not hit, though what it was for may have ended by itself."""
    with pooler.connect("one") as client, direct(stack.ADMIN) as locker:
        client.query("create temp table looked_for (n int)")
        client.query("select 1")  # it was looked for
        for _ in range(20):
            hold_up_the_look(client, locker, admin)
            client.send(wire.query("select 1"))
            with pooler.canceling(client):
                locker.query("rollback")
                assert wire.errors(client.until("Z")) in ([], ["57014"])
            assert client.ask("select pg_sleep(0.02), 'untouched'") == ""


@pytest.mark.parametrize("secret", [b"\0\0\0\0", b"", b"abc", b"x" * 256, b"y" * 257])
def test_wrong_key_is_ignored(pooler: stack.Pooler, admin: RawClient, secret: bytes) -> None:
    """A cancel with a wrong key is closed without an answer and hits nobody."""
    with pooler.connect("one") as client:
        client.send(wire.query("select pg_sleep(0.3), 'done'"))
        stack.wait_backend(admin, "query like 'select pg_sleep(0.3)%' and state = 'active'")
        with socket.create_connection(pooler.address, timeout=10) as sock:
            sock.sendall(wire.cancel_request(client.pid, secret))
            try:
                assert sock.recv(100)[:1] in (b"", b"E")
            except ConnectionResetError:
                pass
        assert wire.errors(client.until("Z")) == []


def test_keys_are_the_poolers_own(pooler: stack.Pooler) -> None:
    """Every client has its own key, though they share one server."""
    clients = [pooler.connect("one") for _ in range(20)]
    keys = {(client.pid, client.secret) for client in clients}
    assert len(keys) == 20
    assert all(len(client.secret) >= 4 for client in clients)
    for client in clients:
        client.leave()


def test_libpq_cancel_works(pooler: stack.Pooler, admin: RawClient) -> None:
    """psycopg's cancel goes through the pooler."""
    with psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=None) as connection:
        failures: list[BaseException] = []

        def sleep() -> None:
            try:
                connection.execute("select pg_sleep(32)")
            except psycopg.Error as error:
                failures.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        stack.wait_backend(admin, "query like 'select pg_sleep(32%' and state = 'active'")
        connection.cancel()
        thread.join(10)
        assert isinstance(failures[0], psycopg.errors.QueryCanceled)
        assert connection.execute("select 1").fetchone() == (1,)


def test_cancel_storm_never_hits_neighbour(pooler: stack.Pooler) -> None:
    """A cancels at random moments, hundreds of times; B on the same single server never sees 57014.

    Every tenth query of A is too long to end by itself: it must be hit."""
    stop = threading.Event()
    wrong: list[object] = []
    done = [0]

    def cancelled_now(client: RawClient) -> bool:
        client.cancel()
        return bool(select.select([client.sock], [], [], 0.01)[0])

    def neighbour() -> None:
        with pooler.connect("one") as client:
            number = 0
            while not stop.is_set():
                number += 1
                reply = client.query(f"select {number}, pg_sleep(0.0005)")
                if wire.values(reply) != [str(number).encode()]:
                    wrong.append(reply)
            done[0] = number

    thread = threading.Thread(target=neighbour)
    thread.start()
    generator = random.Random(4)
    cancelled = 0
    try:
        with pooler.connect("one") as client:
            for number in range(300):
                if number % 10 == 0:
                    client.send(wire.query(f"select {number}, pg_sleep(33)"))
                    # One that was sent for the query before may come late and do it: then this asks no more.
                    stack.wait_until(lambda: cancelled_now(client), "cancelled")
                    assert wire.errors(client.until("Z")) == ["57014"]
                    cancelled += 1
                    continue
                client.send(wire.query(f"select {number}, pg_sleep(0.001)"))
                if generator.random() < 0.5:
                    # Random on purpose: before, during and after the query are all meant to happen.
                    time.sleep(generator.random() * 0.003)
                client.cancel(wait=generator.random() < 0.5)
                reply = client.until("Z")
                if wire.errors(reply):
                    assert wire.errors(reply) == ["57014"]
                    cancelled += 1
                else:
                    assert wire.values(reply) == [str(number).encode()]
    finally:
        stop.set()
        thread.join(20)
    assert wrong == []
    assert cancelled >= 30 and done[0] > 50


def test_cancel_storm_own_next_query_safe(pooler: stack.Pooler) -> None:
    """A cancel that was answered with a result does not hit the same client's next transaction late by much:
    each reply is a result or 57014, never out of step."""
    with pooler.connect("one") as client:
        for number in range(200):
            client.send(wire.query(f"select {number}"))
            client.cancel(wait=number % 2 == 0)
            reply = client.until("Z")
            assert wire.errors(reply) == ["57014"] or wire.values(reply) == [str(number).encode()]
        stack.wait_until(lambda: not wire.errors(client.query("select 1")), "no cancel is left over")
