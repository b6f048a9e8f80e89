"""Channels: the names a text listens to, who listens to which, and what one client is still to be told.

Pure: no sockets, no time. A connection listens for many clients; `Listeners` is its table. A client's `Mailbox` keeps
notifications while the client may not be told (manual, NOTIFY: only between transactions), within a bound.

Names are bytes in the encoding of the client, which is also that of the connection which listens for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

LONGEST = 63  # bytes of a name; PostgreSQL cuts longer ones

# Every place where the word LISTEN is followed by a name, in a comment or a string too: listening to one channel more than is
# needed, for a moment, harms nobody. A place that is missed is found by the look at the server afterwards.
_GAP = rb"(?:\s++|--[^\n\r]*+|(?>/\*.*?\*/)|)*+"
_LISTEN = re.compile(
    rb"(?<![\w$\x80-\xff])LISTEN(?![\w$\x80-\xff])" + _GAP + rb'(?:"((?:[^"]|"")+)"|([A-Za-z_\x80-\xff][\w$\x80-\xff]*))',
    re.IGNORECASE | re.DOTALL,
)
_BLOCK = re.compile(rb"(?<![\w$])(?:begin|start(?![\w$]).{0,400}?(?<![\w$])transaction)(?![\w$])", re.IGNORECASE | re.DOTALL)

Who = TypeVar("Who")


def channels_in(text: bytes) -> set[bytes]:
    """The channels that *text* may begin to listen to, as PostgreSQL spells their names."""
    found: set[bytes] = set()
    for match in _LISTEN.finditer(text):
        name = match[1].replace(b'""', b'"') if match[1] is not None else match[2].lower()
        found.add(_cut(name))
    return found


def may_open_block(text: bytes) -> bool:
    """Whether *text* may begin a transaction block; every one that does is among them."""
    return _BLOCK.search(text) is not None


def listen_text(names: Iterable[bytes]) -> bytes:
    """The query that listens to these channels."""
    return b"; ".join(b"LISTEN " + quoted(name) for name in names)


def quoted(name: bytes) -> bytes:
    """*name* as an identifier."""
    return b'"' + name.replace(b'"', b'""') + b'"'


def _cut(name: bytes) -> bytes:
    if len(name) <= LONGEST:
        return name
    # Never in the middle of a character; where this is not UTF-8 the look afterwards gives the true name.
    return name[:LONGEST].decode("utf-8", "ignore").encode()


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
        self._letters: list[tuple[bytes, bytes]] = []

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

    def take(self, channels: set[bytes]) -> bytes:
        """All that is kept for these channels, in order; the rest is dropped with it."""
        messages = b"".join(message for channel, message in self._letters if channel in channels)
        self.clear()
        return messages

    def drop(self, channels: set[bytes]) -> None:
        """Forget what is kept for these channels."""
        self._letters = [letter for letter in self._letters if letter[0] not in channels]
        self.size = sum(len(message) for _, message in self._letters)

    def copy_to(self, other: Mailbox, channels: set[bytes]) -> None:
        """Keep what is kept here for these channels in *other*, too."""
        for channel, message in self._letters:
            if channel in channels:
                other.put(channel, message)
        other.overflown = other.overflown or self.overflown

    def clear(self) -> None:
        """Forget all."""
        self._letters.clear()
        self.size = 0
