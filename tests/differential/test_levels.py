"""The two weaker levels of session_state, on scripts of every kind: what each of them promises, and no more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.differential import kinds
from tests.differential.conftest import pooler_for
from tests.differential.player import differences
from tests.differential.script import Script
from tests.differential.world import DIRECT, POOLED, World

WAYS = ("simple", "bound", "dynamic function", "RST", "Terminate in transaction")
SCRIPTS = [s for s in kinds.scripts() if s.name.split(", ")[1] in WAYS or s.name.startswith("custom")]

# Debian's PgBouncer 1.18 knows no statements of the protocol. What newer ones follow too is left out, as is application_name,
# which PgBouncer leaves to a client that came without one.
NEWER = ("reported", "characteristics", "authorization")
LIKE_PGBOUNCER = [
    script
    for script in kinds.scripts()
    if script.name.split(", ")[1] in ("simple", "Terminate") and not script.name.startswith(NEWER)
]


@pytest.fixture(scope="module")
def resetting(world: World) -> Iterator[World]:
    """The same PostgreSQL behind a pooler that only promises that nothing leaks."""
    with pooler_for(world.server, {"session_state": "reset"}) as pooler:
        made = World(world.server, pooler)
        yield made
        made.close()


@pytest.mark.parametrize("script", [pytest.param(script, id=script.name) for script in SCRIPTS])
def test_nothing_leaks_under_reset(resetting: World, script: Script) -> None:
    """Under `reset` the owner may lose its state, and nobody else ever sees it, nor that there was any."""
    left = resetting.run(script, 0.3).left_behind
    assert not left, "\n".join([script.name, str(script), *left])


def test_who_touched_a_custom_setting_keeps_its_server_under_reset(resetting: World) -> None:
    """By text and by code that can be read: a server is exchanged for strangers only."""
    connect = resetting.pooled("one")
    with connect() as owner, connect() as other:
        for make in ("set local app.x = 'one'", "select set_config('app.y', 'one', false)", "select set_tenant('one')"):
            owner.query(f"begin; {make}; commit")
            server = owner.ask("select pg_backend_pid()")
            for _ in range(3):
                owner.query(f"begin; {make}; commit")
                assert owner.ask("select pg_backend_pid()") == server
        assert other.ask("select count(current_setting(n, true)) from unnest('{app.x,app.y,app.tenant}'::text[]) n") == "0"
        assert other.ask("select pg_backend_pid()") != server
        server = other.ask("select pg_backend_pid()")
        other.query("do $$ begin perform count(*) from plain; end $$")
        assert other.ask("select pg_backend_pid()") == server


PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture(scope="module")
def peers(world: World) -> Iterator[tuple[World, World]]:
    """PgBouncer itself, and this pooler as it; behind each a database of its own."""
    assert PGBOUNCER is not None
    with pooler_for(world.server, {}, [PGBOUNCER], DIRECT) as original:
        with pooler_for(world.server, {"session_state": "pgbouncer"}) as ours:
            made = World(world.server, original), World(world.server, ours)
            yield made
            for each in made:
                each.close()


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize("script", [pytest.param(script, id=script.name) for script in LIKE_PGBOUNCER])
def test_level_pgbouncer_is_pgbouncer(peers: tuple[World, World], script: Script) -> None:
    """Under `pgbouncer` each step is answered as PgBouncer answers it, leaks included."""
    newer = "select current_setting('server_version_num')::int >= 180000"
    if script.name.startswith("search_path") and peers[0].janitors[0].ask(newer) == "t":
        pytest.skip("this server reports it, and newer versions of PgBouncer follow it then")
    for world, database in zip(peers, (DIRECT, POOLED), strict=True):
        world.make_equal(str(script))
        world.start_anew(database)
    right, ours = (world.play(script, world.pooled("one"), 0.3) for world in peers)
    found = differences(script, right, ours)
    assert not found, "\n".join(found)
