"""Operators at the console: a pooler in front of a real server, and drivers as they use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import psycopg
import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack
from tests.system.rawclient import Address

ADMIN, STATS, NOBODY = "console_admin", "console_stats", stack.OWNER
SETTINGS: dict[str, object] = {"admin_users": ADMIN, "stats_users": STATS, "server_login_retry": 0.2}

Connection = psycopg.Connection[tuple[object, ...]]
Start = Callable[..., "Pooler"]


class Pooler(stack.Pooler):
    """The stories' pooler with somebody who may enter its console."""

    def __init__(self, server: Address, settings: dict[str, object] | None = None, **options: dict[str, str]) -> None:
        super().__init__(server, {**SETTINGS, **(settings or {})}, **options)
        self.users = {**self.users, ADMIN: stack.PASSWORD, STATS: stack.PASSWORD}

    def console(self, user: str = ADMIN, *, simple: bool = True) -> Connection:
        """psycopg at the console, in the simple protocol or the extended one."""
        factory = psycopg.ClientCursor if simple else psycopg.Cursor
        uri = self.uri(database="pgbouncer", user=user)
        return psycopg.connect(uri, password=stack.PASSWORD, autocommit=True, cursor_factory=factory)

    def show(self, command: str) -> list[dict[str, object]]:
        """The rows of one SHOW, by column."""
        with self.console() as console:
            cursor = console.execute(f"SHOW {command}")
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def order(self, command: str) -> str | None:
        """The tag with which a command was answered."""
        with self.console() as console:
            return console.execute(command).statusmessage


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of these stories' own, with the system stories' roles and database."""
    with PostgresServer(hba=["host all,replication all 127.0.0.1/32 trust"]) as running:
        with psycopg.connect(running.dsn(), autocommit=True) as admin:
            admin.execute(f"create role {stack.OWNER} login")
            admin.execute(f"create role {stack.OTHER} login")
            admin.execute(f"create database {stack.DATABASE} owner {stack.OWNER}")
        yield running


@pytest.fixture
def start_pooler(request: pytest.FixtureRequest, server: PostgresServer) -> Iterator[Start]:
    """Start poolers that end with the test, which fails if one of them crashed."""
    request.node._poolers = started = []
    with ExitStack() as running:

        def start(settings: dict[str, object] | None = None, **options: dict[str, str]) -> Pooler:
            pooler = running.enter_context(Pooler(Address(server.host, server.port), settings, **options))
            started.append(pooler)
            return pooler

        yield start


@pytest.fixture(scope="module")
def pooler(server: PostgresServer) -> Iterator[Pooler]:
    """One pooler for the stories that only look."""
    with Pooler(Address(server.host, server.port)) as running:
        yield running


@pytest.fixture
def shared(pooler: Pooler) -> Iterator[Pooler]:
    """The file's pooler for a story that changes something: put back as it was afterwards."""
    before = dict(pooler.settings), dict(pooler.databases), dict(pooler.users)
    yield pooler
    pooler.settings, pooler.databases, pooler.users = before
    pooler.write_config()
    names = ["", *pooler.databases]
    with pooler.console() as console:
        for command in [*(f"RESUME {name}" for name in names), *(f"ENABLE {name}" for name in names[1:]), "RELOAD"]:
            with suppress(psycopg.Error):
                console.execute(command)
