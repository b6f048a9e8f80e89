"""Monitoring that was written for PgBouncer reads this console: by column name, by version, by one series for each pool."""

from __future__ import annotations

import re

from pgpool_py.testing.pooler import run_cli
from tests.admin.conftest import STATS, Pooler, Start
from tests.system import stack

# What prometheus-community's pgbouncer_exporter takes from each SHOW: labels, then numbers.
EXPORTER = {
    "DATABASES": (
        ["name", "host", "port", "database", "force_user", "pool_mode"],
        ["pool_size", "max_connections", "current_connections", "paused", "disabled"],
    ),
    "POOLS": (
        ["database", "user"],
        [
            "cl_active", "cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active", "sv_active_cancel",
            "sv_being_canceled", "sv_idle", "sv_used", "sv_tested", "sv_login", "maxwait", "maxwait_us",
        ],
    ),
    "STATS": (
        ["database"],
        [
            "total_query_count", "total_query_time", "total_received", "total_sent", "total_wait_time", "total_xact_count",
            "total_xact_time", "total_client_parse_count", "total_server_parse_count", "total_bind_count",
        ],
    ),
    "LISTS": (["list"], ["items"]),
}  # fmt: skip


def test_a_prometheus_exporter_finds_its_columns(pooler: Pooler) -> None:
    """As a reader, with a semicolon, in one connection: every label is text, every number a number, no series comes twice."""
    with pooler.connect("one") as client, pooler.connect("two", stack.OTHER) as other, pooler.console(STATS) as console:
        client.query("select 1")
        other.query("select 1")
        for name, (labels, numbers) in EXPORTER.items():
            cursor = console.execute(f"SHOW {name};")
            columns = [column.name for column in cursor.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
            assert rows
            series = [tuple(str(row[label]) for label in labels[:2]) for row in rows]
            assert sorted(series) == sorted(set(series))
            assert all(float(str(row[number])) >= 0 for row in rows for number in numbers)


def test_show_config_has_the_number_of_columns_that_exporters_count(pooler: Pooler) -> None:
    """pgbouncer_exporter takes three or four, and nothing else; the limits it exports are there."""
    with pooler.console(STATS) as console:
        rows = {row[0]: row for row in console.execute("SHOW CONFIG;").fetchall()}
    assert {len(row) for row in rows.values()} == {4}
    assert float(str(rows["max_client_conn"][1])) == 1000
    assert float(str(rows["max_user_connections"][1])) == 0


def test_the_version_is_found(pooler: Pooler) -> None:
    """The first number in it is what checks decide by, and the word is what they look for; --version begins with the same."""
    version = str(pooler.show("VERSION")[0]["version"])
    assert run_cli("--version").stdout.splitlines()[0] == version
    assert re.findall(r"\d+\.\d+\.\d+", version)[0] == "1.25.2"
    assert version.startswith("PgBouncer ")


def test_a_login_under_way_is_listed(start_pooler: Start) -> None:
    """Somebody who has connected and says nothing: counted in LISTS, and in SOCKETS with PgBouncer's placeholders."""
    pooler = start_pooler()
    unseen = pooler.raw("one")
    pooler.order("SET tcp_defer_accept = 0")
    silent = pooler.raw("one")
    stack.wait_until(lambda: {row["list"]: row["items"] for row in pooler.show("LISTS")}["login_clients"] == 1, "it is seen")
    (row,) = [row for row in pooler.show("SOCKETS") if row["state"] == "cl_login"]
    assert (row["user"], row["database"], row["port"]) == ("(nouser)", "(nodb)", silent.sock.getsockname()[1])
    silent.vanish()
    unseen.vanish()  # the kernel has kept it to itself
