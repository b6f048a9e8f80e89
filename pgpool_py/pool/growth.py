"""When a pool grows: serving its queue with checks and new connections, and failing it when logins fail.

Every function here runs off the hot path, after acquire found nothing or a place became free. How a place is
made under a shared limit is in limits.py.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pgpool_py.pool.actions import Action, CheckServer, CloseServer, FailClient, HandOver, Launch
from pgpool_py.pool.held import give_up_one, make_room
from pgpool_py.pool.limits import evict_for
from pgpool_py.pool.states import ServerState
from pgpool_py.pool.surplus import use

if TYPE_CHECKING:
    from pgpool_py.pool.pool import Pool

CONNECTS_AT_ONCE = 4  # per pool; a burst of clients must not become a burst of logins
RETRY_FLOOR = 0.1  # seconds between failing logins, also with server_login_retry = 0


def activate(pool: Pool, now: float) -> list[Action]:
    """Serve *pool* and the pools blocked by its limits, the oldest waiting client's pool first."""
    actions: list[Action] = []
    if not pool.limits:
        _serve(pool, actions, now)
        return actions
    pools = {pool: None}
    for limit in pool.limits:
        pools.update(limit.blocked)
    for each in sorted(pools, key=lambda each: -each.max_wait(now)):
        _serve(each, actions, now)
    return actions


def _serve(pool: Pool, actions: list[Action], now: float) -> None:
    # In order of cost: fail those who have nothing to wait for, hand out, check, grow.
    _fail_fast(pool, actions, now)
    if pool.paused:
        return
    while pool.waiting and pool.idle:
        server = pool.idle.first() if pool.round_robin else pool.idle.last()
        if server is None or server.close_needed:
            break  # the janitor comes first
        client = pool.hand_over(server, now)
        actions.append(HandOver(client, server))
    unserved = len(pool.waiting) - len(pool.tested)
    while unserved > 0 and (server := pool.used.last()) is not None:
        # The most recently used is the most likely to be alive.
        pool.move(server, ServerState.TESTED)
        actions.append(CheckServer(server))
        unserved -= 1
    _grow(pool, actions, now)
    if pool.held:
        _use_held(pool, actions, now)


def _use_held(pool: Pool, actions: list[Action], now: float) -> None:
    """Where the pool is full, whoever waits for nothing else gets what is held."""
    for _ in range(_unserved(pool)):
        if _room(pool) and not pool.login_error and not any(limit.full for limit in pool.limits):
            return  # it grows by itself, a few at a time
        if make_room(pool, actions, now):
            _grow(pool, actions, now)


def _unserved(pool: Pool) -> int:
    """How many clients wait for whom nothing is under way."""
    return len(pool.waiting) - len(pool.tested) - len(pool.used) - pool.connecting


def _grow(pool: Pool, actions: list[Action], now: float) -> None:
    if pool.surplus and pool.waiting:
        use(pool, actions, _room(pool) + _reserve_room(pool, now), now)
    within_size = _room(pool)
    wanted = _wanted(pool, now)
    for number in range(wanted):
        if not _make_place(pool, actions):
            return
        pool.count_in()
        actions.append(Launch(pool, from_reserve=number >= within_size))
    if _wanted(pool, now) == 0:
        pool.unblock()
    for _ in range(_missing_minimum(pool, now)):
        if any(limit.full for limit in pool.limits):
            return  # warm servers are not worth anybody's idle one
        pool.count_in()
        actions.append(Launch(pool))


def _make_place(pool: Pool, actions: list[Action]) -> bool:
    """Whether one more connection is within the shared limits, after evicting idle servers if need be."""
    full = [limit for limit in pool.limits if limit.full]
    if not full:
        return True
    for server in evict_for(pool) or ():
        actions.append(CloseServer(server, "evicted"))
    full = [limit for limit in pool.limits if limit.full]
    for limit in full:
        limit.block(pool)
        holder = next((other for other in limit.pools if other is not pool and other.held), None)
        if holder is not None:
            give_up_one(holder, actions)  # once released, its place is owed to this pool
    return not full


def wants_launch(pool: Pool, now: float) -> bool:
    return not pool.paused and _wanted(pool, now) > 0


def _room(pool: Pool) -> int:
    """How many connections fit below pool_size."""
    size = pool.settings.pool_size
    return max(0, size - pool.places_taken()) if size > 0 else CONNECTS_AT_ONCE


def _wanted(pool: Pool, now: float) -> int:
    """How many connections the waiting clients ask for now, shared limits apart."""
    if in_back_off(pool, now):
        return 0
    unserved = _unserved(pool)
    if pool.login_error:
        # One try is enough to learn whether the server is back.
        at_once = 1 - pool.connecting
    else:
        at_once = CONNECTS_AT_ONCE - pool.connecting
    if unserved <= 0 or at_once <= 0:
        return 0
    return min(unserved, at_once, _room(pool) + _reserve_room(pool, now))


def _reserve_room(pool: Pool, now: float) -> int:
    """How many more connections clients that waited for reserve_pool_timeout may take from the reserve."""
    settings = pool.settings
    if settings.pool_size <= 0 or settings.reserve_pool_size <= 0 or settings.reserve_pool_timeout <= 0:
        return 0
    left = settings.pool_size + settings.reserve_pool_size - max(settings.pool_size, pool.places_taken())
    ripe = 0
    for client in islice(pool.waiting, max(0, left)):
        if now - client.wait_start < settings.reserve_pool_timeout:
            break
        ripe += 1
    return ripe


def _missing_minimum(pool: Pool, now: float) -> int:
    settings = pool.settings
    if settings.min_pool_size <= 0 or not (pool.clients or settings.forced_user) or in_back_off(pool, now):
        return 0
    at_once = (1 if pool.login_error else CONNECTS_AT_ONCE) - pool.connecting
    return max(0, min(settings.min_pool_size - pool.places_taken() - len(pool.surplus), _room(pool), at_once))


def in_back_off(pool: Pool, now: float) -> bool:
    """Whether a login failed so short ago that none is tried."""
    if not pool.login_error:
        return False
    return now - pool.last_login_failure < max(pool.settings.server_login_retry, RETRY_FLOOR)


def _fail_fast(pool: Pool, actions: list[Action], now: float) -> None:
    """Fail the clients that came while logins fail and no server is alive; see Pool.connect_failed."""
    if not pool.login_error or pool.connected_count() or pool.connecting or pool.settings.patient:
        return
    message = f"server login has been failing, cached error: {pool.login_error} (server_login_retry)"
    back_off = in_back_off(pool, now)
    for client in list(pool.waiting):
        if client.wait_start <= pool.login_failed_since:
            continue
        # Whoever came when a new try was due waits for its outcome.
        if back_off or client.wait_start <= pool.last_login_failure:
            pool.stop_waiting(client, now)
            actions.append(FailClient(client, message))
