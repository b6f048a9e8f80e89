"""What the text of a client hands to code that runs what it is given, and what the code runs that it brings along (decision 18).

Off the hot path: only texts that may run anything are looked at. Code itself is read in `commands`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pgpool_py.session.commands import commands
from pgpool_py.session.expressions import GIVEN, READ, UNREAD, Token, comma, literal, opens, split
from pgpool_py.session.lexemes import lexemes, words_of

# Of functions that run, or name settings by, some of their arguments: these, by their numbers from 0; none: any of them.
Given = Mapping[bytes, frozenset[int]]

_BRINGS_CODE = frozenset((b"do", b"create", b"alter"))
_DEEPEST = 40  # texts in texts that are followed
_CALL = 100  # tokens of a call
_STRINGS = ("string", "estring", "dollar")
_CONSTANTS = frozenset((b"null", b"true", b"false"))
_SIGNS = (("other", b"-"), ("other", b"+"))
_COLON = ("other", b":")
_PLAIN_TYPES = frozenset(
    b"text varchar json jsonb int int2 int4 int8 integer smallint bigint numeric boolean bool uuid date timestamp".split()
)
_MOST_NAMES = 200  # that patterns make
_LONGEST_NAME = 63


def is_unsure(text: bytes) -> bool:
    """Whether settings decide where strings end (`scan`): then nothing in *text* can be read closely."""
    return b"\\'" in text


def runs(text: bytes, *names: Iterable[bytes]) -> bool:
    """Whether *text* itself, not a string in it, has one of these names, or brings code along."""
    words = words_of(text)
    if all(words.isdisjoint(each) for each in (_BRINGS_CODE, *names)):
        return False
    outside = {value.strip(b'"').lower() for kind, value, _ in lexemes(text) if kind in ("word", "quoted")}
    return not all(outside.isdisjoint(each) for each in (_BRINGS_CODE, *names))


def reach(text: bytes, values: Iterable[bytes], given: Given, *, is_code: bool = False) -> tuple[int, frozenset[bytes]]:
    """What a text hands to functions that run what they are *given*, and what the code that it brings along runs: bits. And the
    settings that this code puts together the names of.

    *values* are bound to it. What is handed over as one literal or parameter was seen. *is_code*: it may run its own strings.
    """
    if not is_code and not runs(text, given):
        return READ, frozenset()
    settings: set[bytes] = set()
    bits = _reach(text, given, settings, is_code, 0)
    for value in values:
        bits |= _reach(value, given, settings, True, 1)
        if b"\\" in value:
            bits |= UNREAD  # what it says may be spelled in other words
    return (bits & ~GIVEN | UNREAD if bits & GIVEN else bits), frozenset(settings)


def _reach(text: bytes, given: Given, settings: set[bytes], code: bool, depth: int) -> int:
    if depth > _DEEPEST:
        return UNREAD
    words = words_of(text)
    if b"execute" not in words and b"set_config" not in words and words.isdisjoint(given):
        return READ
    bits = READ
    if code and depth:
        made = commands(text)
        bits |= made.bits
        settings |= made.settings
    tokens = [(kind, value) for kind, value, _ in lexemes(text)]
    for i, (kind, value) in enumerate(tokens):
        name = value.strip(b'"').lower() if kind in ("word", "quoted") else b""
        # In code a parameter is what others hand over.
        if name and name in given and not _in_full(tokens, i + 1, given[name], parameters=not code):
            bits |= UNREAD
        elif kind in _STRINGS:
            inner = literal([(kind, value)])
            bits |= inner.bits | _reach(inner.text, given, settings, True, depth + 1)
        elif kind == "unclosed":
            bits |= UNREAD
    return bits


def executed_in_full(text: bytes) -> bool:
    """Whether an EXECUTE of SQL, with nothing else in its text, has literals for all its arguments."""
    tokens = [(kind, value) for kind, value, _ in lexemes(text)]
    return tokens[2:] in ([], [("other", b";")]) or _in_full(tokens, 2, frozenset(), parameters=False)


def _in_full(tokens: list[Token], at: int, numbers: frozenset[int], *, parameters: bool) -> bool:
    """Whether those of a call's arguments, which begin *at*, are literals or, where these were seen, parameters."""
    depth = 0
    for end in range(at, min(at + _CALL, len(tokens))):
        depth += opens(*tokens[end])
        if not depth:
            break
    else:
        return False
    arguments = split(tokens[at + 1 : end], comma)
    if any(argument[1:3] in (_ARROW, _ASSIGNS) for argument in arguments) or max(numbers, default=0) >= len(arguments):
        return False  # a default may be among them
    return end > at and all(
        _was_seen(argument, parameters) for number, argument in enumerate(arguments) if not numbers or number in numbers
    )


_ARROW: list[Token] = [("other", b"="), ("other", b">")]
_ASSIGNS: list[Token] = [("other", b":"), ("other", b"=")]


def _was_seen(tokens: Sequence[Token], parameters: bool) -> bool:
    """Whether an argument is one literal, number or, if these are *parameters* that were seen, one of them; with a cast at most
    that changes nothing of it."""
    tokens = [token for token in tokens if token not in _SIGNS]
    (kind, value), casts = tokens[0] if tokens else ("other", b""), tokens[1:]
    if not all(each == _COLON or (each[0] == "word" and each[1].lower() in _PLAIN_TYPES) for each in casts):
        return False
    if kind in _STRINGS:
        return b"\\" not in value  # else what it says may be spelled in other words
    return kind == "number" or (kind == "param" and parameters) or (kind == "word" and value.lower() in _CONSTANTS)


def completions(patterns: Iterable[tuple[bytes, bytes]], text: bytes, values: Iterable[bytes]) -> frozenset[bytes] | None:
    """The names that code makes which puts what it is given between what stands in *patterns*; None: too many."""
    given: set[bytes] = set()
    _strings(text, given, 0)
    for value in values:
        if len(value) <= _LONGEST_NAME:
            given.add(value)
        _strings(value, given, 0)
    names = {before + value.lower() + behind for before, behind in patterns for value in given}
    names = {name for name in names if b"." in name and name.isascii()}
    return frozenset(names) if len(names) <= _MOST_NAMES else None


def _strings(text: bytes, found: set[bytes], depth: int) -> None:
    """Add the string constants of *text*, and those within them, to *found*."""
    for kind, value, _ in lexemes(text):
        if kind in _STRINGS:
            inner = literal([(kind, value)]).text
            if len(inner) <= _LONGEST_NAME:
                found.add(inner)
            if depth < _DEEPEST and (b"'" in inner or b"$" in inner):
                _strings(inner, found, depth + 1)
