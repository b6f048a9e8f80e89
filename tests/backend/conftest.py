"""Fixtures: a real PostgreSQL with one user for each method of authentication, and event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import uvloop

from pgpool_py.backend.target import ServerTarget
from pgpool_py.testing.postgres import PostgresServer

Result = TypeVar("Result")
Run = Callable[[Coroutine[Any, Any, Result]], Result]

HBA = [
    "host all u_trust 127.0.0.1/32 trust",
    "host all u_plain 127.0.0.1/32 password",
    "host all u_md5 127.0.0.1/32 md5",
    "host all u_scram 127.0.0.1/32 scram-sha-256",
]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Runs a coroutine in a loop of its own."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run_it(coroutine: Coroutine[Any, Any, Result]) -> Result:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(coroutine, 30))

    return run_it


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL whose users u_plain, u_md5 and u_scram have the password secret; u_trust needs none."""
    with PostgresServer(hba=HBA) as running:
        with running.connect() as connection:
            connection.execute("create database app")
            connection.execute("create role u_trust login")
            connection.execute("create role u_plain login password 'secret'")
            connection.execute("create role u_scram login password 'secret'")
            connection.execute("set password_encryption = md5")
            connection.execute("create role u_md5 login password 'secret'")
        yield running


@pytest.fixture(scope="session")
def postgres(server: PostgresServer) -> ServerTarget:
    """The target of user u_trust in database app, over TCP."""
    return ServerTarget(server.host, server.port, "app", "u_trust")
