"""What one client listens to, and when it is told: the rules of LISTEN (manual, LISTEN and NOTIFY) over a listening connection.

A client that listens has one of these. Its LISTEN and UNLISTEN run on the server it holds, natively; what they came to is read
from that server at the end of the transaction (`learned`), and the server is cleaned. Between transactions only the listening
connection listens for it. The rules, in the order in which a client meets them:

    asking      before a text that may LISTEN is sent on, the listening connection has confirmed it, so nothing that is committed
                after the client's own commit is missed; what was committed before is dropped (`must_wait`, `foreseen`)
    placing     before a transaction block, and before a Query or a batch that looks at or changes the channels, the server at
                hand is made to listen to the client's channels: it then shows and changes what a session of the client's own
                would (`ahead`, `place`)
    ending      a ReadyForQuery outside a transaction is held back until everything committed before it is here: the client's
                own notifications come before it (`settle`)
    telling     at any other time only while the client is idle (`deliver`)

A process id in a notification is the one that client was given whose server notified. That server may just have been somebody
else's; so a client that listens does not begin on it before the other's notifications are through (`taken`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgpool_py.relay.replies import notice_response, ready_for_query
from pgpool_py.relay.upkeep import CHANNELS_PLACED
from pgpool_py.session import flags
from pgpool_py.session.channels import Mailbox, channels_in, listen_text, may_open_block
from pgpool_py.session.settings import ENCODING
from pgwire.expected import Action, Owed

IDLE = ord("I")
QUERY_SKIP = int(Owed.QUERY + Action.SKIP)
# What makes the client's channels necessary on the server, and what may have changed them there.
LOOKS = flags.LISTEN | flags.READS_CHANNELS | flags.OPAQUE
CHANGES = flags.LISTEN | flags.OPAQUE
LOST = "terminating connection because notifications were lost"


def needs_channels(text: bytes, verdict: int) -> bool:
    """Whether *text* must find the client's channels on its server: it looks at them, changes them, or opens a block."""
    return bool(verdict & LOOKS) or may_open_block(text)


class Subscription:
    """One client's part of a listening connection."""

    def __init__(self, client: Any, source: Any, channels: Iterable[bytes] = ()) -> None:
        self.client = client
        self.source = source
        self.former: Any = None  # the one that listened before, until *source* does
        self.halting = False  # once idle the client is not read: it is about to go to another process
        self.departing = False  # nothing is told any more: the other process does that
        self.channels = set(channels)  # what the session listens to
        self.foreseen: set[bytes] = set()  # what it may listen to when its transaction commits
        self.mailbox = Mailbox(source.mailbox_size)
        self.warning = b""  # a notice, for the next time the client may be told
        self.warning_due = b""  # the same, for when the client is listened for again
        self.doomed = ""  # why the client must be closed as soon as its transaction is over
        # the transaction at hand
        self.covered = True  # what was committed before the next message goes out is here
        self.placed = False  # the server at hand listens to them
        self.native: set[bytes] = set()  # what the server at hand brings: no text showed that it would be listened to
        self.changes = False  # the channels must be read from the server at its end
        self.ending = False  # it has ended, ReadyForQuery is held back
        self.known = False  # and everything committed before is here
        self.asked = False
        source.join(self)
        for channel in self.channels:
            source.table.add(self, channel)

    # --- the client's messages ---

    def must_wait(self, server: Any) -> bool:
        """Whether the client's next message must not go out yet; `Client.channels_ready` follows."""
        if self.covered or not (self.source.opened or self.foreseen):
            return False
        self.ask()
        return True

    def wants(self, text: bytes) -> bool:
        """The client sends *text*, which may LISTEN: False until the listening connection does."""
        new = channels_in(text) - self.channels - self.foreseen
        if new:
            for channel in new:
                self.source.table.add(self, channel)
            self.foreseen |= new
            self.covered = False
        return self.covered

    def ahead(self, server: Any, text: bytes, verdict: int) -> bytes:
        """What must go out ahead of *text*, and note what it may do."""
        if verdict & CHANGES:
            self.changes = True
        return self.place(server) if needs_channels(text, verdict) else b""

    def place(self, server: Any) -> bytes:
        """What makes the server listen to the client's channels, in a transaction ahead of the client's own.

        Not in the middle of one: what a session listens to changes, and shows, only at a commit.
        """
        if not self.channels or self.placed or server.status != IDLE:
            return b""
        expected = server.expected
        if not server.ready and not 0 < expected.size() == expected.owed_ready:
            return b""
        self.placed = True
        server.dirty |= flags.CHANNELS
        server.ready = False
        server.unnamed = None
        expected.add(QUERY_SKIP, CHANNELS_PLACED)
        text = listen_text(sorted(self.channels))
        return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"

    def taken(self, server: Any) -> None:
        """The client holds *server*, which somebody else used last."""
        if server.request_time >= self.source.covered and self.source.opened:
            self.covered = False
        else:
            self.own(server)

    def own(self, server: Any) -> None:
        """What comes from *server* from now on is the client's own."""
        server.owner_key = self.client.cancel_key
        server.owner_since = 0.0

    # --- the end of a transaction ---

    def settle(self, server: Any) -> bool:
        """The server is ready: whether the client may go on, or, after a held-back ReadyForQuery, not yet."""
        client = self.client
        if client.held and not self.ending:
            self.begin_ending()
            if self.changes:
                server.dirty |= flags.LISTEN
                self.changes = False
        if not self.ending:
            if server.status != IDLE and self.foreseen:
                self.covered = False  # the next message may be the COMMIT
            return True
        if server.dirty & flags.LOOKED and server.context.keeping:
            client.transaction_ended()
            client.look(server)
        if not self.known or client.asked is not None:
            return False
        self.finish(server)
        return client.server is server

    def begin_ending(self) -> None:
        """The transaction is over: learn what was committed up to now."""
        self.ending = True
        self.known = bool(self.doomed) or not (self.source.opened or self.foreseen)
        if not self.known:
            self.ask()

    def learned(self, server: Any, channels: set[bytes]) -> None:
        """What the server listens to, now that the transaction is over."""
        if channels:
            server.dirty |= flags.CHANNELS
        if not self.placed:
            channels |= self.channels
        table = self.source.table
        unforeseen = channels - self.channels - self.foreseen
        for channel in (self.channels | self.foreseen) - channels:
            table.remove(self, channel)
        for channel in unforeseen:
            table.add(self, channel)
        self.channels = channels
        self.foreseen = self.native = unforeseen
        if unforeseen:
            # No text showed them: until the listening connection has them, the server itself tells the client.
            self.covered = False
            self.begin_ending()

    def finish(self, server: Any) -> None:
        """Everything is known: tell the client, then that it is ready."""
        client = self.client
        for channel in self.foreseen - self.channels:
            self.source.table.remove(self, channel)
        self.foreseen = set()
        self.native = set()
        self.ending = False
        self.covered = True
        if not client.keeps_server:
            self.placed = False
        if not self.doomed and self.source.table.refuses(self, self.channels):
            self.missed("the listening connection cannot listen to all its channels")
        self.own(server)  # also where it began to listen only now: nothing of its own is on its way from there any more
        ready = ready_for_query(IDLE) if client.held else b""
        client.held = False
        client.send_data(self.letters() + ready)
        if self.close_if_doomed():
            return
        if not self.channels:
            self.leave()
        elif client.told.get(ENCODING, self.source.encoding) != self.source.encoding:
            self.move()
        elif self.halting:
            client.pause()

    def move(self) -> None:
        """The client reads another encoding now: another connection listens for it, and until that does, both."""
        if not all(channel.isascii() for channel in self.channels):
            self.missed("client_encoding changed, and a channel's name is not ASCII")
            self.deliver()
            return
        self.former = self.source
        self.source = self.client.relay.broker.listening_connection(self.client)
        self.source.join(self)
        for channel in self.channels:
            self.source.table.add(self, channel)
        self.asked = False
        self.ask()

    # --- what the listening connection says ---

    def ask(self) -> None:
        """Have `answered` called when everything that is committed now is here."""
        if not self.asked:
            self.asked = True
            self.source.ask(self)

    def answered(self, source: Any) -> None:
        """*source* has told all that was committed when it was asked."""
        client = self.client
        if client.closed or source is not self.source:
            return
        self.asked = False
        if self.former is not None:
            self.part(self.former)
            self.former = None
        if self.ending:
            self.known = True
            client.settled()
        else:
            # Committed before the client's own message goes out: a session does not hear that.
            self.mailbox.drop(self.foreseen - self.channels)
            self.covered = True
            if client.server is not None:
                self.own(client.server)
            self.warning, self.warning_due = self.warning + self.warning_due, b""
            client.channels_ready()
            if self.warning:
                self.deliver()

    def deliver(self) -> None:
        """Tell the client, if it is idle and reads."""
        if self.mailbox.overflown and not self.doomed:
            self.missed("the client does not keep up (listen_buffer_size)")
            self.mailbox.overflown = bool(self.doomed)  # after a warning it goes on
        if self.may_be_told():
            self.client.send_data(self.letters())
            self.close_if_doomed()
        elif self.doomed and self.client.server is None:
            self.close_if_doomed()

    def may_be_told(self) -> bool:
        """Whether the client is outside a transaction, and has taken what it was told before."""
        client = self.client
        if self.ending or self.foreseen or client.held or client.closed or client.leaving or client.out is not None:
            return False
        if self.departing:
            return False
        server = client.server
        return server is None or (server.ready and server.status == IDLE and client.kept is None)

    def letters(self) -> bytes:
        """All that the client is still to be told."""
        warning, self.warning = self.warning, b""
        return warning + self.mailbox.take(self.channels)

    def hears(self, channel: bytes) -> bool:
        """Whether the listening connection brings what comes on *channel*."""
        return channel in self.channels or (channel in self.foreseen and channel not in self.native)

    # --- moving to another process ---

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to it but its channels and its mailbox."""
        under_way = self.asked or self.ending or self.foreseen or self.native or self.changes or self.placed
        to_say = self.warning or self.warning_due or self.doomed or self.mailbox.overflown
        return bool(self.channels and self.covered and not under_way and not to_say and self.former is None)

    def begin_with_a_loss(self, why: str) -> None:
        """Between two processes notifications were lost."""
        self.missed(why)
        # Whoever looks at what was missed must not look too early.
        self.warning, self.warning_due = b"", self.warning
        self.ask()

    # --- the end ---

    def lost(self, source: Any, reason: str, successor: Any) -> None:
        """The listening connection is gone; *successor* is another one, where the loss is not fatal."""
        if source is self.former:
            self.former = None
        if self.client.closed or source is not self.source:
            return
        self.asked = False
        self.missed(f"the listening connection was lost: {reason}")
        if successor is not None:
            self.source = successor
            successor.join(self)
            for channel in self.channels | self.foreseen:
                successor.table.add(self, channel)
            # Whoever looks at what was missed must not look too early.
            self.warning, self.warning_due = b"", self.warning
            self.ask()
            if self.foreseen:
                return
        if self.ending:
            self.known = True
            self.client.settled()
        elif not self.covered:
            self.covered = True
            if not self.close_if_doomed():
                self.client.channels_ready()
        else:
            self.deliver()

    def refused(self, source: Any, code: str, message: str) -> None:
        """There is no listening connection, and none to be had."""
        self.asked = False
        self.leave()
        self.client.channels_refused(code, message)

    def missed(self, why: str) -> None:
        """Notifications are lost: the client is closed, or warned where that is configured."""
        if self.source.loss_is_fatal:
            self.doomed = f"{LOST}: {why}"
        else:
            self.warning = notice_response(f"notifications were lost: {why}", "WARNING", "01000")

    def close_if_doomed(self) -> bool:
        """Close the client if it must be; True when it was."""
        if not self.doomed or self.client.closed:
            return False
        self.leave()
        self.client.terminate("57P01", self.doomed)
        return True

    def leave(self) -> None:
        """The client listens to nothing any more."""
        self.part(self.source)
        if self.former is not None:
            self.part(self.former)
        self.channels = set()
        self.foreseen = set()
        self.client.subscription = None

    def part(self, source: Any) -> None:
        """Need *source* no more."""
        for channel in self.channels | self.foreseen:
            source.table.remove(self, channel)
        source.part(self)
