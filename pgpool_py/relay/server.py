"""A server connection after its login: what it says is held against what it owes, and goes to the client that holds it.

Hot: `on_event` and `scan` run for every read from a server; `benchmarks/compare.py` guards them.

A server is with a client (`client`), at work for the pooler itself (`step`), or idle in its pool. Own work is one query
at a time, awaited, with a deadline: ROLLBACK, the reset, the check. Only here is decided when a server may go back to its pool:
nothing owed, ReadyForQuery said idle, nothing unread, nothing unsent, nothing left behind. Whatever does not add up
closes the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from pgpool_py.relay._io import byte, find_zero, piece, u32
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.interest import GONE, WRITE
from pgpool_py.session import flags
from pgpool_py.session.defaults import TAGS, Completed
from pgpool_py.session.look import NOTHING_LEFT, in_force, question_of_start, read
from pgpool_py.session.settings import IDLE_TIMEOUT, TEMP_BUFFERS, seconds
from pgwire import DataRow, PeerViolation
from pgwire.codes import Backend
from pgwire.expected import Action, Expected, Owed, Reply

random = secrets.SystemRandom()
DATA_ROW = int(Backend.DATA_ROW)
COMMAND_COMPLETE = int(Backend.COMMAND_COMPLETE)
READY_FOR_QUERY = int(Backend.READY_FOR_QUERY)
ERROR_RESPONSE = int(Backend.ERROR_RESPONSE)
PARAMETER_STATUS = int(Backend.PARAMETER_STATUS)
COPY_DATA = int(Backend.COPY_DATA)
ROW_DESCRIPTION = int(Backend.ROW_DESCRIPTION)
NOTICE_RESPONSE = int(Backend.NOTICE_RESPONSE)
NOTIFICATION_RESPONSE = int(Backend.NOTIFICATION_RESPONSE)
PARSE_COMPLETE = int(Backend.PARSE_COMPLETE)
CLOSE_COMPLETE = int(Backend.CLOSE_COMPLETE)
NO_DATA = int(Backend.NO_DATA)

OWED_QUERY = int(Owed.QUERY)
OWED_PARSE = int(Owed.PARSE)
OWED_DESCRIBE = int(Owed.DESCRIBE)
SKIP = int(Action.SKIP)
PASS = int(Reply.PASS)
WRONG = int(Reply.WRONG)

CHANNELS = flags.CHANNELS
# the status byte of ReadyForQuery
IDLE = ord("I")
IN_BLOCK = ord("T")
IN_FAILED_BLOCK = ord("E")
HOLD = 32768  # messages that need a look are kept until complete up to this size
HOLD_OWN = 131072  # the same for rows that answer the pooler's own question
LARGEST = 0x7FFFFFFE

# The bits of a verdict that make a server unfit for the next client.
UNCLEAN = flags.DIRTY | flags.RESET | flags.CHANNELS | flags.BARE | flags.HASTY
HASTY = flags.HASTY
RESET = flags.RESET
SEED = flags.SEED
SEEDED = flags.SEED | flags.OPAQUE
OPAQUE = flags.OPAQUE

# Command tags of statements that leave nothing behind, by their first four bytes. Any other tag that the verdict on the text
# did not foresee makes the server dirty: the second net.
PLAIN_TAGS = frozenset(
    int.from_bytes(tag, "big")
    for tag in (
        b"SELE", b"INSE", b"UPDA", b"DELE", b"MERG", b"BEGI", b"STAR", b"COMM", b"ROLL", b"SAVE", b"RELE", b"COPY",
        b"FETC", b"DECL", b"MOVE", b"SHOW", b"NOTI", b"EXPL", b"LOCK", b"VALU", b"TRUN", b"ANAL", b"VACU", b"CHEC", b"CLOS",
    )
)  # fmt: skip

SELECT = int.from_bytes(b"SELE", "big")
NO_COLUMNS = b"\0\0"  # a RowDescription's body

# Tags of commands that change a session, and the verdicts that foresee each.
FORESEEN = {
    b"SET": flags.SETTINGS | flags.TRANSACTION_LOCAL | flags.SEED,
    b"RESET": flags.SETTINGS | flags.TRANSACTION_LOCAL | flags.SEED,
    b"LISTEN": flags.LISTEN,
    b"UNLISTEN": flags.LISTEN | flags.CLEANUP,
    b"PREPARE": flags.STATEMENT,
    b"SET CONSTRAINTS": flags.TRANSACTION_LOCAL,
    b"PREPARE TRANSACTION": flags.TRANSACTION_END,
    b"DEALLOCATE": flags.STATEMENT | flags.CLEANUP,
    b"DEALLOCATE ALL": flags.STATEMENT | flags.CLEANUP,
    b"DISCARD ALL": flags.CLEANUP,
    b"DISCARD PLANS": flags.CLEANUP,
    b"DISCARD SEQUENCES": flags.CLEANUP,
    b"DISCARD TEMP": flags.CLEANUP,
    b"LOAD": flags.LIBRARY,
    b"CALL": -1,  # the verdict knows what is called
}

# Own work: what the query at hand is for.
STEP_NONE, STEP_ROLLBACK, STEP_RESET, STEP_CHECK, STEP_UNLISTEN, STEP_VERIFY, STEP_CONNECT, STEP_START, STEP_STAY = range(9)
# The note of a query that puts a client's settings in force.
DIFFERENCE = "difference"
# The note of a question about the session's state.
LOOK = "look"
# The note of a DISCARD SEQUENCES; and whose values are on a server: its owner's, others' too, or all of them are being removed.
CLEARED = "cleared"
UNMIXED, MIXED, CLEARING = range(3)


class Server(Connection):
    """One server connection; the comments of `__init__` are the contents page."""

    def __init__(self, relay: Any, fd: int, pool: Any, context: Any) -> None:
        Connection.__init__(self, relay, fd)
        # identity; the login fills these in
        self.number = 0
        self.address: Any = None
        self.pid = 0
        self.key = b""
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
        self.swallowing = False
        self.told_fatal = False
        # stamps for timeouts: the last ReadyForQuery, and the one that began the transaction at hand
        self.answered_at = 0.0
        self.transaction_start = 0.0
        # session: what is in force here
        self.dirty = 0
        self.unsettable = False
        self.verified = True  # or it was pinned: what a reset has left is looked for in the catalogs
        self.in_force: Any = None
        self.start: Any = context.table.empty  # what connect_query has set, and for what it has been asked
        self.question: Any = None
        self.defaults: dict[bytes, tuple[bytes, bytes]] = {}
        # custom settings that are defined here, None: nothing keeps anybody from this server; and whether it has had temporary
        # objects (then `placeholders` is at least an empty set)
        self.placeholders: frozenset[bytes] | None = None
        self.temporary = False
        self.reported: dict[bytes, bytes] = {}
        self.statements: dict[Any, bytes] = {}
        self.unnamed: Any = None
        # whose notifications come from here: who has it or had it last, and since when (0.0: a client that listens); who had it
        # until then, unless that one listens or the server was idle meanwhile
        self.owner_key = 0
        self.owner_since = 0.0
        self.former_key = 0
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

    # --- reading ---

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not events & ~WRITE or self.closed:
            return
        client = self.client
        if client is not None and client.out is not None:
            if self.reading:
                self.pause()
                return
            if not events & GONE:
                return
        at = 0 if self.tail is None else len(self.tail)
        n = self.read_behind(at)
        if n > 0:
            self.context.bytes_sent += n
            self.scan(at + n)
        elif n != -1:
            self.lost()

    def scan(self, stop: int) -> None:
        """Go through the messages in the shared buffer up to *stop*."""
        client = self.client
        expected = self.expected
        pos = 0
        start = 0
        if self.passing:
            if self.passing > stop:
                self.passing -= stop
                if client is not None and not self.swallowing:
                    client.send_range(0, stop)
                return
            pos = self.passing
            self.passing = 0
            if self.swallowing:
                start = pos
            if expected.fake_due:
                if client is not None and start < pos:
                    client.send_range(start, pos)
                start = pos
                self.send_fakes()
        while stop - pos >= 5:
            kind = byte(pos)
            length = u32(pos + 1)
            if length < 4 or length > LARGEST:
                self.doubt(f"message {chr(kind)!r} of {length} bytes")
                return
            end = pos + 1 + length
            whole = end <= stop
            if (
                not whole
                and length <= (HOLD if kind != DATA_ROW else HOLD_OWN)
                and (kind != DATA_ROW or (expected.head() > 0 and expected.head() & SKIP))
                and kind != COPY_DATA
                and (kind != ROW_DESCRIPTION or self.is_asked_for())
                and kind != NOTICE_RESPONSE
            ):
                break
            replaced = None
            if kind == ERROR_RESPONSE and whole:
                replaced = self.on_error(pos, end)
            elif kind == PARAMETER_STATUS and whole:
                replaced = self.on_parameter(pos + 5, end)
            elif kind == COMMAND_COMPLETE and whole:
                tag = u32(pos + 5)
                if tag != SELECT and tag not in PLAIN_TAGS:
                    if length < 5:
                        self.doubt("CommandComplete without a tag")
                        return
                    replaced = self.on_tag(piece(pos + 5, end - 1))
            elif kind == NOTIFICATION_RESPONSE and whole and client is not None:
                replaced = client.notified(piece(pos, end))
            elif (kind == ROW_DESCRIPTION or kind == NO_DATA) and client is not None and self.is_asked_for():
                if kind == NO_DATA:
                    client.columns_told(expected.head_note(), None)
                else:
                    # What is too large to be kept is like nothing the client was told.
                    client.columns_told(expected.head_note(), piece(pos + 5, end) if whole else NO_COLUMNS)
                if self.closed:
                    return
            answer = expected.answer(kind)
            if answer == WRONG:
                self.doubt(f"unexpected message {chr(kind)!r}, {expected!r}")
                return
            if expected.dropped:
                self.undo_dropped()
            if expected.suspect:
                # The reset meets a stray ReadyForQuery, if there is one, and the server is closed: no client is.
                expected.suspect = False
                self.dirty |= RESET
            if answer == PASS and client is not None:
                if replaced is not None:
                    client.send_range(start, pos)
                    client.send_data(replaced)
                    start = end
            else:
                if client is not None:
                    client.send_range(start, pos)
                start = end
                if kind == DATA_ROW and answer != PASS and expected.note is not None:
                    self.own_row(piece(pos + 5, end) if whole else None)
                    if self.closed:
                        return
            if kind == READY_FOR_QUERY:
                if length != 5:
                    self.doubt("ReadyForQuery of a wrong length")
                    return
                status = byte(pos + 5)
                self.answered_at = self.relay.now
                if status != IDLE:
                    if status != IN_BLOCK and status != IN_FAILED_BLOCK:
                        self.doubt(f"ReadyForQuery says {chr(status)!r}")
                        return
                    if self.status == IDLE:
                        self.transaction_start = self.relay.now
                self.status = status
                if status == IDLE and answer == PASS and client is not None and client.subscription is not None:
                    client.send_range(start, pos)
                    start = end
                    client.held = True
                if expected.head() < 0:
                    self.ready = True
                if expected.note is not None:
                    self.own_done(expected.note)
                    if self.closed:
                        return
            if expected.fake_due and whole:
                if client is not None and start < end:
                    client.send_range(start, end)
                start = end
                self.send_fakes()
            pos = end
            if not whole:
                # Bulk, or too large to keep: the rest goes the way of the beginning.
                self.passing = end - stop
                self.swallowing = start > stop
                if client is not None and start < stop:
                    client.send_range(start, stop)
                return
        if client is not None and start < pos:
            client.send_range(start, pos)
        if pos < stop:
            self.tail = piece(pos, stop)
        if self.difference_answered and client is not None:
            # Only now: the client goes on with what it kept, and that uses the shared buffer.
            self.difference_answered = False
            client.difference_done(self.difference_failed)
        elif self.ready and pos == stop:
            if client is not None:
                client.settled()
            elif self.told_fatal:
                self.lost()
            elif self.step == STEP_NONE and self.is_taken():
                self.settled()
        if client is not None and client.awaiting:
            client.answered()

    def is_asked_for(self) -> bool:
        """Whether the columns that come are those of a statement: its client is to know when they change."""
        return self.expected.head() & ~SKIP == OWED_DESCRIBE and self.expected.head_note() is not None

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

    def send_fakes(self) -> None:
        """Answer for the requests the server was not asked, as far as their turn has come."""
        expected = self.expected
        while expected.fake_due and not self.passing:
            kind = expected.head() & 7
            expected.pop()
            if self.client is not None:
                self.client.send_data(b"1\0\0\0\4" if kind == OWED_PARSE else b"3\0\0\0\4")

    def undo_dropped(self) -> None:
        """Hand the requests the server skipped back to the client, which undoes what it noted of them."""
        dropped = self.expected.dropped
        self.expected.dropped = []
        if self.client is not None:
            self.client.undo(dropped)
        else:
            self.dirty |= RESET  # nobody knows any more what this server has prepared: the reset clears it

    def on_error(self, pos: int, end: int) -> bytes | None:
        """Note an error; the message to send instead, or None to send it as it is."""
        expected = self.expected
        body = piece(pos + 5, end)
        if b"SFATAL\0" in body or b"VFATAL\0" in body or b"VPANIC\0" in body:
            self.told_fatal = True
        head = expected.head()
        if head < 0:
            return b"" if self.client is not None and self.client.keeps_idly() else None
        if head == OWED_QUERY + SKIP:
            self.step_error = body
        elif self.client is not None and (self.context.token in body or isinstance(expected.head_note(), Completed)):
            return self.client.own_names(body, expected.head_note())
        elif self.client is not None and b"RRevalidateCachedQuery\0" in body:
            self.client.plan_changed(expected.head_note())
        return None

    def on_parameter(self, pos: int, end: int) -> bytes | None:
        """Follow a setting that the server reports; the message to send instead, or None to send it as it is."""
        zero = find_zero(pos, end)
        if zero < 0 or zero + 1 == end:
            return None  # no name, or no value: the client may make of it what it can
        name = piece(pos, zero)
        value = piece(zero + 1, end - 1)
        # A new map each time: clients remember which one they were told by identity.
        self.reported = self.context.reported(self.reported, name, value)
        head = self.expected.head()
        if self.client is not None and not (head >= 0 and head & SKIP):
            return self.client.parameter_changed(name, value)
        return None

    def on_tag(self, tag: bytes) -> bytes | None:
        """A command other than the plain ones was carried out; empty if the client must not hear of it."""
        if self.expected.head() & SKIP:
            return None
        note = self.expected.head_note()
        if isinstance(note, Completed) and tag in TAGS and note.own_tag():
            return b""
        if tag == b"DISCARD ALL":
            self.in_force = self.context.table.empty
            if self.expected.size() == 1:
                # What a reset would do, the client has done; nothing else is under way. What it reports now is explained.
                self.dirty = flags.TRANSACTION_LOCAL | self.dirty & SEED
                if self.context.connect_query:
                    self.dirty |= RESET
        if tag == b"DISCARD ALL" or tag == b"DEALLOCATE ALL":
            if self.client is not None:
                self.client.reset_all(tag == b"DEALLOCATE ALL")
            else:
                self.statements.clear()
        elif self.context.watching:
            # The second net: what the text did not foresee is looked at as if nobody had read it.
            foreseen = FORESEEN.get(tag, flags.DDL | flags.SETTINGS)
            if foreseen != -1 and not self.dirty & (foreseen | OPAQUE):
                self.dirty |= OPAQUE
        return None

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

    def flushed(self) -> None:
        if self.client is not None:
            self.client.resume()

    # --- own work ---

    def query(self, text: bytes, note: object) -> None:
        """Send a query of the pooler's own; its replies are swallowed."""
        self.ready = False
        self.unnamed = None
        self.step_error = None
        self.expected.add(OWED_QUERY + SKIP, note)
        self.send_data(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")

    def own_query(self, step: int, text: bytes) -> None:
        """Begin a step of own work, with a deadline."""
        self.step = step
        self.deadline = self.relay.now + self.context.reset_timeout
        self.relay.timed[self] = None
        self.query(text, step)

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
        if note == CLEARED:
            if self.step_error is not None and self.status == IDLE:
                self.close("DISCARD SEQUENCES failed")  # what went out behind it may read what others left
                return
            self.sequence_mixed = UNMIXED if self.step_error is None else MIXED
            self.step_error = None
            return
        if not isinstance(note, int):
            return
        step = self.step
        self.step = STEP_NONE
        if step == STEP_RESET:
            if self.step_error is not None or self.status != IDLE:
                self.close("server reset failed")
                return
            self.dirty = 0
            self.statements.clear()
            self.in_force = self.context.table.empty
            self.sequence_owner = None
            self.sequence_mixed = UNMIXED
            if not self.verified:
                self.own_query(STEP_VERIFY, NOTHING_LEFT)
            elif self.context.connect_query:
                self.own_query(STEP_CONNECT, self.context.connect_query)
        elif step == STEP_VERIFY:
            if self.step_error is not None or self.status != IDLE:
                self.close("the reset left something")
                return
            self.verified = True
            if self.context.connect_query:
                self.own_query(STEP_CONNECT, self.context.connect_query)
        elif step == STEP_UNLISTEN:
            if self.step_error is not None or self.status != IDLE:
                self.close("UNLISTEN failed")
                return
            self.dirty &= ~CHANNELS
        elif step == STEP_STAY:
            if self.step_error is not None or self.status != IDLE:
                self.close("SET idle_session_timeout failed")
                return
            self.dirty &= ~HASTY
            self.in_force = self.context.table.with_value(self.in_force, IDLE_TIMEOUT, b"0")
        elif step == STEP_ROLLBACK and self.status != IDLE:
            self.close("rollback failed")
        elif step == STEP_CONNECT:
            if self.status != IDLE:
                self.close("connect_query left a transaction open")
                return
            self.question = question_of_start(self.context.connect_query, self.context.placeholders)
            self.own_query(STEP_START, self.question.text())
        elif step == STEP_START:
            if self.step_error is not None or self.status != IDLE:
                self.close("what connect_query has set cannot be read")
                return
            self.started()
        elif step == STEP_CHECK and self.step_error is not None and b"C57014\0" not in self.step_error:
            self.close("server_check_query failed")
        self.step_error = None

    def started(self) -> None:
        """It is known what connect_query has set."""
        rows, self.rows = self.rows, []
        try:
            finding = read([DataRow.decode(row).values for row in rows], self.question)
        except PeerViolation as violation:
            self.doubt(violation.message)
            return
        self.start = self.in_force = self.context.table.get(in_force({}, finding, True, self.defaults, self.context.user))
        if finding.temporary:
            self.had_temporary()

    def let_go(self) -> None:
        """The client is done with this server; it may be in a transaction, dirty, or still at work."""
        self.client = None
        self.resume()  # it may have waited for a client that read slowly
        if self.ready:
            self.settled()
        elif self.expected.copying_in and self.expected.head() == OWED_QUERY:
            # The client left in the middle of its copy: end it as a failure, as its disappearing would.
            self.expected.copy_ended()
            self.deadline = self.relay.now + self.context.reset_timeout
            self.relay.timed[self] = None
            self.send_data(b"f\0\0\0\x18client disconnected\0")
        elif self.passing or self.expected.owed_ready == 0:
            # A message half sent, or a batch without its Sync: only closing ends it without carrying it out. What runs already
            # would run on: PostgreSQL looks at its socket only when it has something to say.
            if self.expected.size() and not self.broken:
                self.relay.broker.cancel_server(self)
            self.close("client disconnect while active")
        else:
            # Still at work for a client that is gone: cancel it; its replies are swallowed.
            self.deadline = self.relay.now + self.context.reset_timeout
            self.relay.timed[self] = None
            self.relay.broker.cancel_server(self)

    def define(self, names: Iterable[bytes]) -> None:
        """These custom settings are defined here from now on; those that the server started with always were."""
        new = frozenset([name for name in names if name not in self.defaults and name not in self.start.values])
        if new:
            self.placeholders = new if self.placeholders is None else self.placeholders | new

    def had_temporary(self) -> None:
        """There are, or may have been, temporary objects: temp_buffers cannot be set any more."""
        self.temporary = True
        if self.placeholders is None:
            self.placeholders = frozenset()

    def takes_buffers(self, settings: Any) -> bool:
        """Whether temp_buffers can be as these settings have it, and is free to be set where somebody does that."""
        if not self.temporary:
            return True
        wanted = settings.values.get(TEMP_BUFFERS)
        return not self.context.sets_buffers and (wanted is None or wanted == self.in_force.values.get(TEMP_BUFFERS))

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
        elif self.unsettable:
            self.close("session state that no reset clears")
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
            if self.dirty & SEEDED and self.context.watching:
                # DISCARD ALL leaves random()'s seed: nobody is to foretell what others draw. If this fails, the reset did.
                self.query(b"SELECT pg_catalog.setseed(%r)" % random.uniform(-1, 1), None)
            self.own_query(STEP_RESET, self.context.reset_query)

    def is_taken(self) -> bool:
        """Whether the pool has given this server away: to a client, to be looked after, or held for a cancel."""
        state = self.state
        relay = self.relay
        return state is relay.active_state or state is relay.tested_state or state is relay.being_canceled_state

    def begin_reset(self) -> None:
        """Tell the pool that this server is being looked after."""
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
        if self.ready and self.client is None and self.step == STEP_NONE and self.is_taken():
            self.settled()

    def idle_timeout(self) -> float:
        """After how many seconds PostgreSQL ends this session if it stays idle; 0.0: never."""
        own = self.in_force.idle_timeout
        return seconds(self.defaults.get(IDLE_TIMEOUT, (b"", b""))[1]) if own is None else own

    def stay(self) -> None:
        """See to it that PostgreSQL does not end this session for being idle; then the server goes (back) to its pool."""
        self.own_query(STEP_STAY, b"SET idle_session_timeout = 0")

    def check(self, text: bytes) -> None:
        """Run server_check_query; the server then goes back to its pool, or is closed."""
        self.own_query(STEP_CHECK, text)

    def timed_out(self) -> None:
        """The deadline of own work has passed."""
        self.close("server reset timed out" if self.step else "cancel took no effect in time")
