"""The language of the scripts: who says what, one step a line.

    == name of the script | needs: settings, role | pool: two
    a: set work_mem = '7MB'             a sends a Query and reads up to ReadyForQuery
    b> select $1::int + $2 <- 1, 2      Parse, Bind, Describe, Execute, Sync; \\N is a null, \\e an empty parameter
    a> [s1] select 1                    the same with a statement named s1
    a> [=s1]                            Bind, Describe, Execute of s1, Sync
    a> [!s1]                            Bind, Execute of s1, Sync
    a> [-s1]                            Close of s1
    a> set a.b = '1' ;; show a.b        one batch, one Sync
    a> (p<s1) ;; (p 1) ;; (p)           s1 bound to the portal p; one row of it; the rest
    a> (?p) ;; (-p)                     Describe, and Close, of p
    a| < copy t from stdin              a Query, a line of CopyData, CopyDone; <> the same as a batch
    a| : select 1 || > [s1] select 2    several requests in one write
    a/40 : select 1 || > select 2       the same in two, the first with 40 % of the bytes
    a? t <- select pg_try_advisory_lock(1)    asks again until the answer is as wanted (bounded)
    a+ 2                                waits until two notifications have arrived since the last +
    a@                                  everything that PostgreSQL knows of the session, see `looking`
    a! Terminate                        goes away: Terminate, FIN or RST
    a! connect user=other "options=-c work_mem=5MB"    comes (back), with startup parameters
    a! cancel                           a CancelRequest for a, on a connection of its own

A client that was not connected yet connects at its first step. Lines with # are comments. `needs` names what the
pooler must be able to do (see `unbuilt`), `pool` how many servers there are; clients in a transaction, or with
what pins them, must not be more than that at any time, or the others wait.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.system import wire

_STEP = re.compile(r"(?P<client>[a-z])(?P<verb>[:><?+@!|]|/\d+)\s*(?P<rest>.*)", re.DOTALL)
_PORTAL = re.compile(r"\((?P<mark>[?-]?)(?P<name>\w*)(?:<(?P<statement>\w*)| (?P<rows>\d+))?\)")
_NAMED = re.compile(r"\[(?P<mark>[=!-]?)(?P<name>\w*)\]\s*(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """What one client does: *messages* in one write or, cut there, in two; so many *requests* are owed a ReadyForQuery."""

    client: str
    verb: str
    rest: str
    messages: bytes = b""
    requests: int = 1
    cut: int = 0

    def __str__(self) -> str:
        return f"{self.client}{self.verb} {self.rest}"


@dataclass(frozen=True, repr=False)
class Script:
    """A story to be told twice."""

    name: str
    steps: tuple[Step, ...]
    needs: frozenset[str] = field(default=frozenset())
    pool: str = "one"

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


def parse_step(line: str) -> Step:
    """One line of a script."""
    match = _STEP.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"not a step: {line!r}")
    client, verb, rest = match.group("client", "verb", "rest")
    if verb in ":><":
        return Step(client, verb, rest, _request(verb + rest))
    if verb[0] not in "|/":
        return Step(client, verb, rest)
    requests = [_request(part.strip()) for part in rest.split(" || ")]
    messages = b"".join(requests)
    return Step(client, verb, rest, messages, len(requests), len(messages) * int(verb[1:] or 0) // 100)


def _request(part: str) -> bytes:
    """A Query, or a batch with its Sync."""
    rest = part[1:].strip()
    if part[0] == "<":
        copied = wire.copy_data(b"7\n") + wire.copy_done()
        if rest[0] != ">":
            return wire.query(rest) + copied
        parsed = wire.close_statement("copying") + wire.parse("copying", rest[1:].strip())
        return parsed + wire.bind("", "copying") + wire.execute() + copied + wire.sync()
    return wire.query(rest) if part[0] == ":" else b"".join(map(_extended, rest.split(" ;; "))) + wire.sync()


def script(name: str, *lines: str, needs: str = "", pool: str = "one") -> Script:
    """A script from its lines."""
    names = frozenset(word.strip() for word in needs.split(",") if word.strip())
    steps = tuple(map(parse_step, lines))
    with_statements = {step.client for step in steps if step.verb == ">" and re.search(r"\[\w", step.rest)}
    if any(step.verb == "@" and step.client in with_statements for step in steps):
        names |= {"catalog"}
    return Script(name, steps, names, pool)


def read_scripts(path: Path) -> Iterator[Script]:
    """The scripts of one file."""
    name = ""
    options: dict[str, str] = {}
    lines: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), "== end"]:
        if line.startswith("=="):
            if lines:
                yield script(f"{path.stem}-{name}", *lines, **options)
            name, *extra = (part.strip() for part in line[2:].split("|"))
            options = dict(part.split(": ", 1) for part in extra)
            lines = []
        elif line.strip() and not line.startswith("#"):
            lines.append(line)


def _extended(part: str) -> bytes:
    """The messages of one statement of a batch, without its Sync."""
    portal = _PORTAL.fullmatch(part.strip())
    if portal:
        return _of_portal(*portal.group("mark", "name", "statement", "rows"))
    named = _NAMED.match(part)
    mark, name, sql = named.group("mark", "name", "rest") if named else ("", "", part)
    if mark == "-":
        return wire.close_statement(name)
    sql, _, given = sql.partition("<- ")
    values = [_value(word) for word in given.split(", ")] if given else []
    sent = b"" if mark else wire.parse(name, sql.strip())
    described = b"" if mark == "!" else wire.describe_portal("")
    return sent + wire.bind("", name, values) + described + wire.execute()


def _of_portal(mark: str, name: str, statement: str | None, rows: str | None) -> bytes:
    """What is said of a portal."""
    if statement is not None:
        return wire.bind(name, statement)
    if mark:
        return wire.describe_portal(name) if mark == "?" else wire.close_portal(name)
    return wire.execute(name, int(rows or 0))


def _value(word: str) -> bytes | None:
    return {"\\N": None, "\\e": b""}.get(word, word.encode())


def startup_parameters(rest: str) -> dict[str, str]:
    """What follows "connect"."""
    return dict(word.split("=", 1) for word in shlex.split(rest))
