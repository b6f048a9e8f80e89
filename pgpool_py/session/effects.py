"""What a text that is not plain says it does to settings: which names, for how long, and what goes back to its start.

Off the hot path: asked only for texts whose verdict has SETTINGS, LISTEN, CLEANUP or OPAQUE. It gathers names, never
values: values are read from the server afterwards (`look`), which alone knows what was rolled back and how a value is spelled.

Where a name cannot be known from the text the answer is `whole`: everything must be looked at. Then `candidates` are the
names of custom settings that the text could mean, since no catalog lists those (manual, 20.16).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from pgpool_py.session import flags
from pgpool_py.session.settings import AUTHORIZATION, ROLE

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
# Words joined by dots, wherever they stand: in a string, a function's body, a SET; a custom setting's name may be among them.
# It begins where a run of such bytes does, and never looks back: no text can hold up the others (likewise in all patterns here).
_DOTTED = re.compile(rb"(?<![\w$\x80-\xff])[\w$\x80-\xff]++(?:\.[\w$\x80-\xff]++)+")
# SET in code: spaces, and comments that are neither long nor nested; a part of a name; SET of a name with dots.
_GAP = rb"(?:\s|--[^\n\r]{0,300}+[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*)){0,300}+\*/)"
_PART = rb"(?:[A-Za-z_\x80-\xff][\w$\x80-\xff]*+|\"(?:[^\"]|\"\"){1,256}+\")"
_SET = rb"\bSET\b" + _GAP + rb"*+(?:(?:LOCAL|SESSION)\b" + _GAP + rb"*+)?"
_SET_NAME = re.compile(_SET + rb"(%b(?:%b*+\.%b*+%b)++)" % (_PART, _GAP, _GAP, _PART), re.IGNORECASE)
_NAME_PARTS = re.compile(_GAP + rb"|(" + _PART + rb")")
_SET_CONFIG = re.compile(rb"set_config\"?\s*+\(\s*+'{1,4}([^']{1,256}+)'", re.IGNORECASE)
_NO_START = b"$0123456789"  # of a word
_CANDIDATES = 200  # names asked for at most
_LONGEST = 63  # bytes of an identifier; PostgreSQL cuts longer ones
_LONG_NAME = 256  # longer ones are no names

_CHARACTERISTICS = (
    b"default_transaction_isolation",
    b"default_transaction_read_only",
    b"default_transaction_deferrable",
)
_SPECIAL = {b"names": b"client_encoding", b"schema": b"search_path", b"seed": b"seed", b"xml": b"xmloption"}


@dataclass(frozen=True, slots=True)
class Effects:
    """Names in lower case; `passing` ones end with the transaction, except that a custom one stays defined.

    `resets_all`  RESET ALL: every name does, role and session authorization apart
    `parameters`  parameters, from 0, whose value is a name given to set_config
    `listens`     the text has LISTEN or UNLISTEN of a channel
    `whole`       anything may have changed
    `candidates`  with `whole`: custom names the text mentions
    `unknowable`  custom settings may have been made whose names nobody can know
    `single`      the text is one statement
    """

    names: frozenset[bytes] = frozenset()
    passing: frozenset[bytes] = frozenset()
    resets_all: bool = False
    parameters: tuple[int, ...] = ()
    listens: bool = False
    whole: bool = False
    candidates: frozenset[bytes] = frozenset()
    unknowable: bool = False
    single: bool = True


def candidates(text: bytes, limit: int = _CANDIDATES) -> frozenset[bytes]:
    """Custom names that *text* mentions, anywhere in it; some *limit* of them, see `crowded`."""
    dotted = (name for match in _DOTTED.finditer(text) for name in _named(match[0].split(b".")))
    return _custom(chain(_set_names(text), dotted), limit)


def _custom(names: Iterable[list[bytes]], limit: int) -> frozenset[bytes]:
    """Those of *names*, given as their parts, that can be custom settings', as PostgreSQL knows them."""
    found: set[bytes] = set()
    for parts in names:
        name = b".".join(parts)
        if len(name) < _LONG_NAME and name.isascii():
            found.add(name.lower())
            if len(name) > _LONGEST:
                found.add(b".".join([part[:_LONGEST] for part in parts]).lower())  # as SET reads it
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
            if (short := name[0].rpartition(b"$")[2].lstrip(_NO_START)) and short != name[0]:
                yield [short, *name[1:]]  # the rest may be a dollar quote's tag
        start = word.lstrip(_NO_START)
        name = [start] if start else []


def crowded(names: frozenset[bytes]) -> bool:
    """Whether there may have been more of them than are asked for."""
    return len(names) >= _CANDIDATES


# A setting's name that is made at run time, or hidden behind comments.
_HIDDEN_NAME = (
    rb"set_config\"?\s*+(?:/\*|--|\((?!\s*+'{1,4}[^'\x80-\xff]{0,300}+'{1,4}\s*+(?:::\s*+\w++\s*+)?,))"
    rb"|U&\""
    rb"|%b(?:%b%b*+(?:\.%b*+(?:%b%b*+)?+)*+)?+(?:/\*|--)"
) % (_SET, _PART, _GAP, _GAP, _PART, _GAP)
# A command made at run time. EXECUTE of a text that begins with a literal is what the literal's first word says.
_MADE_COMMAND = (
    rb"\bEXECUTE\s+(?!(?:format\s*\(\s*)?(?:[eE]?'|\$\w*\$)\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE"
    rb"|LOCK|COMMENT|REFRESH|ANALYZE|COPY|WITH|NOTIFY|LISTEN|UNLISTEN|DEALLOCATE|PREPARE|VACUUM)\b)"
    rb"(?!(?:PROCEDURE|FUNCTION)\b)"
)
_MAKES_NAMES = re.compile(_HIDDEN_NAME + rb"|" + _MADE_COMMAND, re.IGNORECASE | re.DOTALL)
# The same within much data, where EXECUTE is mostly a word; code would be a DO.
_MAKES_NAMES_AMID_DATA = re.compile(
    _HIDDEN_NAME + rb"|\bDO\s+(?:LANGUAGE\s+\"?\w+\"?\s+)?(?:[eE]?'|\$\w*\$)", re.IGNORECASE | re.DOTALL
)


# A name in any other place has a spelling of its own (TIME ZONE, SCHEMA).
_ONE_LOCAL = re.compile(
    rb"\s*+SET\s++LOCAL\s++(?:([A-Za-z_][\w.]*+)(?=\s*+=|\s++TO\b)|(ROLE)\b)[^;]*+;?\s*+\Z", re.IGNORECASE
)
_SETS = re.compile(rb"\bSET\b", re.IGNORECASE)


def local_names(text: bytes, verdict: int) -> frozenset[bytes]:
    """The settings, in lower case, that *text* changes for its transaction; quick where that is one SET LOCAL."""
    one = _ONE_LOCAL.match(text)
    if one is not None:
        return frozenset(((one[1] or one[2]).lower(),))
    return effects(text, verdict).passing if _SETS.search(text) is not None else frozenset()


def makes_names(code: bytes) -> bool:
    """Whether *code*, of a function or a DO, can touch settings whose names are not in its text."""
    return _MAKES_NAMES.search(code) is not None or _has_foreign_names(code)


def _has_foreign_names(text: bytes) -> bool:
    """Whether *text* has a SET of a name that is not in ASCII: such ones are not among `candidates`."""
    return any(not match[1].isascii() for match in _SET_NAME.finditer(text))


def amid_data(piece: bytes, makers: frozenset[bytes]) -> Effects | None:
    """What a piece of a long text, or of values bound to code, does to custom settings; None: as far as can be seen, nothing.

    Names are those of SET and set_config only: words with a dot are mostly data. *makers* are the names, in lower case, of what
    runs code that makes names. In data all of these are seldom, so that looking for them costs little.
    """
    lower = piece.lower()
    if any(maker in lower and re.search(rb"(?<![\w$])%b(?![\w$])" % re.escape(maker), lower) for maker in makers):
        return Effects(whole=True, unknowable=True, single=False)
    if b"set" not in lower and b"do" not in lower and b'u&"' not in lower:
        return None
    unknowable = _MAKES_NAMES_AMID_DATA.search(piece) is not None or _has_foreign_names(piece)
    named = _custom(_set_names(piece), _CANDIDATES)
    if not named and not unknowable:
        return None
    return Effects(whole=True, candidates=named, unknowable=unknowable or crowded(named), single=False)


_MAKES_CODE = re.compile(
    rb"\b(?:CREATE|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:\w+\s+)?(?P<what>AGGREGATE|CAST|DOMAIN|EXTENSION|FUNCTION|OPERATOR|POLICY|PROCEDURE"
    rb"|ROUTINE|RULE|TRIGGER|TYPE|VIEW|TABLE|INDEX)\b",
    re.IGNORECASE,
)


def makes_code(text: bytes) -> bool:
    """Whether *text*, which may run anything, says somewhere that it makes what the catalogs have to be read for."""
    return _MAKES_CODE.search(text) is not None


def effects(text: bytes, verdict: int) -> Effects:
    """Return what *text*, without its closing zero byte, does to settings; *verdict* is that of the scan."""
    if verdict & flags.OPAQUE:
        named = candidates(text)
        return Effects(
            whole=True,
            candidates=named,
            listens=bool(re.search(rb"listen", text, re.IGNORECASE)),
            unknowable=bool(verdict & flags.DYNAMIC) or makes_names(text) or crowded(named),
            single=False,
        )
    reader = Reader()
    count = 0
    read = statements(text)
    if read is None:
        return Effects(whole=True, candidates=candidates(text), listens=True, unknowable=True, single=False)
    for tokens, _ in read:
        if tokens:
            count += 1
            reader.read(tokens)
    settings = verdict & flags.SETTINGS
    found = reader.names or reader.passing or reader.resets or reader.resets_all or reader.parameters
    whole = reader.whole or bool(settings and not found)
    return Effects(
        names=frozenset(reader.names | reader.resets),
        passing=frozenset(reader.passing - reader.names),
        resets_all=reader.resets_all,
        parameters=tuple(reader.parameters),
        listens=reader.listens,
        whole=whole,
        candidates=candidates(text) if whole else frozenset(),
        unknowable=whole,
        single=count == 1,
    )


# A token: its kind ("w" a name, lower case; "q" a quoted name; "s" a string; "p" a parameter; "o" anything else) and content.
_Token = tuple[str, bytes]


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


def statements(text: bytes) -> list[tuple[list[_Token], int]] | None:
    """The statements of *text* as tokens, each with where its last token ends; None if a comment has no end."""
    result: list[tuple[list[_Token], int]] = []
    current: list[_Token] = []
    last = 0
    for kind, value, end in lexemes(text):
        if value == b";":
            result.append((current, last))
            current = []
            continue
        last = end
        if kind == "word":
            current.append(("w", value.lower()))
        elif kind == "quoted":
            current.append(("q", value[1:-1].replace(b'""', b'"')))
        elif kind == "string":
            current.append(("s", value[1:-1].replace(b"''", b"'")))
        elif kind == "param":
            current.append(("p", value[1:]))
        elif kind in ("estring", "dollar"):
            plain = kind == "estring" and b"\\" not in value
            current.append(("s", value[2:-1].replace(b"''", b"'")) if plain else ("o", value))
        elif kind == "unclosed":
            return None
        else:
            current.append(("o", value))
    result.append((current, last))
    return result


def _comment_end(text: bytes, at: int) -> int:
    depth = 1
    while depth:
        opens, closes = text.find(b"/*", at), text.find(b"*/", at)
        if closes < 0:
            return -1
        if 0 <= opens < closes:
            depth, at = depth + 1, opens + 2
        else:
            depth, at = depth - 1, closes + 2
    return at


class Reader:
    """Gathers the effects of one statement after the other.

    `local_resets`  names that SET LOCAL sends back to the session's start, for this transaction
    `discards`      there is a DISCARD ALL
    """

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.passing: set[bytes] = set()
        self.resets: set[bytes] = set()
        self.resets_all = False
        self.local_resets: set[bytes] = set()
        self.discards = False
        self.parameters: list[int] = []
        self.listens = False
        self.whole = False

    def read(self, tokens: list[_Token]) -> None:
        lead = tokens[0]
        if lead == ("w", b"set"):
            self._set(tokens[1:])
        elif lead == ("w", b"reset"):
            self._reset(tokens[1:])
        elif tokens == [("w", b"discard"), ("w", b"all")]:
            self.discards = True
        elif lead in (("w", b"listen"), ("w", b"unlisten")):
            self.listens = self.listens or tokens[-1] != ("o", b"*")
        for i, token in enumerate(tokens):
            if token[1] == b"set_config" and token[0] in "wq":
                self._set_config(tokens[i + 1 :])

    def _set(self, rest: list[_Token]) -> None:
        passing = False
        if rest[:2] == [("w", b"session"), ("w", b"characteristics")]:
            self.names.update(_CHARACTERISTICS)
            return
        if rest[:1] == [("w", b"local")]:
            passing, rest = True, rest[1:]
        elif rest[:1] == [("w", b"session")] and rest[1:2] != [("w", b"authorization")]:
            rest = rest[1:]
        into = self.passing if passing else self.names
        back = self.local_resets if passing else self.resets
        words = [value if kind == "w" else b"" for kind, value in rest[:3]]
        dotted = len(rest) > 1 and rest[1] == ("o", b".")
        if words[:2] == [b"session", b"authorization"]:
            into.update((AUTHORIZATION, ROLE))
            if words[2:] == [b"default"]:
                back.update((AUTHORIZATION, ROLE))
        elif words[:2] == [b"time", b"zone"]:
            into.add(b"timezone")
            if words[2:] in ([b"default"], [b"local"]):
                back.add(b"timezone")
        elif words[:1] == [ROLE]:
            into.add(ROLE)
            if rest[2:] == [("w", b"default")]:
                back.add(ROLE)
        elif words[:1] in ([b"transaction"], [b"constraints"]) and not dotted:
            return
        elif words and words[0] in _SPECIAL and not dotted and words[1:2] != [b"to"] and rest[1:2] != [("o", b"=")]:
            into.add(_SPECIAL[words[0]])
            if words[0] == b"names" and words[1:] in ([], [b"default"]):
                back.add(b"client_encoding")
        else:
            name, rest = _name(rest)
            if name is None:
                self.whole = True
                return
            into.add(name)
            if rest[1:] == [("w", b"default")]:
                back.add(name)

    def _reset(self, rest: list[_Token]) -> None:
        words = [value if kind == "w" else b"" for kind, value in rest[:2]]
        if words == [b"all"]:
            self.resets_all = True
        elif words == [b"session", b"authorization"]:
            self.resets.update((AUTHORIZATION, ROLE))
        elif words == [b"time", b"zone"]:
            self.resets.add(b"timezone")
        elif words == [ROLE]:
            self.resets.add(ROLE)
        elif words[:1] == [b"transaction"]:
            return
        else:
            name, _ = _name(rest)
            if name is None:
                self.whole = True
            else:
                self.resets.add(name)

    def _set_config(self, rest: list[_Token]) -> None:
        """Read the arguments that follow the function's name."""
        arguments: list[list[_Token]] = [[]]
        depth = 0
        for token in rest:
            if token == ("o", b"("):
                depth += 1
                if depth == 1:
                    continue
            elif token == ("o", b")"):
                depth -= 1
                if depth == 0:
                    break
            elif token == ("o", b",") and depth == 1:
                arguments.append([])
                continue
            if depth == 0:
                self.whole = True
                return
            arguments[-1].append(token)
        if len(arguments) != 3 or depth or not arguments[0]:
            self.whole = True
            return
        (kind, name), cast = arguments[0][0], arguments[0][1:]
        if cast and not (len(cast) == 3 and cast[:2] == [("o", b":")] * 2 and cast[2][0] == "w"):
            self.whole = True
        elif kind == "s":
            passing = arguments[2] == [("w", b"true")]
            (self.passing if passing else self.names).add(name.lower())
        elif kind == "p":
            self.parameters.append(int(name) - 1)
        else:
            self.whole = True


def _name(tokens: list[_Token]) -> tuple[bytes | None, list[_Token]]:
    """A setting's name at the start of *tokens*, in lower case, and what follows it."""
    parts: list[bytes] = []
    at = 0
    while at < len(tokens) and tokens[at][0] in "wq":
        parts.append(tokens[at][1].lower())
        at += 1
        if at < len(tokens) and tokens[at] == ("o", b"."):
            at += 1
        else:
            return b".".join(parts), tokens[at:]
    return None, []
