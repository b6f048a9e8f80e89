"""Counts of what passed through: totals since the start, and averages over the last `stats_period` or two.

The counters themselves are attributes of each pool and its session context, bumped in the relay; here they are read, added up by
database, and remembered once a period. Times are whole microseconds, as PgBouncer shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

MICRO = 1_000_000


class Totals(NamedTuple):
    """PgBouncer's counters, in the order in which it shows them."""

    server_assignment_count: int = 0
    xact_count: int = 0
    query_count: int = 0
    received: int = 0  # bytes, from clients
    sent: int = 0  # bytes, from servers
    xact_time: int = 0
    query_time: int = 0
    wait_time: int = 0
    client_parse_count: int = 0
    server_parse_count: int = 0
    bind_count: int = 0
    client_login_count: int = 0

    def plus(self, other: Totals) -> Totals:
        return Totals(*[mine + its for mine, its in zip(self, other, strict=True)])

    def minus(self, other: Totals) -> Totals:
        """What was added since *other*; never below zero, as a pool may have been forgotten meanwhile."""
        return Totals(*[max(0, mine - its) for mine, its in zip(self, other, strict=True)])


class Counters(Protocol):
    """A session context, or whoever counts as one."""

    query_count: int
    transaction_count: int
    query_time: float
    transaction_time: float
    bytes_received: int
    bytes_sent: int
    client_parse_count: int
    server_parse_count: int
    bind_count: int
    login_count: int


def totals_of(counters: Counters, assignments: int = 0, wait_time: float = 0.0) -> Totals:
    """The counters of one pool."""
    return Totals(
        assignments,
        counters.transaction_count,
        counters.query_count,
        counters.bytes_received,
        counters.bytes_sent,
        int(counters.transaction_time * MICRO),
        int(counters.query_time * MICRO),
        int(wait_time * MICRO),
        counters.client_parse_count,
        counters.server_parse_count,
        counters.bind_count,
        counters.login_count,
    )


def summed(parts: Iterable[Totals]) -> Totals:
    """All of them together."""
    total = Totals()
    for part in parts:
        total = total.plus(part)
    return total


class Periods:
    """The totals of each database as they were one period ago and two: averages reach back to the older ones."""

    def __init__(self, now: float) -> None:
        self._older_at = self._newer_at = now
        self._older: Mapping[str, Totals] = {}
        self._newer: Mapping[str, Totals] = {}

    def due(self, now: float, period: float) -> bool:
        """Whether a period is over."""
        return now - self._newer_at >= max(period, 1.0)

    def turn(self, now: float, current: Mapping[str, Totals]) -> None:
        """A period is over: remember *current*, by database."""
        self._older_at, self._older = self._newer_at, self._newer
        self._newer_at, self._newer = now, current

    def average(self, database: str, current: Totals, now: float) -> Totals:
        """A second's share of what one database did lately."""
        return _average(current.minus(self._older.get(database, Totals())), now - self._older_at)

    def average_of_all(self, current: Mapping[str, Totals], now: float) -> Totals:
        """The same of all databases together."""
        lately = (totals.minus(self._older.get(database, Totals())) for database, totals in current.items())
        return _average(summed(lately), now - self._older_at)


def _average(lately: Totals, seconds: float) -> Totals:
    """Counts and waits for each second; the duration of a transaction or query for each of them."""
    if seconds <= 0:
        return Totals()
    rate = Totals(*[int(count / seconds) for count in lately])
    return rate._replace(
        xact_time=lately.xact_time // lately.xact_count if lately.xact_count else 0,
        query_time=lately.query_time // lately.query_count if lately.query_count else 0,
    )


def log_line(average: Totals) -> str:
    """The line of log_stats, which log analysers read."""
    return (
        f"stats: {average.xact_count} xacts/s, {average.query_count} queries/s,"
        f" {average.client_parse_count} client parses/s, {average.server_parse_count} server parses/s,"
        f" {average.bind_count} binds/s, in {average.received} B/s, out {average.sent} B/s,"
        f" xact {average.xact_time} us, query {average.query_time} us, wait {average.wait_time} us"
    )
