"""What is known of a database's code that makes commands, or names of settings, at run time (decision 18)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pgpool_py.session.lexemes import NONASCII, folded, words_of_name

Patterns = frozenset[tuple[bytes, bytes]]  # what stands before and behind an argument in a name


class Names:
    """Names of a database, `all` of them `folded`, to be looked for anywhere in texts, also in strings."""

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self.all = frozenset(map(folded, names))
        self.in_quotes = [words for name in self.all if name != NONASCII and (words := words_of_name(name)) != {name}]

    def are_among(self, words: set[bytes]) -> bool:
        """Whether a text with these words may have one of the names: one that can only stand in quotes by all words of it."""
        if not words.isdisjoint(self.all) or any([each <= words for each in self.in_quotes]):
            return True
        return NONASCII in self.all and any([not word.isascii() for word in words])


class Given(Names):
    """Functions that run, or name settings by, some of their arguments: these, by their `numbers` from 0; none: any of them.
    `namers` are those that name settings."""

    def __init__(self, numbers: Mapping[bytes, frozenset[int]], namers: Collection[bytes] = ()) -> None:
        super().__init__(numbers)
        self.numbers = numbers
        self.namers = frozenset(namers)


NONE = Names()
NONE_GIVEN = Given({})


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What is known, bits of it are of MADE.

    `makers`, `unread`  names that lead to DYNAMIC, and to UNREAD, code; `opaque`: to code that nobody has read
    `given`             functions that run, or name settings by, what they are given; `patterns`: these names
    `everywhere`        what any text may do, by code that runs without being named
    `unknown`           what may do that nobody knows the name of, by `made_texts`
    """

    makers: Names = NONE
    unread: Names = NONE
    opaque: Names = NONE
    given: Given = NONE_GIVEN
    patterns: Patterns = frozenset()
    everywhere: int = 0
    unknown: Mapping[bytes, int] = field(default_factory=dict)
