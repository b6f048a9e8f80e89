"""The prepared statements of one client: its own names, and where each lives on the server at hand.

A client's statement is known to servers under a name of the pooler's; it is parsed there when it is first needed, and the least
recently used one is closed beyond max_prepared_statements. Each change that the server may yet refuse leaves a note in the queue
of expected replies; `undo` takes it back when the server skipped the request.

Clients share a statement as long as everything that gives the text its meaning is the same for them. Three things make one a
client's own (`Statement.private`): it was parsed while its transaction had settings of its own; its client's settings have
changed since; or its server is *bare*.

A bare server has one client's statements under that client's own names, because SQL is about to name them: PREPARE, EXECUTE,
pg_prepared_statements. It then does by itself what a direct connection does, and is reset before anybody else gets it.

Where the catalogs have changed since a statement was parsed, it is another statement (`epoch`); a client that was told its
columns must not be given other ones in silence (`place`).

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
    `described`  the columns that the client was told of each
    `unsettled`  a change is noted that a request under way may yet undo
    `candidate`  what is to take the place of a statement from before the catalogs changed; its columns are being asked for
    `dead`       those that could not be parsed when that was tried last, so that they could be named by SQL
    `apart`      the client has temporary objects, so that its texts mean something else than others'
    `blind`      its transaction has changed the catalogs, which only its own statements may see before the commit
    `misled`     the columns are not those that the client was told: its request must fail
    """

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.known: dict[bytes, Statement] = {}
        self.described: dict[bytes, bytes] = {}
        self.unsettled = False
        self.candidate: Statement | None = None
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
        if deviation != AS_OF_SESSION or bare or self.apart or self.blind:
            statement = statement.own(context.epoch)
        self.known[name] = statement
        self.described.pop(name, None)
        if statement in server.statements:
            if server.status != FAILED or statement.verdict & flags.TRANSACTION_EXIT_ONLY:
                server.expected.add(PARSE + FAKE, (FAKED, name, statement, None))
            else:
                # Refused with 25P02 by the server itself, under a name it does not have.
                server.expected.add(PARSE, (FAKED, name, statement, None))
                stage.append(parse_message(context.new_name(), statement.body))
                context.server_parse_count += 1
            self._ask_columns(server, name, statement, asks, stage)
            return
        self._make_room(server, stage)
        there = server.statements[statement] = name if bare else context.name(statement)
        server.expected.add(PARSE, (PARSED, name, statement, None))
        stage.append(parse_message(there, statement.body))
        context.server_parse_count += 1
        if deviation != AS_OF_SESSION and server.status != FAILED and not read_later(statement.body):
            stage.append(ask(server, statement))
        self._ask_columns(server, name, statement, asks, stage)

    def _ask_columns(self, server: Any, name: bytes, statement: Statement, asks: bool, stage: list[bytes]) -> None:
        """Learn which columns a statement has that the client has just parsed: it may know them though it never asks."""
        if statement.columns is not None:
            self.described[name] = statement.columns
        elif not asks and server.status != FAILED and not read_later(statement.body):
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
            server.expected.add(PARSE, (PARSED, name, statement, (existing, self.described.pop(name, None))))
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

        *describes*: the client's own messages ask for the columns. None: the caller keeps what follows until it is known
        whether the columns are those that the client was told. With `misled` they are not, and the name leads nowhere.
        """
        statement = self.known[name]
        context = self.context
        if server.status != FAILED and not server.expected.failed:
            alike = not (self.apart or self.blind) and _shareable(server, statement, settings, deviation)
            epoch = NO_EPOCH if self.blind and statement not in server.statements else statement.epoch
            if not alike and not statement.private:
                # Used under other settings it may come to mean something else there, for all who share it.
                statement = self.known[name] = statement.own(epoch)
            elif epoch == NO_EPOCH:
                statement.epoch = epoch  # it is its client's own
            if statement.epoch != context.epoch:
                renewed = self._renewed(server, name, statement, settings if alike else None, deviation, describes, stage)
                if renewed is None:
                    return None
                if self.misled:
                    # As often as it is tried: until it asks for the columns, or parses anew, it reads them as they were.
                    return context.new_name()
                statement = self.known[name] = renewed
            elif alike and statement.private and statement not in server.statements:
                statement = self.known[name] = context.statement(settings, statement.body)
        there: bytes | None = server.statements.pop(statement, None)
        if there is None:
            return self._place(server, name, statement, deviation, stage)
        server.statements[statement] = there
        return there

    def _renewed(
        self,
        server: Any,
        name: bytes,
        statement: Statement,
        settings: Settings | None,
        deviation: int,
        describes: bool,
        stage: list[bytes],
    ) -> Statement | None:
        """The statement as the catalogs are now; None: see `place`. *settings*: those under which it may be shared."""
        context = self.context
        candidate, self.candidate = self.candidate, None
        if candidate is None or candidate.body != statement.body or candidate.epoch != context.epoch:
            candidate = statement.own(context.epoch) if settings is None else context.statement(settings, statement.body)
        there = server.statements.get(statement) if server.dirty & BARE else None
        told = None if describes or read_later(statement.body) else self.described.get(name)
        if told is None or candidate.columns is not None:
            self.misled = told is not None and candidate.columns != told
            if there is not None and not self.misled:
                # Its name there is the client's: there is one only.
                del server.statements[statement]
                server.statements[candidate] = there
            return candidate
        there = there or server.statements.get(candidate) or self._place(server, name, candidate, deviation, stage)
        self.candidate = candidate
        server.expected.add(DESCRIBE + SKIP, (COLUMNS, None, candidate, None))
        stage.append(Describe(b"S", there).encode() + FLUSH_MESSAGE)
        return None

    def columns_told(self, note: tuple[int, bytes | None, Statement, Any], body: bytes | None) -> None:
        """The answer to a Describe of the statement of *note*: the client's, or the pooler's own."""
        told = told_columns(body)
        kind, name, statement, _ = note
        if statement.columns != told:
            statement.columns = told
        if kind != COLUMNS and name is not None and self.known.get(name) is statement:
            self.described[name] = statement.columns

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
            if not statement.private:
                statement = self.known[name] = statement.own(statement.epoch)
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
        """What binds *portal* to a DEALLOCATE of the client's statement *name*, made the server's statement without a name."""
        stage: list[bytes] = []
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
        self.described.pop(name, None)
        if server.dirty & BARE and statement in server.statements:
            there = server.statements.pop(statement)
            server.expected.add(CLOSE, (CLOSED, name, statement, there))
            stage.append(Close(b"S", there).encode())
        else:
            server.expected.add(CLOSE + FAKE, (CLOSED, name, statement, None))

    def forget(self, server: Any, name: bytes) -> None:
        """The statement is deallocated, here and on the server."""
        self.described.pop(name, None)
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
                    self.known[name], told = previous
                    if told is not None:
                        self.described[name] = told
        if kind == PLACED:
            if refused:
                self.dead.add(statement)
            self._not_there(server, statement, previous)
        elif kind == PARSED:
            self._not_there(server, statement, name)
            if previous is not None:
                server.statements[previous[0]] = name
        elif kind == CLOSED and name is not None:
            self.known.setdefault(name, statement)
            if previous is not None:
                server.statements[statement] = previous
        elif kind == EVICTED:
            server.statements[statement] = previous

    def _not_there(self, server: Any, statement: Statement, there: bytes | None) -> None:
        """The statement was not parsed under that name; what has taken its place since (`_renewed`) is not there either."""
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
