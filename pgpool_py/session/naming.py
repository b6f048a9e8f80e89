"""The prepared statements of one client: its own names, and where each lives on the server at hand.

A client's statement is known to servers under a name of the pooler's; it is parsed there when it is first needed, and the least
recently used one is closed beyond max_prepared_statements. Each change that the server may yet refuse leaves a note in the queue
of expected replies; `undo` takes it back when the server skipped the request.

Clients share a statement as long as everything that gives the text its meaning is the same for them. Four things make one a
client's own (`Statement.private`): it was parsed while its transaction had settings of its own; its client's settings have
changed since; its server is *bare*; or its Parse fixes what belongs to the moment (`of_moment`).

A bare server has one client's statements under that client's own names, because SQL is about to name them: PREPARE, EXECUTE,
pg_prepared_statements. It then does by itself what a direct connection does, and is reset before anybody else gets it.

Where the catalogs have changed since a statement was parsed, it is another statement (`epoch`). Its parameters keep the types
that its client was told, since values come in these; other columns must not be given to a client in silence (`place`). Each Parse
on a server is followed by a Describe, whoever asks: an answer that is not what others were told shows that they have changed.

A server, for this module, is anything with `statements` (Statement to name, least recently used first), `expected`, `status`,
`dirty`, and what `placing` asks of it.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.session import flags
from pgpool_py.session.inline import command
from pgpool_py.session.notes import CLOSED, COLUMNS, EVICTED, FAKED, PARSED, PLACED, REPEATED
from pgpool_py.session.placing import ask, parse_message, parse_there, savepoint_name, set_savepoint, undo_savepoint
from pgpool_py.session.settings import AS_OF_SESSION, UNSETTLED, Settings
from pgpool_py.session.statement_texts import read_later
from pgpool_py.session.statements import SessionContext, Statement
from pgwire import Bind, Close, Describe, Parse, Query, RowDescription
from pgwire.expected import Action, Owed

PARSE = int(Owed.PARSE)
BIND = int(Owed.BIND)
DESCRIBE = int(Owed.DESCRIBE)
CLOSE = int(Owed.CLOSE)
SYNC = int(Owed.SYNC)
SKIP = int(Action.SKIP)
FAKE = int(Action.FAKE)
Note = tuple[int, bytes | None, Statement, Any]  # of a request about a statement, see `notes`
NO_EPOCH = -1  # of a statement of which nobody knows what has changed meanwhile
FAILED, IN_BLOCK = ord("E"), ord("T")
BARE = flags.BARE
SYNC_MESSAGE, FLUSH_MESSAGE = b"S\0\0\0\4", b"H\0\0\0\4"


def told_columns(body: bytes | None) -> bytes:
    """What a RowDescription (its body), or NoData (None), tells of columns: names, types and modifiers.

    Not the tables they come from: one that was made anew gives the same result (PostgreSQL compares likewise).
    """
    columns = () if body is None else RowDescription.decode(body).columns
    return repr([(column.name, column.type, column.modifier) for column in columns]).encode()


class Names:
    """One client's named statements.

    `known`      the statements by the client's names
    `described`  the columns that the client was told of each, and `typed` the types of its parameters
    `unsettled`  a change is noted that a request under way may yet undo
    `candidate`  what is to be used as one of the statements from now on, the server that is being asked for its columns, and the
                 client's name of it
    `dead`       those that could not be parsed when that was tried last, so that they could be named by SQL
    `apart`      the client has temporary objects, so that its texts mean something else than others'
    `blind`      its transaction has changed the catalogs, which only its own statements may see before the commit
    `misled`     the columns are not those that the client was told: its request must fail
    """

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.known: dict[bytes, Statement] = {}
        self.described: dict[bytes, bytes] = {}
        self.typed: dict[bytes, bytes] = {}
        self.unsettled = False
        self.candidate: tuple[Statement, Any, bytes] | None = None
        self.apart = False
        self.blind = False
        self.misled = False
        self.dead: set[Statement] = set()

    def know(self, apart: bool, blind: bool) -> None:
        """What the client's own names mean, before one is parsed or placed."""
        self.apart = apart
        self.blind = blind

    def must_wait(self, server: Any) -> bool:
        """Whether what a name means now depends on requests of earlier batches that are not answered yet."""
        if self.unsettled and not server.expected.size():
            self.unsettled = False
        return self.unsettled and server.expected.owed_ready > 0

    def has(self, name: bytes) -> bool:
        """Whether the client has a statement of that name."""
        return name in self.known

    def get(self, name: bytes) -> Statement | None:
        """The client's statement of that name."""
        return self.known.get(name)

    def clear(self) -> None:
        """All are gone, by the client's own DEALLOCATE ALL or DISCARD ALL."""
        self.known.clear()
        self.described.clear()
        self.typed.clear()

    # --- the client's Parse ---

    def parse(
        self, server: Any, name: bytes, statement: Statement, deviation: int, asks: bool, stage: list[bytes]
    ) -> None:
        """The client parses *statement* under *name*; nothing may be under way that decides whether it can. *asks*: it asks for
        the columns next."""
        self.unsettled = True
        context = self.context
        bare = server.dirty & BARE
        existing = self.known.get(name)
        if existing is not None:
            self._parse_again(server, name, existing, statement, stage)
            return
        if deviation != AS_OF_SESSION or bare or self.apart or self.blind or statement.of_moment:
            statement = statement.own(context.epoch)
        self.known[name] = statement
        self.described.pop(name, None)
        self.typed.pop(name, None)
        if statement in server.statements:
            if server.status != FAILED or statement.verdict & flags.TRANSACTION_EXIT_ONLY:
                server.expected.add(PARSE + FAKE, (FAKED, name, statement, None))
            else:
                # Refused with 25P02 by the server itself, under a name it does not have; or not, behind a ROLLBACK in this batch.
                refused = context.new_name()
                server.expected.add(PARSE, (FAKED, name, statement, None))
                server.expected.add(CLOSE + SKIP, None)
                stage.append(parse_message(refused, statement.body) + Close(b"S", refused).encode())
                context.server_parse_count += 1
            if statement.columns is not None and statement.types is not None:
                self.described[name] = statement.columns
                self.typed[name] = statement.types
            elif not asks:
                self._ask_columns(server, name, statement, stage)
            return
        self._make_room(server, stage)
        there = server.statements[statement] = name if bare else context.name(statement)
        server.expected.add(PARSE, (PARSED, name, statement, None))
        stage.append(parse_message(there, statement.body))
        context.server_parse_count += 1
        if deviation != AS_OF_SESSION and server.status != FAILED and not read_later(statement.body):
            stage.append(ask(server, statement))
        if not asks:
            self._ask_columns(server, name, statement, stage)

    def _ask_columns(self, server: Any, name: bytes, statement: Statement, stage: list[bytes]) -> None:
        """Learn which columns a statement has that the client has just parsed: it may know them though it never asks."""
        if server.status != FAILED and not read_later(statement.body):
            server.expected.add(DESCRIBE + SKIP, (REPEATED, name, statement, None))
            stage.append(Describe(b"S", server.statements[statement]).encode())

    def _parse_again(self, server: Any, name: bytes, existing: Statement, statement: Statement, stage: list[bytes]) -> None:
        """The client parses under a name that it has: the server itself says so."""
        context = self.context
        there = server.statements.get(existing)
        if there == name:
            # A bare server: SQL may have deallocated it.
            del server.statements[existing]
            statement = self.known[name] = statement.own(context.epoch)
            server.statements[statement] = name
            before = existing, self.described.pop(name, None), self.typed.pop(name, None)
            server.expected.add(PARSE, (PARSED, name, statement, before))
        else:
            if there is None:
                # Any statement does, under a name that stands for the client's in the error.
                existing = existing.own(existing.epoch)
                existing.body = b"\0\0\0"
                there = self._place(server, context.name(existing), existing, AS_OF_SESSION, stage)
            server.expected.add(PARSE, (REPEATED, name, existing, None))
        stage.append(parse_message(there, statement.body))
        context.server_parse_count += 1

    # --- using a statement ---

    def is_there(self, server: Any, statement: Statement, settings: Settings, deviation: int) -> bool:
        """Whether the server has the client's statement as it is meant now."""
        if statement not in server.statements or statement.epoch != self.context.epoch:
            return False
        return statement.private or _shareable(server, statement, settings, deviation)

    def place(
        self, server: Any, name: bytes, settings: Settings, deviation: int, describes: bool, stage: list[bytes]
    ) -> bytes | None:
        """Make sure the server has the client's statement *name*; what it is called there.

        *describes*: the client's own message asks for the columns. None: the caller keeps what follows until it is known
        whether the columns are those that the client was told. With `misled` they are not, and the name leads nowhere.
        """
        statement = self.known[name]
        context = self.context
        if server.status != FAILED and not server.expected.failed:
            alike = not (self.apart or self.blind) and _shareable(server, statement, settings, deviation)
            alike = alike and not statement.of_moment
            if self.blind and statement not in server.statements:
                statement = self.known[name] = statement.own(NO_EPOCH)
            elif not alike and not statement.private:
                # Used under other settings it may come to mean something else there, for all who share it.
                statement = self.known[name] = statement.own(statement.epoch)
            if statement.epoch != context.epoch or statement not in server.statements:
                meant = self._checked(server, name, statement, settings if alike else None, deviation, describes, stage)
                if meant is None:
                    return None
                if self.misled:
                    # As often as it is tried: until it asks for the columns, or parses anew, it reads them as they were.
                    return context.new_name()
                statement = self.known[name] = meant
        self.candidate = None
        there: bytes | None = server.statements.pop(statement, None)
        if there is None:
            return self._place(server, name, statement, deviation, stage)
        server.statements[statement] = there
        return there

    def _checked(
        self,
        server: Any,
        name: bytes,
        statement: Statement,
        settings: Settings | None,
        deviation: int,
        describes: bool,
        stage: list[bytes],
    ) -> Statement | None:
        """The statement as the catalogs are now, with its parameters as they were; None: see `place`.

        *settings*: those under which it may be shared.
        """
        context = self.context
        types = self.typed.get(name)
        typed = statement.typed(types)
        candidate, asked, called = self.candidate or (None, None, None)
        self.candidate = None
        there = server.statements.get(statement) if server.dirty & BARE else None
        answered = False
        if (
            candidate is None
            or asked is not server
            or called != name
            or candidate.epoch != context.epoch
            or candidate.body not in (typed, statement.body)
        ):
            candidate = self._candidate(statement, settings, types if statement.epoch != context.epoch else None)
        elif candidate.body != typed and candidate.types != types:
            candidate = self._candidate(statement, settings, types)  # its parameters would have other types
        else:
            answered = candidate.columns is not None
        columns = None if describes else self.described.get(name)
        if read_later(typed):
            columns, answered = None, True
        elif columns is None and candidate.body == typed:
            answered = True
        elif not answered and there is None and candidate in server.statements and candidate.columns is not None:
            answered = candidate.body == typed or candidate.types == types
        if answered:
            self.misled = columns is not None and candidate.columns != columns
            if there is not None and candidate is not statement and not self.misled:
                # Its name there is the client's: there is one only.
                del server.statements[statement]
                server.statements[candidate] = there
            return candidate
        there = there or server.statements.get(candidate) or self._place(server, name, candidate, deviation, stage)
        self.candidate = candidate, server, name
        server.expected.add(DESCRIBE + SKIP, (COLUMNS, None, candidate, name))
        stage.append(Describe(b"S", there).encode() + FLUSH_MESSAGE)
        return None

    def _candidate(self, statement: Statement, settings: Settings | None, types: bytes | None) -> Statement:
        """What may take the statement's place: the one of all under *settings*, or one of the client's own."""
        context = self.context
        if settings is not None:
            return context.statement(settings, statement.typed(types))
        if statement.private and statement.epoch == context.epoch and statement.body == statement.typed(types):
            return statement
        return statement.own(context.epoch, types)

    def types_told(self, note: Note, types: bytes) -> None:
        """The first half of the answer to a Describe of the statement of *note*: the types of its parameters."""
        statement = note[2]
        if statement.types != types:
            self._contradicted(statement, statement.types)
            statement.types = types
        if (name := self._told_of(note)) is not None:
            self.typed[name] = types

    def columns_told(self, note: Note, body: bytes | None) -> None:
        """The answer to a Describe of the statement of *note*: the client's, or the pooler's own."""
        told = told_columns(body)
        statement = note[2]
        if statement.columns != told:
            self._contradicted(statement, statement.columns)
            statement.columns = told
        if (name := self._told_of(note)) is not None:
            self.described[name] = told
        elif note[0] == COLUMNS and self.known.get(note[3]) is statement and self._differs(note[3], statement):
            self.known[note[3]] = statement.own(NO_EPOCH)

    def _differs(self, name: bytes, statement: Statement) -> bool:
        """Whether the statement is another than what the client was told under that name."""
        told = self.described.get(name, statement.columns), self.typed.get(name, statement.types)
        return told != (statement.columns, statement.types)

    def _told_of(self, note: Note) -> bytes | None:
        """The client's name of what the request of *note* was about, if it still means the same: its text, with parameters of
        the types it gave them, or had it give them since."""
        kind, name, statement, _ = note
        now = self.known.get(name) if name is not None and kind != COLUMNS else None
        same = now is not None and (now is statement or now.body in (statement.body, statement.typed(statement.types)))
        return name if same else None

    def _contradicted(self, statement: Statement, before: bytes | None) -> None:
        """The statement is not what it was: whoever shares it was told otherwise *before*."""
        if before is not None and not statement.private and statement.epoch == self.context.epoch:
            self.plan_changed()

    def tables_come_or_go(self) -> None:
        """Temporary tables of the client's own: all its statements may mean something else, and only its own."""
        for name, statement in self.known.items():
            if statement.private:
                statement.epoch = NO_EPOCH  # it may be on a bare server, under this name
            else:
                self.known[name] = statement.own(NO_EPOCH)

    def plan_changed(self) -> None:
        """The server refused a statement because its columns have changed."""
        self.context.catalogs_changed()
        self.context.facts_stale = True

    def _place(
        self, server: Any, name: bytes, statement: Statement, deviation: int, stage: list[bytes], savepoint: bytes = b""
    ) -> bytes:
        self.unsettled = True
        self._make_room(server, stage)
        there = server.statements[statement] = name if server.dirty & BARE else self.context.name(statement)
        parse_there(server, statement, there, deviation, (PLACED, None, statement, there), stage, savepoint)
        self.context.server_parse_count += 1
        return there

    # --- statements that SQL names ---

    def lay_bare(self, server: Any, deviation: int, apart: bool) -> bytes:
        """What gives the server the client's statements under the client's own names, and leaves it none of others.

        *apart*: no batch is under way, and a failure among them (its table was dropped) must not touch what follows.
        """
        stage: list[bytes] = []
        server.dirty |= BARE
        stage.append(self.remove_shared(server))
        self.dead.intersection_update(self.known.values())
        in_block = apart and server.status == IN_BLOCK
        savepoint = savepoint_name(server) if in_block else b""
        for name, statement in self.known.items():
            if statement in server.statements or (statement in self.dead and not apart):
                continue
            types = self.typed.get(name)
            if not statement.private or statement.body != statement.typed(types):
                statement = self.known[name] = statement.own(statement.epoch, types)
            self.dead.discard(statement)
            if in_block:
                stage.append(command(server, set_savepoint(savepoint)))
            self._place(server, name, statement, deviation, stage, savepoint)
            if apart:
                self._sync(server, stage)
            if in_block:
                for text in undo_savepoint(savepoint):
                    stage.append(command(server, text))
                self._sync(server, stage)
        return b"".join(stage)

    def _sync(self, server: Any, stage: list[bytes]) -> None:
        server.expected.add(SYNC + SKIP, None)
        stage.append(SYNC_MESSAGE)

    def is_missed(self, server: Any) -> bool:
        """Whether the server lacks a statement of the client, under the client's own name for it."""
        return any(server.statements.get(statement) != name for name, statement in self.known.items())

    def remove_shared(self, server: Any) -> bytes:
        """Close every statement that is not there under the client's own name; messages that may stand anywhere."""
        stage: list[bytes] = []
        for statement, there in list(server.statements.items()):
            if self.known.get(there) is not statement:
                self.unsettled = True
                del server.statements[statement]
                server.expected.add(CLOSE + SKIP, (EVICTED, None, statement, there))
                stage.append(Close(b"S", there).encode())
        return b"".join(stage)

    def still_there(self, server: Any, names: set[bytes]) -> None:
        """Code that nobody has read ran on a bare server: these statements it has left."""
        for name, statement in list(self.known.items()):
            there = server.statements.get(statement)
            if there is not None and there not in names:
                self.forget(server, name)

    def deallocation(self, server: Any, name: bytes, portal: bytes, note: object) -> bytes:
        """What binds *portal*, if it is there, to a DEALLOCATE of the client's statement *name*, made the server's statement
        without a name."""
        server.expected.add(DESCRIBE + SKIP, None)
        stage = [Describe(b"P", portal).encode()]
        there = self._removable(server, self.known[name], stage)
        server.expected.add(PARSE + SKIP, note)
        stage.append(Parse(b"", b"DEALLOCATE " + _quoted(there)).encode())
        if portal:
            server.expected.add(CLOSE + SKIP, None)
            stage.append(Close(b"P", portal).encode())
        server.expected.add(BIND + SKIP, None)
        stage.append(Bind(portal, b"").encode())
        return b"".join(stage)

    def _removable(self, server: Any, statement: Statement, stage: list[bytes]) -> bytes:
        """A name that can be deallocated on the server: the statement's, or one made for that."""
        there: bytes | None = server.statements.get(statement)
        if there is None:
            there = self.context.new_name()
            server.expected.add(PARSE + SKIP, None)
            stage.append(Parse(there, b"").encode())
        return there

    def deallocate(self, server: Any, name: bytes) -> bytes:
        """The Query that deallocates the client's statement *name* on the server."""
        stage: list[bytes] = []
        text = b"DEALLOCATE " + _quoted(self._removable(server, self.known[name], stage))
        self.forget(server, name)
        return b"".join(stage) + Query(text).encode()

    # --- the end of a statement ---

    def close(self, server: Any, name: bytes, stage: list[bytes]) -> None:
        """The client closes a statement. A server that others use too keeps it for them, and the answer is the pooler's."""
        self.unsettled = True
        statement = self.known.pop(name)
        told = self.described.pop(name, None), self.typed.pop(name, None)
        if server.dirty & BARE and statement in server.statements:
            there = server.statements.pop(statement)
            server.expected.add(CLOSE, (CLOSED, name, statement, (there, *told)))
            stage.append(Close(b"S", there).encode())
        else:
            server.expected.add(CLOSE + FAKE, (CLOSED, name, statement, (None, *told)))

    def forget(self, server: Any, name: bytes) -> None:
        """The statement is deallocated, here and on the server."""
        self.described.pop(name, None)
        self.typed.pop(name, None)
        statement = self.known.pop(name, None)
        if statement is not None:
            server.statements.pop(statement, None)

    def undo(self, server: Any, note: tuple[int, bytes | None, Any, Any], refused: bool) -> None:
        """The server skipped the request that left *note*; *refused*: because it could not do that one."""
        kind, name, statement, previous = note
        if kind in (PARSED, FAKED) and name is not None:
            now = self.known.get(name)
            if now is not None and now.body == statement.body:  # or what has taken its place since (`place`)
                del self.known[name]
                if previous is not None:
                    self.known[name] = previous[0]
                    self._was_told(name, previous[1], previous[2])
        if kind == PLACED:
            if refused:
                self.dead.add(statement)
            self._not_there(server, statement, previous)
        elif kind == PARSED:
            self._not_there(server, statement, name)
            if previous is not None:
                server.statements[previous[0]] = name
        elif kind == CLOSED and name is not None:
            if self.known.setdefault(name, statement) is statement:
                self._was_told(name, previous[1], previous[2])
            if previous[0] is not None:
                server.statements[statement] = previous[0]
        elif kind == EVICTED:
            server.statements[statement] = previous

    def _was_told(self, name: bytes, columns: bytes | None, types: bytes | None) -> None:
        """What the client was told of that statement counts again."""
        if columns is not None:
            self.described[name] = columns
        if types is not None:
            self.typed[name] = types

    def _not_there(self, server: Any, statement: Statement, there: bytes | None) -> None:
        """The statement was not parsed under that name; what has taken its place since (`_checked`) is not there either."""
        if server.statements.pop(statement, None) is None:
            for other, name in list(server.statements.items()):
                if name == there:
                    del server.statements[other]

    def translate(self, message: bytes, note: Any) -> bytes:
        """An error's fields with the server's statement names replaced by the client's; *note* is that of its request."""
        if isinstance(note, tuple) and note[1] is not None and note[2].server_name is not None:
            message = message.replace(note[2].server_name, note[1])
        for name, statement in self.known.items():
            if statement.server_name is not None and statement.server_name in message:
                message = message.replace(statement.server_name, name)
        return message

    def _make_room(self, server: Any, stage: list[bytes]) -> None:
        statements = server.statements
        limit = max(1, self.context.max_prepared_statements)
        while len(statements) >= limit and not server.dirty & BARE:
            oldest = next(iter(statements))
            name = statements.pop(oldest)
            server.expected.add(CLOSE + SKIP, (EVICTED, None, oldest, name))
            stage.append(Close(b"S", name).encode())


def _shareable(server: Any, statement: Statement, settings: Settings, deviation: int) -> bool:
    """Whether *statement* means the same to all who use it under *settings*, and may be one there for all."""
    return statement.settings is settings.meaning and deviation != UNSETTLED and not server.dirty & BARE


def _quoted(name: bytes) -> bytes:
    return b'"' + name.replace(b'"', b'""') + b'"'
