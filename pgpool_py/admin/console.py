"""One client of the console: what it says, in the simple and the extended protocol, and the answers.

An ordinary coroutine on a non-blocking socket; the protocol is pgwire's. Statements take no parameters and name no others, so a
portal is a statement and how far its rows were read. An answer of many rows leaves in pieces, so the loop is never held up.

There are no transactions here. BEGIN and COMMIT are taken with a notice, and ReadyForQuery says "T" in between, because drivers
keep books on it; nothing is ever undone.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pgwire
from pgpool_py.admin import commands
from pgpool_py.admin.commands import Result, Right
from pgpool_py.admin.errors import PROTOCOL_VIOLATION, Refused
from pgpool_py.admin.grammar import Statement, parse
from pgpool_py.admin.table import TEXT, Row, Table
from pgpool_py.admin.world import Wait, World
from pgpool_py.conversation import Conversation, PeerClosed
from pgwire import State

MAX_MESSAGE = 65536  # more than any command has
ROWS_AT_ONCE = 200  # then the loop gets its turn
WAIT_STEP = 0.03  # seconds between two looks at an order that takes time
MAX_STATEMENTS = 1000  # a client's named statements and portals


@dataclass(slots=True)
class Portal:
    """A statement that may be run, the formats of its columns, and the rest of its rows once it was."""

    statement: Statement
    formats: tuple[int, ...]
    rows: Iterator[Row] | None = None
    result: Result | None = None
    sent: int = 0


class Console:
    """One client, from its login to its end."""

    def __init__(self, world: World, sock: socket.socket, user: str, right: Right, *, protocol: int, leftover: bytes) -> None:
        self.world = world
        self.user = user
        self.right = right
        # identity; whoever makes it fills these in
        self.number = 0
        self.peer: Any = None
        self.connect_time = self.request_time = time.time()
        self.application_name = ""
        self.who = ""
        # the protocol
        side = pgwire.ClientSide(max_message=MAX_MESSAGE)
        side.state, side.protocol = State.READY, protocol
        side.receive(leftover)
        self.side = side
        self.talk = Conversation(sock, side)
        self.statements: dict[bytes, Statement] = {}
        self.portals: dict[bytes, Portal] = {}
        self.skipping = False
        self.in_block = False
        # what happens from outside
        self.busy = False
        self.canceled = False
        self.ended = ""
        self.hanging = False  # after SHUTDOWN nothing more is said
        self._task: asyncio.Task[None] | None = None

    @property
    def fd(self) -> int:
        return self.talk.sock.fileno()

    @property
    def prepared_statements(self) -> int:
        return sum(1 for name in self.statements if name)

    # --- life ---

    def start(self, closed: Callable[[Console, str], None]) -> None:
        """Serve in the background; *closed* is called with the reason when it is over."""
        self._task = asyncio.get_running_loop().create_task(self._live(closed))

    def cancel(self) -> None:
        """A cancel request: whatever is being waited for is given up."""
        self.canceled = self.busy

    def end(self, message: str) -> None:
        """Tell the client *message* as a FATAL error and close."""
        self.ended = message
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Return when it is over, after `end`."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _live(self, closed: Callable[[Console, str], None]) -> None:
        reason = "client unexpected eof"
        try:
            await self._serve()
            reason = "client close request"
        except asyncio.CancelledError:
            reason = self.ended or "server shutting down"
            if not self.hanging:
                self._last_words(reason, "57P01")
        except pgwire.PeerViolation as violation:
            reason = violation.message
            self._last_words(reason, violation.sqlstate)
        except (PeerClosed, OSError):
            pass
        except Exception as error:  # a mistake of ours costs this client its connection, and nobody else anything
            reason = f"internal error: {type(error).__name__}: {error}"
            self._last_words("internal error", "XX000")
        finally:
            self.talk.release()
            self.talk.close()
            closed(self, reason)

    def _last_words(self, message: str, sqlstate: str) -> None:
        self.talk.last_words(pgwire.ErrorResponse.make("FATAL", sqlstate, message).encode())

    async def _serve(self) -> None:
        while True:
            event = await self.talk.next_event()
            self.request_time = time.time()
            if isinstance(event, pgwire.Terminate):
                return
            self.busy, self.canceled = True, False
            try:
                await self._answer(event)
            finally:
                self.busy = False

    # --- messages ---

    async def _answer(self, event: object) -> None:
        if self.skipping and not isinstance(event, pgwire.Sync):
            return
        try:
            match event:
                case pgwire.Query():
                    await self._query(event)
                case pgwire.Sync():
                    self.skipping = False
                    if not self.in_block:
                        self.portals.clear()
                    self._ready()
                case pgwire.Parse():
                    self._parse(event)
                case pgwire.Bind():
                    self._bind(event)
                case pgwire.Describe():
                    self._describe(event)
                case pgwire.Execute():
                    await self._execute(event)
                case pgwire.Close():
                    (self.statements if event.kind == b"S" else self.portals).pop(event.name, None)
                    self._say(pgwire.CloseComplete())
                case pgwire.FunctionCall():
                    self._refuse(Refused("the console has no functions", "0A000"))
                    self._ready()
        except Refused as refusal:
            self._refuse(refusal)
            if isinstance(event, pgwire.Query):
                self._ready()
            else:
                self.skipping = True

    async def _query(self, query: pgwire.Query) -> None:
        statement = parse(_decoded(query.query))
        if not statement.verb:
            self._say(pgwire.EmptyQueryResponse())
        else:
            result = await self._run(statement)
            if result.table is not None:
                self._say(_row_description(result.table, ()))
                await self._rows(result.table, iter(result.table.rows), ())
            self._complete(result)
        self._ready()

    def _parse(self, message: pgwire.Parse) -> None:
        statement = parse(_decoded(message.query))
        if statement.verb:
            commands.columns_of(statement)  # an unknown command is refused here, as a server would
        if message.statement in self.statements and message.statement:
            raise Refused(f'prepared statement "{_decoded(message.statement)}" already exists', "42P05")
        if message.parameter_types:
            raise Refused("the console takes no parameters", "0A000")
        _bounded(self.statements)
        self.statements[message.statement] = statement
        self._say(pgwire.ParseComplete())

    def _bind(self, message: pgwire.Bind) -> None:
        statement = self._statement(message.statement)
        if message.parameters:
            raise Refused(
                f"bind message supplies {len(message.parameters)} parameters, but the console takes none", PROTOCOL_VIOLATION
            )
        columns = commands.columns_of(statement) or () if statement.verb else ()
        formats = message.result_formats
        if len(formats) > 1 and len(formats) != len(columns):
            count = f"{len(formats)} result formats but query has {len(columns)} columns"
            raise Refused(f"bind message has {count}", PROTOCOL_VIOLATION)
        if any(format not in (0, 1) for format in formats):
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
        self._say(pgwire.NoData() if columns is None else _row_description(Table(columns, ()), formats))

    async def _execute(self, message: pgwire.Execute) -> None:
        portal = self._portal(message.portal)
        if not portal.statement.verb:
            self._say(pgwire.EmptyQueryResponse())
            return
        if portal.result is None:
            portal.result = await self._run(portal.statement)
            table = portal.result.table
            portal.rows = iter(table.rows) if table is not None else None
        result = portal.result
        if result.table is not None and portal.rows is not None:
            most = message.max_rows if message.max_rows > 0 else None
            if await self._rows(result.table, portal.rows, portal.formats, most):
                self._say(pgwire.PortalSuspended())
                return
        self._complete(result)

    def _statement(self, name: bytes) -> Statement:
        statement = self.statements.get(name)
        if statement is None:
            which = f'prepared statement "{_decoded(name)}"' if name else "unnamed prepared statement"
            raise Refused(f"{which} does not exist", "26000")
        return statement

    def _portal(self, name: bytes) -> Portal:
        portal = self.portals.get(name)
        if portal is None:
            raise Refused(f'portal "{_decoded(name)}" does not exist', "34000")
        return portal

    # --- doing it ---

    async def _run(self, statement: Statement) -> Result:
        self.world.counters.query_count += 1
        self.world.counters.transaction_count += 1
        outcome = commands.run(self.world, statement, self.right)
        result = outcome if isinstance(outcome, Result) else await self._watched(outcome)
        if result.wait is not None:
            await self._wait(result.wait)
        if result.hangs:
            self.hanging = True
            await asyncio.Event().wait()  # until the process ends, and this task with it
        if statement.verb in ("begin", "start"):
            self.in_block = True
        elif statement.verb in ("commit", "end", "rollback", "abort"):
            self.in_block = False
        return result

    async def _wait(self, wait: Wait) -> None:
        while not wait.over():
            if self.canceled:
                wait.undo()
                raise Refused("canceling statement due to user request", "57014")
            if _hung_up(self.talk.sock):
                raise PeerClosed
            await asyncio.sleep(WAIT_STEP)

    async def _watched(self, outcome: Awaitable[Result]) -> Result:
        """What *outcome* becomes, unless the client cancels it or leaves."""
        task = asyncio.ensure_future(outcome)
        try:
            await self._wait(Wait(task.done))
            return task.result()
        finally:
            task.cancel()

    # --- saying it ---

    def _say(self, message: pgwire.Message) -> None:
        self.talk.add(self.side.send(message))

    def _ready(self) -> None:
        self._say(pgwire.ReadyForQuery("T" if self.in_block else "I"))

    def _complete(self, result: Result) -> None:
        for notice in result.notices:
            self._say(pgwire.NoticeResponse.make("NOTICE", "00000", notice.text, notice.detail))
        self._say(pgwire.CommandComplete(result.tag.encode()))

    def _refuse(self, refusal: Refused) -> None:
        self.world.log(f"console: {refusal.message}", self.who)
        self._say(
            pgwire.ErrorResponse.make("ERROR", refusal.sqlstate, refusal.message, refusal.detail, refusal.hint)
        )

    async def _rows(self, table: Table, rows: Iterator[Row], formats: tuple[int, ...], most: int | None = None) -> bool:
        """Send the rows, *most* of them; whether there may be more."""
        kinds = [column.kind for column in table.columns]
        each = _formats(formats, len(kinds))
        left = most
        while True:
            count = ROWS_AT_ONCE if left is None else min(ROWS_AT_ONCE, left)
            batch = list(islice(rows, count))
            for row in batch:
                values = tuple([kind.write(value, format) for kind, value, format in zip(kinds, row, each, strict=True)])
                self._say(pgwire.DataRow(values))
            if left is not None:
                left -= len(batch)
                if not left:
                    return True
            if len(batch) < count:
                return False
            await self.talk.flush()
            await asyncio.sleep(0)


def _row_description(table: Table, formats: tuple[int, ...]) -> pgwire.RowDescription:
    each = _formats(formats, len(table.columns))
    return pgwire.RowDescription(tuple([column.describe(format) for column, format in zip(table.columns, each, strict=True)]))


def _formats(formats: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The format of each column: none given is text, one given is for all."""
    if not formats:
        return (TEXT,) * count
    return formats * count if len(formats) == 1 else formats


def _bounded(entries: dict[bytes, Any]) -> None:
    if len(entries) >= MAX_STATEMENTS:
        raise Refused("too many prepared statements", "53400")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _hung_up(sock: socket.socket) -> bool:
    """Whether the peer has closed its end; what it sent before that may still be unread."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
