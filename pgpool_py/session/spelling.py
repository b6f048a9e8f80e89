"""How settings' names and values are written in SQL, and how values are asked for: exact in any encoding.

A client's encoding may lack letters of what it, or the database, has set. So values are kept in the database's encoding, and go
to and fro in ASCII. Names are the client's, in its own encoding.
"""

from __future__ import annotations

import re

from pgpool_py.session.lexemes import LONGEST_NAME

# What a literal says otherwise (manual, 4.1.2.2); what encode says otherwise (manual, 9.5).
_UNSAFE = re.compile(rb"[\\'\x80-\xff]")
_ESCAPED = {b"\\": b"\\\\", b"'": b"''", **{bytes((byte,)): b"\\x%02x" % byte for byte in range(128, 256)}}
# What a name of a session has in place of other bytes (manual, 20.8).
_NUMBERED = re.compile(rb"\\x(0[1-9a-f]|1[0-9a-f]|7f|[89a-f][0-9a-f])")
_OCTAL = re.compile(rb"\\(?:\\|([0-7]{3}))")

# Settings whose value is a list of identifiers: SET takes one literal for each (guc_tables.c, GUC_LIST_QUOTE).
LISTS = frozenset(
    b"search_path temp_tablespaces local_preload_libraries session_preload_libraries output_plugin_libraries".split()
)
# A list as SET would spell it, so that one literal for each element makes the same value again. What one part has taken it keeps
# (`*+`): values are clients', and of any length.
_ELEMENT = rb'(?:[a-z_][a-z0-9_]*+|"(?:[^"]++|""|)*+")'
_LIST = re.compile(_ELEMENT + rb"(?:, " + _ELEMENT + rb"|)*+")
_ELEMENTS = re.compile(_ELEMENT)
_NEEDLESS = re.compile(rb'"[a-z0-9_]*"')  # in quotes though SET would not write them
# What a list has in quotes though it looks like a name (quote_identifier): pg_get_keywords(), all but the unreserved ones.
_KEYWORDS = frozenset(
    b"""
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char
    character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do
    else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike
    in initially inner inout int integer intersect interval into is isnull join json json_array json_arrayagg json_exists
    json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least left like
    limit localtime localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset
    on only or order out outer overlaps overlay placing position precision primary real references returning right row select
    session_user setof similar smallint some substring symmetric system_user table tablesample then time timestamp to
    trailing treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes
    xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
    """.split()
)


def literal(value: bytes) -> bytes:
    """*value*, in the encoding in force, as a literal, safe whatever that, standard_conforming_strings and backslash_quote are
    (manual, 4.1.2).

    Not in ASCII, a backslash may be half a letter (SJIS, BIG5, GBK ...): then nothing is escaped. A dollar never is one.
    """
    if value.isascii():
        return b"E'" + value.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"
    number = 0
    while b"$p%d" % number in value:
        number += 1
    tag = b"$p%d$" % number
    return tag + value + tag


def exactly(value: bytes) -> bytes:
    """A setting's *value* as a literal in ASCII: its other bytes are numbers, and those are the database's (manual, 4.1.2.2)."""
    return b"E'" + _UNSAFE.sub(lambda found: _ESCAPED[found[0]], value) + b"'"


def asked(name: bytes) -> bytes:
    """What asks for a setting's value so that the answer, which `answered` reads, is in ASCII; *name* is an expression.

    A backslash is said twice, and other bytes as octal numbers. (convert_to would do, if it did not refuse what some files say.)
    """
    value = b"pg_catalog.replace(pg_catalog.current_setting(" + name + rb", true), E'\\', E'\\\\')"
    return b"pg_catalog.encode(pg_catalog.decode(" + value + b", 'escape'), 'escape')"


def answered(value: bytes | None) -> bytes | None:
    """The value, in the database's encoding."""
    if value is None or b"\\" not in value:
        return value
    return _OCTAL.sub(lambda found: bytes((int(found[1], 8),)) if found[1] else b"\\", value)


def as_said(value: bytes) -> bytes:
    """What was said for application_name to be *value*, which PostgreSQL shows.

    From version 16 on it has numbers in place of other bytes, may so be longer than a name, and would be cut if said again.
    """
    if len(value) <= LONGEST_NAME:
        return value
    said = _NUMBERED.sub(lambda found: bytes.fromhex(found[1].decode()), value)
    try:
        said.decode()
    except UnicodeDecodeError:
        return value
    return said


def quoted(name: bytes) -> bytes:
    """The setting's name for SET and RESET: each dotted part a quoted identifier."""
    return b".".join(b'"' + part.replace(b'"', b'""') + b'"' for part in name.split(b"."))


def assignment(name: bytes, value: bytes) -> bytes | None:
    """What SET says to make *name* exactly *value*; None where it has no words for that, and only set_config does.

    SET needs no snapshot, and is everybody's, whoever may call the function.
    """
    if not all([0 < len(part) <= LONGEST_NAME for part in name.split(b".")]):
        return None
    if name == b"application_name":
        return quoted(name) + b" = " + exactly(as_said(value))
    if name.lower() not in LISTS:
        return quoted(name) + b" = " + exactly(value)
    if _LIST.fullmatch(value) is None:
        return None
    elements = _ELEMENTS.findall(value)
    if not _KEYWORDS.isdisjoint(elements) or any(map(_NEEDLESS.fullmatch, elements)):
        return None
    names = [each[1:-1].replace(b'""', b'"') if each[:1] == b'"' else each for each in elements]
    return quoted(name) + b" = " + b", ".join(map(exactly, names))
