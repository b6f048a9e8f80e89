"""One client's part of a listening connection: what is kept, dropped and told, and when.

The answers of the connection and of the server are the test's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgpool_py.relay.subscription import Subscription
from pgpool_py.session import flags
from pgpool_py.session.channels import Listeners
from pgwire.expected import Action, Expected, Owed

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
        self.covered = 10.0

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

    def hear(self, channel: bytes, message: bytes) -> None:
        for who in self.table.of(channel):
            who.mailbox.put(channel, message)
            who.deliver()


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
    assert not subscription.wants(b"listen news")
    assert subscription.must_wait(client.server)
    source.answer()
    assert subscription.wants(b"listen news")
    assert subscription.ahead(client.server, b"listen news", flags.LISTEN) == b""
    client.end_transaction()
    client.found(b"news")
    source.answer()
    client.server = None
    client.sent.clear()
    return subscription


def test_ready_waits_for_the_barrier_and_the_look(client: Client, source: Source) -> None:
    """What came since the LISTEN went out is told with ReadyForQuery, what came before it is not."""
    assert client.subscription is not None
    client.take()
    client.subscription.wants(b"listen news")
    client.subscription.must_wait(client.server)
    source.hear(b"news", b"early")
    source.answer()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    source.hear(b"news", b"1")
    assert not client.end_transaction()
    source.hear(b"news", b"2")
    source.answer()
    assert client.sent == []
    client.found(b"news")
    assert client.sent == [b"12" + READY]


def test_nothing_of_a_listener_s_own_is_on_its_way_after_ready(client: Client, source: Source) -> None:
    """What its server sends from then on is the next owner's, also where the client began to listen while it held it."""
    assert client.subscription is not None
    server = client.take()
    server.owner_since = 5.0
    client.subscription.wants(b"listen news")
    client.subscription.must_wait(server)
    source.answer()
    server.owner_since = 5.0
    client.end_transaction()
    client.found(b"news")
    source.answer()
    assert server.owner_since == 0.0


def test_rolled_back_listen_is_forgotten(client: Client, source: Source) -> None:
    assert client.subscription is not None
    client.take()
    client.subscription.wants(b"listen news")
    client.subscription.must_wait(client.server)
    source.answer()
    client.subscription.ahead(client.server, b"listen news", flags.LISTEN)
    source.hear(b"news", b"1")
    client.end_transaction()
    client.found()
    source.answer()
    assert client.sent == [READY]
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


def test_another_encoding_is_listened_to_elsewhere(source: Source, client: Client, listener: Subscription) -> None:
    """Until the other connection listens the first one goes on."""
    other = Source()
    client.relay.broker.listening_connection = lambda client: other
    client.take()
    client.told = {b"client_encoding": b"LATIN1"}
    client.end_transaction()
    source.answer()
    client.server = None
    source.hear(b"news", b"1")
    other.answer()
    other.hear(b"news", b"2")
    source.hear(b"news", b"lost")
    assert client.sent == [READY, b"1", b"2"]
    assert not source.members


@pytest.mark.parametrize("refused", [False, True])
def test_connection_opens_at_the_end_of_a_transaction(
    source: Source, client: Client, listener: Subscription, refused: bool
) -> None:
    """That of another encoding, which has not answered yet: it has refused nothing, and the first one still listens."""
    other = Source()
    other.opened = False
    client.relay.broker.listening_connection = lambda client: other
    server = client.take()
    client.told = {b"client_encoding": b"LATIN1"}
    client.end_transaction()
    source.answer()
    server.dirty = flags.OPAQUE
    client.end_transaction()
    other.opened = True
    other.table.next_query()
    if refused:
        other.table.refused()
    client.found(b"news")
    assert client.sent == [READY, READY]
    assert [code for code, _ in client.ends] == (["57P01"] if refused else [])
    if not refused:
        source.hear(b"news", b"1")
        assert client.sent[2:] == [b"1"]
