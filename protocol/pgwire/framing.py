"""Cutting a stream of bytes into messages.

Keeps what was received and not yet consumed. A length is judged as soon as it is known, before anything is
kept because of it. Knows no message and no state: the caller says how long the next one may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .codes import TLS_HANDSHAKE
from .errors import malformed

_HEADER = 5


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message too large to be held: *left* bytes of its body are still to come."""

    message_type: int
    data: bytes = field(repr=False)
    left: int
    first: bool


class FrameReader:
    """Whole messages out of arbitrary pieces."""

    __slots__ = ("_buffer", "_part_left", "_part_type")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._part_type = 0
        self._part_left = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Keep *data* behind what is there."""
        self._buffer += data

    def leftover(self) -> bytes:
        """Everything not yet consumed; afterwards there is nothing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def take_byte(self) -> int:
        """The first byte, consumed."""
        return self._take(1)[0]

    def message_type(self) -> int | None:
        """The type of the next message, known from its first byte on."""
        return self._buffer[0] if self._buffer else None

    def begins_tls(self) -> bool:
        return self.message_type() == TLS_HANDSHAKE

    def startup_packet(self, most: int) -> bytes | None:
        """The contents of a packet without a type or its length word, or None until it is complete."""
        if len(self._buffer) < 4:
            return None
        length = int.from_bytes(self._buffer[:4], "big") - 4
        if not 4 <= length <= most:
            raise malformed("invalid length of startup packet")
        if len(self._buffer) < 4 + length:
            return None
        self._take(4)
        return self._take(length)

    def message(self, most: int, stream_above: int | None = None) -> tuple[int, bytes] | Part | None:
        """Type and body of the next message, or None until it is complete.

        A body above *stream_above* comes as Parts as it arrives, whatever *most* is; nothing of it is held.
        """
        if self._part_left:
            return self._next_part() if self._buffer else None
        if len(self._buffer) < _HEADER:
            return None
        length = int.from_bytes(self._buffer[1:_HEADER], "big") - 4
        if length < 0 or length > 0x7FFFFFFF - 4:  # the manual's Int32 has a sign
            raise malformed("invalid message length")
        if stream_above is not None and length > stream_above:
            self._part_type, self._part_left = self._buffer[0], length
            self._take(_HEADER)
            return self._next_part(first=True)
        if length > most:
            raise malformed("invalid message length")
        if len(self._buffer) < _HEADER + length:
            return None
        code = self._take(_HEADER)[0]
        return code, self._take(length)

    @property
    def inside_part(self) -> bool:
        """Whether the next bytes belong to a message whose first Part was given out."""
        return self._part_left > 0

    def _next_part(self, first: bool = False) -> Part:
        data = self._take(min(len(self._buffer), self._part_left))
        self._part_left -= len(data)
        return Part(self._part_type, data, self._part_left, first)

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]  # cheap: a bytearray only moves its start
        return data
