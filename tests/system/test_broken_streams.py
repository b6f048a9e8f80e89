"""Clients that talk nonsense, break off anywhere and leave in every way: their server is fit for the next one, at once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import WAYS_OUT, RawClient
from tests.system.test_interleavings import MORE_LETTERS, message

COPY = wire.query("create temp table if not exists copied (n int); copy copied from stdin") + wire.copy_data(b"1\n")
LONG = {"server_reset_timeout": 300, "leaving_query_timeout": 300}  # nothing here is to wait for either


def one_message(chance: random.Random, place: int) -> bytes:
    """A message of any kind, those that leave state behind among them."""
    kind = chance.choice([*MORE_LETTERS, "setting", "objects", "copy", "cursor", "function"])
    if kind == "setting":
        return wire.query("listen x; set broken.stream = 'x'")
    if kind == "objects":
        return wire.query("create temp table if not exists t (n int); select pg_advisory_lock(1)")
    if kind == "copy":
        return COPY + chance.choice([b"", wire.copy_done(), wire.copy_fail("no")])
    if kind == "cursor":
        return wire.query("declare c cursor with hold for select 1")
    if kind == "function":
        return wire.raw(b"F", b"\0\0\0\x10" + chance.randbytes(chance.randrange(12)))
    return message(kind, chance.choice(["", "s1"]), 1, place)


def stream(chance: random.Random) -> bytes:
    """Some messages, of which some are damaged, but in their upper length bytes, or cut off."""
    parts = []
    for place in range(chance.randrange(1, 8)):
        data = bytearray(one_message(chance, place))
        if chance.random() < 0.25:
            for _ in range(chance.randrange(1, 3)):
                at = chance.randrange(len(data))
                if at not in (1, 2):
                    data[at] = chance.randrange(256)
        parts.append(bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data))
    return b"".join(parts)


def play(client: RawClient, data: bytes, chance: random.Random) -> None:
    """Say it, perhaps in two pieces, and leave."""
    if chance.random() < 0.3:
        cut = chance.randrange(len(data) + 1)
        client.send(data[:cut])
        stack.wait_a_bit(chance.randrange(800))
        data = data[cut:]
    client.send(data)
    way = chance.choice([*WAYS_OUT, "half"])
    if way == "half":
        client.half_close()
        list(client.messages())
        client.vanish()
    else:
        WAYS_OUT[way](client)


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such settings")
@pytest.mark.parametrize("seed", [1, 3])
def test_whatever_a_client_says_the_next_is_served(start_pooler: Callable[..., stack.Pooler], seed: int) -> None:
    """At once, by a server without a trace of it; and whoever half-closes is answered or ended."""
    pooler = start_pooler(LONG)
    chance = random.Random(seed)
    for number in range(150):
        data = stream(chance)
        try:
            play(pooler.connect("one"), data, chance)
        except TimeoutError:
            raise
        except OSError:
            pass  # ended for what it had said before
        with pooler.connect("one") as other:
            assert other.ask("select current_setting('broken.stream', true)") is None, (number, data)
            locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
            assert other.ask(locks) == "0", (number, data)


AMID_COPY = {
    "Query": wire.query("rollback"),
    "Parse": wire.parse("", "select 1") + wire.sync(),
    "FunctionCall": wire.raw(b"F", b"\0\0\0\x10"),
}


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such settings")
@pytest.mark.parametrize("waits", [True, False], ids=["in copy", "at once"])
@pytest.mark.parametrize("data", AMID_COPY.values(), ids=AMID_COPY.keys())
def test_requests_amid_a_copy_end_the_session(start_pooler: Callable[..., stack.Pooler], data: bytes, waits: bool) -> None:
    """As on a direct connection, where the server has lost its synchronization then; nobody waits for anything."""
    pooler = start_pooler(LONG)
    client = pooler.connect("one")
    client.send(COPY)
    if waits:
        assert client.receive().kind == "C"
        assert client.receive().kind == "G"
    client.send(data)
    last = list(client.messages())[-1]
    assert (last.kind, last.fields["S"]) == ("E", "FATAL")
    assert last.fields["M"].endswith("during COPY from stdin")
    with pooler.connect("one") as other:
        assert other.ask("select to_regclass('copied')") is None


STRAY_COPY_ENDS = {
    "behind Parse": wire.parse("", "select 1") + wire.copy_done() + wire.sync(),
    "behind Execute": wire.parse("", "select 1") + wire.bind("", "") + wire.execute() + wire.copy_fail("x") + wire.sync(),
    "ahead of Query": wire.close_statement("a") + wire.copy_done() + wire.query("select 1"),
}


@pytest.mark.parametrize("data", STRAY_COPY_ENDS.values(), ids=STRAY_COPY_ENDS.keys())
def test_end_of_a_copy_that_never_began_is_ignored(pooler: stack.Pooler, direct: Callable[..., RawClient], data: bytes) -> None:
    """Though the server has not said yet that there is none: it would wait for a Flush, or a Sync."""
    with pooler.connect("one") as client, direct() as other:
        client.send(data)
        other.send(data)
        assert wire.kinds(client.until("Z")) == wire.kinds(other.until("Z"))


def test_names_that_are_no_text_cost_an_error_only(pooler: stack.Pooler) -> None:
    """A SET in an invalid encoding is refused by PostgreSQL; nothing that was sent behind it is."""
    with pooler.connect("one") as client:
        client.send(wire.query(b"listen x; set wrong\xa7 = 'x'"), wire.query("select 'behind'"))
        first = client.until("Z")
        assert wire.errors(first) == ["22021"]
        assert wire.values(client.until("Z")) == [b"behind"]


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such setting")
def test_nothing_is_done_for_a_client_that_was_ended(
    start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient]
) -> None:
    """What had come behind the request that ended its session is not carried out."""
    with direct() as owner:
        owner.query("create table if not exists ended (n int)")
        owner.query("truncate ended")
    pooler = start_pooler({"session_pin": "error"})
    client = pooler.connect("one")
    hidden = "do $$ begin execute 'create temp table hidden (n int)'; end $$"
    client.send(wire.query(hidden), *[wire.query("/* " + "x" * 1000 + " */ insert into ended values (1)")] * 3)
    errors = wire.errors(client.messages())
    assert errors[-1] == "57P01"
    with pooler.connect("one") as other:
        assert other.ask("select count(*) from ended") == "0"
