"""The server connection that listens for the clients of one pool, however many they are.

It says LISTEN and UNLISTEN, and empty queries; what it hears goes to the mailbox of each client that listens. An empty query is a
barrier: PostgreSQL signals listeners before it answers the one who committed, and a listener that is idle passes on what it was
signalled before it reads its next query. So once a query that went out after that answer is answered itself, everything that was
committed before is here.

PostgreSQL gives all listeners of a database what is committed in one order. A mark in that order, a notification with a number
on a channel that only this connection and a client's own server know, tells where the one takes over from the other. The server
makes it: a NOTIFY waits for those that others commit, however long these take, and not all who listen should wait for that.

What it hears is in the encoding of the database. For a client that reads another one PostgreSQL itself is asked how that is
spelled there: thus what has no spelling costs those who wanted it, and nobody else.

One query is under way at a time; whoever asks meanwhile shares the next one. When and whether clients are told is decided in
`subscription`; when the connection is opened and closed, in `app`.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pgpool_py.relay._io import piece
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.interest import WRITE
from pgpool_py.session.channels import Listeners, quoted
from pgpool_py.session.spelling import exactly
from pgwire import DataRow, ErrorResponse
from pgwire.codes import Backend

LISTENING_NAME = "pgpool_py listen"  # its application_name, unless the database's entry has one
NOTIFICATION_RESPONSE = int(Backend.NOTIFICATION_RESPONSE)
READY_FOR_QUERY = int(Backend.READY_FOR_QUERY)
ERROR_RESPONSE = int(Backend.ERROR_RESPONSE)
DATA_ROW = int(Backend.DATA_ROW)
LARGEST = 1 << 20  # of a message; a notification has less than 9 kB
REMEMBERED = 256  # spellings: as a rule all who wait for one take it at once
SQL_ASCII = b"SQL_ASCII"  # the encoding that is none: nothing is converted, though it is checked what comes of it
SPELL = (
    b"SELECT pg_catalog.encode(pg_catalog.convert(pg_catalog.decode('%s', 'hex'), pg_catalog.getdatabaseencoding(), %s), 'hex')"
)


class ListeningConnection(Connection):
    """A connection that only listens; without a socket (`opened` is False) until the login is done."""

    def __init__(self, relay: Any, pool: Any) -> None:
        Connection.__init__(self, relay, -1)
        # identity
        self.pool = pool
        self.encoding = b""  # of the database
        self.marker = b"pgpool_py_" + secrets.token_hex(16).encode()  # the channel of its marks
        self.number = 0
        self.address: Any = None
        self.pid = 0
        self.opened = False
        self.connect_time = 0.0
        # as the configuration says
        self.answer_timeout = 15.0
        self.mailbox_size = 0
        self.loss_is_fatal = True
        # who listens
        self.table: Listeners[Any] = Listeners()
        self.members: dict[Any, None] = {}
        self.unused_since = 0.0
        # the process id a client was given for that of the server which carried out its NOTIFY; 0: not one of ours
        self.notifier: Callable[[int], int] = lambda pid: 0
        # the query under way, and the next
        self.deadline = 0.0
        self.asked_at = 0.0
        self.heard_at = 0.0
        self.covered = 0.0  # everything committed before that moment is known
        self._busy = False
        self._failed = False
        self._waiting: dict[Any, None] = {}
        self._next: dict[Any, None] = {}
        self._notices: list[bytes] = []
        self._number = 0
        self._marks: dict[int, Any] = {}
        self._data = b""
        # what is spelled how in which encoding: bytes, or the error that PostgreSQL has for it
        self._spellings: OrderedDict[tuple[bytes, bytes], bytes | ErrorResponse] = OrderedDict()
        self._unspelled: dict[tuple[bytes, bytes], dict[Any, None]] = {}
        self._spelling: tuple[bytes, bytes] | None = None

    def __repr__(self) -> str:
        return f"<ListeningConnection {self.pool!r}, {len(self.members)} clients, {len(self.table)} channels>"

    # --- what clients ask for ---

    def ask(self, who: Any) -> None:
        """Tell *who* (`answered`) when all that is committed now has come, and its channels are decided on."""
        self._next[who] = None
        self.pump()

    def next_mark(self, who: Any) -> int:
        """The number of a mark that *who* has made: it is told (`mark_heard`, `go_on`) when that has come."""
        self._number += 1
        self._marks[self._number] = who
        return self._number

    def spelled(self, message: bytes, encoding: bytes, who: Any) -> bytes | ErrorResponse | None:
        """A NotificationResponse as a session of that encoding reads it; None: not known yet, *who* is told (`go_on`).

        ErrorResponse: what such a session is told instead (manual, client_encoding: conversion may fail).
        """
        if message.isascii() or not self.converts(encoding):
            return message
        parts: list[bytes] = []
        for part in message[9:].split(b"\0")[:2]:
            found = self.spelling(part, encoding, who)
            if not isinstance(found, bytes):
                return found
            parts.append(found)
        body = message[5:9] + b"\0".join(parts) + b"\0"
        return message[:1] + (len(body) + 4).to_bytes(4, "big") + body

    def converts(self, encoding: bytes) -> bool:
        """Whether PostgreSQL does anything about what a session of that encoding is sent."""
        return encoding != self.encoding and encoding != SQL_ASCII

    def spelling(self, part: bytes, encoding: bytes, who: Any) -> bytes | ErrorResponse | None:
        """A name, or a payload, as `spelled`."""
        if part.isascii():
            return part
        key = (part, encoding)
        found = self._spellings.get(key)
        if found is None:
            self._unspelled.setdefault(key, {})[who] = None
            self.pump()
        return found

    def notify(self, channel: bytes) -> None:
        """Notify *channel*, for other processes that listen to it and for ourselves."""
        self._notices.append(b"NOTIFY " + quoted(channel))
        self.pump()

    def join(self, who: Any) -> None:
        """*who* uses this connection."""
        self.members[who] = None

    def part(self, who: Any) -> None:
        """*who* needs it no more; its channels are removed already."""
        self.members.pop(who, None)
        self._next.pop(who, None)
        self._waiting.pop(who, None)
        for asking in self._unspelled.values():
            asking.pop(who, None)
        self._marks = {number: other for number, other in self._marks.items() if other is not who}
        self.unused_since = self.relay.now
        self.pump()

    def pump(self) -> None:
        """Send the next query, if one is needed and none is under way."""
        if not self.opened or self._busy or self.closed:
            return
        others = self._next or self.table.pending or self._notices
        if self._unspelled and (self._spelling is None or not others):  # they take turns
            self._spelling = next(iter(self._unspelled))
            part, encoding = self._spelling
            self.query(SPELL % (part.hex().encode(), exactly(encoding)))
            return
        self._spelling = None
        if not others:
            return
        self._waiting, self._next = self._next, {}
        listen = self.table.next_query()
        notices, self._notices = self._notices, []
        self.query(b"; ".join([listen, *notices] if listen else notices))

    def query(self, text: bytes) -> None:
        """Send a query."""
        self._busy = True
        self._failed = False
        self.asked_at = self.relay.now
        self.deadline = self.asked_at + self.answer_timeout if self.answer_timeout else 0.0
        self.relay.timed[self] = None
        self.send_data(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")

    def check(self) -> None:
        """Make sure that the server still answers: a listener would wait for ever on a dead one."""
        if self.opened and not self._busy:
            self.query(b"")

    # --- reading ---

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not events & ~WRITE or self.closed or self.broken:
            return
        n = self.receive(0)
        if n > 0:
            self.heard_at = self.relay.now
            # A copy: clients that go on use the shared buffer.
            self.understand(piece(0, n))
        elif n != -1:
            self.lost("server conn crashed?")

    def understand(self, data: bytes) -> None:
        """Take bytes from the server; then tell the clients, each in one write."""
        if self._data:
            data = self._data + data
        at = 0
        touched: dict[Any, None] = {}
        answered: list[Any] = []
        end = 0
        while len(data) - at >= 5:
            length = int.from_bytes(data[at + 1 : at + 5], "big")
            end = at + 1 + length
            if length < 4 or length > LARGEST:
                self.lost(f"message of {length} bytes")
                return
            if end > len(data):
                break
            kind = data[at]
            if kind == NOTIFICATION_RESPONSE:
                self.distribute(data[at:end], touched)
            elif kind == DATA_ROW:
                (value,) = DataRow.decode(data[at + 5 : end]).values
                if self._spelling is not None and value is not None:
                    self.spell(bytes.fromhex(value.decode("ascii")))
            elif kind == READY_FOR_QUERY:
                answered.extend(self.query_ended())
            elif kind == ERROR_RESPONSE:
                error = ErrorResponse.decode(data[at + 5 : end])
                if error.is_fatal:
                    self.lost(error.message or "server conn crashed?")
                    return
                self._failed = True
                if self._spelling is not None:
                    self.spell(error)
            at = end
        self._data = data[at:]
        self.tell(touched, answered)

    def distribute(self, message: bytes, touched: dict[Any, None]) -> None:
        """Put a notification into the mailbox of each client that listens to its channel."""
        zero = message.find(b"\0", 9)
        channel = message[9:zero]
        if channel == self.marker:
            number = message[zero + 1 : -1]
            who = self._marks.pop(int(number), None) if number.isdigit() else None
            if who is not None:
                who.mark_heard()
                touched[who] = None
            return
        notifier = self.notifier(int.from_bytes(message[5:9], "big"))
        if notifier:
            message = message[:5] + notifier.to_bytes(4, "big") + message[9:]
        for who in self.table.of(channel):
            who.mailbox.put(channel, message)
            touched[who] = None

    def spell(self, spelling: bytes | ErrorResponse) -> None:
        """The query under way asked for a spelling, and this is it."""
        assert self._spelling is not None
        self._spellings[self._spelling] = spelling
        while len(self._spellings) > REMEMBERED:
            self._spellings.popitem(last=False)

    def query_ended(self) -> list[Any]:
        """The query under way is answered; who waited for it."""
        if not self._busy:
            return []
        self._busy = False
        self.deadline = 0.0
        self.relay.timed.pop(self, None)
        self.covered = self.asked_at
        if self._spelling is not None:
            if self._spelling not in self._spellings:
                self.lost("no answer")
            for who in self._unspelled.pop(self._spelling, ()):
                self.guarded(who, who.go_on)
            return []
        if self._failed:
            self.table.refused()
        else:
            self.table.confirmed()
        waiting, self._waiting = list(self._waiting), {}
        return waiting

    def tell(self, touched: dict[Any, None], answered: list[Any]) -> None:
        """Let clients have what came, and go on."""
        for who in touched:
            self.guarded(who, who.go_on)
        for who in answered:
            if who in self.members:
                if self.table.decided(who.awaited):
                    self.guarded(who, lambda who=who: who.answered(self))  # type: ignore[misc]
                else:
                    self._next[who] = None  # asked for together with a name that the server refused
        self.pump()

    def guarded(self, who: Any, action: Callable[[], None]) -> None:
        """A mistake of ours about one client costs that client, and not all who listen."""
        try:
            action()
        except Exception as error:
            self.relay.broker.internal_error(who.client, error)

    # --- the end ---

    def lost(self, reason: str) -> None:
        """The connection is gone, or must go: everybody who listens is told."""
        if self.closed:
            return
        if self.opened:
            self.relay.close_listening(self, reason)
        else:
            self.closed = True
            self.relay.broker.listening_closed(self, reason)
        successor = None if self.loss_is_fatal else self.relay.broker.listening_successor(self)
        members = list(self.members)
        self.members.clear()
        for who in members:
            self.guarded(who, lambda who=who: who.lost(self, reason, successor))  # type: ignore[misc]

    def not_opened(self, code: str, message: str) -> None:
        """No connection could be had: those who only begin to listen are refused, the others wait for the next attempt."""
        for who in list(self.members):
            if not who.channels or who.awaited:
                self.guarded(who, lambda who=who: who.refused(self, code, message))  # type: ignore[misc]

    def on_broken(self) -> None:
        self.lost("server conn crashed?")

    def timed_out(self) -> None:
        """A query has not been answered in time."""
        self.lost("no answer in time")
