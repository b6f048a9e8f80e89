"""PAUSE, RESUME, KILL and the queue's end at shutdown."""

from __future__ import annotations

import pytest

from pgpool_py.pool.states import ServerState
from tests.pool.world import World


def test_pause_closes_idle_servers_and_waits_for_active_ones(world: World) -> None:
    pool = world.pool()
    (idle,) = world.idle_servers(pool, 1)
    client, second = world.client(pool), world.client(pool)
    world.ask(client)
    world.ask(second)
    world.log_in()
    world.finish(second)
    world.do(world.pools.pause())
    assert [reason for _, reason in world.closed] == ["pause mode"]
    assert world.pools.busy_count() == 1
    assert world.finish(client) is idle
    assert idle.state is ServerState.CLOSED
    assert world.pools.busy_count() == 0


def test_paused_pool_makes_clients_wait(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.do(pool.pause())
    world.ask(client)
    world.tick(1.0)
    assert not world.connecting
    assert repr(pool) == "<Pool app/web 0/20; 1 waiting; paused>"


def test_login_that_ends_in_a_pause_is_closed(world: World) -> None:
    pool = world.pool()
    world.ask(world.client(pool))
    world.do(pool.pause())
    assert world.log_in().state is ServerState.CLOSED
    assert world.pools.busy_count() == 0


def test_resume_serves_those_who_waited(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.do(pool.pause())
    world.ask(client)
    world.do(pool.resume(world.now))
    world.log_in()
    assert client.server is not None


def test_query_wait_timeout_runs_in_a_pause(world: World) -> None:
    pool = world.pool(query_wait_timeout=2.0)
    client = world.client(pool)
    world.do(pool.pause())
    world.ask(client)
    world.tick(2.1)
    assert world.failed == [(client, "query_wait_timeout")]


def test_pause_of_one_database_leaves_others(world: World) -> None:
    app, other = world.pool("app"), world.pool("other")
    world.do(world.pools.pause("app"))
    assert app.paused and not other.paused
    world.do(world.pools.resume(world.now, "app"))
    assert not app.paused


def test_shutdown_fails_those_who_wait(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder, waiter = world.client_with_server(pool), world.client(pool)
    world.ask(waiter)
    world.do(world.pools.pause())
    world.do(world.pools.fail_waiting("server shutting down", world.now))
    assert world.failed == [(waiter, "server shutting down")]
    world.finish(holder)
    assert world.pools.busy_count() == 0


def test_kill_drops_servers_and_waiters(world: World) -> None:
    pool = world.pool(pool_size=2)
    holders = [world.client_with_server(pool) for _ in range(2)]
    waiter = world.client(pool)
    world.ask(waiter)
    world.do(world.pools.kill("database removed", world.now, "app"))
    assert world.failed == [(waiter, "database removed")]
    assert [reason for _, reason in world.closed] == ["database removed"] * 2
    assert repr(pool) == "<Pool app/web 0/2>"
    for client in [*holders, waiter]:
        world.leave(client)
    world.pools.discard(pool)
    assert len(world.pools) == 0


def test_discarding_a_pool_in_use_is_refused(world: World) -> None:
    pool = world.pool()
    world.client(pool)
    with pytest.raises(RuntimeError, match="not empty"):
        world.pools.discard(pool)
