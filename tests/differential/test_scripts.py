"""Every script twice: on direct connections, and through the pooler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential import kinds, rotation
from tests.differential.script import Script, read_scripts
from tests.differential.unbuilt import LEAKING, marks
from tests.differential.world import World

SCRIPTS = [script for path in sorted(Path(__file__).with_name("scripts").glob("*.txt")) for script in read_scripts(path)]
SCRIPTS += [*kinds.scripts(), *rotation.scripts()]

PATIENCE = 10.0
SHORT_PATIENCE = 0.3  # for what is known to fail


def patience(script: Script) -> float:
    return SHORT_PATIENCE if marks(script.needs) else PATIENCE


@pytest.mark.parametrize("script", [pytest.param(s, id=s.name, marks=marks(s.needs)) for s in SCRIPTS])
def test_answers_are_those_of_direct_connections(world: World, script: Script) -> None:
    """Each step is answered through the pooler as it is on connections of the clients' own."""
    found = world.outcome(script, patience(script)).differences
    assert not found, "\n".join(found)


@pytest.mark.parametrize("script", [pytest.param(s, id=s.name, marks=marks(s.needs, LEAKING)) for s in SCRIPTS])
def test_next_client_finds_a_new_session(world: World, script: Script) -> None:
    """Whatever a script did, strangers find on each server of the pool what a new session has, and nothing else."""
    left = world.outcome(script, patience(script)).left_behind
    assert not left, "\n".join([script.name, str(script), *left])
