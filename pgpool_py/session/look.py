"""The look at a session after a transaction that was not plain: the question to the server, and what its answer means.

PostgreSQL alone knows what a transaction left behind: what was rolled back, how a value is spelled, whether a temporary table
is still there. So nothing is modelled from texts; it is read, by one query, while the client still holds the server. Three
depths, from cheap to dear: the names that the texts mention; temporary objects and the like; every setting of the session
(pg_settings whole, about 1.5 ms), for code that nobody has read.

Names in the query are schema-qualified, operators too: it runs under the client's own search_path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from pgpool_py.session.mentions import MOST_MENTIONED, candidates
from pgpool_py.session.settings import AUTHORIZATION, IN_NO_MAP, PASSING, RENAMED, ROLE, SET_AT_ONCE
from pgpool_py.session.spelling import answered, asked, literal
from pgwire.errors import malformed

Row = tuple[bytes | None, ...]

# What a pin is for: the words that SHOW PINS prints.
TEMPORARY = "temporary object"
LOCK = "advisory lock"
CURSOR = "cursor with hold"
PREPARED = "prepared statement"
FORBIDDEN = "setting of another role"
UNKNOWABLE = "code that makes setting names"
# Others, that no reset ends.
UNSEEN = "commands that nobody has seen"
NO_RESET = "a seed, a library or a slot"

_TEMPORARY = (
    b" UNION ALL SELECT 'p', 'temporary object', '' WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0"
    b" AND EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615"
    b" AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
)
_HAD_TEMPORARY = b" UNION ALL SELECT 'b', '', '' WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0"
_HELD = (
    b" UNION ALL SELECT 'p', 'advisory lock', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_lock_status() l"
    b" WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
    b" UNION ALL SELECT 'p', 'cursor with hold', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursor() c WHERE c.is_holdable)"
    b" UNION ALL SELECT 'p', 'prepared statement', '' WHERE EXISTS"
    b" (SELECT FROM pg_catalog.pg_prepared_statement() p WHERE p.from_sql)"
    b" UNION ALL SELECT 'l', '', pg_catalog.encode(pg_catalog.convert_to(c, pg_catalog.getdatabaseencoding()), 'hex')"
    b" FROM pg_catalog.pg_listening_channels() c"
)
_STATEMENTS = b" UNION ALL SELECT 'n', p.name, '' FROM pg_catalog.pg_prepared_statement() p WHERE NOT p.from_sql"
_SESSION = (
    b" UNION ALL SELECT 's', s.name, " + asked(b"s.name") + b" FROM pg_catalog.pg_show_all_settings() s"
    b" WHERE s.source OPERATOR(pg_catalog.=) 'session'"
)
# Fails where something is left that would pin a client: asked after the reset of a server that was pinned.
NOTHING_LEFT = (
    b"SELECT 1 OPERATOR(pg_catalog./) (CASE pg_catalog.count(*) WHEN 0 THEN 1 ELSE 0 END) FROM (SELECT 'p', '', '' WHERE false"
    + _TEMPORARY
    + _HELD
    + b") AS found"
)
_RENAMED = frozenset((*RENAMED, *RENAMED.values()))


@dataclass(slots=True)
class Question:
    """What is to be looked at: names in lower case; `objects`: temporary ones; `held`: locks, cursors, statements, channels."""

    names: set[bytes] = field(default_factory=set)
    candidates: set[bytes] = field(default_factory=set)  # names to ask for as well, if the look is whole
    unknowable: bool = False  # code has run that makes names, and nobody can ask for these
    unread: bool = False  # ... or commands that nobody has seen
    whole: bool = False
    objects: bool = False
    held: bool = False
    statements: bool = False  # which prepared statements of the protocol are there
    sources: bool = False  # which settings are the session's own, and not what it started with
    timeout: bool = False  # statement_timeout may be in force, and must not hit the question itself

    @property
    def hidden(self) -> str:
        """By what settings may have been made that nobody can ask for; empty if by nothing."""
        return UNKNOWABLE if self.unknowable else UNSEEN if self.unread else ""

    def mention(self, names: frozenset[bytes]) -> None:
        """Take in what a text mentions (`mentions.mentioned`); where that is too much to ask for, there may be other settings."""
        if len(names) < MOST_MENTIONED and (len(self.candidates) < MOST_MENTIONED or names <= self.candidates):
            self.candidates |= names
        else:
            self.unread = True

    def leave_out_nonsense(self, encoding: bytes) -> None:
        """Leave out names that are none in the session's *encoding*: they come of a text that PostgreSQL refused to read."""
        if encoding == b"UTF8":
            self.names = {name for name in self.names if name.isascii() or _is_utf8(name)}

    def leave_out_unreadable(self, known: Mapping[bytes, object]) -> bool:
        """Leave out settings that only superusers may read, which are not among those *known* of the server; are there any?

        PostgreSQL refuses to answer if they are asked for. Mostly it refused to set them, too. Names that mean others are left
        out as well: those are asked for along with them.
        """
        unreadable = {name for name in self.names if not is_custom(name) and name not in known and name not in PASSING}
        self.names -= unreadable
        return not unreadable <= _RENAMED

    def text(self) -> bytes:
        """The query, without its closing zero byte."""
        names = self.names | {ROLE, AUTHORIZATION} if self.whole else self.names
        query = (
            b"SELECT 'v', n, " + asked(b"n") + b" FROM pg_catalog.unnest(ARRAY["
            + b", ".join(literal(name) for name in sorted(names))
            + b"]::pg_catalog.text[]) n"
        )
        if self.whole or self.sources:
            query += _SESSION
        if self.objects or self.whole:
            query += _TEMPORARY + _HAD_TEMPORARY
        if self.held or self.whole:
            query += _HELD
        if self.statements:
            query += _STATEMENTS
        if self.timeout:
            query = (
                b"SELECT 't', 'statement_timeout', pg_catalog.current_setting('statement_timeout');"
                b" SET LOCAL statement_timeout = 0; " + query
            )
        return SET_AT_ONCE + query


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(slots=True)
class Finding:
    """What a session has: the settings asked for (None: undefined), those of the session, pins, channels (in the encoding of the
    database), statements."""

    values: dict[bytes, bytes | None] = field(default_factory=dict)
    session: dict[bytes, bytes] = field(default_factory=dict)
    pins: list[str] = field(default_factory=list)
    channels: list[bytes] = field(default_factory=list)
    statements: list[bytes] = field(default_factory=list)
    temporary: bool = False  # there are, or were, temporary objects


def read(rows: Iterable[Row], question: Question) -> Finding:
    """What the rows say that answer *question*. PeerViolation if they do not answer it: nothing may be concluded then."""
    finding = Finding()
    timeout: bytes | None = None
    for row in rows:
        if len(row) != 3 or row[1] is None:
            raise malformed("the answer to a question about the session has other columns")
        kind, name, value = row[0], row[1], row[2]
        if name in IN_NO_MAP:
            continue
        if kind == b"v":
            finding.values[name] = answered(value)
        elif kind == b"s":
            finding.session[name] = answered(value) or b""
        elif kind == b"t":
            timeout = value
        elif kind == b"p":
            finding.pins.append(name.decode())
        elif kind == b"n":
            finding.statements.append(name)
        elif kind == b"b":
            finding.temporary = True
        else:
            finding.channels.append(_unhexed(value))
    if not question.names.issubset([*finding.values, *IN_NO_MAP]):
        raise malformed("a question about the session is not answered")
    if timeout is not None:
        # Read before it was set aside for the question itself.
        if b"statement_timeout" in finding.values:
            finding.values[b"statement_timeout"] = timeout
        if b"statement_timeout" in finding.session:
            finding.session[b"statement_timeout"] = timeout
    return finding


def _unhexed(value: bytes | None) -> bytes:
    try:
        return bytes.fromhex((value or b"").decode("ascii"))
    except ValueError:
        raise malformed("the answer to a question about the session has a channel that is not in hexadecimal digits") from None


def question_of_start(connect_query: bytes, placeholders: Iterable[bytes]) -> Question:
    """What asks for the settings that *connect_query* has made; *placeholders* are those that the database's code may make."""
    return Question(names={*candidates(connect_query), *placeholders}, whole=True)


def describe(reasons: Iterable[str], cause: bytes) -> str:
    """Why a server is kept, or closed, for a message: since which statement, if that is known."""
    what = ", ".join(reasons)
    if b"\0" in cause:
        return f"{what} of a FunctionCall"
    return f'{what} of "{cause.decode(errors="replace")}"' if cause else what


def is_custom(name: bytes) -> bool:
    """Whether a name is a custom setting's: once touched it stays defined for the life of the server connection."""
    return b"." in name


def in_force(
    before: Mapping[bytes, bytes],
    finding: Finding,
    whole: bool,
    defaults: Mapping[bytes, tuple[bytes, bytes]],
    user: bytes,
    apart: AbstractSet[bytes] = frozenset(),
) -> dict[bytes, bytes]:
    """The settings map of the server after the look.

    *before* is the map before the transaction, *defaults* the server's own (name in lower case: name, value), *user* the user
    it is logged in as. A value equal to the default is left out: the session has it without being told. Not so those of the names
    *apart*: its client starts with another, and that it has set them to the default must be seen in the session.
    """
    if whole:
        result = dict(finding.session)
    else:
        result = dict(before)
    for name, value in finding.values.items():
        known = defaults.get(name)
        spelled = known[0] if known else name
        is_default = known is not None and known[1] == value
        if name == ROLE:
            is_default = value == (known[1] if known else b"none")
        elif name == AUTHORIZATION:
            is_default = value == user
        if whole and known is not None and name != ROLE and not is_custom(name):
            continue  # `session` has it if it was set
        if value is None or (is_default and spelled not in apart):
            result.pop(spelled, None)
        else:
            result[spelled] = value
    if whole and result.get(b"statement_timeout", b"") == defaults.get(b"statement_timeout", (b"", None))[1]:
        del result[b"statement_timeout"]  # the question itself has set it
    return result
