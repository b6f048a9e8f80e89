"""The data plane: one epoll set with every client and server after its login.

Hot: `drain` runs for every batch of events; `benchmarks/compare.py` guards it. The set's own descriptor is a reader
of the asyncio loop;
when it is readable the loop calls `drain`, which goes on until nothing is ready, within bounds, so that the control plane gets
its turn. While there is traffic `drain` waits a moment in its own epoll: that spares the loop's two system calls and its
callback for each event.

Decisions come from outside: a `Broker`, and the pool object each connection carries.
"""

from __future__ import annotations

import os
import select
from typing import Any, Protocol

from pgpool_py.relay._io import clock, ready_events, ready_fd, wait
from pgpool_py.relay.client import Client
from pgpool_py.relay.connection import Connection, Hub
from pgpool_py.relay.listening import ListeningConnection
from pgpool_py.relay.server import Server

TURN = 0.005  # seconds in `drain` before the asyncio loop gets its turn
# Milliseconds to wait for more while there is traffic.  Shorter than the kernel's tick would be dearer: it programs
# a timer for each wait.
LINGER = 10


class States(Protocol):
    """The pool's words, which the relay compares by identity and never interprets."""

    client_idle: Any
    client_waiting: Any
    server_idle: Any
    server_active: Any
    server_tested: Any
    server_being_canceled: Any


class Broker(Protocol):
    """What the relay asks of the rest of the pooler; `app` implements it."""

    def client_waits(self, client: Client) -> None:
        """A client has to wait: perhaps a server must be started."""

    def released(self, server: Server) -> None:
        """The pool took a server back and wants something done with it (state CLOSED or USED)."""

    def cancel_server(self, server: Server, client: Client | None = None) -> None:
        """Cancel what the server is doing, or what *client* has just sent to it and it may not have begun."""

    def client_closed(self, client: Client, reason: str) -> None:
        """A client's socket is closed."""

    def server_closed(self, server: Server, reason: str) -> None:
        """A server's socket is closed."""

    def internal_error(self, connection: Connection, error: Exception) -> None:
        """A connection's event ended in an exception: close it."""

    def pooler_error(self, client: Client, message: str) -> None:
        """A client was sent an error of the pooler's own."""

    def listening_connection(self, client: Client) -> ListeningConnection:
        """The connection that listens for this client; it may not be open yet."""

    def listening_successor(self, connection: ListeningConnection) -> ListeningConnection:
        """The connection that listens instead of one that was lost."""

    def listening_closed(self, connection: ListeningConnection, reason: str) -> None:
        """A listening connection's socket is closed; its clients are told by itself."""

    def notifier(self, server: Server, pid: int) -> int:
        """The process id that was given to the client whose server, of the same database as *server*, has *pid*; 0: none."""


class Relay(Hub):
    """The epoll set, its connections by descriptor, and their deadlines."""

    def __init__(self, broker: Broker, states: States) -> None:
        Hub.__init__(self)
        self.broker = broker
        self.epoll = select.epoll()
        self.fd = self.epoll.fileno()
        # by descriptor; the kernel gives the lowest free number, so the list stays short
        self.table: list[Connection | None] = []
        self.now = clock()
        self.client_idle_state = states.client_idle
        self.client_waiting_state = states.client_waiting
        self.idle_state = states.server_idle
        self.active_state = states.server_active
        self.tested_state = states.server_tested
        self.being_canceled_state = states.server_being_canceled

    def add(self, connection: Connection, leftover: bytes) -> None:
        """Take over a socket that has finished its login; *leftover* is what was read from it and not understood yet."""
        while len(self.table) <= connection.fd:
            self.table.append(None)
        self.table[connection.fd] = connection
        self.epoll.register(connection.fd, connection.interest)
        if leftover:
            self.now = clock()
            if isinstance(connection, Client):
                connection.kept = leftover
                connection.go_on()
            self.reap()

    def modify(self, fd: int, interest: int) -> None:
        """Change what epoll reports of a descriptor."""
        self.epoll.modify(fd, interest)

    def drain(self) -> None:
        """Handle what is ready, and what becomes ready meanwhile, within bounds."""
        linger = LINGER
        end = clock() + TURN
        while True:
            n = wait(self.fd, linger)
            if n == 0:
                return
            self.now = clock()
            i = 0
            while i < n:
                connection = None
                try:
                    while i < n:
                        connection = self.table[ready_fd(i)]
                        events = ready_events(i)
                        i += 1
                        # Compiled, what is of exactly that class is known at a glance, of a base only after all others.
                        if type(connection) is Server:
                            server = connection
                            server.on_event(events)
                        elif type(connection) is Client:
                            client = connection
                            client.on_event(events)
                        elif connection is not None:
                            connection.on_event(events)
                except Exception as error:
                    # A mistake of ours costs this connection, and nobody else anything.
                    assert connection is not None
                    self.broker.internal_error(connection, error)
            if self.broken:
                self.reap()
            if self.busy or self.now >= end:
                self.busy = False
                return

    def reap(self) -> None:
        """Close the connections whose sockets broke during the last events."""
        while self.broken:
            connection = self.broken.pop()
            if not connection.closed:
                connection.on_broken()

    def tick(self) -> None:
        """Act on deadlines that have passed."""
        self.now = clock()
        for connection in list(self.timed):
            if connection.closed:
                self.timed.pop(connection, None)
            elif connection.deadline and connection.deadline <= self.now:
                self.timed.pop(connection, None)
                connection.timed_out()
        self.reap()

    def close_client(self, client: Client, reason: str) -> None:
        """Close a client's socket and tell the broker."""
        if not client.closed:
            self._close(client)
            self.busy = True
            self.broker.client_closed(client, reason)

    def close_server(self, server: Server, reason: str) -> None:
        """Close a server's socket and tell the broker."""
        if not server.closed:
            self._close(server)
            self.busy = True
            self.broker.server_closed(server, reason)

    def close_listening(self, connection: ListeningConnection, reason: str) -> None:
        """Close a listening connection's socket and tell the broker."""
        if not connection.closed:
            self._close(connection)
            self.busy = True
            self.broker.listening_closed(connection, reason)

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        connection.broken = True
        self.timed.pop(connection, None)
        if connection.fd < len(self.table):
            self.table[connection.fd] = None
        try:
            self.epoll.unregister(connection.fd)
        except OSError:
            pass  # never registered
        if connection.tls is None:
            os.close(connection.fd)
        else:
            connection.tls.close()

    def close(self) -> None:
        """Close the set itself."""
        self.epoll.close()
