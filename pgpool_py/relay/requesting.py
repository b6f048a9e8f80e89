"""What a client's requests come to: what of each goes to the server it holds, what goes ahead, and what must wait.

Hot: one of `on_query`, `on_bind` and their like runs for nearly every message; `benchmarks/compare.py` guards them.

Messages are passed on where they lie in the shared buffer; what goes ahead of one, or in its place, is `staged`, and all leaves
in one write. How the messages are told apart, and how the client comes by its server, is for `reading`, which is built on this.
"""

from __future__ import annotations

import re
from typing import Any

from pgpool_py.relay import awaiting, pinning, sequences
from pgpool_py.relay._io import byte, find_zero, piece, raw, u32
from pgpool_py.relay.hearing import Hearer
from pgpool_py.relay.outcome import HOLD, INCOMPLETE, KEPT, SENT
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import CLEARING, MIXED
from pgpool_py.relay.upkeep import UNKNOWN as UNKNOWN_STATEMENT
from pgpool_py.session import flags
from pgpool_py.session.naming import FLUSH_MESSAGE, Names
from pgpool_py.session.notes import DEALLOCATED, MISLED, REFUSAL, REPEATED, TYPES, UNNAMED
from pgpool_py.session.settings import UNSETTLED
from pgpool_py.session.statement_texts import BLANK, deallocated_name, declared_cursors, may_clear
from pgpool_py.session.statements import SessionContext
from pgpool_py.session.verdict import call_verdict
from pgwire.codes import Frontend
from pgwire.expected import Owed

DESCRIBE = int(Frontend.DESCRIBE)
CLOSE = int(Frontend.CLOSE)
OWED_QUERY = int(Owed.QUERY)
OWED_PARSE = int(Owed.PARSE)
OWED_BIND = int(Owed.BIND)
OWED_DESCRIBE = int(Owed.DESCRIBE)
OWED_CLOSE = int(Owed.CLOSE)
OWED_EXECUTE = int(Owed.EXECUTE)
OWED_FUNCTION_CALL = int(Owed.FUNCTION_CALL)

BEGINNING = 4096
MOVES_DATA = re.compile(BLANK + rb"(?:INSERT|SELECT|UPDATE|DELETE|MERGE|WITH|VALUES|COPY)\b", re.IGNORECASE)
IN_TRANSACTION_FAILED = ord("E")
AWAITS_READY = awaiting.READY
AWAITS_CLEARING = awaiting.CLEARING

OPAQUE = flags.OPAQUE
STATEMENT = flags.STATEMENT
PIN = flags.PIN
CLEANUP = flags.CLEANUP
TRANSACTION_END = flags.TRANSACTION_END
READS_VALUES = flags.READS_VALUES
MEETS_OTHERS = flags.MEETS_OTHERS
UNKNOWN = flags.UNKNOWN
BACK = flags.BACK
CHANGES = flags.CHANGES
UNSETTABLE = flags.UNSETTABLE
VALUES = flags.VALUES
KEEPS_UNNAMED = pinning.KEEPS_UNNAMED
KEEPS_NAMED = pinning.KEEPS_NAMED
NOTED = flags.NOTED
NAMES_STATEMENTS = flags.NAMES_STATEMENTS
LISTEN = flags.LISTEN
DYNAMIC = flags.DYNAMIC
UNSYNCED = flags.UNSYNCED


class Requester(Hearer):
    """A client as one who wants something done.

    `stage`  what is to be sent ahead of the shared buffer; `start`: from where on the buffer itself is
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Hearer.__init__(self, relay, fd, pool, context)
        self.stage: list[bytes] | None = None
        self.start = 0
        self.query_count = 0

    # --- what is sent ---

    def keep(self, server: Server, pos: int, stop: int) -> int:
        """Send what was decided up to *pos*; keep the rest until something happens."""
        self.forward(server, pos)
        self.kept = piece(pos, stop)
        return KEPT

    def wait(self, server: Server, pos: int, stop: int) -> int:
        """Keep the message at *pos*, and what is behind it, until the requests before have ended."""
        self.awaiting = AWAITS_READY
        return self.keep(server, pos, stop)

    def broken_off(self, server: Server | None, pos: int, message: str) -> int:
        """The message at *pos* breaks the protocol. What came before it goes out: a server is expected to answer it."""
        if server is not None:
            self.forward(server, pos)
        self.violation(message)
        return KEPT

    def unreadable(self, server: Server) -> int:
        """A message of the extended protocol that PostgreSQL cannot read goes out as it is; what follows is skipped to a Sync."""
        server.ready = False
        server.expected.add(OWED_CLOSE, None)
        return SENT

    def forward(self, server: Server, pos: int) -> None:
        """Send what stands ahead (`stage`) and then the buffer up to *pos* to the server, in one write."""
        if self.stage is None:
            server.send_range(self.start, pos)
        else:
            if self.start < pos:
                self.stage.append(piece(self.start, pos))
            data = b"".join(self.stage)
            self.stage = None
            server.send_data(data)

    def staged(self, pos: int) -> list[bytes]:
        """The messages that are to be sent, up to *pos* of the buffer; for more to be added."""
        if self.stage is None:
            self.stage = []
        if self.start < pos:
            self.stage.append(piece(self.start, pos))
        self.start = pos
        return self.stage

    def instead(self, pos: int, end: int, message: bytes) -> None:
        """Send *message* in place of the one from *pos* to *end*."""
        self.staged(pos).append(message)
        self.start = end

    # --- messages: what each comes to; SENT, KEPT (the rest of the input, too) or INCOMPLETE ---

    def on_query(self, server: Server, pos: int, end: int, stop: int) -> int:
        context = self.context
        whole = end <= stop
        if context.no_simple_query:
            return self.broken_off(server, pos, "PQexec disallowed")
        if self.differing and (not whole or self.stage is None):
            return self.keep(server, pos, stop)
        if not server.ready and server.expected.lacks_sync():
            server.dirty |= UNSYNCED
        if whole and (self.clearing is not None or self.going_back is not None):
            self.declares(piece(pos + 5, end))
        if not context.watching and not self.differing:
            verdict = 0
        elif whole and end - pos > 5:
            # Texts with literals hardly repeat: the scan costs less than remembering them.
            verdict = context.scanner.look(raw(pos + 5, end - 1), end - pos - 6, 0, None)
        else:
            verdict = UNKNOWN | TRANSACTION_END
        if verdict and whole and find_zero(pos + 5, end) != end - 1:
            verdict = 0  # PostgreSQL cannot read it: nothing is to be put in its place
        if verdict & READS_VALUES and server.sequence_mixed and context.pooling:
            # What it may read depends on how the requests before end.
            if server.expected.owed_ready or self.must_clear(server, pos):
                return self.keep(server, pos, stop) if self.differing else self.wait(server, pos, stop)
        if verdict & LISTEN or self.subscription is not None:
            extra = self.listening(server, piece(pos + 5, end - 1) if whole and end - pos > 5 else b"", verdict)
            if extra is None:
                return self.keep(server, pos, stop)
            if extra:
                self.staged(pos).append(extra)
        if self.blind:
            if verdict & TRANSACTION_END:
                self.ends_transaction(piece(pos + 5, end - 1) if whole and end - pos > 5 else b"")
            verdict |= OPAQUE
        note: Any = None
        if verdict:
            # Not plain. The text is empty where it is too long to be kept, and where there is none.
            text = piece(pos + 5, end - 1) if whole and end - pos > 5 else b""
            if self.differing and (
                verdict & (TRANSACTION_END | STATEMENT) or (verdict & CLEANUP and may_clear(text))
            ):
                return self.keep(server, pos, stop)
            if context.pooling:
                if verdict & NAMES_STATEMENTS and server.expected.owed_ready and self.names_unsure(server):
                    return self.wait(server, pos, stop)
                extra = self.before(server, verdict, text)
                if extra is not None:
                    self.staged(pos).append(extra)
                if verdict & CLEANUP and whole and self.names is not None:
                    name = deallocated_name(text + b"\0")
                    if name is not None and self.names.has(name):
                        if server.expected.owed_ready:
                            return self.wait(server, pos, stop)
                        if server.status != IN_TRANSACTION_FAILED:
                            self.instead(pos, end, self.names.deallocate(server, name))
                            server.dirty |= CLEANUP  # that is all it does
                            verdict = 0
                if verdict & (PIN | STATEMENT) and whole and context.keeping and not self.pins:
                    note = self.refusal(text, verdict)
                elif verdict & READS_VALUES and whole and sequences.cannot_clear(server):
                    note = (REFUSAL, *sequences.ABORTED)
                elif verdict & LISTEN and self.unheard is not None:
                    note = (REFUSAL, None, *self.unheard)
                if note is not None:
                    self.instead(pos, end, query_message(self.failing()))
                    verdict = 0
                if verdict & NOTED:
                    if whole:
                        self.note(server, verdict, text, None, None)
                    else:
                        self.note_long(server, verdict, pos + 5, stop)
            if verdict & (UNSETTABLE | CHANGES):
                self.mark(server, verdict)
            if verdict & BACK and whole and context.keeping and self.startup is not context.table.empty:
                completed = self.completed(server, text)
                if completed is not None:
                    self.instead(pos, end, query_message(completed.text))
                    note = completed
        server.ready = False
        owed = server.expected.add(OWED_QUERY, note)
        self.unnamed = None
        server.unnamed = None
        self.keeps_server &= ~KEEPS_UNNAMED
        context.query_count += 1
        self.query_count += 1
        if self.differing:
            self.forward(server, end if whole else stop)
            self.kept = piece(end, stop) if whole else b""
            if not whole:
                self.passing = end - stop
            return KEPT
        if owed and verdict & CLEANUP and whole and may_clear(text):
            # What follows finds the statements gone, and the client's own start in force, not the server's.
            return self.wait(server, end, stop)
        return SENT

    def on_bind(self, server: Server, pos: int, end: int, stop: int) -> int:
        context = self.context
        whole = end <= stop
        if not context.pooling:
            server.ready = False
            server.expected.add(OWED_BIND, None)
            return SENT
        if self.deviation == UNSETTLED and server.expected.owed_ready:
            return self.wait(server, pos, stop)
        portal_end = find_zero(pos + 5, end if whole else stop)
        name_end = find_zero(portal_end + 1, end if whole else stop) if portal_end >= 0 else -1
        if name_end < 0:
            if whole:
                return self.unreadable(server)
            return INCOMPLETE if stop - pos < HOLD else self.broken_off(server, pos, "invalid Bind message")
        name = piece(portal_end + 1, name_end)
        statement = self.unnamed
        names = self.names
        note: Any = None
        if name:
            statement = None
            if names is not None:
                if names.must_wait(server):
                    return self.wait(server, pos, stop)
                statement = names.get(name)
        elif server.expected.owed_ready and not server.expected.marked:
            return self.wait(server, pos, stop)
        if statement is not None:
            if statement.facts_seen != context.facts_seen:
                context.judge(statement)
            verdict = statement.verdict
            if verdict & NAMES_STATEMENTS and server.expected.owed_ready and self.names_unsure(server):
                return self.wait(server, pos, stop)
            if verdict & READS_VALUES and server.sequence_mixed and self.must_clear(server, pos):
                return self.wait(server, pos, stop)
            if verdict & (PIN | STATEMENT) and whole and context.keeping and not self.pins:
                refusal = self.refusal(statement.body[: statement.body.find(b"\0")], verdict)
                if refusal is not None:
                    return self.parse_refused(server, pos, end, context.new_name(), refusal)
            if verdict & LISTEN or self.subscription is not None:
                extra = self.listening(server, statement.body, verdict)
                if extra is None:
                    return self.keep(server, pos, stop)
                if extra:
                    self.staged(pos).append(extra)
            if verdict & MEETS_OTHERS or (verdict & VALUES and context.reads_sequences):
                extra = self.before(server, verdict, statement.body)
                if extra is not None:
                    self.staged(pos).append(extra)
        server.ready = False
        if self.clearing is not None:
            self.clearing.pop(piece(pos + 5, portal_end), None)
        if statement is not None and (self.clearing is not None or self.going_back is not None):
            self.declares(statement.body)
        there: Any = None
        if not name:
            if server.unnamed is not statement and not self.place_unnamed(server, False, self.staged(pos)):
                return self.keep(server, pos, stop)
            if statement is not None and self.unnamed_misled and server.status != IN_TRANSACTION_FAILED:
                there, note = context.new_name(), MISLED
        elif names is not None and statement is not None:
            there = self.placed(server, name, False, self.staged(pos))
            if there is None:
                return self.keep(server, pos, stop)
            statement = names.known[name]
            note = MISLED if names.misled else (REPEATED, name, statement, None)
            names.misled = False
            context.bind_count += 1
        if there is not None:
            size = end - pos - 1 + len(there) - (name_end - portal_end - 1)
            message = b"B" + size.to_bytes(4, "big") + piece(pos + 5, portal_end + 1) + there + b"\0"
            self.instead(pos, name_end + 1, message)
        if statement is not None and (statement.verdict or self.blind):
            if self.blind and statement.verdict & TRANSACTION_END:
                self.ends_transaction(statement.body[: statement.body.find(b"\0")])
            note = self.bound_to(server, statement, pos, portal_end, end if whole else 0, note)
            if not whole and statement.verdict & OPAQUE and context.watching:
                self.overhear(server, piece(pos, stop))
        if self.going_back is not None and (statement is None or not statement.verdict & BACK):
            self.portal_bound(server, piece(pos + 5, portal_end), None)
        server.expected.add(OWED_BIND, note)
        return SENT

    def bound_to(self, server: Server, statement: Any, pos: int, portal_end: int, end: int, note: Any) -> Any:
        """A statement that is not plain is bound by the message from *pos* to *end*, 0 if that is not whole: the Bind's note."""
        context = self.context
        verdict = statement.verdict | OPAQUE if self.blind else statement.verdict
        target = None
        if statement.verdict & CLEANUP and may_clear(statement.body):
            target = deallocated_name(statement.body)
            if self.clearing is None:
                self.clearing = {}
            self.clearing[piece(pos + 5, portal_end)] = target
        if target is not None and self.names is not None and self.names.has(target):
            server.dirty |= CLEANUP  # that is all it does
        elif verdict & NOTED:
            text = statement.body[: statement.body.find(b"\0")]
            self.note(server, verdict, text, statement, piece(pos, end) if end else None)
        if statement.verdict & (UNSETTABLE | CHANGES):
            self.mark(server, statement.verdict)
        if statement.verdict & BACK and context.keeping and self.startup is not context.table.empty:
            self.portal_bound(server, piece(pos + 5, portal_end), statement)
        return note

    def declares(self, text: bytes) -> None:
        """The portals of the cursors that *text* declares are nothing else any more."""
        for name in declared_cursors(text):
            if self.clearing is not None:
                self.clearing.pop(name, None)
            if self.going_back is not None:
                self.going_back.pop(name, None)

    def execute_clearing(self, server: Server, portal: bytes, pos: int, end: int, stop: int) -> int:
        """What ends prepared statements is executed: what a name means behind it depends on whether it succeeds."""
        assert self.clearing is not None
        names = self.names
        target = self.clearing[portal]
        note: Any = None
        if target is not None and names is not None:
            if names.must_wait(server):
                return self.wait(server, pos, stop)
            if names.has(target):
                statement = names.known[target]
                note = (DEALLOCATED, target, statement, None)
                if server.statements.get(statement) != target:
                    # Bound anew, to a text with the name that the server knows.
                    before = (UNNAMED, None, None, self.unnamed, server.unnamed)
                    self.staged(pos).append(names.deallocation(server, target, portal, before))
                    server.unnamed = UNKNOWN_STATEMENT
        del self.clearing[portal]
        self.all_back = False
        if not server.expected.add(OWED_EXECUTE, note):
            return SENT
        self.staged(end).append(FLUSH_MESSAGE)
        self.awaiting = AWAITS_CLEARING
        return self.keep(server, end, stop)

    def parse_refused(self, server: Server, pos: int, end: int, name: bytes, refusal: tuple[int, bytes | None, str, str]) -> int:
        """In place of the message from *pos* to *end* a Parse goes out, of the statement *name*, that fails in these words."""
        text = name + b"\0" + self.failing() + b"\0\0\0"
        self.instead(pos, end, b"P" + (len(text) + 4).to_bytes(4, "big") + text)
        server.expected.add(OWED_PARSE, refusal)
        server.ready = False
        return SENT

    def on_parse(self, server: Server, pos: int, end: int, stop: int) -> int:
        context = self.context
        whole = end <= stop
        if not context.pooling:
            server.ready = False
            server.expected.add(OWED_PARSE, None)
            return SENT
        if self.deviation == UNSETTLED and server.expected.owed_ready:
            return self.wait(server, pos, stop)
        name_end = find_zero(pos + 5, end if whole else stop)
        if name_end < 0:
            if whole:
                return self.unreadable(server)
            return INCOMPLETE if stop - pos < HOLD else self.broken_off(server, pos, "invalid Parse message")
        unnamed = name_end == pos + 5
        if unnamed and self.unnamed_told is not None:
            self.forget_unnamed()
        if not whole:
            if context.watching and server.sequence_mixed and self.must_clear(server, pos):
                return self.wait(server, pos, stop)
            # Too long to remember: it lives on this server only, so the client stays there.
            self.keeps_server |= KEEPS_UNNAMED if unnamed else KEEPS_NAMED
            extra = self.before(server, UNKNOWN, b"") if context.watching else None
            if extra is not None:
                self.staged(pos).append(extra)
            self.note_long(server, UNKNOWN, name_end + 1, stop)
            server.expected.add(OWED_PARSE, None)
            if unnamed:
                self.unnamed = server.unnamed = None
            server.ready = False
            return SENT
        statement = self.statement(name_end + 1, end)
        verdict = statement.verdict
        level = self.deviation
        refusal: Any = None
        if verdict & (PIN | STATEMENT) and context.keeping and not self.pins:
            refusal = self.refusal(statement.body[: statement.body.find(b"\0")], verdict)
        elif verdict & LISTEN:
            if not self.connects(server, statement.body):
                return self.keep(server, pos, stop)
            if self.unheard is not None:
                refusal = (REFUSAL, None, *self.unheard)
        if refusal is not None:
            if unnamed:
                self.unnamed = server.unnamed = None
            return self.parse_refused(server, pos, end, piece(pos + 5, name_end), refusal)
        if not unnamed and server.expected.owed_ready:
            # Replies are under way that decide whether this Parse can succeed. (Those to what goes ahead of it do not.)
            return self.wait(server, pos, stop)
        if verdict:
            if verdict & NAMES_STATEMENTS and server.expected.owed_ready and self.names_unsure(server):
                return self.wait(server, pos, stop)
            if verdict & READS_VALUES and server.sequence_mixed and self.must_clear(server, pos):
                return self.wait(server, pos, stop)
            extra = self.before(server, verdict, statement.body)
            if extra is not None:
                self.staged(pos).append(extra)
            if verdict & OPAQUE:
                deviation, changed = self.deviation, server.changed
                self.note(server, verdict, statement.body[: statement.body.find(b"\0")], statement, None)
                self.deviation, server.changed = deviation, changed  # nothing of it has run yet
        if unnamed:
            if statement.of_moment:
                statement = statement.own(context.epoch)
            before = self.parse_note
            if before is None or (
                before[2] is not statement or before[3] is not self.unnamed or before[4] is not server.unnamed
            ):
                before = self.parse_note = (UNNAMED, None, statement, self.unnamed, server.unnamed)
            server.expected.add(OWED_PARSE, before)
            server.expected.marked = True  # what is behind it in its batch means this one
            self.unnamed = statement
            server.unnamed = statement
            self.keeps_server &= ~KEEPS_UNNAMED
        else:
            if self.names is None:
                self.names = Names(context)
            name = piece(pos + 5, name_end)
            self.names.know(self.has_own_names(), self.blind)
            self.names.parse(server, name, statement, level, self.asks_columns(name, end, stop), self.staged(pos))
            context.client_parse_count += 1
            self.start = end
            if server.expected.fake_due:
                server.send_fakes()
        server.ready = False
        return SENT

    def on_describe_or_close(self, server: Server, kind: int, pos: int, end: int, stop: int) -> int:
        if end > stop:
            return self.broken_off(server, pos, f"invalid {'Describe' if kind == DESCRIBE else 'Close'} message")
        if find_zero(pos + 6, end) != end - 1:
            return self.unreadable(server)
        server.ready = False
        if not self.context.pooling or byte(pos + 5) != 83:  # not S: a portal
            if kind == CLOSE:
                server.expected.add(OWED_CLOSE, None)
            else:
                server.expected.add(OWED_DESCRIBE, None)
            return SENT
        name = piece(pos + 6, end - 1)
        names = self.names
        if not name:
            if kind == CLOSE:
                server.expected.add(OWED_CLOSE, (UNNAMED, None, None, self.unnamed, server.unnamed))
                self.unnamed = None
                server.unnamed = None
                self.forget_unnamed()
            else:
                if server.expected.owed_ready and not server.expected.marked:
                    return self.wait(server, pos, stop)
                if server.unnamed is not self.unnamed and not self.place_unnamed(server, True, self.staged(pos)):
                    return self.keep(server, pos, stop)
                statement = self.unnamed
                self.unnamed_misled = False
                server.expected.add(OWED_DESCRIBE, (TYPES, None, statement, None) if statement is not None else None)
        elif names is not None and (names.must_wait(server)):
            return self.wait(server, pos, stop)
        elif names is not None and names.has(name):
            stage = self.staged(pos)
            if kind == CLOSE:
                names.close(server, name, stage)
                if server.expected.fake_due:
                    server.send_fakes()
            else:
                there = self.placed(server, name, True, stage)
                if there is None:
                    return self.keep(server, pos, stop)
                stage.append(b"D" + (len(there) + 6).to_bytes(4, "big") + b"S" + there + b"\0")
                server.expected.add(OWED_DESCRIBE, (REPEATED, name, names.known[name], None))
            self.start = end
        else:
            server.expected.add(OWED_CLOSE if kind == CLOSE else OWED_DESCRIBE, None)
        return SENT

    def on_function_call(self, server: Server, pos: int, end: int, stop: int) -> int:
        context = self.context
        whole = end <= stop
        if not whole and stop - pos < 9:
            return INCOMPLETE
        if not server.ready and server.expected.lacks_sync():
            server.dirty |= UNSYNCED
        verdict = call_verdict(u32(pos + 5)) if end - pos >= 9 else UNKNOWN
        if verdict:
            if verdict & READS_VALUES and server.sequence_mixed and context.pooling and context.watching:
                if self.must_clear(server, pos):
                    return self.wait(server, pos, stop)
            extra = self.before(server, verdict, b"") if context.pooling and context.watching else None
            if extra is not None:
                self.staged(pos).append(extra)
            self.note(server, verdict, self.beginning(pos + 5, end if whole else stop), None, None)
            if not whole and context.watching:
                self.overhear(server, piece(pos + 5, stop))
        server.ready = False
        server.expected.add(OWED_FUNCTION_CALL, None)
        return SENT

    def must_clear(self, server: Server, pos: int) -> bool:
        """Whether a text that may read sequence values must wait: others' are being removed from the server, which may fail."""
        if server.sequence_mixed == MIXED and server.ready and server.status != IN_TRANSACTION_FAILED:
            self.staged(pos).append(self.clear_sequences(server))
        return server.sequence_mixed == CLEARING

    def names_unsure(self, server: Server) -> bool:
        """Whether requests under way decide what a text that may name statements finds."""
        if self.names is None:
            return self.deviation == UNSETTLED
        # Those that the server does not have are parsed ahead of it, in a block behind savepoints: is there one?
        return self.deviation == UNSETTLED or bool(self.names.must_wait(server)) or self.names.is_missed(server)

    # --- messages too long to be kept ---

    def beginning(self, start: int, stop: int) -> bytes:
        """What of a message too long to be kept is looked through for names."""
        return piece(start, stop if stop < start + BEGINNING else start + BEGINNING)

    def note_long(self, server: Server, verdict: int, start: int, stop: int) -> None:
        """A text too long to be kept goes out, the first of it from *start* to *stop*. Its length may be that of its data, and
        what it names is listened for as it passes; of any other nobody knows what it names."""
        beginning = self.beginning(start, stop)
        moves_data = MOVES_DATA.match(beginning) is not None
        self.note(server, verdict if moves_data else verdict | DYNAMIC, beginning, None, None)
        if moves_data and self.context.watching:
            self.overhear(server, piece(start, stop))

    # --- what the client fills in ---

    def violation(self, message: str) -> None:
        """The client broke the protocol."""


def query_message(text: bytes) -> bytes:
    """A Query with this text."""
    return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"
