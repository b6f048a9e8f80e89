"""Clients that listen, at an online restart: whatever happens in which order, each hears everything once, and in order.

PostgreSQL is a list of what was committed, which the two listening connections read at their own pace.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pgpool_py.app.moving import Arrival, Departures, may_move
from pgpool_py.relay._io import clock
from tests.relay import test_subscription as fakes

SOON = 0.06  # later than a departure's first moment
IDLE, ACTIVE = object(), object()


class Connection(fakes.Source):
    """A listening connection that reads the list."""

    def __init__(self, commits: list[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self.commits = commits
        self.at = 0
        self.mailbox_size = 0

    def read(self) -> None:
        if self.at < len(self.commits):
            channel, payload = self.commits[self.at]
            self.at += 1
            if channel in self.table.heard:
                self.hear(channel, payload)

    def answer(self) -> None:
        while self.at < len(self.commits):
            self.read()
        super().answer()

    def notify(self, channel: bytes) -> None:
        self.commits.append((channel, b""))


class Client(fakes.Client):
    """A client, in the old process or in the new one; *heard* is what it was told in both."""

    def __init__(self, source: Connection, number: int, heard: list[bytes]) -> None:
        super().__init__(source)
        self.number = number
        self.sent = heard
        self.reading = True
        self.awaiting = 0
        self.ending = False
        self.state = IDLE
        self.relay.client_idle_state = IDLE

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


class World:
    """Two processes, the messages between them, and what each client should have heard."""

    def __init__(self) -> None:
        self.commits: list[tuple[bytes, bytes]] = []
        self.old, self.new = Connection(self.commits), Connection(self.commits)
        self.to_new: list[Any] = []
        self.to_old: list[int] = []
        self.arrivals: dict[int, Arrival] = {}
        self.moved: dict[int, Client] = {}
        self.departures = Departures(self.say, self.send, self.wake)
        self.clients = [Client(self.old, number, []) for number in range(3)]
        self.expected: list[list[bytes]] = [[] for _ in self.clients]
        for client, channel in zip(self.clients, (b"a", b"b", b"a"), strict=True):
            self.listen(client, channel)

    def listen(self, client: Client, channel: bytes) -> None:
        assert client.subscription is not None
        self.old.answer()  # what was committed before is not heard
        client.subscription.channels.add(channel)
        self.old.table.add(client.subscription, channel)
        self.old.answer()

    def commit(self, channel: bytes) -> None:
        payload = b"<%d>" % len(self.commits)
        self.commits.append((channel, payload))
        for client, expected in zip(self.clients, self.expected, strict=True):
            listening = self.moved.get(client.number, client).subscription or client.subscription
            if channel in self.channels[client.number] if listening is None else channel in listening.channels:
                expected.append(payload)

    @property
    def channels(self) -> dict[int, set[bytes]]:
        """Of those who are neither here nor there yet."""
        return {message[2]: message[3] for message in self.in_transit}

    @property
    def in_transit(self) -> list[Any]:
        waiting = [record["client"] for arrival in self.arrivals.values() for record, _ in arrival._waiting]
        return [message for message in self.to_new if isinstance(message, tuple)] + waiting

    # between the processes

    def wake(self) -> None:
        asyncio.get_running_loop().call_soon(self.step)

    def say(self, message: dict[str, Any]) -> bool:
        self.to_new.append(message)
        return True

    def send(self, client: Any, number: int) -> bool:
        self.to_new.append(("client", number, client.number, set(client.subscription.channels)))
        client.closed = True
        client.subscription.leave()
        return True

    def admit(self, record: dict[str, Any], fd: int, arrival: Arrival) -> None:
        _, _, number, channels = record["client"]
        client = self.moved[number] = Client(self.new, number, self.clients[number].sent)
        assert client.subscription is not None
        client.subscription.leave()
        arrival.subscribe(client, channels)  # type: ignore[arg-type]
        assert client.subscription is not None
        client.subscription.deliver()

    def to_the_new(self) -> None:
        if not self.to_new:
            return
        message = self.to_new.pop(0)
        if isinstance(message, tuple):
            self.arrivals[message[1]].receive({"client": message}, 0)
        elif "reserve" in message:
            number = message["reserve"]
            arrival = Arrival(self.new, message, lambda: self.to_old.append(number), self.admit)  # type: ignore[arg-type]
            self.arrivals[number] = arrival
        else:
            self.arrivals[message["release"]].release()

    def to_the_old(self) -> None:
        if self.to_old:
            self.departures.reserved(self.to_old.pop(0))

    def step(self) -> None:
        idle: list[Any] = [client for client in self.clients if not client.closed]
        self.departures.step(clock() + SOON, lambda: filter(may_move, idle), lambda client: {})

    # what a client does

    def begin(self, number: int) -> None:
        client = self.clients[number]
        if client.reading and not client.closed and client.server is None:
            client.take()
            client.state = ACTIVE

    def end(self, number: int) -> None:
        client = self.clients[number]
        if client.server is not None:
            if not client.held:
                client.end_transaction()
            self.old.answer()
            client.server, client.state = None, IDLE

    def also_listens(self, number: int) -> None:
        client = self.clients[number]
        if client.reading and not client.closed and client.server is None:
            self.listen(client, b"c")


ACTIONS = (
    *(("commit", channel) for channel in (b"a", b"b", b"c")),
    *((name, number) for name in ("begin", "end", "also_listens") for number in (0, 1)),
    *((name, None) for name in ("to_the_new", "to_the_old", "step", "old reads", "new reads", "old answers", "new answers")),
)


async def play(actions: list[tuple[str, Any]]) -> World:
    world = World()
    others = {"old reads": world.old.read, "new reads": world.new.read}
    others |= {"old answers": world.old.answer, "new answers": world.new.answer}

    async def act(name: str, argument: Any = None) -> None:
        action = others.get(name) or getattr(world, name)
        action(*(() if argument is None else (argument,)))
        await asyncio.sleep(0)

    for action in actions:
        await act(*action)
    for number in (0, 1):
        world.end(number)
    for _ in range(20):
        for name in ("step", "to_the_new", "new answers", "to_the_old", "old answers", "step", "new reads", "to_the_new"):
            await act(name)
    return world


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), max_size=50))
def test_everybody_moves_and_hears_everything_once(actions: list[tuple[str, Any]]) -> None:
    world = asyncio.run(play(actions))
    assert sorted(world.moved) == [0, 1, 2]
    for client, expected in zip(world.clients, world.expected, strict=True):
        heard = re.findall(rb"<\d+>", b"".join(client.sent))
        assert heard == expected, client.number


def test_who_begins_to_listen_to_something_else_stays_for_now() -> None:
    """The new process was not asked to listen to that: it must not be what is missed."""
    before = ["step", "to_the_new", "new answers", "also_listens", "to_the_old"]
    names = [*before, "old answers", "commit", "to_the_new", "new answers"]
    arguments = {"also_listens": 0, "commit": b"c"}
    world = asyncio.run(play([(name, arguments.get(name)) for name in names]))
    assert re.findall(rb"<\d+>", b"".join(world.clients[0].sent)) == world.expected[0] != []


def test_who_comes_after_a_loss_is_told_so() -> None:
    """The new process' listening connection went away after it had promised to listen."""

    async def story() -> Client:
        world = World()
        world.step()
        world.to_the_new()
        world.new.answer()
        world.to_the_old()
        world.old.answer()
        world.step()
        world.old.read()
        world.arrivals[1].lost(world.new, "gone", None)  # type: ignore[arg-type]
        for _ in range(10):
            world.step()
            world.to_the_new()
        return world.moved[0]

    client = asyncio.run(story())
    assert client.ends and client.ends[0][0] == "57P01" and "gone" in client.ends[0][1]


def test_everybody_stays_when_the_new_process_ends() -> None:
    """In the moment in which they are not read: they are again, and hear on."""

    async def story() -> World:
        world = World()
        world.begin(0)
        world.end(0)
        world.step()
        world.to_the_new()
        world.new.answer()
        world.to_the_old()
        world.old.answer()
        world.departures.end()
        world.commit(b"a")
        world.old.answer()
        return world

    world = asyncio.run(story())
    assert [client.reading for client in world.clients] == [True] * 3
    assert re.findall(rb"<\d+>", b"".join(world.clients[2].sent)) == world.expected[2] != []


