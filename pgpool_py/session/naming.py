"""The prepared statements of one client: its own names, and where each lives on the server at hand.

A client's statement is known to servers under a name of the pooler's; it is parsed there when it is first needed, and the least
recently used one is closed beyond max_prepared_statements. Each change that the server may yet refuse leaves a note in the queue
of expected replies; `undo` takes it back when the server skipped the request.

A server, for this module, is anything with `statements` (Statement to name, least recently used first), `expected` and `status`.
"""

from __future__ import annotations

import re
from typing import Any

from pgpool_py.session import flags
from pgpool_py.session.settings import Settings
from pgpool_py.session.statements import SessionContext, Statement
from pgwire.expected import Action, Owed

PARSE = int(Owed.PARSE)
CLOSE = int(Owed.CLOSE)
SKIP = int(Action.SKIP)
FAKE = int(Action.FAKE)
FAILED = ord("E")

# What a note says, its first item: (kind, client's name, statement, previous statement)
UNNAMED, PARSED, FAKED, PLACED, CLOSED, EVICTED, CLEARED, REPEATED = range(8)

_DEALLOCATE = re.compile(
    rb"\s*DEALLOCATE\s+(?:PREPARE\s+)?(?:\"((?:[^\"\0]|\"\")+)\"|([A-Za-z_\x80-\xff][\w$\x80-\xff]*))\s*;?\s*\0",
    re.IGNORECASE,
)


_CLEARING = re.compile(rb"\s*(?:DEALLOCATE\s+(?:PREPARE\s+)?ALL|DISCARD\s+ALL)\s*;?\s*\0", re.IGNORECASE)


def clears_statements(body: bytes) -> bool:
    """Whether a text is one DEALLOCATE ALL or DISCARD ALL."""
    return _CLEARING.match(body) is not None


def deallocated_name(body: bytes) -> bytes | None:
    """The statement that a text consisting of one DEALLOCATE names, None for ALL and for any other text."""
    match = _DEALLOCATE.match(body)
    if match is None:
        return None
    if match[1] is not None:
        return match[1].replace(b'""', b'"')
    name = match[2].lower()
    return None if name == b"all" or name == b"prepare" else name


class Names:
    """One client's named statements."""

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.known: dict[bytes, Statement] = {}
        # whether a change is noted that a request under way may yet undo
        self.unsettled = False

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

    def parse(self, server: Any, name: bytes, statement: Statement, settings: Settings, stage: list[bytes]) -> None:
        """The client parses *statement* under *name*; nothing may be under way that decides whether it can."""
        self.unsettled = True
        existing = self.known.get(name)
        if existing is not None:
            # The name is taken: the server itself says so, about the name it knows the statement by.
            server_name = self.place(server, name, settings, stage)
            server.expected.add(PARSE, (REPEATED, name, self.known[name], None))
            stage.append(_parse(server_name, existing.body))
            self.context.server_parse_count += 1
            return
        self.known[name] = statement
        if statement in server.statements and (
            server.status != FAILED or statement.verdict & flags.TRANSACTION_EXIT_ONLY
        ):
            server.expected.add(PARSE + FAKE, (FAKED, name, statement, None))
            return
        if statement in server.statements:
            # Refused with 25P02 by the server itself, under a name it does not have.
            server.expected.add(PARSE, (FAKED, name, statement, None))
            stage.append(_parse(self.context.new_name(), statement.body))
            self.context.server_parse_count += 1
            return
        self._make_room(server, stage)
        name_there = server.statements[statement] = self.context.name(statement)
        server.expected.add(PARSE, (PARSED, name, statement, None))
        stage.append(_parse(name_there, statement.body))
        self.context.server_parse_count += 1

    def place(self, server: Any, name: bytes, settings: Settings, stage: list[bytes]) -> bytes:
        """Make sure the server has the client's statement *name*; what it is called there."""
        statements = server.statements
        statement = self.known[name]
        there: bytes | None = statements.pop(statement, None)
        if there is None:
            if statement.settings is not settings and statement.deallocates is None:
                # Parsed again under other settings it may mean something else: it must not be shared as what it was.
                statement = self.known[name] = self.context.statement(settings, statement.body)
                there = statements.pop(statement, None)
            if there is None:
                self._make_room(server, stage)
                there = self.context.name(statement)
                server.expected.add(PARSE + SKIP, (PLACED, None, statement, None))
                stage.append(_parse(there, statement.body))
                self.context.server_parse_count += 1
        statements[statement] = there
        return there

    def deallocation(self, server: Any, statement: Statement, stage: list[bytes]) -> Statement:
        """For a DEALLOCATE of one of the client's statements: a statement that names it as the server does."""
        target = deallocated_name(statement.body)
        if target is None or target not in self.known:
            return statement
        there = self._removable(server, self.known[target], stage)
        text = b'DEALLOCATE "' + there + b'"\0' + statement.body[statement.body.index(b"\0") + 1 :]
        private = Statement(text, statement.settings, None)
        private.deallocates = target
        private.verdict = flags.CLEANUP
        private.facts_seen = self.context.facts_seen
        return private

    def _removable(self, server: Any, statement: Statement, stage: list[bytes]) -> bytes:
        """A name that can be deallocated on the server: the statement's, or one made for that."""
        there: bytes | None = server.statements.get(statement)
        if there is None:
            there = self.context.new_name()
            server.expected.add(PARSE + SKIP, None)
            stage.append(_parse(there, b"\0\0\0"))
        return there

    def close(self, server: Any, name: bytes) -> None:
        """The client closes a statement; the server keeps it for others, so the answer is the pooler's."""
        self.unsettled = True
        statement = self.known.pop(name)
        server.expected.add(CLOSE + FAKE, (CLOSED, name, statement, None))

    def deallocate(self, server: Any, name: bytes) -> bytes:
        """The Query that deallocates the client's statement *name* on the server."""
        stage: list[bytes] = []
        server_name = self._removable(server, self.known[name], stage)
        self.forget(server, name)
        text = b'DEALLOCATE "' + server_name + b'"\0'
        return b"".join(stage) + b"Q" + (len(text) + 4).to_bytes(4, "big") + text

    def clear_all(self, server: Any) -> tuple[int, Any, Any, Any]:
        """A DEALLOCATE ALL or DISCARD ALL goes out: nothing is left, unless the note comes back."""
        self.unsettled = True
        note = (CLEARED, None, dict(self.known), dict(server.statements))
        self.known.clear()
        server.statements.clear()
        return note

    def forget(self, server: Any, name: bytes) -> None:
        """The statement is deallocated, here and on the server."""
        statement = self.known.pop(name, None)
        if statement is not None:
            server.statements.pop(statement, None)

    def undo(self, server: Any, note: tuple[int, bytes | None, Any, Any]) -> None:
        """The server skipped the request that left *note*."""
        kind, name, statement, previous = note
        if kind == CLEARED:
            self.known.update(note[2])
            server.statements.update(previous)
            return
        if kind in (PARSED, FAKED) and name is not None and self.known.get(name) is statement:
            del self.known[name]
        if kind in (PARSED, PLACED):
            server.statements.pop(statement, None)
        elif kind == CLOSED and name is not None:
            self.known.setdefault(name, statement)
        elif kind == EVICTED:
            server.statements[statement] = self.context.name(statement)

    def translate(self, message: bytes, note: Any) -> bytes:
        """An error's fields with the server's statement names replaced by the client's; *note* is that of its request."""
        if isinstance(note, tuple) and note[1] is not None and note[2].server_name is not None:
            message = message.replace(note[2].server_name, note[1])
        for name, statement in self.known.items():
            if statement.server_name is not None and statement.server_name in message:
                message = message.replace(statement.server_name, name)
        return message

    def remove_all(self, server: Any) -> bytes:
        """Close every shared statement on the server; by messages that may stand anywhere, also within a batch."""
        stage: list[bytes] = []
        for statement, name in server.statements.items():
            server.expected.add(CLOSE + SKIP, (EVICTED, None, statement, None))
            stage.append(_close(name))
        server.statements.clear()
        return b"".join(stage)

    def _make_room(self, server: Any, stage: list[bytes]) -> None:
        statements = server.statements
        limit = max(1, self.context.max_prepared_statements)
        while len(statements) >= limit:
            oldest = next(iter(statements))
            name = statements.pop(oldest)
            server.expected.add(CLOSE + SKIP, (EVICTED, None, oldest, None))
            stage.append(_close(name))


def _parse(name: bytes, body: bytes) -> bytes:
    return b"P" + (len(name) + len(body) + 5).to_bytes(4, "big") + name + b"\0" + body


def _close(name: bytes) -> bytes:
    return b"C" + (len(name) + 6).to_bytes(4, "big") + b"S" + name + b"\0"
