"""Servers that clients hold between transactions, for something small that would be lost with them.

A client that is between transactions may *hold* its server (`hold`): nobody is kept waiting for that. As soon as clients wait
and the pool cannot grow, room is made (`make_room`), in this order:

    a held server is pinned     it leaves the pool's size, and the pool grows by one; as long as there are pins (pin_pool_size)
    a held server is given up   the ones that matter least first, then those held for longest; it goes to whoever waits. One
                                that matters is not given up in its first moments: what it is held for mostly comes at once

Under a full shared limit, and while logins fail, nothing is pinned. Whatever else wants a server back has it at the next tick
(`expire`), and pins of any other kind go before these (`yield_pin`).

What is held for, and whether its client still has a use for it, is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgpool_py.pool.actions import Action, GiveUp, LookAgain
from pgpool_py.pool.states import ClientState, ServerState
from pgpool_py.seam import Member

if TYPE_CHECKING:
    from pgpool_py.pool.pool import Pool

GRACE = 0.03  # seconds in which a server that matters is not given up for clients that wait: what a client needs to go on
PATIENCE = 3.0  # seconds; who waits for longer than this, though a login is under way, gets a held server


@dataclass(slots=True)
class Holding:
    """Why a server is held: since when, whether it matters less than others, and whether its client works at the moment."""

    since: float
    spare: bool
    busy: bool = False


def hold(pool: Pool, server: Member, since: float, spare: bool) -> bool:
    """Leave *server* to its client, which is between transactions; False where others have a better claim to it."""
    if not may_hold(pool, server):
        unhold(pool, server)
        return False
    pool.held.pop(server, None)
    pool.held[server] = Holding(since, spare)
    return True


def may_hold(pool: Pool, server: Member) -> bool:
    """Whether nobody has a better claim to *server* than the client that holds it."""
    return not (pool.paused or pool.contended or server.close_needed)


def unhold(pool: Pool, server: Member) -> None:
    """*server* is an ordinary one again."""
    if pool.held.pop(server, None) is not None and server.state is ServerState.PINNED:
        pool.unpin(server)


def make_room(pool: Pool, actions: list[Action], now: float) -> bool:
    """One server more for clients that wait where the pool is full, if something is held: pinned, so that the pool may grow
    (True), or given up."""
    inside = next((server for server, held in pool.held.items() if server.state is ServerState.ACTIVE and not held.busy), None)
    confined = bool(pool.login_error) or any(limit.full for limit in pool.limits)
    if inside is not None and not confined and len(pool.pinned) < pool.settings.pin_pool_size and pool.pin(inside):
        return True
    if inside is None and not confined:
        return False  # what is held is outside of the pool's size
    server = _least(pool)
    if server is None:
        return False
    held = pool.held[server]
    if not held.spare and now - held.since < GRACE:
        if now >= pool.look_again_at:
            pool.look_again_at = now + GRACE / 2
            actions.append(LookAgain(pool, GRACE))
        return False
    if server.state is ServerState.PINNED and inside is not None:
        # They change places: no connection is opened or closed for it.
        pool.unpin(server)
        pool.pin(inside)
    give_up(pool, server, actions)
    return False


def give_up(pool: Pool, server: Member, actions: list[Action]) -> None:
    """Have *server* back from the client that holds it."""
    unhold(pool, server)
    actions.append(GiveUp(server))


def give_up_one(pool: Pool, actions: list[Action]) -> None:
    """Have the held server back that matters least, if there is any."""
    server = _least(pool)
    if server is not None:
        give_up(pool, server, actions)


def give_up_all(pool: Pool, actions: list[Action]) -> None:
    """Have every held server back that is not at work."""
    for server in [server for server, held in pool.held.items() if not held.busy]:
        give_up(pool, server, actions)


def expire(pool: Pool, actions: list[Action], now: float) -> None:
    """Have those back that were held for too long, or that others have a better claim to."""
    for server, held in list(pool.held.items()):
        if not held.busy and (now - held.since > pool.settings.hold_time or not may_hold(pool, server)):
            give_up(pool, server, actions)
    for _ in range(pool.over_size() - pool.idle.size - pool.used.size):
        make_room(pool, actions, now)
    if pool.max_wait(now) > PATIENCE:
        give_up_one(pool, actions)


def yield_pin(pool: Pool) -> bool:
    """Make a pin free for what only a pinned server can keep: a held server goes back to the pool's size."""
    pinned = [server for server in pool.held if server.state is ServerState.PINNED]
    if not pinned:
        return False
    pool.unpin(min(pinned, key=lambda server: not pool.held[server].spare))
    return True


def pins_taken(pool: Pool, client: Member | None) -> int:
    """Pins that are not to be had, for *client*: those there are, and those that others who hold a server were promised."""
    promised = sum(other is not client and other.state is ClientState.ACTIVE for other in pool.promised)
    return len(pool.pinned) - sum(server.state is ServerState.PINNED for server in pool.held) + promised


def _least(pool: Pool) -> Member | None:
    """The held server that is given up first."""
    servers = (server for server, held in pool.held.items() if not held.busy)
    return min(servers, key=lambda server: (not pool.held[server].spare, pool.held[server].since), default=None)
