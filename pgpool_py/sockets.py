"""Socket options of both sides: Nagle, keepalive, buffers.

Knows the settings `tcp_*` and how the kernel spells them. Does not know which side a socket belongs to, and
does no I/O.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """The settings of the same names; 0 leaves the kernel's own value, as in PgBouncer."""

    tcp_keepalive: bool = True
    tcp_keepcnt: int = 0
    tcp_keepidle: int = 0  # seconds
    tcp_keepintvl: int = 0  # seconds
    tcp_user_timeout: int = 0  # milliseconds
    tcp_socket_buffer: int = 0  # bytes

    def apply(self, sock: socket.socket) -> None:
        """Set the options on a TCP socket; a Unix socket has none of them."""
        if sock.family == socket.AF_UNIX:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tcp_user_timeout:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self.tcp_user_timeout)
        if self.tcp_socket_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.tcp_socket_buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.tcp_socket_buffer)
        if self.tcp_keepalive:
            self._apply_keepalive(sock)

    def _apply_keepalive(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPCNT, self.tcp_keepcnt),
            (socket.TCP_KEEPIDLE, self.tcp_keepidle),
            (socket.TCP_KEEPINTVL, self.tcp_keepintvl),
        ):
            if value:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
