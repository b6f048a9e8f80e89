"""How many clients there are: all, by database entry, by user.

Counts, and refuses at a limit. Does not know the settings the limits come from, and never looks at a
socket. Every arrive() is paired with one depart(), every enter() with one leave(); an entry that falls to
zero is forgotten.
"""

from __future__ import annotations

from .errors import TooManyClients, TooManyDatabaseClients, TooManyUserClients


class ClientCounts:
    """The clients of this pooler: one arrives with its startup packet, and enters when it is logged in.

    Unlike PgBouncer's, a connection that has said nothing yet keeps nobody out: client_login_timeout ends it.
    """

    def __init__(self) -> None:
        self.total = 0
        self.by_database: dict[str, int] = {}
        self.by_user: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<ClientCounts {self.total} clients, {sum(self.by_database.values())} logged in>"

    def arrive(self, max_client_conn: int | None) -> None:
        """Count a client, or refuse it; None is no limit."""
        if max_client_conn is not None and self.total >= max_client_conn:
            raise TooManyClients
        self.total += 1

    def depart(self) -> None:
        """Take back arrive()."""
        self.total -= 1

    def enter(self, database: str, user: str, *, database_limit: int, user_limit: int) -> None:
        """Count a client as logged in, or refuse it; 0 is no limit."""
        of_database = self.by_database.get(database, 0)
        of_user = self.by_user.get(user, 0)
        if database_limit and of_database >= database_limit:
            raise TooManyDatabaseClients
        if user_limit and of_user >= user_limit:
            raise TooManyUserClients
        self.by_database[database] = of_database + 1
        self.by_user[user] = of_user + 1

    def leave(self, database: str, user: str) -> None:
        """Take back enter(); the client's connection still counts until depart()."""
        _decrement(self.by_database, database)
        _decrement(self.by_user, user)


def _decrement(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]
