"""Who guesses passwords is slowed down, and nobody else."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pgpool_py.frontend import slowdown
from pgpool_py.frontend.gate import LoginRules, Peer
from pgpool_py.frontend.slowdown import FORGET, FREE, Slowdown
from pgwire import ErrorResponse, PasswordMessage, ReadyForQuery
from tests.frontend.fakes import FakeGate, Frontend

HERE, THERE = Peer("10.0.0.1", 1000), Peer("10.0.0.2", 1000)


def failing(times: int, now: float = 0.0) -> Slowdown:
    kept = Slowdown()
    for _ in range(times):
        kept.failed("ann", HERE, now)
    return kept


def test_the_first_mistakes_cost_nothing() -> None:
    assert failing(FREE - 1).delay("ann", HERE, 2.0, 0.0) == 0.0


def test_then_each_wait_is_twice_as_long_up_to_the_limit() -> None:
    waits = [failing(FREE + more).delay("ann", HERE, 2.0, 0.0) for more in (0, 1, 2, 3, 4, 5, 100, 100_000)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])
    assert failing(FREE + 100).delay("ann", HERE, 0.0, 0.0) == 0.0


def test_other_users_and_other_places_do_not_wait() -> None:
    kept = failing(FREE + 3)
    assert kept.delay("bob", HERE, 2.0, 0.0) == kept.delay("ann", THERE, 2.0, 0.0) == 0.0
    assert kept.delay("ann", replace(HERE, port=2000), 2.0, 0.0) > 0.0


def test_a_right_password_and_time_make_good() -> None:
    kept = failing(FREE + 3)
    assert kept.delay("ann", HERE, 2.0, FORGET + 1) == 0.0
    kept.failed("ann", HERE, FORGET + 2)  # counted from the beginning
    assert kept.delay("ann", HERE, 2.0, FORGET + 2) == 0.0
    again = failing(FREE + 3)
    again.succeeded("ann", HERE)
    assert again.delay("ann", HERE, 2.0, 0.0) == 0.0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowdown, "MAX_KEPT", 10)
    kept = Slowdown()
    for number in range(100):
        kept.failed(f"user{number}", HERE, 0.0)
    assert repr(kept) == "<Slowdown of 10>"


def test_a_guesser_waits_before_anything_is_asked(
    frontend: Frontend, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So hanging up and coming back gains nothing; another user is asked at once meanwhile."""
    monkeypatch.setattr(slowdown, "FREE", 1)
    monkeypatch.setattr(slowdown, "FIRST", 0.2)
    gate.rules = replace(LoginRules(auth_type="plain"), auth_failure_delay=0.2)
    gate.secrets["bob"] = ["his"]

    def log_in(user: str, password: str) -> object:
        with frontend.connect() as client:
            client.startup(user)
            client.event()
            client.send(PasswordMessage(password.encode()))
            return client.events(ErrorResponse)[-1] if password == "wrong" else client.events(ReadyForQuery)[-1]

    log_in("ann", "wrong")
    with frontend.connect() as guesser, frontend.connect() as other:
        started = time.monotonic()
        guesser.startup("ann")
        other.startup("bob")
        other.event()
        guesser.event()
        assert time.monotonic() - started >= 0.2
    log_in("ann", "secret")
    assert repr(gate.slowdown) == "<Slowdown of 0>"
