"""One piece of code as tokens, to be gone through closely, within a budget: no text is to hold up others."""

from __future__ import annotations

from collections.abc import Sequence

from pgpool_py.session.lexemes import LONGEST_NAME, Token, opens, tokens

_END_OF_COMMAND = frozenset((b";", b"into", b"using", b"loop"))


class TooMuchError(Exception):
    """Reading the code closely would take longer than there is."""


class Code:
    """The tokens of *text*, and its words and signs by their places: a word in lower case, nothing for what is neither."""

    def __init__(self, text: bytes) -> None:
        self.tokens = tokens(text)
        self.words = [value.lower() if kind == "word" else value if kind == "other" else b"" for kind, value in self.tokens]
        self.budget = 3 * len(self.tokens) + 2000

    def spend(self, count: int) -> None:
        """So many tokens are gone through. TooMuchError"""
        self.budget -= count
        if self.budget < 0:
            raise TooMuchError

    def word(self, at: int) -> bytes:
        """The word or sign that stands *at*; empty behind the end."""
        return self.words[at] if at < len(self.words) else b""

    def name(self, at: int) -> bytes:
        """The name that stands *at*, as PostgreSQL knows it; empty if none does."""
        kind, value = self.tokens[at] if at < len(self.tokens) else ("other", b"")
        return (value.lower() if kind == "word" else value[1:-1] if kind == "quoted" else b"")[:LONGEST_NAME]

    def expression(self, at: int, *, whole: bool = False) -> list[Token]:
        """The tokens of an expression that begins *at*; *whole*: up to the end of its statement."""
        depth = 0
        found: list[Token] = []
        for i in range(at, len(self.tokens)):
            word = self.words[i]
            if depth == 0 and (word == b";" or (not whole and word in _END_OF_COMMAND)):
                break
            depth = max(depth + opens(*self.tokens[i]), 0)
            found.append(self.tokens[i])
        self.spend(len(found) + 1)
        return found

    def bracket(self, at: int) -> Sequence[Token] | None:
        """What stands in the brackets that open *at*; None where none do."""
        inner = between(self.tokens, at)
        self.spend(len(self.tokens) - min(at, len(self.tokens)) if inner is None else len(inner))
        return inner


def between(tokens: Sequence[Token], at: int) -> Sequence[Token] | None:
    """What stands in the brackets that open *at*; None where none do, or nothing closes them."""
    depth = 0
    for i in range(at, len(tokens)):
        depth += opens(*tokens[i])
        if not depth:
            return tokens[at + 1 : i] if i > at else None
    return None
