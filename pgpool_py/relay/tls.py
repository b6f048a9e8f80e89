"""The calls of a TLS socket with the answers of `_io.recv` and `_io.send`: all that tells a TLS connection from a plain one.

The handshake was done in the control plane; here is what the relay does with the socket afterwards. Hot: each read and each write
of a TLS connection comes through here; `python benchmarks/compare.py --tls both` guards it.

Nothing may stay behind in the SSL object, because epoll sees only the socket. OpenSSL reads one record at a time, so whoever
offers room for a whole record leaves nothing of it: `receive` never reads with less.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from pgpool_py.relay._io import piece, view
from pgpool_py.tls.session import describe

RECORD = 16384  # the most that one record carries
ROOM = 65536  # what a read may bring, as _io's CHUNK
# A record of this size seldom comes alone, and asking for the next in vain costs a system call; smaller ones mostly do.
LARGE = 4096

FIRST = view[:ROOM]  # where nearly every read goes


class Channel:
    """A TLS connection after its handshake; owns the socket.

    `again`        read once more when the socket can be written, whether something arrives or not: TLS itself wants to write
                   (a change of keys), or the end of the stream came right behind data
    `description`  version and cipher, as the log and the console name them
    """

    def __init__(self, sock: ssl.SSLSocket, description: str) -> None:
        self.sock = sock
        self.description = description
        self.again = False
        # The object inside makes the very calls; SSLSocket's methods around it would cost as much again in Python.
        inside: Any = getattr(sock, "_sslobj", None) or sock
        self.read = inside.read
        self.write = inside.write

    def __str__(self) -> str:
        return self.description

    def receive(self, at: int) -> int:
        """Read to offset *at* of the shared buffer; answers as `_io.recv` does."""
        total = 0
        self.again = False
        try:
            while total <= ROOM - RECORD:
                if at + total == 0:
                    n = self.read(ROOM, FIRST)
                else:
                    n = self.read(ROOM - total, view[at + total : at + ROOM])
                if n == 0:
                    # It is told once: an event will not come for it again.
                    self.again = total > 0
                    break
                total += n
                if n < LARGE:
                    break
        except ssl.SSLWantReadError:
            return total if total else -1
        except ssl.SSLWantWriteError:
            self.again = True
            return total if total else -1
        except ssl.SSLEOFError:
            self.again = total > 0
            return total
        except OSError:
            # What was read before is given out first; the error is met again then.
            self.again = total > 0
            return total if total else -2
        return total

    def send(self, start: int, stop: int) -> int:
        """Write that part of the shared buffer; answers as `_io.send` does."""
        if stop - start <= LARGE:
            return self.put(piece(start, stop))  # less work than a view
        return self.put(view[start:stop])

    def send_bytes(self, source: bytes) -> int:
        """Write *source*; answers as `_io.send` does.

        OpenSSL keeps what the socket did not take of its last record and wants to be given the same bytes again, more of
        them or not, at any address: that is what becomes of them in `Connection.out`.
        """
        return self.put(source)

    def put(self, part: bytes | memoryview) -> int:
        """Write *part*."""
        try:
            return int(self.write(part))
        except ssl.SSLWantWriteError:
            return -1
        except OSError:
            # Also "wants to read": only a renegotiation would, and our contexts allow none.
            return -2

    def close(self) -> None:
        """Say goodbye as far as the socket takes it without waiting, and close."""
        try:
            self.sock.unwrap()
        except (OSError, ValueError):
            pass  # what the peer has to say to it is not awaited
        self.sock.close()


def adopt(sock: socket.socket) -> tuple[int, Channel | None]:
    """Take a socket over from the control plane: its descriptor, and its channel if it speaks TLS."""
    if isinstance(sock, ssl.SSLSocket):
        return sock.fileno(), Channel(sock, describe(sock))
    return sock.detach(), None

