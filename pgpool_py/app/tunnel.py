"""A replication connection: a client and a server of its own, and the bytes between them as they come.

The replication protocol is not request and reply, so nothing here looks at it. The server is opened with the client's own startup
parameters and closed afterwards; it counts under max_db_connections and max_user_connections.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from pgpool_py.app.place import Place
from pgpool_py.backend.cancel import cancel_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.target import ServerLogin
from pgpool_py.frontend.errors import LoginRefused
from pgpool_py.frontend.gate import ClientLogin
from pgpool_py.observe.log import label
from pgpool_py.pool.limits import evict_for
from pgpool_py.tls import stream

if TYPE_CHECKING:
    from pgpool_py.app.broker import Broker

CHUNK = 65536
PARTING = 5.0  # seconds a server may take to say the rest after its client has ended


class Tunnel:
    """One replication client; open from `opened` to the end of `run`."""

    def __init__(self, broker: Broker, place: Place, server: ServerLogin) -> None:
        self.broker = broker
        self.place = place
        self.server = server
        self.login: ClientLogin | None = None
        self.replication = "physical"  # or "logical"
        self.reason = "server shutting down"  # why `end` was called
        self.task: asyncio.Task[None] | None = None

    @classmethod
    async def opened(cls, broker: Broker, place: Place, replication: str, settings: dict[str, str]) -> Tunnel:
        """Open a server for a client that asks for *replication*; LoginRefused with the server's own words if it will not."""
        _make_place(broker, place)
        target = place.target(broker.config)
        target = replace(target, parameters={**target.parameters, **settings, "replication": replication})
        if "application_name" in settings:
            target = replace(target, application_name=None)
        for limit in place.pool.limits:
            limit.count += 1
        try:
            server = await place.connect(broker.config, broker.names, target)
        except ServerConnectError as error:
            cls._uncount(place)
            raise LoginRefused(error.message, error.sqlstate) from None
        except BaseException:
            cls._uncount(place)
            raise
        tunnel = cls(broker, place, server)
        tunnel.replication = "logical" if replication == "database" else "physical"
        return tunnel

    @staticmethod
    def _uncount(place: Place) -> None:
        for limit in place.pool.limits:
            limit.count -= 1

    def begin(self, login: ClientLogin) -> None:
        """The client is logged in: carry its bytes from now on."""
        self.login = login
        self.broker.tunnels[login.pid] = self
        self.task = asyncio.get_running_loop().create_task(self._run(login))

    def discard(self) -> None:
        """The client left before it was let in."""
        stream.close(self.server.sock)
        self._uncount(self.place)

    def end(self, reason: str = "server shutting down") -> None:
        """Cut it off; *reason* is for the log, as nothing can be said in the middle of a stream."""
        self.reason = reason
        if self.task is not None:
            self.task.cancel()

    async def cancel(self) -> None:
        """Pass a cancel request on."""
        server = self.server
        try:
            await cancel_server(server.address, server.pid, server.key, self.broker.config.pgbouncer.cancel_wait_timeout)
        except ServerConnectError as error:
            self.broker.log.warning(f"cancel request failed: {error.message}", self.server_label)

    @property
    def server_label(self) -> str:
        return label("S", 0, self.place.pool.database, self.place.pool.user, self.server.address)

    async def _run(self, login: ClientLogin) -> None:
        log = self.broker.log
        log.log("new connection to server for replication", self.server_label)
        reason = "client close request"
        try:
            await stream.send_all(self.server.sock, login.leftover)
            await stream.send_all(login.sock, self.server.leftover)
            up = asyncio.ensure_future(_pump(login.sock, self.server.sock))
            down = asyncio.ensure_future(_pump(self.server.sock, login.sock))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                if down.done():
                    reason = "server closed the connection"
                else:
                    await asyncio.wait((down,), timeout=PARTING)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            reason = "server conn crashed?"
        except asyncio.CancelledError:
            reason = self.reason
        finally:
            stream.close(login.sock)
            stream.close(self.server.sock)
            self._uncount(self.place)
            self.broker.tunnel_closed(self, login, reason)


def _make_place(broker: Broker, place: Place) -> None:
    """Make a place under the shared limits, at the cost of servers that nobody uses."""
    pool = place.pool
    if any(limit.full for limit in pool.limits):
        for server in evict_for(pool) or ():
            server.close("evicted")  # type: ignore[attr-defined]
    if any(limit.full for limit in pool.limits):
        broker.perform(pool.close_unused("evicted"))
    full = next((limit for limit in pool.limits if limit.full), None)
    if full is not None:
        raise LoginRefused(f"no more server connections allowed ({full.name})", "53300")


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Everything from one to the other, until either ends."""
    try:
        while data := await stream.receive(source, CHUNK):
            await stream.send_all(sink, data)
    except OSError:
        pass
