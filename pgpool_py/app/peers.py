"""Processes that share one address: a cancel request may reach another one than the client's, and is passed on.

The number of the process is part of the process id a client is told, so whoever gets a cancel request knows whose it is. Knows
`peer_id` and `[peers]`. A request is passed on once, to the process that its number names.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Container
from typing import TYPE_CHECKING

from pgpool_py.backend.cancel import cancel_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.config.models import PeerSettings

if TYPE_CHECKING:
    from pgpool_py.app.broker import Broker

SHIFT = 17  # bits of a client's process id that are its own; the 14 above them are the peer's number
OWN = (1 << SHIFT) - 1
RANGE = 0x7FFFFFFF
PATIENCE = 1000  # draws from our half
PIDS = 1 << 22  # Linux gives no process a higher number: an id of ours is never taken for that of a session past us


class Peers:
    """The other processes, as the configuration names them at the moment."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._under_way: dict[int, int] = {}  # requests being passed on, by peer
        # At an online restart two processes give out ids at once, and clients come from one to the other: each has its half.
        self.half = 0  # the lowest bit of ours
        self.taken: set[int] = set()  # what was given out before us

    def new_pid(self, *ours: Container[int]) -> int:
        """A process id for a client of ours, and for none of *ours* yet."""
        number = self._broker.config.pgbouncer.peer_id
        draws = 0
        while True:
            pid = number << SHIFT | secrets.randbelow(OWN) + 1 if number else PIDS + secrets.randbelow(RANGE - PIDS) + 1
            draws += 1
            # Of the other half only when this one seems to have none left.
            if (pid & 1 == self.half or draws > PATIENCE) and not any(pid in ids for ids in (self.taken, *ours)):
                return pid

    def owner(self, pid: int) -> tuple[int, PeerSettings] | None:
        """The other process that gave out this process id."""
        config = self._broker.config
        number = pid >> SHIFT
        if not config.pgbouncer.peer_id or number == config.pgbouncer.peer_id:
            return None
        peer = config.peers.get(number)
        return (number, peer) if peer is not None else None

    async def forward(self, number: int, peer: PeerSettings, pid: int, secret: bytes) -> None:
        """Pass a cancel request on; returns when the other process has carried it out."""
        broker = self._broker
        main = broker.config.pgbouncer
        limit = peer.pool_size if peer.pool_size is not None else main.default_pool_size
        if limit and self._under_way.get(number, 0) >= limit:
            broker.log.warning(f"cancel request for peer {number} dropped: {limit} are under way (pool_size)")
            return
        self._under_way[number] = self._under_way.get(number, 0) + 1
        try:
            async with asyncio.timeout(main.cancel_wait_timeout or None):
                (address, *_) = await broker.names.resolve(peer.host or "", peer.port)
            await cancel_server(address, pid, secret, main.cancel_wait_timeout)
        except TimeoutError:
            broker.log.warning(f"cancel request for peer {number} failed: cancel_wait_timeout")
        except ServerConnectError as error:
            broker.log.warning(f"cancel request for peer {number} failed: {error.message}")
        finally:
            self._under_way[number] -= 1
