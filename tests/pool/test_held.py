"""Servers that clients hold between transactions until others need them."""

from __future__ import annotations

from pgpool_py.pool.states import ClientState, ServerState
from tests.pool.world import FakeClient, World


def holders(world: World, count: int, pin_pool_size: int = 5) -> list[FakeClient]:
    """That many clients of one pool, which they fill, each holding its server; the first for longest."""
    pool = world.pool(pool_size=count, pin_pool_size=pin_pool_size)
    clients = [world.client_with_server(pool) for _ in range(count)]
    for client in clients:
        world.hold(client)
        world.pass_time(0.1)
    return clients


def test_held_server_is_pinned_when_somebody_waits(world: World) -> None:
    """The pool gets a place more, and the holder keeps its server."""
    (holder,) = holders(world, 1)
    waiter = world.client(holder.pool)
    world.ask(waiter)
    assert repr(holder.pool) == "<Pool app/web 1/1: 1 pinned, 1 new; 1 waiting>"
    world.log_in()
    assert waiter.server is not None and waiter.server is not holder.server
    world.finish(waiter)
    world.finish(holder)
    assert holder.server is None


def test_held_server_is_left_alone_while_the_pool_grows(world: World) -> None:
    pool = world.pool(pool_size=2)
    holder = world.client_with_server(pool)
    world.hold(holder)
    world.ask(world.client(pool))
    assert repr(pool) == "<Pool app/web 2/2: 1 active, 1 new; 1 waiting>"


def test_without_pins_the_longest_held_is_given_up(world: World) -> None:
    first, second = holders(world, 2, pin_pool_size=0)
    server = first.server
    waiter = world.client(first.pool)
    world.ask(waiter)
    assert waiter.server is server and first.state is ClientState.IDLE and second.server is not None


def test_spare_one_is_given_up_first(world: World) -> None:
    """And changes places with one in the pool if it is pinned: no connection is opened or closed for it."""
    first, second = holders(world, 2, pin_pool_size=1)
    pool = first.pool
    waiters = [world.client(pool) for _ in range(3)]
    world.ask(waiters[0])
    world.log_in()  # first is pinned
    assert first.server is not None and first.server.state is ServerState.PINNED
    world.hold(first, spare=True)
    server = first.server
    world.ask(waiters[1])
    assert waiters[1].server is server and second.server is not None and second.server.state is ServerState.PINNED
    assert not world.closed and not world.connecting
    world.ask(waiters[2])
    assert waiters[2].state is ClientState.WAITING and second.server is not None  # outside the pool's size it is in nobody's way


def test_server_is_not_given_up_in_its_first_moments(world: World) -> None:
    """Who has just made what he holds it for is given the time to come for it; the pool asks for one more look."""
    (holder,) = holders(world, 1, pin_pool_size=0)
    world.hold(holder)
    waiter, next_one = world.client(holder.pool), world.client(holder.pool)
    world.ask(waiter)
    world.ask(next_one)
    assert holder.server is not None and waiter.server is None
    ((pool, when),) = world.looks
    world.pass_time(when - world.now + 0.001)
    world.do(pool.activate(world.now))
    assert holder.server is None and waiter.server is not None


def test_server_at_work_is_not_given_up(world: World) -> None:
    first, second = holders(world, 2, pin_pool_size=0)
    assert first.server is not None
    first.pool.work(first.server)
    world.ask(world.client(first.pool))
    assert first.server is not None and second.server is None


def test_pin_of_another_kind_goes_before(world: World) -> None:
    """What only a pinned server can keep takes the place of one that is only held."""
    first, second = holders(world, 2, pin_pool_size=1)
    pool = first.pool
    world.ask(world.client(pool))
    assert first.server is not None and second.server is not None and first.server in pool.pinned
    pool.unhold(second.server)
    assert pool.may_pin() and pool.pin(second.server)
    assert first.server in pool.active and first.server in pool.held
    assert not pool.may_pin() and not pool.pin(first.server)


def test_held_servers_are_had_back_after_a_time(world: World) -> None:
    first, _ = holders(world, 2)
    world.tick(first.pool.settings.hold_time - 0.15)
    assert repr(first.pool) == "<Pool app/web 2/2: 1 active, 1 idle>"
    world.tick(1.0)
    assert repr(first.pool) == "<Pool app/web 2/2: 2 idle>"


def test_pause_and_reconnect_have_held_servers_back(world: World) -> None:
    for order in ("pause", "reconnect"):
        pool = world.pool(user=order, pool_size=1)
        holder = world.client_with_server(pool)
        world.hold(holder)
        world.do(pool.pause() if order == "pause" else pool.reconnect(world.now))
        assert holder.server is None and not pool.connected_count()


def test_place_under_a_shared_limit_is_given_up(world: World) -> None:
    """Nothing is pinned where no connection may be opened, and other pools do not wait for what is held."""
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder, waiter = world.client_with_server(ann), world.client(ann)
    world.hold(holder, spare=True)
    world.ask(waiter)
    assert waiter.server is not None and holder.server is None
    world.hold(waiter)
    other = world.client(bob)
    world.ask(other)
    assert waiter.server is None
    world.tick(0.3)
    world.log_in()
    assert other.server is not None


def test_who_waits_too_long_gets_a_held_server(world: World) -> None:
    """A login that hangs is no reason to wait as long as there is a server."""
    (holder,) = holders(world, 1)
    waiter = world.client(holder.pool)
    world.ask(waiter)
    world.tick(4.0)
    assert waiter.server is not None and holder.server is None
