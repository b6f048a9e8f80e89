"""auth_query: asks a server for the secret of a user that auth_file does not have.

Knows which database and user ask, and what an answer must look like. The question runs on connections that no client
ever gets, and nothing a client says reaches them but the name, as a bound parameter (CVE-2025-12819). An answer is for
one login; it is asked anew at the next, so a changed password counts at once.
"""

from __future__ import annotations

from collections.abc import Callable

from pgpool_py.app.broker import Broker
from pgpool_py.app.errand import ErrandFailed
from pgpool_py.app.place import Place
from pgpool_py.backend.query import QueryFailed, Row
from pgpool_py.config import ADMIN_DATABASE, DatabaseSettings
from pgpool_py.config.groups.authentication import DEFAULT_AUTH_QUERY
from pgpool_py.frontend.errors import LoginRefused

PINNED = {b"search_path": b"pg_catalog, pg_temp"}
CONFIG_ERROR = "bouncer config error"
# Names that are no text in the database's encoding: nobody has them.
_NOT_A_NAME = ("22021", "22P05")


class ConfigProblem(LoginRefused):
    """The client is told no more than that; the log has the reason."""

    sqlstate = "F0000"

    def __init__(self, explanation: str) -> None:
        super().__init__(CONFIG_ERROR, explanation=explanation)


class NotTheUsers(Exception):
    """What the query gave is not about the user who was asked for: nobody is known by it. The text says what it gave."""


class AuthQuery:
    """Looks users up. *place_for* gives the place of an entry and a user that serves nothing else, *forget* gives it up."""

    def __init__(
        self,
        broker: Broker,
        place_for: Callable[[DatabaseSettings, str], Place],
        forget: Callable[[Place], None],
    ) -> None:
        self._broker = broker
        self._place_for = place_for
        self._forget = forget

    def user_for(self, entry: DatabaseSettings | None) -> str:
        """Who asks for users of *entry* (None: of the console); empty when nobody does."""
        main = self._broker.config.pgbouncer
        if entry is None:
            return main.auth_user if main.auth_dbname else ""
        return entry.auth_user or main.auth_user

    async def ask(self, user: str, entry: DatabaseSettings | None) -> list[str] | None:
        """The secrets of *user*, none if it has no password, or None for an unknown user. Raises LoginRefused."""
        try:
            return await self.look_up(user, entry)
        except NotTheUsers as what:
            self._broker.log.warning(f'auth_query gave {what} for user "{user}": taken for an unknown user')
            return None

    async def look_up(self, user: str, entry: DatabaseSettings | None) -> list[str] | None:
        """The same; but NotTheUsers where there is more to say than that the user is unknown."""
        main = self._broker.config.pgbouncer
        asker = self.user_for(entry)
        if not asker:
            return None
        text = (entry.auth_query if entry is not None else None) or main.auth_query
        place = self._place_for(self._where(entry), asker)
        # A query of the operator's own may rely on the search_path of auth_user's role; the built-in one need not.
        table = place.context.table
        settings = table.get(PINNED) if text == DEFAULT_AUTH_QUERY else table.empty
        try:
            rows, _ = await self._broker.errand(place, text, settings, (user.encode("utf-8", "surrogateescape"),))
        except QueryFailed as failure:
            if failure.error.code in _NOT_A_NAME:
                return None
            raise ConfigProblem(f"auth_query failed: {failure.error.code} {failure.error.message}") from None
        except ErrandFailed as failure:
            if place.entry.name not in self._broker.config.databases:
                self._forget(place)  # made from "*" for a name that anybody may have invented
            raise LoginRefused(str(failure), explanation="no server for auth_query") from None
        return self._secrets(user, rows)

    def _where(self, entry: DatabaseSettings | None) -> DatabaseSettings:
        """The entry in which the query runs."""
        config = self._broker.config
        name = (entry.auth_dbname if entry is not None else None) or config.pgbouncer.auth_dbname
        if not name:
            assert entry is not None
            return entry
        found = config.find_database(name) if name != ADMIN_DATABASE else None
        if found is None:
            raise ConfigProblem(f'authentication database "{name}" is not configured.')
        return found

    @staticmethod
    def _secrets(user: str, rows: list[Row]) -> list[str] | None:
        """What *rows* say of *user*. Never anybody else's identity: that was CVE-2015-6817."""
        if not rows:
            return None
        if any(len(row) != 2 for row in rows):
            raise ConfigProblem(f"auth_query must give a name and a secret, it gave {len(rows[0])} columns")
        name = rows[0][0]
        if len(rows) > 1 or name != user.encode("utf-8", "surrogateescape"):
            raise NotTheUsers(
                f"{len(rows)} rows" if len(rows) > 1 else "another user's row" if name else "a row without a name"
            )
        secret = rows[0][1]
        return [] if secret is None else [secret.decode("utf-8", "surrogateescape")]
