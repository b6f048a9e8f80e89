"""Servers beyond a pool's size, after a pin."""

from __future__ import annotations

from typing import Any

import pytest

from pgpool_py.pool.states import ServerState
from tests.pool.world import FakeClient, FakeServer, World


def pinned(world: World, **settings: Any) -> tuple[FakeClient, FakeClient]:
    """Two clients of a pool of one, which pin their servers."""
    pool = world.pool(pool_size=1, **settings)
    clients = []
    for _ in range(2):
        clients.append(world.client_with_server(pool))
        assert world.pin(clients[-1])
    return clients[0], clients[1]


def surplus(world: World, **settings: Any) -> tuple[FakeClient, FakeServer]:
    """A client of a pool of one that has ended its pin, as the second one, and the server that is too many."""
    first, second = pinned(world, **settings)
    world.finish(first)
    return second, world.finish(second)


def test_short_pins_open_no_connections(world: World) -> None:
    """Four clients whose transactions pin, one after the other, in turn, on a pool of two: four servers in all, ever."""
    pool = world.pool(pool_size=2)
    clients = [world.client(pool) for _ in range(4)]
    for _ in range(20):
        for client in clients:
            world.ask(client)
        while world.connecting:
            world.log_in()
        for client in clients:
            if client.server is not None:
                world.pin(client)
                while world.connecting:
                    world.log_in()
        for client in clients:
            while client.server is None:
                world.log_in()
            world.finish(client)
        world.tick(0.5)
    assert not world.closed and len(world.servers) <= 4
    assert repr(pool) == "<Pool app/web 2/2: 2 surplus, 2 idle>"


def test_surplus_server_is_out_of_the_pool(world: World) -> None:
    """A client that waits does not get it until a pin makes a place."""
    client, server = surplus(world)
    assert server.state is ServerState.SURPLUS
    pool = client.pool
    world.ask(client)
    waiter = world.client(pool)
    world.ask(waiter)
    assert client.server is not server and waiter.server is None and not world.connecting
    world.pin(client)
    assert waiter.server is server and not world.connecting


def test_surplus_server_is_closed_when_nobody_needs_it(world: World) -> None:
    _, server = surplus(world)
    world.tick(9.0)
    assert not world.closed
    world.tick(2.0)
    assert world.closed == [(server, "too many servers in the pool")]


@pytest.mark.parametrize("setting", ["server_idle_timeout", "server_check_delay"])
def test_surplus_server_stays_no_longer_than_an_idle_one_would(world: World, setting: str) -> None:
    _, server = surplus(world, **{setting: 2.0})
    world.tick(3.0)
    assert server.state is ServerState.CLOSED


def test_surplus_servers_are_no_more_than_the_pins_that_may_be(world: World) -> None:
    _, server = surplus(world, pin_pool_size=2)
    server.pool.settings.pin_pool_size = 0
    world.tick(0.3)
    assert world.closed == [(server, "too many servers in the pool")]


def test_surplus_server_gives_way_under_a_shared_limit(world: World) -> None:
    """Before one that counts for its pool does, and for a client of another pool."""
    other = world.pool("app", "bob", pool_size=1)
    world.pools.database_limit("app").maximum = 2
    _, server = surplus(world)
    world.ask(world.client(other))
    assert world.closed == [(server, "evicted")] and len(world.connecting) == 1


def test_login_that_ends_when_the_pool_is_full_again_stays(world: World) -> None:
    """The pin for which it was begun has ended meanwhile."""
    pool = world.pool(pool_size=1)
    holder, waiter = world.client_with_server(pool), world.client(pool)
    world.pin(holder)
    world.ask(waiter)
    world.finish(holder)
    assert waiter.server is not None and len(world.connecting) == 1
    assert world.log_in().state is ServerState.SURPLUS


@pytest.mark.parametrize("order", ["pause", "reconnect", "kill"])
def test_orders_close_surplus_servers(world: World, order: str) -> None:
    client, server = surplus(world)
    pool = client.pool
    if order == "pause":
        world.do(pool.pause())
    elif order == "reconnect":
        world.do(pool.reconnect(world.now))
    else:
        world.do(pool.kill("killed", world.now))
    world.check()
    assert server.state is ServerState.CLOSED and not pool.surplus


def test_retired_surplus_server_is_not_handed_out(world: World) -> None:
    client, server = surplus(world)
    server.close_needed = True
    world.ask(client)
    world.ask(waiter := world.client(client.pool))
    world.pin(client)
    assert waiter.server is None and server.state is ServerState.CLOSED and len(world.connecting) == 1
