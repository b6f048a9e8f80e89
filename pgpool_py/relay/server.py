"""A server connection after its login: what it says is held against what it owes, and goes to the client that holds it.

Hot: `on_event` and `scan` run for every read from a server; `benchmarks/compare.py` guards them.

What belongs to a client is sent on to it, what answers the pooler itself is handed to `upkeep`, the base: which is what a server
does between clients. Whatever does not add up closes the server.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay._io import byte, find_zero, piece, recv, u32
from pgpool_py.relay.interest import GONE, WRITE
from pgpool_py.relay.replies import ready_for_query
from pgpool_py.relay.upkeep import UPKEEP, Upkeep
from pgpool_py.session import flags
from pgpool_py.session.defaults import TAGS, Completed
from pgpool_py.session.look import UNSEEN
from pgwire.codes import Backend
from pgwire.expected import Action, Owed, Reply

DATA_ROW = int(Backend.DATA_ROW)
COMMAND_COMPLETE = int(Backend.COMMAND_COMPLETE)
READY_FOR_QUERY = int(Backend.READY_FOR_QUERY)
ERROR_RESPONSE = int(Backend.ERROR_RESPONSE)
PARAMETER_STATUS = int(Backend.PARAMETER_STATUS)
COPY_DATA = int(Backend.COPY_DATA)
COPY_IN_RESPONSE = int(Backend.COPY_IN_RESPONSE)
ROW_DESCRIPTION = int(Backend.ROW_DESCRIPTION)
NOTICE_RESPONSE = int(Backend.NOTICE_RESPONSE)
NOTIFICATION_RESPONSE = int(Backend.NOTIFICATION_RESPONSE)
PARSE_COMPLETE = int(Backend.PARSE_COMPLETE)
CLOSE_COMPLETE = int(Backend.CLOSE_COMPLETE)
NO_DATA = int(Backend.NO_DATA)
PARAMETER_DESCRIPTION = int(Backend.PARAMETER_DESCRIPTION)

OWED_QUERY = int(Owed.QUERY)
OWED_PARSE = int(Owed.PARSE)
OWED_DESCRIBE = int(Owed.DESCRIBE)
SKIP = int(Action.SKIP)
PASS = int(Reply.PASS)
WRONG = int(Reply.WRONG)

RESET = flags.RESET
SEED = flags.SEED
OBJECTS = flags.OBJECTS
OPAQUE = flags.OPAQUE
# the status byte of ReadyForQuery
IDLE = ord("I")
IN_BLOCK = ord("T")
IN_FAILED_BLOCK = ord("E")
HOLD = 32768  # messages that need a look are kept until complete up to this size
# The same for rows that answer the pooler's own question, in which a byte may be said by four. The shared buffer has room for
# that and one read more (SIZE in _io.py and _io.pxd).
HOLD_OWN = 524288
LARGEST = 0x7FFFFFFE

# Command tags of statements that leave nothing behind, by their first four bytes. Any other tag that the verdict on the text
# did not foresee makes the server dirty: the second net.
PLAIN_TAGS = frozenset(
    int.from_bytes(tag, "big")
    for tag in (
        b"SELE", b"INSE", b"UPDA", b"DELE", b"MERG", b"BEGI", b"STAR", b"COMM", b"SAVE", b"RELE", b"COPY",
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
    b"ROLLBACK PREPARED": -1,
}


class Server(Upkeep):
    """One server connection as one who speaks; the comments of `__init__`, and of that of `Upkeep`, are the contents page."""

    def __init__(self, relay: Any, fd: int, pool: Any, context: Any) -> None:
        Upkeep.__init__(self, relay, fd, pool, context)
        # identity; the login fills these in
        self.number = 0
        self.address: Any = None
        self.pid = 0
        self.key = b""
        # protocol
        self.swallowing = False
        # stamps for timeouts: the last ReadyForQuery, and the one that began the transaction at hand
        self.answered_at = 0.0
        self.transaction_start = 0.0
        # session: what it reports of its settings
        self.reported: dict[bytes, bytes] = {}
        # whose notifications come from here: who has it or had it last, and since when (0.0: a client that listens); who had it
        # until then, unless that one listens or the server was idle meanwhile
        self.owner_key = 0
        self.owner_since = 0.0
        self.former_key = 0

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
        at = 0
        if self.tail is None and self.tls is None:
            n = recv(self.fd, 0)  # nearly always; the rest is `read_behind`'s
        else:
            at = 0 if self.tail is None else len(self.tail)
            n = self.read_behind(at)
        if n > 0:
            self.context.bytes_sent += n
            self.scan(at + n)
        elif n != -1:
            self.lost()

    def flushed(self) -> None:
        client = self.client
        if client is None:
            return
        client.resume()
        if self.ready and self.tail is None and not self.passing:
            client.settled()  # it was answered before it had taken everything: a copy that failed

    def scan(self, stop: int) -> None:
        """Go through the messages in the shared buffer up to *stop*."""
        client = self.client
        expected = self.expected
        pos = 0
        start = 0
        replaced = None
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
            if replaced is not None:  # written only where it changes: compiled, each write counts references
                replaced = None
            if kind == ERROR_RESPONSE and whole:
                replaced = self.on_error(pos, end)
                if self.closed:
                    return
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
                    # What may be too large to be kept is like nothing the client was told.
                    client.columns_told(expected.head_note(), piece(pos + 5, end) if length <= HOLD else NO_COLUMNS)
                if self.closed:
                    return
            elif kind == PARAMETER_DESCRIPTION and whole and client is not None and self.is_asked_for():
                client.types_told(expected.head_note(), piece(pos + 5, end))
            answer = expected.answer(kind)
            if answer == WRONG:
                if kind == COPY_IN_RESPONSE and expected.size() > 1:
                    # Its client went on as if there were no copy: that is in the copy's way.
                    self.close("unexpected message of the client during COPY from stdin")
                    return
                self.doubt(f"unexpected message {chr(kind)!r}, {expected!r}")
                return
            if expected.dropped:
                self.undo_dropped(True)
            if expected.suspect:
                # The reset meets a stray ReadyForQuery, if there is one, and the server is closed: no client is.
                expected.suspect = False
                self.dirty |= RESET
            if client is not None and (answer == PASS or (kind == ERROR_RESPONSE and self.told_fatal)):
                # Whoever asked, what ends the session is the client's.
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
                    if self.client is not None:
                        self.client.cancel_now()  # for what went out behind it
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
        if self.told_fatal and self.ready and pos == stop:
            self.lost()  # though it answered before that: it is nobody's any more
        elif self.difference_answered and client is not None:
            # Only now: the client goes on with what it kept, and that uses the shared buffer.
            self.difference_answered = False
            client.difference_done(self.difference_failed)
        elif self.ready and pos == stop:
            if client is not None:
                client.settled()
            elif self.is_left():
                self.settled()
        elif client is None and (expected.copying_in or expected.failed) and not self.step:
            self.abandoned()
        if client is not None and client.awaiting:
            client.answered()

    def is_asked_for(self) -> bool:
        """Whether what comes describes a statement: its client is to know when that changes."""
        return self.expected.head() & ~SKIP == OWED_DESCRIBE and self.expected.head_note() is not None

    def send_fakes(self) -> None:
        """Answer for the requests the server was not asked, as far as their turn has come."""
        expected = self.expected
        while expected.fake_due and not self.passing:
            kind = expected.head() & 7
            expected.pop()
            if self.client is not None:
                self.client.send_data(b"1\0\0\0\4" if kind == OWED_PARSE else b"3\0\0\0\4")

    def undo_dropped(self, refused: bool) -> None:
        """Hand the requests the server skipped back to the client, which undoes what it noted of them.

        *refused*: the first of them was answered with an error.
        """
        dropped = self.expected.dropped
        self.expected.dropped = []
        if self.client is not None:
            self.client.undo(dropped, refused)
        else:
            self.dirty |= RESET  # nobody knows any more what this server has prepared: the reset clears it

    def on_error(self, pos: int, end: int) -> bytes | None:
        """Note an error; the message to send instead, or None to send it as it is."""
        expected = self.expected
        body = piece(pos + 5, end)
        fields = b"\0" + body
        if b"\0SFATAL\0" in fields or b"\0VFATAL\0" in fields or b"\0VPANIC\0" in fields:
            self.told_fatal = True
        head = expected.head()
        if head < 0:
            if not self.told_fatal:
                # Who knows what it skips from now on.
                words = b" ".join([field[1:] for field in body.split(b"\0") if field[:1] == b"M"])
                self.doubt(f"an error that answers nothing: {words.decode(errors='replace')}")
                return None
            return self.on_end(pos, end)
        if self.client is not None:
            self.client.undone()
        if head == OWED_QUERY + SKIP:
            if self.step_error is None:
                self.step_error = body  # what fails behind it fails because of it
            if self.told_fatal:
                return self.last_words(pos, end)
        elif self.client is not None and (self.context.token in body or isinstance(expected.head_note(), Completed)):
            return self.client.own_names(body, expected.head_note())
        elif self.client is not None and b"RRevalidateCachedQuery\0" in body:
            self.client.plan_changed()
        return None

    def on_end(self, pos: int, end: int) -> bytes | None:
        """It ends, and owed nothing: as after `on_error`."""
        client = self.client
        if client is None:
            return None
        if client.misses_nothing():
            # The client gives it back, and the pool closes it.
            self.told_fatal = False
            self.ends = self.close_needed = True
            return b""
        return self.last_words(pos, end)

    def last_words(self, pos: int, end: int) -> bytes | None:
        """What its client is told by that, as after `on_error`: a ReadyForQuery that was held back comes first."""
        return ready_for_query(IDLE) + piece(pos, end) if self.client is not None and self.client.held else None

    def others_change_catalogs(self, made: int, named: frozenset[bytes]) -> None:
        """Others change the catalogs: what is under way here was judged by what there was before (see `Noter.overtaken`)."""
        client = self.client
        if self.ready and self.status == IDLE:
            return
        if client is not None:
            client.overtaken(self, made, named)
        elif self.canceled or self.status != IDLE:
            self.condemn(UNSEEN, b"")  # its client has gone, and no question is asked for that one

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
                if self.dirty & OBJECTS:
                    self.had_temporary()
                # ... but for what it does not clear: the seed that code nobody has read may have set.
                self.dirty = flags.TRANSACTION_LOCAL | self.dirty & SEED | (SEED | RESET if self.dirty & OPAQUE else 0)
                if self.context.connect_query or self.uncleared:
                    self.dirty |= RESET
        if tag == b"DISCARD ALL" or tag == b"DEALLOCATE ALL":
            if self.client is not None:
                self.client.reset_all(tag == b"DEALLOCATE ALL")
            else:
                self.statements.clear()
        elif tag == b"ROLLBACK":
            if self.client is not None:
                self.client.undone()
        elif tag == b"DEALLOCATE" and isinstance(note, tuple):
            if self.client is not None:
                self.client.deallocated(note)
            else:
                self.statements.pop(note[2], None)
        elif self.context.watching and note is not UPKEEP:
            # The second net: what the text did not foresee is looked at as if nobody had read it.
            foreseen = FORESEEN.get(tag, flags.DDL | flags.SETTINGS)
            if foreseen != -1 and not self.dirty & (foreseen | OPAQUE):
                self.dirty |= OPAQUE
        return None

