"""The pooler's own business on a pool's server, waiting in line like a client.

An errand puts settings in force, asks one question, or both, and gives the server back. So what it does obeys every limit
of the pool, and needs no connection of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pgpool_py.backend.query import QueryFailed, Row, Rows
from pgpool_py.relay._io import piece
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.upkeep import DIFFERENCE, UPKEEP
from pgpool_py.session import flags
from pgpool_py.session.look import NO_RESET
from pgpool_py.session.settings import PASSING, SEED, TEMP_BUFFERS, Settings, difference
from pgwire import Bind, ErrorResponse, Execute, Parse, Sync
from pgwire.expected import Owed


class ErrandFailed(Exception):
    """No server could be had: the pool's message to those who wait, or the server's own."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Errand(Connection):
    """One errand; `outcome` is a future of (rows, reported settings while *settings* were in force; None: those that are).

    With *parameters* the text goes by the extended protocol, as one statement, and they are bound to it. *upkeep*: it leaves
    nothing behind, and its server counts as idle for as long as if it had been left alone (server_idle_timeout).
    """

    def __init__(
        self,
        relay: Any,
        pool: Any,
        context: Any,
        settings: Settings | None,
        text: bytes = b"",
        parameters: tuple[bytes, ...] | None = None,
        upkeep: bool = False,
    ) -> None:
        Connection.__init__(self, relay, -1)
        self.pool = pool
        self.context = context
        self.settings = settings
        self.text = text
        self.parameters = parameters
        self.upkeep = upkeep
        self.used_at = 0.0
        self.state: Any = None
        self.wait_start = 0.0
        self.last_server: Any = None
        self.server: Any = None
        self.rows = Rows()
        self.outcome: asyncio.Future[tuple[list[Row], dict[bytes, bytes]]] = asyncio.get_running_loop().create_future()

    def fits(self, server: Any) -> bool:
        """Whether the settings can be put in force on the server."""
        settings = self.settings
        return settings is None or TEMP_BUFFERS not in settings.values or bool(server.takes_buffers(settings))

    def linked(self, server: Any) -> None:
        """The pool has a server for us."""
        if not self.fits(server):
            server = self.relay.broker.exchange(self, server)
            if server is None:
                return
        self.server = server
        self.used_at = server.request_time
        server.client = self
        texts = self.put_in_force(server, self.settings) if self.settings is not None else []
        for text in texts:
            server.query(text, DIFFERENCE)
        if not texts:
            self.ask()

    def put_in_force(self, server: Any, settings: Settings) -> list[bytes]:
        """Count *settings* as in force on the server; the queries that have to be sent for that."""
        texts = difference(server.in_force, settings)
        server.in_force = settings
        if settings.custom:
            server.define(settings.custom)
        passing = PASSING & settings.values.keys()
        if passing:
            server.dirty |= flags.RESET
        if SEED in passing:
            server.condemn(NO_RESET, b"")
        if settings.hasty:
            server.dirty |= flags.HASTY
        return texts

    def ask(self) -> None:
        """Put the question, or be done if there is none."""
        server = self.server
        if not self.text:
            self.finish(None)
            return
        server.ready = False
        server.unnamed = None
        if self.parameters is None:
            server.expected.add(int(Owed.QUERY), UPKEEP if self.upkeep else None)
            server.send_data(b"Q" + (len(self.text) + 5).to_bytes(4, "big") + self.text + b"\0")
            return
        for owed in (Owed.PARSE, Owed.BIND, Owed.EXECUTE, Owed.SYNC):
            server.expected.add(int(owed), None)
        messages = (Parse(b"", self.text), Bind(b"", b"", (), self.parameters), Execute(), Sync())
        server.send_data(b"".join([message.encode() for message in messages]))

    def difference_known(self, failed: bool, error: bytes | None) -> None:
        if failed and not self.outcome.done():
            problem = ErrorResponse.decode(error) if error else ErrorResponse.make("ERROR", "08P01", "invalid server parameter")
            self.outcome.set_exception(QueryFailed(problem))

    def difference_done(self, failed: bool) -> None:
        if failed:
            self.server.difference_failed = False
            self.server.in_force = self.context.table.empty
            self.server.dirty |= flags.RESET
            self.give_back()
        else:
            self.ask()

    def send_range(self, start: int, stop: int) -> None:
        self.rows.receive(piece(start, stop))

    def send_data(self, data: bytes) -> None:
        self.rows.receive(data)

    def settled(self) -> None:
        if self.rows.wrong:
            self.server.doubt(self.rows.wrong)
        elif self.rows.done:
            self.finish(self.rows)

    def finish(self, rows: Rows | None) -> None:
        """Report, and give the server back."""
        if not self.outcome.done():
            try:
                self.outcome.set_result((rows.result() if rows else [], self.server.reported))
            except QueryFailed as failure:
                self.outcome.set_exception(failure)
        self.give_back()

    def abandon(self) -> None:
        """Nobody waits for the outcome any more: a query under way is cancelled."""
        if self.server is not None:
            self.give_back()

    def give_back(self) -> None:
        """Let go of the server."""
        server, self.server = self.server, None
        server.client = None
        server.let_go()
        if self.upkeep and server.state is self.relay.idle_state:
            server.request_time = self.used_at

    def fail_with(self, message: str, sqlstate: str = "08P01") -> None:
        """No server is to be had."""
        self.server = None
        if not self.outcome.done():
            self.outcome.set_exception(ErrandFailed(message, sqlstate))

    def misses_nothing(self) -> bool:
        return True

    def server_gone(self, told: bool) -> None:
        self.fail_with("server conn crashed?")

    def server_closing(self, reason: str) -> None:
        self.fail_with(reason)

    def refuse(self, code: str, message: str) -> None:
        """What a pool's FailClient asks for."""
        self.fail_with(message, code)
