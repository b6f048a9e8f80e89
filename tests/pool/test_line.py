"""The lists of a pool keep their order, whoever leaves."""

from __future__ import annotations

import random

import pytest

from pgpool_py.pool.pool import Pool
from pgpool_py.pool.states import ServerState
from tests.pool.world import World

MOVES = [ServerState.ACTIVE, ServerState.IDLE, ServerState.USED, ServerState.TESTED, ServerState.BEING_CANCELED]


@pytest.mark.parametrize("seed", range(5))
def test_lists_are_in_order_of_arrival(world: World, seed: int) -> None:
    """Against plain lists, over random moves."""
    choose = random.Random(seed)
    pool: Pool = world.pool()
    servers = world.idle_servers(pool, 6)
    expected = {state: list(servers) if state is ServerState.IDLE else [] for state in MOVES}
    lists = dict(zip(MOVES, (pool.active, pool.idle, pool.used, pool.tested, pool.being_canceled), strict=True))
    for _ in range(200):
        server, state = choose.choice(servers), choose.choice(MOVES)
        expected[server.state].remove(server)
        expected[state].append(server)
        pool.move(server, state)
        for each, line in lists.items():
            assert list(line) == expected[each]
            assert list(reversed(line)) == expected[each][::-1]
            assert len(line) == len(expected[each])
            assert line.first() is (expected[each][0] if expected[each] else None)
            assert line.last() is (expected[each][-1] if expected[each] else None)
            assert (server in line) is (each is state)
