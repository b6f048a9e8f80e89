"""The kinds of value a setting can have, each with its parser and the words for what it expects.

Text comes from the ini file, other objects from Python code (tests, `dev`); both end in the same type.
PgBouncer reads integers of [pgbouncer] as C's strtol does with base 0 (decimal, 0x hexadecimal, 0 octal)
and those of the other sections as decimal. Where it wraps, cuts or guesses (`pool_size=ten` is 0 there),
this refuses.
"""

from __future__ import annotations

import ipaddress
import math
import re
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator

from pgpool_py.auth.secret import Secret

INT_MAX = 2**31 - 1

_C_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[+-]?[0-9]+")
_C_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class PoolMode(StrEnum):
    """When a server goes back to its pool."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


class SessionState(StrEnum):
    """What becomes of a client's session state where its servers change."""

    TRANSPARENT = "transparent"
    RESET = "reset"
    PGBOUNCER = "pgbouncer"


class SessionPin(StrEnum):
    """What is done when only one server can keep a client's state."""

    ALLOW = "allow"
    NOTICE = "notice"
    ERROR = "error"


class Placeholders(StrEnum):
    """How exactly a client that never touched a custom setting sees that."""

    EXACT = "exact"
    EMPTY = "empty"


class AuthType(StrEnum):
    """How a client proves who it is."""

    ANY = "any"
    TRUST = "trust"
    PLAIN = "plain"
    MD5 = "md5"
    SCRAM = "scram-sha-256"
    CERT = "cert"
    HBA = "hba"
    LDAP = "ldap"
    PAM = "pam"


class SslMode(StrEnum):
    """How much TLS is asked of the other side."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Negotiation(StrEnum):
    """How TLS with a server begins; libpq's words for it."""

    POSTGRES = "postgres"
    DIRECT = "direct"


class ListenLoss(StrEnum):
    """What becomes of a client that listens when notifications for it are lost."""

    FATAL = "fatal"
    NOTICE = "notice"


class LoadBalance(StrEnum):
    """How a list of hosts is used."""

    ROUND_ROBIN = "round-robin"
    DISABLE = "disable"


class SessionAttrs(StrEnum):
    """Which of several hosts may serve, in libpq's words."""

    ANY = "any"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    STANDBY = "standby"
    PREFER_STANDBY = "prefer-standby"


def c_integer(text: str) -> int:
    """*text* read as strtol(text, 0) does; ValueError if any of it is left over."""
    stripped = text.strip()
    if not _C_INTEGER.fullmatch(stripped):
        raise ValueError(text)
    sign, digits = (-1, stripped[1:]) if stripped[0] == "-" else (1, stripped.lstrip("+"))
    if digits[:2].lower() == "0x":
        return sign * int(digits, 16)
    return sign * int(digits, 8 if digits.startswith("0") else 10)


def decimal_integer(text: str) -> int:
    """*text* as a decimal integer, leading zeroes and all."""
    if not _DECIMAL.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def c_float(text: str) -> float:
    """*text* as strtod reads a finite number."""
    stripped = text.strip()
    if not _C_FLOAT.fullmatch(stripped):
        if stripped.lstrip("+-")[:2].lower() != "0x":
            raise ValueError(text)
        return float.fromhex(stripped)
    return float(stripped)


def _number(parse: Callable[[str], float], low: float, high: float, expected: str, *, whole: bool) -> Callable[[object], object]:
    """A validator for numbers from *low* to *high*; -1 is left to the caller."""

    def validate(value: object) -> object:
        try:
            number = parse(value) if isinstance(value, str) else value
        except (ValueError, OverflowError):
            raise ValueError(expected) from None
        if isinstance(number, bool) or not isinstance(number, int if whole else (int, float)):
            raise ValueError(expected)
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError(expected)
        return number

    return validate


def _or_unset(validate: Callable[[object], object]) -> Callable[[object], object]:
    """For entries of the other sections: None and PgBouncer's -1 mean "not set here"."""

    def optional(value: object) -> object:
        unset = value is None or value == -1 or (isinstance(value, str) and value.strip() == "-1")
        return None if unset else validate(value)

    return optional


def _integer(low: int, high: int, expected: str, parse: Callable[[str], int] = c_integer) -> Callable[[object], object]:
    return _number(parse, low, high, f"expected {expected}", whole=True)


def _on_off(value: object) -> object:
    if isinstance(value, str):
        try:
            # Any integer, as in PgBouncer: tcp_defer_accept was once a number of seconds.
            return c_integer(value) != 0
        except ValueError:
            raise ValueError("expected 0 (off) or 1 (on)") from None
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise ValueError("expected 0 (off) or 1 (on)")


def _word(*words: str) -> Callable[[object], object]:
    expected = "expected one of " + ", ".join(words)

    def validate(value: object) -> object:
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise ValueError(expected)

    return validate


def _words(value: object) -> object:
    """A comma list; blanks around and empty parts are dropped."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value)) if value else value
        except ValueError:
            pass
    raise ValueError("expected an IP address")


def _name(limit: int) -> Callable[[object], object]:
    def validate(value: object) -> object:
        size = len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else 0
        if value is None or 0 < size <= limit:
            return value
        raise ValueError(f"expected a name of 1 to {limit} bytes")

    return validate


def _seconds(value: object) -> object:
    seconds = _any_seconds(value)
    return min(seconds, MAX_SECONDS) if isinstance(seconds, int | float) else seconds


def _secret(value: object) -> object:
    if isinstance(value, str):
        if len(value.encode("utf-8", "surrogateescape")) > MAX_SECRET_BYTES:
            raise ValueError(f"expected at most {MAX_SECRET_BYTES} bytes")
        return Secret(value)
    return value


def _optional_word(*words: str) -> Callable[[object], object]:
    validate = _word(*words)
    return lambda value: None if value is None else validate(value)


MAX_SECONDS = 1e9  # thirty years; what is longer is as long
MAX_NAME_BYTES = 63
MAX_USER_BYTES = 127
MAX_SECRET_BYTES = 65531


class Shape:
    """What the documentation calls a kind of value; carried in the field's type."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _values_of(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]


_COUNT = "an integer of 0 or more"
_SECONDS = "a number of seconds, 0 or more"
_count = _integer(0, INT_MAX, _COUNT)
_any_seconds = _number(c_float, 0, sys.float_info.max, f"expected {_SECONDS}", whole=False)
_port = _integer(0, 65535, "a port number from 0 to 65535")
_server_port = _integer(1, 65535, "a port number from 1 to 65535", decimal_integer)
_entry_count = _or_unset(_integer(0, INT_MAX, _COUNT, decimal_integer))
_iterations = _integer(1, 1_000_000, "an integer from 1 to 1000000")
_octal = _integer(0, 0o7777, "a file mode such as 0777 (a leading 0 makes it octal)")
_peer_id = _integer(0, 16383, "an integer from 0 to 16383")

Count = Annotated[int, BeforeValidator(_count), Shape("integer")]
# The most that a SCRAM exchange is done with, see pgwire.
Iterations = Annotated[int, BeforeValidator(_iterations), Shape("integer, 1 to 1000000")]
Milliseconds = Annotated[int, BeforeValidator(_count), Shape("milliseconds")]
WholeSeconds = Annotated[int, BeforeValidator(_count), Shape("whole seconds")]
Bytes = Annotated[int, BeforeValidator(_count), Shape("bytes")]
Seconds = Annotated[float, BeforeValidator(_seconds), Shape("seconds")]
Port = Annotated[int, BeforeValidator(_port), Shape("port")]
Address = Annotated[str, BeforeValidator(_address), Shape("IP address")]
FileMode = Annotated[int, BeforeValidator(_octal), Shape("file mode")]
PeerId = Annotated[int, BeforeValidator(_peer_id), Shape("integer, 0 to 16383")]
OnOff = Annotated[bool, BeforeValidator(_on_off), Shape("0 or 1")]
Text = Annotated[str, Shape("text")]
File = Annotated[str, Shape("file name")]
TextList = Annotated[tuple[str, ...], BeforeValidator(_words), Shape("comma list")]
SecretText = Annotated[Secret | None, BeforeValidator(_secret), Shape("secret")]
SessionStateName = Annotated[
    SessionState, BeforeValidator(_word(*_values_of(SessionState))), Shape(", ".join(SessionState))
]
EntrySessionState = Annotated[
    SessionState | None, BeforeValidator(_optional_word(*_values_of(SessionState))), Shape(", ".join(SessionState))
]
SessionPinName = Annotated[SessionPin, BeforeValidator(_word(*_values_of(SessionPin))), Shape(", ".join(SessionPin))]
EntrySessionPin = Annotated[
    SessionPin | None, BeforeValidator(_optional_word(*_values_of(SessionPin))), Shape(", ".join(SessionPin))
]
PlaceholdersName = Annotated[
    Placeholders, BeforeValidator(_word(*_values_of(Placeholders))), Shape(", ".join(Placeholders))
]
PoolModeName = Annotated[PoolMode, BeforeValidator(_word(*_values_of(PoolMode))), Shape(", ".join(PoolMode))]
ListenLossName = Annotated[ListenLoss, BeforeValidator(_word(*_values_of(ListenLoss))), Shape(", ".join(ListenLoss))]
AuthTypeName = Annotated[AuthType, BeforeValidator(_word(*_values_of(AuthType))), Shape(", ".join(AuthType))]
NegotiationName = Annotated[Negotiation, BeforeValidator(_word(*_values_of(Negotiation))), Shape(", ".join(Negotiation))]
SslModeName = Annotated[SslMode, BeforeValidator(_word(*_values_of(SslMode))), Shape(", ".join(SslMode))]

# For entries of [databases], [users] and [peers]: None is "not set here", the next level decides.
ServerPort = Annotated[int, BeforeValidator(_server_port), Shape("port")]
OptionalText = Annotated[str | None, Shape("text")]
EntryCount = Annotated[int | None, BeforeValidator(_entry_count), Shape("integer")]
EntrySeconds = Annotated[float | None, BeforeValidator(_or_unset(_seconds)), Shape("seconds")]
DatabaseName = Annotated[str | None, Shape("name")]  # of any length: PostgreSQL cuts a longer one itself
UserName = Annotated[str | None, BeforeValidator(_name(MAX_USER_BYTES)), Shape("name")]
EntryPoolMode = Annotated[PoolMode | None, BeforeValidator(_optional_word(*_values_of(PoolMode))), Shape(", ".join(PoolMode))]
LoadBalanceName = Annotated[LoadBalance, BeforeValidator(_word(*_values_of(LoadBalance))), Shape(", ".join(LoadBalance))]
SessionAttrsName = Annotated[SessionAttrs, BeforeValidator(_word(*_values_of(SessionAttrs))), Shape(", ".join(SessionAttrs))]


def shape_of(metadata: list[Any]) -> str:
    """The documentation's word for a field's kind of value."""
    return next(item.text for item in metadata if isinstance(item, Shape))
