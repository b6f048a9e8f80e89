"""Commands that PL/pgSQL code makes at run time (EXECUTE, manual 43.5.4), and names of settings: how far they stand in the code.

Off the hot path: functions are read once with the catalogs, a DO when it comes. What matters is only whether a custom setting may
be made whose name stands nowhere, since no catalog lists those (decision 18). So a command is put together as far as it can be,
with marks where what stands there is known to be one quoted name, one literal or one number, and looked through (`expressions`).

    'select * from ' || quote_ident(t)          select * from <mark>       nothing it could hide
    'select ' || expression                     whoever calls it says what runs, if that is a parameter; else nobody knows
    'select set_config(' || quote_literal(n)    a name made at run time
    set_config('app.' || key, ...)              a name that whoever calls it says, if the key is a parameter

Read are literals, `||`, format(), concat(), quote_ident() and its like, CASE, casts, parameters, and variables by all that is
assigned to them. Whatever is not understood counts as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pgpool_py.session.expressions import (
    ANY_OPEN,
    BARS,
    DIGITS,
    GIVEN,
    LITERAL,
    MAKES,
    MARK,
    MARKS,
    NAME,
    NUMBER,
    READ,
    SCALAR_FUNCTIONS,
    SCALAR_WORDS,
    SCALARS,
    UNKNOWN,
    UNREAD,
    Made,
    Token,
    any_of,
    argument,
    arithmetic,
    by_type,
    closes,
    comma,
    concatenation,
    judge,
    literal,
    opens,
    put_together,
    results,
    split,
    without_cast,
)
from pgpool_py.session.lexemes import lexemes, words_of
from pgpool_py.session.mentions import candidates

# Functions whose rows have parts of their arguments as they are.
_SPREADING = frozenset(
    b"json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_each jsonb_each"
    b" json_each_text jsonb_each_text json_to_recordset jsonb_to_recordset json_to_record jsonb_to_record unnest".split()
)
# Functions whose results are known, as long as no others of these names are in the database.
KNOWN = (
    frozenset(b"quote_ident quote_literal quote_nullable concat concat_ws format chr to_char tg_relname tg_table_name".split())
    | _SPREADING
    | SCALARS
    | SCALAR_FUNCTIONS
)
_OF_A_TRIGGER = frozenset(b"tg_when tg_level tg_op tg_relname tg_table_name".split())
_END_OF_COMMAND = frozenset((b";", b"into", b"using", b"loop"))
_SPECIFIER = re.compile(rb"%(?:(\d{1,4})\$)?(-?\d+)?([sIL%])")
_LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones
_DEEPEST = 40  # nested expressions that are followed
# What picks something out of them; and what brings other rows.
_PICKS = frozenset((b"-", b">", b".", b":", b"(", b")"))
_MORE_SOURCES = frozenset(b"join where union intersect except lateral on select with values".split())


def _is_name(text: bytes) -> bool:
    """Whether a text has no marks."""
    return MARKS.search(text) is None


def _is_variadic(tokens: list[Token]) -> bool:
    """Whether an argument is VARIADIC."""
    return bool(tokens) and tokens[0][0] == "word" and tokens[0][1].lower() == b"variadic"


def _words_in(kind: str, value: bytes) -> set[bytes]:
    """The words in a string constant."""
    return words_of(value) if kind in ("string", "estring", "dollar") else set()


@dataclass(frozen=True, slots=True)
class Commands:
    """What code runs, and sets, that it makes.

    `bits`          the worst of it
    `words`         words that its literals have: they may name functions
    `any_relation`  a relation may be among what is named that nobody knows
    `settings`      settings whose names it puts together, known all the same
    `patterns`      what stands before and behind an argument in the names of others
    `given`         the arguments of these, and those that run, by their numbers from 0
    """

    bits: int = READ
    words: frozenset[bytes] = frozenset()
    any_relation: bool = False
    settings: frozenset[bytes] = frozenset()
    patterns: frozenset[tuple[bytes, bytes]] = frozenset()
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
    reader = _Reader(code, parameters, own, is_sql)
    try:
        return reader.read()
    except _TooMuchError:
        return Commands(MAKES if b"set_config" in code.lower() else UNREAD, frozenset(words_of(code)), True)


_MAKING = re.compile(rb"\bexecute\b|set_config", re.IGNORECASE)


class _TooMuchError(Exception):
    """Reading the code closely would take longer than there is."""


@dataclass(slots=True)
class _Variable:
    """All that is assigned to the variables of one name; `foreign`: other things are, too."""

    assigned: list[list[Token]] = field(default_factory=list)
    types: list[Made | None] = field(default_factory=list)  # of all of this name: how their values look, where that is known
    foreign: bool = False


class _Reader:
    """Reads one piece of code."""

    def __init__(self, code: bytes, parameters: Sequence[tuple[bytes, bytes]], own: frozenset[bytes], is_sql: bool) -> None:
        self.tokens = [(kind, value) for kind, value, _ in lexemes(code)]
        self.words = [value.lower() if kind == "word" else value if kind == "other" else b"" for kind, value in self.tokens]
        self.variables: dict[bytes, _Variable] = {}
        self.parameters: dict[bytes, Made] = {}
        for number, (name, type_) in enumerate(parameters):
            made = by_type(type_.lower().replace(b"(", b" ( ").split(), own) or argument(number)
            self.parameters[b"$%d" % (number + 1)] = made
            # A column of that name would go before it.
            self.parameters[name] = UNKNOWN if is_sql and b"from" in self.words else made
        self.own = own
        self.is_sql = is_sql
        self.ambiguous = b"variable_conflict" in self.words  # columns may go before variables
        self.budget = 3 * len(self.tokens) + 2000  # of tokens that are gone through
        self.length = 2 * len(code)  # ... and of bytes of commands
        self.open: list[bytes] = []  # variables that are being worked out
        self.closed: dict[bytes, Made] = {}
        self.bits = READ
        self.any_relation = False
        self.settings: set[bytes] = set()
        self.patterns: set[tuple[bytes, bytes]] = set()
        self.given: set[int] = set()

    def read(self) -> Commands:
        """All that is executed, and set. _TooMuchError"""
        if not self.is_sql:
            self.find_variables()
        for at, word in enumerate(self.words):
            if word == b"execute" and not self.is_sql and not self.is_clause(at):
                made = self.value(self.expression(at + 1))
                self.length -= len(made.text) + sum(map(len, made.parts))
                if self.length < 0:
                    raise _TooMuchError
                for text in (made.text, *made.parts):
                    self.settings |= candidates(text)
                bits, any_relation = judge(made)
                self.found(bits, made)
                self.any_relation = self.any_relation or any_relation
            elif word == b"set_config" or (not word and self.name(at) == b"set_config"):
                self.read_set_config(at + 1)
        words = frozenset(word for kind, value in self.tokens for word in _words_in(kind, value))
        patterns = frozenset(self.patterns)
        return Commands(self.bits, words, self.any_relation, frozenset(self.settings), patterns, frozenset(self.given))

    def is_clause(self, at: int) -> bool:
        """Whether the EXECUTE there is no statement: GRANT EXECUTE ON, CREATE TRIGGER ... EXECUTE FUNCTION f()."""
        behind = (self.words[at + 1 : at + 2] or [b""])[0]
        if behind not in (b"function", b"procedure"):
            return behind == b"on"
        at += 2
        while self.name(at) and self.words[at + 1 : at + 2] == [b"."]:
            at += 2
        return bool(self.name(at)) and self.words[at + 1 : at + 2] == [b"("]

    def found(self, bits: int, made: Made) -> None:
        """Something that is *made* like that runs, or is the name of a setting."""
        self.bits |= bits
        if bits & GIVEN:
            self.given |= made.arguments

    def read_set_config(self, at: int) -> None:
        """The arguments of a set_config begin *at* (manual 9.27.1): which names may it be given?"""
        inner = self.bracket(at)
        parts = split(inner, comma) if inner is not None else []
        if len(parts) != 3:
            self.bits |= MAKES
            return
        # What ends with the transaction leaves nothing but a definition: its owner loses nothing of it.
        unknown = UNREAD if parts[2] == [("word", b"true")] else MAKES
        name = self.value(parts[0])
        marks = MARKS.findall(name.text)
        if b"\\" in name.text:
            self.bits |= unknown  # settings decide what that means
        elif not marks and not name.bits:
            self.settings.add(name.text.lower())
        elif name.bits == GIVEN and marks == [ANY_OPEN] and not name.parts:
            before, behind = name.text.split(ANY_OPEN)
            self.patterns.add((before.lower(), behind.lower()))
            self.found(GIVEN, name)
        elif not name.bits and MARKS.fullmatch(name.text) and name.text != MARK and all(map(_is_name, name.parts)):
            self.settings.update(part.lower() for part in name.parts)
        elif self.is_of_arguments(at, parts[0]):
            self.bits |= GIVEN
        else:
            self.bits |= unknown

    def is_of_arguments(self, at: int, tokens: list[Token]) -> bool:
        """Whether the expression picks something out of what a function of arguments returns, and changes nothing of it:
        `el->>0 from json_array_elements($1) el`. The name then stands in the argument as it is."""
        if any(kind == "other" and value not in _PICKS for kind, value in tokens):
            return False
        begin = next((i for i in range(at, -1, -1) if self.words[i] == b";"), -1)
        statement = self.expression(begin + 1, whole=True)
        self.spend(at - begin)
        words = [value.lower() for kind, value in statement if kind == "word"]
        if words.count(b"from") != 1 or words.count(b"select") > 1:
            return False
        source = statement[[value.lower() for _, value in statement].index(b"from") + 1 :]
        if len(source) < 4 or source[0][1].lower() not in _SPREADING or source[0][1].lower() in self.own:
            return False
        inner = self.bracket(0, source[1:])
        if inner is None or not inner:
            return False
        behind = source[len(inner) + 3 :]
        if any(kind not in ("word", "quoted") and value not in (b"(", b",", b")") for kind, value in behind):
            return False
        if not {value.lower() for _, value in behind}.isdisjoint(_MORE_SOURCES):
            return False
        for part in split(inner, comma):
            cast = next((i for i, token in enumerate(part) if token == ("other", b":")), len(part))
            made = self.value(part[:cast])
            if made.text != ANY_OPEN or made.bits != GIVEN:
                return False
            self.given |= made.arguments
        return True

    def bracket(self, at: int, tokens: list[Token] | None = None) -> list[Token] | None:
        """What stands in the brackets that open *at*; None where none do."""
        tokens = self.tokens if tokens is None else tokens
        depth = 0
        for i in range(at, len(tokens)):
            depth += opens(*tokens[i])
            if not depth:
                self.spend(i - at)
                return tokens[at + 1 : i] if i > at else None
        self.spend(max(len(tokens) - at, 0))
        return None

    # --- variables ---

    def find_variables(self) -> None:
        """What is assigned to each variable, wherever it stands."""
        declaring = False
        begins = True
        for at, word in enumerate(self.words):
            kind = self.tokens[at][0]
            if word == b"declare":
                declaring, begins = True, True
                continue
            if word == b"begin":
                declaring = False
            if begins and kind in ("word", "quoted") and word not in (b"begin", b"end"):
                self.read_statement(at, declaring)
            if word in (b"into", b"for", b"foreach"):
                self.read_targets(at + 1, word == b"for")
            elif word in (b"call", b"diagnostics", b"fetch", b"alias"):
                for i in range(at + 1, at + 1 + len(self.expression(at + 1))):
                    self.variable(self.name(i)).foreign = True
                if word == b"alias":
                    self.variable(self.name(at - 1)).foreign = True
            begins = word in (b";", b"then", b"else", b"loop", b"begin", b"declare")

    def spend(self, count: int) -> None:
        """So many tokens are gone through."""
        self.budget -= count
        if self.budget < 0:
            raise _TooMuchError

    def variable(self, name: bytes) -> _Variable:
        return self.variables.setdefault(name, _Variable())

    def name(self, at: int) -> bytes:
        """The name that stands *at*, as PostgreSQL knows it; empty if none does."""
        kind, value = self.tokens[at] if at < len(self.tokens) else ("other", b"")
        return (value.lower() if kind == "word" else value[1:-1] if kind == "quoted" else b"")[:_LONGEST_NAME]

    def read_statement(self, at: int, declaring: bool) -> None:
        """A declaration, or what may be an assignment, begins *at*."""
        if not declaring and (self.words[at + 1 : at + 2] or [b""])[0] not in (b":", b"=", b"[", b"."):
            return
        name = self.name(at)
        rest = self.expression(at + 1, whole=True)
        values = [value.lower() for _, value in rest]
        if declaring:
            type_ = [value for value in values if value != b"constant"]
            end = next((i for i, value in enumerate(type_) if value in (b"default", b"=", b":", b"not", b"collate")), len(type_))
            variable = self.variable(name)
            variable.types.append(by_type(type_[:end], self.own))
            for i, value in enumerate(values):
                if value in (b"default", b"=", b":"):
                    variable.assigned.append(rest[i + 2 if value == b":" else i + 1 :])
                    break
        elif values[:2] == [b":", b"="]:
            self.variable(name).assigned.append(rest[2:])
        elif values[:1] == [b"="]:
            self.variable(name).assigned.append(rest[1:])
        elif values[:1] in ([b"["], [b"."]):
            self.variable(name).foreign = True
            self.variable(self.name(at + 2)).foreign = True  # behind a block's name

    def read_targets(self, at: int, is_for: bool) -> None:
        """The variables behind INTO, FOR or FOREACH."""
        if is_for:
            end = next((i for i in range(at, len(self.words)) if self.words[i] in (b"loop", b";")), len(self.words))
            self.spend(end - at)
            if any(
                self.words[i : i + 2] == [b".", b"."] or (self.tokens[i][0] == "number" and b".." in self.tokens[i][1])
                for i in range(at, end)
            ):
                self.variable(self.name(at)).types.append(NUMBER)
                return
        while at < len(self.tokens) and self.tokens[at][0] in ("word", "quoted"):
            if self.words[at] != b"strict":
                self.variable(self.name(at)).foreign = True
                at += 1
                while self.words[at : at + 1] == [b"."]:
                    self.variable(self.name(at + 1)).foreign = True
                    at += 2
                if self.words[at : at + 1] != [b","]:
                    return
            at += 1

    # --- expressions ---

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

    def value(self, tokens: list[Token], depth: int = 0) -> Made:
        """What the expression makes."""
        if depth > _DEEPEST:
            return UNKNOWN
        self.spend(len(tokens) + 1)
        made = [self.operand(part, depth) for part in split(tokens, concatenation)]
        return put_together(b"".join(each.text for each in made), made)

    def operand(self, tokens: list[Token], depth: int) -> Made:
        """What stands between two `||`."""
        tokens, cast = without_cast(tokens, self.own)
        if cast is not None:
            return cast
        if not tokens:
            return UNKNOWN
        kinds = {kind for kind, _ in tokens}
        if kinds <= {"string", "estring", "dollar"}:
            return literal(tokens)
        (kind, value), rest = tokens[0], tokens[1:]
        word = value.lower()
        if not rest:
            if kind == "number":
                return Made(value)
            if kind == "word":
                return self.named(word, depth)
            if kind == "param":
                number = int(value[1:]) if len(value) < 7 else 0
                return self.parameters.get(value) or (argument(number - 1) if number else UNKNOWN)
            return UNKNOWN
        if value == b"(" and closes(tokens):
            return self.value(tokens[1:-1], depth + 1)
        if kind == "word" and word in SCALARS and [each for each, _ in rest] == ["string"]:
            return NUMBER  # interval '1 day'
        if word == b"case" and tokens[-1][1].lower() == b"end":
            return any_of([self.value(part, depth + 1) for part in results(tokens[1:-1])])
        if kind == "word" and closes(rest):
            return self.call(word, split(rest[1:-1], comma), depth + 1)
        numbers = split(tokens, arithmetic)
        if len(numbers) > 1 and all(self.is_number(part, depth + 1) for part in numbers if part):
            return NUMBER
        return UNKNOWN

    def is_number(self, tokens: list[Token], depth: int) -> bool:
        """Whether what the operand makes is one number, or a date."""
        made = self.value(tokens, depth)
        return not made.bits and (made.text == MARK or made.text.replace(b".", b"").isdigit())

    def named(self, name: bytes, depth: int) -> Made:
        """What a variable or a parameter has."""
        if self.ambiguous:
            return UNKNOWN
        name = name[:_LONGEST_NAME]
        variable = self.variables.get(name)
        if variable is None:
            if name in _OF_A_TRIGGER and name not in self.own:
                return Made(NAME)
            return NUMBER if name in SCALAR_WORDS else self.parameters.get(name, UNKNOWN)
        given = self.parameters.get(name)
        types = [*variable.types, given if given is not None and not given.bits else None] if given else variable.types
        known = [type_ for type_ in types if type_ is not None]
        if known and len(known) == len(types):
            return known[0] if len(known) == 1 else any_of(known)
        if variable.foreign:
            return UNKNOWN
        if name in self.open:
            return Made(ANY_OPEN)  # to itself, which has been seen
        if name in self.closed:
            return self.closed[name]
        self.open.append(name)
        texts = [self.value(tokens, depth + 1) for tokens in variable.assigned]
        self.open.pop()
        texts += known
        if given is not None and given.bits:
            texts.append(given)
        made = texts[0] if len(texts) == 1 and ANY_OPEN not in texts[0].text else any_of(texts)
        if not self.open:
            self.closed[name] = made
        return made

    def call(self, name: bytes, arguments: list[list[Token]], depth: int) -> Made:
        """What a function makes of its arguments."""
        if name in self.own:
            return UNKNOWN
        if name == b"quote_ident":
            return Made(NAME)
        if name in (b"quote_literal", b"quote_nullable"):
            return Made(LITERAL)
        if name == b"concat":
            return self.value([token for argument in arguments for token in (*argument, *BARS)][:-2], depth)
        if name == b"concat_ws" and len(arguments) > 1:
            between = [*BARS, *arguments[0], *BARS]
            return self.value([token for argument in arguments[1:] for token in (*argument, *between)][: -len(between)], depth)
        if name in SCALAR_FUNCTIONS:
            return NUMBER
        if name in (b"coalesce", b"greatest", b"least"):
            return any_of([self.value(argument, depth) for argument in arguments])
        if name == b"format" and arguments and not any(_is_variadic(argument) for argument in arguments):
            return self.format(self.value(arguments[0], depth), [self.value(argument, depth) for argument in arguments[1:]])
        if name == b"chr" and [kind for kind, _ in arguments[0]] == ["number"]:
            code = arguments[0][0][1]
            return Made(bytes([int(code)])) if code.isdigit() and len(code) < 4 and 0 < int(code) < 128 else UNKNOWN
        if name == b"to_char" and len(arguments) == 2 and {kind for kind, _ in arguments[1]} == {"string"}:
            return NUMBER if DIGITS.fullmatch(arguments[1][0][1][1:-1]) else UNKNOWN
        return UNKNOWN

    def format(self, template: Made, values: list[Made]) -> Made:
        """What format() makes (manual 9.4.1)."""
        used = [template if MARKS.search(template.text) is None else Made(b"", UNREAD, template.parts, template.arguments)]
        count = 0

        def fill(match: re.Match[bytes]) -> bytes:
            nonlocal count
            position, width, kind = match.groups()
            if kind == b"%":
                return b"%"
            count = int(position) if position else count + 1
            if kind == b"I":
                return NAME
            if kind == b"L":
                return LITERAL
            value = values[count - 1] if 0 < count <= len(values) and width is None else UNKNOWN
            used.append(value)
            return value.text

        text = _SPECIFIER.sub(fill, template.text)
        if b"%" in _SPECIFIER.sub(b"", template.text):
            return UNKNOWN  # width by an argument, or wrong
        return put_together(text, used)
