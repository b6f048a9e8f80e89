"""What a new server connection is asked before anybody gets it: its settings, the catalogs, and what connect_query leaves.

The connection is logged in and registered nowhere yet. *limit*: seconds for all questions of one kind, None: as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib

from pgpool_py.app.catalogs import NOT_READ, UNREADABLE
from pgpool_py.app.place import Place
from pgpool_py.backend.query import QueryFailed, Row, ask
from pgpool_py.backend.target import ServerLogin
from pgpool_py.observe.log import Log, label
from pgpool_py.relay._io import clock
from pgpool_py.session.catalog import defaults_query
from pgpool_py.session.look import Finding, question_of_start, read
from pgpool_py.session.settings import is_tracked


async def look_at_catalogs(place: Place, login: ServerLogin, limit: float | None, log: Log) -> None:
    """At each new server: what its settings are, and has the database's code changed since it was read?"""
    catalogs = place.catalogs
    query = defaults_query(login.parameters.get(b"server_version", b""))
    if catalogs is NOT_READ:
        with contextlib.suppress(QueryFailed):
            async with asyncio.timeout(limit):
                place.learn_defaults(await ask(login.sock, query))
        return
    doubts = catalogs.doubts
    defaults: list[Row] = []
    try:
        async with asyncio.timeout(limit):
            defaults += await ask(login.sock, query)
            if await catalogs.read(lambda text: ask(login.sock, text)):
                log.debug(f"catalogs of database {place.pool.database} were read")
            with contextlib.suppress(QueryFailed):  # then they pass for the clients' own
                defaults += await ask(login.sock, place.custom_defaults_query())
    except UNREADABLE as failure:
        catalogs.learn(None, clock(), doubts)
        who = label("S", 0, place.pool.database, place.pool.user, login.address)
        log.warning(f"the catalogs cannot be read, every statement on a relation costs a reset, and a connection: {failure}", who)
    place.learn_defaults(defaults)


async def run_connect_query(place: Place, login: ServerLogin, limit: float | None, log: Log) -> Finding:
    """Run connect_query on a new server; what it has left there."""
    context, query = place.context, place.entry.connect_query
    if not query or place.catalogs is NOT_READ:
        return Finding()
    before = dict(login.parameters)
    async with asyncio.timeout(limit):
        try:
            await ask(login.sock, query, login.parameters)
        except QueryFailed as failure:
            who = label("S", 0, place.pool.database, place.pool.user, login.address)
            log.warning(f"connect_query failed: {failure}", who)
        if not context.connect_query:
            # Of clients that nobody follows the reported settings are kept, as PgBouncer does.
            changed = login.parameters.items() - before.items()
            return Finding(session={name: value for name, value in changed if is_tracked(name)})
        question = question_of_start(context.connect_query, context.placeholders)
        return read(await ask(login.sock, question.text().decode("utf-8", "surrogateescape")), question)
