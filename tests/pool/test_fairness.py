"""Users who share one limit wait alike, and the limit is used for work, not for logins."""

from __future__ import annotations

import pytest

from tests.pool.simulation import Load, Simulation

LOADS = {
    "equals": [
        Load("ann", 30, 0.010),
        Load("bob", 30, 0.010),
        Load("cyd", 30, 0.010),
        Load("dan", 30, 0.010),
    ],
    "one crowd": [Load("ann", 200, 0.010), Load("bob", 10, 0.010), Load("cyd", 10, 0.010)],
    "short and long": [Load("ann", 60, 0.002), Load("bob", 60, 0.050)],
    "latecomer": [Load("ann", 100, 0.010), Load("bob", 20, 0.010, starts_at=5.0)],
    "thinkers": [
        Load("ann", 100, 0.010),
        Load("bob", 50, 0.010, think=0.5),
        Load("cyd", 3, 0.010, think=0.1),
    ],
}


@pytest.mark.parametrize("loads", LOADS.values(), ids=LOADS)
def test_users_of_one_limit_wait_alike(loads: list[Load]) -> None:
    result = Simulation(loads, limit=20, login=0.010, seed=1).run(seconds=20.0, warm_up=8.0)
    assert result.ratio < 2.0, result
    assert result.use > 0.9, result
    assert result.logins < 2000, result  # 100 a second, over 20 servers


def test_more_clients_than_servers_lose_nothing() -> None:
    """pgdog #1361: throughput collapsed as soon as one more client came than there are servers."""
    crowds = (20, 22, 40, 1000)
    uses = [Simulation([Load("ann", crowd, 0.010)], limit=20, login=0.010, seed=2).run(3.0, 1.0).use for crowd in crowds]
    assert min(uses) > 0.9 * max(uses), dict(zip(crowds, uses, strict=True))
    assert min(uses) > 0.9
