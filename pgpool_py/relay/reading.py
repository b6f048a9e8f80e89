"""What a client says: understood as far as pooling needs, and sent to the server it holds.

Hot: `on_event` and `process` run for every read from a client; `benchmarks/compare.py` guards them.

A client holds a server from its first request until the server says ReadyForQuery outside a transaction and owes nothing. What
arrives while it has none, or while it must wait for replies, is kept (`kept`) and the socket is not read: the peer feels the
back-pressure. Messages are passed on where they lie in the shared buffer; what goes ahead of one, or in its place, is `staged`,
and all leaves in one write.
"""

from __future__ import annotations

import re
from typing import Any

from pgpool_py.relay import keeping, sequences
from pgpool_py.relay._io import byte, find_zero, load, piece, raw, u32
from pgpool_py.relay.hearing import AWAITS_READY, Hearer
from pgpool_py.relay.interest import GONE, WRITE
from pgpool_py.relay.keeping import says_buffers
from pgpool_py.relay.replies import parameter_status, ready_for_query
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import DIFFERENCE, MIXED
from pgpool_py.session import flags
from pgpool_py.session.naming import FLUSH_MESSAGE, REFUSAL, REPEATED, Names, clears_statements, deallocated_name, may_clear
from pgpool_py.session.settings import UNSETTLED, difference
from pgpool_py.session.statements import SessionContext
from pgwire.codes import Frontend
from pgwire.expected import Owed

QUERY = int(Frontend.QUERY)
PARSE = int(Frontend.PARSE)
BIND = int(Frontend.BIND)
DESCRIBE = int(Frontend.DESCRIBE)
EXECUTE = int(Frontend.EXECUTE)
CLOSE = int(Frontend.CLOSE)
SYNC = int(Frontend.SYNC)
FLUSH = int(Frontend.FLUSH)
FUNCTION_CALL = int(Frontend.FUNCTION_CALL)
COPY_DATA = int(Frontend.COPY_DATA)
COPY_DONE = int(Frontend.COPY_DONE)
COPY_FAIL = int(Frontend.COPY_FAIL)
TERMINATE = int(Frontend.TERMINATE)

OWED_QUERY = int(Owed.QUERY)
OWED_PARSE = int(Owed.PARSE)
OWED_BIND = int(Owed.BIND)
OWED_DESCRIBE = int(Owed.DESCRIBE)
OWED_EXECUTE = int(Owed.EXECUTE)
OWED_CLOSE = int(Owed.CLOSE)
OWED_SYNC = int(Owed.SYNC)
OWED_FUNCTION_CALL = int(Owed.FUNCTION_CALL)

LETTERS = frozenset(int(kind) for kind in Frontend)
BEGINNING = 4096
MOVES_DATA = re.compile(
    rb"(?:\s++|--[^\n]*+\n|(?>/\*.*?\*/))*+(?:INSERT|SELECT|UPDATE|DELETE|MERGE|WITH|VALUES|COPY)\b", re.IGNORECASE | re.DOTALL
)
HOLD = 32768  # messages whose content matters are kept until complete up to this size; larger ones stream through
IN_TRANSACTION_FAILED = ord("E")
IDLE = ord("I")

OPAQUE = flags.OPAQUE
STATEMENT = flags.STATEMENT
PIN = flags.PIN
CLEANUP = flags.CLEANUP
TRANSACTION_END = flags.TRANSACTION_END
READS_VALUES = flags.READS_VALUES
KEEPS_VALUE = sequences.KEEPS_VALUE
MEETS_OTHERS = flags.MEETS_OTHERS
UNKNOWN = flags.UNKNOWN
BACK = flags.BACK
CHANGES = flags.CHANGES
UNSETTABLE = flags.UNSETTABLE
VALUES = flags.VALUES
KEEPS_UNNAMED = keeping.KEEPS_UNNAMED
KEEPS_NAMED = keeping.KEEPS_NAMED
NOTED = flags.NOTED
LISTEN = flags.LISTEN
DYNAMIC = flags.DYNAMIC
# What a message came to: it went out, or will; it is kept, and the rest of the input with it; its end is needed first.
SENT, KEPT, INCOMPLETE = range(3)
AWAITS_ANSWERS = 1  # whether the server wants copy data whose end has come already, or how all that went out ends


class Reader(Hearer):
    """A client as one who speaks.

    `skipping`     an error of the pooler's own has answered its request, which has not ended yet
    `ending`       it says no more; `hung_up`: without a Terminate
    `stage`        what is to be sent ahead of the shared buffer; `start`: from where on the buffer itself is
    `query_start`, `transaction_start`    0.0 while nothing runs
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Hearer.__init__(self, relay, fd, pool, context)
        self.cancel_key = 0
        self.skipping = False
        self.ending = False
        self.hung_up = False
        self.stage: list[bytes] | None = None
        self.start = 0
        self.query_start = 0.0
        self.transaction_start = 0.0
        self.query_count = 0
        self.request_time = 0.0

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not events & ~WRITE or self.closed or self.broken:
            return
        if events & GONE and (not self.reading or self.kept is not None or self.asked is not None):
            self.drop("client unexpected eof")
            return
        if self.kept is not None or self.asked is not None or self.out is not None:
            self.pause()
            return
        if self.server is not None and self.server.out is not None:
            self.pause()
            return
        if not self.reading:
            return
        at = 0 if self.tail is None else len(self.tail)
        n = self.read_behind(at)
        if n > 0:
            self.context.bytes_received += n
            self.request_time = self.relay.now
            self.process(at + n)
        elif n == 0:
            self.hung_up = True
            self.end()
        elif n == -2:
            self.drop("client unexpected eof")

    def go_on(self) -> None:
        """Process what was kept."""
        if self.asked is not None:
            return  # not before it is known what the session is now
        data = self.kept
        self.kept = None
        self.awaiting = 0
        if data is not None:
            load(0, data)
            self.process(len(data))
        if self.kept is None and not self.ending and not self.closed and self.out is None:
            self.resume()

    def keep(self, server: Server, pos: int, stop: int) -> int:
        """Send what was decided up to *pos*; keep the rest until something happens."""
        self.forward(server, pos)
        self.kept = piece(pos, stop)
        return KEPT

    def wait(self, server: Server, pos: int, stop: int) -> int:
        """Keep the message at *pos*, and what is behind it, until the requests before have ended."""
        self.awaiting = AWAITS_READY
        return self.keep(server, pos, stop)

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

    def process(self, stop: int) -> None:
        """Go through the messages in the shared buffer up to *stop*."""
        pos = 0
        server = self.server
        context = self.context
        self.start = 0
        self.stage = None
        if server is not None and not self.query_start:
            self.query_start = self.relay.now
            if not self.transaction_start:
                self.transaction_start = self.query_start
            if self.keeps_server & KEEPS_VALUE:
                self.pool.work(server)
        if self.passing:
            pos = stop if self.passing > stop else self.passing
            self.passing -= pos
            if server is None:
                self.start = pos
                self.overheard = None
            elif self.overheard is not None:
                self.overhear(server, piece(0, pos))
                if not self.passing:
                    self.overheard = None
        while stop - pos >= 5:
            kind = byte(pos)
            length = u32(pos + 1)
            if length < 4 or length > context.max_packet_size:
                self.violation(f"invalid message length {length} in message {chr(kind)!r}")
                return
            end = pos + 1 + length
            whole = end <= stop
            if not whole and length <= HOLD and kind != COPY_DATA:
                if kind not in LETTERS:
                    self.violation(f"invalid frontend message type {kind}")
                    return
                break

            if self.skipping and kind != TERMINATE:
                # After an error of our own making: up to the end of the request, as a server would.
                if kind == SYNC:
                    self.skipping = False
                    self.send_data(ready_for_query(IDLE))
                pos = self.start = end
                if not whole:
                    break
                continue

            if server is None:
                if (kind == SYNC or kind == FLUSH) and length != 4:
                    self.violation("invalid message format")
                    return
                if kind == SYNC:
                    self.send_data(ready_for_query(IDLE))
                    pos = self.start = end
                    continue
                if kind == FLUSH or kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL:
                    # Copy messages after an error: ignored, as the manual has it.
                    pos = self.start = end
                    continue
                if kind == TERMINATE:
                    self.end()
                    return
                if not self.known(kind):
                    self.violation(f"invalid frontend message type {kind}")
                    return
                server = self.acquire(pos, end if whole else stop)
                if server is None:
                    self.kept = piece(pos, stop)
                    if self.pool.may_grow():
                        self.relay.broker.client_waits(self)
                    return
                self.stage = self.take(server)
                self.start = pos

            if self.subscription is not None:
                extra = self.ahead_of(server, kind, pos, stop)
                if extra is None:
                    self.keep(server, pos, stop)
                    return
                if extra:
                    self.staged(pos).append(extra)
            done = SENT
            if kind == QUERY:
                done = self.on_query(server, pos, end, stop)
            elif self.differing:
                done = self.keep(server, pos, stop)
            elif kind == SYNC:
                server.ready = False
                server.expected.add(OWED_SYNC, None)
            elif kind == BIND:
                done = self.on_bind(server, pos, end, stop)
            elif kind == EXECUTE:
                server.ready = False
                server.expected.add(OWED_EXECUTE, None)
                context.query_count += 1
                self.query_count += 1
                if self.going_back is not None and whole:
                    self.staged(end).extend(self.way_back(server, piece(pos + 5, end)))
                if self.clearing is not None and whole and piece(pos + 5, find_zero(pos + 5, end)) == self.clearing:
                    # What a name means behind it depends on whether it succeeds.
                    self.clearing = None
                    self.staged(end).append(FLUSH_MESSAGE)
                    self.awaiting = AWAITS_ANSWERS
                    done = self.keep(server, end, stop)
            elif kind == PARSE:
                done = self.on_parse(server, pos, end, stop)
            elif kind == DESCRIBE or kind == CLOSE:
                done = self.on_describe_or_close(server, kind, pos, end, stop)
            elif kind == COPY_DATA or kind == FLUSH:
                pass
            elif kind == COPY_DONE or kind == COPY_FAIL:
                if server.expected.copying_in:
                    server.expected.copy_ended()
                elif server.expected.size() and not server.expected.failed:
                    # Ahead of the server's CopyInResponse, or of its error: which decides what a Sync behind this is owed.
                    self.awaiting = AWAITS_ANSWERS
                    done = self.keep(server, pos, stop)
            elif kind == FUNCTION_CALL:
                extra = self.before(server, UNKNOWN, b"", True) if context.pooling and context.watching else None
                if extra is not None:
                    self.staged(pos).append(extra)
                server.ready = False
                self.note(server, UNKNOWN, self.beginning(pos + 5, end if whole else stop), None, None)
                if not whole and context.watching:
                    self.overhear(server, piece(pos + 5, stop))
                server.expected.add(OWED_FUNCTION_CALL, None)
            elif kind == TERMINATE:
                self.forward(server, pos)
                self.end()
                return
            else:
                self.forward(server, pos)
                self.violation(f"invalid frontend message type {kind}")
                return
            if done == KEPT:
                return
            if done == INCOMPLETE:
                break

            if server.expected.dropped:
                server.undo_dropped()
            pos = end
            if not whole:
                self.passing = end - stop
                pos = stop
                break

        if not self.passing and pos > stop:
            # A message that is skipped and goes on beyond what has come.
            self.passing = pos - stop
            self.start = pos = stop
        if server is not None:
            self.forward(server, pos)
        if pos < stop:
            self.tail = piece(pos, stop)
        # Last of all: the server may go to a client that waits, and that one uses the shared buffer.
        if server is not None and server.ready and not self.passing:
            self.settled()

    def acquire(self, pos: int, stop: int) -> Any:
        """A server for a request that begins at *pos*; None: the client waits in line."""
        server = self.pool.acquire(self, self.relay.now)
        if server is not None and server.placeholders is not None:
            if server.temporary and not self.context.sets_buffers and says_buffers(piece(pos, stop)):
                self.context.sets_buffers = True
            if not self.fits(server):
                server = self.relay.broker.exchange(self, server)
        return server

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

    def known(self, kind: int) -> bool:
        """Whether a client may send such a message now."""
        return (
            kind == QUERY or kind == PARSE or kind == BIND or kind == DESCRIBE or kind == EXECUTE or kind == CLOSE
            or kind == FUNCTION_CALL
        )  # fmt: skip

    # --- messages: what each comes to; SENT, KEPT (the rest of the input, too) or INCOMPLETE ---

    def on_query(self, server: Server, pos: int, end: int, stop: int) -> int:
        context = self.context
        whole = end <= stop
        if context.no_simple_query:
            self.forward(server, pos)
            self.violation("PQexec disallowed")
            return KEPT
        if self.differing and (not whole or self.stage is None):
            return self.keep(server, pos, stop)
        if not context.watching and not self.differing:
            verdict = 0
        elif whole and end - pos > 5:
            # Texts with literals hardly repeat: the scan costs less than remembering them.
            verdict = context.scanner.look(raw(pos + 5, end - 1), end - pos - 6, 0, None)
        else:
            verdict = UNKNOWN | TRANSACTION_END
        if verdict & LISTEN or self.subscription is not None:
            extra = self.listening(server, piece(pos + 5, end - 1) if whole and end - pos > 5 else b"", verdict)
            if extra is None:
                return self.keep(server, pos, stop)
            if extra:
                self.staged(pos).append(extra)
        if self.blind:
            if verdict & TRANSACTION_END:
                self.relay.broker.catalogs_changed(self)
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
                if verdict & READS_VALUES and server.sequence_mixed == MIXED and server.expected.owed_ready:
                    # What it may read depends on how the requests before end.
                    if not self.differing:
                        return self.wait(server, pos, stop)
                if verdict & STATEMENT and self.deviation == UNSETTLED and server.expected.owed_ready:
                    return self.wait(server, pos, stop)
                extra = self.before(server, verdict, text, True)
                if extra is not None:
                    self.staged(pos).append(extra)
                if verdict & CLEANUP and whole and self.names is not None:
                    name = deallocated_name(text + b"\0")
                    if name is not None and self.names.has(name):
                        if server.expected.owed_ready:
                            return self.wait(server, pos, stop)
                        if server.status != IN_TRANSACTION_FAILED:
                            self.instead(pos, end, self.names.deallocate(server, name))
                            verdict = 0
                if verdict & PIN and whole and context.keeping and not self.pins:
                    note = self.refusal(text)
                elif verdict & READS_VALUES and whole and sequences.cannot_clear(server):
                    note = (REFUSAL, *sequences.ABORTED)
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
            self.awaiting = AWAITS_READY
            return self.keep(server, end, stop)
        return SENT

    def on_bind(self, server: Server, pos: int, end: int, stop: int) -> int:
        server.ready = False
        context = self.context
        whole = end <= stop
        if not context.pooling:
            server.expected.add(OWED_BIND, None)
            return SENT
        if self.deviation == UNSETTLED and server.expected.owed_ready:
            return self.wait(server, pos, stop)
        portal_end = find_zero(pos + 5, end if whole else stop)
        name_end = find_zero(portal_end + 1, end if whole else stop) if portal_end >= 0 else -1
        if name_end < 0:
            if not whole and stop - pos < HOLD:
                return INCOMPLETE
            self.violation("invalid Bind message")
            return KEPT
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
        if statement is not None:
            if statement.facts_seen != context.facts_seen:
                context.judge(statement)
            verdict = statement.verdict
            if verdict & LISTEN or self.subscription is not None:
                extra = self.listening(server, statement.body, verdict)
                if extra is None:
                    return self.keep(server, pos, stop)
                if extra:
                    self.staged(pos).append(extra)
            if self.blind and verdict & TRANSACTION_END:
                self.relay.broker.catalogs_changed(self)
            if verdict & MEETS_OTHERS or (verdict & VALUES and context.reads_sequences):
                extra = self.before(server, verdict, statement.body, False)
                if extra is not None:
                    self.staged(pos).append(extra)
        self.bound = None
        if self.clearing is not None and piece(pos + 5, portal_end) == self.clearing:
            self.clearing = None
        if not name:
            if server.unnamed is not statement:
                self.staged(pos).append(self.place_unnamed(server))
        elif names is not None and statement is not None:
            portal = piece(pos + 5, portal_end + 1)
            stage = self.staged(pos)
            there = self.placed(server, name, portal, end, stop, stage)
            if there is None:
                return self.keep(server, pos, stop)
            statement = names.known[name]
            note = self.misled() if names.misled else (REPEATED, name, statement, None)
            self.bound = (portal, name, statement)
            context.bind_count += 1
            size = end - pos - 1 + len(there) - (name_end - portal_end - 1)
            stage.append(b"B" + size.to_bytes(4, "big") + portal + there + b"\0")
            self.start = name_end + 1
        if statement is not None and (statement.verdict or self.blind):
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
        if verdict & NOTED:
            text = statement.body[: statement.body.find(b"\0")]
            self.note(server, verdict, text, statement, piece(pos, end) if end else None)
        if statement.verdict & (UNSETTABLE | CHANGES):
            self.mark(server, statement.verdict)
        if statement.verdict & BACK and context.keeping and self.startup is not context.table.empty:
            self.portal_bound(server, piece(pos + 5, portal_end), statement)
        if statement.verdict & CLEANUP:
            if statement.deallocates is not None and self.names is not None:
                self.names.forget(server, statement.deallocates)
            elif clears_statements(statement.body):
                self.clearing = piece(pos + 5, portal_end)
        return note

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
            if not whole and stop - pos < HOLD:
                return INCOMPLETE
            self.violation("invalid Parse message")
            return KEPT
        unnamed = name_end == pos + 5
        if not whole:
            # Too long to remember: it lives on this server only, so the client stays there.
            self.keeps_server |= KEEPS_UNNAMED if unnamed else KEEPS_NAMED
            extra = self.before(server, UNKNOWN, b"", False) if context.watching else None
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
        if verdict & PIN and context.keeping and not self.pins:
            refusal = self.refusal(statement.body[: statement.body.find(b"\0")])
            if refusal is not None:
                text = piece(pos + 5, name_end) + b"\0" + self.failing() + b"\0\0\0"
                self.instead(pos, end, b"P" + (len(text) + 4).to_bytes(4, "big") + text)
                server.expected.add(OWED_PARSE, refusal)
                if unnamed:
                    self.unnamed = server.unnamed = None
                server.ready = False
                return SENT
        if verdict:
            extra = self.before(server, verdict, statement.body, False)
            if extra is not None:
                self.staged(pos).append(extra)
            if verdict & OPAQUE:
                deviation, changed = self.deviation, server.changed
                self.note(server, verdict, statement.body[: statement.body.find(b"\0")], statement, None)
                self.deviation, server.changed = deviation, changed  # nothing of it has run yet
            if verdict & CLEANUP and self.names is not None:
                statement = self.names.deallocation(server, statement, self.staged(pos))
        if unnamed:
            if statement.deallocates is not None and self.stage is not None:
                body = statement.body
                self.instead(pos, end, b"P" + (len(body) + 5).to_bytes(4, "big") + b"\0" + body)
            before = self.parse_note
            if before is None or (
                before[2] is not statement or before[3] is not self.unnamed or before[4] is not server.unnamed
            ):
                before = self.parse_note = (0, None, statement, self.unnamed, server.unnamed)
            server.expected.add(OWED_PARSE, before)
            self.unnamed = statement
            server.unnamed = statement
            self.keeps_server &= ~KEEPS_UNNAMED
        else:
            if self.names is None:
                self.names = Names(context)
            if server.expected.owed_ready:
                # Replies are under way that decide whether this Parse can succeed.
                return self.wait(server, pos, stop)
            self.names.parse(server, piece(pos + 5, name_end), statement, level, self.staged(pos))
            context.client_parse_count += 1
            self.start = end
            if server.expected.fake_due:
                server.send_fakes()
        server.ready = False
        return SENT

    def on_describe_or_close(self, server: Server, kind: int, pos: int, end: int, stop: int) -> int:
        if end > stop or end - pos < 7:
            self.violation(f"invalid {'Describe' if kind == DESCRIBE else 'Close'} message")
            return KEPT
        server.ready = False
        if not self.context.pooling or byte(pos + 5) != 83:  # not S: a portal
            if kind == CLOSE:
                server.expected.add(OWED_CLOSE, None)
            else:
                server.expected.add(OWED_DESCRIBE, self.tells(piece(pos + 6, end)) if self.bound is not None else None)
            return SENT
        name = piece(pos + 6, end - 1)
        names = self.names
        if not name:
            if kind == CLOSE:
                server.expected.add(OWED_CLOSE, (0, None, None, self.unnamed, server.unnamed))
                self.unnamed = None
                server.unnamed = None
            else:
                if server.unnamed is not self.unnamed:
                    self.staged(pos).append(self.place_unnamed(server))
                server.expected.add(OWED_DESCRIBE, None)
        elif names is not None and (names.must_wait(server)):
            return self.wait(server, pos, stop)
        elif names is not None and names.has(name):
            stage = self.staged(pos)
            self.start = end
            if kind == CLOSE:
                names.close(server, name, stage)
                if server.expected.fake_due:
                    server.send_fakes()
            else:
                there = self.placed(server, name, None, end, stop, stage)
                stage.append(b"D" + (len(there) + 6).to_bytes(4, "big") + b"S" + there + b"\0")
                server.expected.add(OWED_DESCRIBE, (REPEATED, name, names.known[name], None))
        else:
            server.expected.add(OWED_CLOSE if kind == CLOSE else OWED_DESCRIBE, None)
        return SENT

    # --- ahead of a message ---

    def take(self, server: Server) -> list[bytes] | None:
        """Hold *server* from now on; what must go out ahead of the first message."""
        self.server = server
        server.client = self
        self.query_start = self.transaction_start = self.relay.now
        self.all_back = False
        context = self.context
        stage: list[bytes] | None = None
        if server.owner_key != self.cancel_key:
            if self.subscription is None:
                # Where it was handed on at once; and of one who listens nothing is on its way any more.
                at_once = server.request_time == self.relay.now
                server.former_key = server.owner_key if at_once and server.owner_since else 0
                server.owner_key = self.cancel_key
                server.owner_since = self.relay.now
            else:
                self.subscription.taken(server)
        if server.sequence_owner is not self or self.value_at is not server:
            if server.sequence_owner is not None:
                server.sequence_mixed = MIXED
            server.sequence_owner = self
            self.value_at = server
            self.values = 0
        if server.sequence_mixed == MIXED and context.reads_sequences and context.pooling and context.watching:
            stage = [self.clear_sequences(server)]
            context.tried_sequences()
        if server.in_force is not self.settings:
            texts = difference(server.in_force, self.settings)
            server.in_force = self.settings
            self.defines(server)
            if texts:
                if stage is None:
                    stage = []
                for text in texts:
                    stage.append(self.own(server, text, DIFFERENCE))
                self.differing = True
                return stage
        if self.told is not server.reported:
            self.tell(server)
        return stage

    def tell(self, server: Server) -> None:
        """Send the client every reported setting that differs from what it was told."""
        told = self.told
        for name, value in server.reported.items():
            if told.get(name) != value:
                self.send_data(parameter_status(name, value))
        self.told = server.reported

    # --- what the client fills in ---

    def end(self) -> None:
        """The client says no more."""

    def drop(self, reason: str) -> None:
        """Close now."""

    def violation(self, message: str) -> None:
        """The client broke the protocol."""


def query_message(text: bytes) -> bytes:
    """A Query with this text."""
    return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"
