"""What a client owns of its session, kept while servers change: settings, and the server itself where only that one can keep it.

Plain transactions never come here. A text that is not plain is noted (`note`); at the end of its transaction, while the client
still holds the server, one query of the pooler's own asks PostgreSQL what is left of it (`look`); the answer becomes the client's
settings map, the server's, and the pins (`looked`). Nothing is modelled from the text, so nothing can be wrong about it: what was
rolled back is not there.

Decides about one session only; texts are read in `session.effects`, questions and answers in `session.look`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from pgpool_py.relay import sequences
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.replies import notice_response
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import DIFFERENCE, LOOK, NOTHING
from pgpool_py.session import flags
from pgpool_py.session.defaults import Completed, Unclear, completed, single_way_back
from pgpool_py.session.effects import Effects, amid_data, candidates, effects, local_names, makes_code, makes_names
from pgpool_py.session.inline import command
from pgpool_py.session.look import UNKNOWABLE, Finding, Question, in_force, is_custom, read
from pgpool_py.session.naming import REFUSAL
from pgpool_py.session.settings import AS_OF_SESSION, AUTHORIZATION, ROLE, TEMP_BUFFERS, UNSETTLED, deviation, difference
from pgpool_py.session.statements import PIN_ERROR, PIN_NOTICE, SessionContext, Statement
from pgwire import DataRow, PeerViolation

# Bits of a verdict that stay with the server until the transaction ends.
NOTED = flags.NOTED
# ... that are settled by a look at the session.
LOOKED = flags.LOOKED
RELEASES = flags.RELEASES
DDL = flags.DDL
IDLE = ord("I")
# ... whose text is read for what it does.
TOLD = flags.SETTINGS | flags.OPAQUE | flags.LISTEN
OBJECTS = flags.OBJECTS
HELD = flags.PIN | flags.OPAQUE | flags.STATEMENT | flags.LISTEN | flags.RELEASES
BARE = flags.BARE
DEVIATING = flags.DEVIATING
CAUSES = flags.PIN | flags.OPAQUE | flags.STATEMENT | flags.LISTEN
BACK = flags.BACK
SETTINGS = flags.SETTINGS
TRANSACTION_LOCAL = flags.TRANSACTION_LOCAL
STATEMENT = flags.STATEMENT
EXECUTES = flags.EXECUTES
LISTEN = flags.LISTEN
OPAQUE = flags.OPAQUE
DYNAMIC = flags.DYNAMIC
FUNCTION = flags.FUNCTION
RESET = flags.RESET
SEED = flags.SEED
SEED_NAME = b"seed"
HASTY = flags.HASTY
# Why a server is not given back: a statement too long to remember lives on it, unnamed till the next one, or named; or a pin.
KEEPS_UNNAMED = 1
KEEPS_NAMED = 2
KEEPS_PINNED = 4
WHO = (ROLE, AUTHORIZATION)
CONFORMING, ENCODING = b"standard_conforming_strings", b"client_encoding"
ENDS_ITSELF = re.compile(rb"on\s+commit\s+drop", re.IGNORECASE)  # such a table needs no server of its own
SETS = re.compile(rb"\bset_config\b|\bset\s+(?:(?:local|session)\s+)?[\w\"]+\.", re.IGNORECASE)  # a custom setting
OVERLAP = 600  # bytes: no name, with what it is known by, is longer
CAUSE = 200  # bytes of a statement's text that are remembered for messages


class Keeper(Connection):
    """A client as the owner of a session.

    `settings`, `startup`  what it has set, and what it started with
    `told`                 the reported settings it was told, by identity a server's `reported`
    `question`             what the transaction at hand gives to ask, None: nothing
    `asked`                the question under way
    `overheard`            the end of what was last heard of a long message that goes out in pieces; None: nobody listens
    `touched`              custom settings that it has made, where nothing else of its session is kept
    `kept`                 what it said and has not been sent yet
    `pins`                 why it keeps its server, in the words of SHOW PINS; `cause`: the statement it began with
    `prepared`             what its SQL PREPAREs may do when they are executed
    `blind`                its transaction changed the catalogs: its own texts are judged without them
    `makes_names`          ... and created code that makes names; `makes_events`: an event trigger; `makes_settings`: these
    `unknowable`           it ran code whose settings nobody can list: only DISCARD ALL ends that
    `going_back`           what must follow the Execute of portals that send a setting back to the client's start; None: none do
    `all_back`             its DISCARD ALL was carried out in this transaction
    `deviation`            how the settings in force deviate from `settings` until that has been looked at
    `differing`            its settings are being put in force: what it says waits
    `values`, `wrote`      what it has of sequence values, and whether its transaction may have made some: see sequences.py
    `value_at`             the server they are on; `value_since`: when one was last made or read
    `trouble`              why it must be disconnected as soon as that can be done
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Connection.__init__(self, relay, fd)
        self.pool = pool
        self.context = context
        self.server: Server | None = None
        self.settings: Any = None
        self.startup: Any = None
        self.told: dict[bytes, bytes] = {}
        self.keeps_server = 0
        self.question: Any = None
        self.asked: Any = None
        self.pins: tuple[str, ...] = ()
        self.pin_start = 0.0
        self.overheard: bytes | None = None
        self.touched: frozenset[bytes] = frozenset()
        self.kept: bytes | None = None
        self.cause = b""
        self.prepared = 0
        self.unknowable = False
        self.blind = False
        self.makes_names = False
        self.makes_events = False
        self.makes_settings: frozenset[bytes] = frozenset()
        self.going_back: dict[bytes, list[bytes]] | None = None
        self.all_back = False
        self.deviation = AS_OF_SESSION
        self.differing = False
        self.values = sequences.NONE
        self.wrote = False
        self.value_at: Server | None = None
        self.value_since = 0.0
        self.trouble = ""

    def fits(self, server: Server) -> bool:
        """Whether the client may see what custom settings are defined on the server, and its own can be put in force there."""
        there = server.placeholders
        if there is None:
            return True
        if server.temporary and not self.context.sets_buffers and self.kept is not None and says_buffers(self.kept):
            self.context.sets_buffers = True
        return (not self.context.exact or there <= self.settings.custom | self.touched) and server.takes_buffers(self.settings)

    def defines(self, server: Server) -> None:
        """The client's settings are put in force on the server: custom ones stay defined there."""
        if self.settings.hasty and self.context.watching:
            server.dirty |= HASTY
        if self.settings.custom:
            server.define(self.settings.custom)

    def note(self, server: Server, verdict: int, text: bytes, statement: Statement | None, bind: bytes | None) -> None:
        """A text that is not plain goes to the server: as a Query, or bound as *statement* by the message *bind*."""
        if verdict & OPAQUE and not verdict & DDL and (makes_code(text) or (bind is not None and makes_code(bind))):
            verdict |= DDL
        if verdict & DDL and self.context.watching:
            self.makes_names = self.makes_names or makes_names(text)
            self.makes_events = self.makes_events or b"event" in text.lower()
            if SETS.search(text) is not None:
                self.makes_settings |= candidates(text)
            self.changes_catalogs(server)
        if verdict & OPAQUE:
            verdict |= self.dynamic(text)
        bits = verdict & NOTED
        if bits & DEVIATING and not self.context.keeping:
            self.deviates(server, None)
        if self.context.keeping:
            bits &= ~FUNCTION  # what the function is known to touch has a bit of its own, and is looked at
            if verdict & STATEMENT:
                if verdict & EXECUTES:
                    did = self.prepared | self.statement_bits()
                    bits |= did | OPAQUE if did & SETTINGS else did
                else:
                    self.prepared |= bits & ~(STATEMENT | flags.CLEANUP)
            if verdict & TOLD:
                bits = self.touch(server, bits, effects_of(text, verdict, statement), bind)
            elif verdict & TRANSACTION_LOCAL:
                self.deviates(server, local_names(text, verdict))
            if bits & CAUSES and not self.pins:
                self.cause = text[:CAUSE]
            if not self.pins:
                bits &= ~RELEASES
        else:
            if bits & OBJECTS:
                server.had_temporary()  # nobody looks
            if verdict & TOLD and self.context.exact and self.context.pooling:
                self.define(server, effects_of(text, verdict, statement), bind)
        server.dirty |= bits

    def deviates(self, server: Server, names: AbstractSet[bytes] | None) -> None:
        """The transaction at hand changes these settings, in lower case; None: nobody knows which."""
        if names is None:
            self.deviation = UNSETTLED
            server.changed = None
            return
        self.deviation = max(self.deviation, deviation(names))
        if server.changed is not None:
            server.changed |= names

    def changes_catalogs(self, server: Server) -> None:
        """A text with DDL goes out: from its commit on, what was read from the catalogs proves nothing."""
        self.blind = True
        if server.status == IDLE:
            self.relay.broker.catalogs_changed(self)

    def dynamic(self, text: bytes) -> int:
        """DYNAMIC if, while the catalogs are in doubt, the text may reach code that makes names.

        What was read of it before counts on; what was created since may be anywhere.
        """
        context = self.context
        if context.makes_names or self.makes_names:
            return DYNAMIC
        before = context.scanner_before
        return before.scan(text) & DYNAMIC if before is not None else 0

    def statement_bits(self) -> int:
        """What the client's statements of the protocol may do, whose names SQL EXECUTE knows too."""
        return 0

    def touch(self, server: Server, bits: int, found: Effects, bind: bytes | None) -> int:
        """Add to the question what a text does; the bits that remain when it turns out to do nothing."""
        question = self.question
        if question is None:
            question = Question()
        own = self.settings.values
        names = set(found.names)
        if found.whole or found.resets_all:
            self.deviates(server, None)
        if TEMP_BUFFERS in names or TEMP_BUFFERS in found.passing:
            self.context.sets_buffers = True
        if found.parameters:
            bound = bound_values(bind, found.parameters)
            if bound is None:
                question.whole = question.unknowable = True
                self.deviates(server, None)
            else:
                names.update(bound)
        self.deviates(server, names | found.passing)
        # What ends with the transaction leaves nothing but a definition, and that only the first time.
        names.update([name for name in found.passing if is_custom(name) and name not in own])
        if found.resets_all:
            names.update([name.lower() for name in (*server.in_force.values, *self.startup.values)])
        self.defined(server, [name for name in names if is_custom(name)])
        if SEED_NAME in names:
            server.dirty |= SEED  # set_config; a SET is known by its verdict
        if names or found.whole or question.whole:
            question.names |= names
            question.whole |= found.whole
            question.unknowable |= found.unknowable
            if found.whole:
                question.candidates |= found.candidates
                if bind is not None:
                    question.candidates |= candidates(bind)
            self.question = question
        else:
            bits &= ~SETTINGS
            bits |= flags.TRANSACTION_LOCAL
        if not found.listens and not self.pins:
            bits &= ~LISTEN
        return bits

    def define(self, server: Server, found: Effects, bind: bytes | None) -> None:
        """Where nothing is kept, a text leaves one thing all the same: custom settings it touches stay defined, empty."""
        names = found.names | found.passing
        if TEMP_BUFFERS in names:
            self.context.sets_buffers = True
        if found.parameters:
            bound = bound_values(bind, found.parameters)
            if bound is None:
                server.unsettable = True
            else:
                names |= bound
        self.defined(server, [name for name in names if is_custom(name)])
        if found.unknowable:
            server.unsettable = True  # nobody knows which to look for
        elif found.whole:
            names = found.candidates | self.context.placeholders
            if server.placeholders is not None:
                names -= server.placeholders
            if names:
                self.question = self.question or Question(timeout=True)
                self.question.names |= names

    def overhear(self, server: Server, piece: bytes) -> None:
        """A piece of a long message goes out, which may do anything: which custom settings does it name?"""
        heard = piece if self.overheard is None else self.overheard + piece
        self.overheard = heard[-OVERLAP:]
        context = self.context
        before = context.scanner_before
        makers = context.scanner.makers if before is None else before.makers
        found = amid_data(heard, makers)
        if found is None:
            return
        if context.keeping:
            self.touch(server, 0, found, None)
        elif context.exact and context.pooling:
            self.define(server, found, None)

    def defined(self, server: Server, custom: list[bytes]) -> None:
        """The client touched these custom settings on this server."""
        if custom:
            server.define(custom)
            self.context.see(custom)
            if not self.context.keeping:
                self.touched |= frozenset(custom)

    def ask(self, server: Server) -> None:
        """Ask the server which custom settings unread code has defined; `looked` follows."""
        self.asked = self.question
        self.question = None
        server.rows = []
        server.query(self.asked.text(), LOOK)

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
        question.statements = bool(dirty & BARE and dirty & OPAQUE)
        if question.whole:
            question.names |= question.candidates | self.context.placeholders | self.settings.custom
            question.names.update([name for name in server.defaults if is_custom(name)])
            if server.placeholders is not None:
                question.names |= server.placeholders
        if b"client_encoding" in question.names:
            # What stands in other encodings is spelled anew.
            question.names.update([name.lower() for name, value in server.in_force.values.items() if not value.isascii()])
        question.timeout = (
            question.whole or b"statement_timeout" in question.names or b"statement_timeout" in server.in_force.values
        )
        self.asked = question
        server.rows = []
        server.query(question.text(), LOOK)

    def looked(self, rows: list[bytes], error: bytes | None) -> None:
        server = self.server
        question = self.asked
        self.asked = None
        if self.kept is None and self.out is None:
            self.resume()
        if server is None or question is None:
            return
        if not self.context.keeping:
            if error is not None:
                server.unsettable = True
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
            self.trouble = "the state of the session could not be read"
            return
        self.deviation = AS_OF_SESSION
        server.changed = NOTHING
        context = self.context
        finding = self.answer(server, rows, question)
        if finding is None:
            return
        before = server.in_force.values
        actual = in_force(before, finding, question.whole, server.defaults, context.user)
        server.in_force = context.table.get(actual)
        if server.in_force.hasty:
            server.dirty |= HASTY
        # Behind its own DISCARD ALL the client's start is not in force yet.
        due = {name: value for name, value in self.settings.values.items() if before.get(name) != value}
        if not question.whole:
            owned = in_force({**before, **due}, finding, False, server.defaults, context.user)
        else:
            owned = {**due, **actual}
            # What is no longer set was reset by code. (Of others that cannot be told from SET to that value.)
            for name, value in self.startup.values.items():
                if name in self.settings.values and name not in actual and name not in WHO and not is_custom(name):
                    owned[name] = value
        self.settings = context.table.get(owned)
        server.define([name for name, value in finding.values.items() if value is not None and is_custom(name)])
        if finding.temporary:
            server.had_temporary()
        if question.whole:
            server.dirty |= RESET | SEED
        if question.unknowable:
            self.unknowable = True
            if context.exact:
                server.unsettable = True  # no reset takes a definition away, and nobody knows which to look for
        if question.held or question.whole:
            self.channels_found(server, set(finding.channels))
        if question.statements:
            self.statements_found(server, set(finding.statements))
        if question.held or question.objects or self.unknowable:
            self.pin_for(server, finding)

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
            if question.unknowable and self.context.exact:
                server.unsettable = True

    def channels_found(self, server: Server, channels: set[bytes]) -> None:
        """The session listens to these."""

    def statements_found(self, server: Server, names: set[bytes]) -> None:
        """These prepared statements of the protocol are there, under the client's own names."""

    # --- pins ---

    def pin_for(self, server: Server, finding: Finding) -> None:
        """Keep the server as long as something is found on it that only it can keep."""
        reasons = list(dict.fromkeys(finding.pins))
        if self.unknowable:
            reasons.append(UNKNOWABLE)
        if reasons and not self.pins:
            mode = self.context.pin_mode
            what = describe(reasons, self.cause)
            if mode == PIN_ERROR:
                server.dirty |= RESET
                self.trouble = f"{what} needs a server of its own (session_pin)"
                return
            sequences.let_go(self, server)
            if not self.pool.pin(server):
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

    def refusal(self, text: bytes) -> tuple[int, bytes | None, str, str] | None:
        """The note of the error to send instead of running *text*, whose state only one server can keep; None: it may run."""
        if ENDS_ITSELF.search(text) is not None:
            return None
        what = f'"{text[:CAUSE].decode(errors="replace")}"'
        if self.context.pin_mode == PIN_ERROR:
            return REFUSAL, None, "0A000", f"{what} needs a server of its own (session_pin)"
        if not self.pool.may_pin():
            return REFUSAL, None, "53300", f"no more servers can be kept for {what} (pin_pool_size)"
        return None

    def unpin(self, server: Server) -> None:
        """What only this server could keep is gone; a reset makes sure of it."""
        self.pins = ()
        self.keeps_server &= ~KEEPS_PINNED
        self.pool.unpin(server)
        server.dirty |= RESET
        server.verified = False

    def pin_age(self) -> float:
        """For how long it has kept its server, in seconds; 0.0 without a pin."""
        return self.relay.now - self.pin_start if self.pins else 0.0

    def way_back(self, server: Server, executed: bytes) -> list[bytes]:
        """The messages that go out behind an Execute with that content, so that it leads to the client's own start."""
        assert self.going_back is not None
        texts = self.going_back.pop(executed[: executed.find(b"\0")], [])
        if not self.going_back:
            self.going_back = None
        return [command(server, text) for text in texts]

    def portal_bound(self, server: Server, portal: bytes, statement: Statement | None) -> None:
        """*portal* is bound to *statement*: note what must follow when it is executed."""
        texts: list[bytes] = []
        if statement is not None and statement.verdict & BACK:
            texts = single_way_back(statement.body[: statement.body.find(b"\0")], self.own_start(server))
        if texts:
            if self.going_back is None:
                self.going_back = {}
            self.going_back[portal] = texts
        elif self.going_back is not None:
            self.going_back.pop(portal, None)

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
        alone = quiet and server.status == IDLE
        try:
            found = completed(text, start, conforming == b"on", encoding, alone)
            own = self.startup.values.get(ENCODING) or server.defaults.get(ENCODING, (b"", b""))[1]
            if found is not None and encoding != own and not all([value.isascii() for _, value in start.values()]):
                raise Unclear
        except Unclear:
            server.dirty |= OPAQUE  # the look finds it at the end of the transaction
            return None
        return found

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
        texts = difference(server.in_force, self.settings)
        server.in_force = self.settings
        self.defines(server)
        for text in texts:
            self.differing = True
            server.query(text, DIFFERENCE)

    def forget(self, server: Server) -> None:
        """The client's own DISCARD ALL was carried out: its session is as it began."""
        alone = server.expected.size() == 1
        if alone:
            self.question = self.lasting(server)
        elif self.startup.values:
            # What follows in the same batch, the way back among it, has been noted or will be.
            self.question = self.question or Question()
            self.question.names.update([name.lower() for name in self.startup.values])
            server.dirty |= SETTINGS
        self.all_back = True
        self.unknowable = False
        if alone:
            self.prepared = 0
        sequences.forget(self, server)
        empty = {name: b"" for name in self.settings.custom if name not in self.startup.values and name not in server.defaults}
        self.settings = self.context.table.get({**self.startup.values, **empty}) if empty else self.startup
        if self.pins:
            server.dirty |= RELEASES

    def lasting(self, server: Server) -> Question | None:
        """What is still to be asked when DISCARD ALL has ended what the transaction did: which custom settings it has defined."""
        question: Question | None = self.question
        if question is None:
            return None
        if question.unknowable and self.context.exact:
            server.unsettable = True
        names = {name for name in question.names if is_custom(name)}
        if question.whole:
            names |= question.candidates | self.context.placeholders
        if not names:
            return None
        server.dirty |= SETTINGS
        return Question(names=names)


def effects_of(text: bytes, verdict: int, statement: Statement | None) -> Effects:
    """What the text does to settings; remembered with *statement*."""
    if statement is None:
        return effects(text, verdict)
    found: Effects | None = statement.effects
    if found is None:
        found = statement.effects = effects(text, verdict)
    return found


def says_buffers(text: bytes) -> bool:
    """Whether what a client says may set temp_buffers."""
    return TEMP_BUFFERS in text.lower()


def describe(reasons: Iterable[str], cause: bytes) -> str:
    """Why a server is kept, for a message."""
    return f'{", ".join(reasons)} of "{cause.decode(errors="replace")}"'


def bound_values(message: bytes | None, indices: tuple[int, ...]) -> set[bytes] | None:
    """The names, in lower case, that a whole Bind message gives to these parameters; None if they cannot be told."""
    if message is None:
        return None
    at = message.find(b"\0", 5) + 1
    at = message.find(b"\0", at) + 1
    at += 2 + 2 * int.from_bytes(message[at : at + 2], "big")
    count = int.from_bytes(message[at : at + 2], "big")
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        size = int.from_bytes(message[at : at + 4], "big", signed=True)
        at += 4
        values.append(None if size < 0 else message[at : at + size])
        at += max(size, 0)
    names: set[bytes] = set()
    for index in indices:
        if index >= len(values):
            return None
        value = values[index]
        if value is not None:
            names.add(value.lower())
    return names


