"""Requests right behind each other: several in one write, the way a driver's pipeline sends them, or cut anywhere.

Chance makes the scripts; each is played one request at a time, pipelined, and in two segments.
PGPOOL_PY_EXPLORE=1000 plays that many, beginning with the seed of PGPOOL_PY_SEED.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

import pytest

from tests.differential.script import Script, script
from tests.differential.world import World

EXPLORE = int(os.environ.get("PGPOOL_PY_EXPLORE", "0"))
FIRST = int(os.environ.get("PGPOOL_PY_SEED", "0"))
SCRIPTS = EXPLORE or 15
WAYS = ("one by one", "pipelined", "in segments")

CLIENTS = {"a": "", "b": " work_mem=2MB application_name=new", "c": ""}
TEXTS = """
    select 1
    select 1/0
    select date '1.2.2003'
    show work_mem
    show datestyle
    show application_name
    begin
    commit
    rollback
    savepoint s
    rollback to s
    set work_mem = '5MB'
    set local work_mem = '9MB'
    reset work_mem
    set datestyle = 'German'
    set local datestyle = 'German'
    set application_name = 'Mine'
    reset application_name
    reset all
    discard all
    deallocate all
    deallocate s1
    set app.x = 'one'
    select current_setting('app.x', true)
    select set_config('work_mem', '7MB', false)
    select set_memory('3MB')
    select n from generate_series(1, 3) n
    copy (select 1) to stdout
    /* a comment */ Set work_mem = '4MB'
    SELECT /* set work_mem = '1MB' */ 1 -- of course
    /* deallocate */ Discard /* what? */ All
    /* one */ deallocate /* of them */ s2
    select run('select set_config(''app.' || 'y'', ''1'', false)')
    select current_setting('app.y', true)
    select run(c) from (values ('select set_config(''app.z'', ''1'', false)')) v (c)
    select current_setting('app.' || 'z', true)
    select run('set work_mem = ''6MB''')
    do $$ begin perform set_config('datestyle', 'SQL', false); end $$
    create temp table scratch as select 1 as n
    select * from scratch
    drop table scratch
    discard temp
    select pg_try_advisory_lock(1)
    select pg_advisory_unlock_all()
    prepare plan as select 'planned'
    execute plan
    execute s1
    deallocate plan
    select name, from_sql from pg_prepared_statements order by 1
    listen news
    select c from pg_listening_channels() c order by 1
    unlisten *
""".strip().splitlines()
ONCE = [text.strip() for text in TEXTS]
COPIES = ("copy scratch from stdin", "copy nowhere from stdin")
ENDS = ("commit", "rollback")
NAMING = re.compile(r".*(execute|deallocate)", re.DOTALL)


def request(chance: random.Random, name: str) -> str:
    """A Query or a batch; but for who started with settings no EXECUTE of a RESET: that leads elsewhere (docs/sessions.md)."""
    made = any_request(chance)
    return ": select 1" if CLIENTS[name] and "execute s1" in made else made


def any_request(chance: random.Random) -> str:
    if chance.random() < 0.05:
        return chance.choice(("< ", "<> ")) + chance.choice(COPIES)
    if chance.random() < 0.4:
        texts = [chance.choice(ONCE) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        if any(text in ENDS for text in texts):
            texts = [text for text in texts if not NAMING.match(text)]  # behind the end of a failed block (docs/sessions.md)
        return ": " + "; ".join(texts)
    return "> " + " ;; ".join(message(chance) for _ in range(chance.choice((1, 1, 2, 3))))


def message(chance: random.Random) -> str:
    """A statement of a batch: without a name, with one, one that is there already; or its end."""
    name = chance.choice(("s1", "s2"))
    portal = chance.choice(("p1", "p2"))
    text = chance.choice(ONCE)
    if (name, text) == ("s1", "discard all"):
        text = "select 1"  # EXECUTE refuses it, in words that depend on what ran ahead in the batch
    return chance.choice(
        (
            chance.choice(ONCE),
            chance.choice(ONCE),
            f"[{name}] {text}",
            f"[-{name}] ;; [{name}] {text}",
            f"[={name}]",
            f"[!{name}]",
            f"[-{name}]",
            "[=]",
            f"({portal}<{name}) ;; ({portal})",
            f"[{name}] {text} ;; ({portal}<{name}) ;; (?{portal}) ;; ({portal} 1) ;; ({portal})",
            f"({portal}<{chance.choice((name, ''))})",
            f"({portal})",
            f"({portal} 1)",
            f"(-{portal})",
        )
    )


def lines(chance: random.Random, way: str) -> Iterator[str]:
    for name, parameters in CLIENTS.items():
        yield f"{name}! connect{parameters}"
    for _ in range(10):
        name = chance.choice(list(CLIENTS))
        requests = [request(chance, name) for _ in range(chance.randint(1, 5))] + [": rollback"]
        cut = chance.randint(1, 99)
        if way == "one by one":
            yield from [name + each for each in requests]
        else:
            yield f"{name}{'|' if way == 'pipelined' else f'/{cut}'} {' || '.join(requests)}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pool", ["one", "two"])
def test_pipelines_are_answered_as_on_direct_connections(world: World, way: str, pool: str) -> None:
    """Whatever is sent behind what, each request is answered as on a connection of the client's own, and nothing is left."""
    found: list[str] = []
    for seed in range(FIRST, FIRST + SCRIPTS):
        made: Script = script(f"{way}, seed {seed}", *lines(random.Random(seed), way), pool=pool)
        outcome = world.run(made, 10.0)
        found += [*outcome.differences, *outcome.left_behind]
        if found and not EXPLORE:
            break
    assert not found, "\n".join(found)
