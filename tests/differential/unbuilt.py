"""What the pooler cannot do yet, by the words that scripts have under `needs`.

Whoever builds one takes its line out; every script that needs nothing of this table any more must then pass.
LEAKING are those that strangers can see afterwards; where nothing of it is needed, nothing leaks, marked or not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import pytest

NOT_YET: dict[str, str] = {
    "settings": "the owner loses settings that the server does not report",
    "placeholders": "a custom setting that was ever touched stays defined on its server, as an empty string",
    "startup_defaults": "RESET goes back to the server's defaults, not to the client's own",
    "sequences": "the owner loses currval and lastval",
    "role": "the owner loses SET ROLE",
    "authorization": "the owner loses SET SESSION AUTHORIZATION",
    "sql_prepare": "the owner loses SQL PREPARE",
    "catalog": "pg_prepared_statements does not show the statements of the protocol",
    "ddl": "for a second after DDL statements are judged by what the catalogs said before it",
    "cached_plan": "a statement whose columns have changed is parsed anew though the client knows the old ones",
    "temp_buffers": "a server that has had temporary tables refuses temp_buffers",
    "listen": "the owner loses LISTEN",
    "temp": "the owner loses temporary objects",
    "locks": "the owner loses session advisory locks",
    "hold": "the owner loses WITH HOLD cursors",
}
LEAKING = frozenset({"placeholders"})
BY_CHANCE = frozenset({"ddl"})  # passes when the catalogs happen to be read in time


def marks(needs: Iterable[str], among: Container[str] = NOT_YET) -> list[pytest.MarkDecorator]:
    """The mark of a script that needs what is not built, or none."""
    reasons = [NOT_YET[need] for need in sorted(needs) if need in NOT_YET and need in among]
    return [pytest.mark.xfail(reason="; ".join(reasons), strict=BY_CHANCE.isdisjoint(needs))] if reasons else []
