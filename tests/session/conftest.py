"""Fixtures: databases whose catalogs are read, on each PostgreSQL there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgpool_py.testing import PostgresServer, local_bin_dirs
from tests.session.facts import Connection

NewDatabase = Callable[..., Connection]

_INSTALLATIONS: list[Path | None] = [None, *local_bin_dirs()[:1]]


@pytest.fixture(scope="session", params=_INSTALLATIONS, ids=lambda path: str(path or "wheel"))
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Every installation that is here: the wheel's, and the system's newest."""
    with PostgresServer(bin_dir=request.param) as server:
        yield server


@pytest.fixture
def new_database(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Makes a database of its own out of SQL, and connects as its owner."""
    made: list[tuple[str, Connection]] = []
    admin = postgres.connect()

    def make(schema: str, encoding: str = "UTF8") -> Connection:
        name = f"d{len(made)}_{abs(hash(request.node.nodeid))}"
        admin.execute(f"create database {name} template template0 encoding '{encoding}' locale 'C'".encode())
        connection = postgres.connect(name)
        connection.execute(schema.encode())
        made.append((name, connection))
        return connection

    yield make
    for name, connection in made:
        connection.close()
        admin.execute(f"drop database {name} with (force)".encode())
    admin.close()
