"""What SQL expressions in code make, as far as that can be told (`made_texts`): of literals, `||`, format(), concat(),
quote_ident() and its like, CASE, casts, parameters, and variables by all that is assigned to them. All else is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pgpool_py.session.code import Code
from pgpool_py.session.lexemes import (
    BARS,
    LONGEST_NAME,
    STRINGS,
    TEXT_TYPES,
    Token,
    arithmetic,
    closes,
    comma,
    concatenation,
    opens,
    split,
)
from pgpool_py.session.made_texts import (
    ANY_OPEN,
    LITERAL,
    MARK,
    MARKS,
    NAME,
    NUMBER,
    UNKNOWN,
    UNREAD,
    Made,
    any_of,
    argument,
    put_together,
)
from pgpool_py.session.mentions import NUMBERED, unescaped
from pgpool_py.session.variables import Variable

# Types whose values are one number or name when they are written down.
_SCALARS = frozenset(
    b"bool boolean int int2 int4 int8 integer smallint bigint oid real float float4 float8 double numeric decimal date time"
    b" timetz timestamp timestamptz interval uuid inet cidr macaddr".split()
)
_NAMES = frozenset(b"regclass regtype regrole regnamespace".split())
# ... and functions, and words, whose results are.
_SCALAR_FUNCTIONS = frozenset(
    b"abs age ascii ceil ceiling char_length clock_timestamp date_part date_trunc extract floor gen_random_uuid hashtext length"
    b" md5 mod nextval now octet_length pg_backend_pid random round sign statement_timestamp to_number transaction_timestamp"
    b" trunc txid_current".split()
)
_SCALAR_WORDS = frozenset(b"current_date current_timestamp current_time localtime localtimestamp".split())
# Types of variables that have what was assigned to them as it is.
_TEXTS = frozenset(b"text varchar character char bpchar citext name json record".split())
_OF_A_COLUMN = frozenset((b"type", b"rowtype"))
_OF_A_TYPE = frozenset(b"precision with without time zone ( ) ,".split())
# Functions whose rows have parts of their arguments as they are.
SPREADING = frozenset(
    b"json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_each jsonb_each"
    b" json_each_text jsonb_each_text json_to_recordset jsonb_to_recordset json_to_record jsonb_to_record unnest".split()
)
# Names of functions and types, and of what a trigger has, that are known as long as the database has nothing else of these names.
KNOWN = (
    frozenset(b"quote_ident quote_literal quote_nullable concat concat_ws format chr to_char tg_relname tg_table_name".split())
    | SPREADING
    | _SCALARS
    | _SCALAR_FUNCTIONS
)
_OF_A_TRIGGER = frozenset(b"tg_when tg_level tg_op tg_relname tg_table_name".split())
_SPECIFIER = re.compile(rb"%(?:(\d{1,4})\$)?(-?\d+)?([sIL%])")
_DEEPEST = 40  # nested expressions that are followed
_DIGITS = re.compile(
    rb"(?:YYYY|YY|IYYY|MM|DDD|DD|D|HH24|HH12|HH|MI|SS|WW|IW|FM|TM|Q|J|US|MS|MONTH|MON|DAY|DY|\"[\w ]*\"|[_\-.:/ 09])+",
    re.IGNORECASE,
)


class Evaluator:
    """Works out expressions of *code*, whose variables, and arguments by their names, these are.

    *own* are names of functions and types of the database, which may be other ones than the built-in.
    """

    def __init__(
        self, code: Code, variables: Mapping[bytes, Variable], parameters: Mapping[bytes, Made], own: frozenset[bytes]
    ) -> None:
        self.code = code
        self.variables = variables
        self.parameters = parameters
        self.own = own
        self.ambiguous = b"variable_conflict" in code.words  # columns may go before variables
        self.open: list[bytes] = []  # variables that are being worked out
        self.closed: dict[bytes, Made] = {}

    def value(self, tokens: Sequence[Token], depth: int = 0) -> Made:
        """What the expression makes."""
        if depth > _DEEPEST:
            return UNKNOWN
        self.code.spend(len(tokens) + 1)
        made = [self.operand(part, depth) for part in split(tokens, concatenation)]
        return put_together(b"".join(each.text for each in made), made)

    def operand(self, tokens: Sequence[Token], depth: int) -> Made:
        """What stands between two `||`."""
        tokens, cast = _without_cast(tokens, self.own)
        if cast is not None:
            return cast
        if not tokens:
            return UNKNOWN
        kinds = {kind for kind, _ in tokens}
        if kinds.issubset(STRINGS):
            return literal(tokens)
        (kind, value), rest = tokens[0], tokens[1:]
        word = value.lower()
        if not rest:
            if kind == "number":
                return Made(value)
            if kind == "word":
                return self.named(word, depth)
            if kind == "param" and value in self.variables:
                return self.named(value, depth)
            if kind == "param":
                number = int(value[1:]) if len(value) < 7 else 0
                return self.parameters.get(value) or (argument(number - 1) if number else UNKNOWN)
            return UNKNOWN
        if value == b"(" and closes(tokens):
            return self.value(tokens[1:-1], depth + 1)
        if kind == "word" and word in _SCALARS and [each for each, _ in rest] == ["string"]:
            return NUMBER  # interval '1 day'
        if word == b"case" and tokens[-1][1].lower() == b"end":
            return any_of([self.value(part, depth + 1) for part in _results(tokens[1:-1])])
        if kind == "word" and closes(rest):
            return self.call(word, split(rest[1:-1], comma), depth + 1)
        numbers = split(tokens, arithmetic)
        if len(numbers) > 1 and all(self.is_number(part, depth + 1) for part in numbers if part):
            return NUMBER
        return UNKNOWN

    def is_number(self, tokens: Sequence[Token], depth: int) -> bool:
        """Whether what the operand makes is one number, or a date."""
        made = self.value(tokens, depth)
        return not made.bits and (made.text == MARK or made.text.replace(b".", b"").isdigit())

    def named(self, name: bytes, depth: int) -> Made:
        """What a variable or a parameter has."""
        if self.ambiguous:
            return UNKNOWN
        name = name[:LONGEST_NAME]
        variable = self.variables.get(name)
        if variable is None:
            if name in _OF_A_TRIGGER and name not in self.own:
                return Made(NAME)
            return NUMBER if name in _SCALAR_WORDS else self.parameters.get(name, UNKNOWN)
        given = self.parameters.get(name)
        types = [by_type(words, self.own) for words in variable.types]
        if given is not None:
            types.append(None if given.bits else given)
        if any([type_ is None and _spells_anew(words) for type_, words in zip(types, variable.types, strict=False)]):
            return UNKNOWN
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
        if name in _SCALAR_FUNCTIONS:
            return NUMBER
        if name in (b"coalesce", b"greatest", b"least"):
            return any_of([self.value(argument, depth) for argument in arguments])
        if name == b"format" and arguments and not any(_is_variadic(argument) for argument in arguments):
            return self.format(self.value(arguments[0], depth), [self.value(argument, depth) for argument in arguments[1:]])
        if name == b"chr" and [kind for kind, _ in arguments[0]] == ["number"]:
            code = arguments[0][0][1]
            return Made(bytes([int(code)])) if code.isdigit() and len(code) < 4 and 0 < int(code) < 128 else UNKNOWN
        if name == b"to_char" and len(arguments) == 2 and {kind for kind, _ in arguments[1]} == {"string"}:
            return NUMBER if _DIGITS.fullmatch(arguments[1][0][1][1:-1]) else UNKNOWN
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


def by_type(words: list[bytes], own: frozenset[bytes]) -> Made | None:
    """What values of a type look like, where that is known; *words* are its name, none of *own*."""
    first = words[0] if words else b""
    if first == b'"char"':
        return UNKNOWN  # the first letter of what is given
    if first in own or not all(word in _OF_A_TYPE or word.isdigit() for word in words[1:]):
        return None
    return NUMBER if first in _SCALARS else Made(NAME) if first in _NAMES else None


def _spells_anew(type_: list[bytes]) -> bool:
    """Whether a variable of the type may have other words than were assigned to it; a column's type is not known."""
    return bool(type_) and type_[0] not in _TEXTS and type_[-1] not in _OF_A_COLUMN


def _without_cast(tokens: Sequence[Token], own: frozenset[bytes]) -> tuple[Sequence[Token], Made | None]:
    """The operand without a cast at its end; or what it is, where its type says that."""
    depth = 0
    colons = []
    for i, (kind, value) in enumerate(tokens[:-1]):
        depth += opens(kind, value)
        if not depth and value == b":" and tokens[i + 1][1] == b":":
            colons.append(i)
    end = len(tokens)
    for i in reversed(colons):
        type_ = [value.lower() for _, value in tokens[i + 2 : end]]
        known = by_type(type_, own)
        if known is not None:
            return [], known
        if type_ not in TEXT_TYPES:
            return [], UNKNOWN
        end = i
    return tokens[:end], None


def literal(tokens: Sequence[Token]) -> Made:
    """String constants, one or several that follow each other."""
    text = b""
    for kind, value in tokens:
        if kind == "dollar":
            tag = value.find(b"$", 1) + 1
            text += value[tag:-tag]
        elif kind == "string":
            text += value[1:-1].replace(b"''", b"'")
        else:
            inner = value[2:-1].replace(b"''", b"'")
            if NUMBERED.search(inner) is not None:
                return UNKNOWN
            text += unescaped(inner)
    return Made(re.sub(rb"[\x80-\xff]", MARK, text))


def _results(tokens: Sequence[Token]) -> list[list[Token]]:
    """The expressions behind THEN and ELSE of a CASE, without those of others within it."""
    found: list[list[Token]] = []
    depth = 0
    taking = False
    for kind, value in tokens:
        word = value.lower() if kind == "word" else b""
        depth += (word == b"case") - (word == b"end")
        if not depth and word in (b"then", b"else"):
            found.append([])
            taking = True
        elif not depth and word == b"when":
            taking = False
        elif taking:
            found[-1].append((kind, value))
    return found


def _is_variadic(tokens: Sequence[Token]) -> bool:
    """Whether an argument is VARIADIC."""
    return bool(tokens) and tokens[0][0] == "word" and tokens[0][1].lower() == b"variadic"
