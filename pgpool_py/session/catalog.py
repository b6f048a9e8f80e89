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

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pgpool_py.session import flags, functions
from pgpool_py.session.catalog_queries import DEFAULTS_QUERY, FACTS_QUERY, FINGERPRINT_QUERY
from pgpool_py.session.mentions import candidates, makes_names
from pgpool_py.session.scan import NAMES, PLPGSQL, SQL, Scanner

__all__ = ["DEFAULTS_QUERY", "FACTS_QUERY", "FINGERPRINT_QUERY", "DatabaseFacts", "facts_from_rows"]

Value = bytes | str | None

# What a name passes on to the names that mention it.
_PASSED_ON = (
    flags.DIRTY
    | flags.DYNAMIC
    | flags.READS
    | flags.READS_SETTINGS
    | flags.WRITES_SEQUENCE
    | flags.FILLS
    | flags.TRANSACTION_LOCAL
)
# What code that runs without being named must not do.
_BOUND = flags.DIRTY | flags.READS
_MODIFYING = frozenset((b"insert", b"merge", b"update", b"delete", b"copy"))
# All names outside ASCII are one node to those who mention any: how they fold depends on the encoding.
_NONASCII = b"\x80"


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
    functions_read: list[tuple[bytes, str, bytes]] = []
    makers: list[tuple[bytes, bytes]] = []  # code that may make custom settings, if it is suspicious
    for row in rows:
        kind, name, detail, text = (_bytes(value) for value in row)
        match kind:
            case b"builtin":
                for word in name.split():
                    if word not in functions.PLAIN and word not in functions.KINDS:
                        graph.add(word, flags.UNKNOWN)
            case b"function":
                functions_read.append((name, detail.decode(), text))
                makers.append((name, detail.rpartition(b"|")[2] + b" " + text))
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
                graph.mention(name, text, filled=kind == b"filled")
    for name, bits in functions.KINDS.items():
        graph.add(name, bits)
    for name, description, text in functions_read:
        graph.add_function(name, description, text)
    suspicious = graph.spread()
    everything = any(_reach(suspicious, text) & _BOUND for text in unnamed)
    ddl = 0
    for text in events:
        ddl |= _reach(suspicious, text) & _PASSED_ON
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
        ),
        scanner=Scanner(suspicious, not everything, ddl),
    )


def _reach(suspicious: dict[bytes, int], text: bytes) -> int:
    """What the names in *text* lead to."""
    names: set[bytes] = set()
    bits = _READER.scan(text, NAMES, names)
    for name in names:
        bits |= suspicious.get(name, 0)
    return bits


class _Graph:
    """Names, the flags they have by themselves, and the names their code mentions."""

    def __init__(self) -> None:
        self.bits: dict[bytes, int] = defaultdict(int)
        self.mentioned_by: dict[bytes, set[bytes]] = defaultdict(set)
        self.filled_by: dict[bytes, set[bytes]] = defaultdict(set)  # the same, where only changes of rows run the code
        self.modifying: set[bytes] = set()  # whose code changes rows
        self.nonascii: set[bytes] = set()

    def add(self, name: bytes, bits: int) -> None:
        self.bits[name] |= bits
        if not name.isascii():
            self.nonascii.add(name)

    def mention(self, name: bytes, text: bytes, mode: int = NAMES, *, filled: bool = False) -> None:
        """Take in that *name* runs the code in *text*; *filled*: when rows of that table change."""
        names: set[bytes] = set()
        bits = _READER.scan(text, mode, names) & _PASSED_ON
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

    def add_function(self, name: bytes, detail: str, text: bytes) -> None:
        """Take in a user function: *detail* is its language, extension, volatility and settings clause."""
        language, extension, volatility, settings = detail.split("|")
        self.add(name, 0)
        if makes_names(text):
            self.add(name, flags.DYNAMIC | flags.UNKNOWN)
        if settings:
            # A SET clause ends with the call, but a placeholder stays defined, and a seed stays set.
            self.add(name, flags.SETTINGS | flags.UNKNOWN)
        if language == "plpgsql":
            self.mention(name, text, PLPGSQL)
        elif language == "sql":
            self.mention(name, text, SQL)
        elif language == "sqlbody":  # BEGIN ATOMIC: nothing but queries is allowed there
            self.mention(name, text)
        elif not _is_known(name, language, extension, volatility):
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
        return {name: bits for name, bits in self.bits.items() if bits}


def _filled(bits: int) -> int:
    """What reaching *bits* by changing the rows of a table means for that table."""
    return bits & ~flags.WRITES_SEQUENCE | flags.FILLS if bits & flags.WRITES_SEQUENCE else bits


# Reads bodies before the facts are known: names are collected, so only keywords and KINDS answer.
_READER = Scanner(functions.KINDS, True)


def _is_known(name: bytes, language: str, extension: str, volatility: str) -> bool:
    """Say whether a function in C (or internal) computes and nothing else."""
    if language not in ("c", "internal") or not extension or name in functions.EXTENSION_DENIED:
        return False
    return name in functions.EXTENSION_PLAIN or (extension in functions.EXTENSIONS and volatility in "is")


def _bytes(value: Value) -> bytes:
    if value is None:
        return b""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
