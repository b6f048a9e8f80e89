"""FunctionCall, the protocol's oldest way to call a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient


def oid(client: RawClient, signature: str) -> int:
    return int(client.ask(f"select '{signature}'::regprocedure::oid") or 0)


def test_function_call_answers(pooler: stack.Pooler) -> None:
    """A FunctionCall gets its result and ReadyForQuery, and the server is free."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        number = oid(client, "abs(integer)")
        reply = client.exchange(wire.function_call(number, [b"-5"]))
        assert wire.kinds(reply) == "VZ"
        assert reply[0].body.endswith(b"5")
        assert other.ask("select 'free'") == "free"


def test_failing_function_call_is_told(pooler: stack.Pooler) -> None:
    """An unknown function is PostgreSQL's error, and the session lives."""
    with pooler.connect("one") as client:
        assert wire.errors(client.exchange(wire.function_call(4_000_000_000, []))) == ["42883"]
        assert client.ask("select 1") == "1"


@pytest.mark.skipif(stack.IS_PEER, reason="other poolers do not ask what a call does")
def test_large_objects_cost_no_server(pooler: stack.Pooler) -> None:
    """libpq's calls for large objects are known: the server goes on to others as it is. Of any other call nobody knows."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        server = client.ask("select pg_backend_pid()")
        reply = client.exchange(wire.function_call(oid(client, "lo_creat(integer)"), [b"131072"]))
        assert wire.kinds(reply) == "VZ"
        assert other.ask("select pg_backend_pid()") == server
        assert wire.kinds(client.exchange(wire.function_call(oid(client, "abs(integer)"), [b"-5"]))) == "VZ"
        assert other.ask("select pg_backend_pid()") != server


def test_function_calls_pipelined(pooler: stack.Pooler) -> None:
    """Calls, queries and batches in one write are answered in order."""
    with pooler.connect("one") as client:
        number = oid(client, "abs(integer)")
        call = wire.function_call(number, [b"-7"])
        reply = client.exchange(call, wire.query("select 1"), call, wire.run("select 2"), call, ready=5)
        assert wire.kinds(reply) == "VZTDCZVZ12TDCZVZ"


@pytest.mark.skipif(stack.IS_PEER, reason="leaks are what the executable under test is known for")
def test_function_call_leaks_no_setting(pooler: stack.Pooler) -> None:
    """set_config through a FunctionCall is not seen by the next client."""
    with pooler.connect("one") as client:
        number = oid(client, "set_config(text, text, boolean)")
        reply = client.exchange(wire.function_call(number, [b"work_mem", b"7MB", b"f"]))
        assert wire.kinds(reply) == "VZ"
    with pooler.connect("one") as other:
        assert other.ask("show work_mem") == "4MB"


def test_function_call_in_transaction(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """Inside a transaction the call belongs to it."""
    with pooler.connect("one") as client:
        number = oid(client, "abs(integer)")
        client.query("begin")
        assert client.exchange(wire.function_call(number, [b"-1"]))[-1].body == b"T"
        client.query("rollback")
