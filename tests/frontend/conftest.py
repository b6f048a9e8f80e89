"""Fixtures: a gate, a running frontend, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.frontend.fakes import FakeGate, Frontend

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture
def gate() -> FakeGate:
    """Database app; the user ann with the password secret."""
    return FakeGate(secrets={"ann": ["secret"]})


@pytest.fixture(params=LOOPS)
def frontend(request: pytest.FixtureRequest, gate: FakeGate) -> Iterator[Frontend]:
    with Frontend(gate, LOOPS[request.param]) as running:
        yield running
