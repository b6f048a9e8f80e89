"""The echo soak: every reply carries its own query's marker, whatever is cancelled, reset and killed around it.

A hundred clients share five servers. Each sends marked requests of several shapes, checks every reply, and now and then
cancels itself, resets its connection in the middle, or leaves a transaction open; servers are terminated all the while.
A reply may be an error that this chaos explains. A reply with somebody else's marker is a mismatch, and none is allowed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import Address, RawClient
from tests.system.wire import Message

CLIENTS = 100
PATIENCE = 25  # seconds, more than query_wait_timeout
# What a client may be told because of the chaos: cancelled, terminated, server lost, refused while servers are away.
EXPLAINED = {"57014", "57P01", "08P01", "08006", "08000", "25P02", "53300", "57P03"}


class Gone(Exception):
    """The connection ended: by our own hand or with its server."""


class EchoClient:
    """One soaking client over asyncio streams; it connects again whenever its connection is lost."""

    def __init__(self, address: Address, database: str, number: int, prepared: bool, counts: Counter[str]) -> None:
        self.address, self.database, self.number, self.counts = address, database, number, counts
        self.random = random.Random(number)
        self.name = f" soaking {number}"
        self.prepared = prepared
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.sent = self.fruitless = 0
        self.names = self.generation = 0  # prepared statements of this connection, and since the last error
        self.key = (0, b"")
        self.cancelled = False

    async def run(self, queries: int) -> None:
        """Send *queries* marked queries, in as many connections as it takes."""
        while self.sent < queries:
            try:
                await self.connect()
                while self.sent < queries:
                    await self.one_request()
            except TimeoutError:
                self.counts["mismatches"] += 1
                self.counts[f"client {self.number} got no answer in {PATIENCE} s"] += 1
                return
            except (Gone, OSError, asyncio.IncompleteReadError) as error:
                self.counts["reconnects"] += 1
                self.fruitless += 1
                if self.fruitless > 100:
                    self.counts["mismatches"] += 1
                    self.counts[f"client {self.number} cannot work any more: {error!r}"] += 1
                    return
            finally:
                self.close()

    # The wire

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        self.names = 0
        who = {"user": stack.OWNER, "database": self.database, "application_name": self.name}
        self.writer.write(wire.startup(who))
        while (message := await asyncio.wait_for(self.receive(), PATIENCE)).kind != "Z":
            if message.kind == "E":
                self.explain(message)
                raise Gone(message)
            if message.kind == "K":
                self.key = struct.unpack("!I", message.body[:4])[0], message.body[4:]

    async def receive(self) -> Message:
        assert self.reader is not None
        head = await self.reader.readexactly(5)
        body = await self.reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        return Message(chr(head[0]), body)

    async def replies(self, ready: int) -> list[Message]:
        seen: list[Message] = []
        while ready:
            message = await asyncio.wait_for(self.receive(), PATIENCE)
            if message.kind == "E" and message.fields.get("S") in ("FATAL", "PANIC"):
                self.explain(message)
                raise Gone(message)
            seen.append(message)
            ready -= message.kind == "Z"
        return seen

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.writer = None

    # Requests

    async def one_request(self) -> None:
        shape = self.random.random()
        if shape < 0.55:
            await self.batch([self.simple()])
        elif shape < 0.75:
            await self.batch([self.extended()])
        elif shape < 0.9:
            await self.batch([self.simple() if self.random.random() < 0.5 else self.extended() for _ in range(8)])
        else:
            await self.transaction()

    def mark(self) -> str:
        self.sent += 1
        return f"{self.number}:{self.sent}"

    def simple(self) -> tuple[bytes, str]:
        mark = self.mark()
        kind = self.random.random()
        if kind < 0.01:
            return wire.query(f"select '{mark}', pg_sleep(0.002)"), mark
        if kind < 0.03:  # more than one read of the relay
            return wire.query(f"select '{mark}' || repeat('.', 100000)"), mark + "." * 100_000
        if kind < 0.2:  # the session's own settings, too, must be this client's
            return wire.query(f"select '{mark}' || current_setting('application_name')"), mark + self.name
        return wire.query(f"select '{mark}'"), mark

    def extended(self) -> tuple[bytes, str]:
        mark = self.mark()
        if not self.prepared:
            return wire.run("select $1::text", [mark.encode()]), mark
        known = self.names and self.random.random() < 0.9
        number = self.random.randrange(self.names) if known else self.names
        name, text = f"s{self.generation}_{number}", f"select $1::text, {number % 7}"
        prepare = b"" if known else wire.parse(name, text)
        self.names += not known
        return prepare + wire.bind("", name, [mark.encode()]) + wire.execute() + wire.sync(), mark

    async def batch(self, requests: list[tuple[bytes, str]]) -> None:
        assert self.writer is not None
        self.writer.write(b"".join(data for data, _ in requests))
        await self.chaos()
        self.check(await self.replies(len(requests)), [mark for _, mark in requests])

    async def transaction(self) -> None:
        assert self.writer is not None
        self.writer.write(wire.query("begin"))
        await self.replies(1)
        for _ in range(3):
            await self.batch([self.simple()])
        if self.random.random() < 0.02:
            self.counts["left in transaction"] += 1
            raise Gone
        self.writer.write(wire.query("commit"))
        await self.replies(1)

    # Chaos

    async def chaos(self) -> None:
        dice = self.random.random()
        if dice < 0.01:
            self.counts["cancels"] += 1
            self.cancelled = True
            await self.cancel()
        elif dice < 0.014:
            self.counts["resets"] += 1
            assert self.writer is not None
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Gone
        elif dice < 0.016:
            self.counts["terminates"] += 1
            assert self.writer is not None
            self.writer.write(wire.terminate())
            await self.writer.drain()
            raise Gone

    async def cancel(self) -> None:
        _, writer = await asyncio.open_connection(*self.address)
        writer.write(wire.cancel_request(*self.key))
        await writer.drain()
        writer.close()

    # Judgement

    def explain(self, message: Message) -> None:
        self.counts[f"error {message.sqlstate}"] += 1
        if message.sqlstate not in EXPLAINED:
            self.counts["mismatches"] += 1
            self.counts[f"unexplained {message!r}"] += 1
        elif message.sqlstate == "57014" and not self.cancelled:
            self.counts["mismatches"] += 1
            self.counts["cancelled by a stranger"] += 1

    def check(self, messages: list[Message], marks: list[str]) -> None:
        """Between one ReadyForQuery and the next: this mark's row, or an error."""
        expected = iter(marks)
        part: list[Message] = []
        failed = False
        for message in messages:
            part.append(message)
            if message.kind == "Z":
                mark = next(expected)
                rows, errors = wire.values(part), [one for one in part if one.kind == "E"]
                if rows not in ([mark.encode()], []) or (not rows and not errors):
                    self.counts["mismatches"] += 1
                    self.counts[f"{mark[:40]} got {part}"] += 1
                for error in errors:
                    # A Parse that was cancelled leaves nothing for the Binds behind it.
                    if not (failed and error.sqlstate == "26000"):
                        self.explain(error)
                    failed = True
                self.counts["queries"] += 1
                self.fruitless = 0
                part = []
        if failed:
            self.generation, self.names = self.generation + 1, 0
        if messages[-1].body == b"E":
            raise Gone  # a failed transaction: leave it open, the pooler has to deal with it


async def soak(pooler: stack.Pooler, queries: int, kill: Callable[[], None], pause: float) -> Counter[str]:
    """Run all clients; *kill* terminates a server every *pause* seconds."""
    counts: Counter[str] = Counter()
    prepared = not stack.IS_PEER
    clients = [EchoClient(pooler.address, "app", number, prepared, counts) for number in range(CLIENTS)]

    async def killer() -> None:
        while True:
            await asyncio.sleep(pause)
            kill()
            counts["kills"] += 1

    killing = asyncio.create_task(killer())
    try:
        await asyncio.gather(*(client.run(queries // CLIENTS) for client in clients))
    finally:
        killing.cancel()
    return counts


def run_soak(pooler: stack.Pooler, admin: RawClient, queries: int) -> Counter[str]:
    def kill() -> None:
        admin.query(
            f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{stack.OWNER}' order by random() limit 1"
        )

    # Some are sent and never answered, because their connection is reset or their server killed.
    counts = asyncio.run(soak(pooler, queries + queries // 20, kill, pause=0.25))
    print(dict(counts.most_common()))
    return counts


def check_soak(pooler: stack.Pooler, counts: Counter[str], queries: int) -> None:
    assert counts["mismatches"] == 0, counts
    assert counts["queries"] >= queries
    assert counts["kills"] and counts["resets"] and counts["cancels"] and counts["error 57014"]
    with pooler.connect("app") as client:
        assert client.ask("select 'alive'") == "alive"


def test_short_echo_soak(pooler: stack.Pooler, admin: RawClient) -> None:
    """Ten thousand queries: the soak's own health, and a first word on the pooler's."""
    check_soak(pooler, run_soak(pooler, admin, 10_000), 10_000)


@pytest.mark.slow
def test_echo_soak(pooler: stack.Pooler, admin: RawClient) -> None:
    """Two hundred thousand queries by a hundred clients on five servers: zero mismatches."""
    check_soak(pooler, run_soak(pooler, admin, 200_000), 200_000)
