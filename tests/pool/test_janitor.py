"""What time does to servers and waiting clients: lifetimes, idle times, checks, timeouts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pgpool_py.pool.states import ServerState
from tests.pool.world import World


def test_query_wait_timeout_fails_the_oldest_waiters(world: World) -> None:
    pool = world.pool(pool_size=1, query_wait_timeout=10.0)
    world.client_with_server(pool)
    old, young = world.client(pool, "old"), world.client(pool, "young")
    world.ask(old)
    world.pass_time(5.0)
    world.ask(young)
    world.tick(5.0)
    assert world.failed == []
    world.tick(0.1)
    assert world.failed == [(old, "query_wait_timeout")]
    assert repr(pool) == "<Pool app/web 1/1: 1 active; 1 waiting>"


def test_query_wait_timeout_zero_waits_for_ever(world: World) -> None:
    pool = world.pool(pool_size=1, query_wait_timeout=0.0, server_lifetime=1e9, server_idle_timeout=0.0)
    world.client_with_server(pool)
    world.ask(world.client(pool))
    world.tick(1e6)
    assert world.failed == []


def test_query_timeout_counts_in_the_queue(world: World) -> None:
    pool = world.pool(pool_size=1, query_timeout=3.0)
    world.client_with_server(pool)
    waiter = world.client(pool)
    world.ask(waiter)
    world.tick(3.1)
    assert world.failed == [(waiter, "query_timeout")]


def test_idle_server_is_closed_after_its_timeout(world: World) -> None:
    pool = world.pool(server_idle_timeout=600.0)
    (server,) = world.idle_servers(pool, 1)
    world.tick(600.0)
    assert world.closed == []
    world.tick(0.1)
    assert world.closed == [(server, "server idle timeout")]


def test_idle_timeout_keeps_min_pool_size(world: World) -> None:
    pool = world.pool(min_pool_size=2, forced_user=True)
    oldest, *_ = world.idle_servers(pool, 3)
    world.tick(601.0)
    assert world.closed == [(oldest, "server idle timeout")]


def test_old_server_is_closed_when_released(world: World) -> None:
    pool = world.pool(server_lifetime=100.0)
    client = world.client_with_server(pool)
    world.tick(100.0)
    assert world.closed == []
    server = world.finish(client)
    assert server.state is ServerState.CLOSED


def test_old_idle_server_is_closed_by_the_janitor(world: World) -> None:
    pool = world.pool(server_lifetime=100.0)
    (server,) = world.idle_servers(pool, 1)
    world.tick(99.9)
    assert world.closed == []
    world.tick(0.1)
    assert world.closed == [(server, "server lifetime over")]


def test_lifetime_closes_are_spread(world: World) -> None:
    """Ten servers of one age are replaced over a whole lifetime, one each lifetime/pool_size."""
    pool = world.pool(server_lifetime=100.0, pool_size=10, server_idle_timeout=0.0)
    world.idle_servers(pool, 10)
    world.pass_time(100.0)
    closes: list[float] = []
    for _ in range(1000):
        world.tick(0.1)
        closes += [world.now] * (len(world.closed) - len(closes))
    assert len(closes) == 10
    assert min(later - earlier for earlier, later in pairwise(closes)) >= 10.0


def test_lifetime_spread_holds_for_releases(world: World) -> None:
    pool = world.pool(server_lifetime=100.0, pool_size=10)
    clients = [world.client_with_server(pool) for _ in range(3)]
    world.pass_time(100.0)
    servers = [world.finish(client) for client in clients]
    assert [server.state for server in servers] == [ServerState.CLOSED, ServerState.IDLE, ServerState.IDLE]


def test_lifetime_zero_uses_a_server_once(world: World) -> None:
    pool = world.pool(server_lifetime=0.0)
    client = world.client(pool)
    for _ in range(3):
        world.ask(client)
        server = world.log_in()
        assert client.server is server
        world.finish(client)
        assert server.state is ServerState.CLOSED


def test_lifetime_zero_keeps_a_server_for_its_first_use(world: World) -> None:
    pool = world.pool(server_lifetime=0.0, min_pool_size=1, forced_user=True)
    world.tick()
    world.log_in()
    world.tick(1.0)
    assert repr(pool) == "<Pool app/web 1/20: 1 idle>"


def test_long_unused_server_is_checked_before_use(world: World) -> None:
    pool = world.pool(server_check_delay=30.0)
    (server,) = world.idle_servers(pool, 1)
    world.tick(30.0)
    assert repr(pool) == "<Pool app/web 1/20: 1 idle>"
    world.tick(0.1)
    assert repr(pool) == "<Pool app/web 1/20: 1 used>"
    client = world.client(pool)
    world.ask(client)
    assert client.server is None and world.checking == [server]
    assert not world.connecting
    world.answer_check()
    assert client.server is server


def test_used_servers_rest_until_a_client_waits(world: World) -> None:
    pool = world.pool(server_check_delay=30.0)
    world.idle_servers(pool, 2)
    world.tick(31.0)
    world.tick(31.0)
    assert repr(pool) == "<Pool app/web 2/20: 2 used>"
    assert world.checking == []


def test_failed_check_leads_to_a_new_connection(world: World) -> None:
    pool = world.pool(server_check_delay=30.0)
    (server,) = world.idle_servers(pool, 1)
    world.tick(31.0)
    client = world.client(pool)
    world.ask(client)
    world.lose(server)
    assert len(world.connecting) == 1
    world.log_in()
    assert client.server is not None


def test_one_check_per_waiting_client(world: World) -> None:
    pool = world.pool(server_check_delay=30.0)
    world.idle_servers(pool, 3)
    world.tick(31.0)
    world.ask(world.client(pool))
    world.tick(0.3)
    assert len(world.checking) == 1
    world.ask(world.client(pool))
    assert len(world.checking) == 2


def test_without_check_query_nothing_is_checked(world: World) -> None:
    pool = world.pool(server_check_query=False, server_check_delay=0.0)
    (server,) = world.idle_servers(pool, 1)
    world.tick(500.0)
    assert server.state is ServerState.IDLE


def test_check_delay_zero_checks_after_each_use(world: World) -> None:
    pool = world.pool(server_check_delay=0.0, pool_size=1)
    holder, waiter = world.client_with_server(pool), world.client(pool)
    world.ask(waiter)
    server = world.finish(holder)
    assert server.state is ServerState.TESTED and world.checking == [server]
    world.answer_check()
    assert waiter.server is server
    world.finish(waiter)
    assert repr(pool) == "<Pool app/web 1/1: 1 used>"


def test_smaller_pool_size_closes_idle_servers(world: World) -> None:
    pool = world.pool(pool_size=5)
    servers = world.idle_servers(pool, 5)
    pool.settings.pool_size = 3
    world.tick()
    assert world.closed == [(server, "too many servers in the pool") for server in servers[:2]]


def test_smaller_pool_size_closes_released_servers(world: World) -> None:
    pool = world.pool(pool_size=3)
    clients = [world.client_with_server(pool) for _ in range(3)]
    pool.settings.pool_size = 2
    pool.settings_changed()
    servers = [world.finish(client) for client in clients]
    assert [server.state for server in servers] == [ServerState.CLOSED, ServerState.IDLE, ServerState.IDLE]


def test_server_connected_after_shrinking_is_closed(world: World) -> None:
    pool = world.pool(pool_size=2)
    world.client_with_server(pool)
    world.ask(world.client(pool))
    pool.settings.pool_size = 1
    pool.settings_changed()
    assert world.log_in().state is ServerState.CLOSED
    assert repr(pool) == "<Pool app/web 1/1: 1 active; 1 waiting>"


def test_larger_pool_size_serves_those_who_wait(world: World) -> None:
    pool = world.pool(pool_size=1)
    world.client_with_server(pool)
    waiter = world.client(pool)
    world.ask(waiter)
    pool.settings.pool_size = 2
    world.tick()
    world.log_in()
    assert waiter.server is not None


@pytest.mark.parametrize("unused_for", [0.0, 40.0])
def test_reconnect_replaces_unused_servers_at_once(world: World, unused_for: float) -> None:
    pool = world.pool()
    (server,) = world.idle_servers(pool, 1)
    world.tick(unused_for)
    world.do(pool.reconnect(world.now))
    assert world.closed == [(server, "database configuration changed")]


def test_reconnect_closes_active_servers_on_release(world: World) -> None:
    pool = world.pool()
    client = world.client_with_server(pool)
    world.do(pool.reconnect(world.now))
    assert world.pools.close_needed_count() == 1
    assert world.finish(client).state is ServerState.CLOSED
    assert world.pools.close_needed_count() == 0


def test_reconnect_replaces_connections_being_started(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.ask(client)
    world.pass_time(0.1)
    world.do(pool.reconnect(world.now))
    assert world.log_in().state is ServerState.CLOSED
    assert client.server is None
    world.log_in()
    assert client.server is not None


def test_idle_server_marked_obsolete_is_not_given(world: World) -> None:
    pool = world.pool()
    older, newer = world.idle_servers(pool, 2)
    newer.close_needed = True
    client = world.client(pool)
    world.ask(client)
    assert client.server is older
    world.tick()
    assert world.closed == [(newer, "database configuration changed")]
