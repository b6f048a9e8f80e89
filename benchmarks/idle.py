"""Memory per idle client: thousands of logged-in clients that say nothing.

Raw sockets that speak just enough of the protocol to log in by trust: a driver's own would be much more.
Sources are spread over 127.0.0.0/8, because one address has fewer than 30,000 ports.
"""

from __future__ import annotations

import resource
import socket
import ssl
import struct
from dataclasses import dataclass
from functools import cache

import contestants
import usage

WARM_UP = 500
_PER_SOURCE = 5000


@dataclass(frozen=True)
class Footprint:
    """Bytes per client beyond a warmed-up pooler, and the process before and after in KiB."""

    clients: int
    pss: float
    private: float
    before: usage.Memory
    after: usage.Memory


def make_room(clients: int) -> None:
    """Raise the limit of open files for us and the poolers that we will start."""
    wanted = clients + WARM_UP + 1000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard < wanted:
            raise SystemExit(
                f"{clients} clients need {wanted} open files, the limit is {hard} (ulimit -n)"
            ) from None


def measure(contestant: contestants.Contestant, clients: int) -> Footprint:
    """Log in *clients* and see what they cost; they are gone when this returns."""
    held: list[socket.socket] = []
    try:
        encrypted = contestant.tls.sslmode != "disable"
        held += [_log_in(contestant.port, number, encrypted) for number in range(WARM_UP)]
        before = usage.memory(contestant.pid)
        held += [_log_in(contestant.port, number, encrypted) for number in range(WARM_UP, WARM_UP + clients)]
        after = usage.memory(contestant.pid)
    finally:
        for sock in held:
            sock.close()
    return Footprint(
        clients,
        (after.pss - before.pss) * 1024 / clients,
        (after.private - before.private) * 1024 / clients,
        before,
        after,
    )


def _log_in(port: int, number: int, encrypted: bool) -> socket.socket:
    sock = socket.create_connection(
        ("127.0.0.1", port), timeout=20, source_address=(f"127.0.0.{1 + number // _PER_SOURCE}", 0)
    )
    if encrypted:
        sock.sendall(struct.pack("!II", 8, 80877103))
        assert sock.recv(1) == b"S"
        sock = _context().wrap_socket(sock)
    body = struct.pack("!I", 196608)
    for word in ("user", contestants.USER, "database", contestants.DATABASE, "application_name", "idle"):
        body += word.encode() + b"\0"
    sock.sendall(struct.pack("!I", len(body) + 5) + body + b"\0")
    reply = b""
    while not reply.endswith(b"Z\0\0\0\5I"):
        data = sock.recv(4096)
        if not data or reply[:1] == b"E":
            raise RuntimeError(f"client {number} was refused: {(reply + data)!r}")
        reply += data
    return sock


@cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
