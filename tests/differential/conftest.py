"""Fixtures of the differential tests: one PostgreSQL, one pooler, two equal databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from pgpool_py.testing import Pooler, PostgresServer, local_bin_dirs
from tests.differential.world import (
    ADMIN,
    DIRECT,
    HBA,
    OTHER,
    OWNER,
    POOLED,
    POOLS,
    RESTORED,
    ROLES,
    SCHEMA,
    SETTINGS,
    TEMPLATE,
    World,
)
from tests.system import wire
from tests.system.rawclient import Address, RawClient


@pytest.fixture(scope="session")
def differential_server() -> Iterator[PostgresServer]:
    """A server whose databases no other test touches: the system's own, else the wheel's."""
    settings = {"max_prepared_transactions": "2", "myapp.user_id": "0"}
    with PostgresServer(bin_dir=next(iter(local_bin_dirs()), None), hba=HBA, settings=settings) as server:
        address = Address(server.host, server.port)
        run(address, "postgres", ADMIN, *ROLES)
        run(address, TEMPLATE, ADMIN, f"grant all on schema public to {OWNER}, {OTHER}")
        run(address, TEMPLATE, OWNER, *SCHEMA)
        run(
            address,
            "postgres",
            ADMIN,
            *(f"create database {name} template {TEMPLATE} owner {OWNER}" for name in (DIRECT, POOLED)),
        )
        # Custom settings that every session starts with: this one, and of postgresql.conf myapp.user_id.
        run(address, "postgres", ADMIN, *(f"alter database {name} set app.z = 'of all'" for name in (DIRECT, POOLED)))
        run(address, "postgres", ADMIN, f"create database {RESTORED} owner {OWNER}")
        yield server


@contextmanager
def pooler_for(
    server: PostgresServer, settings: dict[str, object], command: Sequence[str] | None = None, database: str = POOLED
) -> Iterator[Pooler]:
    """A pooler with the pools of the scripts; *command* runs another one."""
    line = f"host={server.host} port={server.port} dbname={database}"
    databases = {name: f"{line} pool_size={size}" for name, size in POOLS.items()}
    databases["restored"] = f"host={server.host} port={server.port} dbname={RESTORED} pool_size=2"
    with Pooler(databases, {name: "" for name in (OWNER, OTHER, ADMIN)}, {**SETTINGS, **settings}, command=command) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def world(differential_server: PostgresServer) -> Iterator[World]:
    """Both sides, for the whole run: servers are handed from script to script."""
    with pooler_for(differential_server, {}) as pooler:
        made = World(differential_server, pooler)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest, world: World) -> Iterator[None]:
    """A pooler that stumbles fails the test, whatever the clients saw."""
    request.node._poolers = [world.pooler]
    log = world.pooler.directory / "log"
    before = log.stat().st_size
    yield
    with log.open("rb") as file:
        file.seek(before)
        news = file.read().decode(errors="replace")
    assert "Traceback (most recent call last)" not in news and "do not add up" not in news, news[-3000:]


def run(address: Address, database: str, user: str, *statements: str) -> None:
    """Statements that must succeed."""
    with RawClient(address, database, user) as client:
        for sql in statements:
            assert wire.errors(reply := client.query(sql)) == [], (sql, reply)
