"""The settings a session owns: immutable maps, one object per distinct map, and the text that turns one into another.

Because equal maps are the same object, "does this server already have what this client wants" is one identity test on the
path of a transaction. `EMPTY` is what a server has right after login and after DISCARD ALL: the defaults.

Names are as the server reports them (`DateStyle`, `TimeZone`), or as the client spelled them when the server does not report
them; values are the server's canonical text where it was learned, else the client's, in the database's encoding: a client's may
lack letters. Nothing here reads SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgpool_py.session.spelling import LISTS, assignment, exactly, literal, quoted

# Reported by every server that has them, settable by any client: the set that is followed per client
# (pgbouncer-compatible default plus what newer servers report).
TRACKED = {
    name.lower(): name.encode()
    for name in (
        "application_name",
        "client_encoding",
        "DateStyle",
        "default_transaction_read_only",
        "IntervalStyle",
        "scram_iterations",
        "search_path",
        "standard_conforming_strings",
        "TimeZone",
    )
}


def is_tracked(name: bytes) -> bool:
    """Whether a setting, in the server's spelling, is one of TRACKED."""
    return name.lower().decode("ascii", "replace") in TRACKED


ENCODING = b"client_encoding"
# Settings that decide as whom the others are set: RESET ALL leaves them, and they go last (manual, SET ROLE).
ROLE = b"role"
AUTHORIZATION = b"session_authorization"
# Names that PostgreSQL takes for others (guc.c, map_old_guc_names): the last one, a setting of its own before, since 16.
RENAMED = {
    b"sort_mem": b"work_mem",
    b"vacuum_mem": b"maintenance_work_mem",
    b"force_parallel_mode": b"debug_parallel_query",
}
# What PostgreSQL sets along with a name, or in its place.
ALONG = {AUTHORIZATION: ROLE, **RENAMED}
# Settings, in lower case, that give no text its meaning: statements parsed under different values of them are the same statement.
MEANINGLESS = frozenset(
    b"application_name client_min_messages idle_in_transaction_session_timeout idle_session_timeout lock_timeout"
    b" log_min_duration_statement log_statement statement_timeout transaction_timeout".split()
)
# Those whose changes PostgreSQL itself looks for before it uses a plan (it then analyzes the text anew).
FOLLOWED = frozenset((ROLE, AUTHORIZATION, b"search_path", b"row_security"))
# How the settings in force differ from those of the session, as far as they give texts their meaning: not at all; in FOLLOWED
# ones; in others, or nobody knows.
AS_OF_SESSION, IN_FOLLOWED, UNSETTLED = range(3)
# Cannot be set any more once a session has used temporary tables (manual, 20.4.1).
TEMP_BUFFERS = b"temp_buffers"
# What a session that starts with them does not have afterwards: PostgreSQL tries them, and they are gone with the login's own
# transaction, or its own user goes before them. The seed is the only one that works, and it cannot be read.
SEED = b"seed"
# Of one transaction, whatever the catalog calls them: SET TRANSACTION outside of a block marks them as the session's.
OF_A_TRANSACTION = frozenset((b"transaction_read_only", b"transaction_isolation", b"transaction_deferrable"))
PASSING = OF_A_TRANSACTION | {AUTHORIZATION, SEED}
# What no map of settings has, whatever PostgreSQL says of it.
IN_NO_MAP = OF_A_TRANSACTION | {SEED}
# Ends a session that is idle outside a transaction, and is armed anew after each request (manual, 20.11.1): for the client it is
# the pooler that keeps it, and no idle server may have it in force.
IDLE_TIMEOUT = b"idle_session_timeout"
# By its session's defaults, or the server's, a transaction may have to wait for those of others, or be refused on a standby
# (manual, SET TRANSACTION): what the pooler says of its own is said AT_ONCE.
AT_ONCE = b"ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE"
SET_AT_ONCE = b"SET TRANSACTION " + AT_ONCE + b"; "
HASTY = 3.0  # seconds; less than this might pass before the next look at idle servers
_DURATION = re.compile(rb"(\d+)(ms|s|min|h|d)?")
_SECONDS = {b"ms": 0.001, b"s": 1.0, b"min": 60.0, b"h": 3600.0, b"d": 86400.0, None: 0.001}


def seconds(value: bytes | None) -> float:
    """A duration as PostgreSQL shows it; 0.0 is none."""
    match = _DURATION.fullmatch(value or b"")
    return int(match[1]) * _SECONDS[match[2]] if match else 0.0


class Settings:
    """One distinct map of settings; made by `SettingsTable` only.

    `custom`        the names of custom settings among them: those with a dot
    `meaning`       the map of what gives a text its meaning, mostly this one
    `idle_timeout`  idle_session_timeout in seconds, None: it is not among them
    `hasty`         it is so short that a server must not become idle with it at all
    """

    def __init__(self, values: dict[bytes, bytes], meaning: Settings | None = None) -> None:
        self.values = values
        self.custom = frozenset(name for name in values if b"." in name)
        self.meaning: Settings = meaning or self
        self.idle_timeout = seconds(values[IDLE_TIMEOUT]) if IDLE_TIMEOUT in values else None
        self.hasty = bool(self.idle_timeout) and self.idle_timeout < HASTY  # type: ignore[operator]
        # texts seen by sessions with these settings (`statements.SessionContext` bounds them)
        self.statements: dict[bytes, Any] = {}
        # the last of them in each slot of `_io.slot`, found without making bytes of the text first
        self.recent: list[Any] = [None] * 64
        # target Settings -> the queries that lead there from these
        self.differences: dict[Settings, list[bytes]] = {}

    def __repr__(self) -> str:
        return f"<Settings {', '.join(n.decode() for n in self.values) or 'defaults'}>"


class SettingsTable:
    """All distinct maps in use, bounded: beyond *limit* the table starts afresh (old maps live on with their owners)."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._known: dict[frozenset[tuple[bytes, bytes]], Settings] = {}
        self.empty = Settings({})
        self.timed = False  # one of them has had an idle_session_timeout

    def get(self, values: dict[bytes, bytes]) -> Settings:
        """The one object for these values."""
        if not values:
            return self.empty
        key = frozenset(values.items())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._start_afresh()
            telling = {name: value for name, value in values.items() if name.lower() not in MEANINGLESS}
            meaning = None if len(telling) == len(values) else self.get(telling)
            found = self._known[key] = Settings(dict(values), meaning)
            self.timed = self.timed or bool(found.idle_timeout)
        return found

    def _start_afresh(self) -> None:
        """Let go of all maps. Each leads to those that came in force behind it, and so would keep all that ever were."""
        for settings in (self.empty, *self._known.values()):
            settings.differences.clear()
        self._known.clear()

    def with_value(self, settings: Settings, name: bytes, value: bytes) -> Settings:
        """The map that differs from *settings* in one value."""
        if settings.values.get(name) == value:
            return settings
        return self.get({**settings.values, name: value})

    def restored(self, settings: Settings, startup: Settings, names: frozenset[bytes]) -> Settings:
        """*settings* with *names*, in lower case, back at what the client started with."""
        values = {name: value for name, value in settings.values.items() if name.lower() not in names}
        values.update((name, value) for name, value in startup.values.items() if name.lower() in names)
        return self.get(values)


def with_those_along(names: Iterable[bytes]) -> set[bytes]:
    """The settings that are touched where *names*, in lower case, are said."""
    found = set(names)
    found.update([ALONG[name] for name in found & ALONG.keys()])
    return found


def deviation(names: Iterable[bytes]) -> int:
    """How a transaction that has changed these settings, in lower case, deviates from its session."""
    result = AS_OF_SESSION
    for name in names:
        if name in FOLLOWED:
            result = max(result, IN_FOLLOWED)
        elif name not in MEANINGLESS and b"." not in name:
            return UNSETTLED
    return result


def _set(name: bytes, value: bytes) -> bytes:
    assigned = assignment(name, value)
    if assigned is not None:
        return b"SET " + assigned
    return b"SELECT pg_catalog.set_config(" + literal(name) + b", " + exactly(value) + b", false) IS NULL"


def detour(current: Settings, there: Settings, defaults: Mapping[bytes, tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """The two statements that put the settings of *there* in force and take them back, for the transaction at hand only.

    None where what a text means does not differ. *defaults* are the server's own: name in lower case: (name, value). As whom is
    left alone: PostgreSQL looks after that itself, and may not let us. So are custom settings, which stay defined.
    """
    go: list[bytes] = []
    back: list[bytes] = []
    for name, before, wanted in _differing(current, there, defaults):
        if before is not None:
            go.append(_set_here(name, wanted))
            back.append(_set_here(name, before))
    return (b"SELECT " + b", ".join(go), b"SELECT " + b", ".join(back)) if go else None


def excursion(
    current: Settings, changed: Iterable[bytes], there: Settings, defaults: Mapping[bytes, tuple[bytes, bytes]]
) -> bytes | None:
    """The first of them where the transaction block at hand has *changed* settings, in lower case, to values that nobody knows:
    the way back is a savepoint."""
    wanted = {name: value for name, _, value in _differing(current, there, defaults)}
    for lower in changed:
        name, default = defaults.get(lower, (lower, None))
        value = there.values.get(name, default)
        if value is not None and lower not in _LEFT_ALONE and b"." not in lower:
            wanted[name] = value
    return b"SELECT " + b", ".join([_set_here(name, wanted[name]) for name in sorted(wanted)]) if wanted else None


_LEFT_ALONE = OF_A_TRANSACTION | {ROLE, AUTHORIZATION}


def _differing(
    current: Settings, there: Settings, defaults: Mapping[bytes, tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    """Name, value now, and value wanted, of the settings that differ and are not left alone."""
    names = current.meaning.values.keys() | there.meaning.values.keys()
    for name in sorted(names - current.custom - there.custom - _LEFT_ALONE):
        default = defaults.get(name.lower(), (name, None))[1]
        before, wanted = current.values.get(name, default), there.values.get(name, default)
        if before != wanted and wanted is not None:
            yield name, before, wanted


def _set_here(name: bytes, value: bytes) -> bytes:
    # What it returns, the client's encoding may not have the letters for.
    return b"pg_catalog.set_config(" + literal(name) + b", " + exactly(value) + b", true) IS NULL"


# What may end the difference itself, for somebody who has not set it.
_TIMEOUTS = frozenset((b"statement_timeout", b"transaction_timeout"))


# Where it is on PostgreSQL keeps some values in quotes, which stay when it is off again (manual, 20.11).
QUOTING = b"quote_all_identifiers"
_CONFIGURATION = b"default_text_search_config"
_IN_QUOTES = re.compile(rb'"(?:[^"]++|""|)*+"\."(?:[^"]++|""|)*+"')


def _unquoted(old: Settings, new: Settings) -> tuple[list[bytes], list[bytes]]:
    """What goes ahead of the values and what behind them, so that quote_all_identifiers changes none of those that *new* has.
    Nothing where it is none's, or there are none."""
    values = {name: value for name, value in new.values.items() if old.values.get(name) != value}
    # Where all of it must be in quotes it does no harm to say so.
    configuration = values.get(_CONFIGURATION, b"")
    on = [_set(QUOTING, b"on"), _set(_CONFIGURATION, configuration)] if _IN_QUOTES.fullmatch(configuration) is not None else []
    named = QUOTING in old.values or QUOTING in new.values
    if not on and not (named and any([name == _CONFIGURATION or name in LISTS for name in values])):
        return [], []
    own = _set(QUOTING, new.values[QUOTING]) if QUOTING in new.values else b"RESET " + quoted(QUOTING)
    return [_set(QUOTING, b"off")], [*on, own]


def difference(old: Settings, new: Settings) -> list[bytes]:
    """The query texts that turn *old* into *new*, in order; empty when nothing differs.

    client_encoding goes first, alone: the text behind it is read in the encoding in force. Then, as the user who logged in, the
    others; the session authorization and the role last. Timeouts of another client are taken back first, the client's own come
    behind all. Each text is a transaction of its own, so that a failure leaves an open failed block that refuses whatever was
    sent behind it. Before all of them, in no encoding, goes what would be reported (search_path, from PostgreSQL 18 on) with
    letters that the client's may lack: there a server fails forever.
    """
    known = old.differences.get(new)
    if known is None:
        reported: list[bytes] = []
        encoding: list[bytes] = []
        first: list[bytes] = []
        rest: list[bytes] = []
        last: list[bytes] = []
        timeouts: list[bytes] = []
        encoded = ENCODING in old.values or ENCODING in new.values
        for name, value in sorted(new.values.items()):
            if name not in (ROLE, AUTHORIZATION) and old.values.get(name) != value:
                lacking = encoded and not value.isascii() and is_tracked(name)
                late = timeouts if name in _TIMEOUTS else rest
                (reported if lacking else encoding if name == ENCODING else late).append(_set(name, value))
        for name in sorted(old.values):
            if name in _TIMEOUTS and old.values[name] != new.values.get(name):
                first.append(b"RESET " + quoted(name))
            elif name not in (ROLE, AUTHORIZATION) and name not in new.values:
                (encoding if name == ENCODING else rest).append(b"RESET " + quoted(name))
        off, on = _unquoted(old, new)
        if off:
            rest = [step for step in rest if step not in on] + on
            (reported or rest)[:0] = off
        if reported:
            # Where nothing is converted nothing fails.
            reported.insert(0, _set(ENCODING, b"SQL_ASCII"))
            encoding = [_set(ENCODING, new.values[ENCODING]) if ENCODING in new.values else b"RESET " + quoted(ENCODING)]
        who_differs = any(old.values.get(name) != new.values.get(name) for name in (ROLE, AUTHORIZATION))
        if first or rest or timeouts or who_differs:
            # PostgreSQL takes the role back along with the authorization, to none: which is not what each session starts with.
            if AUTHORIZATION in old.values:
                first.append(b"RESET SESSION AUTHORIZATION")
            if not old.values.keys().isdisjoint((AUTHORIZATION, ROLE)):
                first.append(b"RESET ROLE")
            if AUTHORIZATION in new.values:
                last.append(_set(AUTHORIZATION, new.values[AUTHORIZATION]))
            if ROLE in new.values:
                last.append(_set(ROLE, new.values[ROLE]))
            elif last:
                last.append(b"RESET ROLE")
        begin = b"BEGIN " + AT_ONCE + b"; "
        texts = reported, encoding, first + rest + last + timeouts
        known = [begin + b"; ".join(steps) + b"; COMMIT" for steps in texts if steps]
        if len(old.differences) >= 256:
            old.differences.clear()
        old.differences[new] = known
    return known
