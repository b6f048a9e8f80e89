"""Hand-over after hand-over: many clients with different sessions take turns on few servers.

After the first message of each turn went in, PostgreSQL is asked what is in force: exactly that client's session.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.differential.script import Script, script

# How each client comes, and what it sets once.
CLIENTS = {
    "a": ("", "set work_mem = '5MB'; set datestyle = 'German'"),
    "b": (' work_mem=6MB application_name=b "options=-c enable_seqscan=off"', "set search_path = other_place, public"),
    "c": (" TimeZone=Asia/Tokyo", "set role diff_other; set application_name = 'c'"),
    "d": ("", "set app.tenant = 'one'; set app.x = 'it''s d \\ \"x\"'; set standard_conforming_strings = off"),
    "e": (" app.tenant=two client_encoding=LATIN1", "set session characteristics as transaction isolation level serializable"),
    "f": ("", "select 1"),
}


def scripts() -> Iterator[Script]:
    """Turns in an order that chance decided, with one server and with two."""
    for pool in ("one", "two"):
        for seed in range(3):
            needs = "settings, placeholders, role"
            yield script(f"rotation, pool of {pool}, {seed}", *_lines(random.Random(seed)), needs=needs, pool=pool)


def _lines(chance: random.Random) -> Iterator[str]:
    for name, (parameters, _) in CLIENTS.items():
        yield f"{name}! connect{parameters}"
    for name, (_, once) in CLIENTS.items():
        yield f"{name}: {once}"
    for _ in range(24):
        name = chance.choice(list(CLIENTS))
        begin, end = chance.choice(
            (("", ""), ("begin", "commit"), ("begin", "rollback"), ("begin; set local lock_timeout = 9", "commit"))
        )
        if begin:
            yield f"{name}: {begin}"
        if chance.random() < 0.3:
            yield f"{name}{chance.choice(':>')} {_change(chance)}"
        yield f"{name}@"
        if chance.random() < 0.2:
            yield f"{name}: select 1/0"
        if end:
            yield f"{name}: {end}"


def _change(chance: random.Random) -> str:
    number = chance.randint(1, 9)
    return chance.choice(
        (
            f"set work_mem = '{number}MB'",
            f"set application_name = 'n{number}'",
            f"select set_config('app.x', '{number}', {chance.choice(('true', 'false'))})",
            "set search_path = 'other_place'",
            "set timezone = 'Europe/Rome'",
        )
    )
