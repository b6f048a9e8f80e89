"""PAUSE, RESUME, SUSPEND, KILL and the like, whoever gives them: the console or a signal. Implements `admin.world.Orders`.

Remembers what is paused and disabled, so that pools made later obey too. Three things are kept apart, as in PgBouncer: everything
paused or suspended (one at a time, undone by RESUME), single databases paused (RESUME db), and databases disabled (ENABLE).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pgpool_py.admin.errors import Refused, no_such_database
from pgpool_py.admin.world import Wait
from pgpool_py.config import ADMIN_DATABASE, ConfigError, change_setting
from pgpool_py.relay._io import clock
from pgpool_py.relay.connection import Connection

if TYPE_CHECKING:
    from pgpool_py.app.place import Place
    from pgpool_py.app.pooler import Pooler
    from pgpool_py.app.tunnel import Tunnel

RESUME_STEP = 0.05  # seconds between two looks whether a pause is over


class Orders:
    """The orders in force, and how each is carried out."""

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler
        self.mode = "active"  # or "paused" or "suspended": of everything
        self.paused: set[str] = set()
        self.disabled: set[str] = set()
        self.running = asyncio.Event()  # not while suspended
        self.running.set()

    def is_paused(self, database: str) -> bool:
        return database in self.paused

    def is_disabled(self, database: str) -> bool:
        return database in self.disabled

    def new_place(self, place: Place) -> None:
        """A pool was made: it obeys what was ordered before."""
        if self.mode == "paused" or place.pool.database in self.paused:
            self._pooler.broker.perform(place.pool.pause())

    async def served(self, database: str) -> None:
        """Return when this database is not paused; for those that need a server of their own."""
        while self.mode != "active" or database in self.paused:
            await asyncio.sleep(RESUME_STEP)

    def _tunnels(self, database: str | None) -> list[Tunnel]:
        tunnels = self._pooler.broker.tunnels.values()
        return [tunnel for tunnel in tunnels if database is None or tunnel.place.pool.database == database]

    # --- PAUSE and RESUME ---

    def pause(self, database: str | None) -> Wait:
        self._must_be_active()
        pools, broker = self._pooler.pools, self._pooler.broker
        if database is None:
            self.mode = "paused"
        else:
            self._must_exist(database, "pause")
            self.paused.add(database)
        broker.perform(pools.pause(database))
        return Wait(lambda: self._is_pause_done(database), lambda: self.resume(database))

    def _is_pause_done(self, database: str | None) -> bool:
        still = self.mode == "paused" if database is None else database in self.paused
        if not still:
            raise Refused("resumed before all servers were released")
        return self._pooler.pools.busy_count(database) == 0 and not self._tunnels(database)

    def resume(self, database: str | None) -> None:
        if database is None:
            self._must_not_stop()
            if self.mode == "active":
                raise Refused("pooler is not paused/suspended")
            suspended, self.mode = self.mode == "suspended", "active"
            if suspended:
                self._thaw()
        else:
            if database != ADMIN_DATABASE:
                self._must_exist(database, "resume")
            if database not in self.paused:
                raise Refused(f"database {database} is not paused")
            self.paused.discard(database)
        if self.mode == "paused":
            return
        now = clock()
        for pool in self._pooler.pools.of_database(database):
            if pool.paused and pool.database not in self.paused:
                self._pooler.broker.perform(pool.resume(now))

    # --- SUSPEND ---

    def suspend(self) -> Wait:
        """Nothing is read any more from clients or servers; over when nothing is left to be sent either."""
        self._must_not_stop()
        self._must_be_active()
        if self.paused:
            raise Refused("cannot suspend with paused databases")
        self.mode = "suspended"
        self.running.clear()
        asyncio.get_running_loop().remove_reader(self._pooler.broker.relay.fd)
        give_up = clock() + self._pooler.config.pgbouncer.suspend_timeout
        return Wait(lambda: self._is_flushed(give_up), lambda: self.resume(None))

    def _is_flushed(self, give_up: float) -> bool:
        if self.mode != "suspended":
            raise Refused("resumed before all buffers were empty")
        for connection in list(self._unflushed()):
            connection.flush()
        left = list(self._unflushed())
        if left and clock() > give_up:
            for connection in left:
                connection.fail()
            left = []
        self._pooler.broker.relay.reap()
        return not left

    def _unflushed(self) -> Iterator[Connection]:
        table = self._pooler.broker.relay.table
        return (each for each in table if each is not None and each.out is not None and not each.broken)

    def _thaw(self) -> None:
        relay = self._pooler.broker.relay
        self.running.set()
        asyncio.get_running_loop().add_reader(relay.fd, relay.drain)

    # --- databases ---

    def disable(self, database: str) -> None:
        self._must_exist(database, "disable")
        self.disabled.add(database)

    def enable(self, database: str) -> None:
        self._must_exist(database, "enable")
        self.disabled.discard(database)

    def reconnect(self, database: str | None) -> None:
        self._must_exist(database, "reconnect")
        for place in self._pooler.broker.places.values():
            if database in (None, place.pool.database):
                place.learn_reported(None)
        self._pooler.broker.perform(self._pooler.pools.reconnect(clock(), database))
        self._stop_listening(database, "database configuration changed")
        for tunnel in self._tunnels(database):
            tunnel.end("database configuration changed")

    def wait_close(self, database: str | None) -> Wait:
        self._must_exist(database, "wait in")
        return Wait(lambda: self._pooler.pools.close_needed_count(database) == 0)

    def kill(self, database: str | None) -> None:
        """Drop clients and servers now; the database stays paused."""
        self._must_be_active()
        self._must_exist(database, "kill")
        broker, pools = self._pooler.broker, self._pooler.pools
        killed = {pool.database for pool in pools.of_database(database)} | ({database} if database is not None else set())
        self.paused |= killed
        broker.perform(pools.pause(database))
        for client in list(broker.clients.values()):
            if client.database.name in killed:
                client.refuse("08P01", "database removed")
        for tunnel in list(broker.tunnels.values()):
            if tunnel.place.pool.database in killed:
                tunnel.end()
        for tunnel in self._tunnels(database):
            tunnel.end("database removed")
        broker.perform(pools.kill("database removed", clock(), database))
        self._stop_listening(database, "database removed")

    def _stop_listening(self, database: str | None, reason: str) -> None:
        for pool in self._pooler.pools.of_database(database):
            self._pooler.broker.listening.close(reason, pool)

    def kill_client(self, number: int) -> None:
        clients: list[tuple[int, Callable[[], None]]] = [
            (client.number, lambda client=client: client.refuse("57P01", "admin forced disconnect"))  # type: ignore[misc]
            for client in self._pooler.broker.clients.values()
        ]
        clients += [
            (console.number, lambda console=console: console.end("admin forced disconnect"))  # type: ignore[misc]
            for console in self._pooler.desk.consoles
        ]
        clients += [
            (tunnel.login.number, lambda tunnel=tunnel: tunnel.end("admin forced disconnect"))  # type: ignore[misc]
            for tunnel in self._tunnels(None)
            if tunnel.login is not None
        ]
        for each, close in clients:
            if each == number:
                close()
                return
        raise Refused("client not found")

    # --- the process ---

    def shutdown(self, mode: str) -> None:
        if mode and self.mode == "suspended":
            self.resume(None)  # nobody would ever be done
        if mode == "wait_for_clients":
            self._pooler.stop_after_clients()
        elif mode == "wait_for_servers":
            self._pooler.stop_after_servers()
        else:
            self._pooler.stop_now()

    def everything_pauses(self) -> None:
        """A shutdown that waits for servers began."""
        if self.mode == "suspended":
            self._thaw()
        self.mode = "paused"
        self._pooler.broker.perform(self._pooler.pools.pause())

    def reload(self) -> None:
        if not self._pooler.reload():
            raise Refused("RELOAD failed, see logs for additional details", "F0000")

    def set(self, key: str, value: str) -> None:
        try:
            self._pooler.take_over(change_setting(self._pooler.config, key.lower(), value))
        except ConfigError as error:
            raise Refused("SET failed", detail="\n".join(error.problems)) from None

    # --- refusals ---

    def _must_be_active(self) -> None:
        self._must_not_stop()
        if self.mode != "active":
            raise Refused("already suspended/paused")

    def _must_not_stop(self) -> None:
        if self._pooler.broker.stopping:
            raise Refused("pooler is shutting down")

    def _must_exist(self, database: str | None, verb: str) -> None:
        if database == ADMIN_DATABASE:
            raise Refused(f"cannot {verb} admin db: {database}")
        if database is not None and self._pooler.config.find_database(database) is None:
            raise no_such_database(database)
