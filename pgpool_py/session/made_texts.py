"""Texts that an expression makes, as far as they can be told: with marks where one quoted name, one literal or one number will
stand; or one of several texts, which are kept as parts, or an argument. What such a text does when it is run, `judge` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgpool_py.session import flags
from pgpool_py.session.mentions import hides_names

# What runs: nothing but what stands in the code; an argument as it is given; what nobody has read; or it makes names.
READ, GIVEN, UNREAD, MAKES = 0, flags.GIVEN, flags.UNREAD, flags.DYNAMIC

# In a text: one name, literal or number; or one of several texts, or an argument, that begins and ends with what may be a part of
# a word (it is open there), or does so on the right only, on the left only, or on neither side.
MARK = b"\x80"
NAME, LITERAL = b'"\x80"', b"'\x80'"
ANY_OPEN, ANY_RIGHT, ANY_LEFT, ANY = b"\x81", b"\x82", b"\x83", b"\x84"
MARKS = re.compile(rb"[\x80-\x84]")

# What a command names that nobody knows: a relation, a type, a function of a row that is written as its column; and a function of
# any value that is written so, `($1).f`.
RELATION, FIELD = b"\x81", b"\x82"
_FIELD = re.compile(rb"(?:[)\]]|\$\d+)\s*+\.\s*+\"?[\x80-\x84]")
_COLUMN_OF = re.compile(rb"(?<![\w$])([\w$]++)\"?\s*+\.\s*+\"?[\x80-\x84]")
# Brackets, with the name in front of them, or that of a query behind it; and the alias behind them.
_BRACKETS = re.compile(
    rb"(?:(?<![\w$])([\w$]++)\"?\s*+)?\((\s*+(?:select|with|values|table)\b)?|\)(?:\s*+(?:as\b\s*+)?\"?([\w$]++))?",
    re.IGNORECASE,
)
_PARAMETER = re.compile(rb"\(\s*+\$\d++\s*+\)|\$\d++")

# What is looked for in a command with marks. A mark next to what may be a part of the same word; two of them with nothing
# between; one at the start that may be the beginning of a setting's name.
_JOINED = re.compile(
    rb"[\w$\x80-\x84][\x81\x83]|[\x81\x82][\w$\x80-\x84]|[\w$]\x84[\w$]|\x81\s*[\x80-\x84]|[\x80-\x84]\s*\x81"
    rb"|\A\s*[\x81-\x84]\s*[.\"]"
)
_CALL = re.compile(rb"(?<![\w$\".\x80-\x84])([\w$\".\x80-\x84]++)\s*+\(")
_NO_CALL = re.compile(
    rb"\b(?:into|table|exists|references|copy|view|of|as|with|recursive|(?:create|replace|drop|alter)\s+(?:function|procedure))\s*\Z",
    re.IGNORECASE,
)
_NO_CALL_IN_INDEX = re.compile(rb"\bon\s*\Z", re.IGNORECASE)
_INDEX = re.compile(rb"\s*+create\s++(?:unique\s++)?index\b", re.IGNORECASE)
_STRING = re.compile(rb"'[^']*+'")
_BEFORE = 40  # bytes in front of a name that say what it is
_SET_OF_MARK = re.compile(
    rb"(?:\A|;)\s*set\s+(?:session\s+)?\"?[\x80-\x84]|\bset_config\"?\s*[\x80-\x84]", re.IGNORECASE
)
_SET_CONFIG_OPEN = re.compile(rb"\bset_config\"?\s*\Z", re.IGNORECASE)
# What ends with the transaction, or belongs to a function or a role, and leaves nothing but a definition.
_PASSING_SET_OF_MARK = re.compile(
    rb"(?:\A|;)\s*(?:set\s+local|reset)\s+\"?[\x80-\x84]|\A\s*(?:create|alter)\b[^;]*\bset\s+[\w.\"]*[\x80-\x84]", re.IGNORECASE
)
_LOCAL_SET_CONFIG = re.compile(
    rb"\bset_config\s*+\(\s*+'[^'\x80-\x84]*+[\x80-\x84][^']*+'\s*+,\s*+(?:'[^']*+'|[^,()']++)\s*+,\s*+true\s*+\)",
    re.IGNORECASE,
)
_SET_OPEN = re.compile(rb"(?:\A|;)\s*(?:re)?set\s*(?:\s(?:local|session)\s*)?\Z", re.IGNORECASE)
_SET_OPEN_PART = re.compile(rb"(?:\A|;)\s*(?:re)?set\b[\w\s.\"]*\Z", re.IGNORECASE)
_RUNS_TEXT = re.compile(
    rb"\bexecute\b(?!\s+(?:function|procedure|on)\b)|\bdo\b\s*(?:['$\x80-\x84]|e'|language\b)", re.IGNORECASE
)
_QUOTED_LITERAL = re.compile(rb"'\x80'")
_LONGEST = 16384  # bytes of a command that is put together, and its parts


@dataclass(frozen=True, slots=True)
class Made:
    """What an expression makes: a text with marks; how well it is known; other texts that may stand for its marks; and which
    arguments may, by their numbers from 0."""

    text: bytes
    bits: int = READ
    parts: tuple[bytes, ...] = ()
    arguments: frozenset[int] = frozenset()


UNKNOWN = Made(ANY_OPEN, UNREAD)
NUMBER = Made(MARK)


def argument(number: int) -> Made:
    """What a function is given."""
    return Made(ANY_OPEN, GIVEN, (), frozenset((number,)))


def put_together(text: bytes, made: list[Made]) -> Made:
    """A text made of these, with all their parts."""
    parts = tuple(part for each in made for part in each.parts)
    bits = READ
    arguments: frozenset[int] = frozenset()
    for each in made:
        bits |= each.bits
        arguments |= each.arguments
    if len(text) + sum(len(part) + 10 for part in parts) > _LONGEST:
        return Made(ANY_OPEN, bits | UNREAD)
    return Made(text, bits, parts, arguments)


def any_of(texts: list[Made]) -> Made:
    """One of several texts, nobody knows which."""
    if not texts:
        return Made(b"")
    left = any(_open(each.text[:1], ANY_RIGHT + ANY) for each in texts if each.text)
    right = any(_open(each.text[-1:], ANY_LEFT + ANY) for each in texts if each.text)
    mark = (ANY, ANY_RIGHT, ANY_LEFT, ANY_OPEN)[right + 2 * left]
    return put_together(mark, [Made(b"", each.bits, (each.text, *each.parts), each.arguments) for each in texts])


def _open(edge: bytes, closed: bytes) -> bool:
    """Whether a word may go on beyond the character at a text's edge; *closed*: marks that say it does not."""
    return edge not in closed and re.fullmatch(rb"[\w$\x80-\x84]", edge) is not None


def judge(made: Made, *, of_rows: bool = False) -> tuple[int, set[bytes]]:
    """What a command does that is *made* like that: bits, and what it names that nobody knows: RELATION, FIELD.

    *of_rows*: all its parameters are rows.
    """
    bits = made.bits
    unknown: set[bytes] = set()
    for i, text in enumerate((made.text, *made.parts)):
        text, local = _LOCAL_SET_CONFIG.subn(b" ", text)
        if local or _PASSING_SET_OF_MARK.search(text) is not None:
            bits |= UNREAD
        is_open = (_SET_CONFIG_OPEN if i else _SET_OPEN).search(text) is not None
        if is_open or hides_names(text) or _SET_OF_MARK.search(text) is not None:
            bits |= MAKES
        if (
            _JOINED.search(text) is not None
            or (i and _SET_OPEN_PART.search(text) is not None)
            or (MARKS.search(text) is not None and (b"/*" in text or b"--" in text))
            or text.count(b"'") % 2
            or _RUNS_TEXT.search(text) is not None
            or _calls_mark(text, i > 0)
        ):
            bits |= UNREAD
        if MARK in _QUOTED_LITERAL.sub(b"", text):
            unknown.add(RELATION)
        if _FIELD.search(_PARAMETER.sub(b"", text) if of_rows else text) is not None or _is_of_a_value(text):
            unknown.add(FIELD)
    return bits, unknown


def _is_of_a_value(text: bytes) -> bool:
    """Whether *text* names a column of what a function returns, which may be no row: `select x.<mark> from lower('a') x`."""
    names = {name.lower() for name in _COLUMN_OF.findall(text)}
    if not names:
        return False
    calls: list[bytes] = []
    for match in _BRACKETS.finditer(_STRING.sub(b"''", text)):
        if match[0][:1] != b")":
            calls.append(b"" if match[2] or not match[1] else match[1].lower())
        elif calls and (name := calls.pop()) and not names.isdisjoint((name, (match[3] or b"").lower())):
            return True
    return False


def _calls_mark(text: bytes, is_part: bool) -> bool:
    """Whether *text* calls a function of a name that nobody knows; *is_part*: something may stand in front of it."""
    is_index = _INDEX.match(text) is not None and b";" not in text.rstrip(b"; \n")
    text = _STRING.sub(b"''", text)
    for match in _CALL.finditer(text):
        if MARKS.search(match[1]) is None or (is_part and not match.start()):
            continue
        before = text[max(match.start() - _BEFORE, 0) : match.start()]
        if _NO_CALL.search(before) is None and not (is_index and _NO_CALL_IN_INDEX.search(before) is not None):
            return True
    return False
