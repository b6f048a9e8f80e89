"""Reading the facts of a database as the pooler would, through psycopg."""

from __future__ import annotations

import psycopg

from pgpool_py.session.catalog import FACTS_QUERY, FINGERPRINT_QUERY, DatabaseFacts, facts_from_rows

Connection = psycopg.Connection[tuple[object, ...]]


def last_rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    """Run a text of several statements and return the rows of the last one."""
    cursor = connection.execute(query.encode())
    while cursor.nextset():
        pass
    return cursor.fetchall()


def fingerprint(connection: Connection) -> str:
    """What FINGERPRINT_QUERY says now."""
    return str(last_rows(connection, FINGERPRINT_QUERY)[0][0])


def read_facts(connection: Connection) -> DatabaseFacts:
    """The facts as the pooler would read them now."""
    before = fingerprint(connection)
    return facts_from_rows(last_rows(connection, FACTS_QUERY), before)  # type: ignore[arg-type]
