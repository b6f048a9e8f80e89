"""Maintenance of one pool, about three times a second: too old, too long unused, too many, waiting too long.

As PgBouncer's janitor. Only lists that nobody uses (idle, used) and the queue are looked at; an active server
is judged when it is released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgpool_py.pool import held, surplus
from pgpool_py.pool.actions import Action, CloseServer, FailClient
from pgpool_py.pool.states import ServerState
from pgpool_py.seam import Member

if TYPE_CHECKING:
    from pgpool_py.pool.pool import Pool


def maintain(pool: Pool, now: float) -> list[Action]:
    """Close and retire servers, fail clients whose time is over."""
    pool.settings_changed()
    actions: list[Action] = []
    if pool.held:
        held.expire(pool, actions, now)
    if pool.has_pinned:
        surplus.expire(pool, actions, now)
    _check_unused_servers(pool, actions, now)
    _check_pool_size(pool, actions)
    _check_waiting_clients(pool, actions, now)
    return actions


def _check_unused_servers(pool: Pool, actions: list[Action], now: float) -> None:
    settings = pool.settings
    for server in [*pool.used, *pool.idle]:
        reason = _close_reason(pool, server, now)
        if reason is not None:
            pool.remove(server)
            actions.append(CloseServer(server, reason))
        elif (
            server.state is ServerState.IDLE
            and settings.server_check_query
            and now - server.request_time > settings.server_check_delay
        ):
            pool.move(server, ServerState.USED)


def _close_reason(pool: Pool, server: Member, now: float) -> str | None:
    settings = pool.settings
    if server.close_needed:
        return "database configuration changed"
    if 0 < settings.server_idle_timeout < now - server.request_time and (
        pool.connected_count() > settings.min_pool_size or settings.min_pool_size == 0
    ):
        return "server idle timeout"
    # With a lifetime of 0 a server is closed after its use, not before it.
    if settings.server_lifetime > 0 and pool.life_over(server, now):
        pool.last_lifetime_disconnect = now
        return "server lifetime over"
    if pool.paused:
        return "pause mode"
    return None


def _check_pool_size(pool: Pool, actions: list[Action]) -> None:
    many = pool.over_size()
    for server in [*pool.used, *pool.idle][: max(0, many)]:
        pool.remove(server)
        actions.append(CloseServer(server, "too many servers in the pool"))
    pool.refresh()


def _check_waiting_clients(pool: Pool, actions: list[Action], now: float) -> None:
    settings = pool.settings
    for client in list(pool.waiting):
        waited = now - client.wait_start
        if 0 < settings.query_timeout < waited:
            message = "query_timeout"
        elif 0 < settings.query_wait_timeout < waited:
            message = "query_wait_timeout"
        else:
            break  # the others came later
        pool.stop_waiting(client, now)
        actions.append(FailClient(client, message))
