"""The same bytes on a direct connection and through the pooler, and the two replies compared.

PostgreSQL is the judge: no expectation is written down anywhere. Normalised away is only what may differ between two
right answers: where in PostgreSQL's source an error was raised, and when a ParameterStatus was sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from tests.system import wire
from tests.system.rawclient import RawClient
from tests.system.wire import Message

Reply = list[tuple[str, object]]
_SOURCE_PLACE = "FLR"


def normalise(messages: Iterable[Message]) -> Reply:
    """What two right answers have in common, byte for byte."""
    result: Reply = []
    for message in messages:
        if message.kind == "E" and "unexpected state STARTED" in message.fields["M"]:
            result.append(("I", b""))  # the blow of `end_of`, which a server that is given back does not keep for its next client
        elif message.kind in "EN":
            fields = {key: value for key, value in message.fields.items() if key not in _SOURCE_PLACE}
            result.append((message.kind, tuple(sorted(fields.items()))))
        elif message.kind not in "SK":
            result.append((message.kind, message.body))
    return result


def end_of(number: int) -> bytes:
    """What ends script *number*: a Sync that puts an end to any error, and a Query that cannot be mistaken.

    The empty Query between them takes the blow where PostgreSQL itself is out of order: after Parse, Bind, Execute and
    a Query with no Sync before it, the next but one command fails with XX000 (seen with PostgreSQL 18).
    """
    return wire.sync() + wire.query("") + wire.query(f"select 'end of {number}'")


def pieces(data: bytes, generator: random.Random | None) -> Iterator[bytes]:
    """*data* whole, or cut at random places, often inside a length or right behind a letter."""
    while data:
        size = len(data) if generator is None else generator.choice((1, 2, 3, 5, 8, 30, 200))
        yield data[:size]
        data = data[size:]


def play(
    client: RawClient, scripts: Iterable[tuple[int, bytes]], cut: random.Random | None = None, at_once: int = 1
) -> dict[int, Reply]:
    """The reply to each numbered script, read up to its own end mark. *at_once* scripts are sent in one go."""
    replies: dict[int, Reply] = {}
    pending: list[tuple[int, bytes]] = []

    def finish() -> None:
        for piece in pieces(b"".join(script + end_of(number) for number, script in pending), cut):
            client.send(piece)
        for number, _ in pending:
            replies[number] = normalise(_up_to_mark(client, number))
        pending.clear()

    for item in scripts:
        pending.append(item)
        if len(pending) == at_once:
            finish()
    finish()
    return replies


def _up_to_mark(client: RawClient, number: int) -> list[Message]:
    mark = [b"end of %d" % number]
    seen: list[Message] = []
    marked = False
    while not (marked and seen[-1].kind == "Z"):
        try:
            message = client.receive()
        except (OSError, EOFError) as error:
            raise AssertionError(f"script {number}: {error!r} after {seen[-8:]}") from None
        seen.append(message)
        if message.kind == "D" and message.columns == mark:
            marked = True
    return seen


def differences(right: dict[int, Reply], ours: dict[int, Reply]) -> list[str]:
    """One readable line for each script that was answered differently."""
    lines = []
    for number, expected in right.items():
        got = ours.get(number, [])
        if got != expected:
            place = next(
                (at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other),
                min(len(expected), len(got)),
            )
            lines.append(f"script {number}, message {place}: expected {expected[place:][:3]}, got {got[place:][:3]}")
    return lines
