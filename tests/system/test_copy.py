"""COPY in both directions, whole and failing midway from either side."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest

from pgpool_py.testing import PostgresServer
from tests.fixtures.between import Between, Pump
from tests.system import stack, wire
from tests.system.rawclient import WAYS_OUT, Address, RawClient


@pytest.fixture
def client(pooler: stack.Pooler) -> Iterator[RawClient]:
    """A client on a pool of one with an empty table `copied`; afterwards another must get the server."""
    with pooler.connect("one") as client:
        client.query("create table if not exists copied (n int)")
        client.query("truncate copied")
        yield client
    with pooler.connect("one") as other:
        assert other.ask("select 'free'") == "free"


def rows(client: RawClient) -> str | None:
    return client.ask("select count(*) from copied")


def start_copy_in(client: RawClient) -> None:
    client.send(wire.query("copy copied from stdin"))
    assert client.receive().kind == "G"


def test_copy_in_stores_rows(client: RawClient) -> None:
    """CopyData and CopyDone store the rows."""
    start_copy_in(client)
    reply = client.exchange(wire.copy_data(b"1\n2\n"), wire.copy_data(b"3\n"), wire.copy_done())
    assert reply[0].tag == "COPY 3"
    assert rows(client) == "3"


def test_copy_in_in_one_write(client: RawClient) -> None:
    """A client that does not wait for CopyInResponse gets the same answer."""
    reply = client.exchange(
        wire.query("copy copied from stdin"),
        wire.copy_data(b"1\n"),
        wire.copy_done(),
        wire.query("select 'next'"),
        ready=2,
    )
    assert wire.kinds(reply) == "GCZTDCZ"
    assert wire.values(reply) == [b"next"]


def test_copy_data_split_anywhere(client: RawClient) -> None:
    """Rows and messages cut at odd places arrive whole."""
    start_copy_in(client)
    stream = b"".join(wire.copy_data(b"%d\n" % number) for number in range(200)) + wire.copy_done()
    for start in range(0, len(stream), 37):
        client.send(stream[start : start + 37])
    assert client.until("Z")[0].tag == "COPY 200"


def test_copy_fail_is_reported(client: RawClient) -> None:
    """CopyFail ends the COPY with 57014 carrying the client's reason, and stores nothing."""
    start_copy_in(client)
    reply = client.exchange(wire.copy_data(b"1\n"), wire.copy_fail("changed my mind"))
    assert wire.errors(reply) == ["57014"]
    assert "changed my mind" in reply[0].fields["M"]
    assert rows(client) == "0"


def test_server_error_midway_swallows_rest(client: RawClient) -> None:
    """The server refuses a row; the CopyData that is still coming is swallowed, and nothing hangs."""
    start_copy_in(client)
    client.send(wire.copy_data(b"not a number\n"))
    assert wire.errors(client.until("Z")) == ["22P02"]
    client.send(wire.copy_data(b"1\n") * 1000)
    client.send(wire.copy_done())
    assert rows(client) == "0"
    assert client.ask("select 'in step'") == "in step"


def test_data_after_error_takes_no_server(client: RawClient, pooler: stack.Pooler) -> None:
    """CopyData of a failed COPY does not hold the only server against another client."""
    start_copy_in(client)
    client.send(wire.copy_data(b"not a number\n"))
    client.until("Z")
    client.send(wire.copy_data(b"1\n"))
    stack.wait_taken(client)
    with pooler.connect("one") as other:
        assert other.ask("select 'free'") == "free"
    client.send(wire.copy_fail("never mind"))
    assert client.ask("select 'in step'") == "in step"


@pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="SHOW SOCKETS tells when the pooler has bytes to send")
def test_error_while_bytes_are_unsent_frees_the_server(
    start_pooler: Callable[..., stack.Pooler], server: PostgresServer, admin: RawClient
) -> None:
    """A server that fails the COPY, and reads slowly, is given back once it has taken what was sent, though its client idles."""
    with Gates((server.host, server.port)) as gates:
        settings = {"tcp_socket_buffer": 32768, "query_wait_timeout": 5, "admin_users": stack.ADMIN}
        pooler = start_pooler(settings, target=Address(gates.host, gates.port))
        with pooler.connect("one") as client, pooler.connect("pgbouncer", user=stack.ADMIN) as console:
            client.query("create table if not exists copied (n int)")
            start_copy_in(client)
            gates.answers.clear()
            client.send(wire.copy_data(b"not a number\n"))
            stack.wait_backend(admin, "query = 'copy copied from stdin' and state = 'idle'")
            gates.questions.clear()
            while not unsent(console):
                client.send(wire.copy_data(b"1\n" * 2000))
                stack.wait_taken(client)
            gates.answers.set()
            assert wire.kinds(client.until("Z")) == "EZ"
            gates.questions.set()
            with pooler.connect("one") as other:
                assert other.ask("select 'free'") == "free"
            assert client.ask("select 'in step'") == "in step"


class Gates(Between):
    """Between a pooler and PostgreSQL; bytes go on while the gate of their direction is open."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.questions = threading.Event()
        self.answers = threading.Event()
        self.questions.set()
        self.answers.set()

    def pumps(self, client: socket.socket, server: socket.socket) -> Iterator[Pump]:
        yield partial(self._pass, client, server, self.questions)
        yield partial(self._pass, server, client, self.answers)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                gate.wait(10)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def unsent(console: RawClient) -> bool:
    """Whether the pooler has bytes for a server that the kernel has not taken."""
    return any(row[b"type"] == b"S" and row[b"send_remain"] != b"0" for row in stack.shown(console, "sockets"))


def test_copy_fail_after_error_is_swallowed(client: RawClient) -> None:
    """CopyFail sent before the error was seen gets no second answer."""
    start_copy_in(client)
    client.send(wire.copy_data(b"x\n"), wire.copy_fail("too late"), wire.query("select 'next'"))
    reply = client.until("Z", 2)
    assert len(wire.errors(reply)) == 1
    assert wire.values(reply) == [b"next"]


def test_sync_during_copy_in_is_ignored(client: RawClient) -> None:
    """Execute of COPY with its Sync in the same write: the Sync owes nothing, the copy's end does."""
    client.send(
        wire.parse("", "copy copied from stdin"),
        wire.bind("", ""),
        wire.execute(),
        wire.sync(),
        wire.copy_data(b"5\n"),
        wire.copy_done(),
        wire.sync(),
    )
    reply = client.until("Z")
    assert wire.kinds(reply) == "12GCZ"
    assert client.ask("select n from copied") == "5"


def test_sync_and_flush_inside_copy(client: RawClient) -> None:
    """Sync and Flush between CopyData are ignored, as the manual says."""
    client.send(wire.parse("", "copy copied from stdin"), wire.bind("", ""), wire.execute(), wire.flush())
    client.until("G")
    client.send(
        wire.copy_data(b"1\n"),
        wire.sync(),
        wire.flush(),
        wire.copy_data(b"2\n"),
        wire.sync(),
        wire.copy_done(),
    )
    assert wire.kinds(client.exchange(wire.sync())) == "CZ"
    assert rows(client) == "2"


def test_extended_copy_error_skips_to_sync(client: RawClient) -> None:
    """A COPY of the extended protocol that fails skips everything up to the Sync."""
    client.send(wire.parse("", "copy copied from stdin"), wire.bind("", ""), wire.execute(), wire.flush())
    client.until("G")
    client.send(wire.copy_data(b"x\n"), wire.flush())
    client.until("E")
    client.send(wire.copy_data(b"1\n"), wire.copy_done(), wire.sync())
    assert wire.kinds(client.until("Z")) == "Z"
    assert rows(client) == "0"


def test_other_message_inside_copy_fails_it(client: RawClient) -> None:
    """A Query in the middle of COPY FROM STDIN aborts the COPY, as on a direct connection."""
    start_copy_in(client)
    client.send(wire.copy_data(b"1\n"), wire.query("select 'inside'"))
    assert "08P01" in wire.errors(client.rest())


def test_copy_out_delivers_rows(client: RawClient) -> None:
    """COPY TO STDOUT delivers every row and ends in order."""
    client.query("insert into copied select generate_series(1, 10000)")
    reply = client.query("copy (select n from copied order by n) to stdout")
    assert wire.kinds(reply) == "H" + "d" * 10000 + "cCZ"
    assert reply[1].body == b"1\n" and reply[10000].body == b"10000\n"


def test_copy_out_fails_midway(client: RawClient) -> None:
    """An error after some rows of COPY TO arrives behind these rows."""
    reply = client.query("copy (select 1 / (500 - n) from generate_series(1, 1000) n) to stdout")
    assert wire.errors(reply) == ["22012"]
    assert wire.kinds(reply).count("d") == 499
    assert client.ask("select 1") == "1"


def test_copy_in_transaction_rolls_back(client: RawClient) -> None:
    """COPY inside a transaction is undone with it."""
    client.query("begin")
    start_copy_in(client)
    assert client.exchange(wire.copy_data(b"1\n"), wire.copy_done())[-1].body == b"T"
    client.query("rollback")
    assert rows(client) == "0"


@pytest.mark.parametrize("way", WAYS_OUT)
def test_client_leaves_in_copy_in(client: RawClient, pooler: stack.Pooler, way: str) -> None:
    """A client that goes away midway stores nothing, and its server serves the next client."""
    leaving = pooler.connect("one")
    start_copy_in(leaving)
    leaving.send(wire.copy_data(b"1\n"))
    WAYS_OUT[way](leaving)
    assert rows(client) == "0"


@pytest.mark.parametrize("way", WAYS_OUT)
def test_client_leaves_in_copy_out(client: RawClient, pooler: stack.Pooler, way: str) -> None:
    """A client that goes away while an endless COPY TO runs does not keep the server."""
    leaving = pooler.connect("one")
    leaving.send(wire.query("copy (select repeat('x', 100), generate_series(1, 100000000)) to stdout"))
    leaving.until("d", 100)
    WAYS_OUT[way](leaving)
    assert client.ask("select 'free'") == "free"


def test_psycopg_copy_both_ways(pooler: stack.Pooler) -> None:
    """psycopg's copy objects work, and an exception in the block undoes it."""
    with psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=None) as connection:
        connection.execute("create table if not exists copied (n int)")
        connection.execute("truncate copied")
        with connection.cursor().copy("copy copied from stdin") as copy:
            for number in range(1000):
                copy.write_row([number])
        with pytest.raises(ZeroDivisionError), connection.cursor().copy("copy copied from stdin") as copy:
            copy.write_row([1 // 0])
        with connection.cursor().copy("copy copied to stdout") as copy:
            assert sum(1 for _ in copy) == 1000
