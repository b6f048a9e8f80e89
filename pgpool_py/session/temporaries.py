"""Texts that change the catalogs, and nothing that others could meet: one temporary table, or how a relation is stored.

Off the hot path: asked only for DDL that is one statement and runs no code (`private`). Any other puts in doubt what is known of
the database's code, for everybody.
"""

from __future__ import annotations

import re

from pgpool_py.session import flags

_NAME = rb"(?:pg_temp\s*+\.\s*+)?(\"(?:[^\"]|\"\")(?:[^\"]|\"\"|)*+\"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*+)"
_TEMPORARY = rb"(?:(?:local|global)\s++)?temp(?:orary)?\s++"
_CREATES = re.compile(rb"\s*+create\s++" + _TEMPORARY + rb"table\s++(?:if\s++not\s++exists\s++)?" + _NAME, re.IGNORECASE)
_SELECTS = re.compile(rb"\s*+(?:select|with)\b.*\binto\s++" + _TEMPORARY + rb"(?:table\s++)?" + _NAME, re.IGNORECASE | re.DOTALL)
_DROPS = re.compile(rb"\s*+drop\s++table\s++(?:if\s++exists\s++)?(.*+)", re.IGNORECASE | re.DOTALL)
_DROPPED = re.compile(rb"\s*+" + _NAME + rb"\s*+(,|(?:cascade|restrict)?\s*+;?\s*+\Z)", re.IGNORECASE)
_INDEXES = re.compile(
    rb"\s*+create\s++(?:unique\s++)?index\s++(?:if\s++not\s++exists\s++)?(?:(?!on\b)" + _NAME + rb"\s++)?on\s++" + _NAME,
    re.IGNORECASE,
)
_STORES = re.compile(rb"\s*+(?:analy[sz]e|vacuum|reindex|cluster)\b", re.IGNORECASE)  # and defines nothing
_MANY = 100
_NONE: frozenset[bytes] = frozenset()
Change = tuple[frozenset[bytes], frozenset[bytes]]  # the tables that are made, and those that are dropped


def private(text: bytes, verdict: int, own: frozenset[bytes]) -> Change | None:
    """Which temporary tables *text* makes, and which of *own*, the client's, it drops; None: it changes what others may meet.

    Of several statements, or where code may run, the verdict says more than DDL.
    """
    if verdict & flags.DIRTY & ~flags.PIN != flags.DDL:
        return None
    made = (_CREATES.match(text) or _SELECTS.match(text)) if verdict & flags.PIN else None
    if made is not None:
        return (frozenset((_known(made[1]),)), _NONE) if len(own) < _MANY else None
    if _STORES.match(text) is not None:
        return _NONE, _NONE
    index = _INDEXES.match(text)
    if index is not None:
        return (_NONE, _NONE) if _known(index[2]) in own else None
    drops = _DROPS.match(text)
    dropped = _dropped(drops[1]) if drops is not None else _NONE
    return (_NONE, dropped) if dropped and dropped <= own else None


def _dropped(text: bytes) -> frozenset[bytes]:
    """The names in the list behind DROP TABLE; none if it is something else."""
    names: set[bytes] = set()
    at = 0
    while (match := _DROPPED.match(text, at)) is not None:
        names.add(_known(match[1]))
        at = match.end()
        if match[2] != b",":
            return frozenset(names)
    return frozenset()


def _known(name: bytes) -> bytes:
    """A name as PostgreSQL knows it."""
    return name[1:-1].replace(b'""', b'"') if name[:1] == b'"' else name.lower()
