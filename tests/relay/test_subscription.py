"""One client's part of a listening connection: what is kept, dropped and told, and when.

The answers of the connection and of the server are the test's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgpool_py.relay import subscription as rules
from pgpool_py.relay.subscription import Subscription
from pgpool_py.session import flags
from pgpool_py.session.channels import Listeners
from pgwire import ErrorResponse, NotificationResponse
from pgwire.expected import Action, Expected, Owed

MARK = rules.MARK % (b'"marker"', b'"marker"', 1)
READY = b"Z\0\0\0\5I"


class Source:
    """A listening connection that answers when the test says so."""

    def __init__(self, fatal: bool = True) -> None:
        self.table: Listeners[Subscription] = Listeners()
        self.members: set[Subscription] = set()
        self.asked: list[Subscription] = []
        self.mailbox_size = 100
        self.loss_is_fatal = fatal
        self.opened = True
        self.encoding = b"UTF8"
        self.marker = b"marker"
        self.covered = 10.0
        self.spellings: dict[bytes, bytes | ErrorResponse | None] = {}

    def join(self, who: Subscription) -> None:
        self.members.add(who)

    def part(self, who: Subscription) -> None:
        self.members.discard(who)

    def ask(self, who: Subscription) -> None:
        self.asked.append(who)

    def answer(self) -> None:
        self.table.next_query()
        self.table.confirmed()
        asked, self.asked = self.asked, []
        for who in asked:
            who.answered(self)

    def next_mark(self, who: Subscription) -> int:
        return 1

    def converts(self, encoding: bytes) -> bool:
        return encoding != self.encoding

    def spelled(self, message: bytes, encoding: bytes, who: Subscription) -> bytes | ErrorResponse | None:
        return self.spellings.get(message, message)

    def hear(self, channel: bytes, message: bytes) -> None:
        for who in self.table.of(channel):
            who.mailbox.put(channel, message)
            who.go_on()


class Client:
    """As much of a client as a subscription knows."""

    def __init__(self, source: Source) -> None:
        self.held = self.closed = self.leaving = False
        self.out: bytes | None = None
        self.kept: bytes | None = None
        self.asked: object = None
        self.keeps_server = 0
        self.cancel_key = 1
        self.told: dict[bytes, bytes] = {}
        self.server: Any = None
        self.sent: list[bytes] = []
        self.ends: list[tuple[str, str]] = []
        self.queries: list[bytes] = []
        self.relay = SimpleNamespace(broker=SimpleNamespace(listening_connection=lambda client: source))
        self.subscription: Subscription | None = Subscription(self, source)

    def send_data(self, data: bytes) -> None:
        if data:
            self.sent.append(data)

    def take(self) -> Any:
        """Hold a server, idle and clean."""
        self.server = SimpleNamespace(
            ready=True,
            status=ord("I"),
            dirty=0,
            request_time=0.0,
            owner_key=1,
            expected=Expected(),
            unnamed=None,
            context=SimpleNamespace(keeping=True),
            reported={},
            query=lambda text, note: self.queries.append(text),
        )
        return self.server

    def end_transaction(self) -> bool:
        """The server says ReadyForQuery, idle."""
        self.held = True
        self.server.ready, self.server.status = True, ord("I")
        return self.settled()

    def settled(self) -> bool:
        return self.subscription is None or self.subscription.settle(self.server)

    def transaction_ended(self) -> None:
        """Nothing waits for it."""

    def look(self, server: Any) -> None:
        server.dirty &= ~flags.LOOKED
        self.asked = "a look"

    def found(self, *channels: bytes) -> None:
        """The look's answer."""
        self.asked = None
        assert self.subscription is not None
        self.subscription.learned(self.server, set(channels))
        self.settled()

    def hand_over(self, source: Source) -> None:
        """The server listens to the marker, and both hear the mark."""
        subscription = self.subscription
        assert subscription is not None
        source.answer()
        self.brings(b"marker", b"1")
        subscription.marker_placed(False)
        self.settled()
        subscription.mark_heard()
        subscription.go_on()
        subscription.marker_placed(False)
        self.settled()

    def brings(self, channel: bytes, payload: bytes) -> bytes:
        """The server passes on a notification."""
        message = NotificationResponse(7, channel, payload).encode()
        assert self.subscription is not None
        return b"" if self.subscription.brings(channel, message) else message

    def channels_ready(self) -> None:
        """It goes on with its message."""

    def terminate(self, code: str, message: str) -> None:
        self.ends.append((code, message))
        self.closed = True


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def client(source: Source) -> Client:
    return Client(source)


@pytest.fixture
def listener(client: Client, source: Source) -> Subscription:
    """Its client listens to "news", and is idle."""
    subscription = client.subscription
    assert subscription is not None
    client.take()
    assert subscription.connected()
    assert subscription.ahead(client.server, b"listen news", flags.LISTEN) == b""
    client.end_transaction()
    client.found(b"news")
    client.hand_over(source)
    client.server = None
    client.sent.clear()
    return subscription


def letter(channel: bytes, payload: bytes) -> bytes:
    return NotificationResponse(7, channel, payload).encode()


def test_ready_waits_until_the_listening_connection_has_taken_over(client: Client, source: Source) -> None:
    """Before the mark the server at hand counts, behind it the listening connection; nothing is told twice."""
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    assert client.brings(b"news", b"own") == b""
    assert not client.end_transaction()
    source.answer()
    client.found(b"news")
    assert client.queries == []
    source.answer()
    assert client.queries == [MARK]
    source.hear(b"news", b"early")
    assert client.brings(b"news", b"1") == b""
    client.brings(b"marker", b"0")
    client.brings(b"marker", b"1")
    client.brings(b"news", b"2")
    client.subscription.marker_placed(False)
    client.settled()
    assert client.sent == []
    client.subscription.mark_heard()
    source.hear(b"news", b"2")
    client.subscription.marker_placed(False)
    client.settled()
    assert client.sent == [letter(b"news", b"own") + letter(b"news", b"1") + b"2" + READY]
    assert client.brings(b"news", b"late") == b""


def test_server_listens_to_no_marks_afterwards(client: Client, source: Source) -> None:
    """Its client may go on with it, and look."""
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    client.end_transaction()
    client.found(b"news")
    source.answer()
    client.brings(b"marker", b"1")
    client.subscription.marker_placed(False)
    client.subscription.mark_heard()
    client.settled()
    assert client.queries == [MARK, b'UNLISTEN "marker"']
    assert client.sent == []
    client.subscription.marker_placed(False)
    client.settled()
    assert client.sent == [READY]


def test_too_much_for_the_client_before_the_mark(client: Client, source: Source) -> None:
    """It is told with its ReadyForQuery."""
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    for _ in range(5):
        client.brings(b"news", b"x" * 30)
    client.end_transaction()
    client.found(b"news")
    client.hand_over(source)
    assert client.sent == [READY]
    assert [code for code, _ in client.ends] == ["57P01"]


@pytest.mark.parametrize("failures", [1, 4, 5])
def test_listen_to_the_marks_may_be_cancelled(client: Client, source: Source, failures: int) -> None:
    """It is tried again, and at some time given up, which the client is told."""
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    client.end_transaction()
    source.answer()
    client.found(b"news")
    source.answer()
    for _ in range(failures):
        client.subscription.marker_placed(True)
        client.settled()
    if failures < 5:
        client.hand_over(source)
    assert client.sent == [READY]
    assert [code for code, _ in client.ends] == (["57P01"] if failures == 5 else [])


def test_listen_waits_for_a_connection(client: Client, source: Source) -> None:
    """Without one nothing could take over."""
    assert client.subscription is not None
    source.opened = False
    server = client.take()
    assert not client.subscription.connected()
    assert client.subscription.must_wait(server)
    source.opened = True
    source.answer()
    assert client.subscription.connected()
    assert not client.subscription.must_wait(server)


def test_hidden_listen_makes_the_next_message_wait(client: Client, source: Source) -> None:
    """The client has its ReadyForQuery already."""
    subscription = client.subscription
    assert subscription is not None
    server = client.take()
    subscription.learned(server, {b"news"})
    assert subscription.must_wait(server)
    client.settled()
    client.hand_over(source)
    assert not subscription.must_wait(server)
    assert b"".join(client.sent) == b""


def test_nothing_of_a_listener_s_own_is_on_its_way_after_ready(client: Client, source: Source) -> None:
    """What its server sends from then on is the next owner's, also where the client began to listen while it held it."""
    assert client.subscription is not None
    server = client.take()
    server.owner_since = 5.0
    client.end_transaction()
    client.found(b"news")
    client.hand_over(source)
    assert server.owner_since == 0.0


def test_rolled_back_listen_is_forgotten(client: Client, source: Source) -> None:
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    client.end_transaction()
    client.found()
    source.answer()
    assert b"".join(client.sent) == READY
    assert client.subscription is None
    assert not source.members
    assert source.table.of(b"news") == ()


def test_idle_client_is_told_at_once(client: Client, source: Source, listener: Subscription) -> None:
    source.hear(b"news", b"1")
    assert client.sent == [b"1"]


def test_client_that_does_not_read_is_told_later(client: Client, source: Source, listener: Subscription) -> None:
    client.out = b"unsent"
    source.hear(b"news", b"1")
    source.hear(b"news", b"2")
    assert client.sent == []
    client.out = None
    listener.deliver()
    assert client.sent == [b"12"]


def test_client_in_a_transaction_is_told_at_its_end(client: Client, source: Source, listener: Subscription) -> None:
    client.take().status = ord("T")
    source.hear(b"news", b"1")
    assert listener.settle(client.server)
    assert client.sent == []
    client.end_transaction()
    source.answer()
    assert client.sent == [b"1" + READY]


@pytest.mark.parametrize("text", [b"begin", b"START TRANSACTION", b"unlisten news", b"select pg_listening_channels()"])
def test_channels_are_placed_where_they_matter(client: Client, listener: Subscription, text: bytes) -> None:
    server = client.take()
    verdict = {b"b": 0, b"S": 0, b"u": flags.LISTEN, b"s": flags.READS_CHANNELS}[text[:1]]
    assert listener.ahead(server, text, verdict) == b'Q\0\0\0\x12LISTEN "news"\0'
    assert (listener.placed, server.dirty & flags.CHANNELS, server.expected.size()) == (True, flags.CHANNELS, 1)
    assert listener.ahead(server, text, verdict) == b""


def test_channels_are_not_placed_for_plain_texts(client: Client, listener: Subscription) -> None:
    server = client.take()
    assert listener.ahead(server, b"select begins, start from t", 0) == b""
    assert server.dirty == 0


def test_unlisten_takes_effect(client: Client, source: Source, listener: Subscription) -> None:
    server = client.take()
    listener.ahead(server, b"unlisten news", flags.LISTEN)
    source.hear(b"news", b"1")
    client.end_transaction()
    client.found()
    source.answer()
    assert client.sent == [READY]
    assert client.subscription is None


def test_channels_are_placed_behind_the_pooler_s_own_queries(client: Client, listener: Subscription) -> None:
    """The difference of settings goes out in the same write; what it leaves is no open transaction."""
    server = client.take()
    server.ready = False
    server.expected.add(int(Owed.QUERY + Action.SKIP), "difference")
    assert listener.ahead(server, b"unlisten news", flags.LISTEN) == b'Q\0\0\0\x12LISTEN "news"\0'


@pytest.mark.parametrize("answered", [False, True])
def test_channels_are_not_placed_within_a_batch(client: Client, listener: Subscription, answered: bool) -> None:
    """There they would show, and change, only at its commit: rather a notification too many than one lost."""
    server = client.take()
    server.ready = False
    if not answered:
        server.expected.add(int(Owed.PARSE), None)
    assert listener.ahead(server, b"unlisten news", flags.LISTEN) == b""
    assert not listener.placed


def test_other_s_server_needs_a_barrier(client: Client, source: Source, listener: Subscription) -> None:
    """Its last user's notifications, on their way still, would be taken for the client's own."""
    server = client.take()
    server.owner_key, server.request_time = 2, 11.0
    listener.taken(server)
    assert listener.must_wait(server)
    assert server.owner_key == 2
    source.answer()
    assert not listener.must_wait(server)
    assert server.owner_key == 1
    server.owner_key, server.request_time = 2, 9.0
    listener.taken(server)
    assert not listener.must_wait(server)


@pytest.mark.parametrize("busy", [False, True])
def test_lost_connection_ends_the_client(client: Client, source: Source, listener: Subscription, busy: bool) -> None:
    """At once, or with the end of its transaction."""
    if busy:
        client.take().status = ord("T")
        listener.lost(source, "gone", None)
        assert client.ends == []
        client.end_transaction()
        assert client.sent == [READY]
    else:
        listener.lost(source, "gone", None)
    (end,) = client.ends
    assert end[0] == "57P01"
    assert "gone" in end[1]


def test_lost_connection_can_be_a_warning() -> None:
    """It comes when the next connection listens, so that what is looked up then is not too old."""
    first, second = Source(fatal=False), Source(fatal=False)
    client = Client(first)
    listener = client.subscription
    assert listener is not None
    first.table.add(listener, b"news")
    listener.channels = {b"news"}
    listener.lost(first, "gone", second)
    assert client.sent == []
    second.answer()
    assert b"WARNING" in client.sent[0]
    assert b"gone" in client.sent[0]
    second.hear(b"news", b"1")
    assert client.sent[1:] == [b"1"]
    assert client.ends == []


def test_overflow_ends_the_client_after_its_transaction(client: Client, source: Source, listener: Subscription) -> None:
    client.take().status = ord("T")
    for _ in range(5):
        source.hear(b"news", b"x" * 30)
    assert client.ends == []
    client.end_transaction()
    assert client.sent == [READY]
    assert [code for code, _ in client.ends] == ["57P01"]


def test_client_is_told_in_its_own_encoding(source: Source, client: Client, listener: Subscription) -> None:
    """That at the time; while a spelling is asked for, what follows waits."""
    client.told = {b"client_encoding": b"LATIN1"}
    source.spellings = {b"1": None, b"2": b"two"}
    source.hear(b"news", b"1")
    source.hear(b"news", b"2")
    assert b"".join(client.sent) == b""
    source.spellings[b"1"] = b"one"
    listener.go_on()
    assert b"".join(client.sent) == b"onetwo"
    client.take()
    source.spellings[b"1"] = None
    source.hear(b"news", b"1")
    client.server.ready = False
    client.end_transaction()
    source.answer()
    assert READY not in client.sent
    client.told = {b"client_encoding": b"UTF8"}
    client.settled()
    assert client.sent[-1] == b"1" + READY


def test_what_has_no_spelling_ends_the_client(source: Source, client: Client, listener: Subscription) -> None:
    """With all that came before it."""
    client.told = {b"client_encoding": b"LATIN1"}
    source.spellings = {b"2": ErrorResponse.make("ERROR", "22P05", "no equivalent")}
    client.take().status = ord("T")
    for message in (b"1", b"2", b"3"):
        source.hear(b"news", message)
    client.end_transaction()
    source.answer()
    assert b"".join(client.sent) == b"1" + READY
    assert client.ends == [("22P05", "no equivalent")]


@pytest.mark.parametrize("made", [False, True])
def test_connection_is_lost_while_it_takes_over(made: bool) -> None:
    """What the server at hand has brought is told once, and the loss; another connection listens then, and no marker is left."""
    first, second = Source(fatal=False), Source(fatal=False)
    second.marker = b"second"
    client = Client(first)
    assert client.subscription is not None
    client.take()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    client.brings(b"news", b"1")
    client.end_transaction()
    client.found(b"news")
    if made:
        first.answer()
    first.hear(b"news", b"1")
    client.subscription.lost(first, "gone", second)
    second.answer()
    marker = b"marker" if made else b"second"
    assert marker in client.queries[-1]
    assert client.brings(marker, b"1") == b""
    client.subscription.marker_placed(False)
    if not made:
        client.subscription.mark_heard()
    client.settled()
    assert client.queries[-1] == b'UNLISTEN "' + marker + b'"'
    client.subscription.marker_placed(False)
    client.settled()
    told = b"".join(client.sent)
    assert told.count(letter(b"news", b"1")) == 1
    assert told.endswith(READY)
    assert b"WARNING" in b"".join(client.sent)
    second.hear(b"news", b"2")
    assert client.sent[-1] == b"2"
