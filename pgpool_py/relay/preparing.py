"""A client as the owner of prepared statements: which of them a message means, and what the server at hand must be sent for it.

The protocol's side of `session.naming`, which keeps the books: messages, notes in the queue of expected replies, and what is done
when the server has skipped them. Also what goes ahead of a text that could see what others have left on its server.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay import awaiting, sequences
from pgpool_py.relay._io import byte, piece, same, slot
from pgpool_py.relay.keeping import Keeper
from pgpool_py.relay.noting import effects_of
from pgpool_py.relay.replies import error_response
from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import CLEARED, CLEARING
from pgpool_py.session import flags
from pgpool_py.session.defaults import Completed
from pgpool_py.session.effects import Effects
from pgpool_py.session.mentions import candidates
from pgpool_py.session.naming import FLUSH_MESSAGE, Names, told_columns
from pgpool_py.session.notes import COLUMNS_CHANGED, REFUSAL, TYPES, UNNAMED
from pgpool_py.session.placing import ask, must_ask, parse_there, told
from pgpool_py.session.settings import SET_AT_ONCE
from pgpool_py.session.statement_texts import names_statements, read_later
from pgpool_py.session.statements import SessionContext
from pgwire import PeerViolation
from pgwire.codes import Frontend
from pgwire.expected import Action, Owed

DESCRIBE = int(Frontend.DESCRIBE)
OWED_QUERY = int(Owed.QUERY)
OWED_PARSE = int(Owed.PARSE)
OWED_CLOSE = int(Owed.CLOSE)
OWED_DESCRIBE = int(Owed.DESCRIBE)
SKIP = int(Action.SKIP)
IDLE = ord("I")
IN_TRANSACTION_FAILED = ord("E")
SETTINGS = flags.SETTINGS
TOUCHES = flags.SETTINGS | flags.OPAQUE
CHANGES = flags.CHANGES
UNSETTABLE = flags.UNSETTABLE
READS_VALUES = flags.READS_VALUES
VALUES = flags.VALUES
READS_STATEMENTS = flags.READS_STATEMENTS
NAMES_STATEMENTS = flags.NAMES_STATEMENTS
AWAITS_KNOWLEDGE = awaiting.KNOWLEDGE
DESCRIBE_UNNAMED = b"D\0\0\0\6S\0"
TOLD_LONG_AGO = 0.5  # seconds, after which DDL past the pooler may have come between


class Preparer(Keeper):
    """A client as the owner of prepared statements.

    `names`          those with a name; None: it never had one
    `unnamed`        the one without; `unnamed_told`: the columns that the client was told of it (RowDescription's body, empty:
                     none) and when, None: it did not ask; `unnamed_misled`: they are others now
    `parse_note`     the last note of a Parse without a name, which mostly fits the next one
    `clearing`       the portals bound to what ends prepared statements: that one of the client's, or None for DEALLOCATE ALL and
                     DISCARD; nothing goes out behind their Execute
    """

    def __init__(self, relay: Any, fd: int, pool: Any, context: SessionContext) -> None:
        Keeper.__init__(self, relay, fd, pool, context)
        self.names: Names | None = None
        self.unnamed: Any = None
        self.unnamed_told: Any = None
        self.unnamed_misled = False
        self.parse_note: Any = None
        self.clearing: dict[bytes, bytes | None] | None = None

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

    def own(self, server: Server, text: bytes, note: object) -> bytes:
        """A query of the pooler's own, to be sent with the client's message."""
        server.ready = False
        server.unnamed = None
        server.step_error = None
        server.expected.add(OWED_QUERY + SKIP, note)
        return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"

    def clear_sequences(self, server: Server) -> bytes:
        """A server forgets all sequence values."""
        server.sequence_mixed = CLEARING
        return self.own(server, SET_AT_ONCE + sequences.DISCARD if server.status == IDLE else sequences.DISCARD, CLEARED)

    def failing(self) -> bytes:
        """A text that fails on the server, so that the transaction does too; the error is then put in our words."""
        return b'SELECT "' + self.context.token + b'"'

    def before(self, server: Server, verdict: int, text: bytes) -> bytes | None:
        """What must be done on the server before a text that looks at what others may have left there."""
        extra = b""
        apart = server.ready or not server.expected.lacks_sync()  # in no batch
        if verdict & VALUES and (verdict & READS_VALUES or self.context.reads_sequences):
            extra = sequences.before(self, server, verdict, text) or b""
        if verdict & NAMES_STATEMENTS and server.status != IN_TRANSACTION_FAILED:
            if self.names is None:
                self.names = Names(self.context)
            if names_statements(verdict, text):
                extra += self.names.lay_bare(server, self.deviation, apart)
            elif verdict & READS_STATEMENTS and server.statements:
                extra += self.names.remove_shared(server)
        if not extra:
            return None
        server.ready = False
        return extra

    def placed(self, server: Server, name: bytes, describes: bool, stage: list[bytes]) -> Any:
        """What the server calls the client's statement, which *describes*, asks for the columns, or binds it; None: `awaiting`
        what must be known for that."""
        names = self.names
        assert names is not None
        statement = names.known[name]
        there = server.statements.get(statement)
        if there is not None and statement.epoch == self.context.epoch and not self.deviation:
            if statement.private or statement.settings is self.settings.meaning:
                # Nearly always: it is there as it was meant, and now the one used last.
                del server.statements[statement]
                server.statements[statement] = there
                return there
        if self.deviation and not names.is_there(server, statement, self.settings, self.deviation):
            if self.asks(server, statement, stage):
                return None
        names.know(self.has_own_names(), self.blind)
        there = names.place(server, name, self.settings, self.deviation, describes, stage)
        if there is None:
            server.ready = False
            self.awaiting = AWAITS_KNOWLEDGE
        else:
            server.here = None
        return there

    def asks(self, server: Server, statement: Any, stage: list[bytes]) -> bool:
        """Whether the server is asked what is in force first, to parse *statement* there with the meaning it has."""
        if not must_ask(server, statement):
            return False
        stage.append(ask(server, None) + FLUSH_MESSAGE)
        server.ready = False
        self.awaiting = AWAITS_KNOWLEDGE
        return True

    def asks_columns(self, name: bytes, start: int, stop: int) -> bool:
        """Whether the message there asks for the columns of the statement *name*."""
        end = start + 7 + len(name)
        return end <= stop and byte(start) == DESCRIBE and byte(start + 5) == 83 and piece(start + 6, end - 1) == name

    def types_told(self, note: Any, types: bytes) -> None:
        if note[0] == TYPES:
            note[2].types = note[2].types or types
        elif self.names is not None:
            self.names.types_told(note, types)

    def columns_told(self, note: Any, body: bytes | None) -> None:
        try:
            if note[0] == TYPES:
                self.unnamed_columns_told(note, body)
            elif self.names is not None:
                self.names.columns_told(note, body)
        except (PeerViolation, ValueError) as violation:
            self.doubt(violation)

    def forget_unnamed(self) -> None:
        """The statement without a name is another now, or none: nothing was told of it."""
        self.unnamed_told = None
        self.unnamed_misled = False

    def unnamed_columns_told(self, note: Any, body: bytes | None) -> None:
        """The answer to a Describe of the statement without a name: the client's, or the pooler's, with what it was told."""
        if note[2] is not self.unnamed:
            return
        if note[3] is not None:
            self.unnamed_misled = told_columns(body) != told_columns(note[3] or None)
            if self.unnamed_misled:
                self.plan_changed()
                return
        self.unnamed_told = (body or b"", self.relay.now)

    def setting_in_force(self, note: Any, row: bytes) -> None:
        try:
            told(self.server, note, row)
        except (PeerViolation, ValueError) as violation:
            self.doubt(violation)

    def doubt(self, violation: Exception) -> None:
        """An answer about a statement makes no sense."""
        if self.server is not None:
            self.server.doubt(str(violation))

    def tables_come_or_go(self) -> None:
        if self.names is not None:
            self.names.tables_come_or_go()

    def plan_changed(self) -> None:
        if self.names is not None:
            self.names.plan_changed()

    def statements_found(self, server: Server, names: set[bytes]) -> None:
        if self.names is not None:
            self.names.still_there(server, names)

    def mark(self, server: Server, verdict: int) -> None:
        """Note what no reset clears, and that the catalogs may have changed."""
        if verdict & UNSETTABLE:
            self.unsettable(server)
        if verdict & CHANGES:
            self.context.facts_stale = True

    def place_unnamed(self, server: Server, describes: bool, stage: list[bytes]) -> bool:
        """Make the server's unnamed statement this client's; False: `awaiting` what must be known for that, its columns too, if
        they may have changed since the client was told; *describes*: it asks for them itself."""
        statement = self.unnamed
        told = None
        if statement is not None:
            if self.deviation and self.asks(server, statement, stage):
                return False
            changed = statement.epoch != self.context.epoch
            fails = server.status == IN_TRANSACTION_FAILED or server.expected.failed
            if self.unnamed_told is not None and not describes and not fails:
                columns, at = self.unnamed_told
                told = columns if changed or self.relay.now - at > TOLD_LONG_AGO else None
            if changed and (statement.types is not None or self.unnamed_told is not None):
                statement = self.unnamed = statement.own(self.context.epoch, statement.types)
        note = (UNNAMED, None, statement, statement, server.unnamed)
        server.unnamed = statement
        if statement is None:
            server.expected.add(OWED_CLOSE + SKIP, note)
            stage.append(b"C\0\0\0\6S\0")
            return True
        parse_there(server, statement, b"", self.deviation, note, stage)
        server.here = None
        if told is None or read_later(statement.body):
            return True
        server.expected.add(OWED_DESCRIBE + SKIP, (TYPES, None, statement, told))
        stage.append(DESCRIBE_UNNAMED + FLUSH_MESSAGE)
        server.ready = False
        self.awaiting = AWAITS_KNOWLEDGE
        return False

    def deallocated(self, note: Any) -> None:
        if self.names is not None and self.server is not None:
            self.names.forget(self.server, note[1])

    def undo(self, dropped: list[tuple[int, Any]], refused: bool) -> None:
        server = self.server
        if server is None:
            return
        first = None
        for entry in reversed(dropped):
            note = entry[1]
            if not isinstance(note, tuple):
                continue
            if note[0] == UNNAMED:
                first = entry
            elif self.names is not None:
                self.names.undo(server, note, refused and entry is dropped[0])
        if first is None:
            return
        code, (_, _, _, own, there) = first
        if refused and first is dropped[0] and code & 7 == OWED_PARSE:
            # A Parse without a name that fails leaves no such statement at all.
            there = None
            if not code & SKIP:
                own = None
        self.unnamed_was(server, own, there)

    def unnamed_was(self, server: Server, own: Any, there: Any) -> None:
        """The statements without a name, the client's and the server's, were these before what was sent since."""
        ended = False
        for i in range(server.expected.size()):  # no further than to the next of them: there may be thousands of entries
            code, note = server.expected.entry(i)
            if code & 7 == OWED_QUERY:
                # It ends the server's; the client's, too, if it was his.
                ended = True
                if not code & SKIP:
                    return
            elif isinstance(note, tuple) and note[0] == UNNAMED:
                server.expected.replace_note(i, (UNNAMED, None, note[2], own, note[4] if ended else there))
                return
        self.unnamed = own
        if not ended:
            server.unnamed = there

    def reset_all(self, statements: bool) -> None:
        # The statement without a name stays; a Query has ended it when it was sent. Nothing else was sent behind this.
        server = self.server
        if self.names is not None:
            self.names.clear()
        if server is not None:
            server.statements.clear()
        if not statements and server is not None:
            self.forget(server)
            if self.subscription is not None:
                self.subscription.leave()

    def own_names(self, message: bytes, note: Any) -> bytes:
        if isinstance(note, tuple) and note[0] == REFUSAL:
            # By the routine drivers (asyncpg, pgjdbc) know that they have to prepare the statement anew.
            return error_response("ERROR", note[2], note[3], "RevalidateCachedQuery" if note[3] == COLUMNS_CHANGED else "")
        if isinstance(note, Completed):
            message = note.error(message)
            note = None
        if self.names is not None:
            message = self.names.translate(message, note)
        return b"E" + (len(message) + 4).to_bytes(4, "big") + message

    def statement_bits(self) -> int:
        bits = 0
        if self.names is not None:
            for statement in self.names.known.values():
                bits |= statement.verdict
        return bits

    def statement_names(self) -> frozenset[bytes]:
        named: frozenset[bytes] = frozenset()
        if self.names is not None:
            for statement in self.names.known.values():
                if statement.verdict & TOUCHES:
                    named |= candidates(statement.body[: statement.body.find(b"\0")])
        return named

    def statement_effects(self) -> list[Effects]:
        known = [] if self.names is None else self.names.known.values()
        return [
            effects_of(statement.body[: statement.body.find(b"\0")], statement.verdict, statement)
            for statement in known
            if statement.verdict & SETTINGS
        ]
