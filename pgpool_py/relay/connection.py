"""What clients and servers of the relay have in common: a descriptor, unsent bytes, and interest in events.

Hot: `send_range` is called for every forwarded read; `benchmarks/compare.py` guards it. No rules of the protocol here.

Writing never blocks and never fails half-way through a decision: what the socket does not take is kept in `out`, a broken
socket is noted (`broken`) and the relay closes it when the event at hand is done.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay._io import load, piece, recv, send, send_bytes
from pgpool_py.relay.interest import READ, WRITE
from pgpool_py.relay.tls import Channel
from pgpool_py.seam import Member


class Hub:
    """What the relay shares with its connections: the time of the batch at hand, and lists they enter themselves into.

    `timed`   connections with a deadline
    `broken`  connections whose sockets failed during this event
    `busy`    the control plane has something to do: the relay must not wait
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.broken: list[Connection] = []
        self.timed: dict[Any, None] = {}
        self.busy = False
        self.client_idle_state: Any = None
        self.client_waiting_state: Any = None
        self.idle_state: Any = None
        self.active_state: Any = None
        self.tested_state: Any = None
        self.being_canceled_state: Any = None


class Connection(Member):
    """One socket of the relay, seen by number.

    `out`     bytes accepted for sending and not sent yet, None when there are none
    `tail`    the start of a message whose rest has not arrived
    `passing` how many bytes of the message at hand are still to come; they need no look
    `awaiting` what a client has kept the rest of its input for, see `awaiting`; 0: nothing
    `subscription` of a client: what it listens to, None for nothing
    `held`     of a client: its ReadyForQuery is held back until its notifications are here
    `unheard`  of a client: why the LISTEN at hand cannot be had, its code and message
    `tls`      the Channel of a TLS connection, None for a plain one
    `again`    read when the socket can be written, too: see Channel
    """

    def __init__(self, relay: Any, fd: int) -> None:
        self.relay = relay
        self.fd = fd
        self.interest = READ
        self.reading = True
        self.broken = False
        self.closed = False
        self.out: bytes | None = None
        self.tail: bytes | None = None
        self.passing = 0
        self.awaiting = 0
        self.ahead = self.behind = None
        self.tls: Channel | None = None
        self.again = False
        self.subscription: Any = None
        self.held = False
        self.unheard: tuple[str, str] | None = None

    # --- writing ---

    def send_range(self, start: int, stop: int) -> None:
        """Send that part of the shared buffer, now or when the socket takes it."""
        if self.broken or start >= stop:
            return
        if self.out is None:
            n = send(self.fd, start, stop) if self.tls is None else self.tls.send(start, stop)
            if n == stop - start:
                return
            if n == -2:
                self.fail()
                return
            if n > 0:
                start += n
            self.out = piece(start, stop)
            self.update()
        else:
            self.out += piece(start, stop)

    def send_data(self, data: bytes) -> None:
        """Send *data*, now or when the socket takes it."""
        if self.broken or not data:
            return
        if self.out is None:
            n = send_bytes(self.fd, data, 0) if self.tls is None else self.tls.send_bytes(data)
            if n == len(data):
                return
            if n == -2:
                self.fail()
                return
            self.out = data[n:] if n > 0 else data
            self.update()
        else:
            self.out += data

    def flush(self) -> None:
        """Send what is kept; `flushed` follows when nothing is left."""
        if self.out is None or self.broken:
            if self.again and not self.broken:
                self.on_event(READ)
            return
        n = send_bytes(self.fd, self.out, 0) if self.tls is None else self.tls.send_bytes(self.out)
        if n == -2:
            self.fail()
        elif n == len(self.out):
            self.out = None
            self.update()
            self.flushed()
        elif n > 0:
            self.out = self.out[n:]

    def fail(self) -> None:
        """Note that the socket is broken; the relay closes the connection after this event."""
        self.broken = True
        self.relay.broken.append(self)

    # --- reading ---

    def receive(self, at: int) -> int:
        """Read to offset *at* of the shared buffer; answers as `_io.recv` does."""
        if self.tls is None:
            return recv(self.fd, at)
        n = self.tls.receive(at)
        if self.again != self.tls.again:
            self.again = self.tls.again
            self.update()
        return n

    def read_behind(self, at: int) -> int:
        """Read on behind the tail, which is of *at* bytes, in the shared buffer; answers as `_io.recv` does."""
        if self.tail is not None:
            load(0, self.tail)
        n = recv(self.fd, at) if self.tls is None else self.receive(at)
        if n > 0:
            self.tail = None
        return n

    def pause(self) -> None:
        """Read no more until `resume`."""
        self.reading = False
        self.update()

    def resume(self) -> None:
        """Read again."""
        if not self.reading:
            self.reading = True
            self.update()

    def update(self) -> None:
        """Tell epoll what is wanted, if that changed."""
        wanted = (READ if self.reading else 0) | (WRITE if self.out is not None or (self.again and self.reading) else 0)
        if wanted != self.interest and not self.closed:
            self.interest = wanted
            self.relay.modify(self.fd, wanted)

    # --- what the two sides fill in ---

    def on_event(self, events: int) -> None:
        """Act on the events epoll reported."""

    def flushed(self) -> None:
        """Everything kept was sent."""

    def on_broken(self) -> None:
        """The socket is broken: close."""

    # --- what a server asks of its client ---

    def linked(self, server: Connection) -> None:
        """The pool gave the server to this client, which waited."""

    def settled(self) -> None:
        """The server owes nothing and is ready for a query."""

    def difference_known(self, failed: bool, error: bytes | None) -> None:
        """The queries that put this client's settings in force were answered; the shared buffer is in use."""

    def difference_done(self, failed: bool) -> None:
        """As above, and the shared buffer is free: go on with what was kept."""

    def looked(self, rows: list[bytes], error: bytes | None) -> None:
        """The question about the session's state was answered; the shared buffer is in use."""

    def channels_placed(self, failed: bool) -> None:
        """LISTEN to the client's channels was answered; if it *failed* the server does not listen to them."""

    def marker_placed(self, failed: bool) -> None:
        """LISTEN to the marks of the listening connection, or UNLISTEN, was answered."""

    def cancel_now(self) -> None:
        """Carry out the cancel that is due, if there is by now what it was for."""

    def cleared(self, failed: bool) -> None:
        """DISCARD SEQUENCES was answered; the shared buffer is in use, unless the server is closed now."""

    def answered(self) -> None:
        """The server said something while the client was `awaiting`."""

    def parameter_changed(self, name: bytes, value: bytes) -> bytes | None:
        """The server reported a setting while this client had it: the message to send instead, None to send it as it is."""
        return None

    def notified(self, message: bytes) -> bytes:
        """The server itself passes on a notification; what the client is to be sent."""
        return b""

    def undo(self, dropped: list[tuple[int, Any]], refused: bool) -> None:
        """These requests were skipped by the server."""

    def reset_all(self, statements: bool) -> None:
        """The client's own DISCARD ALL (or DEALLOCATE ALL, RESET ALL) was carried out."""

    def deallocated(self, note: Any) -> None:
        """The client's DEALLOCATE of one statement was carried out, whose Execute has left *note*."""

    def misses_nothing(self) -> bool:
        """The server says that it ends, and owes nothing: whether this client needs nothing that is on it."""
        return False

    def server_gone(self, told: bool) -> None:
        """The server's connection is gone; *told*: the client has its FATAL already."""

    def server_closing(self, reason: str) -> None:
        """The pooler closes the server for *reason*."""

    def own_names(self, message: bytes, note: Any) -> bytes:
        """An error text with the server's statement names replaced by this client's; *note* is that of its request."""
        return message

    def types_told(self, note: Any, types: bytes) -> None:
        """The types of a statement's parameters, as a ParameterDescription has them; the request for that left *note*."""

    def columns_told(self, note: Any, body: bytes | None) -> None:
        """The body of the RowDescription, or None for NoData, to a request which left *note*; the shared buffer is in use."""

    def setting_in_force(self, note: Any, row: bytes) -> None:
        """A row that answers the question which left *note*; the shared buffer is in use."""

    def overtaken(self, server: Any, made: int, named: frozenset[bytes]) -> None:
        """Others change the catalogs while what this client said is under way; what they *made*, and *named*."""

    def plan_changed(self) -> None:
        """The server refused a request because a statement's columns have changed."""

    def undone(self) -> None:
        """Something has failed, or was rolled back."""
