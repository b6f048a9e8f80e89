"""The way back to a client's own start: where RESET, SET ... TO DEFAULT and DISCARD ALL lead though servers started otherwise.

A server's RESET goes to what the server itself started with. So the statements that put the client's values in force go out
right behind it: in the text of a Query as further statements, whose answers are swallowed (`Completed`); behind an Execute
as messages of the pooler's own. Whatever ends or undoes the client's statement takes them along: they run in its transaction.

Decides about texts only. A reset by code (DO, functions) is not seen here: `relay.keeping` finds it when the transaction ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pgpool_py.session.effects import Reader, statements
from pgpool_py.session.lexemes import lexemes
from pgpool_py.session.settings import AUTHORIZATION, ENCODING, QUOTING, ROLE
from pgpool_py.session.spelling import assignment, exactly, literal

_WORDS = re.compile(rb"reset|default|local|names|discard", re.IGNORECASE)
# Encodings in which every character is one byte.
_SINGLE_BYTE = re.compile(rb"SQL_ASCII|LATIN|ISO_8859|WIN|KOI8")

# Statements whose tags are counted: those that are added have them, too.
_COUNTED = (("w", b"reset"), ("w", b"set"), ("w", b"do"))
# Those behind which the role is what it was, unless they name it.
_IN_SAME_ROLE = (("w", b"reset"), ("w", b"set"), ("w", b"begin"), ("w", b"start"), ("w", b"commit"))
TAGS = frozenset((b"RESET", b"SET", b"DO"))

Start = Mapping[bytes, tuple[bytes, bytes]]  # name in lower case: name, value
Who = tuple[bytes, bytes]  # session authorization, empty: who has logged in; role
NO_NAMES: frozenset[bytes] = frozenset()


class Unclear(Exception):
    """Where the statements of a text end is not certain."""


class Completed:
    """A Query's text with the statements that lead back to the client's start, and what their answers are to become.

    `text`      what the server gets, without a closing zero byte
    `swallowed` for each command tag of TAGS to come, the last one first: whether the statement is one of the pooler's own
    `added`     where statements were added, in characters of the client's text, and how many characters
    """

    def __init__(self, text: bytes, swallowed: list[bool], added: list[tuple[int, int]]) -> None:
        self.text = text
        self.swallowed = swallowed[::-1]
        self.added = added

    def own_tag(self) -> bool:
        """Whether the statement with one of TAGS that was carried out now is one that the client did not say."""
        return bool(self.swallowed) and self.swallowed.pop()

    def error(self, body: bytes) -> bytes:
        """The fields of an error with its position in the client's own text; without one if it lies in what was added."""
        fields = []
        for field in body.split(b"\0"):
            if field[:1] == b"P" and field[1:].isdigit():
                position = self._position(int(field[1:]))
                if position is None:
                    continue
                field = b"P%d" % position
            fields.append(field)
        return b"\0".join(fields)

    def _position(self, position: int) -> int | None:
        for at, size in self.added:
            if position <= at:
                break
            if position <= at + size:
                return None
            position -= size
        return position


def statement(name: bytes, value: bytes, local: bool) -> bytes:
    """One statement that sets *name* to exactly *value*, returns nothing and, where possible, needs no snapshot.

    (A SELECT of set_config would forbid a SET TRANSACTION ISOLATION LEVEL behind it.)
    """
    said = _in_code(name, value, local)
    if assignment(name, value) is None:
        return b"DO LANGUAGE plpgsql " + literal(b"BEGIN " + said + b"; END")
    return said


def _in_code(name: bytes, value: bytes, local: bool) -> bytes:
    """The same in PL/pgSQL."""
    assigned = assignment(name, value)
    if assigned is None:
        call = b"pg_catalog.set_config(" + literal(name) + b", " + exactly(value) + (b", true)" if local else b", false)")
        return b"PERFORM " + call
    return (b"SET LOCAL " if local else b"SET ") + assigned


class Privileged:
    """What not every user may set: these *names*, in lower case, and *user*, who has logged in and may.

    RESET ALL takes no right to them, so behind it they are set as who may, whatever role is in force. (A RESET of a name does.)
    """

    def __init__(self, names: frozenset[bytes], user: bytes) -> None:
        self.names = names
        self.user = user

    def back(self, settings: Iterable[tuple[bytes, bytes]], who: Who | None) -> list[bytes]:
        """The statements that set these, name and value, where *who* is in force before and behind them; None: nobody knows who.

        Where that is known none of them needs a snapshot. Otherwise a DO asks, which does.
        """
        if who is not None:
            authorization, role = who
            steps = [statement(name, value, False) for name, value in settings]
            if authorization:
                steps = [b"SET SESSION AUTHORIZATION DEFAULT", *steps, statement(AUTHORIZATION, authorization, False)]
            if role != b"none":
                steps.insert(bool(authorization), b"SET ROLE NONE")
                steps.append(statement(ROLE, role, False))
            return steps
        other = b"IF a OPERATOR(pg_catalog.<>) " + exactly(self.user) + b" THEN "
        code = (
            b"DECLARE r pg_catalog.text := pg_catalog.current_setting('role');"
            b" a pg_catalog.text := pg_catalog.current_setting('session_authorization'); BEGIN "
            + other + b"SET LOCAL SESSION AUTHORIZATION DEFAULT; END IF; SET LOCAL ROLE NONE; "
            + b"".join([_in_code(name, value, False) + b"; " for name, value in settings])
            + other + b"EXECUTE pg_catalog.format('SET LOCAL SESSION AUTHORIZATION %L', a); END IF; "
            + b"EXECUTE pg_catalog.format('SET LOCAL ROLE %L', r); END"
        )
        return [b"DO LANGUAGE plpgsql " + literal(code)]


NOTHING = Privileged(NO_NAMES, b"")


def way_back(said: Reader, start: Start, privileged: Privileged = NOTHING, who: Who | None = None) -> list[bytes]:
    """The statements that must follow what one statement said, so that it leads to *start*, where *who* is in force."""
    guarded: list[bytes] = []
    if said.resets_all:
        names = start.keys() - {ROLE, AUTHORIZATION}
        guarded = sorted(names & privileged.names)
        names -= privileged.names
    else:
        names = start.keys() & said.resets
    # client_encoding first: what follows may be read by it. As whom last: the role may not be allowed the others. And what puts
    # others' values in quotes behind these.
    ordered = sorted(names, key=lambda name: (name != ENCODING, name in (AUTHORIZATION, ROLE), name in (ROLE, QUOTING), name))
    local = sorted(start.keys() & said.local_resets)
    back = [statement(*start[name], False) for name in ordered] + [statement(*start[name], True) for name in local]
    return [*back, *privileged.back([start[name] for name in guarded], who)] if guarded else back


def single_way_back(text: bytes, start: Start, privileged: Privileged = NOTHING, who: Who | None = None) -> list[bytes]:
    """The same for the text of a Parse."""
    if not _WORDS.search(text):
        return []
    for tokens, _ in statements(text) or ():
        if tokens:
            said = Reader()
            said.read(tokens)
            return way_back(said, start, privileged, who)
    return []


def completed(
    text: bytes,
    start: Start,
    conforming: bool,
    encoding: bytes,
    alone: bool,
    privileged: Privileged = NOTHING,
    who: Who | None = None,
) -> Completed | None:
    """*text* with what leads back to *start*; None if it resets nothing of that.

    *conforming*: standard_conforming_strings is known to be on; *encoding*: the client's, or empty if it is not known.
    *alone*: no transaction is under way, so a single SET LOCAL does nothing but warn. *who* is in force before it, None: nobody
    knows. Raises Unclear.
    """
    if not _WORDS.search(text):
        return None
    read = statements(text)
    if read is None:
        return None  # the server does not find its end either
    pieces: list[bytes] = []
    swallowed: list[bool] = []
    added: list[tuple[int, int]] = []
    done = 0
    single = sum(bool(tokens) for tokens, _ in read) == 1
    for tokens, end in read:
        if not tokens:
            continue
        said = Reader()
        said.read(tokens)
        if tokens[0] not in _IN_SAME_ROLE or ROLE in said.names | said.passing | said.resets:
            who = None
        if tokens[0] in _COUNTED and tokens[:2] != [("w", b"set"), ("w", b"constraints")]:
            swallowed.append(False)
        if said.local_resets and single and alone:
            continue
        back = way_back(said, start, privileged, who)
        if back:
            more = b"".join([b"; " + each for each in back])
            pieces += [text[done:end], more]
            added.append((characters(text[:end], encoding), characters(more, encoding)))
            swallowed += [True] * len(back)
            done = end
    if not added:
        return None
    if b"\\" in text and not _certain(text, conforming):
        raise Unclear
    return Completed(b"".join(pieces) + text[done:], swallowed, added)


def characters(text: bytes, encoding: bytes) -> int:
    """How many characters *text* has; Unclear where a byte that looks like ASCII may be a part of one."""
    if text.isascii() or _SINGLE_BYTE.match(encoding):
        return len(text)
    if encoding != b"UTF8":
        raise Unclear
    return sum(byte & 0xC0 != 0x80 for byte in text)


def _certain(text: bytes, conforming: bool) -> bool:
    """Whether every plain string of *text* ends where it seems to: a backslash means nothing in it."""
    string = False
    for kind, value, _ in lexemes(text):
        if kind == "string" and b"\\" in value and (string or not conforming):
            return False  # the next line of an E'' string is one, too
        string = kind in ("string", "estring")
    return True
