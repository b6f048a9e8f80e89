"""Limits that several pools share: max_db_connections and max_user_connections.

A limit counts servers from the moment their connection is started until they leave their pool. It knows which
pools share it and which of them have clients waiting only because of it, and picks who must give way:

1. an idle server of another pool is closed at once, the one unused for longest first (evict_for);
2. no idle one: a pool that gets a server back gives its place up when the oldest blocked client of another
   pool has waited clearly longer than its own oldest (owed_place). A server cannot change its user or
   database, so this costs a login; the three YIELD constants keep busy pools from passing one place to and
   fro. Chosen by simulation (tests/pool/test_fairness.py): without YIELD_AGE the waits are as fair and a
   sixth of the servers' time goes into logins.

Sockets and the pools' own sizes are not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgpool_py.seam import Member

if TYPE_CHECKING:
    from pgpool_py.pool.pool import Pool

YIELD_RATIO = 1.5  # how much longer another pool's client must have waited than our own oldest
YIELD_AGE = 0.25  # seconds a server serves a busy pool before it may be given up: this bounds the logins
YIELD_FLOOR = 0.010  # seconds, about what a login costs; shorter waits never take a place from a busy pool


class Limit:
    """At most `maximum` servers over all its pools; 0 = no limit."""

    __slots__ = ("blocked", "count", "maximum", "name", "pools")

    def __init__(self, name: str, maximum: int = 0) -> None:
        self.name = name
        self.maximum = maximum
        self.count = 0  # servers and started connections of all the pools
        self.pools: list[Pool] = []
        self.blocked: dict[Pool, None] = {}  # pools whose waiting clients need a place under this limit

    def __repr__(self) -> str:
        of = self.maximum if self.maximum else "unlimited"
        blocked = f"; {len(self.blocked)} blocked" if self.blocked else ""
        return f"<Limit {self.name} {self.count}/{of}{blocked}>"

    @property
    def full(self) -> bool:
        return 0 < self.maximum <= self.count

    @property
    def exceeded(self) -> bool:
        """More are counted than may be: a place is reserved that is not free yet."""
        return 0 < self.maximum < self.count

    def blocked_besides(self, pool: Pool) -> bool:
        """Whether other pools than this one are blocked."""
        return len(self.blocked) > (pool in self.blocked)

    def block(self, pool: Pool) -> None:
        """Clients of *pool* wait only because this limit is full."""
        if pool not in self.blocked:
            self.blocked[pool] = None
            self._tell(pool)

    def unblock(self, pool: Pool) -> None:
        if pool in self.blocked:
            del self.blocked[pool]
            self._tell(pool)

    def _tell(self, pool: Pool) -> None:
        # The first blocked pool concerns all others, a second one also the first; a third is no news.
        count = len(self.blocked)
        for each in [*self.pools] if count <= 1 else [*self.blocked, pool] if count == 2 else [pool]:
            each.see_limits()


def least_recently_used(limit: Limit, not_of: Pool | None) -> Member | None:
    """The server that has been unused for longest among the pools of *limit* other than *not_of*."""
    oldest = None
    for pool in limit.pools:
        if pool is not_of:
            continue
        for servers in (pool.surplus, pool.used, pool.idle):
            # All are in the order of release, so the first is the oldest.
            first = servers.first()
            if first is not None and (oldest is None or first.request_time < oldest.request_time):
                oldest = first
    return oldest


def evict_for(pool: Pool) -> list[Member] | None:
    """Make a place under all limits of *pool*: the servers taken out of other pools, None if it cannot be."""
    if any(limit.full and least_recently_used(limit, pool) is None for limit in pool.limits):
        return None  # do not close one server for the first limit when the second stays full
    evicted = []
    for limit in pool.limits:
        while limit.full:
            server = least_recently_used(limit, pool)
            if server is None:
                break
            server.pool.remove(server)
            evicted.append(server)
    return evicted


def evict_surplus(limits: tuple[Limit, ...]) -> list[Member]:
    """The unused servers, taken out of their pools, by which these limits are exceeded; as far as there are any."""
    evicted = []
    for limit in limits:
        while limit.exceeded and (server := least_recently_used(limit, None)) is not None:
            server.pool.remove(server)
            evicted.append(server)
    return evicted


def owed_place(pool: Pool, server: Member, now: float) -> Pool | None:
    """The other pool whose waiting client should get the place of *server*, just released to *pool*."""
    best = None
    longest = -1.0
    if pool.waiting:
        if now - server.connect_time < YIELD_AGE:
            return None
        longest = max(pool.max_wait(now) * YIELD_RATIO, YIELD_FLOOR)
    for limit in pool.limits:
        if not limit.full:
            continue
        for other in limit.blocked:
            if other is pool or not other.waiting:
                continue
            wait = other.max_wait(now)
            if wait > longest and other.wants_launch(now) and _helps(pool, other):
                best, longest = other, wait
    return best


def _helps(pool: Pool, other: Pool) -> bool:
    """Whether one server less in *pool* makes room in every full limit of *other*."""
    return all(limit in pool.limits and limit.count == limit.maximum for limit in other.limits if limit.full)
