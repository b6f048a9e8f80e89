"""Limits of one entry: each holds for the database or user that is named, and for nobody beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="keys that Debian's PgBouncer does not have")

Start = Callable[..., stack.Pooler]
Who = tuple[str, str]  # database and user
OWNER, OTHER = stack.OWNER, stack.OTHER
DATABASES = {
    "wide": "",
    "narrow": "max_db_connections=1",
    "spare": "reserve_pool_size=1",
    "warm": "min_pool_size=2",
    "few": "max_db_client_connections=1",
}


@pytest.fixture(scope="module")
def pooler(start_pooler: Start) -> stack.Pooler:
    """Pools of two servers, where no entry says otherwise; a reserve, where there is one, is used at once."""
    users = {OTHER: "pool_size=1 reserve_pool_size=1", stack.ADMIN: "max_user_client_connections=2"}
    return start_pooler({"default_pool_size": 2, "reserve_pool_timeout": 0.2}, DATABASES, users)


def held(pooler: stack.Pooler, admin: RawClient, asking: list[Who], expected: dict[Who, int]) -> None:
    """All these ask for a transaction and keep it: *expected* is how many of each get a server at the same time."""
    marker = f"held {next(iter(expected))[0]}"
    sql = f"select query from pg_stat_activity where state = 'idle in transaction' and query like '%{marker} %'"

    def holding() -> dict[Who, int]:
        found = [str(bytes(value or b""), "utf-8").split("'")[1].split()[-2:] for value in wire.values(admin.query(sql))]
        return dict(Counter((database, user) for database, user in found))

    clients = [(who, pooler.connect(*who)) for who in asking]
    for (database, user), client in clients:
        client.send(wire.query(f"begin; select '{marker} {database} {user}'"))
        stack.wait_taken(client)
    stack.wait_until(lambda: holding() == expected, f"{expected}, there are {holding()}")
    admin.query("select pg_sleep(0.7)")  # a tick, and the reserve's time: nobody else comes in
    assert holding() == expected
    for _, client in clients:
        client.until("Z")
        client.query("commit")
        client.leave()


@pytest.mark.parametrize(
    ("asking", "expected"),
    [
        # pool_size and reserve_pool_size of a user
        ([("wide", OTHER)] * 4 + [("wide", OWNER)] * 4, {("wide", OTHER): 2, ("wide", OWNER): 2}),
        # max_db_connections of a database
        ([("narrow", OWNER)] * 3 + [("two", OWNER)] * 3, {("narrow", OWNER): 1, ("two", OWNER): 2}),
        # reserve_pool_size of a database
        ([("spare", OWNER)] * 4 + [("app", OWNER)] * 6, {("spare", OWNER): 3, ("app", OWNER): 5}),
    ],
    ids=["user", "max_db_connections", "reserve_pool_size"],
)
def test_servers(pooler: stack.Pooler, admin: RawClient, asking: list[Who], expected: dict[Who, int]) -> None:
    held(pooler, admin, asking, expected)


@pytest.mark.parametrize(
    ("limited", "other", "words"),
    [
        (("few", OWNER), ("wide", OWNER), "max_db_client_connections"),
        (("wide", stack.ADMIN), ("wide", OWNER), "max_user_client_connections"),
    ],
)
def test_clients(pooler: stack.Pooler, limited: Who, other: Who, words: str) -> None:
    """One too many is told the setting's name; elsewhere there is room, and here when one has left."""
    inside = [pooler.connect(*limited) for _ in range(1 if limited[0] == "few" else 2)]
    beside = [pooler.connect(*other) for _ in range(3)]
    extra = pooler.raw(*limited)
    extra.send(wire.startup(extra.startup))
    error = extra.refused()
    assert (error.sqlstate, error.fields["M"]) == ("53300", f"client connections exceeded ({words})")
    extra.vanish()
    inside.pop().leave()

    def admitted() -> bool:
        client = pooler.raw(*limited)
        client.send(wire.startup(client.startup))
        kinds = wire.kinds(client.rest())
        client.vanish()
        return kinds.endswith("Z")

    stack.wait_until(admitted, "there is room again")
    for client in [*inside, *beside]:
        assert client.ask("select 'undisturbed'") == "undisturbed"
        client.leave()


def test_min_pool_size(pooler: stack.Pooler, admin: RawClient) -> None:
    """Two servers for the one client of that database; its neighbour has the one that it uses."""
    sql = f"select count(*) from pg_stat_activity where datname = '{stack.DATABASE}' and usename = '{stack.LOCKED}'"
    with pooler.connect("wide", stack.LOCKED) as beside:
        beside.ask("select 1")
        assert admin.ask(sql) == "1"
        with pooler.connect("warm", stack.LOCKED) as client:
            client.ask("select 1")
            stack.wait_until(lambda: admin.ask(sql) == "3", "two more are open")
            admin.query("select pg_sleep(0.5)")
            assert admin.ask(sql) == "3"
