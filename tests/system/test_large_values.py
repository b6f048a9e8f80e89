"""Rows and parameters of 50 MB, and readers that do not read: the pooler passes on and holds nothing."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

BIG = 50_000_000
# What the pooler may grow by while it relays: buffers, not results.
ROOM_KIB = 16_000


def test_big_row_arrives_whole(pooler: stack.Pooler) -> None:
    """A row of 50 MB arrives byte for byte, and the pooler does not hold it."""
    with pooler.connect("one") as client:
        client.ask("select 1")
        before = pooler.rss_kib
        value = client.query(f"select repeat('0123456789', {BIG // 10})")[1].columns[0]
        assert value == b"0123456789" * (BIG // 10)
        assert pooler.rss_kib - before < ROOM_KIB


def test_big_parameter_arrives_whole(pooler: stack.Pooler) -> None:
    """A parameter of 50 MB reaches the server, and the pooler does not hold it."""
    with pooler.connect("one") as client:
        client.ask("select 1")
        before = pooler.rss_kib
        reply = client.exchange(wire.run("select length($1), md5($1)", [b"abcdefghij" * (BIG // 10)]))
        assert wire.values(reply) == [str(BIG).encode()]
        assert pooler.rss_kib - before < ROOM_KIB


def test_long_settings_are_kept(pooler: stack.Pooler) -> None:
    """Of what the pooler asks, longer rows than of anything else must be whole before they are read."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        for letter, count in (("a", 520_000), ("\u0436", 60_000)):
            client.query(f"select set_config('app.long', repeat('{letter}', {count}), false)")
            assert other.ask("select current_setting('app.long', true)") in ("", None)
            assert client.ask("select current_setting('app.long')") == letter * count


def test_big_query_text_arrives_whole(pooler: stack.Pooler) -> None:
    """A Query of 20 MB of text is relayed as it is."""
    with pooler.connect("one") as client:
        assert client.ask(f"select length('{'q' * 20_000_000}')") == "20000000"


def test_big_copy_both_ways(pooler: stack.Pooler) -> None:
    """COPY of 50 MB in few large messages in, and out again."""
    with pooler.connect("one") as client:
        client.query("create table if not exists big_copy (line text)")
        client.query("truncate big_copy")
        client.send(wire.query("copy big_copy from stdin"))
        assert client.receive().kind == "G"
        line = b"x" * 999_999 + b"\n"
        for _ in range(5):
            client.send(wire.copy_data(line * 10))
        assert client.exchange(wire.copy_done())[0].tag == "COPY 50"
        reply = client.query("copy big_copy to stdout")
        assert sum(len(message.body) for message in reply if message.kind == "d") == BIG
        client.query("drop table big_copy")


def test_slow_reader_does_not_fill_memory(pooler: stack.Pooler, admin: RawClient) -> None:
    """While a client does not read, the server is not read either; memory stays; later every byte arrives."""
    with pooler.connect("two") as slow, pooler.connect("two") as beside:
        beside.ask("select 1")
        before = pooler.rss_kib
        slow.send(wire.query("select n, repeat('x', 1000) from generate_series(1, 100000) n"))
        stack.wait_backend(
            admin,
            "state = 'active' and wait_event = 'ClientWrite' and query like 'select n, repeat%'",
            "the server is stopped by back-pressure",
        )
        for number in range(20):
            assert beside.ask(f"select {number}") == str(number)
        assert pooler.rss_kib - before < ROOM_KIB
        rows = [message for message in slow.until("Z") if message.kind == "D"]
        assert len(rows) == 100_000
        assert rows[-1].columns[0] == b"100000"
        assert pooler.rss_kib - before < ROOM_KIB


def test_slow_server_stops_the_writer(pooler: stack.Pooler) -> None:
    """A client that sends faster than the server reads is stopped by its socket; nothing is stored."""
    with pooler.connect("two") as holder, pooler.connect("two") as client:
        holder.query("create table if not exists slow_copy (line text); truncate slow_copy")
        holder.query("begin; lock table slow_copy")
        before = pooler.rss_kib
        client.sock.settimeout(0.3)
        client.send(wire.query("copy slow_copy from stdin"))
        data = wire.copy_data(b"y" * 99_999 + b"\n")
        sent = 0
        with pytest.raises(TimeoutError):  # noqa: PT012
            for _ in range(1000):  # 100 MB: more than all socket buffers on the way
                rest = memoryview(data)
                while rest:
                    written = client.sock.send(rest)
                    sent, rest = sent + written, rest[written:]
        assert pooler.rss_kib - before < ROOM_KIB
        client.sock.settimeout(30)
        holder.query("rollback")
        client.sock.sendall(rest)
        reply = client.exchange(wire.copy_done())
        assert reply[-2].tag == f"COPY {(sent + len(rest)) // len(data)}"
        client.query("drop table slow_copy")


def test_pipelined_requests_unread_replies(pooler: stack.Pooler) -> None:
    """A client that pipelines for long without reading neither deadlocks nor fills the pooler."""
    count = 3000
    with pooler.connect("one") as client:
        client.ask("select 1")
        before = pooler.rss_kib
        batch = wire.run("select repeat('z', 5000), $1", [b"mark"])
        writer = threading.Thread(target=lambda: client.send(batch * count))
        writer.start()
        # A moment in which nothing is read, so that every buffer on the way fills up.
        time.sleep(0.5)
        assert pooler.rss_kib - before < ROOM_KIB
        reply = client.until("Z", count)
        writer.join()
        assert wire.kinds(reply).count("D") == count


def test_many_small_rows_through_psycopg(pooler: stack.Pooler) -> None:
    """Two hundred thousand rows arrive in order."""
    with psycopg.connect(pooler.uri("one"), prepare_threshold=None) as connection:
        rows = connection.execute("select n from generate_series(1, 200000) n").fetchall()
        assert rows[0] == (1,) and rows[-1] == (200_000,) and len(rows) == 200_000
