"""docs/compatibility.md: every row says same, better or differs, why unless it is the same, and names a test that exists.

To add a row, write it under its heading; to add a kind of thing, add a table with the same four columns.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from pgpool_py.admin.commands import COMMANDS, SHOWS
from pgpool_py.config.models import DatabaseSettings, PeerSettings, PgBouncerSettings, UserSettings
from pgpool_py.config.setting import setting_fields

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
VERDICTS = ("same", "better", "differs")


class Row(NamedTuple):
    heading: str
    what: str
    verdict: str
    test: str
    why: str


def rows() -> list[Row]:
    found: list[Row] = []
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("|") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in line.replace(r"\|", "\0").strip("|").split("|")]
            assert len(cells) == 4, f"a row has other than four cells: {line}"
            if cells[1] != "here":
                found.append(Row(heading, *[cell.replace("\0", "|") for cell in cells]))
    return found


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.heading}: {row.what}")
def test_every_row_has_a_verdict_and_a_test(row: Row) -> None:
    """No row without a test; no difference without a reason."""
    assert row.verdict in VERDICTS
    assert row.why or row.verdict == "same", "say how it is better, or why it differs"
    path, _, name = row.test.strip("`").partition("::")
    assert (ROOT / path).is_file(), f"there is no {path}"
    assert name in functions_in(path), f"{path} has no {name}"


def test_nothing_is_listed_twice() -> None:
    keys = [(row.heading, row.what) for row in rows()]
    assert sorted(keys) == sorted(set(keys))


def named(heading: str) -> set[str]:
    """What the rows of one table are about, without quotes."""
    return {part.strip().strip("`") for row in rows() if row.heading == heading for part in row.what.split(",")}


def test_every_show_has_a_row() -> None:
    assert named("SHOW") == {name.upper() for name in SHOWS} | {"HELP"}


def test_every_command_has_a_row() -> None:
    """By its first word; SHOW has a table of its own, and some words are other words' spellings."""
    words = {what.split()[0].lower() for what in named("Commands")}
    assert {name for name in COMMANDS if name not in words} <= {"show", "start", "end", "abort"}


def test_rows_of_settings_are_of_settings() -> None:
    models = (PgBouncerSettings, DatabaseSettings, UserSettings, PeerSettings)
    known = {name for model in models for name in setting_fields(model)} | {"reserve_pool", "*"}
    assert {what.partition("=")[0].rpartition(" ")[2] for what in named("Settings")} <= known
