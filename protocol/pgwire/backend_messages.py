"""What a server sends, one class a message, in the manual's words; Authentication is in auth_messages.py.

Names and values are bytes: their encoding is the session's affair. Whether a message may come at this
moment is state.py's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from . import wire
from .codes import MAX_CANCEL_KEY, MIN_CANCEL_KEY, Backend
from .errors import OwnViolation, malformed
from .wire import Fields, Message


@dataclass(frozen=True, slots=True)
class BackendKeyData(Message):
    """The key for CancelRequest. Some servers send an empty one; we never do."""

    message_type: ClassVar[Backend] = Backend.BACKEND_KEY_DATA
    pid: int
    secret: bytes = field(repr=False)

    def body(self) -> bytes:
        if not MIN_CANCEL_KEY <= len(self.secret) <= MAX_CANCEL_KEY:
            raise OwnViolation(f"a cancel key has 4 to 256 bytes, not {len(self.secret)}")
        return wire.int32(self.pid) + self.secret

    @classmethod
    def decode(cls, body: bytes) -> BackendKeyData:
        fields = Fields(body)
        pid, secret = fields.int32(), fields.rest()
        if secret and not MIN_CANCEL_KEY <= len(secret) <= MAX_CANCEL_KEY:
            raise malformed("invalid length of cancel key")
        return cls(pid, secret)


@dataclass(frozen=True, slots=True)
class NegotiateProtocolVersion(Message):
    """The newest version of its major one the server speaks, and the options it does not know."""

    message_type: ClassVar[Backend] = Backend.NEGOTIATE_PROTOCOL_VERSION
    version: int
    unknown_options: tuple[bytes, ...] = ()

    def body(self) -> bytes:
        names = b"".join([wire.string(name) for name in self.unknown_options])
        return wire.uint32(self.version) + wire.int32(len(self.unknown_options)) + names

    @classmethod
    def decode(cls, body: bytes) -> NegotiateProtocolVersion:
        fields = Fields(body)
        version, count = fields.uint32(), fields.int32()
        if not 0 <= count <= fields.left:  # each name takes a byte at least
            raise malformed("insufficient data left in message")
        message = cls(version, tuple([fields.string() for _ in range(count)]))
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class ParameterStatus(Message):
    message_type: ClassVar[Backend] = Backend.PARAMETER_STATUS
    name: bytes
    value: bytes

    def body(self) -> bytes:
        return wire.string(self.name) + wire.string(self.value)

    @classmethod
    def decode(cls, body: bytes) -> ParameterStatus:
        fields = Fields(body)
        message = cls(fields.string(), fields.string())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class ReadyForQuery(Message):
    """The backend waits; *status* is "I" (idle), "T" (in a transaction block) or "E" (in a failed one)."""

    message_type: ClassVar[Backend] = Backend.READY_FOR_QUERY
    status: str = "I"

    def body(self) -> bytes:
        if self.status not in ("I", "T", "E"):
            raise OwnViolation(f"{self.status!r} is no transaction status")
        return self.status.encode()

    @classmethod
    def decode(cls, body: bytes) -> ReadyForQuery:
        if body not in (b"I", b"T", b"E"):
            raise malformed("invalid message format")
        return cls(body.decode())


@dataclass(frozen=True, slots=True)
class NotificationResponse(Message):
    message_type: ClassVar[Backend] = Backend.NOTIFICATION_RESPONSE
    pid: int
    channel: bytes
    payload: bytes = b""

    def body(self) -> bytes:
        return wire.int32(self.pid) + wire.string(self.channel) + wire.string(self.payload)

    @classmethod
    def decode(cls, body: bytes) -> NotificationResponse:
        fields = Fields(body)
        message = cls(fields.int32(), fields.string(), fields.string())
        fields.end()
        return message


@dataclass(frozen=True, slots=True)
class ErrorFields(Message):
    """The base of ErrorResponse and NoticeResponse: fields by type letter, any of which may be missing."""

    fields: Mapping[str, bytes]

    @classmethod
    def make(
        cls, severity: str, code: str, message: str, detail: str = "", hint: str = "", routine: str = ""
    ) -> Self:
        """A message of our own, in UTF-8."""
        texts = {"S": severity, "V": severity, "C": code, "M": message, "D": detail, "H": hint, "R": routine}
        return cls({kind: text.encode("utf-8", "surrogateescape") for kind, text in texts.items() if text})

    @property
    def severity(self) -> str:
        """ERROR, FATAL, NOTICE ...: never the translated form, unless the server is older than 9.6."""
        return self.text("V") or self.text("S")

    @property
    def is_fatal(self) -> bool:
        """Whether it ends the session."""
        return self.severity in ("FATAL", "PANIC")

    @property
    def code(self) -> str:
        """The SQLSTATE."""
        return self.text("C")

    @property
    def message(self) -> str:
        return self.text("M")

    @property
    def detail(self) -> str:
        return self.text("D")

    @property
    def hint(self) -> str:
        return self.text("H")

    def text(self, kind: str) -> str:
        """The field of type *kind* for people to read; empty when it is missing."""
        return self.fields.get(kind, b"").decode("utf-8", "replace")

    def body(self) -> bytes:
        parts = []
        for kind, data in self.fields.items():
            letter = kind.encode("latin-1", "replace")
            if len(letter) != 1 or letter == b"\0":
                raise OwnViolation(f"{kind!r} is no field type")
            parts.append(letter + wire.string(data))
        return b"".join(parts) + b"\0"

    @classmethod
    def decode(cls, body: bytes) -> Self:
        reader = Fields(body)
        found: dict[str, bytes] = {}
        while kind := reader.byte():
            found[chr(kind)] = reader.string()
        reader.end()
        return cls(found)


@dataclass(frozen=True, slots=True)
class ErrorResponse(ErrorFields):
    message_type: ClassVar[Backend] = Backend.ERROR_RESPONSE


@dataclass(frozen=True, slots=True)
class NoticeResponse(ErrorFields):
    message_type: ClassVar[Backend] = Backend.NOTICE_RESPONSE
