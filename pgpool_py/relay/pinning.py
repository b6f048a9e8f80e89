"""A client that keeps a server for itself: because something is left on it that only that server can keep.

Why is found by a look at the session (`keeping`), or known from a text before it runs; whether it may be is for `session_pin` and
`pin_pool_size` to say. The pool counts such a server apart.
"""

from __future__ import annotations

import re
from typing import Any

from pgpool_py.relay import holding
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.replies import notice_response
from pgpool_py.relay.server import Server
from pgpool_py.session import flags
from pgpool_py.session.look import UNKNOWABLE, Finding, describe
from pgpool_py.session.notes import REFUSAL
from pgpool_py.session.statements import PIN_ERROR, PIN_NOTICE, SessionContext

RESET = flags.RESET
# Why a server is not given back: a statement too long to remember lives on it, unnamed till the next one, or named; or a pin.
KEEPS_UNNAMED = 1
KEEPS_NAMED = 2
KEEPS_PINNED = 4
ENDS_ITSELF = re.compile(rb"on\s+commit\s+drop", re.IGNORECASE)  # such a table needs no server of its own
PREPARES = re.compile(rb"\s*+prepare\s++(?!transaction\b)", re.IGNORECASE)
PIN = flags.PIN
CAUSE = 200  # bytes of a statement's text that are remembered for messages


class Pinner(Connection):
    """A client as one who keeps a server.

    `keeps_server`  why it does, as bits: KEEPS_PINNED and the others
    `pins`          why it is pinned, in the words of SHOW PINS; `pin_start`: since when; `cause`: the statement it began with
    `unknowable`    it ran code whose settings nobody can list: only DISCARD ALL ends that
    `trouble`       why it must be disconnected as soon as that can be done
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Connection.__init__(self, relay, fd)
        self.pool = pool
        self.context = context
        self.server: Server | None = None
        self.keeps_server = 0
        self.pins: tuple[str, ...] = ()
        self.pin_start = 0.0
        self.cause = b""
        self.unknowable = False
        self.trouble = ""

    def pin_for(self, server: Server, finding: Finding) -> None:
        """Keep the server as long as something is found on it that only it can keep."""
        reasons = list(dict.fromkeys(finding.pins))
        if self.unknowable:
            reasons.append(UNKNOWABLE)
        if reasons and not self.pins:
            mode = self.context.pin_mode
            what = describe(reasons, self.cause)
            if mode == PIN_ERROR and self not in self.pool.promised:  # it may have been let run before a RELOAD
                server.dirty |= RESET
                self.trouble = f"{what} needs a server of its own (session_pin)"
                return
            holding.let_go(self, server)
            if not self.pool.pin(server, self):
                server.dirty |= RESET
                self.trouble = f"no more servers can be kept for {what} (pin_pool_size)"
                return
            self.keeps_server |= KEEPS_PINNED
            self.pin_start = self.relay.now
            self.relay.broker.pinned(self)
            if mode == PIN_NOTICE:
                self.send_data(notice_response(f"this session keeps a server of its own: {what}"))
        elif self.pins and not reasons:
            self.unpin(server)
        self.pins = tuple(reasons)

    def pinned_for(self) -> str:
        """What it keeps a server for, and since which statement."""
        return describe(self.pins, self.cause)

    def refusal(self, text: bytes, verdict: int) -> tuple[int, bytes | None, str, str] | None:
        """The note of the error to send instead of running *text*, whose state only one server can keep; None: it may run."""
        if ENDS_ITSELF.search(text) is not None or (not verdict & PIN and PREPARES.match(text) is None):
            return None
        what = f'"{text[:CAUSE].decode(errors="replace")}"'
        if self.context.pin_mode == PIN_ERROR:
            return REFUSAL, None, "0A000", f"{what} needs a server of its own (session_pin)"
        if not self.pool.promise_pin(self):
            return REFUSAL, None, "53300", f"no more servers can be kept for {what} (pin_pool_size)"
        return None

    def unpin(self, server: Server) -> None:
        """What only this server could keep is gone; a reset makes sure of it."""
        self.pins = ()
        self.pin_start = 0.0
        self.keeps_server &= ~KEEPS_PINNED
        self.pool.unpin(server)
        server.dirty |= RESET
        server.verified = False

    def pin_age(self) -> float:
        """For how long it has kept its server, in seconds; 0.0 without a pin."""
        return self.relay.now - self.pin_start if self.pins else 0.0
