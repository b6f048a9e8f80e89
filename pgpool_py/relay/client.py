"""One logged-in client: how it gets a server, what it hears, how the server is given back, and how it leaves.

What it says is `reading`, how that is cancelled `canceling`; its statements are `preparing`, the rest of its session `keeping`.
Hot: `settled` runs for every transaction; `benchmarks/compare.py` guards it.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay import awaiting, holding, sequences
from pgpool_py.relay.canceling import Canceler
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.replies import error_response, parameter_status
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import NOTHING, UNKNOWN
from pgpool_py.session import flags
from pgpool_py.session.settings import ENCODING, is_tracked

IDLE = ord("I")
OPAQUE = flags.OPAQUE
RESET = flags.RESET
OBJECTS = flags.OBJECTS
LOOKED = flags.LOOKED
CLEANUP = flags.CLEANUP
DEVIATING = flags.DEVIATING
KEEPS_HELD = holding.KEEPS_HELD
AWAITS_READY = awaiting.READY
AWAITS_CHANNELS = awaiting.CHANNELS
AWAITS_CLEARING = awaiting.CLEARING
AWAITS_END = awaiting.END
REFUSED = "refused"  # the note of replies to what was sent behind a difference that failed


class Client(Canceler):
    """One logged-in client; the comments of `__init__` are the contents page."""

    def __init__(self, relay: Any, fd: int, pool: Any, context: Any) -> None:
        Canceler.__init__(self, relay, fd, pool, context)
        # identity; the login fills these in
        self.number = 0
        self.database: Any = None
        self.user = ""
        self.peer: Any = None
        self.cancel_secret = b""
        self.connect_time = 0.0
        # the pool's words
        self.state: Any = None
        self.wait_start = 0.0
        self.last_server: Any = None
        # what it holds and waits for
        self.difference_error: bytes | None = None
        self.leaving: str | None = None
        self.deadline = 0.0
        # what it has used
        self.transaction_count = 0
        self.transaction_time = 0.0
        self.wait_time = 0.0
        # stamps for timeouts: when it last said something, gave its server back, and joined the queue it had notice of
        self.idle_since = 0.0
        self.noticed = 0.0

    # --- getting a server ---

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
        if self.held or self.asked is not None or self.awaiting == AWAITS_CHANNELS:
            return
        if self.awaiting == AWAITS_END:
            if server is not None and not server.ready:
                self.finish()
            return
        if server is None:
            known = True
        elif self.awaiting == AWAITS_READY:
            known = server.expected.copying_in or not server.expected.owed_ready
        else:
            known = server.expected.copying_in or server.expected.failed or not server.expected.size()
        if known:
            if server is not None and self.awaiting == AWAITS_CLEARING and self.all_back and not server.expected.failed:
                # Its DISCARD ALL has ended the transaction of its batch.
                if not self.in_order(server):
                    return
            self.go_on()

    def cleared(self, failed: bool) -> None:
        server = self.server
        if server is None:
            return
        if failed and server.ready and server.status == IDLE:
            # It may read, so it has waited: for nothing on this server.
            if not self.keeps_server:
                server.client = None
                self.server = None
                self.forgo()
            server.close("DISCARD SEQUENCES failed")
            if self.server is None:
                self.go_on()

    def difference_known(self, failed: bool, error: bytes | None) -> None:
        server = self.server
        if server is None:
            return
        if not failed:
            self.tell(server)
            return
        if self.restores_again(server, error):
            return
        self.difference_error = error
        server.in_force = self.context.table.empty
        server.dirty |= RESET
        server.expected.skip_pending(REFUSED)

    def difference_done(self, failed: bool) -> None:
        self.differing = False
        self.restoring = None
        server = self.server
        if server is None:
            return
        if not failed:
            if server.ready and server.dirty and not self.held:
                self.settled()  # what went out along with the difference has ended, too, and is looked at before anything else
                return
            self.go_on()
            if self.server is server and server.ready and (self.kept is None or self.held):
                self.settled()
            return
        server.difference_failed = False
        self.server = None
        error = self.difference_error
        if error is None:
            error = b"SERROR\0VERROR\0C08P01\0Minvalid server parameter\0\0"
        self.kept = None
        self.send_data(b"E" + (len(error) + 4).to_bytes(4, "big") + error)
        self.give_back(server)
        self.drop("invalid server parameter")

    def give_up(self) -> None:
        """Others need the server that is held."""
        self.values = sequences.NONE
        self.keeps_server &= ~KEEPS_HELD
        self.settled()

    def misses_nothing(self) -> bool:
        server = self.server
        if server is None or not server.ready or server.status != IDLE or server.out is not None or not self.context.pooling:
            return False
        if self.kept is not None or self.asked is not None or self.passing or self.held or self.differing:
            return False  # something is under way
        return not (self.keeps_server & ~KEEPS_HELD or server.dirty & LOOKED or self.question is not None)

    def keeps_idly(self) -> bool:
        """Whether this client asks nothing, and would rather lose its server than be told of that."""
        server = self.server
        if server is None or not server.ready or server.status != IDLE:
            return False  # with the server an open transaction is lost, which it must be told
        return self.keeps_server == KEEPS_HELD and not self.query_start and not self.differing

    def forgo(self) -> None:
        """The server that was held is gone, and what was on it."""
        self.values = sequences.NONE
        self.keeps_server = 0
        self.state = self.relay.client_idle_state
        self.idle_since = self.relay.now

    def parameter_changed(self, name: bytes, value: bytes) -> bytes | None:
        server = self.server
        if server is None:
            return None
        before = self.told.get(name)
        self.told = server.reported
        if self.context.keeping:
            # The third net: a setting changed, and no text said so.
            if not server.dirty & DEVIATING:
                server.dirty |= OPAQUE
            own = self.startup.values.get(name) if self.all_back and server.in_force is not self.settings else None
            if own is not None and own.isascii() and own != value and server.defaults.get(name.lower(), (b"", value))[1] == value:
                # What the client started with, not what the server did, is in force when it looks again.
                self.told = self.context.reported(server.reported, name, own)
                return b"" if own == before else parameter_status(name, own)
        elif is_tracked(name):
            if value.isascii() or server.reported.get(ENCODING) == server.reported.get(b"server_encoding"):
                self.settings = self.context.table.with_value(self.settings, name, value)
                server.in_force = self.settings
            else:
                server.dirty |= RESET  # values are kept in the database's encoding, and here nobody asks for it
        return None

    # --- giving a server back ---

    def settled(self) -> None:
        server = self.server
        if server is None or self.differing or not server.ready or self.asked is not None:
            return
        if self.subscription is not None and not self.subscription.settle(server):
            return
        if self.kept is not None:
            if not self.in_order(server):
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
        self.all_back = False
        if server.dirty and self.examines(server):
            return
        if self.values:
            holding.settle(self, server)
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

    def in_order(self, server: Server) -> bool:
        """Whether its session is what it should be for what it says next; if not, that is being seen to."""
        at_rest = server.status == IDLE and not self.passing and server.out is None
        if at_rest and server.dirty and self.examines(server):
            return False
        within = self.awaiting == AWAITS_CLEARING  # a batch, of which the DISCARD ALL has ended what was before
        if (self.kept or within) and self.all_back and server.in_force is not self.settings and not server.dirty & LOOKED:
            self.restore(server)
            if self.differing:
                return False
        if within and self.told is not server.reported:
            self.tell(server)  # what the DISCARD ALL has changed was reported to the pooler's own question
        return True

    def examines(self, server: Server) -> bool:
        """A transaction that was not plain has ended: whether there is anything to be asked, or refused, before all else."""
        self.transaction_ended()
        if self.context.keeping and not self.context.connect_query:
            server.dirty &= ~CLEANUP  # it took away, and left nothing
        if self.trouble:
            self.refuse("57P01", self.trouble)
            return True
        if server.dirty & LOOKED and self.context.keeping:
            self.look(server)
            return True
        if self.question is not None and not self.context.keeping:
            self.ask(server)
            return True
        return False

    def transaction_ended(self) -> None:
        """What was waiting for that: the catalogs, which this transaction has changed."""
        if self.wrote:
            sequences.ended(self)
        server = self.server
        self.clearing = self.going_back = None
        if server is not None and self.deviation:
            server.unnamed = UNKNOWN  # what it was parsed under is not what the client's settings say
            server.changed = NOTHING
            server.here = None
            if not server.dirty & LOOKED or not self.context.keeping:
                self.deviation = 0
        if self.blind:
            self.blind = self.makes_events = False
            self.makes = 0
            self.makes_settings = frozenset()
            self.made_here = frozenset()
            if self.transient:
                self.has_temporaries(self.temporaries - self.transient)
                self.transient = frozenset()
            if self.overturns:
                self.overturns = False
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
            self.relay.close_client(self, self.leaving)
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
        else:
            self.awaiting = AWAITS_END

    def why_left(self) -> str:
        """The end in the log's words."""
        return "client unexpected eof" if self.hung_up else "client close request"

    def leave(self, reason: str) -> None:
        """Give back what is held and close once everything is sent."""
        server = self.server
        self.server = None
        self.kept = None
        self.awaiting = 0
        if self.out is not None and not self.broken:
            self.leaving = reason
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
        holding.let_go(self, server)
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
        self.kept = None
        self.awaiting = 0
        self.relay.close_client(self, reason)
        if server is not None:
            self.give_back(server)

    def refuse(self, code: str, message: str) -> None:
        """Send a FATAL error and close."""
        self.part(code, message, self.is_midway())

    def is_midway(self) -> bool:
        """Whether the client has half a message of the server's: words of the pooler's would be taken for the rest."""
        server = self.server
        return server is not None and server.passing > 0 and not server.swallowing

    def part(self, code: str, message: str, midway: bool) -> None:
        """As `refuse`; *midway*: the client has half a message, and would take the words for its rest."""
        if self.closed:
            return
        if not midway:
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
        forgoes = self.keeps_idly()
        midway = self.is_midway()
        self.server = None
        if told:
            self.pause()
            self.leave("server conn crashed?")  # with all that the server has said
        elif forgoes:
            self.forgo()
        else:
            self.part("08006", "server conn crashed?", midway)

    def server_closing(self, reason: str) -> None:
        forgoes = self.keeps_idly()
        midway = self.is_midway()
        self.server = None
        if forgoes:
            self.forgo()
        else:
            self.part("08006", reason, midway)
