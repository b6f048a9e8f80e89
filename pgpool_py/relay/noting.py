"""What a client's texts may do to its session: noted as they go out, and asked for when their transaction has ended (`keeping`).

Plain texts never come here. A text that is not plain leaves bits on its server (`note`), and names in the client's question
(`touch`): of settings to ask for, and whether there may be others that nobody can ask for. What a text says is read in
`session.effects`, what code makes of it in `session.reach`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pgpool_py.relay import holding
from pgpool_py.relay.pinning import CAUSE, ENDS_ITSELF
from pgpool_py.relay.returning import Returner
from pgpool_py.relay.server import Server
from pgpool_py.session import flags, two_phase
from pgpool_py.session.databases import left_alone
from pgpool_py.session.effects import Effects, effects, local_names
from pgpool_py.session.lexemes import LONGEST_NAME
from pgpool_py.session.look import NO_RESET, UNKNOWABLE, UNSEEN, Question, is_custom
from pgpool_py.session.mentions import amid_data, assigned, candidates, makes_code, mentioned, outlives_reset, runs_a_file
from pgpool_py.session.reach import bound_to, brings_code, completions, executed_in_full, is_upkeep, reached
from pgpool_py.session.settings import (
    AS_OF_SESSION,
    AUTHORIZATION,
    ROLE,
    SEED,
    TEMP_BUFFERS,
    UNSETTLED,
    deviation,
    with_those_along,
)
from pgpool_py.session.statements import SessionContext, Statement
from pgpool_py.session.temporaries import Change, private
from pgwire import Bind, PeerViolation

# Bits of a verdict that stay with the server until the transaction ends.
NOTED = flags.NOTED
# ... whose text is read for what it does; that may run code, or bring it.
TOLD = flags.SETTINGS | flags.OPAQUE | flags.LISTEN
JUDGED = flags.OPAQUE | flags.DDL
RELEASES = flags.RELEASES
DDL = flags.DDL
IDLE = ord("I")
OBJECTS = flags.OBJECTS
DEVIATING = flags.DEVIATING
EXIT_ONLY = flags.TRANSACTION_EXIT_ONLY
CAUSES = flags.PIN | flags.OPAQUE | flags.STATEMENT | flags.LISTEN
SETTINGS = flags.SETTINGS
TRANSACTION_LOCAL = flags.TRANSACTION_LOCAL
STATEMENT = flags.STATEMENT
EXECUTES = flags.EXECUTES
LISTEN = flags.LISTEN
OPAQUE = flags.OPAQUE
DYNAMIC = flags.DYNAMIC
UNREAD = flags.UNREAD
GIVEN = flags.GIVEN
MADE = flags.MADE
FUNCTION = flags.FUNCTION
EXECUTING = re.compile(rb"\bexecute\s+(?!(?:function|procedure|on)\b)", re.IGNORECASE)
PREPARING = re.compile(rb"\bprepare\b", re.IGNORECASE)
NOTHING_MADE: tuple[int, frozenset[bytes]] = (0, frozenset())
EXECUTE = frozenset((b"execute",))
TAKERS = 50  # of them are told apart
RUNS_WITH_DDL = re.compile(rb"\bevent\b|\bwrapper\b", re.IGNORECASE)  # an event trigger, the validator of foreign data
SETS = re.compile(rb"\b(?:re)?set(?:_config)?\b", re.IGNORECASE)  # perhaps a custom setting, if a dot follows
OVERLAP = 600  # bytes: no name, with what it is known by, is longer
Values = Sequence[bytes | None] | None


class Noter(Returner):
    """A client as one whose texts do something to its session.

    `question`             what the transaction at hand gives to ask, None: nothing
    `overheard`            the end of what was last heard of a long message that goes out in pieces; None: nobody listens
    `touched`              custom settings that it has made, where nothing else of its session is kept
    `prepared`             what its SQL PREPAREs may do when they are executed; `takers`: what those of them do that set what they
                           are given the name of
    `blind`                its transaction changed the catalogs: its own texts are judged without them; `overturns`: others may
                           meet that
    `temporaries`          its temporary tables, as far as its texts have told; `made_here`: those of them that the transaction
                           has made, `transient`: that end with it
    `makes`                ... and created code that makes names, or runs what nobody has seen; `makes_events`: an event trigger;
                           `makes_settings`: these
    `brought`              it made something that runs code
    `deviation`            how the settings in force deviate from `settings` until that has been looked at
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Returner.__init__(self, relay, fd, pool, context)
        self.question: Any = None
        self.overheard: bytes | None = None
        self.touched: frozenset[bytes] = frozenset()
        self.prepared = 0
        self.takers: frozenset[Effects] = frozenset()
        self.blind = False
        self.overturns = False
        self.temporaries: frozenset[bytes] = frozenset()
        self.made_here: frozenset[bytes] = frozenset()
        self.transient: frozenset[bytes] = frozenset()
        self.makes = 0
        self.brought = False
        self.makes_events = False
        self.makes_settings: frozenset[bytes] = frozenset()
        self.deviation = AS_OF_SESSION

    def note(self, server: Server, verdict: int, text: bytes, statement: Statement | None, bind: bytes | None) -> None:
        """A text that is not plain goes to the server: as a Query, or bound as *statement* by the message *bind*."""
        values = bound_values(bind)
        said = (text, *present(values))
        if verdict & OPAQUE and not verdict & DDL and any([makes_code(each) for each in said]):
            verdict |= DDL
        made, named = self.made(text, values, verdict) if verdict & JUDGED else NOTHING_MADE
        if verdict & JUDGED and self.context.watching:
            if any([runs_a_file(each) for each in said]):
                made |= UNREAD
                verdict |= OPAQUE
            if verdict & OPAQUE and not server.uncleared and any([outlives_reset(each) for each in said]):
                server.condemn(NO_RESET, text[:CAUSE])
        if verdict & DDL and not verdict & OPAQUE and (transaction := two_phase.committed(text)) is not None:
            brought = self.relay.broker.changes_prepared(self, transaction)
            if brought is None:
                verdict &= ~DDL
            else:
                made, named = made | brought.makes, named | brought.makes_settings
                self.makes_events = self.makes_events or brought.makes_events
        if verdict & DDL and self.context.watching:
            self.makes |= made
            if verdict & FUNCTION or brings_code(text, self.context.scanner_before or self.context.scanner):
                self.brought = True
            self.makes_settings |= named
            self.makes_events = self.makes_events or RUNS_WITH_DDL.search(text) is not None
            sets = SETS.search(text)
            if sets is not None and b"." in text[sets.end() :]:
                named |= candidates(text)  # a SET clause defines its settings here and now
                self.makes_settings |= named
            # Where something is under way, it may fail yet, or be rolled back.
            own = self.temporaries - self.made_here if server.expected.size() else self.temporaries
            change = private(text, verdict, own) if self.context.keeping else None
            self.changes_catalogs(server, change, text)
            if change is not None and ENDS_ITSELF.search(text) is not None:
                self.transient |= change[0]
            databases = left_alone(text)
            if databases:
                self.relay.broker.leave_databases(self, databases)
            if named or (made and is_upkeep(text, first=True)):
                verdict |= OPAQUE
        did = 0
        if verdict & EXECUTES:
            did = self.executes(text, verdict)
            if did & OPAQUE:
                completed = self.names_executed(text)
                made |= DYNAMIC if completed is None else 0
                named |= completed or frozenset()
        made |= did & MADE
        verdict |= did & OPAQUE
        bits = verdict & NOTED
        if bits & DEVIATING and not self.context.keeping:
            self.deviates(server, None)
        if self.context.keeping:
            bits &= ~FUNCTION  # what the function is known to touch has a bit of its own, and is looked at
            bits |= did & NOTED
            if verdict & STATEMENT and (not verdict & EXECUTES or PREPARING.search(text) is not None):
                self.prepared |= bits & ~(STATEMENT | flags.CLEANUP) | made | verdict & GIVEN
                found = effects_of(text, verdict, statement)
                if found.takes_names and len(self.takers) < TAKERS:
                    self.takers |= {found}
                elif found.takes_names:
                    self.prepared |= DYNAMIC
            if verdict & TOLD:
                bits = self.touch(server, bits, effects_of(text, verdict, statement), values, made, named)
            elif verdict & TRANSACTION_LOCAL:
                self.deviates(server, local_names(text, verdict))
            if bits & CAUSES and not self.pins and not (verdict & EXIT_ONLY and server.dirty & CAUSES):
                self.cause = text[:CAUSE]
            if not self.pins:
                bits &= ~RELEASES
        else:
            self.cause = text[:CAUSE]
            if bits & OBJECTS:
                server.had_temporary()  # nobody looks
            if verdict & TOLD and self.context.exact and self.context.pooling:
                self.define(server, effects_of(text, verdict, statement), values, made, named)
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

    def changes_catalogs(self, server: Server, change: Change | None, text: bytes) -> None:
        """A text with DDL goes out: from its commit on, what was read from the catalogs proves nothing; with a *change* (see
        `private`) nothing for this client alone."""
        self.blind = True
        if change is not None:
            made, dropped = change
            self.made_here |= made
            self.has_temporaries((self.temporaries | made) - dropped)
            return
        self.overturns = True
        if server.status == IDLE:
            self.ends_transaction(text)

    def has_temporaries(self, temporaries: frozenset[bytes]) -> None:
        """These are the client's temporary tables from now on."""
        if temporaries != self.temporaries:
            self.temporaries = temporaries
            self.tables_come_or_go()

    def undone(self) -> None:
        if not self.blind:
            return
        self.temporaries -= self.made_here
        self.made_here = frozenset()
        self.tables_come_or_go()

    def tables_come_or_go(self) -> None:
        """The client has made or dropped a temporary table: the names in its statements may mean something else."""

    def ends_transaction(self, text: bytes) -> None:
        """A text that may commit what the transaction has changed of the catalogs goes out, or prepare it for that."""
        if self.overturns:
            self.relay.broker.catalogs_changed(self, two_phase.prepared(text))

    def overtaken(self, server: Any, made: int, named: frozenset[bytes]) -> None:
        """Others change the catalogs while its transaction is under way: what that runs from now on, a statement that has waited
        for them, a trigger at its commit, a cursor, was judged by what there was before. *made*, *named*: as of `made`."""
        self.may_have_done_anything(server, frozenset(), made, named)
        server.dirty |= OPAQUE

    def made(self, text: bytes, values: Values, verdict: int) -> tuple[int, frozenset[bytes]]:
        """What may come of a text that runs code, or brings it, see `reached`.

        While the catalogs are in doubt, what was read of them before counts on; what was created since may be anywhere.
        """
        context = self.context
        before = context.scanner_before
        scanner = context.scanner
        if before is not None:
            scanner = before
            verdict |= before.scan(text)
        bits, named = reached(text, present(values), verdict, scanner.code)
        return bits | self.makes | (UNREAD if context.makes else 0), named

    def executes(self, text: bytes, verdict: int) -> int:
        """What a text with EXECUTE does by what it executes: the verdicts of prepared statements, and what their arguments do."""
        if verdict & DDL and EXECUTING.search(text) is None:
            return 0  # the right to EXECUTE, or a trigger that does
        did = self.prepared | self.statement_bits()
        if did & GIVEN:
            did |= UNREAD
        if did & SETTINGS:
            did |= OPAQUE
            takers = [*self.takers, *[found for found in self.statement_effects() if found.takes_names]]
            numbers = frozenset([number for found in takers for number in (*found.parameters, *found.made.given)])
            if takers and not executed_in_full(text, numbers):
                did |= DYNAMIC
        return did

    def names_executed(self, text: bytes) -> frozenset[bytes] | None:
        """The custom settings that the statements which *text* may execute name, or complete the names of; None: too many."""
        patterns = [pattern for found in (*self.takers, *self.statement_effects()) for pattern in found.made.patterns]
        completed = completions(patterns, text, ())
        return None if completed is None else completed | self.statement_names()

    def statement_bits(self) -> int:
        """What the client's statements of the protocol may do, whose names SQL EXECUTE knows too."""
        return 0

    def statement_effects(self) -> list[Effects]:
        """What those of them do that touch settings."""
        return []

    def statement_names(self) -> frozenset[bytes]:
        """The custom settings that their texts mention."""
        return frozenset()

    def touch(self, server: Server, bits: int, found: Effects, values: Values, made: int, named: frozenset[bytes]) -> int:
        """Add to the question what a text does, and what it has *made*, and *named*; the bits that remain when it turns out to do
        nothing."""
        question = self.question
        if question is None:
            question = Question()
        own = self.settings.values
        names = set(found.names)
        if found.whole or found.made.bits:
            self.deviates(server, None)
        if TEMP_BUFFERS in names or TEMP_BUFFERS in found.passing:
            self.context.sets_buffers = True
        if found.parameters:
            bound = names_among(values, found.parameters)
            if bound is None:
                question.whole = question.unknowable = True
                self.deviates(server, None)
            else:
                names.update(bound)
        if found.may_reset or has_null(values, found.values):
            question.sources |= not names.isdisjoint([name.lower() for name in self.startup.values])
        self.deviates(server, names | found.passing)
        # What ends with the transaction leaves nothing but a definition, and that only the first time.
        names.update([name for name in found.passing if is_custom(name) and name not in own])
        if found.resets_all:
            set_before = {name.lower() for name in (*server.in_force.values, *self.startup.values)}
            self.deviates(server, set_before - {ROLE, AUTHORIZATION})
            names |= set_before
        self.defined(server, [name for name in names if is_custom(name)])
        if SEED in names or SEED in found.passing:
            self.unsettable(server)  # also where the value ends with the transaction, or that fails
        unread, others = bound_to(found.made, present(values))
        made |= unread
        named |= others
        if not found.lasting:
            named -= self.settings.custom  # what ends with the transaction leaves nothing but a definition
        if names or found.whole or question.whole or named or made:
            question.names |= names
            question.candidates |= named
            question.whole |= found.whole
            question.unknowable |= found.unknowable or bool(made & DYNAMIC)
            question.unread |= bool(made)
            if found.whole:
                ask_for(question, found, values)
            self.question = question
        else:
            bits &= ~SETTINGS
            bits |= flags.TRANSACTION_LOCAL
        if not found.listens and not self.pins:
            bits &= ~LISTEN
        return bits

    def unsettable(self, server: Server) -> None:
        """What no reset ends may be on the server now: it is the client's as long as nobody else needs it."""
        if not server.uncleared:
            server.condemn(NO_RESET, b"")
        holding.claim(self)

    def define(self, server: Server, found: Effects, values: Values, made: int, named: frozenset[bytes]) -> None:
        """Where nothing is kept, a text leaves one thing all the same: custom settings it touches stay defined, empty."""
        names = found.names | found.passing
        if TEMP_BUFFERS in names:
            self.context.sets_buffers = True
        if found.parameters:
            bound = names_among(values, found.parameters)
            if bound is None:
                server.condemn(UNKNOWABLE, self.cause)
            else:
                names |= bound
        self.defined(server, [name for name in names if is_custom(name)])
        unread, others = bound_to(found.made, present(values))
        made |= unread
        named |= others
        question: Question = self.question or Question(timeout=True)
        if found.whole:
            ask_for(question, found, values)
        if found.unknowable or made or question.unread:
            server.condemn(UNKNOWABLE if found.unknowable else UNSEEN, self.cause)  # nobody knows which to look for
        elif found.whole or named:
            names = named | question.candidates
            if found.whole:
                names |= self.context.placeholders
            if server.placeholders is not None:
                names -= server.placeholders
            if names:
                self.question = question
                question.names |= names

    def overhear(self, server: Server, piece: bytes) -> None:
        """A piece of a long message goes out, which may do anything: which custom settings does it name?"""
        heard = piece if self.overheard is None else self.overheard + piece
        self.overheard = heard[-OVERLAP:]
        context = self.context
        before = context.scanner_before
        code = context.scanner.code if before is None else before.code
        makers = code.makers.all
        if (self.prepared | self.statement_bits()) & (SETTINGS | OPAQUE | MADE | GIVEN):
            makers |= EXECUTE
        names, made = amid_data(heard, makers, code.unread.all.union(code.given.all))
        if not names and not made:
            return
        self.may_have_done_anything(server, names, made, frozenset())

    def may_have_done_anything(self, server: Server, candidates: frozenset[bytes], made: int, named: frozenset[bytes]) -> None:
        """What goes out is no text that can be judged; see `touch`."""
        found = Effects(whole=True, candidates=candidates, single=False)
        if self.context.keeping:
            self.touch(server, 0, found, None, made, named)
        elif self.context.exact and self.context.pooling:
            self.define(server, found, None, made, named)

    def defined(self, server: Server, custom: list[bytes]) -> None:
        """The client touched these custom settings on this server."""
        if custom:
            server.define(custom)
            self.context.see(custom)
            if not self.context.keeping:
                self.touched |= frozenset(custom)


def ask_for(question: Question, found: Effects, values: Values) -> None:
    """Add to the question the names in a text that may do anything, and in what is bound to it."""
    question.candidates |= found.candidates
    question.mention(found.mentioned)
    for value in present(values):
        question.candidates |= assigned(value)
        question.mention(mentioned(value))


def effects_of(text: bytes, verdict: int, statement: Statement | None) -> Effects:
    """What the text does to settings; remembered with *statement*."""
    if statement is None:
        return effects(text, verdict)
    found: Effects | None = statement.effects
    if found is None:
        found = statement.effects = effects(text, verdict)
    return found


def bound_values(message: bytes | None) -> Values:
    """The values of a whole Bind message; None where there is none, or it makes no sense, which its server will say."""
    if message is None:
        return None
    try:
        return Bind.decode(message[5:]).parameters
    except PeerViolation:
        return None


def present(values: Values) -> list[bytes]:
    """The values by their places; nothing for null ones."""
    return [value or b"" for value in values or ()]


def has_null(values: Values, indices: tuple[int, ...]) -> bool:
    """Whether one of these parameters may be NULL."""
    return any([values is None or index >= len(values) or values[index] is None for index in indices])


def names_among(values: Values, indices: tuple[int, ...]) -> set[bytes] | None:
    """The names, in lower case, that are bound to these parameters; None if they cannot be told."""
    if values is None or any(index >= len(values) for index in indices):
        return None
    # What is no text names nothing.
    found = [value.lower() for value in [values[index] for index in indices] if value is not None and b"\0" not in value]
    # A parameter of the types character or name loses blanks at its end, or is cut, and which type it has the text decides.
    return with_those_along([*found, *(value.rstrip(b" ") for value in found), *(value[:LONGEST_NAME] for value in found)])
