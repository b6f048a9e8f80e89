"""Commands that PL/pgSQL code makes at run time (EXECUTE, manual 43.5.4): how far their texts stand in the code itself.

Off the hot path: functions are read once with the catalogs, a DO when it comes. What matters is only whether a custom setting may
be made whose name stands nowhere, since no catalog lists those (decision 18). So a command is put together as far as it can be,
with marks where what stands there is known to be one quoted name, one literal or one number, and looked through (`mentions`).

    'select * from ' || quote_ident(t)          select * from <mark>       nothing it could hide
    'select ' || expression                     whoever calls it says what runs, if that is a parameter; else nobody knows
    'select set_config(' || quote_literal(n)    a name made at run time

Read are literals, `||`, format(), concat(), quote_ident() and its like, CASE, casts, parameters, and variables by all that is
assigned to them. Whatever is not understood counts as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pgpool_py.session import flags
from pgpool_py.session.lexemes import lexemes
from pgpool_py.session.mentions import hides_names

# What runs: nothing but what stands in the code; an argument as it is given; what nobody has read; or it makes names.
READ, GIVEN, UNREAD, MAKES = 0, flags.GIVEN, flags.UNREAD, flags.DYNAMIC

# In a text: one name, literal or number; or one of several texts, which begin and end with a part of a word (OPEN) or not.
MARK = b"\x80"
NAME, LITERAL = b'"\x80"', b"'\x80'"
ANY_OPEN, ANY_RIGHT, ANY_LEFT, ANY = b"\x81", b"\x82", b"\x83", b"\x84"  # open on both sides, on the right, on the left, on none
_JOINED = re.compile(rb"[\w$\x80-\x84][\x81\x83]|[\x81\x82][\w$\x80-\x84]")  # with what may be a part of the same word
_CALL = re.compile(rb"(?<![\w$\".\x80-\x84])([\w$\".\x80-\x84]++)\s*+\(")
_NO_CALL = re.compile(rb"\b(?:into|table|exists|references|copy|view)\s*\Z", re.IGNORECASE)
_NO_CALL_IN_CREATE = re.compile(rb"\bon\s*\Z", re.IGNORECASE)
_CREATE = re.compile(rb"\s*+create\b", re.IGNORECASE)
_ALTERNATIVES = re.compile(rb"[\x81-\x84]")
_MARKS = re.compile(rb"[\x80-\x84]")
_BEFORE = 30  # bytes in front of a name that say what it is
_SET_OF_MARK = re.compile(
    rb"(?:\A|;)\s*set\s+(?:(?:local|session)\s+)?\"?[\x80-\x84]|\bset_config\"?\s*(?:\Z|[\x80-\x84])", re.IGNORECASE
)
_SET_OPEN = re.compile(rb"(?:\A|;)\s*set\s*(?:\s(?:local|session)\s*)?\Z", re.IGNORECASE)
_RUNS_TEXT = re.compile(rb"\bexecute\b(?!\s+(?:function|procedure|on)\b)|\bdo\b\s*['$\x80-\x84l]", re.IGNORECASE)
_QUOTED_LITERAL = re.compile(rb"'\x80'")

# Types whose values are one number or name when they are written down.
_SCALARS = frozenset(
    b"bool boolean int int2 int4 int8 integer smallint bigint oid real float float4 float8 double numeric decimal date time"
    b" timetz timestamp timestamptz interval uuid inet cidr macaddr".split()
)
_NAMES = frozenset(b"regclass regtype regrole regnamespace regproc regprocedure".split())
_OF_A_TRIGGER = frozenset(b"tg_name tg_when tg_level tg_op tg_relname tg_table_name tg_table_schema".split())
_END_OF_COMMAND = frozenset((b";", b"into", b"using", b"loop"))
_NOT_COMMANDS = frozenset((b"function", b"procedure", b"on"))
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\", b"'": b"'"}
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_SPECIFIER = re.compile(rb"%(?:(\d+)\$)?(-?\d+)?([sIL%])")
_DEEPEST = 40  # nested expressions and texts that are followed
_LONGEST = 16384  # bytes of a command that is put together, and its parts

_Token = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Commands:
    """What *code* runs that it makes: `bits`, the worst of it; `names`: words that the texts of commands, and all other literals
    of the code, have; `any_relation`: a relation may be among what they name that nobody knows."""

    bits: int = READ
    names: frozenset[bytes] = frozenset()
    any_relation: bool = False


NOTHING_MADE = Commands()


@dataclass(frozen=True, slots=True)
class _Text:
    """What an expression makes: a text with marks, other texts that may stand for its marks, and how well it is known."""

    text: bytes
    bits: int = READ
    parts: tuple[bytes, ...] = ()


_UNKNOWN = _Text(ANY_OPEN, UNREAD)
_ARGUMENT = _Text(ANY_OPEN, GIVEN)
_NUMBER = _Text(MARK)


def commands(code: bytes, parameters: Mapping[bytes, bytes] | None = None) -> Commands:
    """What PL/pgSQL *code* runs that it makes at run time; *parameters* are its names for them, and their types."""
    if _EXECUTES.search(code) is None:
        return NOTHING_MADE
    reader = _Reader(code, parameters or {})
    try:
        return reader.read()
    except _TooMuchError:
        return Commands(UNREAD, frozenset(words_of(code)), True)


_EXECUTES = re.compile(rb"\bexecute\b", re.IGNORECASE)


class _TooMuchError(Exception):
    """Reading the code closely would take longer than there is."""


@dataclass(slots=True)
class _Variable:
    """All that is assigned to a variable; `foreign`: other things are, too."""

    assigned: list[list[_Token]] = field(default_factory=list)
    known: _Text | None = None  # by its type
    foreign: bool = False


class _Reader:
    """Reads one piece of code."""

    def __init__(self, code: bytes, parameters: Mapping[bytes, bytes]) -> None:
        self.tokens = [(kind, value) for kind, value, _ in lexemes(code)]
        self.words = [value.lower() if kind == "word" else value if kind == "other" else b"" for kind, value in self.tokens]
        self.variables: dict[bytes, _Variable] = {}
        self.parameters = {name: _by_type(type_.split()) or _ARGUMENT for name, type_ in parameters.items()}
        self.budget = 4 * len(self.tokens) + 1000
        self.open: list[bytes] = []  # variables that are being worked out
        self.closed: dict[bytes, _Text] = {}

    def read(self) -> Commands:
        """All that is executed. _TooMuchError"""
        self.find_variables()
        bits = READ
        any_relation = False
        for at, word in enumerate(self.words):
            if word == b"execute" and (self.words[at + 1 : at + 2] or [b";"])[0] not in _NOT_COMMANDS:
                made = self.value(self.expression(at + 1))
                self.spend((len(made.text) + sum(map(len, made.parts))) // 2)
                found, any_ = judge(made)
                bits |= found
                any_relation = any_relation or any_
        names = frozenset(word for kind, value in self.tokens for word in _words_in(kind, value))
        return Commands(bits, names, any_relation)

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
                for kind_, value in self.expression(at + 1):
                    if kind_ == "word":
                        self.variable(value.lower()).foreign = True
                if word == b"alias":
                    self.variable(self.words[at - 1]).foreign = True
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
        return value.lower() if kind == "word" else value[1:-1] if kind == "quoted" else b""

    def read_statement(self, at: int, declaring: bool) -> None:
        """A declaration, or what may be an assignment, begins *at*."""
        if not declaring and (self.words[at + 1 : at + 2] or [b""])[0] not in (b":", b"=", b"[", b"."):
            return
        name = self.name(at)
        rest = self.expression(at + 1, whole=True)
        values = [value.lower() for _, value in rest]
        if declaring:
            type_ = [value for value in values[:2] if value != b"constant"]
            known = _by_type(type_)
            variable = self.variable(name)
            if known is not None:
                variable.known = known
            for i, value in enumerate(values):
                if value in (b"default", b"=", b":"):
                    variable.assigned.append(rest[i + 2 if value == b":" else i + 1 :])
                    break
            if b"%" in values[1:]:
                variable.known = None
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
            if any(self.words[i : i + 2] == [b".", b"."] or b".." in self.tokens[i][1] for i in range(at, end)):
                self.variable(self.name(at)).known = _NUMBER
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

    def expression(self, at: int, *, whole: bool = False) -> list[_Token]:
        """The tokens of an expression that begins *at*; *whole*: up to the end of its statement."""
        depth = 0
        found: list[_Token] = []
        for i in range(at, len(self.tokens)):
            word = self.words[i]
            if depth == 0 and (word == b";" or (not whole and word in _END_OF_COMMAND)):
                break
            depth += _opens(self.tokens[i][0], word)
            found.append(self.tokens[i])
        self.spend(len(found) + 1)
        return found

    def value(self, tokens: list[_Token], depth: int = 0) -> _Text:
        """What the expression makes."""
        if depth > _DEEPEST:
            return _UNKNOWN
        self.spend(len(tokens) + 1)
        made = [self.operand(part, depth) for part in _split(tokens, _concatenation)]
        return _put_together(b"".join(each.text for each in made), made)

    def operand(self, tokens: list[_Token], depth: int) -> _Text:
        """What stands between two `||`."""
        tokens, cast = _without_cast(tokens)
        if cast is not None:
            return cast
        if not tokens:
            return _UNKNOWN
        kinds = {kind for kind, _ in tokens}
        if kinds <= {"string", "estring", "dollar"}:
            return _literal(tokens)
        (kind, value), rest = tokens[0], tokens[1:]
        word = value.lower()
        if not rest:
            if kind == "number":
                return _Text(value)
            if kind == "word":
                return self.named(word, depth)
            if kind == "param":
                return self.parameters.get(value, _ARGUMENT)
            return _UNKNOWN
        if value == b"(" and _closes(tokens):
            return self.value(tokens[1:-1], depth + 1)
        if word == b"case" and tokens[-1][1].lower() == b"end":
            return _any_of([self.value(part, depth + 1) for part in _results(tokens[1:-1])])
        if kind == "word" and _closes(rest):
            return self.call(word, _split(rest[1:-1], _comma), depth + 1)
        return _UNKNOWN

    def named(self, name: bytes, depth: int) -> _Text:
        """What a variable or a parameter has."""
        variable = self.variables.get(name)
        if variable is None:
            if name in _OF_A_TRIGGER:
                return _Text(NAME)
            return self.parameters.get(name, _UNKNOWN)
        if variable.foreign:
            return variable.known or _UNKNOWN
        if variable.known is not None:
            return variable.known
        if self.parameters.get(name, _ARGUMENT) is not _ARGUMENT:
            return self.parameters[name]
        if name in self.open:
            return _Text(ANY_OPEN)  # to itself, which has been seen
        if name in self.closed:
            return self.closed[name]
        self.open.append(name)
        texts = [self.value(tokens, depth + 1) for tokens in variable.assigned]
        self.open.pop()
        if name in self.parameters:
            texts.append(self.parameters[name])
        made = texts[0] if len(texts) == 1 and ANY_OPEN not in texts[0].text else _any_of(texts)
        if not self.open:
            self.closed[name] = made
        return made

    def call(self, name: bytes, arguments: list[list[_Token]], depth: int) -> _Text:
        """What a function makes of its arguments."""
        if name == b"quote_ident":
            return _Text(NAME)
        if name in (b"quote_literal", b"quote_nullable"):
            return _Text(LITERAL)
        if name == b"concat":
            return self.value([token for argument in arguments for token in (*argument, *_BARS)][:-2], depth)
        if name == b"coalesce":
            return _any_of([self.value(argument, depth) for argument in arguments])
        if name == b"format" and arguments and not any(argument[:1] == [("word", b"variadic")] for argument in arguments):
            return self.format(self.value(arguments[0], depth), [self.value(argument, depth) for argument in arguments[1:]])
        if name == b"chr" and [kind for kind, _ in arguments[0]] == ["number"]:
            code = arguments[0][0][1]
            return _Text(bytes([int(code)])) if code.isdigit() and 0 < int(code) < 128 else _UNKNOWN
        if name == b"to_char" and len(arguments) == 2 and {kind for kind, _ in arguments[1]} == {"string"}:
            return _NUMBER if _DIGITS.fullmatch(arguments[1][0][1][1:-1]) else _UNKNOWN
        return _UNKNOWN

    def format(self, template: _Text, values: list[_Text]) -> _Text:
        """What format() makes (manual 9.4.1)."""
        used = [template if _ALTERNATIVES.search(template.text) is None else _Text(b"", UNREAD, template.parts)]
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
            value = values[count - 1] if 0 < count <= len(values) and width is None else _UNKNOWN
            used.append(value)
            return value.text

        text = _SPECIFIER.sub(fill, template.text)
        if b"%" in _SPECIFIER.sub(b"", template.text):
            return _UNKNOWN  # width by an argument, or wrong
        return _put_together(text, used)


_BARS: list[_Token] = [("other", b"|"), ("other", b"|")]
_DIGITS = re.compile(rb"(?:YYYY|YY|IYYY|MM|DDD|DD|HH24|HH12|HH|MI|SS|WW|IW|FM|Q|J|US|MS|[_\-.:/ 09])+")


def judge(made: _Text) -> tuple[int, bool]:
    """What a command does that is *made* like that: bits, and whether it may name any relation."""
    bits = made.bits
    any_relation = False
    for i, text in enumerate((made.text, *made.parts)):
        if hides_names(text) or _SET_OF_MARK.search(text) is not None:
            bits |= MAKES
        elif _SET_OPEN.search(text) is not None:
            bits |= UNREAD if i else MAKES
        if (
            _JOINED.search(text) is not None
            or text.count(b"'") % 2
            or _RUNS_TEXT.search(text) is not None
            or _calls_mark(text, i > 0)
        ):
            bits |= UNREAD
        any_relation = any_relation or MARK in _QUOTED_LITERAL.sub(b"", text)
    return bits, any_relation


def _calls_mark(text: bytes, is_part: bool) -> bool:
    """Whether *text* calls a function of a name that nobody knows; *is_part*: something may stand in front of it."""
    creates = _CREATE.match(text) is not None
    for match in _CALL.finditer(text):
        if _MARKS.search(match[1]) is None or (is_part and not match.start()):
            continue
        before = text[max(match.start() - _BEFORE, 0) : match.start()]
        if _NO_CALL.search(before) is None and not (creates and _NO_CALL_IN_CREATE.search(before) is not None):
            return True
    return False


def _put_together(text: bytes, made: list[_Text]) -> _Text:
    """A text made of these, with all their parts."""
    parts = tuple(part for each in made for part in each.parts)
    bits = _all_bits(made)
    if len(text) + sum(len(part) + 10 for part in parts) > _LONGEST:
        return _Text(ANY_OPEN, bits | UNREAD)
    return _Text(text, bits, parts)


def _all_bits(made: Iterable[_Text]) -> int:
    bits = READ
    for each in made:
        bits |= each.bits
    return bits


def _any_of(texts: list[_Text]) -> _Text:
    """One of several texts, nobody knows which."""
    if not texts:
        return _Text(b"")
    left = any(_open(each.text[:1], ANY_RIGHT + ANY) for each in texts)
    right = any(_open(each.text[-1:], ANY_LEFT + ANY) for each in texts)
    mark = (ANY, ANY_RIGHT, ANY_LEFT, ANY_OPEN)[right + 2 * left]
    return _put_together(mark, [_Text(b"", each.bits, (each.text, *each.parts)) for each in texts])


def _open(edge: bytes, closed: bytes) -> bool:
    """Whether a word may go on beyond the character at a text's edge; *closed*: marks that say it does not."""
    return not edge or (edge not in closed and re.fullmatch(rb"[\w$\x80-\x84]", edge) is not None)


def _by_type(words: list[bytes]) -> _Text | None:
    """What values of a type look like, where that is known; *words*: how its name begins."""
    first = words[0] if words else b""
    if first == b"pg_catalog" or (len(words) > 1 and words[1] == b"["):
        return None
    return _NUMBER if first in _SCALARS else _Text(NAME) if first in _NAMES else None


def _without_cast(tokens: list[_Token]) -> tuple[list[_Token], _Text | None]:
    """The operand without a cast at its end; or what it is, where its type says that."""
    depth = 0
    colons = []
    for i, (kind, value) in enumerate(tokens[:-1]):
        depth += _opens(kind, value)
        if not depth and value == b":" and tokens[i + 1][1] == b":":
            colons.append(i)
    end = len(tokens)
    for i in reversed(colons):
        type_ = [value.lower() for _, value in tokens[i + 2 : end]]
        known = _by_type(type_)
        if known is not None:
            return [], known
        if type_ not in ([b"text"], [b"varchar"]):
            return [], _UNKNOWN
        end = i
    return tokens[:end], None


def _literal(tokens: list[_Token]) -> _Text:
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
            if any(escape not in _ESCAPES for escape in _ESCAPE.findall(inner)):
                return _UNKNOWN
            text += _ESCAPE.sub(lambda match: _ESCAPES[match[1]], inner)
    return _Text(re.sub(rb"[\x80-\xff]", MARK, text))


def _opens(kind: str, value: bytes) -> int:
    """1 for an opening bracket, -1 for a closing one."""
    return (value in (b"(", b"[")) - (value in (b")", b"]")) if kind == "other" else 0


def _closes(tokens: list[_Token]) -> bool:
    """Whether the bracket with which the tokens begin closes with the last of them."""
    depth = 0
    for i, (kind, value) in enumerate(tokens):
        depth += _opens(kind, value)
        if not depth:
            return i == len(tokens) - 1 and value == b")"
    return False


def _results(tokens: list[_Token]) -> list[list[_Token]]:
    """The expressions behind THEN and ELSE of a CASE, without those of others within it."""
    found: list[list[_Token]] = []
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


def _concatenation(tokens: list[_Token], i: int) -> int:
    return 2 if tokens[i : i + 2] == _BARS else 0


def _comma(tokens: list[_Token], i: int) -> int:
    return 1 if tokens[i] == ("other", b",") else 0


def _split(tokens: list[_Token], separator: Callable[[list[_Token], int], int]) -> list[list[_Token]]:
    """The tokens between separators that stand in no brackets."""
    parts: list[list[_Token]] = [[]]
    depth = i = 0
    while i < len(tokens):
        kind, value = tokens[i]
        length = separator(tokens, i) if depth == 0 else 0
        if length:
            parts.append([])
            i += length
            continue
        depth += _opens(kind, value)
        parts[-1].append(tokens[i])
        i += 1
    return parts


_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*")


def words_of(text: bytes) -> set[bytes]:
    """Every word of *text*, wherever it stands, in lower case."""
    return {word.lower() for word in _WORD.findall(text)}


def _words_in(kind: str, value: bytes) -> set[bytes]:
    """The words in a string constant."""
    return words_of(value) if kind in ("string", "estring", "dollar") else set()


# --- texts of clients ---


BRINGS_CODE = frozenset((b"do", b"create", b"alter"))


def runs(text: bytes, names: frozenset[bytes]) -> bool:
    """Whether *text* itself, not a string in it, has one of these names, or brings code along."""
    words = words_of(text)
    if words.isdisjoint(names) and words.isdisjoint(BRINGS_CODE):
        return False
    outside = {value.strip(b'"').lower() for kind, value, _ in lexemes(text) if kind in ("word", "quoted")}
    return not (outside.isdisjoint(names) and outside.isdisjoint(BRINGS_CODE))


def reach(text: bytes, values: Iterable[bytes], given: frozenset[bytes]) -> int:
    """What a text hands to functions that run what they are *given*, and what the code that it brings along runs: bits.

    *values* are bound to it. What is handed over as one literal or parameter was seen.
    """
    if not runs(text, given):
        return READ
    bits = _reach(text, given, False, 0)
    for value in values:
        bits |= _reach(value, given, True, 0)
    return bits & ~GIVEN | UNREAD if bits & GIVEN else bits


def _reach(text: bytes, given: frozenset[bytes], code: bool, depth: int) -> int:
    if depth > _DEEPEST:
        return UNREAD
    words = words_of(text)
    if b"execute" not in words and words.isdisjoint(given):
        return READ
    bits = READ
    if code:
        bits |= commands(text).bits
    tokens = [(kind, value) for kind, value, _ in lexemes(text)]
    for i, (kind, value) in enumerate(tokens):
        if kind in ("word", "quoted") and value.strip(b'"').lower() in given and not _in_full(tokens, i + 1):
            bits |= UNREAD
        elif kind in ("string", "estring", "dollar"):
            inner = _literal([(kind, value)])
            bits |= inner.bits | _reach(inner.text, given, True, depth + 1)
        elif kind == "unclosed":
            bits |= UNREAD
    return bits


_CONSTANTS = frozenset((b"null", b"true", b"false"))


def _in_full(tokens: list[_Token], at: int) -> bool:
    """Whether a call's arguments, which begin *at*, are literals and parameters."""
    if tokens[at : at + 1] != [("other", b"(")]:
        return False
    cast = 0
    for i in range(at + 1, len(tokens)):
        kind, value = tokens[i]
        if value == b")":
            return True
        if kind == "word" and not cast and value.lower() not in _CONSTANTS and tokens[i + 1 : i + 3] != _ARROW:
            return False
        if kind == "quoted" or (kind == "other" and value not in (b",", b":", b"=", b">", b"-", b"+")):
            return False
        cast = kind == "other" and value == b":"
    return False


_ARROW: list[_Token] = [("other", b"="), ("other", b">")]
