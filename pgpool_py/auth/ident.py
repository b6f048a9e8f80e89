"""pg_ident.conf: which users of the system, or names in a certificate, may be which users of the database.

    map-name  system-name  database-user

Knows the file's syntax and who is mapped to whom. `all` as the database user stands for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgpool_py.auth.tokens import BadLine, Word, Words


@dataclass(frozen=True, slots=True)
class IdentMap:
    """One map: pairs of a system's name and a database user, None for all of them."""

    name: str
    pairs: tuple[tuple[str, str | None], ...] = ()

    def allows(self, names: Iterable[str], user: str) -> bool:
        """Whether one who has one of *names* may be *user*."""
        known = set(names)
        return any(system in known and allowed in (None, user) for system, allowed in self.pairs)


@dataclass(frozen=True, slots=True)
class IdentFile:
    """All maps of a file, and a line for each of its lines that cannot be used."""

    maps: Mapping[str, IdentMap]
    problems: tuple[str, ...] = ()


def read_ident(path: str | Path) -> IdentFile:
    """The maps of the file at *path*. Raises OSError."""
    return parse_ident(Path(path).read_bytes().decode("utf-8", "surrogateescape"), str(path))


def parse_ident(text: str, name: str) -> IdentFile:
    """The maps in *text*; *name* is the file's name for the problems."""
    pairs: dict[str, list[tuple[str, str | None]]] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = Words(line)
        try:
            if words.at_end:
                continue
            map_name = words.take("a map name").text
            system = words.take("a system user after the map name").text
            user = words.take("a database user after the system user")
            if not words.at_end:
                raise BadLine("expected nothing after the database user")
        except BadLine as bad:
            problems.append(f"{name}:{number}: {bad}; the line is ignored")
            continue
        pairs.setdefault(map_name, []).append((system, _database_user(user)))
    return IdentFile({each: IdentMap(each, tuple(found)) for each, found in pairs.items()}, tuple(problems))


def _database_user(word: Word) -> str | None:
    return None if word.is_keyword("all") else word.text
