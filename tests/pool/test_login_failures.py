"""Logins that fail: who is told at once, who keeps waiting, when the next try is."""

from __future__ import annotations

from tests.pool.world import World

CACHED = "server login has been failing, cached error: boom (server_login_retry)"


def test_first_login_ever_failing_fails_those_who_wait(world: World) -> None:
    pool = world.pool()
    client = world.client(pool)
    world.ask(client)
    world.fail_login()
    assert world.failed == [(client, CACHED)]
    assert repr(pool) == "<Pool app/web 0/20; logins fail: boom>"


def test_clients_that_come_later_fail_at_once(world: World) -> None:
    pool = world.pool(server_login_retry=15.0)
    world.ask(world.client(pool))
    world.fail_login()
    world.pass_time(14.9)
    late = world.client(pool)
    world.ask(late)
    assert world.failed[1:] == [(late, CACHED)]
    assert not world.connecting


def test_next_login_is_tried_after_the_delay(world: World) -> None:
    pool = world.pool(server_login_retry=15.0)
    world.ask(world.client(pool))
    world.fail_login()
    world.pass_time(15.0)
    later = world.client(pool)
    world.ask(later)
    assert len(world.connecting) == 1
    world.log_in()
    assert later.server is not None
    assert repr(pool) == "<Pool app/web 1/20: 1 active>"


def test_clients_waiting_for_a_retry_share_its_outcome(world: World) -> None:
    pool = world.pool(server_login_retry=15.0)
    world.ask(world.client(pool))
    world.fail_login()
    world.pass_time(15.0)
    retriers = [world.client(pool) for _ in range(3)]
    for client in retriers:
        world.ask(client)
    assert len(world.connecting) == 1
    world.pass_time(0.1)
    world.fail_login()
    assert [client for client, _ in world.failed[1:]] == retriers


def test_waiting_clients_survive_a_server_restart(world: World) -> None:
    """As with PgBouncer: only who comes while logins fail is refused, the queue from before lives on."""
    pool = world.pool(server_login_retry=1.0)
    (server,) = world.idle_servers(pool, 1)
    early = world.client(pool)
    world.lose(server)
    world.ask(early)
    for _ in range(5):
        world.fail_login()
        world.pass_time(0.1)
        late = world.client(pool)
        world.ask(late)
        assert world.failed.pop() == (late, CACHED)
        world.tick(1.0)
    assert world.failed == []
    world.log_in()
    assert early.server is not None


def test_nobody_waits_where_there_is_no_hope(world: World) -> None:
    """The database is gone: a pool that has worked before does not hope for its servers either."""
    pool = world.pool(pool_size=1)
    world.lose(world.idle_servers(pool, 1)[0])
    client = world.client(pool)
    world.ask(client)
    world.connecting.pop(0)
    pool.connect_failed("boom", world.now, hopeless=True)
    world.do(pool.activate(world.now))
    assert world.failed == [(client, CACHED)]


def test_failing_logins_spare_a_pool_with_servers(world: World) -> None:
    pool = world.pool(pool_size=2)
    holder = world.client_with_server(pool)
    waiter = world.client(pool)
    world.ask(waiter)
    world.fail_login()
    world.pass_time(1.0)
    late = world.client(pool)
    world.ask(late)
    world.tick(1.0)
    assert world.failed == []
    world.finish(holder)
    assert waiter.server is not None and late.server is None


def test_clients_wait_for_the_last_login_in_flight(world: World) -> None:
    pool = world.pool()
    clients = [world.client(pool) for _ in range(2)]
    for client in clients:
        world.ask(client)
    world.fail_login()
    world.tick(1.0)
    assert world.failed == []
    world.fail_login()
    assert [client for client, _ in world.failed] == clients


def test_retry_delay_zero_does_not_spin(world: World) -> None:
    pool = world.pool(server_login_retry=0.0)
    (server,) = world.idle_servers(pool, 1)
    client = world.client(pool)
    world.lose(server)
    world.ask(client)
    world.fail_login()
    assert not world.connecting
    world.tick(0.2)
    assert len(world.connecting) == 1


def test_min_pool_size_respects_the_retry_delay(world: World) -> None:
    world.pool(min_pool_size=2, forced_user=True, server_login_retry=15.0)
    world.tick()
    world.fail_login()
    world.fail_login()
    world.tick(10.0)
    assert not world.connecting
    world.tick(5.0)
    assert len(world.connecting) == 1
