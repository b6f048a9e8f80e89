"""What a server answers to a query, and COPY in both directions, one class a message, in the manual's words.

Values are bytes, never converted: a type's representation is not this package's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from . import wire
from .codes import Backend, Frontend
from .errors import OwnViolation, malformed
from .wire import Fields, Message


@dataclass(frozen=True, slots=True)
class ParseComplete(Message):
    message_type: ClassVar[Backend] = Backend.PARSE_COMPLETE


@dataclass(frozen=True, slots=True)
class BindComplete(Message):
    message_type: ClassVar[Backend] = Backend.BIND_COMPLETE


@dataclass(frozen=True, slots=True)
class CloseComplete(Message):
    message_type: ClassVar[Backend] = Backend.CLOSE_COMPLETE


@dataclass(frozen=True, slots=True)
class NoData(Message):
    message_type: ClassVar[Backend] = Backend.NO_DATA


@dataclass(frozen=True, slots=True)
class EmptyQueryResponse(Message):
    message_type: ClassVar[Backend] = Backend.EMPTY_QUERY_RESPONSE


@dataclass(frozen=True, slots=True)
class PortalSuspended(Message):
    message_type: ClassVar[Backend] = Backend.PORTAL_SUSPENDED


@dataclass(frozen=True, slots=True)
class CommandComplete(Message):
    message_type: ClassVar[Backend] = Backend.COMMAND_COMPLETE
    tag: bytes

    def body(self) -> bytes:
        return wire.string(self.tag)

    @classmethod
    def decode(cls, body: bytes) -> CommandComplete:
        fields = Fields(body)
        message = cls(fields.string())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class ParameterDescription(Message):
    message_type: ClassVar[Backend] = Backend.PARAMETER_DESCRIPTION
    types: tuple[int, ...] = ()

    def body(self) -> bytes:
        return wire.oids(self.types)

    @classmethod
    def decode(cls, body: bytes) -> ParameterDescription:
        fields = Fields(body)
        message = cls(fields.oids())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a RowDescription; table and number are 0 where it is no column of a table."""

    name: bytes
    type: int = 25  # text
    size: int = -1
    modifier: int = -1
    format: int = 0
    table: int = 0
    number: int = 0

    def encode(self) -> bytes:
        return (
            wire.string(self.name)
            + wire.uint32(self.table)
            + wire.int16(self.number)
            + wire.uint32(self.type)
            + wire.int16(self.size)
            + wire.int32(self.modifier)
            + wire.int16(self.format)
        )

    @classmethod
    def read(cls, fields: Fields) -> Column:
        name, table, number, oid = fields.string(), fields.uint32(), fields.int16(), fields.uint32()
        return cls(name, oid, fields.int16(), fields.int32(), fields.int16(), table, number)


@dataclass(frozen=True, slots=True)
class RowDescription(Message):
    message_type: ClassVar[Backend] = Backend.ROW_DESCRIPTION
    columns: tuple[Column, ...] = ()

    def body(self) -> bytes:
        return wire.uint16(len(self.columns)) + b"".join([column.encode() for column in self.columns])

    @classmethod
    def decode(cls, body: bytes) -> RowDescription:
        fields = Fields(body)
        message = cls(tuple([Column.read(fields) for _ in range(fields.uint16())]))
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class DataRow(Message):
    message_type: ClassVar[Backend] = Backend.DATA_ROW
    values: tuple[bytes | None, ...] = field(default=(), repr=False)

    def body(self) -> bytes:
        return wire.values(self.values)

    @classmethod
    def decode(cls, body: bytes) -> DataRow:
        fields = Fields(body)
        message = cls(fields.values())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class FunctionCallResponse(Message):
    message_type: ClassVar[Backend] = Backend.FUNCTION_CALL_RESPONSE
    value: bytes | None = field(default=None, repr=False)

    def body(self) -> bytes:
        return wire.value(self.value)

    @classmethod
    def decode(cls, body: bytes) -> FunctionCallResponse:
        fields = Fields(body)
        message = cls(fields.value())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class CopyResponse(Message):
    """The base of the three that begin a COPY: its format (0 text, 1 binary), then each column's."""

    format: int = 0
    column_formats: tuple[int, ...] = ()

    def body(self) -> bytes:
        if self.format not in (0, 1):
            raise OwnViolation(f"{self.format} is no copy format")
        return bytes((self.format,)) + wire.formats(self.column_formats)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = Fields(body)
        message = cls(fields.byte(), fields.formats())
        fields.end()
        if message.format not in (0, 1):
            raise malformed("invalid message format")
        return message


@dataclass(frozen=True, slots=True)
class CopyInResponse(CopyResponse):
    message_type: ClassVar[Backend] = Backend.COPY_IN_RESPONSE


@dataclass(frozen=True, slots=True)
class CopyOutResponse(CopyResponse):
    message_type: ClassVar[Backend] = Backend.COPY_OUT_RESPONSE


@dataclass(frozen=True, slots=True)
class CopyBothResponse(CopyResponse):
    """Streaming replication only."""

    message_type: ClassVar[Backend] = Backend.COPY_BOTH_RESPONSE


@dataclass(frozen=True, slots=True)
class CopyData(Message):
    """Either direction; the letter is the same, and so is CopyDone's."""

    message_type: ClassVar[Frontend | Backend] = Backend.COPY_DATA
    data: bytes = field(repr=False)

    def body(self) -> bytes:
        return self.data

    @classmethod
    def decode(cls, body: bytes) -> CopyData:
        return cls(body)


@dataclass(frozen=True, slots=True)
class CopyDone(Message):
    message_type: ClassVar[Frontend | Backend] = Backend.COPY_DONE
