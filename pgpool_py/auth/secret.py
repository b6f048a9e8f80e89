"""A password or stored secret that never shows itself. Does not know how one is verified."""

from __future__ import annotations

import hmac
from typing import Literal

SecretKind = Literal["plain", "md5", "scram-sha-256"]

_HEX = frozenset("0123456789abcdef")


class Secret:
    """Text that `str`, `repr`, formatting and pickling keep to themselves; only `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself. Every caller is a place to look at in a security review."""
        return self._text

    @property
    def kind(self) -> SecretKind:
        """How the text is to be understood, by the same signs PgBouncer and PostgreSQL go by."""
        if self._text.startswith("SCRAM-SHA-256$"):
            return "scram-sha-256"
        if len(self._text) == 35 and self._text.startswith("md5") and _HEX.issuperset(self._text[3:]):
            return "md5"
        return "plain"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
