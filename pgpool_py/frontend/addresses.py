"""Opens the listening sockets that listen_addr, listen_port and the unix_socket_* settings ask for.

Knows addresses and file names. Does not accept anything.
"""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress

TCP_DEFER_SECONDS = 45  # PgBouncer's fixed value when tcp_defer_accept is on


class ListenError(Exception):
    """An address cannot be listened on; the text says which one and why."""


def open_tcp(
    addresses: Iterable[str],
    port: int,
    *,
    backlog: int = 128,
    reuse_port: bool = False,
    defer_accept: bool = False,
) -> list[socket.socket]:
    """Listening sockets for each of *addresses*: names, literal addresses, or "*" for all."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            for family, sockaddr in _resolve(address, port):
                sockets.append(_open_tcp(family, sockaddr, backlog, reuse_port, defer_accept))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _resolve(address: str, port: int) -> Iterator[tuple[int, tuple[object, ...]]]:
    host = None if address == "*" else address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"listen_addr {address}: {error.strerror}") from error
    seen = set()
    for family, _, _, _, sockaddr in found:
        if family == socket.AF_INET6 and host is None and not _has_ipv6():
            continue  # "*" means what the machine has
        if (family, sockaddr) not in seen:
            seen.add((family, sockaddr))
            yield family, sockaddr


def _has_ipv6() -> bool:
    # A kernel may know IPv6 and have no address of it, as in many containers: only bind() tells.
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _open_tcp(
    family: int, sockaddr: tuple[object, ...], backlog: int, reuse_port: bool, defer_accept: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        set_defer_accept(sock, defer_accept)
        sock.bind(sockaddr)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {sockaddr[0]}:{sockaddr[1]}: {error.strerror}") from error
    return sock


def set_defer_accept(sock: socket.socket, on: bool) -> None:
    """Have the kernel keep a connection to itself until its client has said something, or not."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, TCP_DEFER_SECONDS if on else 0)


def unix_socket_name(directory: str, port: int) -> str:
    """The name clients look for in *directory*; "@" at its front is the abstract namespace."""
    return f"{directory}/.s.PGSQL.{port}"


def open_unix(
    directory: str, port: int, *, mode: int = 0o777, group: str = "", backlog: int = 128
) -> socket.socket:
    """The listening Unix socket in *directory*; a dead process's left-over is replaced, a live one is not."""
    name = unix_socket_name(directory, port)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if name.startswith("@"):
            sock.bind("\0" + name[1:])
        else:
            _remove_stale(name)
            sock.bind(name)
            # Nobody can connect before listen(), so the rights are in force from the first client on.
            os.chmod(name, mode)
            if group:
                os.chown(name, -1, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)
        sock.listen(backlog)
    except KeyError as error:
        sock.close()
        raise ListenError(f"unix_socket_group {group}: no such group") from error
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {name}: {error.strerror or error}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def remove_unix(directory: str, port: int) -> None:
    """Take the socket's name away when the pooler stops."""
    name = unix_socket_name(directory, port)
    if not name.startswith("@"):
        with suppress(FileNotFoundError):
            os.unlink(name)


def _remove_stale(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking: a live pooler with a full backlog answers EAGAIN, and is alive all the same.
        probe.setblocking(False)
        try:
            probe.connect(name)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(name)
            return
        except BlockingIOError:
            pass
    raise ListenError(f"unix socket is in use, cannot continue: {name}")
