"""A client after its login: what it says is understood as far as pooling needs, and goes to the server it holds.

Hot: `on_event` and `process` run for every read from a client; `benchmarks/compare.py` guards them.

A client holds a server from its first request until the server says ReadyForQuery outside a transaction and owes
nothing. What arrives
while it has none, or while it must wait for replies, is kept (`kept`) and the socket is not read: the peer feels the
back-pressure. Statement names are the client's own; `naming.py` keeps the books.
"""

from __future__ import annotations

import select
from typing import Any

from pgpool_py.relay import keeping, sequences
from pgpool_py.relay._io import byte, find_zero, load, piece, raw, recv, same, slot, u32
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.keeping import OBJECTS, Keeper, says_buffers
from pgpool_py.relay.replies import error_response, parameter_status, ready_for_query
from pgpool_py.relay.server import CLEARED, CLEARING, DIFFERENCE, MIXED, Server
from pgpool_py.relay.subscription import Subscription, needs_channels
from pgpool_py.session import flags
from pgpool_py.session.channels import channels_in
from pgpool_py.session.defaults import Completed, discards_all
from pgpool_py.session.naming import REFUSAL, REPEATED, Names, clears_statements, deallocated_name, names_statements, parse_there
from pgpool_py.session.settings import TRACKED, UNSETTLED, difference
from pgwire import PeerViolation
from pgwire.codes import Frontend
from pgwire.expected import Action, Owed

WRITE = select.EPOLLOUT
GONE = select.EPOLLERR | select.EPOLLHUP  # reset by the peer; reported whether wanted or not
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
SKIP = int(Action.SKIP)
FAKE = int(Action.FAKE)

BATCH = frozenset((PARSE, BIND, DESCRIBE, EXECUTE, CLOSE))
LETTERS = frozenset(int(kind) for kind in Frontend)
BEGINNING = 4096
HOLD = 32768  # messages whose content matters are kept until complete up to this size; larger ones stream through
IN_TRANSACTION_FAILED = ord("E")
IDLE = ord("I")
ZERO = b"\0\0\0\4"

OPAQUE = flags.OPAQUE
STATEMENT = flags.STATEMENT
PIN = flags.PIN
RESET = flags.RESET
CLEANUP = flags.CLEANUP
CHANGES = flags.DDL | flags.OPAQUE  # what may change the catalogs
UNSETTABLE = flags.SEED | flags.LIBRARY
TRANSACTION_END = flags.TRANSACTION_END
TRANSACTION_EXIT_ONLY = flags.TRANSACTION_EXIT_ONLY
READS_SEQUENCE = flags.READS_SEQUENCE
READS_VALUES = sequences.READS
VALUES = sequences.READS | sequences.WRITES
KEEPS_VALUE = sequences.KEEPS_VALUE
READS_STATEMENTS = flags.READS_STATEMENTS
NAMES_STATEMENTS = flags.STATEMENT | flags.OPAQUE | READS_STATEMENTS
READS = READS_SEQUENCE | NAMES_STATEMENTS
UNKNOWN = flags.UNKNOWN
BACK = keeping.BACK
KEEPS_UNNAMED = keeping.KEEPS_UNNAMED
KEEPS_NAMED = keeping.KEEPS_NAMED
NOTED = flags.NOTED
LOOKED = flags.LOOKED
EXPLAINED = flags.SETTINGS | flags.TRANSACTION_LOCAL | flags.OPAQUE
LISTEN = flags.LISTEN
# What the rest of the input is kept for.
AWAITS_COPY = 1  # whether the server wants copy data: its end has come already
AWAITS_READY = 2  # how the requests before end: they decide whether the next can succeed
AWAITS_CHANNELS = 3  # the listening connection
AWAITS_COLUMNS = 4  # whether a statement's columns are still those the client was told
REFUSED = "refused"  # the note of replies to what was sent behind a difference that failed


class Client(Keeper):
    """One logged-in client; the comments of `__init__` are the contents page."""

    def __init__(self, relay: Any, fd: int, pool: Any, context: Any) -> None:
        Keeper.__init__(self, relay, fd, pool, context)
        # identity; the login fills these in
        self.number = 0
        self.database: Any = None
        self.user = ""
        self.peer: Any = None
        self.cancel_key = 0
        self.cancel_secret = b""
        self.connect_time = 0.0
        # the pool's words
        self.state: Any = None
        self.wait_start = 0.0
        self.last_server: Any = None
        # what it holds and waits for
        self.difference_error: bytes | None = None
        self.skipping = False
        self.ending = False
        self.hung_up = False  # without a Terminate
        self.leaving = False
        self.deadline = 0.0
        # what it has used; the two starts are 0.0 while nothing runs
        self.query_start = 0.0
        self.transaction_start = 0.0
        self.query_count = 0
        self.transaction_count = 0
        self.transaction_time = 0.0
        self.wait_time = 0.0
        # stamps for timeouts: when it last said something, gave its server back, and joined the queue it had notice of
        self.request_time = 0.0
        self.idle_since = 0.0
        self.noticed = 0.0
        # session
        self.names: Names | None = None
        self.unnamed: Any = None
        self.bound: Any = None  # (portal, name, statement) of the last Bind, if that was of a named statement
        self.parse_note: Any = None  # the last note of a Parse without a name, which mostly fits the next one
        self.cleared_ahead = 0

    # --- reading ---

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not events & ~WRITE or self.closed or self.broken:
            return
        if events & GONE and (not self.reading or self.kept is not None):
            self.drop("client unexpected eof")
            return
        if self.kept is not None or self.out is not None or (self.server is not None and self.server.out is not None):
            self.pause()
            return
        if not self.reading:
            return
        at = 0
        if self.tail is not None:
            at = len(self.tail)
            load(0, self.tail)
        n = recv(self.fd, at) if self.tls is None else self.receive(at)
        if n > 0:
            self.tail = None
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
        data = self.kept
        self.kept = None
        self.awaiting = 0
        if data is not None:
            load(0, data)
            self.process(len(data))
        if self.kept is None and not self.ending and not self.closed and self.out is None:
            self.resume()

    def keep(self, server: Server | None, stage: list[bytes] | None, start: int, pos: int, stop: int) -> None:
        """Send what was decided up to *pos*; keep the rest until something happens."""
        if server is not None:
            self.forward(server, stage, start, pos)
        self.kept = piece(pos, stop)

    def forward(self, server: Server, stage: list[bytes] | None, start: int, pos: int) -> None:
        """Send *stage* and then that part of the buffer to the server, in one write."""
        if stage is None:
            server.send_range(start, pos)
        else:
            if start < pos:
                stage.append(piece(start, pos))
            server.send_data(b"".join(stage))

    def process(self, stop: int) -> None:
        """Go through the messages in the shared buffer up to *stop*."""
        pos = 0
        start = 0
        server = self.server
        stage: list[bytes] | None = None
        context = self.context
        pooling = context.pooling
        refusal: Any = None
        completed: Any = None
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
                start = pos
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
                pos = start = end
                if not whole:
                    break
                continue

            if server is None:
                if (kind == SYNC or kind == FLUSH) and length != 4:
                    self.violation("invalid message format")
                    return
                if kind == SYNC:
                    self.send_data(ready_for_query(IDLE))
                    pos = start = end
                    continue
                if kind == FLUSH or kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL:
                    # Copy messages after an error: ignored, as the manual has it.
                    pos = start = end
                    continue
                if kind == TERMINATE:
                    self.end()
                    return
                if not self.known(kind):
                    self.violation(f"invalid frontend message type {kind}")
                    return
                server = self.pool.acquire(self, self.relay.now)
                if server is not None and server.placeholders is not None:
                    if server.temporary and not context.sets_buffers and says_buffers(piece(pos, end if whole else stop)):
                        context.sets_buffers = True
                    if not self.fits(server):
                        server = self.relay.broker.exchange(self, server)
                if server is None:
                    self.kept = piece(pos, stop)
                    if self.pool.may_grow():
                        self.relay.broker.client_waits(self)
                    return
                stage = self.take(server)
                start = pos

            if self.subscription is not None and self.must_wait(server, kind):
                self.keep(server, stage, start, pos, stop)
                return
            if (
                self.subscription is not None
                and server.ready
                and (kind in BATCH or kind == FUNCTION_CALL)
                and self.batch_needs_channels(pos, stop)
            ):
                extra = self.subscription.place(server)
                if extra:
                    if stage is None:
                        stage = []
                    if start < pos:
                        stage.append(piece(start, pos))
                    stage.append(extra)
                    start = pos
            if kind == QUERY:
                if context.no_simple_query:
                    self.forward(server, stage, start, pos)
                    self.violation("PQexec disallowed")
                    return
                if self.differing and (not whole or stage is None):
                    self.keep(server, stage, start, pos, stop)
                    return
                if not context.watching and not self.differing:
                    verdict = 0
                elif whole and length > 4:
                    # Texts with literals hardly repeat: the scan costs less than remembering them.
                    verdict = context.scanner.look(raw(pos + 5, end - 1), length - 5, 0, None)
                else:
                    verdict = UNKNOWN | TRANSACTION_END
                if verdict & LISTEN or self.subscription is not None:
                    extra = self.listening(server, piece(pos + 5, end - 1) if whole else b"", verdict)
                    if extra is None:
                        self.keep(server, stage, start, pos, stop)
                        return
                    if extra:
                        if stage is None:
                            stage = []
                        if start < pos:
                            stage.append(piece(start, pos))
                        stage.append(extra)
                        start = pos
                if self.blind:
                    if verdict & TRANSACTION_END:
                        self.relay.broker.catalogs_changed(self)
                    verdict |= OPAQUE
                if verdict:
                    if self.differing and (
                        verdict & (TRANSACTION_END | STATEMENT)
                        or (verdict & CLEANUP and self.discards(server, piece(pos + 5, end - 1)))
                    ):
                        self.keep(server, stage, start, pos, stop)
                        return
                    if pooling:
                        if verdict & READS_VALUES and server.sequence_mixed == MIXED and server.expected.owed_ready:
                            # What it may read depends on how the requests before end.
                            if not self.differing:
                                self.awaiting = AWAITS_READY
                            self.keep(server, stage, start, pos, stop)
                            return
                        extra = self.before(server, verdict, piece(pos + 5, end - 1) if whole and length > 4 else b"", True)
                        if extra is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            stage.append(extra)
                            start = pos
                        if verdict & CLEANUP and whole and self.names is not None:
                            name = deallocated_name(piece(pos + 5, end))
                            if name is not None and self.names.has(name):
                                if server.expected.owed_ready:
                                    self.awaiting = AWAITS_READY
                                    self.keep(server, stage, start, pos, stop)
                                    return
                                if server.status != IN_TRANSACTION_FAILED:
                                    if stage is None:
                                        stage = []
                                    if start < pos:
                                        stage.append(piece(start, pos))
                                    stage.append(self.names.deallocate(server, name))
                                    start = end
                                    verdict = 0
                        if verdict & PIN and whole and context.keeping and not self.pins:
                            refusal = self.refusal(piece(pos + 5, end - 1))
                        elif verdict & READS_VALUES and whole and sequences.cannot_clear(server):
                            refusal = (REFUSAL, *sequences.ABORTED)
                        if refusal is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            text = self.failing()
                            stage.append(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")
                            start = end
                            verdict = 0
                        if verdict & NOTED:
                            text = self.beginning(pos + 5, stop) if not whole else piece(pos + 5, end - 1) if length > 4 else b""
                            self.note(server, verdict, text, None, None)
                    if verdict & (UNSETTABLE | CHANGES):
                        self.mark(server, verdict)
                    if verdict & BACK and whole and context.keeping and self.startup is not context.table.empty:
                        completed = self.completed(server, piece(pos + 5, end - 1))
                        if completed is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            text = completed.text
                            stage.append(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")
                            start = end
                server.ready = False
                owed = server.expected.add(OWED_QUERY, refusal if completed is None else completed)
                refusal = None
                self.unnamed = None
                server.unnamed = None
                self.keeps_server &= ~KEEPS_UNNAMED
                context.query_count += 1
                self.query_count += 1
                if self.differing:
                    pos = end
                    self.forward(server, stage, start, end if whole else stop)
                    self.kept = piece(end, stop) if whole else b""
                    if not whole:
                        self.passing = end - stop
                    return
                completed = None
                if owed and verdict & CLEANUP and whole and self.discards(server, piece(pos + 5, end - 1)):
                    # What follows finds the client's own start in force, not the server's.
                    self.awaiting = AWAITS_READY
                    self.keep(server, stage, start, end, stop)
                    return

            elif self.differing:
                self.keep(server, stage, start, pos, stop)
                return

            elif kind == SYNC:
                server.ready = False
                server.expected.add(OWED_SYNC, None)

            elif kind == BIND:
                server.ready = False
                if pooling:
                    portal_end = find_zero(pos + 5, end if whole else stop)
                    name_end = find_zero(portal_end + 1, end if whole else stop) if portal_end >= 0 else -1
                    if name_end < 0:
                        if not whole and stop - pos < HOLD:
                            break
                        self.violation("invalid Bind message")
                        return
                    name = piece(portal_end + 1, name_end)
                    statement = self.unnamed
                    names = self.names
                    note = None
                    if name:
                        statement = None
                        if names is not None:
                            if names.must_wait(server) or self.asked is not None:
                                self.awaiting = AWAITS_READY
                                self.keep(server, stage, start, pos, stop)
                                return
                            statement = names.get(name)
                    if statement is not None:
                        if statement.facts_seen != context.facts_seen:
                            context.judge(statement)
                        verdict = statement.verdict
                        if verdict & LISTEN or self.subscription is not None:
                            extra = self.listening(server, statement.body, verdict)
                            if extra is None:
                                self.keep(server, stage, start, pos, stop)
                                return
                            if extra:
                                if stage is None:
                                    stage = []
                                if start < pos:
                                    stage.append(piece(start, pos))
                                stage.append(extra)
                                start = pos
                        if self.blind and verdict & TRANSACTION_END:
                            self.relay.broker.catalogs_changed(self)
                        if verdict & READS or (verdict & VALUES and context.reads_sequences):
                            extra = self.before(server, verdict, statement.body, False)
                            if extra is not None:
                                if stage is None:
                                    stage = []
                                if start < pos:
                                    stage.append(piece(start, pos))
                                stage.append(extra)
                                start = pos
                    self.bound = None
                    if not name:
                        if server.unnamed is not statement:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            start = pos
                            stage.append(self.place_unnamed(server))
                    else:
                        if names is not None and statement is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            portal = piece(pos + 5, portal_end + 1)
                            there = self.placed(server, name, portal, end, stop, stage)
                            if there is None:
                                self.keep(server, stage, start, pos, stop)
                                return
                            statement = names.known[name]
                            note = self.misled() if names.misled else (REPEATED, name, statement, None)
                            self.bound = (portal, name, statement)
                            context.bind_count += 1
                            size = length + len(there) - (name_end - portal_end - 1)
                            stage.append(b"B" + size.to_bytes(4, "big") + portal + there + b"\0")
                            start = name_end + 1
                    if statement is not None and (statement.verdict or self.blind):
                        verdict = statement.verdict | OPAQUE if self.blind else statement.verdict
                        if verdict & NOTED:
                            text = statement.body[: statement.body.find(b"\0")]
                            self.note(server, verdict, text, statement, piece(pos, end) if whole else None)
                        if statement.verdict & (UNSETTABLE | CHANGES):
                            self.mark(server, statement.verdict)
                        if statement.verdict & BACK and context.keeping and self.startup is not context.table.empty:
                            self.portal_bound(server, piece(pos + 5, portal_end), statement)
                        if statement.verdict & CLEANUP and names is not None:
                            if statement.deallocates is not None:
                                names.forget(server, statement.deallocates)
                            elif clears_statements(statement.body):
                                note = names.clear_all(server)
                                self.cleared_ahead += 1
                    if self.going_back is not None and (statement is None or not statement.verdict & BACK):
                        self.portal_bound(server, piece(pos + 5, portal_end), None)
                    server.expected.add(OWED_BIND, note)
                else:
                    server.expected.add(OWED_BIND, None)

            elif kind == EXECUTE:
                server.ready = False
                server.expected.add(OWED_EXECUTE, None)
                context.query_count += 1
                self.query_count += 1
                if self.going_back is not None and whole:
                    if stage is None:
                        stage = []
                    stage.append(piece(start, end))
                    stage.extend(self.way_back(server, piece(pos + 5, end)))
                    start = end

            elif kind == PARSE:
                if pooling:
                    name_end = find_zero(pos + 5, end if whole else stop)
                    if name_end < 0:
                        if not whole and stop - pos < HOLD:
                            break
                        self.violation("invalid Parse message")
                        return
                    if not whole:
                        # Too long to remember: it lives on this server only, so the client stays there.
                        self.keeps_server |= KEEPS_UNNAMED if name_end == pos + 5 else KEEPS_NAMED
                        self.note(server, UNKNOWN, self.beginning(name_end + 1, stop), None, None)
                        server.expected.add(OWED_PARSE, None)
                        if name_end == pos + 5:
                            self.unnamed = server.unnamed = None
                        server.ready = False
                        self.passing = end - stop
                        pos = stop
                        break
                    statement = self.statement(name_end + 1, end)
                    verdict = statement.verdict
                    level = self.level()
                    if verdict & PIN and context.keeping and not self.pins:
                        refusal = self.refusal(statement.body[: statement.body.find(b"\0")])
                        if refusal is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            text = piece(pos + 5, name_end) + b"\0" + self.failing() + b"\0\0\0"
                            stage.append(b"P" + (len(text) + 4).to_bytes(4, "big") + text)
                            server.expected.add(OWED_PARSE, refusal)
                            refusal = None
                            if name_end == pos + 5:
                                self.unnamed = server.unnamed = None
                            server.ready = False
                            pos = start = end
                            continue
                    if verdict:
                        extra = self.before(server, verdict, statement.body, False)
                        if extra is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            stage.append(extra)
                            start = pos
                        if verdict & OPAQUE:
                            deviation = self.deviation
                            self.note(server, verdict, statement.body[: statement.body.find(b"\0")], statement, None)
                            self.deviation = deviation  # nothing of it has run yet
                        if verdict & CLEANUP and self.names is not None:
                            if stage is None:
                                stage = []
                            if start < pos:
                                stage.append(piece(start, pos))
                            start = pos
                            statement = self.names.deallocation(server, statement, stage)
                    if name_end == pos + 5:
                        if statement.deallocates is not None and stage is not None:
                            body = statement.body
                            stage.append(b"P" + (len(body) + 5).to_bytes(4, "big") + b"\0" + body)
                            start = end
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
                            self.awaiting = AWAITS_READY
                            self.keep(server, stage, start, pos, stop)
                            return
                        if stage is None:
                            stage = []
                        if start < pos:
                            stage.append(piece(start, pos))
                        self.names.parse(server, piece(pos + 5, name_end), statement, level, stage)
                        context.client_parse_count += 1
                        start = end
                        if server.expected.fake_due:
                            server.send_fakes()
                    server.ready = False
                else:
                    server.ready = False
                    server.expected.add(OWED_PARSE, None)

            elif kind == DESCRIBE or kind == CLOSE:
                if not whole or length < 6:
                    self.violation(f"invalid {'Describe' if kind == DESCRIBE else 'Close'} message")
                    return
                server.ready = False
                if pooling and byte(pos + 5) == 83:  # S: a statement, not a portal
                    name = piece(pos + 6, end - 1)
                    if not name:
                        if kind == CLOSE:
                            server.expected.add(OWED_CLOSE, (0, None, None, self.unnamed, server.unnamed))
                            self.unnamed = None
                            server.unnamed = None
                        else:
                            if server.unnamed is not self.unnamed:
                                if stage is None:
                                    stage = []
                                if start < pos:
                                    stage.append(piece(start, pos))
                                start = pos
                                stage.append(self.place_unnamed(server))
                            server.expected.add(OWED_DESCRIBE, None)
                    elif self.names is not None and (self.names.must_wait(server) or self.asked is not None):
                        self.awaiting = AWAITS_READY
                        self.keep(server, stage, start, pos, stop)
                        return
                    elif self.names is not None and self.names.has(name):
                        if stage is None:
                            stage = []
                        if start < pos:
                            stage.append(piece(start, pos))
                        start = end
                        if kind == CLOSE:
                            self.names.close(server, name, stage)
                            if server.expected.fake_due:
                                server.send_fakes()
                        else:
                            there = self.placed(server, name, None, end, stop, stage)
                            stage.append(b"D" + (len(there) + 6).to_bytes(4, "big") + b"S" + there + b"\0")
                            server.expected.add(OWED_DESCRIBE, (REPEATED, name, self.names.known[name], None))
                    else:
                        server.expected.add(OWED_CLOSE if kind == CLOSE else OWED_DESCRIBE, None)
                elif kind == CLOSE:
                    server.expected.add(OWED_CLOSE, None)
                else:
                    server.expected.add(OWED_DESCRIBE, self.tells(piece(pos + 6, end)) if self.bound is not None else None)

            elif kind == COPY_DATA or kind == FLUSH:
                pass

            elif kind == COPY_DONE or kind == COPY_FAIL:
                if server.expected.copying_in:
                    server.expected.copy_ended()
                elif server.expected.size() and not server.expected.failed:
                    # Ahead of the server's CopyInResponse, or of its error: which decides what a Sync behind this is owed.
                    self.awaiting = AWAITS_COPY
                    self.keep(server, stage, start, pos, stop)
                    return

            elif kind == FUNCTION_CALL:
                extra = self.before(server, UNKNOWN, b"", True)
                if extra is not None:
                    if stage is None:
                        stage = []
                    if start < pos:
                        stage.append(piece(start, pos))
                    stage.append(extra)
                    start = pos
                server.ready = False
                self.note(server, UNKNOWN, self.beginning(pos + 5, end if whole else stop), None, None)
                server.expected.add(OWED_FUNCTION_CALL, None)

            elif kind == TERMINATE:
                self.forward(server, stage, start, pos)
                self.end()
                return

            else:
                self.forward(server, stage, start, pos)
                self.violation(f"invalid frontend message type {kind}")
                return

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
            start = pos = stop
        if server is not None:
            self.forward(server, stage, start, pos)
        if pos < stop:
            self.tail = piece(pos, stop)
        # Last of all: the server may go to a client that waits, and that one uses the shared buffer.
        if server is not None and server.ready and not self.passing:
            self.settled()

    def beginning(self, start: int, stop: int) -> bytes:
        """What of a message too long to be kept is looked through for names."""
        return piece(start, stop if stop < start + BEGINNING else start + BEGINNING)

    def known(self, kind: int) -> bool:
        """Whether a client may send such a message now."""
        return (
            kind == QUERY or kind == PARSE or kind == BIND or kind == DESCRIBE or kind == EXECUTE or kind == CLOSE
            or kind == FUNCTION_CALL
        )  # fmt: skip

    def statement(self, start: int, stop: int) -> Any:
        """The statement whose body is that part of the buffer, its verdict up to date."""
        settings = self.settings
        recent = settings.recent
        i = slot(start, stop)
        statement = recent[i]
        if statement is not None and statement.facts_seen == self.context.facts_seen and same(start, stop, statement.body):
            return statement
        statement = recent[i] = self.context.statement(settings, piece(start, stop))
        return statement

    # --- taking a server ---

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

    def own(self, server: Server, text: bytes, note: object) -> bytes:
        """A query of the pooler's own, to be sent with the client's message."""
        server.ready = False
        server.unnamed = None
        server.step_error = None
        server.expected.add(OWED_QUERY + SKIP, note)
        return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"

    def tell(self, server: Server) -> None:
        """Send the client every reported setting that differs from what it was told."""
        told = self.told
        for name, value in server.reported.items():
            if told.get(name) != value:
                self.send_data(parameter_status(name, value))
        self.told = server.reported

    def linked(self, server: Connection) -> None:
        """The wait is over: go on with what was kept."""
        assert isinstance(server, Server)
        if not self.fits(server):
            other: Server | None = self.relay.broker.exchange(self, server)
            if other is None:
                return
            server = other
        if self.relay.now > self.wait_start:
            self.wait_time += self.relay.now - self.wait_start
        stage = self.take(server)
        if stage is not None:
            server.send_data(b"".join(stage))
        if not self.differing:
            self.go_on()

    def answered(self) -> None:
        server = self.server
        if self.held or self.awaiting == AWAITS_CHANNELS:
            return
        if server is None:
            known = True
        elif self.awaiting == AWAITS_READY:
            known = not server.expected.owed_ready
        elif self.awaiting == AWAITS_COLUMNS:
            known = self.names is None or not self.names.learning
        else:
            known = server.expected.copying_in or server.expected.failed or not server.expected.size()
        if known:
            self.go_on()
            if self.ending:
                self.finish()

    def difference_known(self, failed: bool, error: bytes | None) -> None:
        server = self.server
        if server is None:
            return
        if not failed:
            self.tell(server)
            return
        self.difference_error = error
        server.in_force = self.context.table.empty
        server.dirty |= RESET
        server.expected.skip_pending(REFUSED)

    def difference_done(self, failed: bool) -> None:
        self.differing = False
        server = self.server
        if server is None:
            return
        if not failed:
            self.go_on()
            if self.server is server and server.ready and self.kept is None:
                self.settled()
            return
        server.difference_failed = False
        self.server = None
        error = self.difference_error
        if error is None:
            error = b"SERROR\0VERROR\0C08P01\0Minvalid server parameter\0\0"
        self.kept = None
        self.send_data(b"E" + (len(error) + 4).to_bytes(4, "big") + error)
        server.let_go()
        self.drop("invalid server parameter")

    # --- statements ---

    def failing(self) -> bytes:
        """A text that fails on the server, so that the transaction does too; the error is then put in our words."""
        return b'SELECT "' + self.context.token + b'"'

    def before(self, server: Server, verdict: int, text: bytes, apart: bool) -> bytes | None:
        """What must be done on the server before a text that looks at what others may have left there.

        *apart*: the text is a Query's, not part of a batch.
        """
        extra = b""
        if verdict & VALUES and (verdict & READS_VALUES or self.context.reads_sequences):
            extra = sequences.before(self, server, verdict, text) or b""
        if verdict & NAMES_STATEMENTS and server.status != IN_TRANSACTION_FAILED:
            if self.names is None:
                self.names = Names(self.context)
            if names_statements(verdict, text):
                extra += self.names.lay_bare(server, self.level(), apart)
            elif verdict & READS_STATEMENTS and server.statements:
                extra += self.names.remove_shared(server)
        if not extra:
            return None
        server.ready = False
        return extra

    def clear_sequences(self, server: Server) -> bytes:
        """A server forgets all sequence values."""
        server.sequence_mixed = CLEARING
        return self.own(server, sequences.DISCARD, CLEARED)

    def give_up(self) -> None:
        """Others need the server that is held for sequence values."""
        self.values = sequences.NONE
        self.keeps_server &= ~KEEPS_VALUE
        self.settled()

    def level(self) -> int:
        """How the settings in force deviate from the session's, as far as is known."""
        return UNSETTLED if self.asked is not None else self.deviation

    def placed(self, server: Server, name: bytes, portal: bytes | None, end: int, stop: int, stage: list[bytes]) -> Any:
        """What the server calls the client's statement; None: `awaiting` its columns.

        The message, which ends at *end* of the buffer, binds it to *portal*; with None it asks for the columns.
        """
        names = self.names
        assert names is not None
        statement = names.known[name]
        there = server.statements.get(statement)
        if there is not None and statement.epoch == self.context.epoch and not self.deviation and self.asked is None:
            if statement.private or statement.settings is self.settings.meaning:
                # Nearly always: it is there as it was meant, and now the one used last.
                del server.statements[statement]
                server.statements[statement] = there
                return there
        describes = portal is None or self.describes(portal, end, stop)
        there = names.place(server, name, self.settings, self.level(), describes, stage)
        if there is None:
            server.ready = False
            self.awaiting = AWAITS_COLUMNS
        return there

    def describes(self, portal: bytes, start: int, stop: int) -> bool:
        """Whether the message there asks for the columns of *portal*, a name and its zero."""
        end = start + 6 + len(portal)
        return end <= stop and byte(start) == DESCRIBE and byte(start + 5) == 80 and piece(start + 6, end) == portal

    def tells(self, portal: bytes) -> Any:
        """The note of a Describe of *portal* that tells the columns of a statement, if the client does not know them already."""
        bound, name, statement = self.bound
        if self.names is None or bound != portal:
            return None
        told = self.names.described.get(name)
        return None if told is not None and told is statement.columns else (REPEATED, name, statement, None)

    def misled(self) -> tuple[int, Any, str, str]:
        """The note of a request that PostgreSQL would refuse on a direct connection: the columns have changed."""
        assert self.names is not None
        self.names.misled = False
        return REFUSAL, None, "0A000", "cached plan must not change result type"

    def columns_told(self, note: Any, body: bytes | None) -> None:
        try:
            if self.names is not None:
                self.names.columns_told(note, body)
        except (PeerViolation, ValueError) as violation:
            self.doubt(violation)

    def setting_in_force(self, note: Any, row: bytes) -> None:
        try:
            if self.names is not None:
                self.names.setting_in_force(note, row)
        except (PeerViolation, ValueError) as violation:
            self.doubt(violation)

    def doubt(self, violation: Exception) -> None:
        """An answer about a statement makes no sense."""
        if self.server is not None:
            self.server.doubt(str(violation))

    def plan_changed(self, note: Any) -> None:
        if self.names is not None:
            self.names.plan_changed(note)

    def statements_found(self, server: Server, names: set[bytes]) -> None:
        if self.names is not None:
            self.names.still_there(server, names)

    def discards(self, server: Server, text: bytes) -> bool:
        """Whether a Query is a DISCARD ALL that does not lead to the client's own start."""
        context = self.context
        return context.keeping and self.startup is not context.table.empty and discards_all(text) and bool(self.own_start(server))

    def mark(self, server: Server, verdict: int) -> None:
        """Note what no reset clears, and that the catalogs may have changed."""
        if verdict & UNSETTABLE:
            server.unsettable = True
        if verdict & CHANGES:
            self.context.facts_stale = True

    def place_unnamed(self, server: Server) -> bytes:
        """Make the server's unnamed statement this client's; the message that does."""
        statement = self.unnamed
        note = (0, None, statement, statement, server.unnamed)
        server.unnamed = statement
        if statement is None:
            server.expected.add(OWED_CLOSE + SKIP, note)
            return b"C\0\0\0\6S\0"
        stage: list[bytes] = []
        parse_there(server, statement, b"", self.level(), note, stage)
        return b"".join(stage)

    def undo(self, dropped: list[tuple[int, Any]]) -> None:
        server = self.server
        first = True
        for _, note in reversed(dropped):
            if not isinstance(note, tuple):
                continue
            if note[0] == 0:
                self.unnamed = note[3]
                if server is not None:
                    server.unnamed = note[4]
            elif self.names is not None and server is not None:
                self.names.undo(server, note)
            first = False
        if not first and dropped[0][0] & 7 == OWED_PARSE and dropped[0][1] is not None and dropped[0][1][0] == 0:
            # A failed unnamed Parse leaves no unnamed statement at all.
            self.unnamed = None
            if server is not None:
                server.unnamed = None

    def reset_all(self, statements: bool) -> None:
        server = self.server
        if self.cleared_ahead:
            self.cleared_ahead -= 1  # noted when it was sent
        else:
            if self.names is not None:
                self.names.clear()
            if server is not None:
                server.statements.clear()
        self.unnamed = None
        if server is not None:
            server.unnamed = None
        if not statements and server is not None:
            self.forget(server)
            if self.subscription is not None:
                self.subscription.leave()

    def own_names(self, message: bytes, note: Any) -> bytes:
        if isinstance(note, tuple) and note[0] == REFUSAL:
            return error_response("ERROR", note[2], note[3])
        if isinstance(note, Completed):
            message = note.error(message)
            note = None
        if self.names is not None:
            message = self.names.translate(message, note)
        return b"E" + (len(message) + 4).to_bytes(4, "big") + message

    def parameter_changed(self, name: bytes, value: bytes) -> bytes | None:
        server = self.server
        if server is None:
            return None
        before = self.told.get(name)
        self.told = server.reported
        if self.context.keeping:
            # The third net: a setting changed, and no text said so.
            if not server.dirty & EXPLAINED:
                server.dirty |= OPAQUE
            own = self.startup.values.get(name) if self.all_back else None
            if own is not None and own != value and server.defaults.get(name.lower(), (b"", value))[1] == value:
                # What the client started with, not what the server did, is in force when it looks again.
                self.told = self.context.reported(server.reported, name, own)
                return b"" if own == before else parameter_status(name, own)
        elif name.lower().decode("ascii", "replace") in TRACKED:
            self.settings = self.context.table.with_value(self.settings, name, value)
            server.in_force = self.settings
        return None

    def statement_bits(self) -> int:
        bits = 0
        if self.names is not None:
            for statement in self.names.known.values():
                bits |= statement.verdict & NOTED
        return bits

    # --- listening ---

    def must_wait(self, server: Server, kind: int) -> bool:
        """Whether a client that listens must wait before this message goes out; `awaiting` says for what."""
        if kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL or kind == TERMINATE:
            return False
        if server.expected.owed_ready and not server.expected.copying_in and not self.differing:
            # One request at a time: its own notifications come before its ReadyForQuery, and nothing behind it.
            self.awaiting = AWAITS_READY
            return True
        if self.subscription.must_wait(server):
            self.awaiting = AWAITS_CHANNELS
            return True
        return False

    def batch_needs_channels(self, pos: int, stop: int) -> bool:
        """Whether the batch that begins at *pos* must find the client's channels on the server; also if not all of it is here."""
        while stop - pos >= 5:
            kind = byte(pos)
            end = pos + 1 + u32(pos + 1)
            if kind == SYNC:
                return False
            if kind not in BATCH or end > stop:
                return True
            statement = None
            if kind == PARSE:
                name_end = find_zero(pos + 5, end)
                if name_end >= 0:
                    statement = self.statement(name_end + 1, end)
            elif kind == BIND:
                portal_end = find_zero(pos + 5, end)
                name_end = find_zero(portal_end + 1, end) if portal_end >= 0 else -1
                name = piece(portal_end + 1, name_end) if name_end >= 0 else b""
                statement = self.names.get(name) if name and self.names is not None else self.unnamed
                if statement is not None and statement.facts_seen != self.context.facts_seen:
                    self.context.judge(statement)
            if statement is not None and needs_channels(statement.body, OPAQUE if self.blind else statement.verdict):
                return True
            pos = end
        return True

    def listening(self, server: Server, text: bytes, verdict: int) -> bytes | None:
        """What goes ahead of *text* for the channels' sake; None: it must wait."""
        if self.differing and verdict & LISTEN:
            return None
        if verdict & LISTEN and self.context.keeping:
            if self.subscription is None and channels_in(text):
                if server.expected.owed_ready:
                    self.awaiting = AWAITS_READY
                    return None
                self.subscription = Subscription(self, self.relay.broker.listening_connection(self))
            if self.subscription is not None and not self.subscription.wants(text):
                self.subscription.must_wait(server)
                self.awaiting = AWAITS_CHANNELS
                return None
        if self.subscription is None:
            return b""
        extra: bytes = self.subscription.ahead(server, text, verdict)
        return extra

    def channels_ready(self) -> None:
        """The listening connection has confirmed."""
        if self.awaiting == AWAITS_CHANNELS:
            self.go_on()
            if self.ending:
                self.finish()

    def channels_refused(self, code: str, message: str) -> None:
        """There is no listening connection."""
        server = self.server
        idle = server is not None and server.ready and server.status == IDLE and not self.held
        if server is not None and idle and self.kept is not None and self.kept[0] == QUERY:
            self.refuse_request(code, message)
            if self.server is server and server.ready and self.kept is None:
                self.settled()
        else:
            self.terminate(code, message)

    def channels_found(self, server: Server, channels: set[bytes]) -> None:
        if self.subscription is None:
            if not channels:
                return
            # A LISTEN that no text showed.
            self.subscription = Subscription(self, self.relay.broker.listening_connection(self))
        self.subscription.learned(server, channels)

    def notified(self, message: bytes) -> bytes:
        channel = message[9 : message.find(b"\0", 9)]
        if self.subscription is not None and self.subscription.hears(channel):
            return b""  # it comes by the listening connection
        notifier = self.relay.broker.notifier(self.server, int.from_bytes(message[5:9], "big"))
        return message[:5] + notifier.to_bytes(4, "big") + message[9:] if notifier else message

    def terminate(self, code: str, message: str) -> None:
        """As `refuse`, but what is still to be sent is sent before."""
        if self.out is None or self.closed:
            self.refuse(code, message)
            return
        self.held = False
        self.send_data(error_response("FATAL", code, message))
        self.relay.broker.pooler_error(self, message)
        self.pause()
        self.ending = True
        self.deadline = self.relay.now + self.context.leaving_query_timeout
        self.relay.timed[self] = None
        self.leave(message)

    # --- giving a server back ---

    def settled(self) -> None:
        server = self.server
        if server is None or self.differing:
            return
        if self.subscription is not None and not self.subscription.settle(server):
            return
        if self.kept is not None:
            if self.kept and self.all_back and server.in_force is not self.settings and not server.dirty & LOOKED:
                self.restore(server)
                if self.differing:
                    return
            self.go_on()
            if self.server is not server or not server.ready or self.kept is not None:
                return
        self.count_time(server.status == IDLE)
        if self.ending:
            self.finish()
            return
        if self.passing or server.out is not None:
            return
        if server.status != IDLE:
            if self.context.statement_pooling:
                self.refuse("08P01", "transaction blocks not allowed in statement pooling mode")
            return
        if server.dirty:
            self.transaction_ended()
            if self.context.keeping:
                server.dirty &= ~CLEANUP  # it took away, and left nothing
            if self.trouble:
                self.refuse("57P01", self.trouble)
                return
            if server.dirty & LOOKED and self.context.keeping:
                self.look(server)
                return
            if self.question is not None and not self.context.keeping:
                self.ask(server)
                return
        if self.values:
            sequences.settle(self, server)
            if self.server is not server:
                return  # given up at once
        if self.keeps_server or not self.context.pooling:
            if self.context.keeping and server.in_force is not self.settings:
                self.restore(server)
            return
        self.server = None
        self.state = self.relay.client_idle_state
        self.idle_since = self.relay.now
        if self.context.always_reset:
            server.dirty |= RESET
        server.client = None
        server.settled()

    def transaction_ended(self) -> None:
        """What was waiting for that: the catalogs, which this transaction has changed."""
        server = self.server
        if server is not None and self.deviation:
            server.unnamed = None  # what it was parsed under is not what the client's settings say
            if not server.dirty & LOOKED or not self.context.keeping:
                self.deviation = 0
        if self.blind:
            self.blind = self.makes_names = self.makes_events = False
            self.makes_settings = frozenset()
            self.relay.broker.catalogs_settled(self)

    def count_time(self, transaction_ended: bool) -> None:
        """The server is ready, or taken away: what ran since the last time goes into the statistics."""
        context = self.context
        now = self.relay.now
        if self.query_start:
            context.query_time += now - self.query_start
            self.query_start = 0.0
        if transaction_ended and self.transaction_start:
            context.transaction_count += 1
            context.transaction_time += now - self.transaction_start
            self.transaction_count += 1
            self.transaction_time += now - self.transaction_start
            self.transaction_start = 0.0

    def flushed(self) -> None:
        if self.leaving:
            self.relay.close_client(self, self.why_left())
            return
        if self.subscription is not None:
            self.subscription.deliver()
            if self.out is not None:
                return
        if self.server is not None:
            self.server.resume()
        if self.kept is None and not self.ending:
            self.resume()

    # --- leaving ---

    def end(self) -> None:
        """The client says no more: what it asked runs to its end, replies are still delivered."""
        self.ending = True
        self.tail = None
        if self.reading:
            self.pause()
        self.deadline = self.relay.now + self.context.leaving_query_timeout
        self.relay.timed[self] = None
        self.finish()

    def finish(self) -> None:
        """Close as soon as nothing is under way any more."""
        if self.held:
            return
        server = self.server
        if server is None:
            if self.kept is None or self.state is not self.relay.client_waiting_state:
                self.leave(self.why_left())
            return
        if self.kept is not None:
            return
        expected = server.expected
        if server.ready or self.passing or expected.owed_ready == 0 or expected.copying_in:
            self.leave(self.why_left())

    def why_left(self) -> str:
        """The end in the log's words."""
        return "client unexpected eof" if self.hung_up else "client close request"

    def leave(self, reason: str) -> None:
        """Give back what is held and close once everything is sent."""
        server = self.server
        self.server = None
        if self.out is not None and not self.broken:
            self.leaving = True
        if server is not None:
            self.give_back(server)
        if not self.leaving:
            self.relay.close_client(self, reason)

    def give_back(self, server: Server) -> None:
        """Let go of the server at the end of the session."""
        self.count_time(True)
        if self.passing:
            # Half a message has gone out: whoever had this server next would have to send the rest.
            server.client = None
            server.close("client disconnect while active")
            return
        if self.pins:
            self.unpin(server)
        sequences.let_go(self, server)
        if self.question is not None or self.asked is not None:
            self.abandon(server)
        if server.dirty & OBJECTS:
            server.had_temporary()
        if not self.context.pooling:
            server.dirty |= self.context.session_reset
        server.let_go()

    def drop(self, reason: str) -> None:
        """Close now: the peer is gone, or must go."""
        if self.closed:
            return
        server = self.server
        self.server = None
        self.relay.close_client(self, reason)
        if server is not None:
            self.give_back(server)

    def refuse(self, code: str, message: str) -> None:
        """Send a FATAL error and close."""
        if self.closed:
            return
        server = self.server
        # In the middle of a message of the server's the words would be taken for its data.
        if server is None or not server.passing or server.swallowing:
            self.send_data(error_response("FATAL", code, message))
        self.relay.broker.pooler_error(self, message)
        self.drop(message)

    def violation(self, message: str) -> None:
        """The client broke the protocol."""
        self.refuse("08P01", message)

    def timed_out(self) -> None:
        """What the client left running has had its time."""
        self.drop(self.why_left())

    def on_broken(self) -> None:
        self.drop("client unexpected eof")

    def server_gone(self, told: bool) -> None:
        self.server = None
        if told:
            self.drop("server conn crashed?")
        else:
            self.refuse("08006", "server conn crashed?")

    def server_closing(self, reason: str) -> None:
        self.server = None
        self.refuse("08006", reason)

    # --- cancel ---

    def cancel(self) -> bool:
        """Act on a cancel request; True when it must go to the server that is held."""
        server = self.server
        if server is not None:
            if self.asked is not None and server.expected.size() == 1:
                return False  # nothing of the client's own is under way
            return not self.differing and not self.held and not server.ready
        if self.state is self.relay.client_waiting_state and self.kept is not None:
            self.pool.stop_waiting(self, self.relay.now)
            self.refuse_request("57014", "canceling statement due to user request")
        return False

    def refuse_request(self, code: str, message: str) -> None:
        """Answer the request that waits with an error; what follows its end goes on."""
        data = self.kept
        self.kept = None
        self.send_data(error_response("ERROR", code, message))
        if data is None:
            return
        if data[0] == QUERY or data[0] == FUNCTION_CALL:
            self.send_data(ready_for_query(IDLE))
            end = 1 + int.from_bytes(data[1:5], "big")
            if end > len(data):
                self.passing = end - len(data)
                data = b""
            else:
                data = data[end:]
        else:
            self.skipping = True
        self.kept = data
        self.go_on()
