"""PgBouncer's ini syntax, read into values that remember their file and line.

Knows sections, comments, quoted names, `%include` and connection strings. Does not know which sections or
keys exist or what a value means: that is the models' matter. Reading goes on after a fault, so that one run
names them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pgpool_py.config.errors import Origin, Problem, quoted

MAX_INCLUDE_DEPTH = 10

BLANKS = " \t\r\v\f"
_KEY = re.compile(r'(?:"((?:[^"]|"")*)"|([A-Za-z0-9_.*-]+))[ \t]*=')


@dataclass(frozen=True, slots=True)
class Value:
    """One `key = text` line."""

    section: str
    key: str
    text: str = field(repr=False)  # a connection string holds a password
    origin: Origin


@dataclass(slots=True)
class IniFile:
    """Everything that was read: values in order, where each section first began, the faults, and what is strange."""

    values: list[Value] = field(default_factory=list)
    sections: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read_ini(path: str | Path) -> IniFile:
    """The file at *path* with all it includes. Faults are in `problems`; nothing is raised."""
    reader = _Reader()
    reader.read(str(path), None, 0)
    return reader.result


class _Reader:
    def __init__(self) -> None:
        self.result = IniFile()
        # Survives the end of an included file, as in PgBouncer: what follows %include belongs to the section
        # that the included file ended in.
        self.section = ""
        self.known_section = True

    def read(self, path: str, included_at: Origin | None, depth: int) -> None:
        if depth > MAX_INCLUDE_DEPTH:
            self.fault(included_at or Origin(path, 0), f"%include: more than {MAX_INCLUDE_DEPTH} levels deep")
            return
        try:
            text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            if included_at is None:
                self.fault(Origin(path, 0), f"cannot be read: {error.strerror}")
            else:
                self.fault(included_at, f"%include: cannot read {quoted(path)}: {error.strerror}")
            return
        for number, line in enumerate(text.split("\n"), start=1):
            self.line(line.strip(BLANKS), Origin(path, number), depth)

    def line(self, line: str, origin: Origin, depth: int) -> None:
        if not line or line[0] in ";#":
            return
        if line.startswith("%include") and line[8:9] in (" ", "\t"):
            self.read(line[9:].strip(BLANKS), origin, depth + 1)
        elif line[0] == "[":
            name, bracket, rest = line[1:].partition("]")
            if not bracket:
                self.fault(origin, 'expected "]" after the section name')
                return
            self.begin_section(name, origin)
            self.line(rest.strip(BLANKS), origin, depth)
        elif match := _KEY.match(line):
            self.value(match, line[match.end() :].strip(BLANKS), origin)
        else:
            self.fault(origin, _why_not_a_key(line))

    def begin_section(self, name: str, origin: Origin) -> None:
        self.section = name
        first = self.result.sections.setdefault(name, origin)
        # The lists go on where they begin again, the settings begin anew: so it is in PgBouncer.
        if first is not origin and name == "pgbouncer":
            self.result.values = [value for value in self.result.values if value.section != name]
            text = f"[{name}]: begins again, and what was set in it from {first} on is forgotten, as in PgBouncer"
            self.result.warnings.append(Problem(origin, text))

    def value(self, match: re.Match[str], text: str, origin: Origin) -> None:
        in_quotes, bare = match.groups()
        key = bare if in_quotes is None else in_quotes.replace('""', '"')
        if not self.section:
            self.fault(origin, f"{quoted(key)}: expected a section such as [pgbouncer] before the first setting")
        elif not key:
            self.fault(origin, "expected a name before '='")
        elif "\0" in text:
            self.fault(origin, f"{key}: a zero byte in the value")
        else:
            self.result.values.append(Value(self.section, key, text, origin))

    def fault(self, origin: Origin, text: str) -> None:
        self.result.problems.append(Problem(origin, text))


def _why_not_a_key(line: str) -> str:
    if line.startswith("%include"):
        return "%include: expected a file name"
    name = line.partition("=")[0].strip(BLANKS)
    if "=" not in line or not name:
        # Not shown: without a key before it, it may be the tail of a password.
        return "expected key = value"
    return f"expected a name of letters, digits and _.-* (anything else in double quotes), got {quoted(name)}"


_PAIR_START = re.compile(r"\s*([^\s=']+)\s*=\s*(')?")
_BARE = re.compile(r"[^\s']\S*")
_QUOTED = re.compile(r"((?:[^']|'')*)'(?=\s|$)")


class ConnectionStringError(Exception):
    """A connection string that is not `key=value key='value'`. The message never shows any of it.

    Columns count from the first character after the equals sign and its blanks.
    """


def parse_connection_string(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of *text* in order; a quote inside quotes is written twice."""
    position = 0
    while match := _PAIR_START.match(text, position):
        value = (_QUOTED if match[2] else _BARE).match(text, match.end())
        # Faults are told by their column alone: what looks like a key may be the tail of an unquoted
        # password.
        if value is None or not (match[2] is None or value[1]):
            raise ConnectionStringError(f"expected a value at column {match.end() + 1}")
        yield match[1], value[1].replace("''", "'") if match[2] else value[0]
        position = value.end()
    if text[position:].strip():
        raise ConnectionStringError(
            f"expected key=value pairs separated by blanks, the fault is at column {position + 1}"
            " (a value with blanks goes in single quotes)"
        )
