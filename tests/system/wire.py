"""Protocol 3.0 messages as bytes, and bytes as messages, for the stories in this directory.

Written apart from `pgwire` on purpose: these tests judge what the pooler does with the wire, so they must not
share a misunderstanding with it. Builders take already encoded pieces where a story needs to be malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PROTOCOL_3_0 = 196608
SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
INT4, INT8, TEXT = 23, 20, 25


def raw(kind: bytes, body: bytes = b"") -> bytes:
    """One message: its letter, its length, its body."""
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value: str | bytes) -> bytes:
    """A string as the protocol writes it: zero terminated."""
    return (value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value) + b"\0"


def startup(parameters: dict[str, str], protocol: int = PROTOCOL_3_0) -> bytes:
    body = struct.pack("!I", protocol)
    body += b"".join(text(key) + text(value) for key, value in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(pid: int, secret: bytes) -> bytes:
    return struct.pack("!III", 12 + len(secret), 80877102, pid) + secret


def query(sql: str | bytes) -> bytes:
    return raw(b"Q", text(sql))


def parse(name: str, sql: str | bytes, types: Sequence[int] = ()) -> bytes:
    return raw(b"P", text(name) + text(sql) + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(portal: str, statement: str, values: Sequence[bytes | None] = ()) -> bytes:
    """Bind with all parameters and results in text format."""
    body = text(portal) + text(statement) + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!I", len(value)) + value
    return raw(b"B", body + struct.pack("!H", 0))


def describe_statement(name: str) -> bytes:
    return raw(b"D", b"S" + text(name))


def describe_portal(name: str) -> bytes:
    return raw(b"D", b"P" + text(name))


def close_statement(name: str) -> bytes:
    return raw(b"C", b"S" + text(name))


def close_portal(name: str) -> bytes:
    return raw(b"C", b"P" + text(name))


def execute(portal: str = "", rows: int = 0) -> bytes:
    return raw(b"E", text(portal) + struct.pack("!I", rows))


def sync() -> bytes:
    return raw(b"S")


def flush() -> bytes:
    return raw(b"H")


def terminate() -> bytes:
    return raw(b"X")


def copy_data(data: bytes) -> bytes:
    return raw(b"d", data)


def copy_done() -> bytes:
    return raw(b"c")


def copy_fail(reason: str) -> bytes:
    return raw(b"f", text(reason))


def function_call(oid: int, arguments: Sequence[bytes]) -> bytes:
    """FunctionCall with text arguments and a text result."""
    body = struct.pack("!IHH", oid, 0, len(arguments))
    body += b"".join(struct.pack("!I", len(value)) + value for value in arguments)
    return raw(b"F", body + struct.pack("!H", 0))


def run(statement_sql: str, values: Sequence[bytes | None] = (), name: str = "") -> bytes:
    """Parse, Bind, Describe, Execute, Sync: what most drivers send for one statement."""
    return parse(name, statement_sql) + bind("", name, values) + describe_portal("") + execute() + sync()


def run_parsed(name: str, *values: bytes | None) -> bytes:
    """Bind, Execute, Sync of a statement that was parsed before."""
    return bind("", name, values) + execute() + sync()


class Message(NamedTuple):
    """A message from the server's side."""

    kind: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse by their letter."""
        parts = self.body.split(b"\0")
        return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}

    @property
    def sqlstate(self) -> str:
        return self.fields.get("C", "")

    @property
    def columns(self) -> list[bytes | None]:
        """The values of a DataRow."""
        (count,), offset = struct.unpack_from("!H", self.body), 2
        values: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.body, offset)
            offset += 4
            values.append(None if size < 0 else self.body[offset : offset + size])
            offset += max(size, 0)
        return values

    @property
    def tag(self) -> str:
        """The tag of a CommandComplete."""
        return self.body.rstrip(b"\0").decode()

    def __repr__(self) -> str:
        if self.kind in "EN" and self.body:
            return f"{self.kind}({self.fields.get('S')} {self.sqlstate} {self.fields.get('M')})"
        shown = self.body if len(self.body) <= 60 else self.body[:60] + b"..."
        return f"{self.kind}({shown!r})"


def split(buffer: bytearray) -> Iterable[Message]:
    """Take the whole messages off the front of *buffer*."""
    while len(buffer) >= 5:
        (size,) = struct.unpack_from("!I", buffer, 1)
        if len(buffer) < size + 1:
            return
        message = Message(chr(buffer[0]), bytes(buffer[5 : size + 1]))
        del buffer[: size + 1]  # before the yield: a caller may take one message and go
        yield message


def kinds(messages: Iterable[Message]) -> str:
    """The letters of *messages* as one word: the shape of a reply."""
    return "".join(message.kind for message in messages)


def values(messages: Iterable[Message]) -> list[bytes | None]:
    """The first column of every DataRow."""
    return [message.columns[0] for message in messages if message.kind == "D"]


def rows(messages: Iterable[Message]) -> list[list[bytes | None]]:
    """All columns of every DataRow."""
    return [list(message.columns) for message in messages if message.kind == "D"]


def errors(messages: Iterable[Message]) -> list[str]:
    """The SQLSTATEs of the ErrorResponses."""
    return [message.sqlstate for message in messages if message.kind == "E"]
