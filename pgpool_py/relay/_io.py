"""The seam between the relay and the system: one shared buffer and the calls that fill and empty it.

Two forms with the same functions on plain integers: this one for the interpreter, `_io.pyx` for the compiled build.
`python benchmarks/compare.py` guards both: nearly all of a transaction's cost is in these calls.

The relay is one thread; a buffer's content is valid until the next `recv` or `load`.
"""

import os
import select
import time

SIZE = 589824  # what is kept of a message at most (HOLD_OWN in server.py), and CHUNK behind it
CHUNK = 65536

data = bytearray(SIZE)
view = memoryview(data)  # for calls that fill or empty a Python buffer
_ready: list[tuple[int, int]] = []
_polls: dict[int, select.epoll] = {}

clock = time.monotonic


def recv(fd: int, at: int) -> int:
    """Read up to `CHUNK` bytes to offset *at*; the count, 0 at the end of the stream, -1 for "not now", -2 for an error."""
    try:
        return os.readv(fd, [view[at : at + CHUNK]])
    except BlockingIOError:
        return -1
    except OSError:
        return -2


def send(fd: int, start: int, stop: int) -> int:
    """Write that part of the buffer; the count written, -1 for "not now", -2 for an error."""
    return _write(fd, view[start:stop])


def send_bytes(fd: int, source: bytes, start: int) -> int:
    """Write *source* from *start*; answers as `send` does."""
    return _write(fd, memoryview(source)[start:])


def _write(fd: int, part: memoryview) -> int:
    try:
        return os.write(fd, part)
    except BlockingIOError:
        return -1
    except OSError:
        return -2


def wait(epoll: int, milliseconds: int) -> int:
    """Wait for events of that epoll descriptor; how many are ready."""
    poll = _polls.get(epoll)
    if poll is None:
        poll = _polls[epoll] = select.epoll.fromfd(os.dup(epoll))
    _ready[:] = poll.poll(milliseconds / 1000, 512)
    return len(_ready)


def ready_fd(i: int) -> int:
    """The descriptor of the i-th ready event."""
    return _ready[i][0]


def ready_events(i: int) -> int:
    """The event mask of the i-th ready event."""
    return _ready[i][1]


def load(at: int, source: bytes) -> None:
    """Copy *source* into the buffer at offset *at*."""
    data[at : at + len(source)] = source


def piece(start: int, stop: int) -> bytes:
    """A copy of that part of the buffer."""
    return bytes(view[start:stop])


def raw(start: int, stop: int) -> bytes:
    """That part of the buffer for whoever only looks at it now; compiled, a pointer."""
    return bytes(view[start:stop])


def same(start: int, stop: int, known: bytes) -> bool:
    """Whether that part of the buffer equals *known*."""
    return view[start:stop] == known


def slot(start: int, stop: int) -> int:
    """A number from 0 to 63, mostly another one for another content of that part of the buffer."""
    return hash(bytes(view[start:stop])) & 63


def find_zero(start: int, stop: int) -> int:
    """The offset of the first zero byte in that part of the buffer, or -1."""
    return data.find(0, start, stop)


def byte(i: int) -> int:
    """The byte at offset *i*."""
    return data[i]


def u32(i: int) -> int:
    """The big-endian unsigned 32-bit integer at offset *i*."""
    return int.from_bytes(view[i : i + 4], "big")

