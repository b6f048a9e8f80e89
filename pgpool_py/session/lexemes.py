"""Statement texts, and code, as lexemes by PostgreSQL's rules (manual 4.1): off the hot path, for those who read texts closely.

The scan (`scan`) goes its own way, in one pass and without objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LEXEME = re.compile(
    rb"""
      (?P<space>\s+|--[^\n\r]*)
    | (?P<estring>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$)
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<word>[A-Za-z_\x80-\xff][\w$\x80-\xff]*)
    | (?P<param>\$\d+)
    | (?P<number>\d[\w.]*)
    | (?P<comment>/\*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def lexemes(text: bytes) -> Iterator[tuple[str, bytes, int]]:
    """What stands in *text* between spaces and comments: kind, text, end. Of kind "unclosed" is a comment without an end."""
    at = 0
    while at < len(text):
        match = _LEXEME.match(text, at)
        assert match is not None  # there is an "other"
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "dollar":
            end = text.find(match[0], at)
            if end < 0:
                yield "other", b"$", match.start() + 1
                at = match.start() + 1
            else:
                at = end + len(match[0])
                yield kind, text[match.start() : at], at
        elif kind == "comment":
            at = _comment_end(text, at)
            if at < 0:
                yield "unclosed", b"", len(text)
                return
        elif kind != "space":
            yield kind, match[0], at


_COMMENT_SIGN = re.compile(rb"/\*|\*/")


def _comment_end(text: bytes, at: int) -> int:
    """Where the comment ends whose content begins *at* (they nest), or -1."""
    depth = 1
    for sign in _COMMENT_SIGN.finditer(text, at):
        depth += 1 if sign[0] == b"/*" else -1
        if not depth:
            return sign.end()
    return -1


_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*")


def words_of(text: bytes) -> set[bytes]:
    """Every word of *text*, wherever it stands, in lower case."""
    return {word.lower() for word in _WORD.findall(text)}
