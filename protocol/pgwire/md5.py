"""md5 passwords: the secret PostgreSQL stores and the response to its challenge.

Here because old users.txt files and old servers still have them; PostgreSQL 18 calls the method deprecated.
"""

from __future__ import annotations

import hashlib
import hmac
import re

SALT_LENGTH = 4
_SECRET = re.compile(r"md5[0-9a-f]{32}", re.ASCII)


def is_md5_secret(text: str) -> bool:
    """Whether *text* is a stored md5 secret rather than a password."""
    return _SECRET.fullmatch(text) is not None


def md5_secret(user: str, password: str) -> str:
    """What PostgreSQL stores for *user*: "md5" and a digest."""
    return "md5" + _hex(_bytes(password) + _bytes(user))


def md5_response(secret: str, salt: bytes) -> bytes:
    """What a client that knows *secret* answers to a challenge."""
    if not is_md5_secret(secret):
        raise ValueError("not an md5 secret")
    return b"md5" + _hex(secret[3:].encode() + salt).encode()


def md5_matches(secret: str, salt: bytes, response: bytes) -> bool:
    """Whether *response* proves that the client knows *secret*."""
    return hmac.compare_digest(md5_response(secret, salt), response)


def _hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
