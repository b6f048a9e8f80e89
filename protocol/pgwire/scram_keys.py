"""SCRAM-SHA-256 keys and the secrets PostgreSQL stores: deriving, parsing, and inventing one for nobody.

No secret shows in a repr. Deriving costs *iterations* rounds of HMAC (4,096 take about 2 ms), so their
number is bounded.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field

from .saslprep import prepare_password

DEFAULT_ITERATIONS = 4096
MAX_ITERATIONS = 1_000_000
KEY_LENGTH = 32
SALT_LENGTH = 16

_SECRET = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]{1,4096})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a client needs to log in without the password."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, password: str | bytes, salt: bytes, iterations: int) -> ScramKeys:
        """The keys of *password*; ValueError when it would take too long."""
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise ValueError(f"SCRAM iterations must be 1 to {MAX_ITERATIONS}, not {iterations}")
        salted = hashlib.pbkdf2_hmac("sha256", prepare_password(password), salt, iterations)
        return cls(hmac_sha256(salted, b"Client Key"), hmac_sha256(salted, b"Server Key"))

    @property
    def stored_key(self) -> bytes:
        return sha256(self.client_key)


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """What a server stores of a password: enough to check a proof, not enough to make one."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    is_mock: bool = field(default=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> ScramSecret | None:
        """The secret written as PostgreSQL stores it, or None when *text* is something else."""
        found = _SECRET.fullmatch(text)
        if found is None or int(found[1]) > 0x7FFFFFFF:
            return None
        salt, stored_key, server_key = (base64_decode(found[group].encode()) for group in (2, 3, 4))
        if salt is None or stored_key is None or server_key is None:
            return None
        if len(stored_key) != KEY_LENGTH or len(server_key) != KEY_LENGTH:
            return None
        return cls(int(found[1]), salt, stored_key, server_key)

    @classmethod
    def derive(
        cls, password: str | bytes, iterations: int = DEFAULT_ITERATIONS, salt: bytes | None = None
    ) -> ScramSecret:
        """A secret for *password*, with a salt of its own unless one is given."""
        salt = os.urandom(SALT_LENGTH) if salt is None else salt
        keys = ScramKeys.derive(password, salt, iterations)
        return cls(iterations, salt, keys.stored_key, keys.server_key)

    @classmethod
    def mock(cls, user: str, key: bytes, iterations: int = DEFAULT_ITERATIONS) -> ScramSecret:
        """A secret no password fits, the same each time for *user* while the process keeps *key*."""
        salt = hmac_sha256(key, user.encode("utf-8", "surrogateescape"))[:SALT_LENGTH]
        return cls(iterations, salt, os.urandom(KEY_LENGTH), os.urandom(KEY_LENGTH), is_mock=True)

    def text(self) -> str:
        """The form in which PostgreSQL stores it."""
        salt, stored, server = (
            base64_encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"


def base64_encode(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def base64_decode(text: bytes) -> bytes | None:
    """The bytes *text* stands for, or None when it is not the one base64 text for them."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return data if base64_encode(data) == text else None  # unused bits at the end must be zero


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
