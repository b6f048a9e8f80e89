"""What a client sends after its startup packet, one class a message, in the manual's words.

Names, query texts and values are bytes: their encoding is the client's affair. Whether a message may come
at this moment is state.py's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from . import wire
from .codes import Frontend
from .errors import OwnViolation, malformed
from .wire import Fields, Message


@dataclass(frozen=True, slots=True)
class Query(Message):
    """A simple query: one text, any number of statements."""

    message_type: ClassVar[Frontend] = Frontend.QUERY
    query: bytes

    def body(self) -> bytes:
        return wire.string(self.query)

    @classmethod
    def decode(cls, body: bytes) -> Query:
        fields = Fields(body)
        message = cls(fields.string())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class Parse(Message):
    message_type: ClassVar[Frontend] = Frontend.PARSE
    statement: bytes
    query: bytes
    parameter_types: tuple[int, ...] = ()

    def body(self) -> bytes:
        return wire.string(self.statement) + wire.string(self.query) + wire.oids(self.parameter_types)

    @classmethod
    def decode(cls, body: bytes) -> Parse:
        fields = Fields(body)
        message = cls(fields.string(), fields.string(), fields.oids())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class Bind(Message):
    message_type: ClassVar[Frontend] = Frontend.BIND
    portal: bytes
    statement: bytes
    parameter_formats: tuple[int, ...] = ()
    parameters: tuple[bytes | None, ...] = field(default=(), repr=False)
    result_formats: tuple[int, ...] = ()

    def body(self) -> bytes:
        return (
            wire.string(self.portal)
            + wire.string(self.statement)
            + wire.formats(self.parameter_formats)
            + wire.values(self.parameters)
            + wire.formats(self.result_formats)
        )

    @classmethod
    def decode(cls, body: bytes) -> Bind:
        fields = Fields(body)
        message = cls(fields.string(), fields.string(), fields.formats(), fields.values(), fields.formats())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class _Named(Message):
    # Describe and Close: of a statement ("S") or a portal ("P").
    kind: bytes
    name: bytes

    def body(self) -> bytes:
        if self.kind not in (b"S", b"P"):
            raise OwnViolation(f"{type(self).__name__} is of a statement or a portal, not of {self.kind!r}")
        return self.kind + wire.string(self.name)

    @classmethod
    def _read(cls, body: bytes, what: str) -> tuple[bytes, bytes]:
        fields = Fields(body)
        kind, name = fields.take(1), fields.string()
        fields.end()
        if kind not in (b"S", b"P"):
            raise malformed(f"invalid {what} message subtype {kind[0]}")
        return kind, name


@dataclass(frozen=True, slots=True)
class Describe(_Named):
    message_type: ClassVar[Frontend] = Frontend.DESCRIBE

    @classmethod
    def decode(cls, body: bytes) -> Describe:
        return cls(*cls._read(body, "DESCRIBE"))


@dataclass(frozen=True, slots=True)
class Close(_Named):
    message_type: ClassVar[Frontend] = Frontend.CLOSE

    @classmethod
    def decode(cls, body: bytes) -> Close:
        return cls(*cls._read(body, "CLOSE"))


@dataclass(frozen=True, slots=True)
class Execute(Message):
    """Run a portal; *max_rows* of 0 is all of them."""

    message_type: ClassVar[Frontend] = Frontend.EXECUTE
    portal: bytes = b""
    max_rows: int = 0

    def body(self) -> bytes:
        return wire.string(self.portal) + wire.int32(self.max_rows)

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        fields = Fields(body)
        message = cls(fields.string(), fields.int32())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class Sync(Message):
    message_type: ClassVar[Frontend] = Frontend.SYNC


@dataclass(frozen=True, slots=True)
class Flush(Message):
    message_type: ClassVar[Frontend] = Frontend.FLUSH


@dataclass(frozen=True, slots=True)
class Terminate(Message):
    message_type: ClassVar[Frontend] = Frontend.TERMINATE


@dataclass(frozen=True, slots=True)
class FunctionCall(Message):
    message_type: ClassVar[Frontend] = Frontend.FUNCTION_CALL
    function: int
    argument_formats: tuple[int, ...] = ()
    arguments: tuple[bytes | None, ...] = field(default=(), repr=False)
    result_format: int = 0

    def body(self) -> bytes:
        return (
            wire.uint32(self.function)
            + wire.formats(self.argument_formats)
            + wire.values(self.arguments)
            + wire.int16(self.result_format)
        )

    @classmethod
    def decode(cls, body: bytes) -> FunctionCall:
        fields = Fields(body)
        message = cls(fields.uint32(), fields.formats(), fields.values(), fields.int16())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class CopyFail(Message):
    message_type: ClassVar[Frontend] = Frontend.COPY_FAIL
    reason: bytes = b""

    def body(self) -> bytes:
        return wire.string(self.reason)

    @classmethod
    def decode(cls, body: bytes) -> CopyFail:
        fields = Fields(body)
        message = cls(fields.string())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class PasswordMessage(Message):
    """A password in clear text, or the md5 response."""

    message_type: ClassVar[Frontend] = Frontend.PASSWORD
    password: bytes = field(repr=False)

    def body(self) -> bytes:
        return wire.string(self.password)

    @classmethod
    def decode(cls, body: bytes) -> PasswordMessage:
        if body.find(b"\0") != len(body) - 1 or not body:
            raise malformed("invalid password packet size")
        return cls(body[:-1])


@dataclass(frozen=True, slots=True)
class SASLInitialResponse(Message):
    """The mechanism the client chose, and its first data if it has any."""

    message_type: ClassVar[Frontend] = Frontend.PASSWORD
    mechanism: bytes
    data: bytes | None = field(default=None, repr=False)

    def body(self) -> bytes:
        return wire.string(self.mechanism) + wire.value(self.data)

    @classmethod
    def decode(cls, body: bytes) -> SASLInitialResponse:
        fields = Fields(body)
        message = cls(fields.string(), fields.value())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class SASLResponse(Message):
    message_type: ClassVar[Frontend] = Frontend.PASSWORD
    data: bytes = field(repr=False)

    def body(self) -> bytes:
        return self.data

    @classmethod
    def decode(cls, body: bytes) -> SASLResponse:
        return cls(body)


@dataclass(frozen=True, slots=True)
class GSSResponse(Message):
    """GSSAPI or SSPI data."""

    message_type: ClassVar[Frontend] = Frontend.PASSWORD
    data: bytes = field(repr=False)

    def body(self) -> bytes:
        return self.data

    @classmethod
    def decode(cls, body: bytes) -> GSSResponse:
        return cls(body)
