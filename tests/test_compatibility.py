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
from pgpool_py.config.setting import Settings, aliases, setting_fields
from pgpool_py.config.values import AuthType

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


MODELS = (PgBouncerSettings, DatabaseSettings, UserSettings, PeerSettings)


def test_rows_of_settings_are_of_settings() -> None:
    known = {name for model in MODELS for name in (*setting_fields(model), *aliases(model))} | {"*"}
    assert {what.partition("=")[0].rpartition(" ")[2] for what in named("Settings")} <= known


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_has_a_row(model: type[Settings]) -> None:
    """Of each section, under its name there and under its second one; auth_type has a row for each of its words."""
    section = "" if model is PgBouncerSettings else f"[{model.section}] "
    listed = {what.partition("=")[0] for what in named("Settings")}
    assert [name for name in (*setting_fields(model), *aliases(model)) if f"{section}{name}" not in listed] == []


def test_every_word_of_auth_type_has_a_row() -> None:
    assert {word.value for word in AuthType} == {what.partition("=")[2] for what in named("Settings") if "=" in what}


# What clients, operators and analysers match on; a "…" stands for anything.
MESSAGES = """\
"trust" authentication failed
PQexec disallowed
RELOAD failed, see logs for additional details
SASL authentication failed
SET failed
SET ignored
SSL required
No server connection available in postgres backend, client being queued
a database is required
admin access needed
admin forced disconnect
already suspended/paused
bad arguments
cannot pause admin db: pgbouncer
client connections exceeded (max_db_client_connections)
client connections exceeded (max_user_client_connections)
client not found
client_idle_timeout
client_login_timeout
client_login_timeout (server down)
database "x" is disabled
database removed
database x is not paused
extended query protocol not supported by admin console
idle transaction timeout
invalid command '…', use SHOW HELP;
invalid server parameter
no more connections allowed (max_client_conn)
no such database: x
no such user
not allowed
old V2 protocol not supported
password authentication failed
pooler is not paused/suspended
pooler is shutting down
prepared statement did not exist
prepared statement name is already in use
query timeout
query_timeout
query_wait_timeout
server conn crashed?
server connection closed
server login has been failing, cached error: … (server_login_retry)
server shutting down
transaction blocks not allowed in statement pooling mode
transaction timeout
unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed
unsupported startup parameter in options: x
unsupported startup parameter: x
"""
LINES = """\
TLS setup failed: …
cleaning up idle pool …
got SIGTERM …
got SIGUSR2 while shutting down, ignoring
ident map x cannot be matched
ident map: x does not have a match
login attempt: db=… user=… tls=…
new connection to server (from ADDR:PORT)
no pg_hba.conf entry for …
pooler error: TEXT
registered new auto-database: db=…
stats: … xacts/s, …
taking connection from reserve_pool
"""
REASONS = """\
SASL authentication failed
admin forced disconnect
cancel_wait_timeout
client close request
client unexpected eof
client_idle_timeout
connect failed
connect timeout
database configuration changed
evicted
idle transaction timeout
login failed
no such database: x
no such user
password authentication failed
query timeout
server DNS lookup failed
server conn crashed?
server idle timeout
server lifetime over
server shutting down
transaction blocks not allowed in statement pooling mode
transaction timeout
"""


def quoted_words() -> set[str]:
    """Everything in backquotes in the first column of the messages and the lines of the log."""
    rows_of_words = (row.what for row in rows() if row.heading in ("Messages", "Log lines"))
    return {words for what in rows_of_words for words in what.split("`")[1::2]}


def test_every_message_has_a_row() -> None:
    assert [words for words in MESSAGES.splitlines() if words not in quoted_words()] == []


def test_every_line_of_the_log_has_a_row() -> None:
    lines = [*LINES.splitlines(), *(f"closing because: {reason}" for reason in REASONS.splitlines())]
    assert [words for words in lines if words not in quoted_words()] == []
