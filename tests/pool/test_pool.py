"""Who gets which server when there is one, and who waits when there is none."""

from __future__ import annotations

import pytest

from pgpool_py.pool.states import ClientState, ServerState
from tests.pool.world import World


def test_first_client_makes_the_pool_grow(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.ask(client)
    assert client.state is ClientState.WAITING
    assert repr(pool) == "<Pool app/web 1/20: 1 new; 1 waiting>"
    server = world.log_in()
    assert client.server is server
    assert repr(pool) == "<Pool app/web 1/20: 1 active>"
    world.finish(client)
    assert repr(pool) == "<Pool app/web 1/20: 1 idle>"


def test_client_gets_its_last_server(world: World) -> None:
    pool = world.pool()
    first, second = world.client_with_server(pool), world.client_with_server(pool)
    mine = world.finish(first)
    world.finish(second)
    world.ask(first)
    assert first.server is mine


def test_new_client_gets_most_recently_used_server(world: World) -> None:
    pool = world.pool()
    servers = world.idle_servers(pool, 3)
    client = world.client(pool)
    world.ask(client)
    assert client.server is servers[-1]


def test_round_robin_gives_least_recently_used_server(world: World) -> None:
    pool = world.pool(server_round_robin=True)
    servers = world.idle_servers(pool, 3)
    clients = [world.client(pool) for _ in range(3)]
    for client in clients:
        world.ask(client)
    assert [client.server for client in clients] == servers


def test_last_server_held_by_another_is_not_given(world: World) -> None:
    pool = world.pool()
    first = world.client_with_server(pool)
    server = world.finish(first)
    second = world.client(pool)
    world.ask(second)
    world.ask(first)
    assert second.server is server and first.server is None


def test_waiting_client_gets_the_freed_server(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder = world.client_with_server(pool)
    waiters = [world.client(pool) for _ in range(3)]
    for waiter in waiters:
        world.ask(waiter)
    assert repr(pool) == "<Pool app/web 1/1: 1 active; 3 waiting>"
    for waiter in waiters:
        server = world.finish(holder)
        assert waiter.server is server
        holder = waiter
    world.finish(holder)
    assert repr(pool) == "<Pool app/web 1/1: 1 idle>"


def test_a_client_that_left_is_passed_over(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder, gone, next_one = world.client_with_server(pool), world.client(pool), world.client(pool)
    world.ask(gone)
    world.ask(next_one)
    world.leave(gone)
    world.finish(holder)
    assert next_one.server is not None


def test_pool_size_bounds_the_servers(world: World) -> None:
    pool = world.pool(pool_size=3)
    for _ in range(10):
        world.ask(world.client(pool))
    while world.connecting:
        world.log_in()
        world.tick()
    assert repr(pool) == "<Pool app/web 3/3: 3 active; 7 waiting>"


def test_pool_size_zero_is_unlimited(world: World) -> None:
    pool = world.pool(pool_size=0)
    for _ in range(60):
        world.client_with_server(pool)
    assert repr(pool) == "<Pool app/web 60/unlimited: 60 active>"


def test_a_burst_starts_few_logins_at_once(world: World) -> None:
    pool = world.pool(pool_size=50)
    for _ in range(50):
        world.ask(world.client(pool))
    assert len(world.connecting) == 4
    world.log_in()
    world.tick()
    assert len(world.connecting) == 4


def test_fewer_waiters_than_places_launch_no_more(world: World) -> None:
    pool = world.pool()
    world.ask(world.client(pool))
    world.tick(0.3)
    world.tick(0.3)
    assert len(world.connecting) == 1


def test_a_server_lost_makes_room_for_a_waiter(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder, waiter = world.client_with_server(pool), world.client(pool)
    world.ask(waiter)
    assert holder.server is not None
    world.lose(holder.server)
    world.log_in()
    assert waiter.server is not None


def test_a_lost_server_is_forgotten_once(world: World) -> None:
    pool = world.pool()
    (server,) = world.idle_servers(pool, 1)
    world.lose(server)
    world.lose(server)
    assert server.state is ServerState.CLOSED
    assert repr(pool) == "<Pool app/web 0/20>"


def test_releasing_an_idle_server_is_refused(world: World) -> None:
    pool = world.pool()
    (server,) = world.idle_servers(pool, 1)
    with pytest.raises(RuntimeError, match="released a server that is idle"):
        pool.release(server, world.now)


def test_waiting_twice_is_refused(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.ask(client)
    with pytest.raises(RuntimeError, match="waits already"):
        pool.acquire(client, world.now)


def test_login_that_was_not_launched_is_refused(world: World) -> None:
    pool = world.pool()
    with pytest.raises(RuntimeError, match="no connection was launched"):
        pool.connect_failed("boom", world.now)


def test_server_under_reset_is_not_handed_out(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder, waiter = world.client_with_server(pool), world.client(pool)
    world.ask(waiter)
    server = holder.server
    assert server is not None
    holder.server, holder.state = None, ClientState.IDLE
    pool.begin_reset(server)
    world.tick()
    assert repr(pool) == "<Pool app/web 1/1: 1 tested; 1 waiting>"
    assert pool.release(server, world.now) is waiter


def test_counters_are_exact(world: World) -> None:
    pool = world.pool(pool_size=1)
    holder, waiter, quitter = (world.client_with_server(pool), world.client(pool), world.client(pool))
    world.ask(waiter)
    world.ask(quitter)
    world.pass_time(2.0)
    assert pool.max_wait(world.now) == 2.0
    world.finish(holder)
    world.pass_time(0.5)
    world.leave(quitter)
    assert (pool.server_assignment_count, pool.wait_time) == (2, 4.5)
    assert pool.max_wait(world.now) == 0.0


def test_min_pool_size_needs_a_client(world: World) -> None:
    pool = world.pool(min_pool_size=3)
    world.tick()
    assert not world.connecting
    world.client(pool)
    world.tick()
    assert len(world.connecting) == 3
    while world.connecting:
        world.log_in()
    world.tick()
    assert repr(pool) == "<Pool app/web 3/20: 3 idle>"


def test_min_pool_size_of_forced_user_holds_always(world: World) -> None:
    world.pool(min_pool_size=2, forced_user=True)
    world.tick()
    assert len(world.connecting) == 2


def test_min_pool_size_stays_below_pool_size(world: World) -> None:
    world.pool(min_pool_size=9, pool_size=2, forced_user=True)
    world.tick()
    world.log_in()
    world.log_in()
    world.tick()
    assert not world.connecting


def test_reserve_serves_those_who_waited_long(world: World) -> None:
    pool = world.pool(pool_size=1, reserve_pool_size=2, reserve_pool_timeout=5.0)
    world.client_with_server(pool)
    first, second = world.client(pool), world.client(pool)
    world.ask(first)
    world.pass_time(3.0)
    world.ask(second)
    world.tick(1.9)
    assert not world.connecting
    world.tick(0.2)
    assert (len(world.connecting), world.reserve_launches) == (1, 1)
    world.log_in()
    assert first.server is not None and second.server is None
    world.tick(3.0)
    assert (len(world.connecting), world.reserve_launches) == (1, 2)


def test_reserve_is_bounded(world: World) -> None:
    pool = world.pool(pool_size=1, reserve_pool_size=1, reserve_pool_timeout=1.0)
    for _ in range(5):
        world.ask(world.client(pool))
    for _ in range(10):
        world.tick(2.0)
        while world.connecting:
            world.log_in()
    assert repr(pool) == "<Pool app/web 2/1: 2 active; 3 waiting>"


def test_reserve_timeout_zero_turns_the_reserve_off(world: World) -> None:
    pool = world.pool(pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.0)
    world.client_with_server(pool)
    world.ask(world.client(pool))
    world.tick(50.0)
    assert not world.connecting
