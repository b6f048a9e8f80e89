"""A TLS client that can close its own direction only: Python's TLS sockets always want the other side's goodbye at once."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from pgpool_py.testing import Pooler
from tests.system.rawclient import Address, RawClient
from tests.tls.conftest import SSL_REQUEST, USER


class BioSocket:
    """As much of a socket as the raw client needs, with TLS done in memory."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(sock.recv(65536))
        self._flush()

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                data = self._sock.recv(65536)
                if not data:
                    raise AssertionError("the pooler closed without a goodbye") from None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def say_goodbye(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    def _flush(self) -> None:
        self._sock.sendall(self._outgoing.read())


class HalfClosing(RawClient):
    """The raw client of the stories over such a socket; it also insists on the pooler's goodbye."""

    def __init__(self, pooler: Pooler, context: ssl.SSLContext, database: str = "app") -> None:
        super().__init__(Address(pooler.host, pooler.port), database, USER, login=False)
        self.sock.sendall(SSL_REQUEST)
        assert self.sock.recv(1) == b"S"
        encrypted: Any = BioSocket(self.sock, context)
        self.sock = encrypted
        self.log_in()

    def say_goodbye(self) -> None:
        """Say in TLS that nothing more will come, and go on reading."""
        socket_in_memory: Any = self.sock
        socket_in_memory.say_goodbye()
