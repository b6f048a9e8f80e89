"""SIGTERM with a deadline, as containers are given one: clients are let go between transactions, and the end comes."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="PgBouncer has no deadline")
Start = Callable[..., stack.Pooler]


def test_idle_clients_go_one_after_the_other(start_pooler: Start) -> None:
    """Each hears 57P01, none in the middle of a transaction; with the last one the pooler ends."""
    pooler = start_pooler({"drain_timeout": 4})
    idle = [pooler.connect("app") for _ in range(4)]
    resident = pooler.connect("session")
    resident.ask("select 1")
    busy = pooler.connect("app")
    busy.query("begin")
    pooler.send_signal(signal.SIGTERM)
    pooler.wait_for_log("SIGTERM")
    errors = [client.refused() for client in [*idle, resident]]
    assert {(error.fields["S"], error.sqlstate) for error in errors} == {("FATAL", "57P01")}
    assert busy.ask("select 'to the end'") == "to the end"
    assert busy.query("commit")[-1].body == b"I"
    assert busy.refused().sqlstate == "57P01"
    assert pooler.wait() == 0
    ages = [match for match in pooler.log.splitlines() if "closing because: terminating connection" in match]
    assert len(ages) == 6
    assert ages[0][:23] < ages[-1][:23], "all at once would be all at once at the next pooler"


def test_the_deadline_cuts_off_what_is_left(start_pooler: Start) -> None:
    pooler = start_pooler({"drain_timeout": 1})
    busy = pooler.connect("app")
    busy.query("begin")
    pooler.send_signal(signal.SIGTERM)
    assert busy.refused().sqlstate == "57P01"
    assert pooler.wait() == 0


def test_clients_still_come_in_for_a_while(start_pooler: Start) -> None:
    """drain_delay: who balances has not noticed yet; then the port closes, and without a deadline clients are waited for."""
    pooler = start_pooler({"drain_delay": 1})
    pooler.send_signal(signal.SIGTERM)
    pooler.wait_for_log("SIGTERM")
    with pooler.connect("app") as late:
        assert late.ask("select 'still served'") == "still served"

        def closed() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(pooler.address) != 0

        stack.wait_until(closed, "the port is closed")
        assert late.ask("select 'in peace'") == "in peace"
    assert pooler.wait() == 0


def test_waiting_clients_are_served_before_they_go(start_pooler: Start) -> None:
    """Who had asked gets its answer first."""
    pooler = start_pooler({"drain_timeout": 4})
    holder, waiting = pooler.connect("one"), pooler.connect("one")
    holder.query("begin")
    waiting.send(wire.query("select 'served'"))
    stack.wait_taken(waiting)
    pooler.send_signal(signal.SIGTERM)
    pooler.wait_for_log("SIGTERM")
    holder.query("commit")
    assert wire.values(waiting.until("Z")) == [b"served"]
    for client in (holder, waiting):
        assert client.refused().sqlstate == "57P01"
    assert pooler.wait() == 0


def test_what_was_asked_for_is_read_first(start_pooler: Start) -> None:
    """Whoever reads slowly gets the whole of its answers; others, told meanwhile, came after it."""
    pooler = start_pooler({"drain_timeout": 3})
    slow = pooler.connect("one")
    asked = 0
    while stack.unread(slow) == 0:  # until the pooler waits for it to read
        asked += 1
        slow.send(wire.query(f"select '{asked}' || repeat('.', 50000)"))
        time.sleep(0.001)  # one at a time, as far as the pooler takes them
    later = pooler.connect("app")
    later.ask("select 1")
    pooler.send_signal(signal.SIGTERM)
    assert later.refused().sqlstate == "57P01"
    answers = wire.values(slow.until("Z", asked))
    assert [answer[: answer.index(b".")] for answer in answers if answer] == [b"%d" % number for number in range(1, asked + 1)]
    assert slow.refused().sqlstate == "57P01"
    assert pooler.wait() == 0


def test_who_listens_or_keeps_a_server_is_told_too(start_pooler: Start) -> None:
    """Between two transactions they are idle like others, and what they keep does not keep the pooler."""
    pooler = start_pooler({"drain_timeout": 2})
    listener, keeper = pooler.connect("app"), pooler.connect("app")
    listener.query("listen news")
    keeper.query("create temp table mine (n int)")
    pooler.send_signal(signal.SIGTERM)
    for client in (listener, keeper):
        assert client.refused().sqlstate == "57P01"
    assert pooler.wait() == 0


def test_the_deadline_cancels_what_runs(start_pooler: Start, admin: RawClient, direct: Callable[..., RawClient]) -> None:
    """Whoever is cut off does not know whether it was done: it was not. Nobody is left behind on the server with locks."""
    with direct() as owner:
        owner.query("create table if not exists drained (mark text)")
        owner.query("truncate drained")
    pooler = start_pooler({"drain_timeout": 1})
    busy, open_ended = pooler.connect("app"), pooler.connect("app")
    open_ended.query("begin; insert into drained values ('open')")
    text = "select pg_sleep(30) /* drained */; insert into drained values ('busy')"
    busy.send(wire.query(text))
    stack.wait_backend(admin, "query like 'select pg_sleep(30) /* drained%' and state = 'active'")
    pooler.send_signal(signal.SIGTERM)
    for client in (busy, open_ended):
        assert client.refused().sqlstate == "57P01"
    assert pooler.wait() == 0
    assert admin.ask("select count(*) from pg_stat_activity where query like 'select pg_sleep(30) /* drained%'") == "0"
    with direct() as owner:
        assert owner.ask("select count(*) from drained") == "0"


def test_who_logs_in_while_the_port_closes_is_told(start_pooler: Start) -> None:
    """A login under way when the port closes comes in, and is sent away like the others, with a word."""
    pooler = start_pooler({"drain_timeout": 3})
    resident = pooler.connect("app")
    late = pooler.raw("app")
    packet = wire.startup(late.startup)
    late.send(packet[:4])
    stack.wait_taken(late)
    pooler.send_signal(signal.SIGTERM)
    pooler.wait_for_log("SIGTERM")
    late.send(packet[4:])
    assert late.refused().sqlstate == "57P01"
    resident.leave()
    assert pooler.wait() == 0
