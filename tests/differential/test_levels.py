"""The two weaker levels of session_state, on scripts of every kind: what each of them promises, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential import kinds
from tests.differential.conftest import pooler_for
from tests.differential.script import Script
from tests.differential.world import World

WAYS = ("simple", "bound", "dynamic function", "RST", "Terminate in transaction")
SCRIPTS = [script for script in kinds.scripts() if script.name.split(", ")[1] in WAYS]


@pytest.fixture(scope="module")
def resetting(world: World) -> Iterator[World]:
    """The same PostgreSQL behind a pooler that only promises that nothing leaks."""
    with pooler_for(world.server, {"session_state": "reset"}) as pooler:
        made = World(world.server, pooler)
        yield made
        made.close()


@pytest.mark.parametrize("script", [pytest.param(script, id=script.name) for script in SCRIPTS])
def test_nothing_leaks_under_reset(resetting: World, script: Script) -> None:
    """Under `reset` the owner may lose its state, and nobody else ever sees it; a custom setting may stay defined, empty."""
    left = [line for line in resetting.run(script, 0.3).left_behind if "[b'placeholder'" not in line or "b'one'" in line]
    assert not left, "\n".join([script.name, str(script), *left])
