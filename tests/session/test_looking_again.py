"""When the catalogs are looked at again: at once where statements are in doubt, else for a share of a server's time."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from pgpool_py.app.catalogs import CHANGED_INTERVAL, CHANGED_SHARE, Catalogs
from pgpool_py.session.catalog_queries import FINGERPRINT_QUERY
from pgpool_py.session.statements import SessionContext
from pgpool_py.session.verdict import UNINFORMED


def test_a_look_that_takes_long_is_taken_less_often() -> None:
    """After code that may have changed them; not after DDL, which leaves everybody's statements in doubt until then."""
    cost = 1.0

    async def ask(text: str) -> list[tuple[bytes | None, ...]]:
        return [(b"as before", b"%f" % cost)] if text == FINGERPRINT_QUERY else []

    context = SessionContext(UNINFORMED, lambda types: 0)
    place = Mock(context=context)
    catalogs = Catalogs(users=[place])
    asyncio.run(catalogs.read(ask))
    context.facts_stale = True
    assert not catalogs.due(catalogs.read_at + 0.9 * cost / CHANGED_SHARE)
    assert catalogs.due(catalogs.read_at + 1.1 * cost / CHANGED_SHARE)
    client = Mock(makes=0, makes_settings=frozenset(), makes_events=False)
    catalogs.doubt(client)
    assert not catalogs.due(catalogs.read_at + 1000)  # it is not committed
    catalogs.settle(client)
    assert catalogs.due(catalogs.read_at + 1.1 * CHANGED_INTERVAL)
