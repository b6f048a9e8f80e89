"""Statement texts, and code, as lexemes by PostgreSQL's rules (manual 4.1): off the hot path, for those who read texts closely.

The scan (`scan`) goes its own way, in one pass and without objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

Token = tuple[str, bytes]  # its kind, one of the groups of the pattern below, and what stands there
STRINGS = ("string", "estring", "dollar")
TEXT_TYPES = ([b"text"], [b"varchar"], [b"character", b"varying"])  # what is cast to these stays as it is
LONGEST_NAME = 63  # bytes of an identifier; PostgreSQL cuts longer ones
NONASCII = b"\x80"  # stands for all names outside ASCII
_REMEMBERED = 4096  # bytes of a text whose tokens are: several ask for them, and texts come again

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
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


def words_of(text: bytes) -> set[bytes]:
    """Every word of *text*, wherever it stands, in lower case. In a string a dollar may end it (`$$table t$$`), though names may
    have some, and the letter of an escape is none of it (`E'select\\nf()'`)."""
    found = words_of_name(text)
    if b"$" in text:
        found.update([part for word in found for part in word.split(b"$")])
    if b"\\" in text:
        found.update([word.lower() for word in _WORD.findall(_ESCAPE.sub(b" ", text))])
    return found


def words_of_name(name: bytes) -> set[bytes]:
    """The words of a name, in lower case: one, unless it can only stand in quotes. They stand in each text that has the name:
    quotes and escapes are none of them."""
    return {word[:LONGEST_NAME].lower() for word in _WORD.findall(name)}


def folded(name: bytes) -> bytes:
    """A name as it is looked for: in lower case. All outside ASCII are one, as their bytes depend on the client's encoding."""
    return name[:LONGEST_NAME].lower() if name.isascii() else NONASCII


def name_of(token: Token) -> bytes:
    """The name that a token is, `folded`; empty if it is none."""
    kind, value = token
    return folded(value) if kind == "word" else folded(value[1:-1].replace(b'""', b'"')) if kind == "quoted" else b""


def tokens(text: bytes) -> tuple[Token, ...]:
    """The lexemes of *text* without their places."""
    return _tokens_again(text) if len(text) <= _REMEMBERED else _tokens(text)


def _tokens(text: bytes) -> tuple[Token, ...]:
    return tuple((kind, value) for kind, value, _ in lexemes(text))


_tokens_again = lru_cache(maxsize=64)(_tokens)

Separator = Callable[[Sequence[Token], int], int]  # how many tokens separate at that place, 0: none do
BARS: tuple[Token, Token] = (("other", b"|"), ("other", b"|"))
_ARITHMETIC = frozenset((b"+", b"-", b"*", b"/", b"%"))


def concatenation(tokens: Sequence[Token], i: int) -> int:
    """`||` separates."""
    return 2 if tuple(tokens[i : i + 2]) == BARS else 0


def arithmetic(tokens: Sequence[Token], i: int) -> int:
    """The operators of numbers separate."""
    return 1 if tokens[i][0] == "other" and tokens[i][1] in _ARITHMETIC else 0


def comma(tokens: Sequence[Token], i: int) -> int:
    """A comma separates."""
    return 1 if tokens[i] == ("other", b",") else 0


def split(tokens: Sequence[Token], separator: Separator) -> list[list[Token]]:
    """The tokens between separators that stand in no brackets."""
    parts: list[list[Token]] = [[]]
    depth = i = 0
    while i < len(tokens):
        kind, value = tokens[i]
        length = separator(tokens, i) if depth == 0 else 0
        if length:
            parts.append([])
            i += length
            continue
        depth += opens(kind, value)
        parts[-1].append(tokens[i])
        i += 1
    return parts


def is_called(words: Sequence[bytes], at: int) -> bool:
    """Whether the function whose name stands *at*, one of several arguments, is called there, or by an aggregate (SFUNC = f).

    Else it is a column's name or an alias, perhaps with a column of its own: `f(...) AS f`, `FROM f(...) f(f)`, as PostgreSQL
    prints code. *words* are words and signs by their places.
    """
    if words[at + 1 : at + 2] == [b"("]:
        return words[at + 3 : at + 4] != [b")"]
    while words[at - 1 : at] == [b"."]:
        at -= 2
    return words[at - 1 : at] == [b"="]


def opens(kind: str, value: bytes) -> int:
    """1 for an opening bracket or CASE, -1 for a closing one or END."""
    if kind == "word":
        word = value.lower()
        return (word == b"case") - (word == b"end")
    return (value in (b"(", b"[")) - (value in (b")", b"]")) if kind == "other" else 0


def closes(tokens: Sequence[Token]) -> bool:
    """Whether the bracket with which the tokens begin closes with the last of them."""
    depth = 0
    for i, (kind, value) in enumerate(tokens):
        depth += opens(kind, value)
        if not depth:
            return i == len(tokens) - 1 and value == b")"
    return False
