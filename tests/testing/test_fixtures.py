"""The fixtures that every other test stands on."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgpool_py import build
from tests.fixtures.build import ROOT, hot_modules, stale_modules
from tests.fixtures.real_postgres import Database, RealPostgres


def test_shared_server_says_its_version(shared_postgres: RealPostgres) -> None:
    with shared_postgres.connect() as connection:
        row = connection.execute("SHOW server_version_num").fetchone()
    assert row == (str(row and row[0]),)
    assert int(str(row and row[0])) // 10000 == shared_postgres.version


def test_database_belongs_to_a_plain_user(database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("CREATE TABLE t (i int)")
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False,)


def test_database_goes_with_open_sessions(shared_postgres: RealPostgres) -> None:
    with shared_postgres.database() as made:
        session = psycopg.connect(made.dsn)
    with shared_postgres.connect() as connection:
        left = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [made.name]).fetchall()
    session.close()
    assert left == []


@pytest.mark.parametrize("ending", [".py", ".pxd"])
def test_stale_extension_is_found(tmp_path: Path, ending: str) -> None:
    package = tmp_path / "pgwire"
    package.mkdir()
    source, extension = package / f"hot{ending}", package / "hot.so"
    for path in (package / "hot.py", package / "hot.pxd", extension):
        path.touch()
        os.utime(path, (1000, 1000))
    assert stale_modules((tmp_path,)) == []
    os.utime(source, (2000, 2000))
    assert stale_modules((tmp_path,)) == [extension]


def test_every_hot_module_is_watched() -> None:
    """A module with a .pxd that the build does not list would be neither compiled nor checked."""
    assert sorted(hot_modules()) == sorted(build.HOT)


def test_header_names_what_is_tested() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", __file__],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PGPOOL_PY_PURE": "1"},  # with nothing to be stale
    )
    for title in ("pgpool_py: ", "PostgreSQL: ", "Docker: "):
        assert f"\n{title}" in done.stdout
