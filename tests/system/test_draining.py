"""SIGTERM with a deadline, as containers are given one: clients are let go between transactions, and the end comes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import pytest

from tests.system import stack, wire

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
