"""What a database's catalogs say about its code: which names lead to something that may touch the session.

Everything is by name, as the scan sees names: a function, its overloads, a table, a type and a view of one
name are one node, and a node is as bad as the worst of them. Each fact is a row: a name, the text its code
is written in, and where that text mentions another name the bad spreads. Too coarse costs a reset; nothing
is missed by it.

User objects are those with an oid from 16384 up. The built-in functions are judged by `functions`, against
the names that the server really has; the built-in views are trusted (pg_settings apart).

Limits. Foreign tables, tables under foreign access methods, and functions in C, internal or any language
but SQL and PL/pgSQL are opaque unless a well-known extension brought them. An operator, cast, operator
class or base type whose function is not plain makes the whole database uninformed, as such code runs
without being named. An event trigger's code is what any DDL does; those at login are not read. Temporary
objects are not read: only a dirty server has them. A built-in function that a superuser has replaced is
not noticed.

Freshness. DDL also goes past the pooler, so the fingerprint is compared at each new server, at a bounded
interval, and after a text with DDL or OPAQUE ran; between the change and the comparison, statements are
judged by the old facts. The fingerprint reads the row versions (xmin) of user objects through the catalogs'
oid indexes.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pgpool_py.session import flags, functions
from pgpool_py.session.catalog_queries import DEFAULTS_QUERY, FACTS_QUERY, FINGERPRINT_QUERY
from pgpool_py.session.commands import KNOWN, NOTHING_MADE, Commands, commands
from pgpool_py.session.lexemes import words_of
from pgpool_py.session.mentions import candidates, hides_names, hides_set_names
from pgpool_py.session.reach import completions, reach
from pgpool_py.session.scan import NAMES, PLPGSQL, SQL, Scanner

__all__ = ["DEFAULTS_QUERY", "FACTS_QUERY", "FINGERPRINT_QUERY", "DatabaseFacts", "facts_from_rows"]

Value = bytes | str | None

# What a name passes on to the names that mention it.
_PASSED_ON = (
    flags.DIRTY
    | flags.MADE
    | flags.READS
    | flags.READS_SETTINGS
    | flags.WRITES_SEQUENCE
    | flags.FILLS
    | flags.TRANSACTION_LOCAL
)
# What code that runs without being named must not do.
_BOUND = flags.DIRTY | flags.READS
_MODIFYING = frozenset((b"insert", b"merge", b"update", b"delete", b"copy"))
# All names outside ASCII are one node to those who mention any: how they fold depends on the encoding. All relations are one to
# code that names one at run time.
_NONASCII = b"\x80"
_ANY_RELATION = b"\x81"
ANY_ARGUMENT: frozenset[int] = frozenset()
# A relation that is called something else than a name, and what would run if code has that name for a word.
_ODD = re.compile(rb"[^\w$\x80-\xff]")
_RELATION_NAMES = frozenset((b"tg_relname", b"tg_table_name"))


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Which names of a database lead to code that may touch the session, and as of when."""

    suspicious: dict[bytes, int]  # name: flags; never empty, as built-in functions are among them
    plain_types: frozenset[int]
    everything_opaque: bool
    ddl: int  # what any DDL does, by event triggers
    fingerprint: bytes
    placeholders: frozenset[bytes]  # custom settings that code of the database may make
    scanner: Scanner = field(repr=False)


def facts_from_rows(rows: Iterable[Sequence[Value]], fingerprint: Value = b"") -> DatabaseFacts:
    """Return the facts in the rows of FACTS_QUERY; *fingerprint* is what FINGERPRINT_QUERY gave before it."""
    graph = _Graph()
    unnamed: list[bytes] = []
    events: list[bytes] = []
    types: list[tuple[bytes, int]] = []
    functions_read: list[_Function] = []
    code: list[tuple[bytes, bytes, bytes]] = []  # of everything else: kind, name, text
    makers: list[tuple[bytes, bytes]] = []  # code that may make custom settings, if it is suspicious
    for row in rows:
        kind, name, detail, text = (_bytes(value) for value in row)
        match kind:
            case b"builtin":
                graph.given.update(
                    (word, ANY_ARGUMENT) for word in name.split() if functions.RUNNING.get(word, 0) & flags.GIVEN
                )
                for word in name.split():
                    if word not in functions.PLAIN and word not in functions.KINDS:
                        graph.add(word, flags.UNKNOWN | functions.RUNNING.get(word, 0))
            case b"function":
                function = _Function(name, detail, text)
                functions_read.append(function)
                makers.append((name, function.settings + b" " + text))
            case b"opaque":
                graph.add(name, flags.UNKNOWN)
            case b"type":
                types.append((name, int(detail)))
            case b"unnamed":
                unnamed.append(text)
            case b"event":
                events.append(text)
            case _:
                if b"set_config" in text:
                    makers.append((name, text))
                code.append((kind, name, text))
    for name, bits in functions.KINDS.items():
        graph.add(name, bits)
    own = KNOWN & {*(function.name for function in functions_read), *(name for name, _ in types)}
    if any(_ODD.search(name) for kind, name, _ in code if kind == b"filled"):
        own |= _RELATION_NAMES
    for function in functions_read:
        function.read(own)
        graph.patterns |= function.commands.patterns
        graph.named.append((function.name, function.commands.settings))
        if function.bits & flags.GIVEN:
            before = graph.given.get(function.name, function.given)
            graph.given[function.name] = before | function.given if before and function.given else ANY_ARGUMENT
    for kind, name, text in code:
        if kind != b"names":
            graph.relations.add(name)
        graph.mention(name, text, filled=kind == b"filled")
        made = commands(text, (), own, is_sql=True)
        graph.named.append((name, made.settings))
        if made.bits:
            graph.add(name, made.bits & flags.MADE | flags.UNKNOWN)
    for function in functions_read:
        graph.add_function(function)
    suspicious = graph.spread()
    everywhere = 0
    for text in unnamed:
        everywhere |= _reach(suspicious, text)
    everything = bool(everywhere & _BOUND)
    ddl = 0
    for text in events:
        ddl |= _reach(suspicious, text) & _PASSED_ON
    everywhere |= ddl  # any code may run DDL
    if everywhere & flags.GIVEN:
        everywhere |= flags.UNREAD
    return DatabaseFacts(
        suspicious=suspicious,
        plain_types=frozenset(oid for name, oid in types if not suspicious.get(name, 0) & _BOUND),
        everything_opaque=everything,
        ddl=ddl,
        fingerprint=_bytes(fingerprint),
        placeholders=frozenset(
            name
            for maker, text in makers
            if suspicious.get(maker, 0) & (flags.SETTINGS | flags.OPAQUE)
            for name in candidates(text, sys.maxsize)
        )
        | {name for maker, names in graph.named if suspicious.get(maker, 0) for name in names if b"." in name},
        scanner=Scanner(
            suspicious, not everything, ddl, everywhere & flags.MADE, graph.any_relation, graph.given, frozenset(graph.patterns)
        ),
    )


def _reach(suspicious: dict[bytes, int], text: bytes) -> int:
    """What the names in *text* lead to."""
    names: set[bytes] = set()
    bits = _READER.scan(text, NAMES, names)
    for name in names:
        bits |= suspicious.get(name, 0)
    return bits


class _Function:
    """A user function: its row of FACTS_QUERY, and what it runs that is made at run time."""

    def __init__(self, name: bytes, detail: bytes, text: bytes) -> None:
        language, extension, volatility, settings, parameters = detail.split(b"|", 4)
        self.name = name
        self.text = text
        self.language = language.decode(errors="replace")
        self.extension = extension.decode(errors="replace")
        self.volatility = volatility.decode(errors="replace")
        self.settings = settings
        self.parameters = parameters
        self.commands: Commands = NOTHING_MADE
        self.bits = 0
        self.given = ANY_ARGUMENT

    def read(self, own: frozenset[bytes]) -> None:
        """What it runs, and sets; *own* are names of functions that hide built-in ones."""
        if self.language in ("sql", "sqlbody", "plpgsql"):
            typed = [parameter.partition(b" ") for parameter in self.parameters.split(b",")] if self.parameters else []
            parameters = [(name, type_) for name, _, type_ in typed]
            self.commands = commands(self.text, parameters, own, is_sql=self.language != "plpgsql")
            self.bits = self.commands.bits | (flags.DYNAMIC if hides_set_names(self.text) else 0)
            self.given = self.commands.given
        elif self.extension in functions.RUNNING_EXTENSIONS:
            self.bits = functions.RUNNING.get(self.name, 0)
        elif self.language == "internal":
            self.bits = flags.DYNAMIC if b"set_config" in self.text else 0
        elif self.language != "c" and functions.RUNS_SQL.search(self.text) is not None:
            self.bits = flags.DYNAMIC if hides_names(self.text) else flags.UNREAD


class _Graph:
    """Names, the flags they have by themselves, and the names their code mentions."""

    def __init__(self) -> None:
        self.bits: dict[bytes, int] = defaultdict(int)
        self.mentioned_by: dict[bytes, set[bytes]] = defaultdict(set)
        self.filled_by: dict[bytes, set[bytes]] = defaultdict(set)  # the same, where only changes of rows run the code
        self.modifying: set[bytes] = set()  # whose code changes rows
        self.given: dict[bytes, frozenset[int]] = {}  # functions that run what they are given, and which arguments these are
        self.patterns: set[tuple[bytes, bytes]] = set()  # of names of settings that functions complete with what they are given
        self.named: list[tuple[bytes, frozenset[bytes]]] = []  # settings that code makes by names that it puts together
        self.relations: set[bytes] = set()
        self.any_relation = 0  # what using any relation may do of MADE, after `spread`
        self.nonascii: set[bytes] = set()

    def add(self, name: bytes, bits: int) -> None:
        self.bits[name] |= bits
        if not name.isascii():
            self.nonascii.add(name)

    def mention(self, name: bytes, text: bytes, mode: int = NAMES, *, filled: bool = False) -> None:
        """Take in that *name* runs the code in *text*; *filled*: when rows of that table change."""
        names: set[bytes] = set()
        bits = _READER.scan(text, mode, names) & _PASSED_ON
        words = words_of(text)
        if not words.isdisjoint(self.given):
            bits |= reach(text, (), self.given, is_code=True)[0]
            named = completions(self.patterns, text, ())
            if named is None:
                bits |= flags.UNREAD
            else:
                self.named.append((name, named))
            names |= words  # those within what it hands over, too
        if filled:
            bits = _filled(bits)
        elif not names.isdisjoint(_MODIFYING):
            self.modifying.add(name)
        self.add(name, bits | flags.UNKNOWN if bits & flags.DIRTY else bits)
        mentions = self.filled_by if filled else self.mentioned_by
        for word in names:
            mentions[word].add(name)
            if not word.isascii():
                mentions[_NONASCII].add(name)

    def add_function(self, function: _Function) -> None:
        """Take in a user function."""
        name, text = function.name, function.text
        self.add(name, function.bits | flags.UNKNOWN if function.bits else 0)
        if function.settings:
            # A SET clause ends with the call, but a placeholder stays defined, and a seed stays set.
            self.add(name, flags.SETTINGS | flags.UNKNOWN)
            if not function.settings.isascii() or b"standard_conforming_strings" in function.settings.lower():
                self.add(name, flags.UNREAD)
        for word in function.commands.words:
            self.mentioned_by[word].add(name)
        if function.commands.any_relation:
            self.mentioned_by[_ANY_RELATION].add(name)
        if function.language == "plpgsql":
            self.mention(name, text, PLPGSQL)
        elif function.language == "sql":
            self.mention(name, text, SQL)
        elif function.language == "sqlbody":  # BEGIN ATOMIC: nothing but queries is allowed there
            self.mention(name, text)
        elif not _is_known(function):
            self.add(name, flags.UNKNOWN)

    def spread(self) -> dict[bytes, int]:
        """Return every name with flags, after passing them on to all that mention it, directly or not."""
        for name in self.nonascii:
            self.mentioned_by[name] |= self.mentioned_by[_NONASCII]
            self.filled_by[name] |= self.filled_by[_NONASCII]
        todo = [name for name, bits in self.bits.items() if bits]
        while todo:
            name = todo.pop()
            bits = self.bits[name] & _PASSED_ON
            if bits & flags.DIRTY:
                bits |= flags.UNKNOWN
            for others, passed in ((self.mentioned_by.get(name, ()), bits), (self.filled_by.get(name, ()), _filled(bits))):
                for other in others:
                    more = passed | flags.WRITES_SEQUENCE if passed & flags.FILLS and other in self.modifying else passed
                    if more & ~self.bits[other]:
                        self.bits[other] |= more
                        todo.append(other)
            if bits & flags.MADE & ~self.bits[_ANY_RELATION] and name in self.relations:
                self.bits[_ANY_RELATION] |= bits & flags.MADE | flags.UNKNOWN
                todo.append(_ANY_RELATION)
        self.any_relation = self.bits.pop(_ANY_RELATION, 0) & flags.MADE
        return {name: bits for name, bits in self.bits.items() if bits}


def _filled(bits: int) -> int:
    """What reaching *bits* by changing the rows of a table means for that table."""
    return bits & ~flags.WRITES_SEQUENCE | flags.FILLS if bits & flags.WRITES_SEQUENCE else bits


# Reads bodies before the facts are known: names are collected, so only keywords and KINDS answer.
_READER = Scanner(functions.KINDS, True)


def _is_known(function: _Function) -> bool:
    """Say whether a function in C (or internal) computes and nothing else."""
    if function.language not in ("c", "internal") or not function.extension or function.name in functions.EXTENSION_DENIED:
        return False
    if function.name in functions.EXTENSION_PLAIN:
        return True
    return function.extension in functions.EXTENSIONS and function.volatility in ("i", "s")


def _bytes(value: Value) -> bytes:
    if value is None:
        return b""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
