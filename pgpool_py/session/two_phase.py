"""Transactions that one text prepares and another commits (manual, PREPARE TRANSACTION): by whom, and where, is open."""

from __future__ import annotations

import re

from pgpool_py.session.statement_texts import BLANK

_LITERAL = rb"'((?:[^'\\]|''|)*+)'\s*+;?\s*+\Z"
_PREPARES = re.compile(rb"\bprepare" + BLANK + rb"transaction" + BLANK + rb"(?:" + _LITERAL + rb")?", re.IGNORECASE)
_COMMITS = re.compile(BLANK + rb"commit" + BLANK + rb"prepared" + BLANK + rb"(?:" + _LITERAL + rb")?", re.IGNORECASE)
UNKNOWN = b""  # some transaction, under a name that is not read here; PostgreSQL takes no empty one


def prepared(text: bytes) -> bytes | None:
    """The transaction that *text* prepares in the end; None: none."""
    match = _PREPARES.search(text)
    return None if match is None else match[1] or UNKNOWN


def committed(text: bytes) -> bytes | None:
    """The prepared transaction that *text* commits; None: none."""
    match = _COMMITS.match(text)
    return None if match is None else match[1] or UNKNOWN
