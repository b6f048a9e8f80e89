"""What a monitoring system is told, in Prometheus' text format: from the console's columns to names.

Names, labels and units are those of prometheus-community's pgbouncer_exporter, so that dashboards and alerts made for it go on;
what PgBouncer does not have begins with `pgpool_py_`. Knows the tables, not how they come about, and no socket.

prometheus-client is an extra. Nothing here imports it before there is something to tell; the configuration has made sure of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Metric

Line = Mapping[str, Any]  # a row of the console, by column

MICRO = 1e-6


@dataclass(frozen=True, slots=True)
class Told:
    """How a column is told."""

    name: str
    text: str
    counter: bool = False  # told under its name with "_total" behind it
    factor: float = 1


@dataclass(frozen=True, slots=True)
class Readings:
    """What the console would show now."""

    pools: Sequence[Line] = ()
    totals: Sequence[Line] = ()
    databases: Sequence[Line] = ()
    lists: Sequence[Line] = ()
    pins: Sequence[Line] = ()
    doubts: Mapping[str, int] = field(default_factory=dict)  # by database


POOL_LABELS = ("database", "user")
POOLS = {
    "cl_active": Told("client_active_connections", "Clients that have a server or want none at the moment"),
    "cl_waiting": Told("client_waiting_connections", "Clients that wait for a server"),
    "cl_active_cancel_req": Told("client_active_cancel_connections", "Cancel requests that are being passed on"),
    "cl_waiting_cancel_req": Told("client_waiting_cancel_connections", "Cancel requests that are not passed on yet"),
    "sv_active": Told("server_active_connections", "Servers that a client has"),
    "sv_active_cancel": Told("server_active_cancel_connections", "Servers to which a cancel request is being passed on"),
    "sv_being_canceled": Told("server_being_canceled_connections", "Servers that wait for the end of a cancel request"),
    "sv_idle": Told("server_idle_connections", "Servers that are free"),
    "sv_used": Told("server_used_connections", "Servers that are free and are checked before their next use"),
    "sv_tested": Told("server_testing_connections", "Servers that are being reset or checked"),
    "sv_login": Told("server_login_connections", "Servers that are being logged in to"),
    "maxwait": Told("client_maxwait_seconds", "How long the client at the head of the queue has waited"),
}
TOTALS_LABELS = ("database",)
TOTALS = {
    "query_count": Told("queries_pooled", "Queries", counter=True),
    "query_time": Told("queries_duration_seconds", "Time in which servers were at work", counter=True, factor=MICRO),
    "bytes_received": Told("received_bytes", "Bytes that came from clients", counter=True),
    "bytes_sent": Told("sent_bytes", "Bytes that came from servers", counter=True),
    "wait_time": Told("client_wait_seconds", "Time that clients waited for a server", counter=True, factor=MICRO),
    "xact_count": Told("sql_transactions_pooled", "Transactions", counter=True),
    "xact_time": Told("server_in_transaction_seconds", "Time in which servers were in a transaction", counter=True, factor=MICRO),
    "client_parse_count": Told("client_parses", "Prepared statements that clients made", counter=True),
    "server_parse_count": Told("server_parses", "Prepared statements that were made on servers", counter=True),
    "bind_count": Told("binds", "Uses of prepared statements", counter=True),
}
DATABASE_LABELS = ("name", "host", "port", "database", "force_user", "pool_mode")
DATABASES = {
    "pool_size": Told("pool_size", "Servers that a pool may have"),
    "max_connections": Told("max_connections", "Servers that all pools of this database may have together; 0: no limit"),
    "current_connections": Told("current_connections", "Servers that there are"),
    "paused": Told("paused", "1 if this database is paused"),
    "disabled": Told("disabled", "1 if this database is disabled"),
}
LISTS = {
    "databases": Told("databases", "Databases"),
    "users": Told("users", "Users"),
    "pools": Told("pools", "Pools"),
    "free_clients": Told("free_clients", "Always 0: nothing is allocated ahead"),
    "used_clients": Told("used_clients", "Clients"),
    "login_clients": Told("login_clients", "Clients that are logging in"),
    "free_servers": Told("free_servers", "Always 0: nothing is allocated ahead"),
    "used_servers": Told("used_servers", "Servers"),
    "dns_names": Told("cached_dns_names", "Names of servers whose addresses are remembered"),
    "dns_zones": Told("cached_dns_zones", "Zones whose serial numbers are remembered"),
    "dns_queries": Told("in_flight_dns_queries", "Questions about names that are not answered yet"),
}
PIN_LABELS = ("database", "user", "reason")


@dataclass(frozen=True, slots=True)
class _One:
    """A collector, as the library calls what it asks, of one family."""

    family: Metric

    def collect(self) -> list[Metric]:
        return [self.family]


def exposition(readings: Readings) -> Iterator[bytes]:
    """The text of an answer to a scrape, in parts: with many pools writing it takes a while."""
    from prometheus_client import generate_latest

    for family in families(readings):
        yield generate_latest(_One(family))


def families(readings: Readings) -> Iterator[Metric]:
    """The same as Prometheus' library has it."""
    yield _family(Told("pgbouncer_up", "1: whoever reads this was answered"), (), {(): 1.0})
    yield from _table("pgbouncer_pools_", POOLS, POOL_LABELS, readings.pools)
    yield from _table("pgbouncer_stats_", TOTALS, TOTALS_LABELS, readings.totals)
    yield from _table("pgbouncer_databases_", DATABASES, DATABASE_LABELS, readings.databases)
    items = {line["list"]: line["items"] for line in readings.lists}
    yield from _table("pgbouncer_", LISTS, (), [items] if items else [])
    yield from _pins(readings.pins)
    told = Told("pgpool_py_doubts", "Servers that were closed because their replies did not add up", counter=True)
    yield _family(told, ("database",), {(database,): number for database, number in readings.doubts.items()})


def _table(prefix: str, told: Mapping[str, Told], labels: tuple[str, ...], lines: Sequence[Line]) -> Iterator[Metric]:
    for column, each in told.items():
        values = {tuple(line[label] for label in labels): line[column] * each.factor for line in lines}
        yield _family(each, labels, values, prefix)


def _pins(pins: Sequence[Line]) -> Iterator[Metric]:
    count: dict[tuple[Any, ...], float] = {}
    age: dict[tuple[Any, ...], float] = {}
    for pin in pins:
        key = tuple(pin[label] for label in PIN_LABELS)
        count[key] = count.get(key, 0) + 1
        age[key] = max(age.get(key, 0), pin["age"])
    yield _family(Told("pgpool_py_pins", "Clients that keep their server between transactions"), PIN_LABELS, count)
    yield _family(Told("pgpool_py_pin_age_seconds", "How long the oldest of them has kept it"), PIN_LABELS, age)


def _family(told: Told, labels: tuple[str, ...], values: Mapping[tuple[Any, ...], float], prefix: str = "") -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if told.counter else GaugeMetricFamily
    family = kind(prefix + told.name, told.text, labels=labels)
    for key, value in values.items():
        family.add_metric([_label(each) for each in key], value)
    return family


def _label(value: object) -> str:
    """A label has to be UTF-8; a name that is not stays a name of its own."""
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()
