"""The pooler's own questions to a server, as bytes: a Query out, rows back.

Used on a connection that has just logged in, and by errands through the relay. Does not know what is asked.
"""

from __future__ import annotations

import socket

from pgpool_py.tls import stream
from pgwire import DataRow, ErrorResponse, ParameterStatus, PeerViolation, Query
from pgwire.codes import Backend
from pgwire.errors import malformed

Row = tuple[bytes | None, ...]
# What a server may say at any time.
_UNASKED = (Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE)


class QueryFailed(Exception):
    """The server answered with an error; `error` has its fields."""

    def __init__(self, error: ErrorResponse) -> None:
        super().__init__(error.message)
        self.error = error


class Rows:
    """Collects the rows of one Query from the server's bytes, as they come; `wrong` says what in them is no answer, `fatal` that
    the server has ended the session, whether it has answered or not."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.reported: dict[bytes, bytes] = {}
        self.error: ErrorResponse | None = None
        self.fatal: ErrorResponse | None = None
        self.wrong = ""
        self.done = False
        self._data = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes; `done` is set at ReadyForQuery."""
        self._data += data
        at = 0
        while len(self._data) - at >= 5:
            length = int.from_bytes(self._data[at + 1 : at + 5], "big", signed=True)
            if length < 4:
                self.wrong, self.done = f"a message of {length} bytes", True
                return
            end = at + 1 + length
            if end > len(self._data):
                break
            try:
                self._understand(self._data[at], bytes(self._data[at + 5 : end]))
            except PeerViolation as violation:
                self.wrong = violation.message
            at = end
        del self._data[:at]

    def _understand(self, kind: int, body: bytes) -> None:
        error = ErrorResponse.decode(body) if kind == Backend.ERROR_RESPONSE else None
        if error is not None and error.is_fatal:
            self.error = self.fatal = error
        elif self.done and kind not in _UNASKED:
            self.wrong = "an answer too many"
        elif kind == Backend.DATA_ROW:
            self.rows.append(DataRow.decode(body).values)
        elif kind == Backend.PARAMETER_STATUS:
            status = ParameterStatus.decode(body)
            self.reported[status.name] = status.value
        elif error is not None:
            self.error = self.error or error
        elif kind == Backend.READY_FOR_QUERY:
            self.done = True
            if body != b"I":
                self.wrong = "an answer that ends within a transaction"

    def result(self) -> list[Row]:
        """The rows, or QueryFailed."""
        if self.error is not None:
            raise QueryFailed(self.error)
        return self.rows


async def ask(sock: socket.socket, text: str, reported: dict[bytes, bytes] | None = None) -> list[Row]:
    """The rows of *text* on a connection that is idle and registered nowhere. PeerViolation where they are none, ConnectionError
    where the connection has ended.

    Settings that the server reports meanwhile are put into *reported*.
    """
    rows = Rows()
    try:
        await stream.send_all(sock, Query(text.encode()).encode())
        while not rows.done and rows.fatal is None:
            data = await stream.receive(sock, 65536)
            if not data:
                raise ConnectionResetError("server closed the connection")
            rows.receive(data)
    finally:
        stream.forget(sock)
        if reported is not None:
            reported.update(rows.reported)
    if rows.wrong:
        raise malformed(rows.wrong)
    if rows.fatal is not None:
        raise ConnectionResetError(rows.fatal.message)
    return rows.result()
