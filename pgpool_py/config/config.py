"""A whole configuration, and which level of it decides: user, then database, then [pgbouncer].

Knows what was loaded and answers questions about it. Does not read files (load.py) and does not compare two
of them (reload.py).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pgpool_py.auth.hba import Hba
from pgpool_py.auth.ldap_options import LdapOptions
from pgpool_py.auth.userlist import UserList
from pgpool_py.config.errors import Origin
from pgpool_py.config.models import DatabaseSettings, PeerSettings, PgBouncerSettings, UserSettings
from pgpool_py.config.values import PoolMode

FALLBACK = "*"
ADMIN_DATABASE = "pgbouncer"

# What the entries call a setting of [pgbouncer] that has another name there.
_GLOBAL_NAMES = {"pool_size": "default_pool_size"}


class Config(BaseModel):
    """Everything the files say, immutable. Key "*" of `databases` is the fallback."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    path: str = ""
    pgbouncer: PgBouncerSettings = Field(default_factory=PgBouncerSettings)
    databases: dict[str, DatabaseSettings] = Field(default_factory=dict)
    users: dict[str, UserSettings] = Field(default_factory=dict)
    peers: dict[int, PeerSettings] = Field(default_factory=dict)
    userlist: UserList = Field(default_factory=UserList)
    hba: Hba = Field(default_factory=Hba)
    ldap: LdapOptions | None = None
    # What is wrong in a file and does not keep it from being used; for the log.
    warnings: tuple[str, ...] = ()
    # (section, key or entry) -> where it was written last.
    origins: dict[tuple[str, str], Origin] = Field(default_factory=dict, repr=False)

    def find_database(self, name: str) -> DatabaseSettings | None:
        """The entry for what a client asks for, its own or made from "*", with `name` and `dbname` filled"
        " in."""
        entry = self.databases.get(name) or self.databases.get(FALLBACK)
        if entry is None:
            return None
        return entry.model_copy(update={"name": name, "dbname": entry.dbname or name})

    def pool_user(self, database: DatabaseSettings, user: str) -> str:
        """The user a client of *database* is on the server: the forced one, else its own."""
        return database.user or user

    def effective(self, database: DatabaseSettings | str | None, user: str | None, key: str) -> Any:
        """The value of *key* (the entries' name for it, such as "pool_size") for this database and user.

        For a pool, *user* is the pool's (see `pool_user`); for a client's own timeouts and limits, the
        client's.
        """
        if isinstance(database, str):
            database = self.find_database(database)
        for entry in (self.users.get(user) if user is not None else None, database):
            value = getattr(entry, key, None)
            if value is not None:
                return value
        return getattr(self.pgbouncer, _GLOBAL_NAMES.get(key, key))

    def pool_mode(self, database: DatabaseSettings | str, user: str) -> PoolMode:
        """The pool mode of the pool (database, user)."""
        mode = self.effective(database, user, "pool_mode")
        assert isinstance(mode, PoolMode)
        return mode

    def pool_size(self, database: DatabaseSettings | str, user: str) -> int:
        """How many servers the pool may have; 0 is no limit."""
        return int(self.effective(database, user, "pool_size"))

    def min_pool_size(self, database: DatabaseSettings | str) -> int:
        """How many servers the database's pools keep open."""
        return int(self.effective(database, None, "min_pool_size"))

    def reserve_pool_size(self, database: DatabaseSettings | str, user: str) -> int:
        """How many servers beyond its size the pool may have."""
        return int(self.effective(database, user, "reserve_pool_size"))

    def query_wait_timeout(self, database: DatabaseSettings | str, user: str) -> float:
        """How long a client of the pool waits for a server; 0 is for ever."""
        return float(self.effective(database, user, "query_wait_timeout"))

    def server_lifetime(self, database: DatabaseSettings | str) -> float:
        """At what age the database's servers are closed."""
        return float(self.effective(database, None, "server_lifetime"))

    def max_db_connections(self, database: DatabaseSettings | str) -> int:
        """How many servers the database may have in all; 0 is no limit."""
        return int(self.effective(database, None, "max_db_connections"))

    def max_user_connections(self, user: str) -> int:
        """How many servers the user may have in all; 0 is no limit."""
        return int(self.effective(None, user, "max_user_connections"))
