"""SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS: PgBouncer's three spellings of the same twelve numbers.

The mixed prefixes are its own and are kept: exporters go by the names.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgpool_py.admin.table import Row, columns
from pgpool_py.admin.world import World
from pgpool_py.observe.statistics import Totals, summed

_COUNTS = "server_assignment_count xact_count query_count"
_TIMES = "xact_time query_time wait_time"
_LATER = "client_parse_count server_parse_count bind_count client_login_count"


def _with(prefix: str, names: str) -> str:
    return " ".join(f"{prefix}{name}:n" for name in names.split())


STATS = columns(
    " ".join(
        [
            "database",
            _with("total_", f"{_COUNTS} received sent {_TIMES} {_LATER}"),
            _with("avg_", f"{_COUNTS} recv sent {_TIMES} {_LATER}"),
        ]
    )
)
STATS_TOTALS = columns("database " + _with("", f"{_COUNTS} bytes_received bytes_sent {_TIMES} {_LATER}"))
STATS_AVERAGES = columns(
    "database " + _with("", f"{_COUNTS} bytes_received bytes_sent {_TIMES}") + " " + _with("avg_", _LATER)
)
TOTALS = columns("name value:n")
_TOTALS_NAMES = (
    f"{_COUNTS} client_bytes server_bytes {_TIMES}"
    " ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count"
).split()


def _by_database(world: World) -> Iterator[tuple[str, Totals, Totals]]:
    now = world.clock()
    for database, totals in sorted(world.totals().items()):
        yield database, totals, world.periods.average(database, totals, now)


def stats(world: World) -> Iterator[Row]:
    for database, totals, averages in _by_database(world):
        yield (database, *totals, *averages)


def stats_totals(world: World) -> Iterator[Row]:
    for database, totals, _ in _by_database(world):
        yield (database, *totals)


def stats_averages(world: World) -> Iterator[Row]:
    for database, _, averages in _by_database(world):
        yield (database, *averages)


def totals(world: World) -> Iterator[Row]:
    current = world.totals()
    averages = world.periods.average_of_all(current, world.clock())
    for prefix, numbers in (("total_", summed(current.values())), ("avg_", averages)):
        for name, number in zip(_TOTALS_NAMES, numbers, strict=True):
            yield (prefix + name, number)
