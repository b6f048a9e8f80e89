"""Online restart of clients that listen: they move to another listening connection, and hear everything once.

PostgreSQL gives all listeners of a database what is committed in one order. So a mark in that order, a notification to which only
the two processes listen, tells them where one of them stops and the other begins:

    1. the old process asks the new one to listen to the clients' channels and for the mark, and listens for the mark itself
    2. when both do, the old one reads each of these clients no more as soon as that is idle, and a moment later notifies the mark
    3. where it hears the mark it has told those who are idle everything before it, and tells them nothing more: they go
    4. the new process keeps what it hears behind the mark, and nothing before it, until these clients are there

A client in a longer transaction stays, and is tried again with another mark. How a client is passed is takeover.py's.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pgpool_py.relay._io import clock
from pgpool_py.relay.client import Client
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.relay.subscription import Subscription
from pgpool_py.session.channels import Mailbox

CLIENTS = 200  # that go at one mark
CHANNELS = 2000  # that they listen to together: the request must fit into one message
PATIENCE = 5.0  # seconds until both listen
MOMENT = 0.05  # seconds for clients to become idle in; twice as long for those who were too busy for it, and again
LONGEST = 1.6
MARKED = 1.0  # seconds from the mark's NOTIFY until it is heard
PAUSE = 1.0  # seconds until the next attempt after one that failed

Message = dict[str, Any]


def may_move(client: Client) -> bool:
    """Whether a client that listens is idle, and has nothing under way with its listening connection."""
    subscription = client.subscription
    if subscription is None or client.awaiting or client.held or client.kept is not None or client.out is not None:
        return False
    return bool(subscription.at_rest and client.server is None and client.state is client.relay.client_idle_state)


class _Member:
    """What a listening connection expects of those who listen to it; this one is no client."""

    client = None
    channels: frozenset[bytes] = frozenset()


class Departure(_Member):
    """Old process: one attempt to let some clients of one listening connection go."""

    def __init__(
        self,
        number: int,
        source: ListeningConnection,
        clients: list[Client],
        now: float,
        moment: float,
        wake: Callable[[], None],
    ) -> None:
        self.number = number
        self.moment = moment
        self.source = source
        self.clients = clients
        self.deadline = now + PATIENCE
        self.marker = b"pgpool_py_" + secrets.token_hex(16).encode()
        self.names: set[bytes] = set().union(*(client.subscription.channels for client in clients))
        self.awaited = {self.marker}
        self.mailbox = self
        self.reached = False
        self._wake = wake
        self._listeners = 0  # of the two processes
        self._mark_at = 0.0
        source.join(self)
        source.table.add(self, self.marker)
        source.ask(self)

    def request(self) -> Message:
        """What the new process is to listen to."""
        names = [name.hex() for name in self.names]
        return {"reserve": self.number, "marker": self.marker.hex(), "channels": names}

    def listens(self) -> None:
        """One of the two processes does."""
        self._listeners += 1
        if self._listeners == 2:
            for client in self._listening():
                client.subscription.halting = True
                if may_move(client):
                    client.pause()
            now = clock()
            self._mark_at, self.deadline = now + self.moment, now + self.moment + MARKED
            self.step(now)

    def step(self, now: float) -> None:
        """Notify the mark when all are idle, or their time is over."""
        if self._mark_at and (now >= self._mark_at or all(map(may_move, self._listening()))):
            self._mark_at = 0.0
            self.source.notify(self.marker)

    def _listening(self) -> Iterator[Client]:
        """Those who still listen here, and to nothing but what the new process was asked for."""
        for client in self.clients:
            subscription = client.subscription
            if subscription is not None and subscription.source is self.source and subscription.channels <= self.names:
                yield client

    def answered(self, source: ListeningConnection) -> None:
        """We listen for the mark."""
        self.listens()

    def put(self, channel: bytes, message: bytes) -> None:
        """The mark, in the order of all notifications: from here on the new process tells those who go."""
        self.reached = True
        for client in list(self._listening()):
            client.subscription.deliver()
            if may_move(client) and not client.subscription.mailbox:
                client.subscription.departing = True
                client.pause()  # again: a client that has taken what was kept for it is read

    def go_on(self) -> None:
        """What was heard together with the mark is distributed: `finish` can follow, outside of the relay's events."""
        self._wake()

    def finish(self, send: Callable[[Client, int], bool]) -> bool:
        """Send those who go; the others stay. Whether all have gone."""
        all_gone = True
        for client in self.clients:
            subscription = client.subscription
            if client.closed or subscription is None:
                continue
            if subscription.departing and may_move(client) and send(client, self.number):
                continue
            all_gone = False
            subscription.departing = subscription.halting = False
            if client.out is None and client.kept is None and not client.ending:
                client.resume()
            subscription.deliver()
        self.source.table.remove(self, self.marker)
        self.source.part(self)
        return all_gone

    def lost(self, source: ListeningConnection, reason: str, successor: ListeningConnection | None) -> None:
        """The clients hear of it themselves."""
        self.deadline = 0.0

    def refused(self, source: ListeningConnection, code: str, message: str) -> None:
        """There is no listening connection any more."""
        self.deadline = 0.0


class Departures:
    """Old process: the attempts, one at a time for each listening connection.

    *say* and *send*, of a message and of a client, are False where there is no room for it at the moment.
    """

    def __init__(
        self, say: Callable[[Message], bool], send: Callable[[Client, int], bool], wake: Callable[[], None]
    ) -> None:
        self._say = say
        self._send = send
        self._wake = wake  # have `step` called soon
        self._under_way: dict[int, Departure] = {}
        self._again_at: dict[ListeningConnection, float] = {}
        self._moments: dict[ListeningConnection, float] = {}
        self._unsaid: list[Message] = []
        self._numbers = itertools.count(1)

    def reserved(self, number: int) -> None:
        """The new process listens."""
        if number in self._under_way:
            self._under_way[number].listens()

    def step(
        self, now: float, movable: Callable[[], Iterable[Client]], place_of: Callable[[Client], Message]
    ) -> None:
        """Go on with what is under way, and begin with those who are not and could move."""
        for departure in list(self._under_way.values()):
            departure.step(now)
            if departure.reached or now >= departure.deadline:
                self._finish(departure, now)
        while self._unsaid and self._say(self._unsaid[0]):
            del self._unsaid[0]
        for source, group in self._groups(now, movable()):
            moment = self._moments.get(source, MOMENT)
            departure = Departure(next(self._numbers), source, group, now, moment, self._wake)
            self._under_way[departure.number] = departure
            if not self._say({**place_of(group[0]), **departure.request()}):
                self._finish(departure, now)

    def end(self) -> None:
        """There is no new process any more: everybody stays."""
        for departure in self._under_way.values():
            departure.finish(lambda client, number: False)
        self._under_way.clear()

    def _finish(self, departure: Departure, now: float) -> None:
        all_gone = departure.finish(self._send)
        self._moments[departure.source] = MOMENT if all_gone else min(LONGEST, 2 * departure.moment)
        del self._under_way[departure.number]
        self._unsaid.append({"release": departure.number})
        if not departure.reached:
            self._again_at[departure.source] = now + PAUSE

    def _groups(self, now: float, clients: Iterable[Client]) -> Iterator[tuple[ListeningConnection, list[Client]]]:
        busy = {departure.source for departure in self._under_way.values()}
        groups: dict[ListeningConnection, list[Client]] = {}
        channels: dict[ListeningConnection, int] = {}
        for client in clients:
            source = client.subscription.source
            if source in busy or not source.opened or now < self._again_at.get(source, 0.0):
                continue
            group = groups.setdefault(source, [])
            channels[source] = channels.get(source, 0) + len(client.subscription.channels)
            if not group or (len(group) < CLIENTS and channels[source] <= CHANNELS):
                group.append(client)
        yield from groups.items()


class Arrival(_Member):
    """New process: what is heard for the clients of one departure.

    *admit* makes a client of a record and a descriptor, and has `subscribe` called before it goes on.
    """

    def __init__(
        self,
        source: ListeningConnection,
        request: Message,
        reserved: Callable[[], None],
        admit: Callable[[Message, int, Arrival], None],
    ) -> None:
        self.source = source
        self.marker = bytes.fromhex(request["marker"])
        self.awaited = {self.marker, *map(bytes.fromhex, request["channels"])}
        self.mailbox = self
        self._reserved = reserved
        self._admit = admit
        self._reached = False
        self._released = False
        self._lost = ""
        self._behind = Mailbox(source.mailbox_size)  # what was heard behind the mark
        self._waiting: list[tuple[Message, int]] = []
        source.join(self)
        for channel in self.awaited:
            source.table.add(self, channel)
        source.ask(self)

    def answered(self, source: ListeningConnection) -> None:
        """The server listens to all of it. If it refused some, nothing is said, and nobody comes."""
        if source.table.heard.issuperset(self.awaited):
            self._reserved()

    def put(self, channel: bytes, message: bytes) -> None:
        """The mark, or a notification."""
        if channel == self.marker:
            self._reached = True
        elif self._reached:
            self._behind.put(channel, message)

    def go_on(self) -> None:
        """Something was heard: perhaps the mark, for which clients wait."""
        if self._reached and self._waiting:
            asyncio.get_running_loop().call_soon(self._let_in)

    def receive(self, record: Message, fd: int) -> None:
        """A client has come; it is let in when the mark has been heard here, too."""
        self._waiting.append((record, fd))
        if self._reached or self._lost:
            self._let_in()

    @property
    def waiting(self) -> int:
        """Clients that are not let in yet."""
        return len(self._waiting)

    def release(self) -> None:
        """Nobody else comes."""
        self._released = True
        if not self._waiting:
            self._end()

    def subscribe(self, client: Client, channels: set[bytes]) -> None:
        """*client* listens to *channels*; what came behind the mark is for it, too."""
        source = client.relay.broker.listening_connection(client) if self._lost else self.source
        subscription = Subscription(client, source, channels)
        if self._lost:
            subscription.begin_with_a_loss(self._lost)
        else:
            self._behind.copy_to(subscription.mailbox, channels)
        client.subscription = subscription

    def _let_in(self) -> None:
        waiting, self._waiting = self._waiting, []
        for record, fd in waiting:
            self._admit(record, fd, self)
        if self._released:
            self._end()

    def _end(self) -> None:
        if not self._lost:
            for channel in self.awaited:
                self.source.table.remove(self, channel)
            self.source.part(self)

    def lost(self, source: ListeningConnection, reason: str, successor: ListeningConnection | None) -> None:
        """Who comes has missed something."""
        self._lost = f"the listening connection was lost: {reason}"
        self._let_in()

    def refused(self, source: ListeningConnection, code: str, message: str) -> None:
        """There is no listening connection, and nothing was promised."""
        source.part(self)
        self._lost = message
        self._let_in()
