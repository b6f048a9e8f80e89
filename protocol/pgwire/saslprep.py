"""Preparing a password as SCRAM wants it: SASLprep, RFC 4013, with PostgreSQL's way out.

PostgreSQL uses a password as it is when it is not UTF-8 or when the profile forbids it, so both ends agree
anyway.
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # unassigned in Unicode 3.2
)


def prepare_password(password: str | bytes) -> bytes:
    """The bytes that go into the key derivation."""
    raw = password.encode("utf-8", "surrogateescape") if isinstance(password, str) else password
    if raw.isascii():
        return raw
    try:
        prepared = saslprep(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return raw
    return raw if prepared is None else prepared.encode("utf-8")


def saslprep(text: str) -> str | None:
    """*text* under the SASLprep profile, or None when the profile forbids it."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(forbidden(char) for char in prepared for forbidden in _PROHIBITED):
        return None
    return prepared if _direction_allowed(prepared) else None


def _direction_allowed(text: str) -> bool:
    # RFC 3454, section 6: with a right-to-left character, no left-to-right one, and one at both ends.
    right = [stringprep.in_table_d1(char) for char in text]
    if not any(right):
        return True
    return right[0] and right[-1] and not any(stringprep.in_table_d2(char) for char in text)
