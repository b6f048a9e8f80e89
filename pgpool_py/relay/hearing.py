"""A client as a listener: when its messages must wait for the listening connection, and what it hears.

The rules of LISTEN are `subscription`'s; here is what they mean for one client's messages.
"""

from __future__ import annotations

from pgpool_py.relay import awaiting
from pgpool_py.relay._io import byte, find_zero, piece, u32
from pgpool_py.relay.preparing import Preparer
from pgpool_py.relay.replies import error_response
from pgpool_py.relay.server import Server
from pgpool_py.relay.subscription import PLACES, Subscription, concerns
from pgpool_py.session import flags
from pgpool_py.session.channels import may_listen
from pgwire.codes import Frontend

PARSE = int(Frontend.PARSE)
BIND = int(Frontend.BIND)
DESCRIBE = int(Frontend.DESCRIBE)
EXECUTE = int(Frontend.EXECUTE)
CLOSE = int(Frontend.CLOSE)
SYNC = int(Frontend.SYNC)
FUNCTION_CALL = int(Frontend.FUNCTION_CALL)
COPY_DATA = int(Frontend.COPY_DATA)
COPY_DONE = int(Frontend.COPY_DONE)
COPY_FAIL = int(Frontend.COPY_FAIL)
TERMINATE = int(Frontend.TERMINATE)
BATCH = frozenset((PARSE, BIND, DESCRIBE, EXECUTE, CLOSE))
LISTEN = flags.LISTEN
OPAQUE = flags.OPAQUE
AWAITS_READY = awaiting.READY
AWAITS_CHANNELS = awaiting.CHANNELS


class Hearer(Preparer):
    """A client that may listen: `subscription` is None for one that does not."""

    def ahead_of(self, server: Server, kind: int, pos: int, stop: int) -> bytes | None:
        """What goes ahead of the message for the channels' sake, as it begins a batch; None: it must wait."""
        if self.must_wait(server, kind):
            return None
        if server.ready and (kind in BATCH or kind == FUNCTION_CALL):
            verdict = self.concerns_channels(pos, stop)
            if verdict and not self.subscription.up_to_date(server, verdict):
                self.awaiting = AWAITS_CHANNELS
                return None
            if verdict & PLACES:
                placed: bytes = self.subscription.place(server)
                return placed
        return b""

    def must_wait(self, server: Server, kind: int) -> bool:
        """Whether a client that listens must wait before this message goes out; `awaiting` says for what."""
        if kind == COPY_DATA or kind == COPY_DONE or kind == COPY_FAIL or kind == TERMINATE:
            return False
        if self.held or (server.expected.owed_ready and not server.expected.copying_in and not self.differing):
            # One request at a time: its own notifications come before its ReadyForQuery, and nothing behind it.
            self.awaiting = AWAITS_READY
            return True
        if self.subscription.must_wait(server):
            self.awaiting = AWAITS_CHANNELS
            return True
        return False

    def concerns_channels(self, pos: int, stop: int) -> int:
        """What of the batch that begins at *pos* concerns channels, as `concerns`; everything if not all of it is here."""
        found = 0
        while stop - pos >= 5:
            kind = byte(pos)
            end = pos + 1 + u32(pos + 1)
            if kind == SYNC:
                return found
            if kind not in BATCH or end > stop:
                return OPAQUE
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
            if statement is not None:
                found |= concerns(statement.body, OPAQUE if self.blind else statement.verdict)
            pos = end
        return OPAQUE

    def listening(self, server: Server, text: bytes, verdict: int) -> bytes | None:
        """What goes ahead of *text* for the channels' sake; None: it must wait."""
        if self.differing and verdict & LISTEN:
            return None
        if verdict & LISTEN and not self.connects(server, text):
            return None
        if self.subscription is None:
            return b""
        if server.ready and not self.subscription.up_to_date(server, verdict):
            self.awaiting = AWAITS_CHANNELS
            return None
        extra: bytes = self.subscription.ahead(server, text, verdict)
        return extra

    def connects(self, server: Server, text: bytes) -> bool:
        """Whether *text*, which is about channels, may go out: if it listens there must be a listening connection to wait for."""
        if self.unheard is not None or not self.context.keeping or not may_listen(text):
            return True
        if self.subscription is None:
            if server.expected.owed_ready:
                self.awaiting = AWAITS_READY
                return False
            self.subscription = Subscription(self, self.relay.broker.listening_connection(self))
        if not self.subscription.connected():
            self.subscription.must_wait(server)
            self.awaiting = AWAITS_CHANNELS
            return False
        return True

    def channels_ready(self) -> None:
        """The listening connection has confirmed."""
        if self.awaiting == AWAITS_CHANNELS:
            self.go_on()

    def channels_refused(self, code: str, message: str) -> None:
        """There is no listening connection."""
        if self.awaiting == AWAITS_CHANNELS:
            self.unheard = (code, message)
            self.go_on()
            self.unheard = None

    def channels_found(self, server: Server, channels: set[bytes]) -> None:
        if self.subscription is None:
            if not channels:
                return
            # A LISTEN that no text showed.
            self.subscription = Subscription(self, self.relay.broker.listening_connection(self))
        self.subscription.learned(server, channels)

    def channels_placed(self, failed: bool) -> None:
        if failed and self.subscription is not None:
            self.subscription.placed = False

    def marker_placed(self, failed: bool) -> None:
        if self.subscription is not None:
            self.subscription.marker_placed(failed)

    def notified(self, message: bytes) -> bytes:
        notifier = self.relay.broker.notifier(self.server, int.from_bytes(message[5:9], "big"))
        if notifier:
            message = message[:5] + notifier.to_bytes(4, "big") + message[9:]
        if self.subscription is not None and self.subscription.brings(message[9 : message.find(b"\0", 9)], message):
            return b""
        return message

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

    # --- what the client fills in ---

    def go_on(self) -> None:
        """Process what was kept."""

    def finish(self) -> None:
        """Close as soon as nothing is under way any more."""

    def leave(self, reason: str) -> None:
        """Give back what is held and close once everything is sent."""

    def refuse(self, code: str, message: str) -> None:
        """Send a FATAL error and close."""
