"""Errors inside transactions and in the middle of pipelines: what PostgreSQL says is what the client gets."""

from __future__ import annotations

import psycopg
import pytest

from tests.system import stack, wire


def test_failed_transaction_stays_failed(pooler: stack.Pooler) -> None:
    """After an error every statement is refused with 25P02 until ROLLBACK, on the same server."""
    with pooler.connect("one") as client:
        client.query("begin")
        assert wire.errors(client.query("select 1/0")) == ["22012"]
        reply = client.query("select 1")
        assert wire.errors(reply) == ["25P02"]
        assert reply[-1].body == b"E"
        assert client.query("rollback")[-1].body == b"I"
        assert client.ask("select 1") == "1"


def test_commit_of_failed_block_rolls_back(pooler: stack.Pooler) -> None:
    """COMMIT after an error answers ROLLBACK, and the server is free afterwards."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("begin")
        client.query("select 1/0")
        assert client.query("commit")[0].tag == "ROLLBACK"
        assert other.ask("select 2") == "2"


def test_savepoint_brings_transaction_back(pooler: stack.Pooler) -> None:
    """ROLLBACK TO after an error makes the transaction usable again."""
    with pooler.connect("one") as client:
        client.query("begin; savepoint here")
        client.query("select 1/0")
        assert client.query("rollback to here")[-1].body == b"T"
        assert client.ask("select 3") == "3"
        client.query("commit")


def test_error_outside_transaction_frees_server(pooler: stack.Pooler) -> None:
    """A failed statement of its own leaves the server to the next client."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        for _ in range(20):
            assert wire.errors(client.query("select no_such_column")) == ["42703"]
            assert other.ask("select 'fine'") == "fine"


def test_several_statements_stop_at_error(pooler: stack.Pooler) -> None:
    """In one Query the statements after the failing one do not run."""
    with pooler.connect("one") as client:
        reply = client.query("select 1; select 1/0; select 2")
        assert wire.kinds(reply) == "TDCTEZ" or wire.kinds(reply) == "TDCEZ"
        assert wire.values(reply) == [b"1"]


def test_several_statements_answer_in_order(pooler: stack.Pooler) -> None:
    """Each statement of one Query has its own rows and tag, and one ReadyForQuery ends them."""
    with pooler.connect("one") as client:
        reply = client.query("select 1; ; select 2; begin; select 3")
        assert wire.values(reply) == [b"1", b"2", b"3"]
        assert reply[-1].body == b"T"
        client.query("rollback")


def test_empty_query_is_answered(pooler: stack.Pooler) -> None:
    """An empty Query gets EmptyQueryResponse, simple and extended."""
    with pooler.connect("one") as client:
        assert wire.kinds(client.query("")) == "IZ"
        assert wire.kinds(client.exchange(wire.run(""))) == "12nIZ"


def test_deferred_error_at_commit_is_told(pooler: stack.Pooler) -> None:
    """An error that COMMIT itself raises reaches the client, and the transaction is over."""
    with pooler.connect("one") as client:
        client.query("create table if not exists unique_later (id int unique deferrable initially deferred)")
        client.query("begin")
        client.query("insert into unique_later values (1), (1)")
        reply = client.query("commit")
        assert wire.errors(reply) == ["23505"]
        assert reply[-1].body == b"I"


def test_error_skips_to_sync(pooler: stack.Pooler) -> None:
    """What follows an error in a batch is skipped up to Sync, and the next batch runs."""
    with pooler.connect("one") as client:
        failing = wire.parse("", "select 1/$1::int", [wire.INT4]) + wire.bind("", "", [b"0"]) + wire.execute()
        skipped = wire.parse("", "select 'skipped'") + wire.bind("", "") + wire.execute()
        reply = client.exchange(failing, skipped, wire.sync(), wire.run("select 'next'"), ready=2)
        assert wire.errors(reply) == ["22012"]
        assert wire.values(reply) == [b"next"]


@pytest.mark.parametrize("position", range(6))
def test_pipeline_error_at_every_place(pooler: stack.Pooler, position: int) -> None:
    """Six pipelined batches of which one fails: the other five answer with their own markers, in order."""
    batches = [
        wire.run("select 1/$1::int", [b"0"]) if number == position else wire.run("select $1::text", [b"%d" % number])
        for number in range(6)
    ]
    with pooler.connect("one") as client:
        reply = client.exchange(*batches, ready=6)
        assert wire.values(reply) == [b"%d" % number for number in range(6) if number != position]
        assert wire.errors(reply) == ["22012"]
        assert client.ask("select 'after'") == "after"


def test_query_and_batch_in_one_write(pooler: stack.Pooler) -> None:
    """A Query followed at once by Parse, Bind, Execute, Sync gets two ReadyForQuery (npgsql does it)."""
    with pooler.connect("one") as client:
        for _ in range(10):
            reply = client.exchange(wire.query("select 'q'"), wire.run("select 'p'"), wire.query("select 'r'"), ready=3)
            assert wire.values(reply) == [b"q", b"p", b"r"]


def test_flush_without_sync_answers(pooler: stack.Pooler) -> None:
    """Describe and Flush get their replies before any Sync is sent (node-postgres waits for them)."""
    with pooler.connect("one") as client:
        client.send(wire.parse("", "select $1::int"), wire.describe_statement(""), wire.flush())
        assert [client.receive().kind for _ in range(3)] == ["1", "t", "T"]
        client.send(wire.bind("", "", [b"7"]), wire.execute(), wire.flush())
        assert [client.receive().kind for _ in range(3)] == ["2", "D", "C"]
        assert wire.kinds(client.exchange(wire.sync())) == "Z"


def test_open_batch_keeps_its_server(pooler: stack.Pooler) -> None:
    """Between Flush and Sync the server belongs to its client; the waiting one gets it after the Sync."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.send(wire.parse("", "select 1"), wire.flush())
        assert client.receive().kind == "1"
        other.send(wire.query("select 'other'"))
        stack.wait_taken(other)
        client.send(wire.bind("", ""), wire.execute(), wire.flush())
        assert [client.receive().kind for _ in range(3)] == ["2", "D", "C"]
        client.send(wire.sync())
        assert client.until("Z")[-1].body == b"I"
        assert wire.values(other.until("Z")) == [b"other"]


def test_portal_is_fetched_in_pieces(pooler: stack.Pooler) -> None:
    """Execute with a row limit suspends the portal; it goes on inside the same transaction."""
    with pooler.connect("one") as client:
        client.query("begin")
        client.send(wire.parse("", "select generate_series(1, 5)"), wire.bind("p", ""), wire.flush())
        client.until("2")
        rows: list[bytes | None] = []
        for expected in ("s", "s", "C"):
            client.send(wire.execute("p", 2), wire.flush())
            reply = client.until(expected)
            rows += wire.values(reply)
        assert rows == [b"1", b"2", b"3", b"4", b"5"]
        client.exchange(wire.sync())
        assert client.query("commit")[-1].body == b"I"


def test_many_syncs_get_many_answers(pooler: stack.Pooler) -> None:
    """Fifty Syncs in one write get fifty ReadyForQuery."""
    with pooler.connect("one") as client:
        assert wire.kinds(client.exchange(wire.sync() * 50, ready=50)) == "Z" * 50
        assert client.ask("select 1") == "1"


def test_psycopg_pipeline_recovers_from_error(pooler: stack.Pooler) -> None:
    """psycopg's pipeline mode: the statement that fails aborts its pipeline section, the next one works."""
    with psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=None) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline() as pipeline:  # noqa: PT012
            good = connection.execute("select 'good'")
            pipeline.sync()
            connection.execute("select 1/%s", [0])
            connection.execute("select 'never'")
            pipeline.sync()
        assert good.fetchone() == ("good",)
        with connection.pipeline():
            cursors = [connection.execute("select %s::int", [number]) for number in range(50)]
        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(50)]


def test_psycopg_transaction_blocks_nest(pooler: stack.Pooler) -> None:
    """Nested transaction blocks (savepoints) of psycopg work through the pooler."""
    with psycopg.connect(pooler.uri("one"), prepare_threshold=None) as connection:
        connection.execute("create table if not exists nest (n int)")
        connection.execute("truncate nest")
        with connection.transaction():
            connection.execute("insert into nest values (1)")
            with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():  # noqa: PT012
                connection.execute("insert into nest values (2)")
                connection.execute("select 1/0")
            connection.execute("insert into nest values (3)")
        rows = connection.execute("select n from nest order by n").fetchall()
        assert rows == [(1,), (3,)]
