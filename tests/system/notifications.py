"""Clients that listen, for the stories about LISTEN and NOTIFY: what they say, and what they hear."""

from __future__ import annotations

import struct

from tests.system import wire
from tests.system.rawclient import RawClient
from tests.system.wire import Message

LISTENING = "application_name = 'pgpool_py listen'"


def listening(admin: RawClient) -> set[bytes | None]:
    """The listening connections of all poolers."""
    return set(wire.values(admin.query(f"select pid from pg_stat_activity where {LISTENING}")))


def notification(message: Message) -> tuple[int, str, str]:
    """Process id, channel and payload."""
    channel, payload = message.body[4:].split(b"\0")[:2]
    return struct.unpack("!I", message.body[:4])[0], channel.decode(), payload.decode()


def heard(messages: list[Message]) -> list[tuple[str, str]]:
    """The notifications among *messages*: channel and payload."""
    return [notification(message)[1:] for message in messages if message.kind == "A"]


def say(client: RawClient, *messages: bytes | str) -> list[Message]:
    """Everything up to ReadyForQuery, notifications included, after queries or other messages."""
    client.send(*(wire.query(message) if isinstance(message, str) else message for message in messages))
    return client.until("Z")


def hear(client: RawClient, count: int = 1) -> list[tuple[str, str]]:
    """Wait for the next notifications, and for nothing else."""
    messages = client.until("A", count)
    assert wire.kinds(messages) == "A" * count
    return heard(messages)


def told_nothing(client: RawClient) -> bool:
    """Whether nothing came: a notification of its own, on a channel of its own, is the next it hears."""
    say(client, "listen fence")
    messages = say(client, "notify fence, 'end'")
    say(client, "unlisten fence")
    return heard(messages) == [("fence", "end")]


def channels(client: RawClient) -> list[str]:
    """What the client's session listens to, as it sees it itself."""
    rows = wire.values(say(client, "select c from pg_listening_channels() c order by 1"))
    return [value.decode() for value in rows if value is not None]
