"""What a text mentions that nobody can read: names of custom settings, code that makes such names, and new code.

Off the hot path, like `effects`, which asks here. Whatever a text could mean is mentioned: too much costs a question more, too
little a leak, since no catalog lists custom settings (manual, 20.16). Where names are made at run time it can only be said that
they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from pgpool_py.session import flags
from pgpool_py.session.lexemes import NONASCII
from pgpool_py.session.statement_texts import BLANK

# Words joined by dots, wherever they stand: in a string, a function's body, a SET; a custom setting's name may be among them.
# It begins where a run of such bytes does, and never looks back: no text can hold up the others (likewise in all patterns here).
_DOTTED = re.compile(rb"(?<![\w$\x80-\xff])[\w$\x80-\xff]++(?:\.[\w$\x80-\xff]++)+")
# SET in code, or RESET, which makes a setting that is none yet: spaces, and comments that are neither long nor nested; a part of
# a name; SET of a name with dots.
_GAP = rb"(?:\s++|--[^\n\r]{0,300}+[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*)|){0,300}+\*/)"
_PART = rb"(?:[A-Za-z_\x80-\xff][\w$\x80-\xff]*+|\"(?:[^\"]|\"\")(?:[^\"]|\"\"|){0,255}+\")"
_GAPS = rb"(?:" + _GAP + rb"|){0,40}+"  # more of them hide the name
_SET = rb"\b(?:RE)?SET\b" + _GAPS + rb"(?:(?:LOCAL|SESSION)\b" + _GAPS + rb")?"
_NEXT_PART = _GAPS + rb"\." + _GAPS + _PART
_SET_NAME = re.compile(_SET + rb"(%b%b(?:%b|)*+)" % (_PART, _NEXT_PART, _NEXT_PART), re.IGNORECASE)
_NAME_PARTS = re.compile(_GAP + rb"|(" + _PART + rb")")
_SET_CONFIG = re.compile(rb"set_config\"?\s*+\(\s*+'{1,4}([^']{1,256}+)'", re.IGNORECASE)
# Escapes in strings; which of them are characters by their numbers. The seam of a string that goes on in another line.
_ESCAPE = re.compile(rb"\\([^xuU0-7])", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}
NUMBERED = re.compile(rb"\\[xuU0-7]")
_CONTINUED = re.compile(rb"'[^\S\n\r]*+(?:--[^\n\r]*+)?[\n\r]\s*+(?:--[^\n\r]*+[\n\r]\s*+|)*+'")
_DEEPEST = 3  # strings in strings
_LENGTHS = re.compile(rb"\0\0\0.", re.DOTALL)  # in front of each part of an array in the binary format
_NO_START = b"$0123456789"  # of a word
MOST_MENTIONED = 2000  # names that are asked for only because they are words with dots: 3 ms of a server's time
_MOST_AMID_DATA = 200  # names in one piece of it
_LONGEST = 63  # bytes of an identifier; PostgreSQL cuts longer ones
_LONG_NAME = 256  # longer ones are no names


def candidates(text: bytes) -> frozenset[bytes]:
    """Custom names that *text* mentions, anywhere in it."""
    return assigned(text) | mentioned(text, sys.maxsize)


def assigned(text: bytes) -> frozenset[bytes]:
    """Those that it gives to SET, RESET and set_config."""
    return _custom(name for reading in _readings(text) for name in _set_names(reading))


def mentioned(text: bytes, limit: int = MOST_MENTIONED) -> frozenset[bytes]:
    """Those that any words with dots in it may be, which are mostly data; some *limit* of them."""
    words = (match[0].split(b".") for reading in _readings(text) for match in _DOTTED.finditer(reading))
    return _custom((name for each in words for name in _named(each)), limit)


def _readings(text: bytes) -> Iterator[bytes]:
    """*text*, and what a string in it says if it is one with escapes, also one in another, or is continued on another line; and
    what an array in the binary format has."""
    yield text
    if b"\0" in text:
        text = _LENGTHS.sub(b" ", text)
        yield text
    for _ in range(_DEEPEST):
        if b"\\" not in text and _CONTINUED.search(text) is None:
            return
        text = _CONTINUED.sub(b"", unescaped(text))
        yield text


def unescaped(text: bytes) -> bytes:
    """*text* with its escapes carried out, those apart that give a character by its number (manual, 4.1.2.2)."""
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text)


def _custom(names: Iterable[list[bytes]], limit: int = sys.maxsize) -> frozenset[bytes]:
    """Those of *names*, given as their parts, that can be custom settings', as PostgreSQL knows them; some *limit* of them."""
    found: set[bytes] = set()
    for parts in names:
        # As set_config reads it, and as SET does.
        whole = b".".join(parts)
        # ... and as an argument of the type name has it.
        for name in (whole, b".".join([part[:_LONGEST] for part in parts]), whole[:_LONGEST]):
            if len(name) < _LONG_NAME and name.isascii() and b"\0" not in name:
                found.add(name.lower())
        if len(found) >= limit:
            break
    return frozenset(found)


def _set_names(text: bytes) -> Iterator[list[bytes]]:
    """The names with dots that *text* gives to SET and set_config, each as its parts."""
    for match in _SET_NAME.finditer(text):
        parts = [part[1] for part in _NAME_PARTS.finditer(match[1]) if part[1]]
        yield [part[1:-1].replace(b'""', b'"') if part[:1] == b'"' else part for part in parts]
    for match in _SET_CONFIG.finditer(text):
        if b"." in match[1]:
            yield match[1].split(b".")


def _named(words: list[bytes]) -> Iterator[list[bytes]]:
    """The names among words joined by dots: at least two of them, each beginning as an identifier does."""
    name: list[bytes] = []
    for word in (*words, b"0"):
        if name and word[0] not in _NO_START:
            name.append(word)
            continue
        if len(name) > 1:
            yield name
            # What stands before its last dollar, and behind its first one, may be the tag of a dollar quote.
            begin, end = name[0].rpartition(b"$")[2].lstrip(_NO_START) or name[0], name[-1].partition(b"$")[0] or name[-1]
            if begin != name[0]:
                yield [begin, *name[1:]]
            if end != name[-1]:
                yield [*name[:-1], end]
                yield [begin, *name[1:-1], end]
        start = word.lstrip(_NO_START)
        name = [start] if start else []


# A setting's name that is made at run time, or hidden behind comments.
_HIDDEN_IN_SET_CONFIG = (
    rb"set_config\"?\s*+(?:/\*|--|\((?!\s*+'{1,4}[^'\\\x80-\xff]{0,250}+'{1,4}\s*+(?:::\s*+\w++\s*+)?,))"
)
_HIDDEN_IN_SET = rb"U&\"|%b(?>%b%b(?:\.%b(?>%b%b|)|)*+|)(?:/\*|--)" % (_SET, _PART, _GAPS, _GAPS, _PART, _GAPS)
_HIDES_NAMES = re.compile(_HIDDEN_IN_SET_CONFIG + rb"|" + _HIDDEN_IN_SET, re.IGNORECASE | re.DOTALL)
_HIDES_SET_NAMES = re.compile(_HIDDEN_IN_SET, re.IGNORECASE | re.DOTALL)
# Within much data EXECUTE is mostly a word; code would be a DO.
_DO = re.compile(rb"\bDO\s+(?:LANGUAGE\s+\"?\w+\"?\s+)?(?:[eE]?'|\$\w*\$)", re.IGNORECASE)


def hides_names(code: bytes) -> bool:
    """Whether *code* touches settings whose names are not in its text; `commands` knows better of code that can be read."""
    return _HIDES_NAMES.search(code) is not None or _has_foreign_names(code)


def hides_set_names(code: bytes) -> bool:
    """The same without set_config."""
    return _HIDES_SET_NAMES.search(code) is not None or _has_foreign_names(code)


def has_foreign_words(text: bytes) -> bool:
    """Whether *text* has words joined by dots that are not in ASCII: none of `candidates` either."""
    return not text.isascii() and any(not match[0].isascii() for match in _DOTTED.finditer(text))


def _has_foreign_names(text: bytes) -> bool:
    """Whether *text* has a SET of a name that is not in ASCII: such ones are not among `candidates`."""
    return any(not match[1].isascii() for match in _SET_NAME.finditer(text))


def amid_data(piece: bytes, makers: frozenset[bytes], unread: frozenset[bytes]) -> tuple[frozenset[bytes], int]:
    """The custom names that a piece of a long text, or of values bound to code, mentions, and whether there may be others:
    DYNAMIC if it makes names, UNREAD if it runs what nobody has seen.

    Names are those of SET and set_config only: words with a dot are mostly data. *makers* and *unread* are the names, in lower
    case, of what runs such code. In data all of these are seldom, so that looking for them costs little.
    """
    lower = piece.lower().replace(b'""', b'"')
    bits = flags.DYNAMIC if _names_any(lower, makers) else flags.UNREAD if _names_any(lower, unread) else 0
    if bits == flags.DYNAMIC or (b"set" not in lower and b"do" not in lower and b'u&"' not in lower):
        return frozenset(), bits
    named = _custom(_set_names(piece), _MOST_AMID_DATA)
    if hides_names(piece) or len(named) >= _MOST_AMID_DATA or _DO.search(piece) is not None:
        bits |= flags.DYNAMIC
    return named, bits


def _names_any(lower: bytes, names: frozenset[bytes]) -> bool:
    """Whether a text in lower case has one of these names as a word."""
    if NONASCII in names and not lower.isascii():
        return True
    return any(name in lower and re.search(rb"(?<![\w$])%b(?![\w$])" % re.escape(name), lower) for name in names)


_MAKES_CODE = re.compile(
    rb"\b(?:CREATE|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:\w+\s+)?(?P<what>AGGREGATE|CAST|DOMAIN|EXTENSION|FUNCTION|OPERATOR|POLICY|PROCEDURE"
    rb"|ROUTINE|RULE|TRIGGER|TYPE|VIEW|TABLE|INDEX)\b",
    re.IGNORECASE,
)


def makes_code(text: bytes) -> bool:
    """Whether *text*, which may run anything, says somewhere that it makes what the catalogs have to be read for."""
    return _MAKES_CODE.search(text) is not None


# Where a statement may begin, in a text or in a string.
_FIRST = rb"(?:\A|[';$/\n\r]|\b(?:begin|then|else|loop)\b)[^\S\n\r]*+"
# A LOAD, also one that is put together: behind the word is a literal, its seam, or a place for it. Words as in `functions.KINDS`.
_OUTLIVES = re.compile(
    _FIRST + rb"load" + BLANK + rb"(?:e?\\?'|u&|\$|%[\d$*-]*+[sl])"
    rb"|replication_origin_session|(?:create|copy)_(?:physical|logical)_replication_slot|dblink_(?:dis)?connect"
    rb"|\bpg_(?:start_|stop_)?backup(?:_start|_stop)?\b",
    re.IGNORECASE,
)
_RUNS_A_FILE = re.compile(_FIRST + rb"(?:create|alter)\b" + BLANK + rb"extension\b", re.IGNORECASE)


def outlives_reset(text: bytes) -> bool:
    """Whether *text*, or a string in it, says something of a library, a slot or the like, which no reset ends."""
    return _OUTLIVES.search(text) is not None


def runs_a_file(text: bytes) -> bool:
    """Whether *text*, or a string in it, runs an extension's script (manual, CREATE EXTENSION), which nobody has seen."""
    return _RUNS_A_FILE.search(text) is not None
