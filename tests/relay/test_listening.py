"""The connection that listens: what it asks the server, and what it makes of the answers.

The server is the other end of a pair of sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pgpool_py.relay.connection import Hub
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.session.channels import Mailbox
from pgwire import CommandComplete, DataRow, ErrorResponse, NotificationResponse, ReadyForQuery

READ = 1  # EPOLLIN


class FakeRelay(Hub):
    """A relay without epoll: the test hands out the events."""

    def __init__(self) -> None:
        Hub.__init__(self)
        self.broker: Any = SimpleNamespace(internal_error=self._raise, listening_successor=lambda connection: None)
        self.closed: list[str] = []

    @staticmethod
    def _raise(connection: object, error: Exception) -> None:
        raise error

    def modify(self, fd: int, interest: int) -> None:
        """Nothing to tell."""

    def close_listening(self, connection: ListeningConnection, reason: str) -> None:
        connection.closed = True
        self.closed.append(reason)


class Listener:
    """What a connection knows of a client that listens."""

    def __init__(self, connection: ListeningConnection, *channels: bytes) -> None:
        self.client = None
        self.awaited = set(channels)
        self.channels: set[bytes] = set()
        self.mailbox = Mailbox(0)
        self.events: list[str] = []
        self.told = b""
        connection.join(self)
        for channel in channels:
            connection.table.add(self, channel)

    def go_on(self) -> None:
        self.events.append("goes on")
        self.told += self.mailbox.take(self.awaited)

    def mark_heard(self) -> None:
        self.mailbox.mark()

    def answered(self, source: ListeningConnection) -> None:
        self.events.append("answered")


    def lost(self, source: ListeningConnection, reason: str, successor: None) -> None:
        self.events.append(f"lost: {reason}")

    def refused(self, source: ListeningConnection, code: str, message: str) -> None:
        self.events.append(f"refused: {code}")


class World:
    """A connection, its relay and its server."""

    def __init__(self) -> None:
        ours, self.server = socket.socketpair()
        ours.setblocking(False)
        self.server.setblocking(False)
        self._ours = ours
        self.relay = FakeRelay()
        self.connection = ListeningConnection(self.relay, None)
        self.connection.fd = ours.fileno()
        self.connection.opened = True
        self.connection.encoding = b"UTF8"

    def asked(self) -> list[bytes]:
        """The queries that have reached the server."""
        try:
            data = self.server.recv(65536)
        except BlockingIOError:
            return []
        return [query[4:] for query in data[1:].removesuffix(b"\0").split(b"\0Q")]

    def say(self, *messages: bytes) -> None:
        self.server.sendall(b"".join(messages))
        self.connection.on_event(READ)

    def close(self) -> None:
        self._ours.close()
        self.server.close()


READY = ReadyForQuery("I").encode()
DONE = CommandComplete(b"LISTEN").encode() + READY


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_those_who_ask_meanwhile_share_the_next_query(world: World) -> None:
    """However many ask, one query is under way and one follows."""
    first, *others = [Listener(world.connection, b"news") for _ in range(100)]
    world.connection.ask(first)
    assert world.asked() == [b'LISTEN "news"']
    for other in others:
        world.connection.ask(other)
    assert world.asked() == []
    world.say(DONE)
    assert first.events == ["answered"]
    assert world.asked() == [b""]
    assert [other.events for other in others] == [[]] * 99
    world.say(READY)
    assert [other.events for other in others] == [["answered"]] * 99
    assert world.asked() == []


def test_messages_may_come_in_any_pieces(world: World) -> None:
    who = Listener(world.connection, b"news")
    message = NotificationResponse(7, b"news", b"hello").encode()
    world.connection.ask(who)
    for byte in DONE + message + message:
        world.say(bytes([byte]))
    assert (who.events, who.told) == (["answered", "goes on", "goes on"], message * 2)


def test_notifications_come_before_the_answer(world: World) -> None:
    """Who waits for everything committed so far finds it in the mailbox."""
    who = Listener(world.connection, b"news")
    message = NotificationResponse(7, b"news", b"hello").encode()
    found: list[bytes] = []
    who.answered = lambda source: found.append(who.told)  # type: ignore[method-assign]
    world.connection.ask(who)
    world.say(message + DONE)
    assert found == [message]


def test_process_ids_are_translated(world: World) -> None:
    who = Listener(world.connection, b"news")
    world.connection.notifier = lambda pid: {7: 70000007}.get(pid, 0)
    world.say(*(NotificationResponse(pid, b"news", b"").encode() for pid in (7, 8)))
    assert who.told == b"".join(NotificationResponse(pid, b"news", b"").encode() for pid in (70000007, 8))


def test_a_name_the_server_refuses_hurts_only_its_own(world: World) -> None:
    """Others whose names were in the same query are answered once theirs are heard."""
    error = ErrorResponse.make("ERROR", "22021", "invalid byte sequence").encode()
    first = Listener(world.connection, b"first")
    world.connection.ask(first)
    good, bad = Listener(world.connection, b"good"), Listener(world.connection, b"\xff")
    for who in (good, bad):
        world.connection.ask(who)
    world.asked()
    world.say(DONE)
    assert world.asked() == [b'LISTEN "good"; LISTEN "\xff"']
    world.say(error + READY)
    for _ in range(2):
        (query,) = world.asked()
        assert good.events == [] or b"good" not in query
        world.say((error if b"\xff" in query else CommandComplete(b"LISTEN").encode()) + READY)
    assert (good.events, bad.events) == (["answered"], ["answered"])
    assert world.connection.table.heard == {b"first", b"good"}


@pytest.mark.parametrize("way", ["closed", "FATAL", "silent", "nonsense"])
def test_all_are_told_of_the_loss(world: World, way: str) -> None:
    who = Listener(world.connection, b"news")
    world.connection.ask(who)
    if way == "closed":
        world.server.close()
        world.connection.on_event(READ)
    elif way == "FATAL":
        world.say(ErrorResponse.make("FATAL", "57P01", "by order").encode())
    elif way == "silent":
        assert world.connection.deadline == world.connection.answer_timeout
        world.connection.timed_out()
    else:
        world.say(b"A\0\0\0\1")
    reason = {
        "closed": "server conn crashed?",
        "FATAL": "by order",
        "silent": "no answer in time",
        "nonsense": "message of 1 bytes",
    }[way]
    assert who.events == [f"lost: {reason}"]
    assert world.relay.closed == [reason]
    assert not world.connection.members


def test_only_new_listeners_are_refused(world: World) -> None:
    """Where no connection can be had, who listens already waits for the next attempt."""
    new, old = Listener(world.connection, b"news"), Listener(world.connection, b"news")
    old.channels, old.awaited = {b"news"}, set()
    world.connection.not_opened("53300", "too many")
    assert (new.events, old.events) == (["refused: 53300"], [])


def test_silent_server_is_checked(world: World) -> None:
    world.connection.check()
    assert world.asked() == [b""]
    world.connection.check()
    assert world.asked() == []
    world.say(READY)
    assert world.connection.deadline == 0.0


def test_mark_is_its_owner_s(world: World) -> None:
    """What was put into the mailbox before it is told apart; one of somebody who has gone is nobody's, nor is what is none."""
    who, other = Listener(world.connection, b"news"), Listener(world.connection, b"news")
    who.go_on = lambda: None  # type: ignore[method-assign]
    marker = world.connection.marker
    gone, number = world.connection.next_mark(other), world.connection.next_mark(who)
    world.connection.part(other)
    letters = [NotificationResponse(7, b"news", payload).encode() for payload in (b"before", b"after")]
    marks = [NotificationResponse(7, marker, payload).encode() for payload in (b"nonsense", b"%d" % gone, b"%d" % number)]
    world.say(letters[0], *marks, letters[1])
    who.mailbox.merge(Mailbox(0), {b"news"}, {b"news"})
    assert who.mailbox.take({b"news"}) == letters[1]


def test_spelling_is_asked_for_once(world: World) -> None:
    """However many wait for it; what needs none is not asked for."""
    one, other = Listener(world.connection), Listener(world.connection)
    plain, letter = [NotificationResponse(7, b"news", payload.encode()).encode() for payload in ("x", "größe")]
    connection = world.connection
    assert connection.spelled(plain, b"LATIN1", one) == plain
    assert connection.spelled(letter, b"UTF8", one) == letter
    assert connection.spelled(letter, b"SQL_ASCII", one) == letter
    connection.encoding = b"SQL_ASCII"
    assert connection.spelled(letter, b"UTF8", Listener(connection)) is None, "PostgreSQL checks it"
    world.asked()
    world.say(DataRow(("größe".encode().hex().encode(),)).encode(), DONE)
    connection.encoding = b"UTF8"
    assert connection.spelled(letter, b"LATIN1", one) is None
    assert connection.spelled(letter, b"LATIN1", other) is None
    (query,) = world.asked()
    assert "größe".encode().hex().encode() in query
    world.say(DataRow(("größe".encode("latin-1").hex().encode(),)).encode(), DONE)
    assert (one.events, other.events, world.asked()) == (["goes on"], ["goes on"], [])
    assert connection.spelled(letter, b"LATIN1", one) == NotificationResponse(7, b"news", "größe".encode("latin-1")).encode()


def test_spellings_and_barriers_take_turns(world: World) -> None:
    """What is told in the meantime does not keep those waiting who need an answer, nor the other way round."""
    who = Listener(world.connection)
    for payload in ("ä", "ö"):
        world.connection.spelled(NotificationResponse(7, b"news", payload.encode()).encode(), b"LATIN1", who)
    world.connection.ask(who)
    seen = []
    for _ in range(3):
        (query,) = world.asked()
        seen.append(b"convert" in query)
        world.say(*([DataRow((b"e4",)).encode()] if seen[-1] else []), DONE)
    assert seen == [True, False, True]
    assert world.asked() == []


def test_what_has_no_spelling_is_an_error(world: World) -> None:
    who = Listener(world.connection)
    letter = NotificationResponse(7, b"news", "☃".encode()).encode()
    assert world.connection.spelled(letter, b"LATIN1", who) is None
    world.say(ErrorResponse.make("ERROR", "22P05", "no equivalent").encode() + READY)
    found = world.connection.spelled(letter, b"LATIN1", who)
    assert isinstance(found, ErrorResponse)
    assert (found.code, world.relay.closed) == ("22P05", [])
