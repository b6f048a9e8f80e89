"""Letting clients go within a time, for containers that are given one: `drain_delay` and `drain_timeout`.

Without them SIGTERM waits for the clients, as PgBouncer's. With a timeout, clients that are between two transactions are told
57P01 and closed, evenly over most of the time, so that they do not all come to the next pooler at once; what is left at its end
is cut off, and what it runs is cancelled. Knows when and whom; does not know signals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from pgpool_py.relay.client import Client
from pgpool_py.relay.server import Server

SPREAD = 0.8  # of the time, by which every idle client has been told
CANCELLING = 1.0  # seconds after the time, for the queries of those who were cut off to be cancelled
IDLE = ord("I")
WORDS = "terminating connection due to administrator command"


class Drain:
    """One shutdown that waits for clients. *close_ports* ends accepting."""

    def __init__(self, delay: float, timeout: float, now: float, close_ports: Callable[[], None]) -> None:
        self.delay = delay
        self.timeout = timeout
        self.began = now
        self._close_ports: Callable[[], None] | None = close_ports
        self._at_first = 0

    @property
    def accepting(self) -> bool:
        """Whether new clients still come in: those who balance us have not noticed yet."""
        return self._close_ports is not None

    def step(self, clients: Collection[Client], now: float) -> bool:
        """Do what is due; True when the time is over."""
        waited = now - self.began - self.delay
        if waited < 0:
            return False
        if self._close_ports is not None:
            self._close_ports()
            self._close_ports = None
            self._at_first = len(clients)
        if not self.timeout:
            return False
        allowed = self._at_first * (1 - waited / (self.timeout * SPREAD))
        surplus = len(clients) - max(0, int(allowed))
        if surplus > 0:
            idle = sorted((client for client in clients if _between_transactions(client)), key=lambda client: client.idle_since)
            for client in idle[:surplus]:
                client.refuse("57P01", WORDS)
        return waited >= self.timeout


def cut_off(clients: Collection[Client]) -> None:
    """The time is over: close everybody, whatever they are at; their servers are cancelled and rolled back."""
    for client in list(clients):
        client.refuse("57P01", WORDS)


def _between_transactions(client: Client) -> bool:
    """Whether the client can be told now without losing anything it asked for."""
    if client.kept is not None or client.tail is not None or client.out is not None:
        return False  # it has asked for something, or not taken its answer yet
    server = client.server
    if server is None:
        return client.state is client.relay.client_idle_state
    assert isinstance(server, Server)
    return bool(server.ready and server.status == IDLE)
