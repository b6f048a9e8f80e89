"""One client of the console, from its login to its end: what it says is carried out and answered.

An ordinary coroutine on a non-blocking socket; the protocol is pgwire's, its extended half in extended.py. An answer of many rows
leaves in pieces, so the loop is never held up.

There are no transactions here. BEGIN and COMMIT are taken with a notice, and ReadyForQuery says "T" in between, because drivers
keep books on it; nothing is ever undone.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

import pgwire
from pgpool_py.admin import commands
from pgpool_py.admin.commands import Result, Right
from pgpool_py.admin.errors import Refused
from pgpool_py.admin.extended import Extended, decoded
from pgpool_py.admin.grammar import Statement, parse
from pgpool_py.admin.table import JSON_COLUMNS, Columns, Row, Table, data_rows, json_object, row_description
from pgpool_py.admin.world import Wait, World
from pgpool_py.conversation import Conversation, PeerClosed
from pgwire import State

MAX_MESSAGE = 65536  # more than any command has
ROWS_AT_ONCE = 200  # then the loop gets its turn
WAIT_STEP = 0.03  # seconds between two looks at an order that takes time


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
        self.in_block = False
        self.extended = Extended(self)
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
        return sum(1 for name in self.extended.statements if name)

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
        extended = self.extended
        if extended.skipping and not isinstance(event, pgwire.Sync):
            return
        try:
            match event:
                case pgwire.Query():
                    await self._query(event)
                case pgwire.FunctionCall():
                    raise Refused("the console has no functions", "0A000")
                case _:
                    await extended.answer(event)
        except Refused as refusal:
            self._refuse(refusal)
            if isinstance(event, pgwire.Query | pgwire.FunctionCall):
                self.ready()
            else:
                extended.skipping = True

    async def _query(self, query: pgwire.Query) -> None:
        statement = parse(decoded(query.query))
        if not statement.verb:
            self.say(pgwire.EmptyQueryResponse())
        else:
            result = await self.run(statement)
            table = await self.table_of(result)
            if table is not None:
                self.say(row_description(table.columns))
                await self.rows(table.columns, iter(table.rows))
            self.complete(result)
        self.ready()

    # --- doing it ---

    async def run(self, statement: Statement) -> Result:
        """Do what the statement says, and wait until it is done."""
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

    def say(self, message: pgwire.Message) -> None:
        """Send *message* with what comes next."""
        self.talk.add(self.side.send(message))

    def ready(self) -> None:
        """Say that the next request may come."""
        self.say(pgwire.ReadyForQuery("T" if self.in_block else "I"))

    def complete(self, result: Result) -> None:
        """Say that a command was carried out, and what else there is to say of it."""
        for notice in result.notices:
            self.say(pgwire.NoticeResponse.make("NOTICE", "00000", notice.text, notice.detail))
        self.say(pgwire.CommandComplete(result.tag.encode()))

    def _refuse(self, refusal: Refused) -> None:
        self.world.refused(refusal.message, self.who)
        self.say(pgwire.ErrorResponse.make("ERROR", refusal.sqlstate, refusal.message, refusal.detail, refusal.hint))

    async def rows(self, columns: Columns, rows: Iterator[Row], formats: tuple[int, ...] = (), most: int | None = None) -> bool:
        """Send the rows, at most *most* of them; whether there may be more."""
        left = most
        while True:
            count = ROWS_AT_ONCE if left is None else min(ROWS_AT_ONCE, left)
            sent = 0
            for message in data_rows(columns, islice(rows, count), formats):
                self.say(message)
                sent += 1
            if left is not None:
                left -= sent
                if not left:
                    return True
            if sent < count:
                return False
            await self.talk.flush()
            await asyncio.sleep(0)

    async def table_of(self, result: Result) -> Table | None:
        """The table of a result, or that table as JSON; a long one is made in pieces, too."""
        table = result.table
        if table is None or not result.as_json:
            return table
        objects: list[str] = []
        rows = iter(table.rows)
        while batch := [json_object(table.columns, row) for row in islice(rows, ROWS_AT_ONCE)]:
            objects += batch
            await asyncio.sleep(0)
        return Table(JSON_COLUMNS, [(f"[{', '.join(objects)}]",)])


def _hung_up(sock: socket.socket) -> bool:
    """Whether the peer has closed its end; what it sent before that may still be unread."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
