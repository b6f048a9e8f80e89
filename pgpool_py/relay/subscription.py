"""What one client listens to, and when it is told: the rules of LISTEN (manual, LISTEN and NOTIFY) over a listening connection.

A client that listens has one of these. Its LISTEN and UNLISTEN run on the server it holds, natively; what they came to is read
from that server at the end of the transaction (`learned`), and the server is cleaned. Between transactions only the listening
connection listens for it. The rules, in the order in which a client meets them:

    connecting  a text that may LISTEN is sent on once there is a listening connection (`connected`)
    placing     before a transaction block, and before a Query or a batch that looks at or changes the channels, the server at
                hand is made to listen to the client's channels: it then shows and changes what a session of the client's own
                would (`ahead`, `place`)
    ending      a ReadyForQuery outside a transaction is held back until everything committed before it is here: the client's
                own notifications come before it (`settle`)
    handing     what comes on channels that are new the server at hand brings, from their very commit on, until the listening
    over        connection does. Both hear one mark: before it the one counts, behind it the other (`hands_over`)
    telling     at any other time only while the client is idle (`deliver`), in the encoding that it reads at that time

A process id in a notification is the one that client was given whose server notified. That server may just have been somebody
else's; so a client that listens does not begin on it before the other's notifications are through (`taken`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgpool_py.relay.replies import notice_response, ready_for_query
from pgpool_py.relay.upkeep import CHANNELS_PLACED, MARKER_PLACED
from pgpool_py.session import flags
from pgpool_py.session.channels import Mailbox, listen_text, may_open_block, quoted
from pgpool_py.session.settings import ENCODING
from pgwire import ErrorResponse
from pgwire.expected import Action, Owed

IDLE = ord("I")
QUERY_SKIP = int(Owed.QUERY + Action.SKIP)
# What makes the client's channels necessary on the server, and what may have changed them there.
LOOKS = flags.LISTEN | flags.READS_CHANNELS | flags.OPAQUE | flags.EXECUTES
CHANGES = flags.LISTEN | flags.OPAQUE
# What may end them; a text that opens a block (no verdict has a bit for that, so another's stands for it); what has them placed.
ENDS = CHANGES | flags.CLEANUP
BLOCK = flags.TRANSACTION_LOCAL
PLACES = LOOKS | BLOCK
SERVER_ENCODING = b"server_encoding"
LOST = "terminating connection because notifications were lost"
ADMIN_SHUTDOWN = "57P01"
# The server at hand is asked to listen to the marker and to notify it, it has, it is asked to stop; the listening connection
# has taken over. (Nobody waits for a standby for the mark's sake.)
PLACING, PLACED, REMOVING, OVER = range(1, 5)
MARK = (
    b"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL synchronous_commit = off; LISTEN %s; NOTIFY %s, '%d'"
)
SPELLED = 100  # names that are asked for
TRIES = 5  # it may be hit by a cancel that comes late


def concerns(text: bytes, verdict: int) -> int:
    """What of *text* concerns channels: that it looks at them, changes them, ends them, or opens a block. 0: nothing."""
    return verdict & (LOOKS | ENDS) | (BLOCK if may_open_block(text) else 0)


class Subscription:
    """One client's part of a listening connection."""

    def __init__(self, client: Any, source: Any, channels: Iterable[bytes] = ()) -> None:
        self.client = client
        self.source = source
        self.halting = False  # once idle the client is not read: it is about to go to another process
        self.departing = False  # nothing is told any more: the other process does that
        self.channels = set(channels)  # what the session listens to
        self.mailbox = Mailbox(source.mailbox_size)
        self.warning = b""  # a notice, for the next time the client may be told
        self.warning_due = b""  # the same, for when the client is listened for again
        self.doomed = ""  # why the client must be closed as soon as its transaction is over
        self.doom = ADMIN_SHUTDOWN  # the code for that
        # the transaction at hand
        self.connecting = False  # its text waits for the listening connection to be opened
        self.covered = True  # what was committed before the next message goes out is here
        self.fresh = False  # ... and told
        self.placed = False  # the server at hand listens to them
        self.changes = False  # the channels must be read from the server at its end
        self.ending = False  # it has ended, ReadyForQuery is held back
        self.known = False  # and everything committed before is here
        self.asked = False
        # the channels that are new with it
        self.awaited: set[bytes] = set()  # they: the listening connection is to listen to them, too
        self.brought = Mailbox(source.mailbox_size)  # what the server at hand brings
        self.stage = 0
        self.tries = 0
        self.marker = b""  # the channel of the mark, which is made by the server at hand
        self.mark = b""  # its number
        self.passed = False  # the server at hand has brought it
        self.heard = False  # the listening connection has
        self.broken = False  # ... cannot any more: it is lost
        source.join(self)
        for channel in self.channels:
            source.table.add(self, channel)

    # --- the client's messages ---

    def must_wait(self, server: Any) -> bool:
        """Whether the client's next message must not go out yet; `Client.channels_ready` follows, or its transaction ends."""
        if self.covered or not (self.source.opened or self.connecting or self.ending):
            return False
        if not self.ending:
            self.ask()
        return True

    def connected(self) -> bool:
        """The client sends a text that may LISTEN: False until there is a connection that can take over from its server."""
        if not self.source.opened:
            self.connecting = True
            self.covered = False
        return bool(self.source.opened)

    def up_to_date(self, server: Any, verdict: int) -> bool:
        """What may end the listening is to be sent, outside of a transaction: False until what is committed by now is told."""
        if not verdict & ENDS or self.fresh or not self.channels or server.status != IDLE or not self.source.opened:
            return True
        self.covered = False
        self.ask()
        return False

    def ahead(self, server: Any, text: bytes, verdict: int) -> bytes:
        """What must go out ahead of *text*, and note what it may do."""
        if verdict & CHANGES:
            self.changes = True
        return self.place(server) if concerns(text, verdict) & PLACES else b""

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
        theirs = server.reported.get(SERVER_ENCODING)
        as_spelled = theirs == server.reported.get(ENCODING) == self.client.told.get(ENCODING)
        text = listen_text(sorted(self.channels), as_spelled)
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

    def brings(self, channel: bytes, message: bytes) -> bool:
        """The server at hand passes on a notification, *message*; whether the client is told that otherwise, or not at all."""
        if channel == self.marker:
            self.passed = self.passed or message[10 + len(channel) : -1] == self.mark
            return True
        if self.changes or self.ending:
            if not self.passed:
                self.brought.put(channel, message)
            return True
        # In another encoding its name is not ours; but to others than ours the server does not listen.
        return channel in self.channels or not channel.isascii()

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
            return True
        if server.dirty & flags.LOOKED and server.context.keeping:
            client.transaction_ended()
            client.look(server)
        if client.asked is not None or (self.awaited and self.hands_over(server)) or not self.known:
            return False
        self.note_overflow()
        if not self.doomed and self.source.table.refuses(self, self.channels):
            self.missed("the listening connection cannot listen to all its channels")
        if not self.tell(ready_for_query(IDLE) if client.held else b""):
            return False
        self.finish(server)
        return client.server is server

    def begin_ending(self) -> None:
        """The transaction is over: learn what was committed up to now."""
        self.ending = True
        self.known = bool(self.doomed) or not self.source.opened
        if not self.known:
            self.ask()

    def learned(self, server: Any, channels: set[bytes]) -> None:
        """What the server listens to, now that the transaction is over."""
        channels.discard(self.marker)
        if channels:
            server.dirty |= flags.CHANNELS
        if not self.placed:
            channels |= self.channels
        table = self.source.table
        for channel in self.channels - channels:
            table.remove(self, channel)
        for channel in channels - self.channels:
            table.add(self, channel)
        self.awaited = self.awaited & channels | (channels - self.channels)
        self.channels = channels
        if self.awaited:
            if not self.ending:
                # No text showed them, and the client has its ReadyForQuery: what it says next waits.
                self.covered = False
                self.ending = True
            self.known = bool(self.doomed)
            self.ask()

    def hands_over(self, server: Any) -> bool:
        """Whether the listening connection is still to take over what is new; then the next step towards that is taken."""
        if self.doomed or not self.known:
            return not self.doomed
        if not self.stage:
            self.stage = PLACING
            self.marker = self.source.marker
            number = self.source.next_mark(self)
            self.mark = b"%d" % number
            server.dirty |= flags.CHANNELS
            server.query(MARK % (quoted(self.marker), quoted(self.marker), number), MARKER_PLACED)
        elif self.stage == PLACED and self.passed and self.heard:
            spelled = self.spelled()
            if spelled is None:
                return True
            self.mailbox.merge(self.brought, self.channels, self.awaited, spelled, not self.broken)
            self.stage = REMOVING  # the client may go on with this server, and look
            server.query(b"UNLISTEN " + quoted(self.marker), MARKER_PLACED)
        return self.stage != OVER

    def spelled(self) -> dict[bytes, bytes] | None:
        """The channels by their names at the server at hand, where these are others; None: PostgreSQL is asked for them."""
        encoding = self.client.told.get(ENCODING, self.source.encoding)
        names = [name for name in self.channels if not name.isascii()]
        if not names or not self.source.converts(encoding) or len(names) > SPELLED:
            return {}
        spellings = [(self.source.spelling(name, encoding, self), name) for name in names]
        if any(spelling is None for spelling, _ in spellings):
            return None
        return {spelling: name for spelling, name in spellings if isinstance(spelling, bytes)}

    def marker_placed(self, failed: bool) -> None:
        """The server at hand was told to make the mark, or to listen to the marker no more."""
        if self.stage == REMOVING:
            self.stage = OVER
        elif self.stage == PLACING:
            self.stage = 0 if failed else PLACED
            self.tries += failed
            if self.tries == TRIES:
                self.stage = OVER
                self.missed("its own server cannot listen")

    def mark_heard(self) -> None:
        """The listening connection has heard the mark."""
        self.mailbox.mark()
        self.heard = True

    def finish(self, server: Any) -> None:
        """Everything is known, and told: the client is between two transactions."""
        client = self.client
        self.awaited = set()
        self.brought.reset()
        self.stage = self.tries = 0
        self.ending = self.passed = self.heard = self.broken = self.fresh = False
        self.covered = True
        if not client.keeps_server:
            self.placed = False
        self.own(server)  # also where it began to listen only now: nothing of its own is on its way from there any more
        client.held = False
        if self.close_if_doomed():
            return
        if not self.channels:
            self.leave()
        elif self.halting:
            client.pause()

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
        self.warning, self.warning_due = self.warning + self.warning_due, b""
        if self.ending:
            self.known = True
            client.settled()
        else:
            self.connecting = False
            self.covered = True
            server = client.server
            if server is not None:
                self.own(server)
                if server.ready and server.status == IDLE:
                    self.fresh = self.tell()
                    if self.close_if_doomed():
                        return
            client.channels_ready()
            if self.warning:
                self.deliver()

    def go_on(self) -> None:
        """What it waits for has come: the mark, or how what is to be told next is spelled."""
        if self.ending:
            self.client.settled()
        else:
            self.deliver()

    def deliver(self) -> None:
        """Tell the client, if it is idle and reads."""
        self.note_overflow()
        if self.may_be_told():
            self.tell()
            self.close_if_doomed()
        elif self.doomed and self.client.server is None:
            self.close_if_doomed()

    def note_overflow(self) -> None:
        """More came than is kept for the client."""
        if self.mailbox.overflown and not self.doomed:
            self.missed("the client does not keep up (listen_buffer_size)")
            self.mailbox.overflown = bool(self.doomed)  # after a warning it goes on

    def may_be_told(self) -> bool:
        """Whether the client is outside a transaction, and has taken what it was told before."""
        client = self.client
        if self.ending or client.held or client.closed or client.leaving or client.out is not None:
            return False
        if self.departing:
            return False
        server = client.server
        return server is None or (server.ready and server.status == IDLE and client.kept is None)

    def tell(self, end: bytes = b"") -> bool:
        """Tell the client all that is left to tell, then *end*; False: of the next PostgreSQL is asked for the spelling."""
        client, source = self.client, self.source
        words, self.warning = [self.warning], b""
        encoding = client.told.get(ENCODING, source.encoding)
        known = True
        if not source.converts(encoding):
            words.append(self.mailbox.take(self.channels))
        while known and (letter := self.mailbox.first(self.channels)) is not None:
            is_spelled, message = letter
            spelled = message if is_spelled else source.spelled(message, encoding, self)
            if isinstance(spelled, ErrorResponse):
                # As on a connection of its own, where what cannot be said ends the session.
                self.doomed, self.doom = spelled.message or LOST, spelled.code or ADMIN_SHUTDOWN
                self.mailbox.clear()
            elif spelled is None:
                known = False
            else:
                self.mailbox.drop_first()
                words.append(spelled)
        if known:
            words.append(end)
        client.send_data(b"".join(words))
        return known

    # --- moving to another process ---

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to it but its channels and its mailbox."""
        under_way = self.asked or self.ending or self.changes or self.placed
        to_say = self.warning or self.warning_due or self.doomed or self.mailbox.overflown
        return bool(self.channels and self.covered and not under_way and not to_say)

    def begin_with_a_loss(self, why: str) -> None:
        """Between two processes notifications were lost."""
        self.missed(why)
        # Whoever looks at what was missed must not look too early.
        self.warning, self.warning_due = b"", self.warning
        self.ask()

    # --- the end ---

    def lost(self, source: Any, reason: str, successor: Any) -> None:
        """The listening connection is gone; *successor* is another one, where the loss is not fatal."""
        if self.client.closed or source is not self.source:
            return
        self.asked = False
        self.missed(f"the listening connection was lost: {reason}")
        if self.stage:
            # There is no mark to wait for. (One that is not made yet is made for the successor.)
            self.mark_heard()
            self.broken = True
        if successor is not None:
            self.source = successor
            successor.join(self)
            for channel in self.channels:
                successor.table.add(self, channel)
            # Whoever looks at what was missed must not look too early.
            self.warning, self.warning_due = b"", self.warning
            self.ask()
            if self.connecting:
                return
        if self.ending:
            self.known = bool(self.stage or self.doomed or not self.awaited)
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
        if self.ending:
            self.doomed, self.doom = message, code
            self.known = True
            self.client.settled()
        else:
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
        self.client.terminate(self.doom, self.doomed)
        return True

    def leave(self) -> None:
        """The client listens to nothing any more."""
        for channel in self.channels:
            self.source.table.remove(self, channel)
        self.source.part(self)
        self.channels = set()
        self.client.subscription = None
