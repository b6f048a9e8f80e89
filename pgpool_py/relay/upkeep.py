"""A server connection between clients: the work of its own that makes it fit for the next one, and when it is.

A server is with a client (`client`), at work for the pooler itself (`step`), or idle in its pool. Own work is one query
at a time, awaited, with a deadline: ROLLBACK, the reset, the check. Only here is decided when a server may go back to its pool:
nothing owed, ReadyForQuery said idle, nothing unread, nothing unsent, nothing left behind. Any failure closes the server.

Hot: `settled` runs at the end of every transaction; `benchmarks/compare.py` guards it. What the server says is understood in
`server`, which is built on this.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from pgpool_py.relay.connection import Connection
from pgpool_py.session import flags
from pgpool_py.session.look import NO_RESET, NOTHING_LEFT, Finding, describe, in_force, question_of_start, read
from pgpool_py.session.settings import AT_ONCE, IDLE_TIMEOUT, SET_AT_ONCE, TEMP_BUFFERS, seconds
from pgpool_py.session.statement_texts import BLANK
from pgwire import DataRow, PeerViolation
from pgwire.expected import Action, Expected, Owed

random = secrets.SystemRandom()
OWED_QUERY = int(Owed.QUERY)
SKIP = int(Action.SKIP)
IDLE = ord("I")

# The bits of a verdict that make a server unfit for the next client.
UNCLEAN = flags.DIRTY | flags.RESET | flags.CHANNELS | flags.BARE | flags.HASTY | flags.UNSYNCED
CHANNELS = flags.CHANNELS
HASTY = flags.HASTY
RESET = flags.RESET
SEEDED = flags.SEED | flags.OPAQUE | flags.SETTINGS
UNSYNCED = flags.UNSYNCED

NOTHING: frozenset[bytes] = frozenset()
# Texts that ask for a snapshot, and so wait where new transactions are serializable and deferrable.
READS = re.compile(BLANK + rb"(?:select|values|with|table)\b", re.IGNORECASE)
# A server's statement without a name that is no client's.
UNKNOWN = object()
# Own work: what the query at hand is for.
STEP_NONE, STEP_ROLLBACK, STEP_RESET, STEP_CHECK, STEP_UNLISTEN, STEP_VERIFY, STEP_CONNECT, STEP_START, STEP_STAY = range(9)
# Why the server is closed where a step fails, or leaves a transaction open. (connect_query may fail.)
FAILURES = {
    STEP_ROLLBACK: "rollback failed",
    STEP_RESET: "server reset failed",
    STEP_UNLISTEN: "UNLISTEN failed",
    STEP_VERIFY: "the reset left something",
    STEP_CONNECT: "connect_query left a transaction open",
    STEP_START: "what connect_query has set cannot be read",
    STEP_STAY: "SET idle_session_timeout failed",
}
# The note of a query that puts a client's settings in force.
DIFFERENCE = "difference"
# The note of a question about the session's state.
LOOK = "look"
# The note of an empty query that may fail in place of what follows.
SETTLING = "settling"
# The note of a question of the pooler's own about the database, which leaves nothing behind.
UPKEEP = "upkeep"
# The note of a DISCARD SEQUENCES; and whose values are on a server: its owner's, others' too, or all of them are being removed.
CLEARED = "cleared"
UNMIXED, MIXED, CLEARING = range(3)
# The note of a LISTEN to a client's channels, or to the marks of the listening connection, or of an UNLISTEN of these.
CHANNELS_PLACED = "channels placed"
MARKER_PLACED = "marker placed"


class Upkeep(Connection):
    """A server as one that the pooler looks after; the comments of `__init__` are the contents page."""

    def __init__(self, relay: Any, fd: int, pool: Any, context: Any) -> None:
        Connection.__init__(self, relay, fd)
        # the pool's words
        self.pool = pool
        self.context = context
        self.state: Any = None
        self.connect_time = 0.0
        self.request_time = 0.0
        self.close_needed = False
        # protocol
        self.client: Connection | None = None
        self.expected = Expected()
        self.status = IDLE
        self.ready = True
        self.told_fatal = False
        self.ends = False  # it has said FATAL, and its client need not know
        # session: what is in force here
        self.dirty = 0
        self.uncleared = ""  # what is on it that no reset ends: why it is closed when its client lets go
        self.cause = b""  # since which statement
        self.verified = True  # or it was pinned: what a reset has left is looked for in the catalogs
        self.in_force: Any = None
        self.changed: Any = NOTHING  # settings, in lower case, that the transaction at hand has changed; None: who knows
        self.here: Any = None  # what is in force, where that was asked (`session.placing`); None: it was not
        self.start: Any = context.table.empty  # what connect_query has set, and for what it has been asked
        self.question: Any = None
        self.starts_temporary = False  # it has made temporary objects
        self.defaults: dict[bytes, tuple[bytes, bytes]] = {}
        # custom settings that are defined here, None: nothing keeps anybody from this server; and whether it has had temporary
        # objects (then `placeholders` is at least an empty set)
        self.placeholders: frozenset[bytes] | None = None
        self.temporary = False
        self.statements: dict[Any, bytes] = {}
        self.unnamed: Any = None
        # who called nextval here, and whether values of others may be among his: see sequences.py
        self.sequence_owner: Any = None
        self.sequence_mixed = UNMIXED
        # own work
        self.step = STEP_NONE
        self.deadline = 0.0
        self.step_error: bytes | None = None
        self.rows: list[bytes] = []
        self.difference_failed = False
        self.difference_answered = False
        self.cancels = 0
        self.canceled = False

    # --- given back ---

    def let_go(self) -> None:
        """The client is done with this server; it may be in a transaction, dirty, or still at work."""
        self.client = None
        self.resume()  # it may have waited for a client that read slowly
        if self.ready:
            self.settled()
        else:
            self.abandoned()

    def abandoned(self) -> None:
        """At work for a client that is gone, or found to be in the middle of its copy, or of a batch that failed."""
        if self.expected.copying_in and self.expected.head() == OWED_QUERY:
            # Nobody ends the copy any more: end it as a failure, as its client's disappearing would.
            self.expected.copy_ended()
            self.deadline = self.relay.now + self.context.reset_timeout
            self.relay.timed[self] = None
            self.send_data(b"f\0\0\0\x18client disconnected\0")
        elif self.passing or self.expected.lacks_sync():
            # A message half sent, or a batch without its Sync: only closing ends it without carrying it out. What runs already
            # would run on: PostgreSQL looks at its socket only when it has something to say.
            if self.expected.size() and not self.broken:
                self.relay.broker.cancel_server(self)
            self.close("client disconnect while active")
        else:
            # Cancel what runs; its replies are swallowed.
            self.deadline = self.relay.now + self.context.reset_timeout
            self.relay.timed[self] = None
            self.relay.broker.cancel_server(self)

    def settled(self) -> None:
        """Nothing owed and nobody's: clean up step by step, then back to the pool."""
        if self.closed or self.client is not None:
            return
        pool = self.pool
        if self.status == IDLE and not self.dirty & UNCLEAN and not self.canceled and self.out is None:
            if self.deadline:
                self.deadline = 0.0
                self.relay.timed.pop(self, None)
            self.dirty = 0
            waiter: Connection | None = pool.release(self, self.relay.now)
            if waiter is not None:
                waiter.linked(self)
            elif self.state is not self.relay.idle_state:
                self.relay.broker.released(self)
            return
        if self.out is not None:
            self.close("unsent bytes at release")
        elif self.cancels:
            # The cancel request is still on its way: whoever had this server next would be hit by it.
            if self.state is self.relay.active_state:
                pool.move(self, self.relay.being_canceled_state)
        elif self.status != IDLE:
            self.begin_reset()
            self.own_query(STEP_ROLLBACK, b"ROLLBACK")
        elif self.uncleared:
            setting = "" if self.uncleared == NO_RESET else " (session_placeholders)"
            self.close(f"no reset ends {describe((self.uncleared,), self.cause)}{setting}")
        elif self.canceled:
            # PostgreSQL has closed the cancel connection, so the signal is sent: an empty query takes it if nothing else did.
            self.canceled = False
            self.begin_reset()
            self.own_query(STEP_CHECK, b"")
        elif self.dirty & UNCLEAN == CHANNELS:
            self.begin_reset()
            self.own_query(STEP_UNLISTEN, b"UNLISTEN *")
        elif self.dirty & UNCLEAN == HASTY:
            self.begin_reset()
            self.stay()
        else:
            self.begin_reset()
            self.synchronize()
            if self.context.pooling and self.context.watching:
                # DISCARD ALL is a transaction as its session has set them, which may mean that it has to wait for others'.
                self.query(b"SET SESSION CHARACTERISTICS AS TRANSACTION " + AT_ONCE, None)
            if self.dirty & SEEDED and self.context.watching:
                # DISCARD ALL leaves random()'s seed: nobody is to foretell what others draw. If this fails, the reset did.
                self.query(b"SELECT pg_catalog.setseed(%r)" % random.uniform(-1, 1), None)
            self.own_query(STEP_RESET, self.context.reset_query)

    def condemn(self, what: str, cause: bytes) -> None:
        """Since the statement *cause* no reset ends *what* is on this server: it is closed when its client lets go."""
        self.uncleared = what
        self.cause = cause
        self.dirty |= flags.RESET

    def is_left(self) -> bool:
        """Whether it does no work of its own, though the pool has given it away: to a client, for upkeep, or for a cancel."""
        if self.step != STEP_NONE:
            return False
        state = self.state
        relay = self.relay
        return state is relay.active_state or state is relay.tested_state or state is relay.being_canceled_state

    def begin_reset(self) -> None:
        """Tell the pool that this server is being looked after."""
        self.changed = NOTHING
        self.here = None
        if self.state is self.relay.active_state:
            self.pool.begin_reset(self)
        elif self.state is self.relay.being_canceled_state:
            self.pool.move(self, self.relay.tested_state)

    def cancel_begun(self) -> None:
        """A cancel request for this server is being sent."""
        self.cancels += 1
        self.canceled = True

    def cancel_ended(self) -> None:
        """The cancel connection was closed by PostgreSQL: the signal is sent."""
        self.cancels -= 1
        if self.ready and self.client is None and self.is_left():
            self.settled()

    # --- own work ---

    def query(self, text: bytes, note: object) -> None:
        """Send a query of the pooler's own; its replies are swallowed."""
        self.ready = False
        self.unnamed = None
        self.step_error = None
        self.expected.add(OWED_QUERY + SKIP, note)
        self.send_data(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")

    def synchronize(self) -> None:
        """See to it that the next statement does not fail for how the last batch ended (`UNSYNCED`)."""
        if self.dirty & UNSYNCED:
            self.dirty &= ~UNSYNCED
            self.query(b"", SETTLING)

    def own_query(self, step: int, text: bytes) -> None:
        """Begin a step of own work, with a deadline."""
        self.step = step
        self.deadline = self.relay.now + self.context.reset_timeout
        self.relay.timed[self] = None
        self.query(text, step)

    def stay(self) -> None:
        """See to it that PostgreSQL does not end this session for being idle; then the server goes (back) to its pool."""
        self.own_query(STEP_STAY, b"SET idle_session_timeout = 0")

    def check(self, text: bytes) -> None:
        """Run server_check_query; the server then goes back to its pool, or is closed."""
        # Only before what needs a snapshot: with it the text is a block, and in a block not everything may run.
        self.own_query(STEP_CHECK, SET_AT_ONCE + text if self.context.watching and READS.match(text) else text)

    def timed_out(self) -> None:
        """The deadline of own work has passed."""
        self.close("server reset timed out" if self.step else "cancel took no effect in time")

    def own_row(self, row: bytes | None) -> None:
        """A row that answers a question of the pooler's own; None: too long to be kept."""
        note = self.expected.note
        if note is LOOK or note == STEP_START:
            if row is None:
                self.step_error = b"CXX000\0Ma value is too long to be kept\0\0"
            else:
                self.rows.append(row)
        elif isinstance(note, tuple) and row is not None and self.client is not None:
            self.client.setting_in_force(note, row)

    def own_done(self, note: object) -> None:
        """A ReadyForQuery for a query of the pooler's own has come."""
        if note == DIFFERENCE:
            if self.step_error is not None:
                self.difference_failed = True
            if self.expected.head() < 0 or self.expected.head_note() != DIFFERENCE:
                self.difference_answered = True
                if self.client is not None:
                    self.client.difference_known(self.difference_failed, self.step_error)
                else:
                    # Its client is gone: if it failed nobody knows what is in force.
                    if self.difference_failed:
                        self.in_force = self.context.table.empty
                        self.dirty |= RESET
                    self.difference_failed = self.difference_answered = False
            return
        if note == LOOK:
            rows, self.rows = self.rows, []
            if self.client is None:
                self.dirty |= RESET
            else:
                self.client.looked(rows, self.step_error)
            return
        if note == SETTLING:
            self.step_error = None
            return
        if note == CLEARED:
            failed = self.step_error is not None
            self.step_error = None
            self.sequence_mixed = MIXED if failed else UNMIXED
            if self.client is not None:
                self.client.cleared(failed)
            return
        if note == CHANNELS_PLACED or note == MARKER_PLACED:
            failed = self.step_error is not None
            self.step_error = None
            if self.client is not None:
                if note == MARKER_PLACED:
                    self.client.marker_placed(failed)
                else:
                    self.client.channels_placed(failed)
            return
        if not isinstance(note, int):
            return
        step = self.step
        self.step = STEP_NONE
        failure = FAILURES.get(step)
        if failure is not None and (self.status != IDLE or (step != STEP_CONNECT and self.step_error is not None)):
            self.close(failure)
            return
        if step == STEP_RESET:
            self.dirty = 0
            self.statements.clear()
            self.in_force = self.context.table.empty
            self.sequence_owner = None
            self.sequence_mixed = UNMIXED
            if not self.verified:
                self.own_query(STEP_VERIFY, SET_AT_ONCE + NOTHING_LEFT)
            else:
                self.say_connect_query()
        elif step == STEP_VERIFY:
            self.verified = True
            self.say_connect_query()
        elif step == STEP_UNLISTEN:
            self.dirty &= ~CHANNELS
        elif step == STEP_STAY:
            self.dirty &= ~HASTY
            self.in_force = self.context.table.with_value(self.in_force, IDLE_TIMEOUT, b"0")
        elif step == STEP_CONNECT:
            self.question = question_of_start(self.context.connect_query, self.context.placeholders)
            self.own_query(STEP_START, self.question.text())
        elif step == STEP_START:
            self.starts_anew()
        elif step == STEP_CHECK and self.step_error is not None and b"C57014\0" not in self.step_error:
            self.close("server_check_query failed")
        self.step_error = None

    def say_connect_query(self) -> None:
        """A full reset has undone what it left, if there is one."""
        if self.context.connect_query:
            self.own_query(STEP_CONNECT, self.context.connect_query)

    def starts_anew(self) -> None:
        """It has said what connect_query has left this time."""
        rows, self.rows = self.rows, []
        try:
            finding = read([DataRow.decode(row).values for row in rows], self.question)
        except PeerViolation as violation:
            self.doubt(violation.message)
            return
        self.starts(finding)

    def starts(self, finding: Finding) -> None:
        """Nobody has had it since connect_query, which has left this."""
        self.start = self.in_force = self.context.table.get(in_force({}, finding, True, self.defaults, self.context.user))
        self.starts_temporary = finding.temporary

    # --- what is in force here ---

    def define(self, names: Iterable[bytes]) -> None:
        """These custom settings are defined here from now on; those that the server started with always were."""
        new = frozenset([name for name in names if name not in self.defaults and name not in self.start.values])
        if new:
            self.placeholders = new if self.placeholders is None else self.placeholders | new

    def had_temporary(self) -> None:
        """There are, or may have been, temporary objects: temp_buffers cannot be set any more."""
        if self.starts_temporary:
            return  # no other server of the pool would be any better
        self.temporary = True
        if self.placeholders is None:
            self.placeholders = frozenset()

    def takes_buffers(self, settings: Any) -> bool:
        """Whether temp_buffers can be as these settings have it, and is free to be set where somebody does that."""
        if not self.temporary:
            return True
        wanted = settings.values.get(TEMP_BUFFERS)
        return not self.context.sets_buffers and (wanted is None or wanted == self.in_force.values.get(TEMP_BUFFERS))

    def idle_timeout(self) -> float:
        """After how many seconds PostgreSQL ends this session if it stays idle; 0.0: never."""
        own = self.in_force.idle_timeout
        return seconds(self.defaults.get(IDLE_TIMEOUT, (b"", b""))[1]) if own is None else own

    # --- when something ends ---

    def lost(self) -> None:
        """The connection ended, or was reset."""
        client = self.client
        self.client = None
        self.relay.close_server(self, "server conn crashed?" if client is not None else "server closed the connection")
        if client is not None:
            client.server_gone(self.told_fatal)

    def doubt(self, what: str) -> None:
        """Close because the replies do not add up."""
        self.context.doubts += 1
        client = self.client
        self.client = None
        self.relay.close_server(self, f"replies do not add up: {what}")
        if client is not None:
            client.server_gone(False)

    def on_broken(self) -> None:
        self.lost()

    def close(self, reason: str) -> None:
        """Close for a reason of the pooler's own; a client that holds it is told."""
        client = self.client
        self.client = None
        self.relay.close_server(self, reason)
        if client is not None:
            client.server_closing(reason)
