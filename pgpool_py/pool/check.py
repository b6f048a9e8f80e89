"""Checks that a pool's books are right; for tests, and for anybody who doubts them."""

from __future__ import annotations

from pgpool_py.pool.limits import Limit
from pgpool_py.pool.pool import Pool
from pgpool_py.pool.states import ClientState, ServerState


def check_invariants(pool: Pool) -> None:
    """Raise AssertionError unless every server is in the one list of its state and every count is exact."""
    lists = {
        ServerState.ACTIVE: pool.active,
        ServerState.IDLE: pool.idle,
        ServerState.PINNED: pool.pinned,
        ServerState.SURPLUS: pool.surplus,
        ServerState.USED: pool.used,
        ServerState.TESTED: pool.tested,
        ServerState.BEING_CANCELED: pool.being_canceled,
    }
    seen = set()
    for state, servers in lists.items():
        for server in servers:
            assert server.state is state, f"a server in {state} is {server.state}"
            assert server.pool is pool, "a server belongs to another pool"
            assert server not in seen, "a server is in two lists"
            seen.add(server)
    assert pool.connected_count() + len(pool.pinned) + len(pool.surplus) == len(seen)
    assert all(server in pool.active or server in pool.pinned for server in pool.held), "a held server is nobody's"
    assert pool.connecting >= 0
    assert all(client.state is ClientState.WAITING for client in pool.waiting)
    starts = [client.wait_start for client in pool.waiting]
    assert starts == sorted(starts), "the queue is out of order"
    assert not pool.waiting or all(server.close_needed for server in pool.idle), "a client waits for nothing"
    assert not (pool.paused and (pool.surplus or pool.idle or pool.used)), "a paused pool keeps unused servers"


def check_limit(limit: Limit) -> None:
    """Raise AssertionError unless the limit counts its pools exactly."""
    assert limit.count == sum(pool.server_count() for pool in limit.pools), repr(limit)
    for pool in limit.blocked:
        assert pool in limit.pools
        assert pool.waiting, f"{pool!r} is blocked and nobody waits"
    for pool in limit.pools:
        assert pool.contended == any(each.blocked_besides(pool) for each in pool.limits)
        assert pool.blocked == any(pool in each.blocked for each in pool.limits)
        assert pool.special or not pool.contended
