"""A client on its way back to what it started with: its startup parameters, and what `connect_query` set.

Servers start otherwise, so a RESET on one leads elsewhere. What must follow it is worked out in `session.defaults`; here it is
added to what goes out, or put in force on a server that the client keeps (decision 13).
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay.pinning import Pinner
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import DIFFERENCE, SETTLING
from pgpool_py.session import flags
from pgpool_py.session.defaults import Completed, Privileged, Unclear, Who, completed, single_way_back
from pgpool_py.session.inline import command
from pgpool_py.session.settings import AUTHORIZATION, ENCODING, ROLE, difference
from pgpool_py.session.statements import SessionContext, Statement
from pgwire.expected import Action

SKIP = int(Action.SKIP)
IDLE = ord("I")
OPAQUE = flags.OPAQUE
BACK = flags.BACK
HASTY = flags.HASTY
CONFORMING = b"standard_conforming_strings"


class Returner(Pinner):
    """A client as one that has a start of its own.

    `settings`, `startup`  what it has set, and what it started with
    `going_back`           the texts that portals are bound to which send a setting back to the client's start; None: none are
    `all_back`             its DISCARD ALL was carried out in this transaction
    `differing`            its settings are being put in force: what it says waits
    `restoring`            the texts that do so on a server that it keeps, None: it is one that it has just got
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Pinner.__init__(self, relay, fd, pool, context)
        self.settings: Any = None
        self.startup: Any = None
        self.going_back: dict[bytes, bytes] | None = None
        self.all_back = False
        self.differing = False
        self.restoring: list[bytes] | None = None

    def way_back(self, server: Server, executed: bytes) -> list[bytes]:
        """The messages that go out behind an Execute with that content, so that it leads to the client's own start."""
        assert self.going_back is not None
        text = self.going_back.pop(executed.partition(b"\0")[0], b"")
        if not self.going_back:
            self.going_back = None
        return [command(server, each) for each in self.single_way_back(server, text)]

    def portal_bound(self, server: Server, portal: bytes, statement: Statement | None) -> None:
        """*portal* is bound to *statement*: note whether anything must follow when it is executed."""
        text = b""
        if statement is not None and statement.verdict & BACK:
            text = statement.body[: statement.body.find(b"\0")]
        if text and self.single_way_back(server, text):
            if self.going_back is None:
                self.going_back = {}
            self.going_back[portal] = text
        elif self.going_back is not None:
            self.going_back.pop(portal, None)

    def single_way_back(self, server: Server, text: bytes) -> list[bytes]:
        """What must follow *text*, if it is executed now."""
        return single_way_back(text, self.own_start(server), self.privileged(), self.who(server, self.begins(server)))

    def completed(self, server: Server, text: bytes) -> Completed | None:
        """A Query's *text* with what leads back to the client's own start; None if it resets nothing of that."""
        start = self.own_start(server)
        if not start:
            return None
        conforming = encoding = b""
        # Where nothing is under way the server's state is known.
        quiet = self.differing or not server.expected.size()
        if self.differing:
            conforming, encoding = [
                self.settings.values.get(name) or server.defaults.get(name, (b"", b""))[1] for name in (CONFORMING, ENCODING)
            ]
        elif quiet:
            conforming, encoding = [server.reported.get(name, b"") for name in (CONFORMING, ENCODING)]
        alone = self.begins(server)
        try:
            who = self.who(server, alone)
            return completed(text, start, conforming == b"on", encoding, alone, self.privileged(), who)
        except Unclear:
            server.dirty |= OPAQUE  # the look finds it at the end of the transaction
            return None

    def privileged(self) -> Privileged:
        """What not every user may set, but the client's may."""
        return Privileged(self.context.privileged, self.context.user)

    def who(self, server: Server, alone: bool) -> Who | None:
        """As whom the client's transaction runs, which only begins if it is *alone*; None: it may have become another."""
        if not alone and (server.changed is None or ROLE in server.changed):
            return None
        values = self.settings.values
        return values.get(AUTHORIZATION, b""), values.get(ROLE) or server.defaults.get(ROLE, (b"", b"none"))[1]

    def begins(self, server: Server) -> bool:
        """Whether the client has no transaction under way, nor anything else: only the pooler has."""
        last = server.expected.size() - 1
        while last >= 0 and server.expected.entry(last)[0] & SKIP:
            last -= 1
        return last < 0 and server.status == IDLE

    def own_start(self, server: Server) -> dict[bytes, tuple[bytes, bytes]]:
        """What the client started with, as far as it is not what the server did."""
        start = {}
        for name, value in self.startup.values.items():
            lower = name.lower()
            if server.defaults.get(lower, (b"", None))[1] != value:
                start[lower] = (name, value)
        return start

    def restore(self, server: Server) -> None:
        """Put the client's settings in force on a server that it keeps: a RESET there went to the server's own."""
        texts = self.restoring = difference(server.in_force, self.settings)
        server.in_force = self.settings
        self.defines(server)
        for text in texts:
            self.differing = True
            server.query(text, DIFFERENCE)

    def restores_again(self, server: Server, error: bytes | None) -> bool:
        """Whether a cancel has hit that which came too late for what it was meant for: then it is begun anew."""
        if self.restoring is None or not server.canceled or error is None or b"C57014\0" not in error:
            return False
        server.difference_failed = server.difference_answered = False
        server.query(b"ROLLBACK", SETTLING)
        for text in self.restoring:
            server.query(text, DIFFERENCE)
        return True

    def defines(self, server: Server) -> None:
        """The client's settings are put in force on the server: custom ones stay defined there."""
        if self.settings.hasty and self.context.watching:
            server.dirty |= HASTY
        if self.settings.custom:
            server.define(self.settings.custom)
