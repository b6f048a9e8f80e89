"""LISTEN in every encoding: names and payloads are told as the client reads them at that time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.notifications import channels, say
from tests.system.rawclient import RawClient
from tests.system.wire import Message

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")


def payload_of(message: Message) -> bytes:
    """The payload's bytes."""
    return message.body[4:].split(b"\0")[1]


def test_payload_comes_in_the_client_s_encoding(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("one", client_encoding="LATIN1") as latin, pooler.connect("one", client_encoding="UTF8") as utf8:
        for client in (latin, utf8):
            say(client, "listen news")
        sender.query("set client_encoding = 'UTF8'; notify news, 'größe'")
        assert latin.until("A")[-1].body.endswith("größe".encode("latin-1") + b"\0")
        assert utf8.until("A")[-1].body.endswith("größe".encode() + b"\0")
        say(latin, "set client_encoding = 'UTF8'")
        say(latin, "notify news, 'own'")
        sender.query("notify news, 'größe'")
        assert latin.until("A")[-1].body.endswith("größe".encode() + b"\0")


@pytest.mark.parametrize("within", [False, True], ids=["a Query", "a block"])
def test_payload_follows_client_encoding_at_once(pooler: stack.Pooler, sender: RawClient, within: bool) -> None:
    """Also what was committed before the change, and is told after it."""
    with pooler.connect("one") as client:
        say(client, "listen news")
        sender.query("set client_encoding = 'UTF8'")
        for number in range(20):
            encoding = ("latin-1", "utf-8")[number % 2]
            texts = ["begin", f"set client_encoding = '{encoding}'", "commit"]
            say(client, texts[0] if within else "select 1")
            reply = say(client, texts[1])
            if within:
                say(sender, "notify news, 'größe'")
                reply = say(client, texts[2])
            told = [payload_of(message) for message in reply if message.kind == "A"]
            assert told == (["größe".encode(encoding)] if within else [])
            say(sender, "notify news, 'größer'")
            assert payload_of(client.until("A")[-1]) == "größer".encode(encoding)


def test_payload_that_the_client_s_encoding_lacks_ends_it_alone(
    pooler: stack.Pooler, sender: RawClient, direct: Callable[..., RawClient]
) -> None:
    """As on a connection of its own; whoever else reads that encoding hears of nothing."""
    with direct() as native, pooler.connect("one") as client, pooler.connect("one") as other, pooler.connect("one") as utf8:
        for who in (native, client, other):
            say(who, "set client_encoding = 'LATIN1'")
        for who in (native, client, utf8):
            say(who, "listen news")
        say(other, "listen other")
        sender.query("set client_encoding = 'UTF8'")
        say(sender, "notify news, 'größe'")
        say(sender, "notify news, 'Größe \u2603'")
        wanted, found = [
            [message.sqlstate if message.kind == "E" else payload_of(message) for message in who.messages()]
            for who in (native, client)
        ]
        assert found == wanted == ["größe".encode("latin-1"), "22P05"]
        assert utf8.until("A", 2)[-1].body.endswith("Größe \u2603".encode() + b"\0")
        say(sender, "notify other, 'ü'")
        assert payload_of(other.until("A")[-1]) == "ü".encode("latin-1")


def test_channel_outside_ascii_and_another_encoding(pooler: stack.Pooler, sender: RawClient) -> None:
    """Its name is the client's own spelling, whatever that is at the time."""
    with pooler.connect("one") as client:
        sender.query("set client_encoding = 'UTF8'")
        say(client, 'listen "größe"')
        for encoding in ("latin-1", "utf-8", "latin-1"):
            say(client, f"set client_encoding = '{encoding}'")
            name = "größe".encode(encoding)
            say(sender, "notify \"größe\", 'x'")
            assert client.until("A")[-1].body[4:] == name + b"\0x\0"
            assert wire.values(say(client, "select pg_listening_channels()")) == [name]
            assert wire.kinds(say(client, wire.query(b'notify "' + name + b'"'))) == "CAZ"
        say(client, "begin; unlisten *; commit")
        assert channels(client) == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_channels_outside_ascii_are_told_apart(pooler: stack.Pooler, sender: RawClient, encoding: str) -> None:
    """An old one and a new one, while the listening connection takes over."""
    old, new = "größe".encode(encoding), "größer".encode(encoding)
    with pooler.connect("one") as client:
        say(client, f"set client_encoding = '{encoding}'")
        say(client, wire.query(b'listen "%s"' % old))
        say(client, wire.query(b'begin; listen "%s"; notify "%s", \'1\'; notify "%s", \'2\'' % (new, old, new)))
        sender.query("set client_encoding = 'UTF8'")
        say(sender, "notify \"größe\", '0'")
        reply = say(client, "commit")
        assert [message.body[4:] for message in reply if message.kind == "A"] == [
            name + b"\0" + payload + b"\0" for name, payload in ((old, b"0"), (old, b"1"), (new, b"2"))
        ]
