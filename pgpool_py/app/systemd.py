"""What systemd tells a service and wants to hear from it: sockets it listens on already, and notifications.

Knows the variables LISTEN_PID, LISTEN_FDS and NOTIFY_SOCKET (sd_listen_fds(3), sd_notify(3)). Without them nothing happens.
"""

from __future__ import annotations

import os
import socket
import time

FIRST = 3  # the first descriptor that is passed


def passed_sockets() -> list[socket.socket]:
    """The listening sockets of socket activation, ours from now on and nobody's after us."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for fd in range(FIRST, FIRST + int(count)):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def notify(*lines: str) -> None:
    """Tell systemd, if it listens; a service manager that is away stops nobody."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect("\0" + path[1:] if path[0] == "@" else path)
            sock.send("\n".join(lines).encode())
    except OSError:
        pass


def reloading() -> None:
    """A reload begins: Type=notify-reload wants to know when."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
