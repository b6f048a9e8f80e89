"""Answers `GET /metrics` on metrics_listen_addr: as little HTTP as a scrape needs, one request a connection.

Everything is read when somebody asks, nothing is counted for it. What is told is in observe/metrics.py.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pgpool_py.admin import show_own, show_pools, show_stats
from pgpool_py.admin.table import Columns, Row
from pgpool_py.app.ports import port_name
from pgpool_py.frontend.addresses import ListenError, open_tcp
from pgpool_py.observe.log import Log
from pgpool_py.observe.metrics import Line, Readings, exposition

if TYPE_CHECKING:
    from pgpool_py.app.desk import Desk

MAX_REQUEST = 8192  # bytes
TIME = 5.0  # seconds, to ask and to read the answer
AT_ONCE = 16  # connections; one more is closed at once

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"  # the format that every Prometheus reads


class Scraping:
    """The port, if the settings want one."""

    def __init__(self, desk: Desk, log: Log) -> None:
        self._desk = desk
        self._log = log
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = bool(desk.config.pgbouncer.metrics_listen_addr)
        self._told = False  # that the port is not to be had yet

    async def open(self) -> None:
        """Listen, if that is wanted and not done. ListenError where it can never be.

        Where another process has the port, such as the one that an online restart takes over from: call it again.
        """
        if not self._wanted or self._server is not None:
            return
        main = self._desk.config.pgbouncer
        try:
            (sock,) = open_tcp((main.metrics_listen_addr,), main.metrics_port)
        except ListenError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise ListenError(f"{error} (metrics_listen_addr)") from error.__cause__
            if not self._told:
                self._log.warning(f"{error} (metrics_listen_addr): no metrics until it is free")
            self._told = True
            return
        server = await asyncio.start_server(self._accept, sock=sock, limit=MAX_REQUEST)
        if not self._wanted:  # closed meanwhile
            server.close()
            return
        self._server = server
        self._log.log(f"metrics: listening on {port_name(sock)}")

    def close(self) -> None:
        """Listen no more, and leave whoever is here."""
        self._wanted = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= AT_ONCE:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIME):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    writer.write(_reply("431 Request Header Fields Too Large"))
                else:
                    writer.write(await self._answer(head))
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError):
            pass  # it left, or takes too long
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _reply("400 Bad Request")
        method, target, _ = words
        if target.partition(b"?")[0] != b"/metrics":
            return _reply("404 Not Found")
        if method != b"GET":
            return _reply("405 Method Not Allowed", "Allow: GET")
        try:
            parts = []
            for part in exposition(await self._read()):
                parts.append(part)
                await asyncio.sleep(0)  # clients come first, here and where tables are read
            return _reply("200 OK", type=METRICS, body=b"".join(parts))
        except Exception as error:  # somebody looking must not be what ends the pooler
            self._log.error(f"internal error in metrics: {error!r}")
            return _reply("500 Internal Server Error")

    async def _read(self) -> Readings:
        desk = self._desk
        return Readings(
            await _lines(show_pools.POOLS, show_pools.pools(desk)),
            await _lines(show_stats.STATS_TOTALS, show_stats.stats_totals(desk)),
            await _lines(show_pools.DATABASES, show_pools.databases(desk)),
            await _lines(show_pools.LISTS, show_pools.lists(desk)),
            await _lines(show_own.PINS, show_own.pins(desk)),
            desk.doubts(),
        )


async def _lines(columns: Columns, rows: Iterable[Row]) -> list[Line]:
    names = [column.name for column in columns]
    lines: list[Line] = [dict(zip(names, row, strict=True)) for row in rows]  # at one moment: a pool may go at the next
    await asyncio.sleep(0)
    return lines


def _reply(status: str, *headers: str, type: str = TEXT, body: bytes | None = None) -> bytes:
    if body is None:
        body = f"{status}\n".encode()
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {type}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join([*lines, "", ""]).encode() + body
