"""What the pair acquire and release costs in the common case, one call each from Python."""

from __future__ import annotations

import time

import pytest

from pgpool_py.pool import pool as module
from tests.pool.world import World

COMPILED = not module.__file__.endswith(".py")


@pytest.mark.benchmark
@pytest.mark.skipif(not COMPILED, reason="pool.py runs interpreted")
def test_acquire_and_release_stay_cheap(world: World) -> None:
    """Measured 0.25 µs for the pair with the loop around it; the bound leaves room for a busy machine."""
    pool = world.pool()
    world.idle_servers(pool, 20)
    client = world.client(pool)
    acquire, release, now, pairs = pool.acquire, pool.release, world.now, 50_000
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(pairs):
            server = acquire(client, now)
            assert server is not None
            release(server, now)
        best = min(best, (time.perf_counter() - start) / pairs)
    assert best < 0.8e-6, f"{best * 1e9:.0f} ns"
