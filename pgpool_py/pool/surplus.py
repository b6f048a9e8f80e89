"""Servers beyond a pool's size, which stay for a while when the pins have ended that made places for them.

A pin makes a place in the pool, and where clients wait for it a connection is opened. When the pin ends there is one server too
many. To close it then would open and close a connection for each short pin: a temporary table for one statement, a cursor for
one page. So it is kept, *surplus*, and the next place that a pin makes is filled with it. Clients never get more servers at once
for it, nor the database more connections: all servers of a pool together are at most its size, its reserve and `pin_pool_size`,
and none is opened while there is a surplus one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgpool_py.pool.actions import Action, CloseServer, HandOver

if TYPE_CHECKING:
    from pgpool_py.pool.pool import Pool

KEPT = 10.0  # seconds without use after which it is closed: between two pages of one user, or two jobs of a worker


def may_keep(pool: Pool) -> bool:
    """Whether a server beyond the pool's size, and fit to be used again, has a place here."""
    if not pool.has_pinned or pool.contended or _kept(pool) <= 0:
        return False
    return len(pool.pinned) + len(pool.surplus) < pool.settings.pin_pool_size


def use(pool: Pool, actions: list[Action], places: int, now: float) -> None:
    """Give surplus servers to clients that wait, the most recently used first, for as many places as the pool has."""
    for server in list(reversed(pool.surplus))[:places]:
        if server.close_needed:
            pool.remove(server)
            actions.append(CloseServer(server, "database configuration changed"))
        elif pool.waiting:
            actions.append(HandOver(pool.hand_over(server, now), server))


def expire(pool: Pool, actions: list[Action], now: float) -> None:
    """Close those that were of no use for long, and those beyond what `pin_pool_size` allows now."""
    many = len(pool.pinned) + len(pool.surplus) - pool.settings.pin_pool_size
    for number, server in enumerate(list(pool.surplus)):
        if server.close_needed or number < many or now - server.request_time > _kept(pool):
            pool.remove(server)
            actions.append(CloseServer(server, "too many servers in the pool"))
    pool.has_pinned = bool(pool.pinned or pool.surplus or pool.over_size() > 0)


def _kept(pool: Pool) -> float:
    """How long one may stay: less where the pool's other idle servers would be closed, or checked, sooner."""
    settings = pool.settings
    limits = [KEPT]
    if settings.server_idle_timeout > 0:
        limits.append(settings.server_idle_timeout)
    if settings.server_check_query:
        limits.append(settings.server_check_delay)
    return min(limits)
