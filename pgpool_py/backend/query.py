"""The pooler's own questions to a server, as bytes: a Query out, rows back.

Used on a connection that has just logged in, and by errands through the relay. Does not know what is asked.
"""

from __future__ import annotations

import socket

from pgpool_py.tls import stream
from pgwire import ErrorResponse, Query
from pgwire.codes import Backend

Row = tuple[bytes | None, ...]


class QueryFailed(Exception):
    """The server answered with an error; `error` has its fields."""

    def __init__(self, error: ErrorResponse) -> None:
        super().__init__(error.message)
        self.error = error


class Rows:
    """Collects the rows of one Query from the server's bytes, as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.error: ErrorResponse | None = None
        self.done = False
        self._data = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes; `done` is set at ReadyForQuery."""
        self._data += data
        at = 0
        while len(self._data) - at >= 5:
            end = at + 1 + int.from_bytes(self._data[at + 1 : at + 5], "big")
            if end > len(self._data):
                break
            kind = self._data[at]
            if kind == Backend.DATA_ROW:
                self.rows.append(_columns(bytes(self._data[at + 5 : end])))
            elif kind == Backend.ERROR_RESPONSE:
                self.error = self.error or ErrorResponse.decode(bytes(self._data[at + 5 : end]))
            elif kind == Backend.READY_FOR_QUERY:
                self.done = True
            at = end
        del self._data[:at]

    def result(self) -> list[Row]:
        """The rows, or QueryFailed."""
        if self.error is not None:
            raise QueryFailed(self.error)
        return self.rows


def _columns(body: bytes) -> Row:
    columns: list[bytes | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        columns.append(None if size < 0 else body[at : at + size])
        at += max(size, 0)
    return tuple(columns)


async def ask(sock: socket.socket, text: str) -> list[Row]:
    """The rows of *text* on a connection that is idle and registered nowhere."""
    rows = Rows()
    try:
        await stream.send_all(sock, Query(text.encode()).encode())
        while not rows.done:
            data = await stream.receive(sock, 65536)
            if not data:
                raise ConnectionResetError("server closed the connection")
            rows.receive(data)
    finally:
        stream.forget(sock)
    return rows.result()
