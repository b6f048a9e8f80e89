"""A load whose texts never repeat: each asks for another account, in words as applications and their ORMs write them.

    python benchmarks/texts.py --port 6432 --protocol extended --bytes 300 --clients 32 --seconds 5

A program of its own, so that its work is not the pooler's or the comparison's. It says what pgbench says: progress each
second. pgbench cannot do this: its extended protocol sends one text again and again, with parameters.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence

# By size in bytes; %07d is the account. Half of the long ones quote all names as Django does, half none as SQLAlchemy does.
SHAPES: dict[int, Sequence[bytes]] = {
    60: [b"SELECT abalance, filler FROM pgbench_accounts WHERE aid=%07d"],
    300: [
        b'SELECT "pgbench_accounts"."aid", "pgbench_accounts"."bid", "pgbench_accounts"."abalance", "pgbench_branches"."bbalance"'
        b' FROM "pgbench_accounts" INNER JOIN "pgbench_branches" ON ("pgbench_accounts"."bid" = "pgbench_branches"."bid")'
        b" WHERE (\"pgbench_accounts\".\"aid\" = %07d AND NOT (\"abalance\" = '5')) LIMIT 21",
        b"SELECT pgbench_accounts.aid AS pgbench_accounts_aid, pgbench_accounts.bid AS pgbench_accounts_bid,"
        b" pgbench_accounts.abalance AS pgbench_accounts_abalance, bbalance AS pgbench_branches_bbalance"
        b" \nFROM pgbench_accounts JOIN pgbench_branches USING (bid)"
        b" \nWHERE pgbench_accounts.aid = %07d AND abalance != '5'",
    ],
}
ACCOUNTS = 1_000_000  # of pgbench's scale 10
_STRIDE = 611_953  # prime to it: all accounts come before one comes again, neighbours far apart
_DONE = b"Z\0\0\0\5I"


def texts(size: int) -> Iterator[bytes]:
    """Texts of about *size* bytes without an end; none comes again before a million others."""
    account = time.monotonic_ns() % ACCOUNTS
    while True:
        for shape in SHAPES[size]:
            account = (account + _STRIDE) % ACCOUNTS
            yield shape % (account + 1)


def simple(text: bytes) -> bytes:
    """The text as a Query."""
    return b"Q" + struct.pack("!I", len(text) + 5) + text + b"\0"


def extended(text: bytes) -> bytes:
    """The text as drivers send it that name no statement: Parse, Bind, Describe, Execute, Sync."""
    return b"P" + struct.pack("!I", len(text) + 8) + b"\0" + text + b"\0\0\0" + _BEHIND_PARSE


_BEHIND_PARSE = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0" + b"D\0\0\0\6P\0" + b"E\0\0\0\x09\0\0\0\0\0" + b"S\0\0\0\4"
PROTOCOLS: dict[str, Callable[[bytes], bytes]] = {"simple": simple, "extended": extended}


class Clients:
    """Logged-in clients, each of which asks again as soon as it is answered."""

    def __init__(self, port: int, user: str, database: str, count: int, messages: Iterator[bytes]) -> None:
        self.messages = messages
        self.answered = 0
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        for _ in range(count):
            sock = _log_in(port, user, database)
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)

    def run(self, seconds: float | None, transactions: int | None) -> None:
        """Until that time is over, or each client has asked that often; progress each second."""
        sockets, messages, poll = self._sockets, self.messages, self._poll
        left = dict.fromkeys(sockets, transactions or sys.maxsize)
        begin = mark = time.monotonic()
        before = 0
        for sock in sockets.values():
            sock.sendall(next(messages))
        while left:
            for fd, _ in poll.poll():
                sock = sockets[fd]
                data = sock.recv(65536)
                if not data.endswith(_DONE):
                    if not data or data[:1] == b"E":
                        raise SystemExit(f"aborted: {data!r}")
                    continue  # more comes: what ends like this by chance has not been seen
                self.answered += 1
                left[fd] -= 1
                if left[fd]:
                    sock.send(next(messages))
                else:
                    del left[fd]
            now = time.monotonic()
            if now - mark >= 1:
                tps = (self.answered - before) / (now - mark)
                print(f"progress: {now - begin:.1f} s, {tps:.1f} tps", file=sys.stderr, flush=True)
                mark, before = now, self.answered
                if seconds is not None and now - begin >= seconds:
                    return


def _log_in(port: int, user: str, database: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = struct.pack("!I", 196608) + b"".join(
        word.encode() + b"\0" for word in ("user", user, "database", database, "")
    )
    sock.sendall(struct.pack("!I", len(body) + 4) + body)
    reply = b""
    while not reply.endswith(_DONE):
        data = sock.recv(4096)
        if not data or reply[:1] == b"E":
            raise SystemExit(f"a client was refused: {(reply + data)!r}")
        reply += data
    return sock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--user", default="postgres")
    add("--database", default="bench")
    add("--protocol", choices=PROTOCOLS, default="simple")
    add("--bytes", type=int, choices=SHAPES, default=60)
    add("--clients", type=int, default=32)
    add("--seconds", type=float)
    add("--transactions", type=int, help="of each client")
    options = parser.parse_args()
    message = PROTOCOLS[options.protocol]
    clients = Clients(
        options.port, options.user, options.database, options.clients, map(message, texts(options.bytes))
    )
    clients.run(options.seconds, options.transactions)


if __name__ == "__main__":
    main()
