"""What a text says about prepared statements: which it names or ends, and when it gets its meaning.

Looks at texts whose verdict has said that they matter; no text can hold up the others (patterns never look back).

A group that keeps what it has taken (`(?:a|b|)*+`) has an empty last alternative, here and in all patterns on clients' texts:
where a round fails half-way, Python 3.11.2 (Debian 12) goes on from there, not from where the round began. An empty round does
not fail, and is the last.
"""

from __future__ import annotations

import re

from pgpool_py.session import flags
from pgpool_py.session.lexemes import lexemes

# Spaces and comments, nested ones aside.
BLANK = rb"(?:\s++|--[^\n\r]*+[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*)|)*+\*/|)*+"

_DEALLOCATE = re.compile(
    rb"\s*+DEALLOCATE\s++(?:PREPARE\s++)?(?:\"((?:[^\"\0]|\"\")(?:[^\"\0]|\"\"|)*+)\"|([A-Za-z_\x80-\xff][\w$\x80-\xff]*+))\s*+;?\s*+\0",
    re.IGNORECASE,
)
_DECLARE = re.compile(rb"\bdeclare\b", re.IGNORECASE)
_CLEARS = re.compile(rb"\b(?:deallocate|discard)\b", re.IGNORECASE)
# Commands whose text is only taken apart at Parse, and gets its meaning when they are executed; and the empty text.
_READ_LATER = re.compile(
    BLANK + rb"(?:\0|(?:ABORT|ALTER|ANALYZE|BEGIN|CLOSE|CLUSTER|COMMIT|DEALLOCATE|DISCARD|DROP|END|EXECUTE|FETCH|LISTEN|LOCK|MOVE"
    rb"|NOTIFY|REINDEX|RELEASE|RESET|ROLLBACK|SAVEPOINT|SET|SHOW|START|TRUNCATE|UNLISTEN|VACUUM"
    rb"|CREATE\s++(?:UNIQUE\s++)?(?:DATABASE|INDEX|SUBSCRIPTION|TABLESPACE))\b)",
    re.IGNORECASE,
)
# What a Parse fixes by the moment, or by what only one session has: literals of the time, the columns of a FETCH.
_OF_THE_MOMENT = re.compile(
    rb"(?:'|\$(?:[a-z_]\w*+)?\$)[^']{0,60}\b(?:now|today|tomorrow|yesterday)\b|\A" + BLANK + rb"fetch\b"
)
# Literals that may say any of this in other letters: with escapes, or in two halves.
_SPELLED = re.compile(rb"\be'[^'\\]*\\|'[^\S\n]*+\n\s*+'")
# Code that names prepared statements, when it stands in a text that nobody has read.
_NAMING = re.compile(rb"\b(?:execute|deallocate|prepare|pg_prepared_statements?)\b", re.IGNORECASE)


def may_clear(text: bytes) -> bool:
    """Whether a text that ends session state may end prepared statements."""
    return _CLEARS.search(text) is not None


def deallocated_name(body: bytes) -> bytes | None:
    """The statement that a text consisting of one DEALLOCATE names, None for ALL and for any other text."""
    match = _DEALLOCATE.match(body)
    if match is None:
        return None
    if match[1] is not None:
        return match[1].replace(b'""', b'"')
    name = match[2].lower()
    return None if name == b"all" or name == b"prepare" else name


def declared_cursors(text: bytes) -> list[bytes]:
    """The cursors that a text, up to its zero byte, declares: portals of these names."""
    names: list[bytes] = []
    if _DECLARE.search(text) is None:
        return names
    begins, declares = True, False
    for kind, value, _ in lexemes(text.partition(b"\0")[0]):
        if declares and kind in ("word", "quoted"):
            names.append(value.lower() if kind == "word" else value[1:-1].replace(b'""', b'"'))
        declares = begins and kind == "word" and value.lower() == b"declare"
        begins = value == b";"
    return names


def names_statements(verdict: int, text: bytes) -> bool:
    """Whether a text may name prepared statements, or list them: its server must be bare then."""
    if verdict & flags.STATEMENT:
        return not verdict & flags.CLEANUP or _DEALLOCATE.match(text + b"\0") is None
    if verdict & flags.OPAQUE:
        return _NAMING.search(text) is not None
    return bool(verdict & flags.READS_STATEMENTS)


def read_later(body: bytes) -> bool:
    """Whether a text gets all its meaning when it is executed. Nothing must run ahead of some of these in their transaction."""
    return _READ_LATER.match(body) is not None and b"\\" not in body


def is_of_the_moment(body: bytes) -> bool:
    """Whether what a text says depends on when, and beside which cursor, it is parsed: then no two clients' is the same."""
    lower = body.lower()
    if (b"\\" in lower or b"\n" in lower) and _SPELLED.search(lower):
        return True
    if b"now" not in lower and b"day" not in lower and b"tomorrow" not in lower and b"fetch" not in lower:
        return False  # nearly always, and every new text comes here
    return _OF_THE_MOMENT.search(lower) is not None
