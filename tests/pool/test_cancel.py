"""A server that a cancel request may still hit is not handed on."""

from __future__ import annotations

from pgpool_py.pool.states import ServerState
from tests.pool.world import FakeClient, FakeServer, World


def canceled(world: World, pool_size: int = 20) -> tuple[FakeClient, FakeServer]:
    """A client whose query is being cancelled, and its server."""
    pool = world.pool(pool_size=pool_size)
    client = world.client_with_server(pool)
    assert client.server is not None
    pool.hold_for_cancel(client.server)
    return client, client.server


def test_server_waits_for_its_cancel(world: World) -> None:
    client, server = canceled(world, pool_size=1)
    waiter = world.client(client.pool)
    world.ask(waiter)
    world.finish(client)
    assert repr(client.pool) == "<Pool app/web 1/1: 1 being_canceled; 1 waiting>"
    world.end_cancel(server)
    assert waiter.server is server


def test_server_without_waiters_becomes_idle_after_its_cancel(world: World) -> None:
    client, server = canceled(world)
    world.finish(client)
    world.end_cancel(server)
    assert server.state is ServerState.IDLE


def test_every_cancel_must_end(world: World) -> None:
    client, server = canceled(world)
    client.pool.hold_for_cancel(server)
    world.finish(client)
    world.end_cancel(server)
    assert repr(client.pool) == "<Pool app/web 1/20: 1 being_canceled>"
    world.end_cancel(server)
    assert repr(client.pool) == "<Pool app/web 1/20: 1 idle>"


def test_cancel_that_ends_first_holds_nothing_up(world: World) -> None:
    client, server = canceled(world)
    world.end_cancel(server)
    assert client.server is server
    world.finish(client)
    assert server.state is ServerState.IDLE


def test_cancel_of_a_lost_server_ends_quietly(world: World) -> None:
    client, server = canceled(world)
    world.finish(client)
    world.lose(server)
    world.end_cancel(server)
    assert server.state is ServerState.CLOSED
    assert repr(client.pool) == "<Pool app/web 0/20>"


def test_cancel_of_a_closed_server_holds_nothing(world: World) -> None:
    client, server = canceled(world)
    world.lose(server)
    client.pool.hold_for_cancel(server)
    assert client.pool.cancels == {}


def test_obsolete_server_is_closed_after_its_cancel(world: World) -> None:
    client, server = canceled(world)
    world.finish(client)
    world.do(client.pool.reconnect(world.now))
    assert repr(client.pool) == "<Pool app/web 1/20: 1 being_canceled>"
    world.end_cancel(server)
    assert server.state is ServerState.CLOSED


def test_server_being_canceled_counts_as_a_place(world: World) -> None:
    client, _server = canceled(world, pool_size=1)
    world.finish(client)
    world.ask(client)
    world.tick()
    assert not world.connecting
