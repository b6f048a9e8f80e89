"""Session, transaction and statement mode: how long a client keeps its server."""

from __future__ import annotations

import pytest

from tests.system import stack, wire


def test_session_mode_keeps_server_until_left(pooler: stack.Pooler) -> None:
    """In session mode a second client waits until the first has gone."""
    first, second = pooler.connect("session"), pooler.raw("session")
    pid = first.ask("select pg_backend_pid()")
    second.send(wire.startup(second.startup))
    assert wire.kinds(second.until("Z")).endswith("Z")
    second.send(wire.query("select 'second'"))
    stack.wait_taken(second)
    assert first.ask("select pg_backend_pid()") == pid
    first.leave()
    assert wire.values(second.until("Z")) == [b"second"]
    second.leave()


@pytest.mark.parametrize("begin", ["begin", "BEGIN;", "start transaction", "/* x */ begin", "begin; select 1"])
def test_statement_mode_refuses_transactions(pooler: stack.Pooler, begin: str) -> None:
    """Statement mode ends a client that opens a transaction block, and says why."""
    client = pooler.connect("statement")
    client.send(wire.query(begin))
    replies = list(client.messages())
    assert wire.errors(replies) == ["08P01"]
    error = next(message for message in replies if message.kind == "E")
    assert error.fields["M"] == "transaction blocks not allowed in statement pooling mode"
    client.vanish()
    with pooler.connect("statement") as other:
        assert other.ask("select 'free'") == "free"


def test_statement_mode_refuses_extended_begin(pooler: stack.Pooler) -> None:
    """The same through the extended protocol."""
    client = pooler.connect("statement")
    client.send(wire.run("begin"))
    assert wire.errors(client.messages()) == ["08P01"]
    client.vanish()
    with pooler.connect("statement") as other:
        assert other.ask("select 'free'") == "free"


def test_statement_mode_runs_statements(pooler: stack.Pooler) -> None:
    """Single statements of several clients share one server."""
    clients = [pooler.connect("statement") for _ in range(5)]
    for turn in range(3):
        for number, client in enumerate(clients):
            assert client.ask(f"select {number + turn}") == str(number + turn)
    for client in clients:
        client.leave()


def test_mode_of_user_wins(start_pooler: object) -> None:
    """A user's pool_mode goes before the database's."""
    assert callable(start_pooler)
    pooler = start_pooler(users={stack.OTHER: "pool_mode=session"})
    with pooler.connect("one", stack.OTHER) as first, pooler.connect("one", stack.OTHER) as second:
        first.ask("select 1")
        second.send(wire.query("select 2"))
        stack.wait_taken(second)
        first.leave()
        assert wire.values(second.until("Z")) == [b"2"]
