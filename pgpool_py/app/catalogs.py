"""What is known of a database's catalogs, shared by all places that lead to it: when to look at them, and what is learned.

What the rows mean is for `session.catalog` to say; on which server they are asked for, for the broker.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgpool_py.backend.query import QueryFailed, Row
from pgpool_py.relay._io import clock
from pgpool_py.session.catalog import FACTS_QUERY, FINGERPRINT_QUERY, DatabaseFacts, facts_from_rows
from pgpool_py.session.flags import UNREAD
from pgpool_py.session.two_phase import UNKNOWN
from pgpool_py.session.verdict import IN_DOUBT, UNINFORMED

if TYPE_CHECKING:
    from pgpool_py.app.place import Place

Ask = Callable[[str], Awaitable[list[Row]]]

FACTS_INTERVAL = 2.0  # seconds between two looks at the catalogs of a database that is in use
LONGEST_FACTS_INTERVAL = 60.0
FACTS_SHARE = 0.01  # of one server's time that these looks take at most
UNREADABLE = (QueryFailed, ValueError, IndexError)  # what comes of reading them; the last two: rows that are no answer
CHANGED_INTERVAL = 0.3  # seconds between two looks after a client of ours ran DDL, or code that may have
CHANGED_SHARE = 0.05  # of one server's time, after code that may have
MANY_PREPARED = 1000  # transactions whose names are remembered


@dataclass(frozen=True, slots=True)
class PreparedChanges:
    """What a prepared transaction has created, in the words of `Noter`."""

    makes: int
    makes_settings: frozenset[bytes]
    makes_events: bool


@dataclass(slots=True, eq=False)
class Catalogs:
    """What was read from one database's catalogs; every place that leads there uses it."""

    facts: DatabaseFacts | None = None
    read_at: float = -math.inf
    reading: bool = False
    cost: float = 0.0  # seconds of a server's time that the last look took
    used: int = 0  # how many queries its clients had sent when it was taken
    # clients whose transaction changes the catalogs: until it has ended, reading them proves nothing
    changing: set[Any] = field(default_factory=set)
    doubts: int = 0  # how often that has been
    learned_at: int = 0  # the count when the facts were read
    users: list[Place] = field(default_factory=list)
    # transactions with DDL that were prepared here and may still be committed
    prepared: dict[bytes, PreparedChanges] = field(default_factory=dict)

    def doubt(self, client: Any) -> None:
        """A transaction of *client* that changed the catalogs is about to end: judge without them."""
        self.changing.add(client)
        events = self.facts is None or self.facts.runs_with_ddl or client.makes_events
        for place in self.users:
            place.context.facts_stale = True
            place.context.catalogs_changed()
            if place.context.scanner is not UNINFORMED and (events or place.context.scanner is not IN_DOUBT):
                place.context.doubt(UNINFORMED if events else IN_DOUBT)
            place.context.makes |= client.makes
            place.context.placeholders |= client.makes_settings
            place.overtake(client, client.makes, client.makes_settings)
        self.doubts += 1

    def prepare(self, client: Any, name: bytes) -> None:
        """The transaction of *client*, which has changed the catalogs, is prepared under that name."""
        if len(self.prepared) >= MANY_PREPARED:
            name = UNKNOWN
        self.prepared[name] = PreparedChanges(client.makes, client.makes_settings, client.makes_events)

    def take_prepared(self, name: bytes) -> PreparedChanges | None:
        """What the prepared transaction of that name changes, now that it is committed; None: nothing that is known."""
        found = self.prepared.pop(name, None) or self.prepared.get(UNKNOWN)
        if found is None and name == UNKNOWN and self.prepared:
            return PreparedChanges(UNREAD, frozenset(), True)
        return found

    def settle(self, client: Any) -> None:
        """The transaction of *client* has ended: what it changed is there, or it is not."""
        self.changing.discard(client)
        for place in self.users:
            place.context.catalogs_changed()

    def learn(self, facts: DatabaseFacts | None, now: float, doubts: int) -> None:
        """Judge by these facts from now on; verdicts given before are forgotten. *doubts* is what the count was when the reading
        began: facts that were in doubt meanwhile prove nothing."""
        if self.changing or doubts != self.doubts:
            return
        self.read_at = now
        self.used = self._uses()
        if facts is not self.facts or self.learned_at != doubts:
            changed, self.facts = facts is not self.facts, facts
            self.learned_at = doubts
            for place in self.users:
                if changed:
                    place.context.catalogs_changed()
                    place.overtake(None, 0, frozenset())
                if facts is None:
                    place.context.doubt(UNINFORMED)  # what was known of code that makes settings is so still
                else:
                    place.context.learn(facts.scanner)
                    place.context.placeholders = facts.placeholders

    async def read(self, ask: Ask) -> bool:
        """Look whether they have changed, and read them if so: whether they were read. *ask* answers a query with its rows."""
        doubts = -1 if self.changing else self.doubts  # what is being changed may be read as it was
        row = (await ask(FINGERPRINT_QUERY))[0]
        fingerprint, self.cost = row[0] or b"", float(row[1] or 0)
        if self.facts is not None and self.facts.fingerprint == fingerprint:
            self.learn(self.facts, clock(), doubts)
            return False
        self.learn(facts_from_rows(await ask(FACTS_QUERY), fingerprint), clock(), doubts)
        return True

    def due(self, now: float) -> bool:
        """Whether it is time to look again."""
        if self.reading or self.changing:
            return False
        if any(place.context.facts_stale for place in self.users):
            in_doubt = self.learned_at != self.doubts
            return now - self.read_at >= (CHANGED_INTERVAL if in_doubt else max(CHANGED_INTERVAL, self.cost / CHANGED_SHARE))
        # Where nobody has asked for anything nobody is misjudged; and a server that is left alone may be closed.
        interval = min(max(FACTS_INTERVAL, self.cost / FACTS_SHARE), LONGEST_FACTS_INTERVAL)
        return now - self.read_at >= interval and self._uses() != self.used

    def _uses(self) -> int:
        """How many queries its clients have sent whose texts are judged."""
        return sum(place.context.query_count for place in self.users if place.context.watching)


# Of places whose servers no client gets: nothing is judged there.
NOT_READ = Catalogs(read_at=math.inf)
