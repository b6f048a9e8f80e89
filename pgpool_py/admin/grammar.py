"""What an operator may type: one statement, read into its words.

    word [word ...] [;]          SHOW POOLS, pause "My Db", KILL_CLIENT 7
    SET key (= | to) value       a word or 'a string'
    SHOW ... AS JSON             any table, as one JSON array

A word is letters, digits and `_.$*-`, or anything in double quotes; keywords in any case, arguments as typed. SELECT is SHOW.
There are no comments. Knows lengths and quotes; which words mean something is commands.py's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgpool_py.admin.errors import Refused, invalid_command

MAX_COMMAND, MAX_ARGUMENT, MAX_VALUE = 15, 63, 255  # bytes, as in PgBouncer

_TOKEN = re.compile(
    r"""\s*(?: (?P<word>[\w.$*-]+) | "(?P<name>(?:[^"]|"")+)" | '(?P<string>(?:[^']|'')*)' | (?P<mark>[=;]) )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its verb in lower case, what follows, and for SET the value."""

    text: str
    verb: str  # "" for an empty statement
    arguments: tuple[str, ...] = ()
    value: str = ""
    as_json: bool = False


def parse(text: str) -> Statement:
    """The statement in *text*; Refused when it cannot be one."""
    tokens = _tokens(text)
    if tokens and tokens[-1] == ("mark", ";"):
        tokens.pop()
    if not tokens:
        return Statement(text, "")
    kind, verb = tokens[0]
    verb = verb.lower()
    if kind not in ("word", "name"):
        raise invalid_command(text)
    if len(verb.encode()) > MAX_COMMAND:
        raise Refused("bad arguments")
    if verb == "set":
        return _setting(text, tokens[1:])
    if any(kind not in ("word", "name") for kind, _ in tokens[1:]):
        raise invalid_command(text)
    words = tuple(word for _, word in tokens[1:])
    as_json = [word.lower() for word in words[-2:]] == ["as", "json"]
    if as_json:
        words = words[:-2]
    if any(len(word.encode()) > MAX_ARGUMENT for word in words):
        raise Refused("bad arguments")
    return Statement(text, "show" if verb == "select" else verb, words, as_json=as_json)


def _setting(text: str, tokens: list[tuple[str, str]]) -> Statement:
    match tokens:
        case [("word" | "name", key), ("mark" | "word", sign), (kind, value)] if sign.lower() in ("=", "to") and kind != "mark":
            if len(key.encode()) > MAX_ARGUMENT or len(value.encode()) > MAX_VALUE:
                raise Refused("bad arguments")
            return Statement(text, "set", (key,), value)
    raise invalid_command(text)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise invalid_command(text)
        kind, value = match.lastgroup, match[match.lastgroup]
        if kind == "name":
            value = value.replace('""', '"')
        elif kind == "string":
            value = value.replace("''", "'")
        tokens.append((kind, value))
        position = match.end()
    return tokens
