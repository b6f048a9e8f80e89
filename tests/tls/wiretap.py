"""A TCP proxy that remembers what each connection said first: to see whether it was encrypted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

from tests.fixtures.between import Between, Pump

REMEMBERED = 64


class Wiretap(Between):
    """Between a pooler and a server; `first_words` has the first bytes of each connection, client's side."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port))
        self.first_words: list[bytearray] = []

    def pumps(self, client: socket.socket, server: socket.socket) -> Iterator[Pump]:
        words = bytearray()
        self.first_words.append(words)
        yield partial(_pump, client, server, words)
        yield partial(_pump, server, client, bytearray())


def _pump(source: socket.socket, sink: socket.socket, said: bytearray) -> None:
    try:
        while data := source.recv(65536):
            if len(said) < REMEMBERED:
                said += data[: REMEMBERED - len(said)]
            sink.sendall(data)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RD if sock is source else socket.SHUT_WR)
        except OSError:
            pass
