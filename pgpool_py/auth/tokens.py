"""The words of a line of pg_hba.conf or pg_ident.conf: bare, quoted, commas, and where the line ends.

Knows quoting only. A quoted word is never a keyword, so every word says whether it was in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r'[ \t\r\v\f]*(?:(#.*|\n?$)|(,)|"((?:[^"]|"")*)"|([^ \t\r\v\f\n,#"]+))')


class BadLine(Exception):
    """A line that cannot be used; the text says why, and never shows a secret."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line."""

    text: str
    quoted: bool = False

    def is_keyword(self, keyword: str) -> bool:
        return not self.quoted and self.text == keyword


class Words:
    """The words of one line, taken one by one."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether nothing but a comment is left."""
        found = _TOKEN.match(self._line, self._at)
        return found is not None and found[1] is not None

    def rest(self) -> str:
        """What has not been taken yet, as it stands."""
        rest, self._at = self._line[self._at :], len(self._line)
        return rest.strip()

    def take(self, expected: str) -> Word:
        """The next word; BadLine naming what was *expected* if there is none."""
        word = self.take_any()
        if word is None:
            raise BadLine(f"expected {expected}")
        return word

    def take_any(self) -> Word | None:
        """The next word, or None at the end or at a comma."""
        found = _TOKEN.match(self._line, self._at)
        if found is None:
            raise BadLine("a double quote is not closed")
        if found[1] is not None or found[2] is not None:
            return None
        self._at = found.end()
        return Word(found[4]) if found[4] is not None else Word(found[3].replace('""', '"'), quoted=True)

    def take_comma(self) -> bool:
        """Step over a comma, if one comes next."""
        found = _TOKEN.match(self._line, self._at)
        if found is None or found[2] is None:
            return False
        self._at = found.end()
        return True
