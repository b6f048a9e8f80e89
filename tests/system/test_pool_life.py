"""Pools under one shared limit, and pools that nobody uses any more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.system import stack, wire

pytestmark = pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="PgBouncer serves users by their names, and forgets later")
Start = Callable[..., stack.Pooler]


def test_the_oldest_waiter_comes_first_across_users(start_pooler: Start) -> None:
    """One server for the database and three users: whoever has waited clearly longer is next, whatever its name.

    Also before a client of the very pool that gives the server back; that costs a login, so for a hair's breadth it is not done.
    """
    pooler = start_pooler({"max_db_connections": 1, "server_idle_timeout": 60})
    holder = pooler.connect("app", stack.ADMIN)
    holder.query("create table if not exists arrival_of (at serial, who text); grant all on arrival_of to public")
    holder.query("grant all on sequence arrival_of_at_seq to public; truncate arrival_of")
    # All have logged in before: a first login would need the server itself.
    clients = [(user, pooler.connect("app", user)) for user in (stack.OWNER, stack.OTHER, stack.ADMIN)]
    holder.query("begin")
    for number, (user, client) in enumerate(clients):
        client.send(wire.query(f"insert into arrival_of (who) values ('{number} {user}')"))
        stack.wait_taken(client)
        holder.query("select pg_sleep(0.3)")
    holder.query("commit")
    for _, client in clients:
        assert not wire.errors(client.until("Z"))
        client.leave()
    order = wire.values(holder.query("select who from arrival_of order by at"))
    holder.leave()
    assert order == [f"{number} {user}".encode() for number, (user, _) in enumerate(clients)]


def test_unused_pools_are_forgotten(start_pooler: Start) -> None:
    """pool_idle_timeout for any, autodb_idle_timeout for databases made from *; what is used stays, and comes back."""
    pooler = start_pooler({"server_idle_timeout": 0.5, "autodb_idle_timeout": 0.5})
    server = pooler.server
    pooler.databases["*"] = f"host={server.host} port={server.port}"
    pooler.reload()
    pooler.wait_for_log("reload done")
    with pooler.connect("app") as client:
        client.ask("select 1")
    used = pooler.connect("postgres")
    used.ask("select 1")
    with pooler.connect(stack.DATABASE) as client:
        client.ask("select 1")
    pooler.wait_for_log(f"registered new auto-database: db={stack.DATABASE}")
    pooler.wait_for_log(f"cleaning up idle pool {stack.DATABASE}/{stack.OWNER}")
    assert "cleaning up idle pool app/" not in pooler.log
    assert "cleaning up idle pool postgres/" not in pooler.log
    pooler.settings["pool_idle_timeout"] = 0.5
    pooler.reload()
    pooler.wait_for_log(f"cleaning up idle pool app/{stack.OWNER}")
    assert used.ask("select 'used'") == "used"
    for database in ("app", stack.DATABASE):
        with pooler.connect(database) as client:
            assert client.ask("select 'again'") == "again"
    used.leave()


def test_limits_of_one_database_spare_others(start_pooler: Start) -> None:
    """Lifetime, patience and the number of clients of one entry; its neighbour lives by the global ones."""
    limits = "pool_size=1 server_lifetime=0.3 query_wait_timeout=0.5 max_db_client_connections=2"
    pooler = start_pooler(databases={"short": limits})
    with pooler.connect("short") as short, pooler.connect("one") as long:
        pids = [client.ask("select pg_backend_pid()") for client in (short, long)]
        short.query("begin")
        long.query("begin")
        hasty, patient = pooler.connect("short"), pooler.connect("one")
        refused = pooler.raw("short")
        refused.send(wire.startup(refused.startup))
        assert "max_db_client_connections" in refused.refused().fields["M"]
        for client in (hasty, patient):
            client.send(wire.query("select 'waited'"))
            stack.wait_taken(client)
        assert hasty.refused().fields["M"] == "query_wait_timeout"
        time.sleep(0.3)
        for client in (short, long):
            assert client.query("commit")[-1].body == b"I"
        assert wire.values(patient.until("Z")) == [b"waited"]
        assert short.ask("select pg_backend_pid()") != pids[0]
        assert long.ask("select pg_backend_pid()") == pids[1]
        for client in (hasty, patient, refused):
            client.vanish()
