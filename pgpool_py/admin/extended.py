"""The extended protocol on the console: prepared statements, portals, and rows in pieces.

Statements take no parameters and do nothing before they are executed, so a portal is a statement, the formats of its columns, and
how far its rows were read. Errors are PostgreSQL's, and what follows one is skipped up to Sync.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pgwire
from pgpool_py.admin import commands
from pgpool_py.admin.errors import PROTOCOL_VIOLATION, Refused
from pgpool_py.admin.grammar import Statement, parse
from pgpool_py.admin.table import BINARY, TEXT, Row, Table, row_description

if TYPE_CHECKING:
    from pgpool_py.admin.commands import Result
    from pgpool_py.admin.console import Console

MAX_NAMES = 1000  # a client's prepared statements, and its portals


@dataclass(slots=True)
class Portal:
    """A statement that may be run, and once it was, its result and the rows that are left."""

    statement: Statement
    formats: tuple[int, ...]
    result: Result | None = None
    table: Table | None = None
    rows: Iterator[Row] | None = None


class Extended:
    """What one client has prepared and bound."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._say = console.say
        self.statements: dict[bytes, Statement] = {}
        self.portals: dict[bytes, Portal] = {}
        self.skipping = False

    async def answer(self, message: object) -> None:
        """Answer one message; Refused is the caller's to say."""
        match message:
            case pgwire.Sync():
                self.skipping = False
                if not self._console.in_block:
                    self.portals.clear()
                self._console.ready()
            case pgwire.Parse():
                self._parse(message)
            case pgwire.Bind():
                self._bind(message)
            case pgwire.Describe():
                self._describe(message)
            case pgwire.Execute():
                await self._execute(message)
            case pgwire.Close():
                (self.statements if message.kind == b"S" else self.portals).pop(message.name, None)
                self._say(pgwire.CloseComplete())

    def _parse(self, message: pgwire.Parse) -> None:
        statement = parse(decoded(message.query))
        if statement.verb:
            commands.columns_of(statement)  # an unknown command is refused here, as a server would
        if message.statement and message.statement in self.statements:
            raise Refused(f'prepared statement "{decoded(message.statement)}" already exists', "42P05")
        if message.parameter_types:
            raise Refused("the console takes no parameters", "0A000")
        _bounded(self.statements)
        self.statements[message.statement] = statement
        self._say(pgwire.ParseComplete())

    def _bind(self, message: pgwire.Bind) -> None:
        statement = self._statement(message.statement)
        if message.parameters:
            count = len(message.parameters)
            raise Refused(f"bind message supplies {count} parameters, but the console takes none", PROTOCOL_VIOLATION)
        columns = (commands.columns_of(statement) if statement.verb else None) or ()
        formats = message.result_formats
        if len(formats) > 1 and len(formats) != len(columns):
            counts = f"{len(formats)} result formats but query has {len(columns)} columns"
            raise Refused(f"bind message has {counts}", PROTOCOL_VIOLATION)
        if any(format not in (TEXT, BINARY) for format in formats):
            raise Refused("unsupported format code", "22023")
        _bounded(self.portals)
        self.portals[message.portal] = Portal(statement, formats)
        self._say(pgwire.BindComplete())

    def _describe(self, message: pgwire.Describe) -> None:
        formats: tuple[int, ...] = ()
        if message.kind == b"S":
            statement = self._statement(message.name)
            self._say(pgwire.ParameterDescription())
        else:
            portal = self._portal(message.name)
            statement, formats = portal.statement, portal.formats
        columns = commands.columns_of(statement) if statement.verb else None
        self._say(pgwire.NoData() if columns is None else row_description(columns, formats))

    async def _execute(self, message: pgwire.Execute) -> None:
        portal, console = self._portal(message.portal), self._console
        if not portal.statement.verb:
            self._say(pgwire.EmptyQueryResponse())
            return
        if portal.result is None:
            portal.result = await console.run(portal.statement)
            portal.table = await console.table_of(portal.result)
            portal.rows = iter(portal.table.rows) if portal.table is not None else None
        if portal.table is not None and portal.rows is not None:
            most = message.max_rows if message.max_rows > 0 else None
            if await console.rows(portal.table.columns, portal.rows, portal.formats, most):
                self._say(pgwire.PortalSuspended())
                return
        console.complete(portal.result)

    def _statement(self, name: bytes) -> Statement:
        statement = self.statements.get(name)
        if statement is None:
            which = f'prepared statement "{decoded(name)}"' if name else "unnamed prepared statement"
            raise Refused(f"{which} does not exist", "26000")
        return statement

    def _portal(self, name: bytes) -> Portal:
        portal = self.portals.get(name)
        if portal is None:
            raise Refused(f'portal "{decoded(name)}" does not exist', "34000")
        return portal


def _bounded(entries: dict[bytes, Any]) -> None:
    if len(entries) >= MAX_NAMES:
        raise Refused("too many prepared statements", "53400")


def decoded(data: bytes) -> str:
    """A text of the client's; what is no UTF-8 cannot be a name here."""
    return data.decode("utf-8", "replace")
