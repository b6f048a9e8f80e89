"""The Authentication messages: one message type, told apart by the number inside.

Only their shape is known here; scram.py and md5.py know what the data means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from . import wire
from .codes import Auth, Backend
from .errors import OwnViolation, malformed
from .wire import Fields, Message


@dataclass(frozen=True, slots=True)
class Authentication(Message):
    """The base of all; its subclasses add what follows the number."""

    message_type: ClassVar[Backend] = Backend.AUTHENTICATION
    auth: ClassVar[Auth]

    def body(self) -> bytes:
        return wire.int32(self.auth) + self.data_field()

    def data_field(self) -> bytes:
        """What follows the number."""
        return b""

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = Fields(body)
        if fields.int32() != cls.auth:
            raise malformed(f"not the body of {cls.__name__}")
        message = cls.read(fields)
        fields.end()
        return message

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls()


@dataclass(frozen=True, slots=True)
class AuthenticationOk(Authentication):
    auth: ClassVar[Auth] = Auth.OK


@dataclass(frozen=True, slots=True)
class AuthenticationKerberosV5(Authentication):
    auth: ClassVar[Auth] = Auth.KERBEROS_V5


@dataclass(frozen=True, slots=True)
class AuthenticationCleartextPassword(Authentication):
    auth: ClassVar[Auth] = Auth.CLEARTEXT_PASSWORD


@dataclass(frozen=True, slots=True)
class AuthenticationMD5Password(Authentication):
    auth: ClassVar[Auth] = Auth.MD5_PASSWORD
    salt: bytes

    def data_field(self) -> bytes:
        if len(self.salt) != 4:
            raise OwnViolation("the salt of an md5 request has 4 bytes")
        return self.salt

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(fields.take(4))


@dataclass(frozen=True, slots=True)
class AuthenticationGSS(Authentication):
    auth: ClassVar[Auth] = Auth.GSS


@dataclass(frozen=True, slots=True)
class AuthenticationSSPI(Authentication):
    auth: ClassVar[Auth] = Auth.SSPI


@dataclass(frozen=True, slots=True)
class AuthenticationSASL(Authentication):
    """The mechanisms on offer, the preferred one first."""

    auth: ClassVar[Auth] = Auth.SASL
    mechanisms: tuple[bytes, ...]

    def data_field(self) -> bytes:
        if b"" in self.mechanisms:
            raise OwnViolation("a SASL mechanism needs a name")
        return b"".join([wire.string(name) for name in self.mechanisms]) + b"\0"

    @classmethod
    def read(cls, fields: Fields) -> Self:
        names = []
        while name := fields.string():
            names.append(name)
        return cls(tuple(names))


@dataclass(frozen=True, slots=True)
class _WithData(Authentication):
    data: bytes = field(repr=False)

    def data_field(self) -> bytes:
        return self.data

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(fields.rest())


@dataclass(frozen=True, slots=True)
class AuthenticationGSSContinue(_WithData):
    auth: ClassVar[Auth] = Auth.GSS_CONTINUE


@dataclass(frozen=True, slots=True)
class AuthenticationSASLContinue(_WithData):
    auth: ClassVar[Auth] = Auth.SASL_CONTINUE


@dataclass(frozen=True, slots=True)
class AuthenticationSASLFinal(_WithData):
    auth: ClassVar[Auth] = Auth.SASL_FINAL


AUTHENTICATIONS: dict[int, type[Authentication]] = {
    kind.auth: kind
    for kind in (
        AuthenticationOk,
        AuthenticationKerberosV5,
        AuthenticationCleartextPassword,
        AuthenticationMD5Password,
        AuthenticationGSS,
        AuthenticationGSSContinue,
        AuthenticationSSPI,
        AuthenticationSASL,
        AuthenticationSASLContinue,
        AuthenticationSASLFinal,
    )
}


def decode_authentication(body: bytes) -> Authentication:
    """The Authentication message with this body."""
    number = Fields(body).int32()
    kind = AUTHENTICATIONS.get(number)
    if kind is None:
        raise malformed(f"authentication method {number} not supported")
    return kind.decode(body)
