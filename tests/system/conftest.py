"""Fixtures of the whole-system stories: one PostgreSQL for the run, poolers as each file asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack
from tests.system.middle import Middle
from tests.system.rawclient import Address, RawClient

# The stories judge the pooler, not PostgreSQL's own authentication: trust for all but one role.
HBA = [f"host all {stack.LOCKED} 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust"]
ROLES = [
    f"create role {stack.OWNER} login",
    f"create role {stack.OTHER} login",
    f"create role {stack.LOCKED} login password '{stack.PASSWORD}'",
    f"grant {stack.OTHER} to {stack.OWNER}",
    f"create database {stack.DATABASE} owner {stack.OWNER}",
]


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the stories' own: they restart it and end its sessions."""
    with PostgresServer(hba=HBA, settings={"max_prepared_transactions": "2"}) as running:
        with RawClient(Address(running.host, running.port), "postgres", stack.ADMIN) as admin:
            for sql in ROLES:
                assert not [message for message in admin.query(sql) if message.kind == "E"], sql
        yield running


@pytest.fixture(scope="session")
def direct(server: PostgresServer) -> Callable[..., RawClient]:
    """Connect past the pooler, as the owner unless another user is named."""

    def connect(user: str = stack.OWNER, database: str = stack.DATABASE, **parameters: str) -> RawClient:
        return RawClient(Address(server.host, server.port), database, user, parameters=parameters)

    return connect


@pytest.fixture(scope="module")
def poolers() -> Iterator[list[stack.Pooler]]:
    """The poolers that one file has started; they are stopped when it is done."""
    started: list[stack.Pooler] = []
    yield started
    for pooler in started:
        pooler.end_now()
        pooler.close()


# What a pooler never says while all is well: a bug of its own, or an answer out of step with its question.
NEVER_SAID = ("Traceback (most recent call last)", "do not add up")


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest, poolers: list[stack.Pooler]) -> Iterator[None]:
    """A test whose pooler dies or stumbles has failed, whatever it asserted; the logs of failed tests are shown."""
    request.node._poolers = poolers
    seen = {pooler.port: len(pooler.log) for pooler in poolers}
    yield
    if stack.NONE:
        return
    assert [pooler.log[-2000:] for pooler in poolers if pooler.crashed] == []
    news = [pooler.log[seen.get(pooler.port, 0) :] for pooler in poolers]
    assert [log for log in news if any(words in log for words in NEVER_SAID)] == []


@pytest.fixture(scope="module")
def start_pooler(server: PostgresServer, poolers: list[stack.Pooler]) -> Callable[..., stack.Pooler]:
    """Start poolers with settings of their own."""

    def start(
        settings: dict[str, object] | None = None,
        databases: dict[str, str] | None = None,
        users: dict[str, str] | None = None,
        target: Address | None = None,
    ) -> stack.Pooler:
        pooler = stack.Pooler(target or Address(server.host, server.port), settings, databases, users)
        if not stack.NONE:
            pooler.start()
        poolers.append(pooler)
        return pooler

    return start


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    """The pooler with the stories' configuration, shared by one file."""
    return start_pooler()


@pytest.fixture(scope="module")
def middle(server: PostgresServer) -> Iterator[Middle]:
    """A man in the middle, for poolers that reach their servers through him."""
    with Middle(Address(server.host, server.port)) as between:
        yield between


@pytest.fixture
def admin(direct: Callable[..., RawClient]) -> Iterator[RawClient]:
    """A superuser's connection past the pooler: to look, and to pull plugs."""
    with direct(stack.ADMIN) as client:
        yield client


@pytest.fixture
def sender(direct: Callable[..., RawClient]) -> Iterator[RawClient]:
    """Somebody past the pooler."""
    with direct() as client:
        yield client
