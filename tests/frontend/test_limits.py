"""Counting clients."""

from __future__ import annotations

import pytest

from pgpool_py.frontend.errors import TooManyClients, TooManyDatabaseClients, TooManyUserClients
from pgpool_py.frontend.limits import ClientCounts


def test_newest_arrival_over_the_limit_is_refused() -> None:
    counts = ClientCounts()
    counts.arrive(2)
    counts.arrive(2)
    with pytest.raises(TooManyClients, match=r"^no more connections allowed \(max_client_conn\)$"):
        counts.arrive(2)
    counts.arrive(None)  # the console
    counts.depart()
    counts.depart()
    counts.arrive(2)
    assert counts.total == 2


def test_database_and_user_limits_are_separate() -> None:
    counts = ClientCounts()
    counts.enter("app", "ann", database_limit=2, user_limit=1)
    with pytest.raises(TooManyUserClients):
        counts.enter("web", "ann", database_limit=2, user_limit=1)
    counts.enter("app", "bob", database_limit=2, user_limit=1)
    with pytest.raises(TooManyDatabaseClients):
        counts.enter("app", "cy", database_limit=2, user_limit=1)
    counts.enter("web", "cy", database_limit=2, user_limit=1)


def test_refused_client_is_not_counted() -> None:
    counts = ClientCounts()
    counts.enter("app", "ann", database_limit=0, user_limit=1)
    with pytest.raises(TooManyUserClients):
        counts.enter("app", "ann", database_limit=0, user_limit=1)
    counts.leave("app", "ann")
    assert counts.by_database == {} and counts.by_user == {}


def test_zero_is_no_limit() -> None:
    counts = ClientCounts()
    for _ in range(100):
        counts.enter("app", "ann", database_limit=0, user_limit=0)
    assert repr(counts) == "<ClientCounts 0 clients, 100 logged in>"
