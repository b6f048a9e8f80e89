"""max_db_connections and max_user_connections: who gives way to whom."""

from __future__ import annotations

from pgpool_py.pool.limits import evict_surplus
from pgpool_py.pool.states import ServerState
from tests.pool.world import World


def test_limit_counts_servers_from_their_launch(world: World) -> None:
    limit = world.pools.database_limit("app")
    limit.maximum = 2
    ann = world.pool(user="ann")
    world.client_with_server(ann)
    world.ask(world.client(ann))
    assert repr(limit) == "<Limit max_db_connections of app 2/2>"
    world.fail_login()
    assert repr(limit) == "<Limit max_db_connections of app 1/2>"


def test_limit_blocks_a_pool_with_room(world: World) -> None:
    world.pools.database_limit("app").maximum = 2
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    world.client_with_server(ann)
    world.client_with_server(ann)
    waiter = world.client(bob)
    world.ask(waiter)
    world.tick(1.0)
    assert not world.connecting
    assert repr(world.pools.database_limit("app")) == "<Limit max_db_connections of app 2/2; 1 blocked>"


def test_idle_server_of_another_pool_gives_way(world: World) -> None:
    world.pools.database_limit("app").maximum = 3
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    oldest, *_ = world.idle_servers(ann, 3)
    waiter = world.client(bob)
    world.ask(waiter)
    assert world.closed == [(oldest, "evicted")]
    world.log_in()
    assert waiter.server is not None


def test_least_recently_used_of_all_pools_gives_way(world: World) -> None:
    world.pools.database_limit("app").maximum = 2
    ann, bob, cyd = world.pool(user="ann"), world.pool(user="bob"), world.pool(user="cyd")
    world.idle_servers(ann, 1)
    world.pass_time(1.0)
    (of_bob,) = world.idle_servers(bob, 1)
    user = world.client(ann)
    world.pass_time(1.0)
    world.ask(user)
    world.finish(user)
    world.ask(world.client(cyd))
    assert world.closed == [(of_bob, "evicted")]


def test_user_limit_spans_databases(world: World) -> None:
    world.pools.user_limit("web").maximum = 1
    one, two = world.pool("one"), world.pool("two")
    (server,) = world.idle_servers(one, 1)
    waiter = world.client(two)
    world.ask(waiter)
    assert world.closed == [(server, "evicted")]
    world.log_in()
    assert waiter.server is not None


def test_nothing_is_evicted_in_vain(world: World) -> None:
    """Both limits are full and only one of them can be relieved: nobody is closed."""
    world.pools.database_limit("app").maximum = 2
    world.pools.user_limit("bob").maximum = 1
    world.idle_servers(world.pool("app", "ann"), 1)
    world.client_with_server(world.pool("app", "bob"))
    world.ask(world.client(world.pool("app", "bob")))
    assert world.closed == []


def test_reserved_place_is_made_free(world: World) -> None:
    """A connection of no pool reserves its place first; unused servers beyond the limit go then, no more."""
    limit = world.pools.database_limit("app")
    limit.maximum = 2
    ann = world.pool(user="ann")
    oldest, _ = world.idle_servers(ann, 2)
    assert evict_surplus(ann.limits) == []
    limit.count += 1
    assert limit.exceeded
    assert evict_surplus(ann.limits) == [oldest]
    assert not limit.exceeded
    limit.count -= 1


def test_min_pool_size_evicts_nobody(world: World) -> None:
    world.pools.database_limit("app").maximum = 2
    world.idle_servers(world.pool(user="ann"), 2)
    world.pool(user="bob", min_pool_size=1, forced_user=True)
    world.tick()
    assert world.closed == [] and not world.connecting


def test_place_of_a_released_server_goes_to_a_blocked_pool(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder, waiter = world.client_with_server(ann), world.client(bob)
    world.ask(waiter)
    assert world.finish(holder).state is ServerState.CLOSED
    world.log_in()
    assert waiter.server is not None


def test_place_of_a_lost_server_goes_to_the_oldest_waiter(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob, cyd = world.pool(user="ann"), world.pool(user="bob"), world.pool(user="cyd")
    holder = world.client_with_server(ann)
    old, young = world.client(cyd), world.client(bob)
    world.ask(old)
    world.pass_time(1.0)
    world.ask(young)
    assert holder.server is not None
    world.lose(holder.server)
    assert [pool.user for pool, _ in world.connecting] == ["cyd"]


def test_busy_pool_gives_way_to_longer_waits(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder = world.client_with_server(ann)
    of_bob, of_ann = world.client(bob), world.client(ann)
    world.ask(of_bob)
    world.pass_time(1.0)
    world.ask(of_ann)
    world.pass_time(0.5)
    assert world.finish(holder).state is ServerState.CLOSED
    world.log_in()
    assert of_bob.server is not None and of_ann.server is None


def test_busy_pool_keeps_its_place_for_like_waits(world: World) -> None:
    """A login costs more than a wait that is only a little longer."""
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder = world.client_with_server(ann)
    of_bob, of_ann = world.client(bob), world.client(ann)
    world.ask(of_bob)
    world.pass_time(0.1)
    world.ask(of_ann)
    world.pass_time(1.0)
    world.finish(holder)
    assert of_ann.server is not None


def test_new_server_of_a_busy_pool_stays_a_while(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder, of_bob, of_ann = world.client(ann), world.client(bob), world.client(ann)
    world.ask(holder)
    world.ask(of_bob)
    world.log_in()
    world.pass_time(0.2)
    world.ask(of_ann)
    world.finish(holder)
    assert of_ann.server is not None
    world.ask(holder)
    world.pass_time(0.1)
    world.finish(of_ann)
    world.log_in()
    assert of_bob.server is not None and holder.server is None


def test_a_place_is_given_up_once_per_need(world: World) -> None:
    world.pools.database_limit("app").maximum = 3
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holders = [world.client_with_server(ann) for _ in range(3)]
    world.ask(world.client(bob))
    world.pass_time(1.0)
    states = [world.finish(holder).state for holder in holders]
    assert states == [ServerState.CLOSED, ServerState.IDLE, ServerState.IDLE]


def test_place_is_not_given_up_in_vain(world: World) -> None:
    """Bob is blocked by his own limit, too, which a server of ann's does not count for."""
    world.pools.database_limit("app").maximum = 1
    world.pools.user_limit("bob").maximum = 1
    world.client_with_server(world.pool("crm", "bob"))
    holder = world.client_with_server(world.pool("app", "ann"))
    world.ask(world.client(world.pool("app", "bob")))
    world.pass_time(1.0)
    assert world.finish(holder).state is ServerState.IDLE


def test_place_is_not_given_to_a_pool_that_is_full(world: World) -> None:
    world.pools.database_limit("app").maximum = 2
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder = world.client_with_server(ann)
    world.client_with_server(bob)
    world.ask(world.client(bob))
    bob.settings.pool_size = 1
    world.pass_time(1.0)
    assert world.finish(holder).state is ServerState.IDLE


def test_pool_with_enough_logins_in_flight_is_not_blocked(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder = world.client_with_server(ann)
    world.ask(world.client(bob))
    assert ann.contended
    world.finish(holder)
    assert len(world.connecting) == 1 and not ann.contended


def test_shrinking_pool_hands_its_places_on_at_once(world: World) -> None:
    world.pools.database_limit("app").maximum = 3
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holders = [world.client_with_server(ann) for _ in range(3)]
    world.ask(world.client(bob))
    ann.settings.pool_size = 1
    ann.settings_changed()
    world.finish(holders[0])
    assert [pool.user for pool, _ in world.connecting] == ["bob"]


def test_blocked_client_that_leaves_frees_the_others(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    holder, waiter = world.client_with_server(ann), world.client(bob)
    world.ask(waiter)
    world.leave(waiter)
    assert not ann.contended
    assert world.finish(holder).state is ServerState.IDLE


def test_pool_blocked_alone_keeps_its_servers(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann = world.pool(user="ann")
    world.pool(user="bob")
    holder, waiter = world.client_with_server(ann), world.client(ann)
    world.ask(waiter)
    assert ann.blocked and not ann.contended
    world.finish(holder)
    assert waiter.server is not None and not ann.blocked


def test_pool_that_comes_later_shares_the_contention(world: World) -> None:
    world.pools.database_limit("app").maximum = 1
    ann, bob = world.pool(user="ann"), world.pool(user="bob")
    world.client_with_server(ann)
    world.ask(world.client(bob))
    assert world.pool(user="cyd").contended


def test_raised_limit_serves_blocked_clients(world: World) -> None:
    limit = world.pools.database_limit("app")
    limit.maximum = 1
    world.client_with_server(world.pool(user="ann"))
    waiter = world.client(world.pool(user="bob"))
    world.ask(waiter)
    limit.maximum = 2
    world.tick()
    world.log_in()
    assert waiter.server is not None
