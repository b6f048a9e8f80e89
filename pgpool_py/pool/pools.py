"""All pools by database entry and user, with the limits they share.

Finds or makes a pool, runs the janitor over all of them, and passes orders on. It does not read the
configuration: the caller gives resolved settings and the values of the two limits.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgpool_py.pool.actions import Action
from pgpool_py.pool.limits import Limit
from pgpool_py.pool.pool import Pool
from pgpool_py.pool.settings import PoolSettings


class Pools:
    def __init__(self) -> None:
        # The third part tells pools for clients (False) from those for questions of our own (True).
        self._pools: dict[tuple[str, str, bool], Pool] = {}
        self._database_limits: dict[str, Limit] = {}  # max_db_connections, by database entry
        self._user_limits: dict[str, Limit] = {}  # max_user_connections, by user

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def __len__(self) -> int:
        return len(self._pools)

    def __repr__(self) -> str:
        waiting = sum(len(pool.waiting) for pool in self)
        servers = sum(pool.server_count() for pool in self)
        return f"<Pools {len(self)}: {servers} servers, {waiting} waiting>"

    def find(self, database: str, user: str, *, own: bool = False) -> Pool | None:
        return self._pools.get((database, user, own))

    def get(self, database: str, user: str, settings: PoolSettings, *, own: bool = False) -> Pool:
        """The pool of that entry and user, made with these settings if there is none; *own* is for no clients."""
        pool = self._pools.get((database, user, own))
        if pool is None:
            limits = (self.database_limit(database), self.user_limit(user))
            pool = self._pools[database, user, own] = Pool(database, user, settings, limits)
        return pool

    def of_database(self, database: str | None) -> list[Pool]:
        """The pools of one entry, or all pools for None."""
        return [pool for pool in self if database is None or pool.database == database]

    def database_limit(self, database: str) -> Limit:
        """The limit max_db_connections of an entry; set its `maximum`."""
        if database not in self._database_limits:
            self._database_limits[database] = Limit(f"max_db_connections of {database}")
        return self._database_limits[database]

    def user_limit(self, user: str) -> Limit:
        """The limit max_user_connections of a user; set its `maximum`."""
        if user not in self._user_limits:
            self._user_limits[user] = Limit(f"max_user_connections of {user}")
        return self._user_limits[user]

    def tick(self, now: float) -> list[Action]:
        """Maintenance of all pools, those with the longest waiting client first."""
        actions: list[Action] = []
        for pool in sorted(self, key=lambda pool: -pool.max_wait(now)):
            actions.extend(pool.tick(now))
        return actions

    def pause(self, database: str | None = None) -> list[Action]:
        """PAUSE, and the start of a shutdown that waits for servers."""
        return [action for pool in self.of_database(database) for action in pool.pause()]

    def resume(self, now: float, database: str | None = None) -> list[Action]:
        return [action for pool in self.of_database(database) for action in pool.resume(now)]

    def reconnect(self, now: float, database: str | None = None) -> list[Action]:
        return [action for pool in self.of_database(database) for action in pool.reconnect(now)]

    def kill(self, reason: str, now: float, database: str | None = None) -> list[Action]:
        """Drop all servers and waiting clients; the pools stay."""
        return [action for pool in self.of_database(database) for action in pool.kill(reason, now)]

    def fail_waiting(self, message: str, now: float, database: str | None = None) -> list[Action]:
        """Fail every client in the queues, for example with "server shutting down"."""
        return [action for pool in self.of_database(database) for action in pool.fail_waiting(message, now)]

    def busy_count(self, database: str | None = None) -> int:
        """Servers that PAUSE waits for: every one that is connected or being connected."""
        return sum(pool.server_count() for pool in self.of_database(database))

    def close_needed_count(self, database: str | None = None) -> int:
        """Servers that WAIT_CLOSE waits for."""
        return sum(server.close_needed for pool in self.of_database(database) for server in pool.servers())

    def discard(self, pool: Pool) -> None:
        """Forget an empty pool."""
        if pool.server_count() or pool.waiting or pool.clients:
            raise RuntimeError(f"not empty: {pool!r}")
        for limit in pool.limits:
            limit.pools.remove(pool)
        key = (pool.database, pool.user, self._pools.get((pool.database, pool.user, False)) is not pool)
        del self._pools[key]
        # Names come from clients where "*" makes databases: nothing may pile up behind them.
        for limits in (self._database_limits, self._user_limits):
            for name in [name for name, limit in limits.items() if not limit.pools and limit in pool.limits]:
                del limits[name]
