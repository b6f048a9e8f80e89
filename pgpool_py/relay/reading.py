"""What a client says: understood as far as pooling needs, and sent to the server it holds.

Hot: `on_event` and `process` run for every read from a client; `benchmarks/compare.py` guards them.

A client holds a server from its first request until the server says ReadyForQuery outside a transaction and owes nothing. What
arrives while it has none, or while it must wait for replies, is kept (`kept`) and the socket is not read: the peer feels the
back-pressure. What a request comes to is decided in `requesting`; here the messages are told apart, one after the other.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay import awaiting, holding
from pgpool_py.relay._io import byte, find_zero, load, piece, recv, u32
from pgpool_py.relay.interest import GONE, WRITE
from pgpool_py.relay.keeping import says_buffers
from pgpool_py.relay.outcome import HOLD, INCOMPLETE, KEPT, SENT
from pgpool_py.relay.replies import parameter_status, ready_for_query
from pgpool_py.relay.requesting import Requester
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import DIFFERENCE, MIXED
from pgpool_py.session.naming import FLUSH_MESSAGE
from pgpool_py.session.settings import difference
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

OWED_EXECUTE = int(Owed.EXECUTE)
OWED_SYNC = int(Owed.SYNC)
LETTERS = frozenset(int(kind) for kind in Frontend)
IDLE = ord("I")
KEEPS_HELD = holding.KEEPS_HELD
AWAITS_ANSWERS = awaiting.ANSWERS


class Reader(Requester):
    """A client as one who speaks: message after message, of which the first brings it a server.

    `skipping`     an error of the pooler's own has answered its request, which has not ended yet
    `ending`       it says no more; `hung_up`: without a Terminate
    `query_start`, `transaction_start`    0.0 while nothing runs
    `cancel_due`   a cancel request came for what it has said and the server is not at yet; `cancels`: such that are on their way
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Requester.__init__(self, relay, fd, pool, context)
        self.cancel_key = 0
        self.skipping = False
        self.ending = False
        self.hung_up = False
        self.query_start = 0.0
        self.transaction_start = 0.0
        self.request_time = 0.0
        self.cancel_due = False
        self.cancels = 0

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not events & ~WRITE or self.closed or self.broken:
            return
        if events & GONE and (not self.reading or self.kept is not None or self.asked is not None):
            self.drop("client unexpected eof")
            return
        waits = self.kept is not None or self.asked is not None or self.out is not None
        if waits or (self.server is not None and self.server.out is not None):
            self.pause()
            return
        if not self.reading:
            return
        at = 0
        if self.tail is None and self.tls is None:
            n = recv(self.fd, 0)  # nearly always; the rest is `read_behind`'s
        else:
            at = 0 if self.tail is None else len(self.tail)
            n = self.read_behind(at)
        if n > 0:
            self.context.bytes_received += n
            self.request_time = self.relay.now
            self.process(at + n)
            if self.cancel_due:
                self.cancel_now()
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
            try:
                self.process(len(data))
            except Exception as error:
                # As in `Relay.drain`, but the event at hand may be another connection's, or none of the relay's at all.
                self.relay.broker.internal_error(self, error)
        if self.ending:
            if not self.closed:
                self.finish()
        elif self.kept is None and not self.closed and self.out is None:
            self.resume()
        if self.cancel_due:
            self.cancel_now()

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
            if self.keeps_server & KEEPS_HELD:
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
                self.broken_off(server, pos, f"invalid message length {length} in message {chr(kind)!r}")
                return
            end = pos + 1 + length
            whole = end <= stop
            if not whole and length <= HOLD and kind != COPY_DATA:
                if kind not in LETTERS:
                    self.broken_off(server, pos, f"invalid frontend message type {kind}")
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
                if kind == SYNC and length == 4:
                    self.send_data(ready_for_query(IDLE))
                    pos = self.start = end
                    continue
                if (kind == FLUSH and length == 4) or kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL:
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

            if server.expected.copying_in and not self.goes_along(kind):
                self.broken_off(server, pos, f"unexpected message type 0x{kind:02X} during COPY from stdin")
                return
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
                context.query_count += 1
                self.query_count += 1
                if (
                    self.clearing and whole and (zero := find_zero(pos + 5, end)) > 0
                    and (portal := piece(pos + 5, zero)) in self.clearing
                ):  # fmt: skip
                    done = self.execute_clearing(server, portal, pos, end, stop)
                else:
                    server.expected.add(OWED_EXECUTE, None)
                    if self.going_back is not None and whole:
                        self.staged(end).extend(self.way_back(server, piece(pos + 5, end)))
            elif kind == PARSE:
                done = self.on_parse(server, pos, end, stop)
            elif kind == DESCRIBE or kind == CLOSE:
                done = self.on_describe_or_close(server, kind, pos, end, stop)
            elif kind == FLUSH and length != 4 and not server.expected.copying_in:
                done = self.unreadable(server)
            elif kind == COPY_DATA or kind == FLUSH:
                pass
            elif kind == COPY_DONE or kind == COPY_FAIL:
                if server.expected.copying_in:
                    server.expected.copy_ended()
                elif server.expected.size() and not server.expected.failed:
                    # Ahead of the server's CopyInResponse, or of its error: which decides what a Sync behind this is owed.
                    self.staged(pos).append(FLUSH_MESSAGE)
                    self.awaiting = AWAITS_ANSWERS
                    done = self.keep(server, pos, stop)
            elif kind == FUNCTION_CALL:
                done = self.on_function_call(server, pos, end, stop)
            elif kind == TERMINATE:
                self.forward(server, pos)
                self.end()
                return
            else:
                done = self.broken_off(server, pos, f"invalid frontend message type {kind}")
            if done == KEPT:
                return
            if done == INCOMPLETE:
                break

            if server.expected.dropped:
                server.undo_dropped(False)
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

    def goes_along(self, kind: int) -> bool:
        """Whether a client may send such a message in the middle of its copy (manual 55.2.6)."""
        return (
            kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL or kind == SYNC or kind == FLUSH or kind == TERMINATE
        )  # fmt: skip

    def known(self, kind: int) -> bool:
        """Whether a client may send such a message now."""
        return (
            kind == QUERY or kind == PARSE or kind == BIND or kind == DESCRIBE or kind == EXECUTE or kind == CLOSE
            or kind == FUNCTION_CALL or kind == SYNC or kind == FLUSH
        )  # fmt: skip

    # --- ahead of a message ---

    def take(self, server: Server) -> list[bytes] | None:
        """Hold *server* from now on; what must go out ahead of the first message."""
        self.server = server
        server.client = self
        self.query_start = self.transaction_start = self.relay.now
        self.all_back = False
        if self.subscription is not None:
            self.subscription.placed = False  # whatever it had before, this one does not listen for it
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
            before = told.get(name)
            if before is not None and not value.isascii() and not before.isascii():
                continue  # the client's own, which the server has reported in another encoding
            if before != value:
                self.send_data(parameter_status(name, value))
        self.told = server.reported

    # --- what the client fills in ---

    def end(self) -> None:
        """The client says no more."""

    def drop(self, reason: str) -> None:
        """Close now."""
