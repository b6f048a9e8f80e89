"""What a text that is not plain says it does to settings: which names, for how long, and what goes back to its start.

Off the hot path: asked only for texts whose verdict has SETTINGS, LISTEN, CLEANUP or OPAQUE. It gathers names, never
values: values are read from the server afterwards (`look`), which alone knows what was rolled back and how a value is spelled.

Where a name cannot be known from the text the answer is `whole`: everything must be looked at. Then `candidates` and
`mentioned` are the names of custom settings that it may be about (`mentions`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgpool_py.session import flags
from pgpool_py.session.commands import NOTHING_MADE, Commands, commands
from pgpool_py.session.lexemes import TEXT_TYPES, is_called, lexemes
from pgpool_py.session.made_texts import MAKES
from pgpool_py.session.mentions import assigned, hides_names, hides_set_names, mentioned
from pgpool_py.session.reach import is_unsure
from pgpool_py.session.settings import AUTHORIZATION, ENCODING, ROLE, with_those_along

_CHARACTERISTICS = (
    b"default_transaction_isolation",
    b"default_transaction_read_only",
    b"default_transaction_deferrable",
)
_CALL = 400  # tokens of a set_config
_SPECIAL = {b"names": ENCODING, b"schema": b"search_path", b"seed": b"seed", b"xml": b"xmloption"}


@dataclass(frozen=True, slots=True)
class Effects:
    """Names in lower case; `passing` ones end with the transaction, except that a custom one stays defined.

    `resets_all`  RESET ALL: every name does, role and session authorization apart
    `parameters`  parameters, from 0, whose value is a name given to set_config
    `may_reset`   a set_config for the session has a value that may be NULL, which makes it a RESET; `values`: one of these
                  parameters, from 0
    `listens`     the text has LISTEN or UNLISTEN of a channel
    `whole`       anything may have changed
    `candidates`  with `whole`: custom names that the text gives to SET and set_config
    `mentioned`   with `whole`: custom names that any words with dots in it may be; some MOST_MENTIONED of them
    `unknowable`  custom settings may have been made whose names nobody can know
    `made`        what its set_configs of names make that stand nowhere in full; `lasting`: not all end with the transaction
    `single`      the text is one statement
    """

    names: frozenset[bytes] = frozenset()
    passing: frozenset[bytes] = frozenset()
    resets_all: bool = False
    parameters: tuple[int, ...] = ()
    may_reset: bool = False
    values: tuple[int, ...] = ()
    listens: bool = False
    whole: bool = False
    candidates: frozenset[bytes] = frozenset()
    mentioned: frozenset[bytes] = frozenset()
    unknowable: bool = False
    made: Commands = NOTHING_MADE
    lasting: bool = False
    single: bool = True


    @property
    def takes_names(self) -> bool:
        """Whether a parameter is the name of what it sets, or a part of it."""
        return bool(self.parameters or self.made.bits or self.made.patterns or self.made.picks)


# A name in any other place has a spelling of its own (TIME ZONE, SCHEMA).
_ONE_LOCAL = re.compile(
    rb"\s*+SET\s++LOCAL\s++(?:([A-Za-z_][\w.]*+)(?=\s*+=|\s++TO\b)|(ROLE)(?=\s++[\w\x22']))[^;]*+;?\s*+\Z", re.IGNORECASE
)
_SETS = re.compile(rb"\bSET\b", re.IGNORECASE)


def local_names(text: bytes, verdict: int) -> frozenset[bytes]:
    """The settings, in lower case, that *text* changes for its transaction; quick where that is one SET LOCAL."""
    one = _ONE_LOCAL.match(text)
    if one is not None:
        return frozenset(with_those_along([(one[1] or one[2]).lower()]))
    return effects(text, verdict).passing if _SETS.search(text) is not None else frozenset()


def effects(text: bytes, verdict: int) -> Effects:
    """Return what *text*, without its closing zero byte, does to settings; *verdict* is that of the scan."""
    if verdict & flags.OPAQUE:
        # Where even the ends of strings are unknown nothing can be read closely.
        unsure = is_unsure(text)
        made = NOTHING_MADE if unsure else commands(text, is_sql=True)
        hides = hides_names(text) if unsure else hides_set_names(text)
        return Effects(
            whole=True,
            candidates=assigned(text) | {name for name in made.settings if b"." in name},
            mentioned=mentioned(text),
            listens=bool(re.search(rb"listen", text, re.IGNORECASE)),
            unknowable=hides or bool(made.bits & MAKES),
            made=made,
            single=False,
        )
    reader = Reader()
    count = 0
    read = statements(text)
    if read is None:
        named = assigned(text)
        return Effects(whole=True, candidates=named, mentioned=mentioned(text), listens=True, unknowable=True, single=False)
    for tokens, _ in read:
        if tokens:
            count += 1
            reader.read(tokens)
    settings = verdict & flags.SETTINGS
    found = reader.names or reader.passing or reader.resets or reader.resets_all or reader.parameters or reader.made
    unknowable = reader.whole or bool(settings and not found)
    made = commands(text, is_sql=True) if reader.made and not unknowable else NOTHING_MADE
    unknowable = unknowable or bool(made.bits & MAKES)
    whole = unknowable or (reader.made_lasting and not _is_custom(made))
    return Effects(
        names=frozenset(with_those_along(reader.names | reader.resets | made.settings)),
        passing=frozenset(reader.passing - reader.names),
        resets_all=reader.resets_all,
        parameters=tuple(reader.parameters),
        may_reset=reader.may_reset,
        values=tuple(reader.values),
        listens=reader.listens,
        whole=whole,
        candidates=assigned(text) if whole else frozenset(),
        mentioned=mentioned(text) if whole else frozenset(),
        unknowable=unknowable,
        made=made,
        lasting=reader.made_lasting,
        single=count == 1,
    )


def _is_custom(made: Commands) -> bool:
    """Whether the names that are made are those of custom settings, whatever is bound."""
    return not made.picks and all(b"." in before + behind for before, behind in made.patterns)


# A token: its kind ("w" a name, lower case; "q" a quoted name; "s" a string; "p" a parameter; "o" anything else) and content.
_Token = tuple[str, bytes]


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
        elif kind == "string" and b"\\" not in value:
            current.append(("s", value[1:-1].replace(b"''", b"'")))
        elif kind == "param":
            current.append(("p", value[1:]))
        elif kind in ("string", "estring", "dollar"):
            # What a backslash means depends on standard_conforming_strings.
            plain = kind == "estring" and b"\\" not in value
            current.append(("s", value[2:-1].replace(b"''", b"'")) if plain else ("o", value))
        elif kind == "unclosed":
            return None
        else:
            current.append(("o", value))
    result.append((current, last))
    return result


# What makes a SESSION behind SET a part of what follows.
_OF_SESSION: tuple[list[_Token], ...] = ([("w", b"authorization")], [("o", b".")])
_AS_CHARACTERISTICS: list[_Token] = [("w", b"characteristics"), ("w", b"as")]


class Reader:
    """Gathers the effects of one statement after the other.

    `local_resets`  names that SET LOCAL sends back to the session's start, for this transaction
    """

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.passing: set[bytes] = set()
        self.resets: set[bytes] = set()
        self.resets_all = False
        self.local_resets: set[bytes] = set()
        self.parameters: list[int] = []
        self.may_reset = False
        self.values: list[int] = []
        self.listens = False
        self.whole = False
        self.made = False  # a set_config of a name that is made; `made_lasting`: one that does not end with the transaction
        self.made_lasting = False

    def read(self, tokens: list[_Token]) -> None:
        lead = tokens[0]
        if lead == ("w", b"set"):
            self._set(tokens[1:])
        elif lead == ("w", b"reset"):
            self._reset(tokens[1:])
        elif lead in (("w", b"listen"), ("w", b"unlisten")):
            self.listens = self.listens or tokens[-1] != ("o", b"*")
        named = [i for i, token in enumerate(tokens) if token[1] == b"set_config" and token[0] in "wq"]
        words = _words(tokens) if named else []
        for i in named:
            if is_called(words, i):
                self._set_config(tokens[i + 1 : i + 1 + _CALL])
        for names in (self.names, self.passing, self.resets, self.local_resets):
            names.update(with_those_along(names))

    def _set(self, rest: list[_Token]) -> None:
        passing = False
        if rest[:1] == [("w", b"local")]:
            passing, rest = True, rest[1:]
        elif rest[:1] == [("w", b"session")] and rest[1:2] not in _OF_SESSION and rest[1:3] != _AS_CHARACTERISTICS:
            rest = rest[1:]
        into = self.passing if passing else self.names
        back = self.local_resets if passing else self.resets
        words = [value if kind == "w" else b"" for kind, value in rest[:3]]
        dotted = rest[1:2] == [("o", b".")]
        if words == [b"session", b"characteristics", b"as"]:
            into.update(_CHARACTERISTICS)
        elif words[:2] == [b"session", b"authorization"]:
            into.add(AUTHORIZATION)
            if words[2:] == [b"default"]:
                back.add(AUTHORIZATION)
        elif words[:2] == [b"time", b"zone"]:
            into.add(b"timezone")
            if words[2:] in ([b"default"], [b"local"]):
                back.add(b"timezone")
        elif words[:1] == [ROLE] and not dotted:
            into.add(ROLE)
            if rest[2:] == [("w", b"default")]:
                back.add(ROLE)
        elif words[:1] in ([b"transaction"], [b"constraints"]) and not dotted:
            return
        elif words and words[0] in _SPECIAL and not dotted and words[1:2] != [b"to"] and rest[1:2] != [("o", b"=")]:
            into.add(_SPECIAL[words[0]])
            if words[0] == b"names" and words[1:] in ([], [b"default"]):
                back.add(ENCODING)
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
            self.resets.add(AUTHORIZATION)
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
        passing = arguments[2] == [("w", b"true")]
        kind, name = _plain(arguments[0])
        if kind == "s":
            (self.passing if passing else self.names).add(name.lower())
        elif kind == "p":
            self.parameters.append(int(name) - 1)
        else:
            self.made = True
            self.made_lasting = self.made_lasting or not passing
        if not passing:
            kind, value = _plain(arguments[1])
            if kind == "p":
                self.values.append(int(value) - 1)
            elif kind != "s":
                self.may_reset = True


def _plain(argument: list[_Token]) -> _Token:
    """The string, or the parameter, that is the whole of *argument*, a cast to text apart; nothing if it is anything else."""
    if argument and (len(argument) == 1 or (argument[1:3] == [("o", b":")] * 2 and _words(argument[3:]) in TEXT_TYPES)):
        kind, content = argument[0]
        if kind == "s" or (kind == "p" and len(content) < 6 and int(content)):  # there are no more of them in a Bind
            return argument[0]
    return "", b""


def _words(tokens: list[_Token]) -> list[bytes]:
    """The words and signs among *tokens*, by their places."""
    return [value if kind in "wo" else b"" for kind, value in tokens]


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
