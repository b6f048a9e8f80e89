"""What a client owns of its session, kept while servers change: settings, and the server itself where only that one can keep it
(`pinning`), up to the start that its resets lead to (`returning`).

Plain transactions never come here. A text that is not plain is noted (`noting`); at the end of its transaction, while the client
still holds the server, one query of the pooler's own asks PostgreSQL what is left of it (`look`); the answer becomes the client's
settings map, the server's, and the pins (`looked`). Nothing is modelled from the text, so nothing can be wrong about it: what was
rolled back is not there.

Decides about one session only; questions and answers are those of `session.look`.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay import holding, sequences
from pgpool_py.relay.noting import Noter
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import LOOK, NOTHING
from pgpool_py.session import flags
from pgpool_py.session.look import FORBIDDEN, TEMPORARY, UNKNOWABLE, UNSEEN, Finding, Question, in_force, is_custom, read
from pgpool_py.session.settings import AS_OF_SESSION, AUTHORIZATION, ENCODING, ROLE, TEMP_BUFFERS
from pgpool_py.session.statements import SessionContext
from pgwire import DataRow, PeerViolation

# Bits of a verdict that are settled by a look at the session.
LOOKED = flags.LOOKED
RELEASES = flags.RELEASES
OBJECTS = flags.OBJECTS
HELD = flags.PIN | flags.OPAQUE | flags.STATEMENT | flags.LISTEN | flags.RELEASES
BARE = flags.BARE
SETTINGS = flags.SETTINGS
STATEMENT = flags.STATEMENT
OPAQUE = flags.OPAQUE
RESET = flags.RESET
SEED = flags.SEED
HASTY = flags.HASTY
WHO = (ROLE, AUTHORIZATION)


class Keeper(Noter):
    """A client as the owner of a session.

    `told`                 the reported settings it was told, by identity a server's `reported`
    `asked`                the question under way
    `kept`                 what it said and has not been sent yet
    `values`, `wrote`      what it has of sequence values, and whether its transaction may have made some: see sequences.py; not
                           zero either where it may hold a server for something else, see holding.py
    `value_at`             the server they are on; `value_since`: when one was last made or read
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Noter.__init__(self, relay, fd, pool, context)
        self.told: dict[bytes, bytes] = {}
        self.asked: Any = None
        self.kept: bytes | None = None
        self.values = sequences.NONE
        self.wrote = False
        self.value_at: Server | None = None
        self.value_since = 0.0

    def fits(self, server: Server) -> bool:
        """Whether the client may see what custom settings are defined on the server, and its own can be put in force there."""
        there = server.placeholders
        if there is None:
            return True
        if server.temporary and not self.context.sets_buffers and self.kept is not None and says_buffers(self.kept):
            self.context.sets_buffers = True
        return (not self.context.exact or there <= self.settings.custom | self.touched) and server.takes_buffers(self.settings)

    def ask(self, server: Server) -> None:
        """Ask the server which custom settings unread code has defined; `looked` follows."""
        question = self.question
        self.question = None
        self.put(server, question)

    def look(self, server: Server) -> None:
        """Ask the server what the transaction left behind; `looked` follows."""
        dirty = server.dirty
        server.dirty = dirty & ~LOOKED
        question = self.question
        self.question = None
        if question is None:
            question = Question()
        if dirty & OPAQUE:
            question.whole = True
        question.objects = bool(dirty & OBJECTS) or bool(self.pins)
        question.held = bool(dirty & HELD) or bool(self.pins)
        question.statements = bool(dirty & BARE and dirty & (OPAQUE | STATEMENT))
        question.names |= question.candidates
        if question.whole:
            question.names |= self.context.placeholders | self.settings.custom
            question.names.update([name for name in server.defaults if is_custom(name)])
            if server.placeholders is not None:
                question.names |= server.placeholders
        question.timeout = (
            question.whole or b"statement_timeout" in question.names or b"statement_timeout" in server.in_force.values
        )
        self.put(server, question)

    def put(self, server: Server, question: Question) -> None:
        """The question goes to the server."""
        if server.defaults and question.leave_out_unreadable(server.defaults):
            server.dirty |= RESET
        self.asked = question
        question.leave_out_nonsense(server.reported.get(ENCODING, b""))
        server.rows = []
        server.synchronize()
        server.query(question.text(), LOOK)

    def looked(self, rows: list[bytes], error: bytes | None) -> None:
        server = self.server
        question = self.asked
        self.asked = None
        if self.kept is None and self.out is None:
            self.resume()
        if server is None or question is None:
            return
        context = self.context
        if not context.keeping:
            if error is not None:
                server.condemn(UNKNOWABLE, self.cause)
                return
            found = self.answer(server, rows, question)
            if found is not None:
                made = [name for name, value in found.values.items() if value is not None and is_custom(name)]
                self.defined(server, made)
            return
        if error is not None:
            if b"C57014\0" in error:
                # A cancel that came too late for what it was meant for.
                self.question = question
                server.dirty |= OPAQUE if question.whole else SETTINGS
                if question.held:
                    server.dirty |= flags.PIN
                return
            server.dirty |= RESET
            if context.exact:
                server.condemn(UNSEEN, self.cause)
            self.trouble = "the state of the session could not be read"
            return
        self.deviation = AS_OF_SESSION
        server.changed = NOTHING
        finding = self.answer(server, rows, question)
        if finding is None:
            return
        before = server.in_force.values
        apart = self.apart(server, finding, question.sources)
        actual = in_force(before, finding, question.whole, server.defaults, context.user, apart)
        server.in_force = context.table.get(actual)
        if server.in_force.hasty:
            server.dirty |= HASTY
        # Behind its own DISCARD ALL the client's start is not in force yet.
        due = {name: value for name, value in self.settings.values.items() if before.get(name) != value}
        if not question.whole:
            owned = in_force({**before, **due}, finding, False, server.defaults, context.user, apart)
            if self.all_back:
                # What it started with is not what the server says yet.
                owned.update({name: value for name, value in due.items() if name in self.startup.values})
        else:
            owned = {**due, **actual}
        if question.whole or question.sources:
            # What is no longer set was reset by code. (Of others that cannot be told from SET to that value.)
            own = in_force(before, finding, True, server.defaults, context.user)
            for name, value in self.startup.values.items():
                if not question.whole and name.lower() not in question.names:
                    continue
                if name in self.settings.values and name not in own and name not in WHO and not is_custom(name):
                    owned[name] = value
        self.settings = context.table.get(owned)
        server.define([name for name, value in finding.values.items() if value is not None and is_custom(name)])
        if finding.temporary:
            server.had_temporary()
            if self.brought and context.exact:
                server.condemn(UNSEEN, self.cause)  # code of its own, in no facts, may be among them
                self.brought = False
        if question.whole:
            server.dirty |= RESET | SEED
        if question.unknowable:
            self.unknowable = True
        if question.hidden and context.exact:
            server.condemn(question.hidden, self.cause)  # no reset takes a definition away, and which it is nobody knows
        if server.uncleared:
            holding.claim(self)
        if question.held or question.whole:
            self.channels_found(server, set(finding.channels))
        if question.statements:
            self.statements_found(server, set(finding.statements))
        if question.objects or question.whole:
            self.temporary_found(TEMPORARY in finding.pins)
        if not context.forbidden.isdisjoint(actual) and self.is_forbidden(server):
            finding.pins.append(FORBIDDEN)
        if question.held or question.objects or self.unknowable or finding.pins:
            self.pin_for(server, finding)
        self.pool.promised.discard(self)

    def apart(self, server: Server, finding: Finding, sourced: bool) -> frozenset[bytes]:
        """The settings that the client starts with and has set to what the server did: a reset by code is told by these being no
        longer set. *sourced*: the finding says which are. (statement_timeout is, by the question.)"""
        names = {name for name, _ in self.own_start(server).values() if name not in WHO and not is_custom(name)}
        names.discard(b"statement_timeout")
        return frozenset(names & finding.session.keys() if sourced else names)

    def answer(self, server: Server, rows: list[bytes], question: Question) -> Finding | None:
        """What the rows say; None, and the server is closed, where they are no answer."""
        try:
            return read([DataRow.decode(row).values for row in rows], question)
        except PeerViolation as violation:
            server.doubt(violation.message)
            return None

    def abandon(self, server: Server) -> None:
        """The client goes before it is known what it leaves: whatever it may be, a reset and no other client may meet it."""
        for question in (self.question, self.asked):
            if question is None:
                continue
            server.dirty |= RESET
            if question.objects or question.whole:
                server.had_temporary()
            if question.whole:
                server.dirty |= SEED
            if not self.context.keeping:
                server.define(question.names)
            elif question.whole:
                known = question.candidates | self.context.placeholders | self.settings.custom
                server.define(known)
            else:
                server.define(question.candidates)
            if question.hidden and self.context.exact:
                server.condemn(question.hidden, self.cause)

    def temporary_found(self, there: bool) -> None:
        """Whether there are temporary objects, whatever the texts have told."""
        if not there and self.temporaries:
            self.has_temporaries(frozenset())
        elif there != (TEMPORARY in self.pins) and not self.temporaries:
            self.tables_come_or_go()

    def has_own_names(self) -> bool:
        """Whether names in its texts may mean objects that only this client has."""
        return bool(self.temporaries) or TEMPORARY in self.pins

    def is_forbidden(self, server: Server) -> bool:
        """Whether what is in force can neither be set nor taken back by the user that servers are logged in as: it took another
        role, or a function of somebody else's (manual, SET ROLE)."""
        start, now = server.start.values, server.in_force.values
        return any([now.get(name) != start.get(name) for name in self.context.forbidden])

    def channels_found(self, server: Server, channels: set[bytes]) -> None:
        """The session listens to these."""

    def statements_found(self, server: Server, names: set[bytes]) -> None:
        """These prepared statements of the protocol are there, under the client's own names."""

    # --- its own DISCARD ALL ---

    def forget(self, server: Server) -> None:
        """The client's own DISCARD ALL was carried out: its session is as it began."""
        self.question = self.lasting(server)
        self.all_back = True
        self.unknowable = False
        self.brought = False
        self.prepared = 0
        self.takers = frozenset()
        self.temporaries = frozenset()
        if sequences.forget(self, server):
            holding.let_go(self, server)
        empty = {name: b"" for name in self.settings.custom if name not in self.startup.values and name not in server.defaults}
        self.settings = self.context.table.get({**self.startup.values, **empty}) if empty else self.startup
        if empty:
            # ... unless the server began with a value that nobody has asked for.
            self.question = self.question or Question()
            self.question.names.update(empty)
            server.dirty |= SETTINGS
        self.pool.promised.discard(self)
        if self.pins:
            server.dirty |= RELEASES

    def lasting(self, server: Server) -> Question | None:
        """What is still to be asked when DISCARD ALL has ended what the transaction did: which custom settings it has defined."""
        question: Question | None = self.question
        if question is None:
            return None
        if question.hidden and self.context.exact:
            server.condemn(question.hidden, self.cause)
        names = {name for name in question.names if is_custom(name)}
        names |= question.candidates
        if question.whole:
            names |= self.context.placeholders
        if not names:
            return None
        server.dirty |= SETTINGS
        return Question(names=names)


def says_buffers(text: bytes) -> bool:
    """Whether what a client says may set temp_buffers."""
    return TEMP_BUFFERS in text.lower()
