"""Every SHOW has PgBouncer's columns, in its order, with its types, in both protocols and for every driver."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.admin.conftest import Pooler
from tests.admin.contract import CONFIG_ROWS, LISTS_ROWS, SHOW, TOTALS_ROWS, described


@pytest.mark.parametrize("simple", [True, False], ids=["simple", "extended"])
@pytest.mark.parametrize("name", SHOW)
def test_show_has_the_columns_of_pgbouncer(pooler: Pooler, name: str, simple: bool) -> None:
    """Names, order and types, from one table."""
    with pooler.connect("app") as client, pooler.console(simple=simple) as console:
        client.query("begin")
        cursor = console.execute(f"SHOW {name}")
        found = [(column.name, column.type_code) for column in cursor.description or ()]
        assert found == described(SHOW[name])
        assert cursor.statusmessage == "SHOW"
        cursor.fetchall()


def test_asyncpg_reads_every_show(pooler: Pooler) -> None:
    """asyncpg asks for the binary format of all it knows, numeric included."""

    async def read() -> dict[str, Any]:
        connection = await asyncpg.connect(pooler.uri("pgbouncer", "console_admin"))
        try:
            return {name: await connection.fetch(f"SHOW {name}") for name in SHOW}
        finally:
            await connection.close()

    with pooler.connect("app") as client:
        client.query("select 1")
        rows = asyncio.run(read())
    assert rows["VERSION"][0]["version"].startswith("PgBouncer 1.25.2")
    ours = next(row for row in rows["STATS"] if row["database"] == "app")
    assert ours["total_query_count"] >= 1 and ours["total_received"] >= 14
    assert all(len(rows[name]) > 0 for name in ("POOLS", "CLIENTS", "SERVERS", "CONFIG", "LISTS", "USERS", "FDS"))


def test_numbers_are_the_same_in_both_formats(pooler: Pooler) -> None:
    """The text and the binary form of one row say the same."""
    with pooler.console(simple=False) as console:
        query = "SHOW DATABASES"
        as_text = console.execute(query).fetchall()
        as_binary = console.execute(query, binary=True).fetchall()
    assert as_text == as_binary
    assert any(isinstance(value, int) and value > 255 for row in as_text for value in row)


def test_totals_and_lists_have_their_rows(pooler: Pooler) -> None:
    assert [row["name"] for row in pooler.show("TOTALS")] == TOTALS_ROWS
    assert [row["list"] for row in pooler.show("LISTS")] == LISTS_ROWS
    assert {row["key"]: row["value"] for row in pooler.show("STATE")} == {"active": "yes", "paused": "no", "suspended": "no"}


def test_config_has_every_setting_in_pgbouncers_order(pooler: Pooler) -> None:
    """The hundred rows of the original come first; what only we have follows."""
    rows = [row["key"] for row in pooler.show("CONFIG")]
    assert rows[: len(CONFIG_ROWS)] == CONFIG_ROWS
    assert set(rows[len(CONFIG_ROWS) :]) >= {"server_reset_timeout"}


def test_select_is_show(pooler: Pooler) -> None:
    with pooler.console() as console:
        assert console.execute("select version").fetchone() == console.execute("show version").fetchone()
