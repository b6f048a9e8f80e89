"""Channels: whether a text may listen, who listens to which, and what one client is still to be told.

Pure: no sockets, no time. A connection listens for many clients; `Listeners` is its table. A client's `Mailbox` keeps
notifications while the client may not be told (manual, NOTIFY: only between transactions), within a bound.

Names are bytes in the encoding of the database, whatever that of the client.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

# In a comment or a string, too: to be ready for a LISTEN that does not come harms nobody.
_LISTEN = re.compile(rb"(?<![\w$\x80-\xff])LISTEN(?![\w$\x80-\xff])", re.IGNORECASE)
_BLOCK = re.compile(rb"(?<![\w$])(?:begin|start(?![\w$]).{0,400}?(?<![\w$])transaction)(?![\w$])", re.IGNORECASE | re.DOTALL)

NO_NAMES: Mapping[bytes, bytes] = {}

Who = TypeVar("Who")


def may_listen(text: bytes) -> bool:
    """Whether *text* may begin to listen; one that does so in a way that no text shows is not among them."""
    return _LISTEN.search(text) is not None


def may_open_block(text: bytes) -> bool:
    """Whether *text* may begin a transaction block; every one that does is among them."""
    return _BLOCK.search(text) is not None


def listen_text(names: Iterable[bytes], as_spelled: bool = True) -> bytes:
    """The query that listens to these channels; not *as_spelled*: by a session whose encoding is not the database's."""
    return b"; ".join(
        b"LISTEN " + quoted(name) if as_spelled or name.isascii() else _DECODED % name.hex().encode() for name in names
    )


def quoted(name: bytes) -> bytes:
    """*name* as an identifier."""
    return b'"' + name.replace(b'"', b'""') + b'"'


_DECODED = (
    b"DO LANGUAGE plpgsql 'BEGIN EXECUTE pg_catalog.format(''LISTEN %%I'', pg_catalog.convert_from("
    b"pg_catalog.decode(''%s'', ''hex''), pg_catalog.getdatabaseencoding())); END'"
)


class Listeners(Generic[Who]):
    """Who listens to which channel on one connection, and what must be asked of the server for it.

    `heard`  the channels that the server has confirmed that it listens to
    """

    def __init__(self) -> None:
        self.heard: set[bytes] = set()
        self._by_channel: dict[bytes, dict[Who, None]] = {}
        self._missing: set[bytes] = set()  # wanted, neither heard nor asked for
        self._asked: set[bytes] = set()  # in the query under way
        self._parted: set[bytes] = set()  # nobody's any more, heard or asked for
        self._doubtful: list[bytes] = []  # refused together with others: to be asked for one by one

    def __len__(self) -> int:
        return len(self._by_channel)

    def add(self, who: Who, channel: bytes) -> None:
        """*who* wants to hear *channel*."""
        listeners = self._by_channel.get(channel)
        if listeners is None:
            listeners = self._by_channel[channel] = {}
            self._parted.discard(channel)
            if channel not in self.heard and channel not in self._asked:
                self._missing.add(channel)
        listeners[who] = None

    def remove(self, who: Who, channel: bytes) -> None:
        """*who* does not any more."""
        listeners = self._by_channel.get(channel)
        if listeners is not None and who in listeners:
            del listeners[who]
            if not listeners:
                del self._by_channel[channel]
                self._missing.discard(channel)
                if channel in self.heard or channel in self._asked:
                    self._parted.add(channel)

    def of(self, channel: bytes) -> tuple[Who, ...]:
        """Who hears *channel*."""
        return tuple(self._by_channel.get(channel, ()))

    def decided(self, channels: Iterable[bytes]) -> bool:
        """Whether the server listens to each of *channels*, or has refused it."""
        return all(channel in self.heard or channel not in self._by_channel for channel in channels)

    def refuses(self, who: Who, channels: Iterable[bytes]) -> bool:
        """Whether the server has refused one of *channels*, which *who* wants."""
        return any(who not in self._by_channel.get(channel, ()) for channel in channels)

    @property
    def pending(self) -> bool:
        """Whether the server listens to other channels than it should."""
        return bool(self._missing or self._doubtful or not self._parted.isdisjoint(self.heard))

    def next_query(self) -> bytes:
        """The query that makes the server listen to what is wanted, empty when it does; `confirmed` or `refused` follows."""
        if self._doubtful:
            self._asked = {self._doubtful.pop()}
            return listen_text(self._asked)
        self._asked, self._missing = self._missing, set()
        parted = self._parted & self.heard
        self._parted -= parted
        self.heard -= parted
        steps = [b"UNLISTEN " + quoted(name) for name in sorted(parted)]
        if self._asked:
            steps.append(listen_text(sorted(self._asked)))
        return b"; ".join(steps)

    def confirmed(self) -> None:
        """The query was carried out."""
        self.heard |= self._asked
        self._asked = set()

    def refused(self) -> None:
        """The query failed. What was asked for alone is given up: whoever wants it hears of it from its own server."""
        if len(self._asked) > 1:
            self._doubtful.extend(self._asked)
        else:
            for channel in self._asked:
                self._by_channel.pop(channel, None)
        self._asked = set()


class Mailbox:
    """Notifications for one client, oldest first, each with its channel.

    `size`       bytes kept
    `overflown`  more came than *limit*: all are gone, and the client must be told so
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.overflown = False
        self._letters: deque[tuple[bytes | None, bytes]] = deque()
        self._marked = 0

    def __bool__(self) -> bool:
        return bool(self._letters)

    def put(self, channel: bytes, message: bytes) -> None:
        """Keep *message*, or give up."""
        if self.overflown:
            return
        self._letters.append((channel, message))
        self.size += len(message)
        if self.limit and self.size > self.limit:
            self.clear()
            self.overflown = True

    def mark(self) -> None:
        """What is kept up to now was committed before a mark, what comes behind it."""
        self._marked = len(self._letters)

    def merge(
        self,
        brought: Mailbox,
        channels: set[bytes],
        new: set[bytes],
        spelled: Mapping[bytes, bytes] = NO_NAMES,
        comparable: bool = True,
    ) -> None:
        """Take in what the client's own server has *brought* up to the same mark, in its own words, and leave that empty.

        Of the client's *channels* it listened to those that are *new*, of which what is here from before the mark is not for the
        client, and to the others for the end of the time at most. *spelled*: which of them it means by another name. Not
        *comparable*: what is here does not reach up to the mark.
        """
        letters = list(self._letters)
        before, behind = letters[: self._marked], letters[self._marked :]
        before = [letter for letter in before if letter[0] in channels and letter[0] not in new]
        theirs = [(spelled.get(name or b"", name), message) for name, message in brought._letters]
        # Of others, which have just ended, the client was told before. (What has no known name rather twice than not at all.)
        theirs = [letter for letter in theirs if letter[0] in channels or not (letter[0] or b"").isascii()]
        if not comparable:
            theirs = [letter for letter in theirs if letter[0] in new]
        both = [at for at, (name, _) in enumerate(theirs) if name in channels and name not in new]
        # They end alike: of what both have, the last are the same.
        same = min(len(before), len(both))
        told = set(both[: len(both) - same])
        own = [(None, message) for at, (_, message) in enumerate(theirs) if at not in told]
        self.clear()
        self._letters.extend([*before[: len(before) - same], *own, *behind])
        self.size = sum(len(message) for _, message in self._letters)
        self.overflown = self.overflown or brought.overflown
        brought.reset()

    def take(self, channels: set[bytes]) -> bytes:
        """All that is kept for these channels, in order; the rest is dropped with it."""
        messages = b"".join(message for channel, message in self._letters if channel is None or channel in channels)
        self.clear()
        return messages

    def first(self, channels: set[bytes]) -> tuple[bool, bytes] | None:
        """The first for these channels, and whether it is in the client's own words already; what comes before it is dropped."""
        while self._letters:
            channel, message = self._letters[0]
            if channel is None or channel in channels:
                return channel is None, message
            self.drop_first()
        return None

    def drop_first(self) -> None:
        """Forget the first."""
        self.size -= len(self._letters.popleft()[1])

    def copy_to(self, other: Mailbox, channels: set[bytes]) -> None:
        """Keep what is kept here for these channels in *other*, too."""
        for channel, message in self._letters:
            if channel in channels:
                other.put(channel, message)
        other.overflown = other.overflown or self.overflown

    def reset(self) -> None:
        """Forget all, and that anything was lost."""
        self.clear()
        self.overflown = False

    def clear(self) -> None:
        """Forget all."""
        self._letters.clear()
        self._marked = 0
        self.size = 0
