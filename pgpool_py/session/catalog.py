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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pgpool_py.session import flags, functions
from pgpool_py.session.catalog_queries import FACTS_QUERY, FINGERPRINT_QUERY, defaults_query
from pgpool_py.session.code_facts import CodeFacts, Names
from pgpool_py.session.expressions import KNOWN
from pgpool_py.session.graph import PASSED_ON, READER, Function, Graph
from pgpool_py.session.made_texts import RELATION
from pgpool_py.session.mentions import candidates
from pgpool_py.session.scan import NAMES, Scanner

__all__ = ["FACTS_QUERY", "FINGERPRINT_QUERY", "DatabaseFacts", "defaults_query", "facts_from_rows"]

Value = bytes | str | None

# What code that runs without being named must not do.
_BOUND = flags.DIRTY | flags.READS
# A relation that is called something else than a name, and what would run if code has that name for a word.
_ODD = re.compile(rb"[^\w$\x80-\xff]")
_RELATION_NAMES = frozenset((b"tg_relname", b"tg_table_name"))


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Which names of a database lead to code that may touch the session, and as of when."""

    suspicious: dict[bytes, int]  # name: flags; never empty, as built-in functions are among them
    plain_types: frozenset[int]
    everything_opaque: bool
    runs_with_ddl: bool  # code of the database does: event triggers and the like
    fingerprint: bytes
    placeholders: frozenset[bytes]  # custom settings that code of the database may make
    scanner: Scanner = field(repr=False)


def facts_from_rows(rows: Iterable[Sequence[Value]], fingerprint: Value = b"") -> DatabaseFacts:
    """Return the facts in the rows of FACTS_QUERY; *fingerprint* is what FINGERPRINT_QUERY gave before it."""
    graph = Graph()
    unnamed: list[bytes] = []
    events: list[bytes] = []
    types: list[tuple[bytes, int]] = []
    functions_read: list[Function] = []
    code: list[tuple[bytes, bytes, bytes]] = []  # of everything else: kind, name, text
    given: list[bytes] = []  # built-in functions that run what they are given
    makers: list[tuple[bytes, bytes]] = []  # code that may make custom settings, if it is suspicious
    for row in rows:
        kind, name, detail, text = (_bytes(value) for value in row)
        match kind:
            case b"builtin":
                given += [word for word in name.split() if functions.RUNNING.get(word, 0) & flags.GIVEN]
                for word in name.split():
                    if word not in functions.PLAIN and word not in functions.KINDS:
                        graph.add(word, flags.UNKNOWN | functions.RUNNING.get(word, 0))
                    if word in functions.BY_VALUE:
                        graph.mention_any(word, (RELATION,))
            case b"function":
                function = Function(name, detail, text)
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
    graph.know(functions_read, given)
    for kind, name, text in code:
        graph.add_code(kind, name, text, own)
    for function in functions_read:
        graph.add_function(function)
    suspicious = graph.spread()
    everywhere = 0
    for text in unnamed:
        everywhere |= _reach(suspicious, text)
    everything = bool(everywhere & _BOUND)
    ddl = 0
    for text in events:
        ddl |= _reach(suspicious, text) & PASSED_ON
    everywhere |= ddl  # any code may run DDL
    if everywhere & flags.GIVEN:
        everywhere |= flags.UNREAD
    upkeep = 0
    for name in graph.relations:
        upkeep |= suspicious.get(name, 0)
    upkeep = flags.UNKNOWN if upkeep & flags.DIRTY else 0
    return DatabaseFacts(
        suspicious=suspicious,
        plain_types=frozenset(oid for name, oid in types if not suspicious.get(name, 0) & _BOUND),
        everything_opaque=everything,
        runs_with_ddl=bool(events),
        fingerprint=_bytes(fingerprint),
        placeholders=frozenset(
            name
            for maker, text in makers
            if suspicious.get(maker, 0) & (flags.SETTINGS | flags.OPAQUE)
            for name in candidates(text)
        )
        | {name for maker, names in graph.named if suspicious.get(maker, 0) for name in names if b"." in name},
        scanner=Scanner(suspicious, not everything, ddl, _code_facts(graph, suspicious, everywhere), upkeep),
    )


def _code_facts(graph: Graph, suspicious: dict[bytes, int], everywhere: int) -> CodeFacts:
    """What is known of code that makes commands, or names of settings."""
    makers, unread, opaque = [
        Names(name for name, bits in suspicious.items() if bits & bit) for bit in (flags.DYNAMIC, flags.UNREAD, flags.OPAQUE)
    ]
    patterns = frozenset(graph.patterns)
    return CodeFacts(makers, unread, opaque, graph.given, patterns, everywhere & flags.MADE, graph.unknown)


def _reach(suspicious: dict[bytes, int], text: bytes) -> int:
    """What the names in *text* lead to."""
    names: set[bytes] = set()
    bits = READER.scan(text, NAMES, names)
    for name in names:
        bits |= suspicious.get(name, 0)
    return bits


def _bytes(value: Value) -> bytes:
    if value is None:
        return b""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
