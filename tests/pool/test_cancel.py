"""A server that a cancel request may still hit is not handed on; the caller moves it."""

from __future__ import annotations

from pgpool_py.pool.states import ClientState, ServerState
from tests.pool.world import World


def test_server_being_canceled_counts_as_a_place(world: World) -> None:
    client = world.client_with_server(world.pool(pool_size=1))
    server, client.server, client.state = client.server, None, ClientState.IDLE
    assert server is not None
    client.pool.move(server, ServerState.BEING_CANCELED)
    waiter = world.client(client.pool)
    world.ask(waiter)
    assert repr(client.pool) == "<Pool app/web 1/1: 1 being_canceled; 1 waiting>"
    client.pool.move(server, ServerState.TESTED)
    assert client.pool.release(server, world.now) is waiter
