"""Commands that PL/pgSQL code makes at run time (EXECUTE, manual 43.5.4), and names of settings: how far they stand in the code.

Off the hot path: functions are read once with the catalogs, a DO when it comes. What matters is only whether a custom setting may
be made whose name stands nowhere, since no catalog lists those (decision 18). So a command is put together as far as it can be
(`expressions`), with marks where what stands there is known to be one quoted name, one literal or one number (`made_texts`).

    'select * from ' || quote_ident(t)          select * from <mark>       nothing it could hide
    'select ' || expression                     whoever calls it says what runs, if that is a parameter; else nobody knows
    'select set_config(' || quote_literal(n)    a name made at run time
    set_config('app.' || key, ...)              a name that whoever calls it says, if the key is a parameter
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgpool_py.session.code import Code, TooMuchError, between
from pgpool_py.session.expressions import SPREADING, Evaluator, by_type
from pgpool_py.session.lexemes import STRINGS, Token, comma, is_called, name_of, split, words_of
from pgpool_py.session.made_texts import (
    ANY_OPEN,
    FIELD,
    GIVEN,
    MAKES,
    MARK,
    MARKS,
    READ,
    RELATION,
    UNKNOWN,
    UNREAD,
    Made,
    argument,
    judge,
)
from pgpool_py.session.mentions import candidates
from pgpool_py.session.variables import Variable, variables

# What picks something out of the rows of a function that spreads its arguments; and what brings other rows.
_PICKS = frozenset((b"-", b">", b".", b":", b"(", b")"))
_HOLDS_NAMES = frozenset(b"text varchar json jsonb".split())
# Types of arguments that stand in a name as they were given, cut at most (`reach.completions`).
_AS_GIVEN = frozenset((b"text", b"varchar", b"character varying", b"character", b"name", b"json"))
_HAS_COLUMNS = frozenset(b"from insert update delete merge".split())
_ROWS = frozenset((b"new", b"old", b","))
_MORE_SOURCES = frozenset(b"join where union intersect except lateral on select with values".split())


@dataclass(frozen=True, slots=True)
class Commands:
    """What code runs, and sets, that it makes.

    `bits`          the worst of it
    `words`         words that its literals have, and what they make together: they may name functions
    `unknown`       RELATION, FIELD: one may be among what is named that nobody knows
    `settings`      settings whose names it puts together, known all the same
    `patterns`      what stands before and behind an argument in the names of others
    `picks`         names of others are picked out of an argument, where they stand as they are
    `given`         the arguments of all these, and those that run, by their numbers from 0
    """

    bits: int = READ
    words: frozenset[bytes] = frozenset()
    unknown: frozenset[bytes] = frozenset()
    settings: frozenset[bytes] = frozenset()
    patterns: frozenset[tuple[bytes, bytes]] = frozenset()
    picks: bool = False
    given: frozenset[int] = frozenset()


NOTHING_MADE = Commands()


def commands(
    code: bytes, parameters: Sequence[tuple[bytes, bytes]] = (), own: frozenset[bytes] = frozenset(), *, is_sql: bool = False
) -> Commands:
    """What *code* runs, and sets, that it makes at run time.

    *parameters* are its names for them, and their types, in order; *own* are names of functions of the database. It is PL/pgSQL,
    or SQL (*is_sql*), whose EXECUTE is another.
    """
    if _MAKING.search(code) is None:
        return NOTHING_MADE
    try:
        return _Reader(code, parameters, own, is_sql).read()
    except TooMuchError:
        bits = MAKES if b"set_config" in code.lower() else UNREAD
        return Commands(bits, frozenset(words_of(code)), frozenset((RELATION, FIELD)))


_MAKING = re.compile(rb"\bexecute\b|set_config", re.IGNORECASE)


def _changes_by_cast(tokens: Sequence[Token]) -> bool:
    """Whether a cast among *tokens* may change a name: any but those to the types that hold it as it is, and arrays of them."""
    for i, token in enumerate(tokens):
        if token != ("other", b":") or tokens[i - 1] == token:
            continue
        kind, value = tokens[i + 2] if i + 2 < len(tokens) else ("other", b"")
        if kind != "word" or value.lower() not in _HOLDS_NAMES or tokens[i + 3 : i + 4] == [("other", b"(")]:
            return True
    return any(kind == "word" and value.lower() == b"cast" for kind, value in tokens)


def _types(code: Code, parameters: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The types of the arguments of *code* by their numbers from 0: of its *parameters*, and what a PREPARE in it declares."""
    yield from enumerate([type_ for _, type_ in parameters])
    for at, word in enumerate(code.words):
        if word == b"prepare" and code.word(at + 2) == b"(":
            parts = split(code.bracket(at + 2) or (), comma)
            yield from enumerate([b" ".join([value for _, value in part]) for part in parts])


class _Reader:
    """Reads one piece of code. TooMuchError"""

    def __init__(self, text: bytes, parameters: Sequence[tuple[bytes, bytes]], own: frozenset[bytes], is_sql: bool) -> None:
        code = Code(text)
        known: dict[bytes, Made] = {}
        assigned = {} if is_sql else variables(code)
        for number, (name, type_) in enumerate(parameters):
            position = b"$%d" % (number + 1)
            # Its name and its number are one variable.
            if position in assigned:
                for each in (name, position):
                    assigned.setdefault(each, Variable()).foreign = True
            elif name in assigned:
                assigned[position] = assigned[name]
            made = by_type(type_.lower().replace(b"(", b" ( ").split(), own) or argument(number)
            known[position] = made
            # A column of that name would go before it.
            known[name] = made if not is_sql or _HAS_COLUMNS.isdisjoint(code.words) else UNKNOWN
        # The arguments that a name may have in another spelling.
        self.respelled = {number for number, type_ in _types(code, parameters) if type_.lower() not in _AS_GIVEN}
        self.code = code
        self.own = own
        self.is_sql = is_sql
        self.evaluator = Evaluator(code, assigned, known, own)
        self.length = 2 * len(text)  # bytes of commands that are gone through
        self.bits = READ
        self.unknown: set[bytes] = set()
        self.picks = False
        self.words: set[bytes] = set()  # of what is executed
        self.settings: set[bytes] = set()
        self.patterns: set[tuple[bytes, bytes]] = set()
        self.given: set[int] = set()

    def read(self) -> Commands:
        """All that is executed, and set."""
        for at, word in enumerate(self.code.words):
            if word == b"execute" and not self.is_sql and not self.is_clause(at):
                self.read_execute(at + 1)
            elif self.code.name(at) == b"set_config" and (is_called(self.code.words, at) or self.goes_on(at)):
                self.read_set_config(at + 1)
        return Commands(
            bits=self.bits,
            words=frozenset(self.words.union(*[words_of(value) for kind, value in self.code.tokens if kind in STRINGS])),
            unknown=frozenset(self.unknown),
            settings=frozenset(self.settings),
            patterns=frozenset(self.patterns),
            picks=self.picks,
            given=frozenset(self.given),
        )

    def read_execute(self, at: int) -> None:
        """What is executed begins *at*."""
        expression = self.code.expression(at)
        made = self.evaluator.value(expression)
        self.length -= len(made.text) + sum(map(len, made.parts))
        if self.length < 0:
            raise TooMuchError
        for text in (made.text, *made.parts):
            self.settings |= candidates(text)
            self.words |= words_of(MARKS.sub(b" ", text))
        bits, unknown = judge(made, of_rows=self.uses_rows(at + len(expression)))
        self.found(bits, made)
        self.unknown |= unknown

    def uses_rows(self, at: int) -> bool:
        """Whether all that is behind the USING of the EXECUTE that goes on *at* is the rows of a trigger."""
        words = [value.lower() for _, value in self.code.expression(at, whole=True)]
        used = words[words.index(b"using") + 1 :] if b"using" in words else []
        names = {*self.evaluator.variables, *self.evaluator.parameters}
        return bool(used) and _ROWS.issuperset(used) and _ROWS.isdisjoint(names)

    def is_clause(self, at: int) -> bool:
        """Whether the EXECUTE there is no statement: GRANT EXECUTE ON, CREATE TRIGGER ... EXECUTE FUNCTION f()."""
        code = self.code
        if code.word(at + 1) not in (b"function", b"procedure"):
            return code.word(at + 1) == b"on"
        at += 2
        while code.name(at) and code.word(at + 1) == b".":
            at += 2
        return bool(code.name(at)) and code.word(at + 1) == b"("

    def goes_on(self, at: int) -> bool:
        """Whether the code ends with the word there, or a comment behind it, and may be a piece of a text: SQL is read whole."""
        return not self.is_sql and [kind for kind, _ in self.code.tokens[at + 1 : at + 2]] in ([], ["unclosed"])

    def found(self, bits: int, made: Made) -> None:
        """Something that is *made* like that runs, or is the name of a setting."""
        self.bits |= bits
        if bits & GIVEN:
            self.given |= made.arguments

    def read_set_config(self, at: int) -> None:
        """The arguments of a set_config begin *at* (manual 9.27.1): which names may it be given?"""
        parts = split(self.code.bracket(at) or (), comma)
        if len(parts) != 3:
            self.bits |= MAKES
            return
        # What ends with the transaction leaves nothing but a definition: its owner loses nothing of it.
        unknown = UNREAD if parts[2] == [("word", b"true")] else MAKES
        name = self.evaluator.value(parts[0])
        marks = MARKS.findall(name.text)
        if b"\\" in name.text:
            self.bits |= unknown  # settings decide what that means
        elif not marks and not name.bits:
            self.settings.add(name.text.lower())
        elif name.bits == GIVEN and marks == [ANY_OPEN] and not name.parts and name.arguments.isdisjoint(self.respelled):
            before, behind = name.text.split(ANY_OPEN)
            self.patterns.add((before.lower(), behind.lower()))
            self.found(GIVEN, name)
        elif not name.bits and name.text != MARK and MARKS.fullmatch(name.text) and not any(map(MARKS.search, name.parts)):
            self.settings.update(part.lower() for part in name.parts)
        elif parts[0] == [("word", b"name")] and (there := self.named_there(at)):
            self.settings.add(there)
        elif self.is_of_arguments(at, parts[0]):
            self.bits |= GIVEN
            self.picks = True
        else:
            self.bits |= unknown

    def named_there(self, at: int) -> bytes:
        """The literal, in lower case, where the statement is about one row of the list of settings: pg_dump sets one like that,
        if there is such a setting."""
        source = self.source(at)
        words = [value.lower() for kind, value in source[:4] if kind in ("word", "other")]
        if b"name" in self.evaluator.variables:
            return b""  # which may go before the column
        if len(source) != 5 or words != [b"pg_settings", b"where", b"name", b"="] or source[4][0] != "string":
            return b""
        name = source[4][1][1:-1].lower()
        return b"" if b"\\" in name or b"'" in name else name

    def is_of_arguments(self, at: int, tokens: list[Token]) -> bool:
        """Whether the expression picks something out of what a function of arguments returns, and changes nothing of it:
        `el->>0 from json_array_elements($1) el`. The name then stands in the argument as it is."""
        if any(kind == "other" and value not in _PICKS for kind, value in tokens) or _changes_by_cast(tokens):
            return False
        names = [name_of(token) for token in tokens]
        if any(name and tokens[i + 1 : i + 2] == [("other", b"(")] for i, name in enumerate(names)):
            return False  # a function changes it
        if not ({*names} - {b""}).isdisjoint((*self.evaluator.variables, *self.evaluator.parameters)):
            return False
        source = self.source(at)
        if len(source) < 4 or source[0][1].lower() not in SPREADING - self.own:
            return False
        inner = between(source, 1)
        if not inner:
            return False
        behind = source[len(inner) + 3 :]
        if any(kind not in ("word", "quoted") and value not in (b"(", b",", b")") for kind, value in behind):
            return False
        if not {value.lower() for _, value in behind}.isdisjoint(_MORE_SOURCES) or len(split(behind, comma)) > 1:
            return False
        for part in split(inner, comma):
            if _changes_by_cast(part):
                return False
            cast = next((i for i, token in enumerate(part) if token == ("other", b":")), len(part))
            made = self.evaluator.value(part[:cast])
            if made.text != ANY_OPEN or made.bits != GIVEN:
                return False
            self.given |= made.arguments
        return True

    def source(self, at: int) -> list[Token]:
        """What stands behind the FROM of the statement around *at*; nothing where it is not that simple."""
        begin = next((i for i in range(at, -1, -1) if self.code.words[i] == b";"), -1)
        self.code.spend(at - begin)
        statement = self.code.expression(begin + 1, whole=True)
        words = [value.lower() for _, value in statement]
        if words.count(b"from") != 1 or words.count(b"select") > 1:
            return []
        return statement[words.index(b"from") + 1 :]
