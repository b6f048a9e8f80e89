"""What a SHOW answers: columns with PgBouncer's names and types, rows of plain values, and how both look on the wire.

Values are str, int (bool counts as one), bytes or None. A driver may ask for a column in the binary format, as asyncpg
always does, so each type has both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pgwire

Value = str | int | bytes | None
Row = tuple[Value, ...]

TEXT, BINARY = 0, 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of PostgreSQL's, by its oid, with its two ways to be written."""

    oid: int
    size: int
    binary: Callable[[Value], bytes]

    def write(self, value: Value, format: int) -> bytes | None:
        """The bytes of *value*, None for NULL."""
        if value is None:
            return None
        return self.binary(value) if format == BINARY else _text(value)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind


Columns = tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows that may be made one at a time while they are sent."""

    columns: Columns
    rows: Iterable[Row]


def row_description(columns: Columns, formats: tuple[int, ...] = ()) -> pgwire.RowDescription:
    """What announces rows with these columns, in the formats that Bind asked for."""
    found = [
        pgwire.Column(column.name.encode(), column.kind.oid, column.kind.size, format=format)
        for column, format in zip(columns, _each(formats, len(columns)), strict=True)
    ]
    return pgwire.RowDescription(tuple(found))


def data_rows(columns: Columns, rows: Iterable[Row], formats: tuple[int, ...] = ()) -> Iterator[pgwire.DataRow]:
    """The rows as messages."""
    writers = [(column.kind, format) for column, format in zip(columns, _each(formats, len(columns)), strict=True)]
    for row in rows:
        yield pgwire.DataRow(tuple([kind.write(value, format) for value, (kind, format) in zip(row, writers, strict=True)]))


def _each(formats: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The format of each column: none given is text, one given is for all."""
    if not formats:
        return (TEXT,) * count
    return formats * count if len(formats) == 1 else formats


def _text(value: Value) -> bytes:
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    return (str(int(value)) if isinstance(value, int) else str(value)).encode("utf-8", "surrogateescape")


def _whole(size: int) -> Callable[[Value], bytes]:
    most: int = 2 ** (size * 8 - 1)

    def write(value: Value) -> bytes:
        assert isinstance(value, int)
        return max(-most, min(most - 1, value)).to_bytes(size, "big", signed=True)

    return write


def _numeric(value: Value) -> bytes:
    """A whole number as NUMERIC: groups of four digits, the weight of the first, sign, no fraction."""
    assert isinstance(value, int)
    digits: list[int] = []
    left = abs(value)
    while left:
        left, group = divmod(left, 10000)
        digits.append(group)
    weight = max(0, len(digits) - 1)
    head = (len(digits), weight, 0x4000 if value < 0 else 0, 0, *reversed(digits))
    return b"".join(number.to_bytes(2, "big") for number in head)


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


INT4 = Kind(23, 4, _whole(4))
INT8 = Kind(20, 8, _whole(8))
NUMERIC = Kind(1700, -1, _numeric)
BYTEA = Kind(17, -1, _bytes)
VARLENA_TEXT = Kind(25, -1, _text)
JSON = Kind(114, -1, _text)

_KINDS = {"": VARLENA_TEXT, "i": INT4, "q": INT8, "n": NUMERIC, "b": BYTEA}


def columns(description: str) -> Columns:
    """Columns from "name name:i name:q": text, int4 (i), int8 (q), numeric (n) or bytea (b)."""
    parts = (word.partition(":") for word in description.split())
    return tuple(Column(name, _KINDS[kind]) for name, _, kind in parts)


JSON_COLUMNS = (Column("json", JSON),)


def json_object(columns: Columns, row: Row) -> str:
    """One row as a JSON object."""
    found = {column.name: _plain(value) for column, value in zip(columns, row, strict=True)}
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace").decode()


def _plain(value: Value) -> str | int | None:
    if isinstance(value, bytes):
        return value.hex()
    return int(value) if isinstance(value, int) else value
