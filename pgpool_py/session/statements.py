"""Statement texts: what is known of each, and the name it has on servers; and what all sessions of one pool share.

One object per distinct (settings, text, parameter types), so that two sessions share a server-side statement only where
everything that gives the text its meaning is equal. A statement's verdict is computed once and kept with it.

Hot: one dictionary look-up for each Parse that is not among the recent ones of its settings (`Preparer.statement`);
`benchmarks/compare.py` guards it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from pgpool_py.session.flags import UNSURE
from pgpool_py.session.scan import Scanner
from pgpool_py.session.settings import Settings, SettingsTable
from pgpool_py.session.statement_texts import is_of_the_moment

# What is done where only one server can keep a client's state (session_pin).
PIN_ALLOW, PIN_NOTICE, PIN_ERROR = range(3)
# So many changes of owner are made safe for a reader of currval or lastval before it is known whether a pool has any: the first
# one in the middle of a transaction then finds its own value, and nobody else's.
SEQUENCE_TRIAL = 500

SEEN = 200  # custom settings that a new server is asked for


class Statement:
    """A text as a Query or Parse carries it.

    `body`         what follows the name in Parse: text, zero, parameter types; for a Query the text and its zero
    `settings`     the map under which the text got its meaning (`Settings.meaning`)
    `epoch`        that of the context when it was made: a change of the catalogs makes the same text another statement
    `private`      it belongs to one client: its meaning is that client's own; `of_moment`: so does each Parse of its text
    `verdict`      bits of `session.flags`, judged by the facts numbered `facts_seen`
    `server_name`  its name on every server, given when it is first needed; unguessable, since SQL can name it
    `types`        its parameters' types, as a ParameterDescription has them; None: nobody has asked
    `columns`      the columns of its result, as far as a client is told (`naming.told_columns`); None: nobody has asked
    `effects`      what it does to settings, worked out when it is first needed
    """

    def __init__(self, body: bytes, settings: Settings, epoch: int) -> None:
        self.body = body
        self.settings = settings
        self.epoch = epoch
        self.private = False
        self.of_moment = is_of_the_moment(body)
        self.verdict = 0
        self.facts_seen = -1
        self.server_name: bytes | None = None
        self.types: bytes | None = None
        self.columns: bytes | None = None
        self.effects: Any = None

    def own(self, epoch: int, types: bytes | None = None) -> Statement:
        """The same text with the same meaning, for one client alone; *types*: its parameters have these from now on."""
        copy = Statement(self.typed(types), self.settings, epoch)
        copy.private = True
        copy.verdict = self.verdict
        copy.facts_seen = self.facts_seen
        return copy

    def typed(self, types: bytes | None) -> bytes:
        """Its body with these types of all parameters, if they are known: with the same meaning whatever has come since."""
        return self.body if types is None else self.body[: self.body.find(b"\0") + 1] + types


class SessionContext:
    """What all sessions of one pool share: settings maps, statements, and what decides about them.

    *scanner* gives the verdict of a text by what is known of the database, *judge_types* that of parameter types given by oid.
    """

    def __init__(self, scanner: Scanner, judge_types: Callable[[bytes], int]) -> None:
        self.scanner = scanner
        self._judge_types = judge_types
        self.table = SettingsTable()
        # how the pool works; a reload writes here
        self.pooling = True  # transaction or statement mode: a server is given back between transactions
        self.statement_pooling = False
        self.watching = True  # texts are judged (session_state is not pgbouncer)
        self.keeping = True  # clients keep their state (transparent, and servers change)
        self.exact = True  # nobody gets a server with custom settings he never touched
        self.pin_mode = PIN_ALLOW
        self.pin_timeout = 0.0
        self.user = b""  # as whom servers are logged in
        self.forbidden: frozenset[bytes] = frozenset()  # settings, in the server's spelling, that this user may not set
        self.privileged: frozenset[bytes] = frozenset()  # ... in lower case, that not every user may set
        self.session_reset = 1
        self.always_reset = False
        self.no_simple_query = False
        self.reset_query = b"DISCARD ALL"
        self.connect_query = b""  # what a full reset undoes and must be said again; empty where nobody follows what it sets
        self.max_prepared_statements = 200
        self.max_packet_size = 0x7FFFFFFE
        self.reset_timeout = 5.0
        self.leaving_query_timeout = 30.0
        # what was learned
        self.start = self.table.empty  # what a new server has been set to: connect_query's settings, with which clients start
        self.placeholders: frozenset[bytes] = frozenset()  # custom settings that functions of the database may make
        self.seen: set[bytes] = set()  # custom settings that clients touch: servers may start with some of them
        self.facts_seen = 0
        self.epoch = 0  # how often the catalogs have changed, as far as is known
        self.facts_stale = False
        self.scanner_before: Scanner | None = None  # the one before the catalogs came in doubt
        self.makes = 0  # a text went out that created code which makes names, or runs what nobody has seen, and is not read yet
        # a text reached currval or lastval: each change of owner begins with DISCARD SEQUENCES; so do the first ones of a pool
        self.reads_sequences = True
        self.sequence_trial = SEQUENCE_TRIAL
        self.sequence_readers: set[bytes] = set()  # names of applications that read what an earlier transaction left
        self.sets_buffers = False  # somebody sets temp_buffers: nobody gets a server on which that is not possible
        # counters
        self.query_count = 0
        self.transaction_count = 0
        self.query_time = 0.0  # seconds in which a server worked for a client
        self.transaction_time = 0.0  # seconds in which a client held a server for a transaction
        self.client_parse_count = 0  # these three: named statements only
        self.server_parse_count = 0
        self.bind_count = 0
        self.login_count = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.doubts = 0
        # names and bounded caches
        self.token = b"pgpool_py_" + secrets.token_hex(8).encode() + b"_"
        self._number = 0
        self._limit = 5000
        self._reported: dict[frozenset[tuple[bytes, bytes]], dict[bytes, bytes]] = {}

    def new_name(self) -> bytes:
        """A statement name no server has and no client can guess."""
        self._number += 1
        return self.token + str(self._number).encode() + b"_"  # an end: no name is the beginning of another

    def name(self, statement: Statement) -> bytes:
        """The statement's name on servers."""
        if statement.server_name is None:
            statement.server_name = self.new_name()
        return statement.server_name

    def statement(self, settings: Settings, body: bytes) -> Statement:
        """The statement that all clients share for this text under settings of this meaning, its verdict up to date."""
        meaning = settings.meaning
        statements: dict[bytes, Statement] = meaning.statements
        known = statements.get(body)
        if known is None or known.epoch != self.epoch:
            known = Statement(body, meaning, self.epoch)
            if len(statements) >= self._limit:
                statements.clear()
            statements[body] = known
        if known.facts_seen != self.facts_seen:
            self.judge(known)
        return known

    def judge(self, statement: Statement) -> None:
        """Give the statement its verdict by what is known now."""
        body = statement.body
        end = body.find(b"\0")
        if not self.watching:
            statement.facts_seen = self.facts_seen
            return
        statement.verdict = self.scanner.scan(body[:end]) if end >= 0 else UNSURE
        if 0 <= end < len(body) - 3:
            statement.verdict |= self._judge_types(body[end + 3 :])
        statement.effects = None
        statement.facts_seen = self.facts_seen

    def catalogs_changed(self) -> None:
        """Texts may mean something else from now on."""
        self.epoch += 1
        self.facts_seen += 1

    def see(self, names: Iterable[bytes]) -> None:
        """Clients touch these custom settings."""
        if len(self.seen) < SEEN:
            self.seen.update([name for name in names if name.isascii()])

    def learn(self, scanner: Scanner) -> None:
        """Judge by this scanner from now on."""
        self.scanner = scanner
        self.scanner_before = None
        self.makes = 0
        self.facts_seen += 1

    def doubt(self, scanner: Scanner) -> None:
        """Judge by *scanner*, which knows nothing, until the catalogs are read again.

        `scanner_before` goes on saying which code makes names.
        """
        before, makes = self.scanner_before or self.scanner, self.makes
        self.learn(scanner)
        self.scanner_before, self.makes = before, makes

    def tried_sequences(self) -> None:
        """A server was made safe for readers of sequences; when nobody turns out to be one, this ends."""
        if self.sequence_trial:
            self.sequence_trial -= 1
            self.reads_sequences = self.sequence_trial > 0

    def sequence_reader(self, application: bytes) -> None:
        """An application of that name reads in one transaction what another one left."""
        if len(self.sequence_readers) >= self._limit:
            self.sequence_readers.clear()
        self.sequence_readers.add(application)

    def sequences_read(self) -> None:
        """There are readers of sequences."""
        self.sequence_trial = 0
        self.reads_sequences = True

    def reported(self, old: dict[bytes, bytes], name: bytes, value: bytes) -> dict[bytes, bytes]:
        """The map of reported settings that differs from *old* in one value; equal maps are one object."""
        return self.same_reported({**old, name: value})

    def same_reported(self, values: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """The one object for these reported values."""
        key = frozenset(values.items())
        found = self._reported.get(key)
        if found is None:
            if len(self._reported) >= 1000:
                self._reported.clear()
            found = self._reported[key] = values
        return found
