"""Messages too large to hold come in parts; the others never come in part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgwire
from pgwire import NEED_DATA, ClientSide, PeerViolation, State
from pgwire.framing import FrameReader, Part


def logged_in(**options: Any) -> ClientSide:
    side = ClientSide(**options)
    side.receive(pgwire.StartupMessage({"user": "app"}).encode())
    side.next_event()
    side.send(pgwire.AuthenticationOk())
    side.send(pgwire.ReadyForQuery())
    return side


def test_large_message_streams_as_it_arrives() -> None:
    side = logged_in(stream_above=1000, max_message=1000)
    wire = pgwire.Query(b"x" * 5000).encode()
    side.receive(wire[:5])
    assert side.next_event() == Part(pgwire.Frontend.QUERY, b"", 5001, True)
    assert side.state is State.BUSY
    assert side.next_event() is NEED_DATA
    side.receive(wire[5:105])
    assert side.next_event() == Part(pgwire.Frontend.QUERY, b"x" * 100, 4901, False)
    side.receive(wire[105:] + pgwire.Sync().encode())
    rest, sync = side.events()
    assert rest == Part(pgwire.Frontend.QUERY, wire[105:], 0, False)
    assert sync == pgwire.Sync()


def test_small_message_never_streams() -> None:
    side = logged_in(stream_above=1000)
    message = pgwire.Query(b"x" * 999)
    for byte in message.encode()[:-1]:
        side.receive(bytes((byte,)))
        assert side.next_event() is NEED_DATA
    side.receive(b"\0")
    assert side.next_event() == message


@pytest.mark.parametrize("length", [0, 3, 0x80000000, 0xFFFFFFFF])
def test_impossible_length_is_not_streamed(length: int) -> None:
    side = logged_in(stream_above=1000)
    side.receive(b"Q" + length.to_bytes(4, "big"))
    with pytest.raises(PeerViolation, match="invalid message length"):
        side.next_event()


def test_message_above_its_cap_is_refused() -> None:
    side = logged_in(max_message=1000)
    side.receive(pgwire.Query(b"x" * 1000).encode()[:5])
    with pytest.raises(PeerViolation, match="invalid message length"):
        side.next_event()


def test_login_message_never_streams() -> None:
    side = ClientSide(stream_above=10)
    side.receive(pgwire.StartupMessage({"user": "app"}).encode())
    side.next_event()
    side.send(pgwire.AuthenticationCleartextPassword())
    message = pgwire.PasswordMessage(b"x" * 1000)
    side.receive(message.encode())
    assert side.next_event() == message


def test_rows_stream_from_a_server() -> None:
    side = pgwire.ServerSide(stream_above=100)
    side.send(pgwire.StartupMessage({"user": "app"}))
    side.receive(pgwire.AuthenticationOk().encode() + pgwire.ReadyForQuery().encode())
    list(side.events())
    side.send(pgwire.Query(b"select"))
    row = pgwire.DataRow((b"x" * 500,)).encode()
    side.receive(row[:200])
    side.receive(row[200:] + pgwire.ReadyForQuery().encode())
    part, ready = side.events()
    assert part == Part(pgwire.Backend.DATA_ROW, row[5:], 0, True)
    assert ready == pgwire.ReadyForQuery()
    assert side.state is State.READY


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=6),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    stream_above=st.none() | st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_any_pieces_give_the_same_messages(
    bodies: list[bytes], cuts: list[int], stream_above: int | None
) -> None:
    wire = b"".join(pgwire.CopyData(body).encode() for body in bodies)
    reader, found, at, turn = FrameReader(), [], 0, 0
    pending = b""
    while at < len(wire):
        piece = wire[at : at + cuts[turn % len(cuts)]]
        at, turn = at + len(piece), turn + 1
        reader.receive(piece)
        while (item := reader.message(1000, stream_above)) is not None:
            if isinstance(item, Part):
                pending += item.data
                if not item.left:
                    found.append(pending)
                    pending = b""
            else:
                found.append(item[1])
    assert found == bodies
    assert len(reader) == 0
