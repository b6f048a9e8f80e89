"""Reading and writing the fields of one message body.

Every length is checked against what is there before anything is taken; a body that ends early, or late, is a
PeerViolation in PostgreSQL's words. Knows the field types of the manual, and no message.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Self

from .codes import Backend, Frontend
from .errors import OwnViolation, malformed

_INT16 = struct.Struct("!h")
_UINT16 = struct.Struct("!H")
_INT32 = struct.Struct("!i")
_UINT32 = struct.Struct("!I")


class Message:
    """One message: a frozen dataclass that can write itself and be read back."""

    __slots__ = ()
    message_type: ClassVar[Frontend | Backend]

    def body(self) -> bytes:
        """What follows the length word."""
        return b""

    def encode(self) -> bytes:
        """The whole message as it goes over the wire."""
        return frame(self.message_type, self.body())

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The message whose body this is; a PeerViolation when it cannot be one."""
        Fields(body).end()
        return cls()


class Fields:
    """The fields of a body, taken from its front."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, length: int) -> bytes:
        """The next *length* bytes."""
        end = self._at + length
        if length < 0 or end > len(self._body):
            raise malformed("insufficient data left in message")
        value = self._body[self._at : end]
        self._at = end
        return value

    def byte(self) -> int:
        return self.take(1)[0]

    def int16(self) -> int:
        return int(_INT16.unpack(self.take(2))[0])

    def uint16(self) -> int:
        """A count: PostgreSQL reads those without sign, so that 65,535 parameters are possible."""
        return int(_UINT16.unpack(self.take(2))[0])

    def int32(self) -> int:
        return int(_INT32.unpack(self.take(4))[0])

    def uint32(self) -> int:
        """An object ID or a protocol version."""
        return int(_UINT32.unpack(self.take(4))[0])

    def string(self) -> bytes:
        """A string, without its terminator."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise malformed("invalid string in message")
        value = self._body[self._at : end]
        self._at = end + 1
        return value

    def value(self) -> bytes | None:
        """A length and as many bytes; the length -1 is NULL."""
        length = self.int32()
        return None if length == -1 else self.take(length)

    def values(self) -> tuple[bytes | None, ...]:
        return tuple([self.value() for _ in range(self.uint16())])

    def formats(self) -> tuple[int, ...]:
        return tuple([self.int16() for _ in range(self.uint16())])

    def oids(self) -> tuple[int, ...]:
        return tuple([self.uint32() for _ in range(self.uint16())])

    def rest(self) -> bytes:
        """Whatever is left."""
        return self.take(len(self._body) - self._at)

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._body):
            raise malformed("invalid message format")


def frame(code: int, body: bytes) -> bytes:
    """Type, length and body."""
    return bytes((code,)) + int32(len(body) + 4) + body


def int16(value: int) -> bytes:
    return _pack(_INT16, value)


def uint16(value: int) -> bytes:
    return _pack(_UINT16, value)


def int32(value: int) -> bytes:
    return _pack(_INT32, value)


def uint32(value: int) -> bytes:
    return _pack(_UINT32, value)


def string(value: bytes) -> bytes:
    """A string with its terminator, which must not be part of it."""
    if b"\0" in value:
        raise OwnViolation("a string of the protocol cannot contain a zero byte")
    return value + b"\0"


def value(data: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if data is None else int32(len(data)) + data


def values(items: Sequence[bytes | None]) -> bytes:
    return uint16(len(items)) + b"".join([value(item) for item in items])


def formats(items: Sequence[int]) -> bytes:
    return uint16(len(items)) + b"".join([int16(item) for item in items])


def oids(items: Sequence[int]) -> bytes:
    return uint16(len(items)) + b"".join([uint32(item) for item in items])


def _pack(form: struct.Struct, number: int) -> bytes:
    try:
        return form.pack(number)
    except struct.error:
        raise OwnViolation(f"{number} does not fit into a field of {form.size} bytes") from None
