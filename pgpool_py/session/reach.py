"""What the text of a client hands to code that runs what it is given, and what the code runs that it brings along (decision 18).

Off the hot path: only texts that may run anything are looked at. Code itself is read in `commands`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pgpool_py.session import flags
from pgpool_py.session.code import between
from pgpool_py.session.code_facts import CodeFacts, Given, Names
from pgpool_py.session.commands import Commands, commands
from pgpool_py.session.expressions import literal
from pgpool_py.session.lexemes import LONGEST_NAME, STRINGS, Token, comma, name_of, split, tokens, words_of
from pgpool_py.session.made_texts import GIVEN, MAKES, READ, RELATION, UNREAD
from pgpool_py.session.mentions import NUMBERED, candidates, has_foreign_words, hides_set_names
from pgpool_py.session.scan import Scanner
from pgpool_py.session.statement_texts import BLANK

_BRINGS_CODE = Names((b"do", b"create", b"alter"))
_DEEPEST = 40  # texts in texts that are followed
_CALL = 100  # tokens of a call
_CONSTANTS = frozenset((b"null", b"true", b"false"))
_SIGNS = (("other", b"-"), ("other", b"+"))
_COLON = ("other", b":")
_PLAIN_TYPES = frozenset(
    b"text varchar json jsonb int int2 int4 int8 integer smallint bigint numeric boolean bool uuid date timestamp".split()
)
# A part of a name is completed with what stands there: these types change nothing of it.
_TYPES_OF_NAMES = frozenset(b"text varchar json".split())
_LONGEST_PART = 256  # of a name that code completes
_CONTROL = re.compile(rb"[\x00-\x1f]")
# In the binary format: bytes of whole numbers; truths.
_NUMBERS = frozenset((2, 4, 8))
_TRUTHS = {b"\1": b"true", b"t": b"true", b"\0": b"false", b"f": b"false"}
_MOST_NAMES = 200  # that patterns make


def is_unsure(text: bytes) -> bool:
    """Whether settings decide where strings end (`scan`): then nothing in *text* can be read closely."""
    return b"\\'" in text


# What runs code of relations and indexes without a name of theirs in its text.
_UPKEEP = re.compile(rb"\b(?:alter|refresh|reindex|cluster|vacuum|analy[sz]e)\b", re.IGNORECASE)
_UPKEEP_FIRST = re.compile(BLANK + _UPKEEP.pattern, re.IGNORECASE)


def is_upkeep(text: bytes, *, first: bool = False) -> bool:
    """Whether *text*, or code in it, looks after relations; *first*: its first statement does."""
    return (_UPKEEP_FIRST.match(text) if first else _UPKEEP.search(text)) is not None


def runs(text: bytes, *names: Names) -> bool:
    """Whether *text* itself, not a string in it, has one of these names, or brings code along."""
    words = words_of(text)
    if not any(each.are_among(words) for each in (_BRINGS_CODE, *names)):
        return False
    outside = set(map(name_of, tokens(text)))
    return not all(outside.isdisjoint(each.all) for each in (_BRINGS_CODE, *names))


def reached(text: bytes, values: Sequence[bytes], verdict: int, code: CodeFacts) -> tuple[int, frozenset[bytes]]:
    """What may come of a text that runs code, or brings it, and of the *values* bound to it: DYNAMIC, if that makes setting
    names; UNREAD, if it runs commands that nobody has seen; and the names that it makes, as far as they are known."""
    bits = verdict | code.everywhere
    if is_upkeep(text):
        bits |= code.unknown.get(RELATION, 0)
    named: frozenset[bytes] = frozenset()
    unsure = is_unsure(text)
    if unsure or runs(text, code.given, code.unread):
        # Something runs the strings in it, or those that are bound to it.
        found = reach(text, values, code.given)
        words = words_of(text).union(found.words, *map(words_of, values))
        if code.makers.are_among(words) or any(map(hides_set_names, values)):
            bits |= MAKES
        if code.unread.are_among(words) or (unsure and b"execute" in words):
            bits |= UNREAD
        bits |= found.bits
        named = found.settings
        for each in found.unknown:
            bits |= code.unknown.get(each, 0)
        if code.patterns:
            more = completions(code.patterns, text, values)
            bits |= UNREAD if more is None else READ
            named |= more or frozenset()
    return bits & flags.MADE, named


def brings_code(text: bytes, scanner: Scanner) -> bool:
    """Whether *text* names code that nobody has read, or brings such code along."""
    found = reach(text, (), scanner.code.given)
    code = scanner.code
    words = words_of(text).union(found.words)
    return bool(found.bits) or any([code.unknown.get(each) for each in found.unknown]) or code.opaque.are_among(words)


def bound_to(made: Commands, values: Sequence[bytes]) -> tuple[int, frozenset[bytes]]:
    """The names that a text with these set_configs takes out of the *values* bound to it; UNREAD where there may be others."""
    unread = made.bits & UNREAD
    names = [values[number] for number in made.given if number < len(values)]
    if any([has_foreign_words(name) if made.picks else not _is_asked_for(name) for name in names]):
        unread = UNREAD
    named = completions(made.patterns, b"", values)
    if named is None:
        return UNREAD, frozenset()
    if made.picks:
        named = named.union(*map(candidates, values))
        if any(b"\\" in value for value in values):
            unread = UNREAD  # they may be spelled in other words
    return unread, named


class Reach(NamedTuple):
    """What is run: bits; the settings that this puts together the names of; what it names that nobody knows, as of `Commands`;
    and words that it puts together."""

    bits: int = READ
    settings: frozenset[bytes] = frozenset()
    unknown: frozenset[bytes] = frozenset()
    words: frozenset[bytes] = frozenset()


def reach(text: bytes, values: Sequence[bytes], given: Given, *, is_code: bool = False) -> Reach:
    """What a text hands to functions that run what they are *given*, and what the code that it brings along runs.

    *values* are bound to it. What is handed over as one literal or parameter was seen. *is_code*: it may run its own strings.
    """
    if not is_code and not runs(text, given):
        return Reach()
    code: list[Commands] = []
    bits = _reach(text, given, code, None if is_code else values, 0)
    if not is_code and _spells_code(text):
        bits |= UNREAD
    for value in values:
        bits |= _reach(value, given, code, None, 1)
        if b"\\" in value:
            bits |= UNREAD  # what it says may be spelled in other words
    return Reach(
        bits & ~GIVEN | UNREAD if bits & GIVEN else bits,
        frozenset().union(*[made.settings for made in code]),
        frozenset().union(*[made.unknown for made in code]),
        frozenset().union(*[made.words for made in code]) - words_of(text),
    )


def _spells_code(text: bytes) -> bool:
    """Whether a string of *text*, which may be code, is spelled with characters by their numbers (manual 4.1.2.2)."""
    before = ("", b"")
    for token in tokens(text):
        kind, value = token
        if kind in ("string", "estring") and NUMBERED.search(value) is not None:
            return True
        if kind == "other" and value == b"&" and before[1] in (b"u", b"U"):
            return True
        before = token
    return False


def _reach(text: bytes, given: Given, found: list[Commands], values: Sequence[bytes] | None, depth: int) -> int:
    """*values* are what is bound to the text; None: it is code, where a parameter is what others hand over."""
    if depth > _DEEPEST:
        return UNREAD
    words = words_of(text)
    if b"execute" not in words and b"set_config" not in words and not given.are_among(words):
        return READ
    bits = READ
    if values is None and depth:
        made = commands(text)
        bits |= made.bits
        found.append(made)
    read = tokens(text)
    for i, (kind, value) in enumerate(read):
        name = name_of((kind, value))
        numbers = given.numbers.get(name)
        if numbers is not None and not _in_full(read, i + 1, numbers, values, is_name=name in given.namers):
            bits |= UNREAD
        elif kind in STRINGS:
            inner = literal([(kind, value)])
            bits |= inner.bits | _reach(inner.text, given, found, None, depth + 1)
        elif kind == "unclosed":
            bits |= UNREAD
    return bits


def executed_in_full(text: bytes, numbers: frozenset[int]) -> bool:
    """Whether an EXECUTE of SQL, with nothing else in its text, has literals for its arguments of these *numbers*, or all."""
    read = tokens(text)
    return read[2:] in ((), (("other", b";"),)) or _in_full(read, 2, numbers, None, is_name=True)


def _in_full(
    read: Sequence[Token], at: int, numbers: frozenset[int], values: Sequence[bytes] | None, *, is_name: bool
) -> bool:
    """Whether those of a call's arguments, which begin *at*, are literals or, where *values* are bound to them, parameters.

    *is_name*: they are names of settings, or complete these.
    """
    inner = between(read[: at + _CALL], at)
    if inner is None:
        return False
    arguments = split(inner, comma)
    if any(argument[1:3] in (_ARROW, _ASSIGNS) for argument in arguments) or max(numbers, default=0) >= len(arguments):
        return False  # a default may be among them
    asked = [argument for number, argument in enumerate(arguments) if not numbers or number in numbers]
    return all([_was_seen(argument, values, is_name) for argument in asked])


_ARROW: list[Token] = [("other", b"="), ("other", b">")]
_ASSIGNS: list[Token] = [("other", b":"), ("other", b"=")]


def _was_seen(argument: Sequence[Token], values: Sequence[bytes] | None, is_name: bool) -> bool:
    """Whether an argument is one literal, number or, if *values* are bound to these, parameter; with a cast at most that changes
    nothing of it. *is_name*: no number, which may be spelled in other words when it is a part of a name."""
    unsigned = [token for token in argument if token not in _SIGNS]
    (kind, value), casts = unsigned[0] if unsigned else ("other", b""), unsigned[1:]
    types = _TYPES_OF_NAMES if is_name else _PLAIN_TYPES
    if not all(each == _COLON or (each[0] == "word" and each[1].lower() in types) for each in casts):
        return False
    if kind in STRINGS:
        # Else what it says may be spelled in other words.
        return b"\\" not in value and (not is_name or _is_asked_for(value))
    if kind == "param" and values is not None:
        return not is_name or all(map(_is_asked_for, values[int(value[1:]) - 1 :][:1]))
    return not is_name and (kind == "number" or (kind == "word" and value.lower() in _CONSTANTS))


def _is_asked_for(part: bytes) -> bool:
    """Whether anybody asks for the settings whose names this is a part of; a value with control characters may be no text."""
    return part.isascii() and len(part) <= _LONGEST_PART and _CONTROL.search(part) is None


def completions(patterns: Iterable[tuple[bytes, bytes]], text: bytes, values: Iterable[bytes]) -> frozenset[bytes] | None:
    """The names that code makes which puts what it is given between what stands in *patterns*; None: too many. The *values* are
    texts or, in the binary format, anything."""
    given: set[bytes] = set()
    _strings(text, given, 0)
    for value in values:
        if len(value) <= _LONGEST_PART:
            given.update((value, _TRUTHS.get(value, value)))
        if len(value) in _NUMBERS:
            given.add(b"%d" % int.from_bytes(value, signed=True))
        _strings(value, given, 0)
    # Arguments of the types character and name lose blanks at their end, or are cut.
    given.update([value.rstrip(b" ") for value in given], [value[:LONGEST_NAME] for value in given])
    names = {before + value.lower() + behind for before, behind in patterns for value in given}
    names = {name for name in names if b"." in name and name.isascii() and b"\0" not in name}
    return frozenset(names) if len(names) <= _MOST_NAMES else None


def _strings(text: bytes, found: set[bytes], depth: int) -> None:
    """Add the string constants of *text*, and those within them, to *found*."""
    for kind, value in tokens(text):
        if kind in STRINGS:
            inner = literal([(kind, value)]).text
            if len(inner) <= _LONGEST_PART:
                found.add(inner)
            if depth < _DEEPEST and (b"'" in inner or b"$" in inner):
                _strings(inner, found, depth + 1)
