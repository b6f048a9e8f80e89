"""Fixtures: a world with a fake clock."""

from __future__ import annotations

import pytest

from tests.pool.world import World


@pytest.fixture
def world() -> World:
    return World()
