"""A TCP proxy that remembers what each connection said first: to see whether it was encrypted."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

REMEMBERED = 64


class Wiretap:
    """Between a pooler and a server; `first_words` has the first bytes of each connection, client's side."""

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        self.first_words: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="wiretap")]

    def __enter__(self) -> Wiretap:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join(10)
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # ended by itself
        for thread in self._threads:
            thread.join(10)
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            words = bytearray()
            self.first_words.append(words)
            for source, sink, said in ((client, server, words), (server, client, bytearray())):
                thread = threading.Thread(target=_pump, args=(source, sink, said), name="wiretap")
                self._threads.append(thread)
                thread.start()


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
