"""Lines to the system's log, for the settings `syslog`, `syslog_ident` and `syslog_facility`.

Knows the form of a datagram to /dev/log. A daemon that is away loses lines and stops nobody.
"""

from __future__ import annotations

import os
import socket
from logging.handlers import SysLogHandler

SOCKET = "/dev/log"
FACILITIES = SysLogHandler.facility_names
# syslog's severities by our levels' names; PgBouncer's own translation.
_SEVERITY = {"FATAL": 2, "ERROR": 3, "WARNING": 4, "LOG": 6, "DEBUG": 7, "NOISE": 7}


class Syslog:
    """A sender of lines under one name and facility; an unknown facility is "daemon", as in PgBouncer."""

    def __init__(self, ident: str = "pgbouncer", facility: str = "daemon", path: str = SOCKET) -> None:
        self.ident = ident
        self.facility = FACILITIES.get(facility, FACILITIES["daemon"])
        self.path = path
        self._sock: socket.socket | None = None

    def send(self, level: str, text: str) -> None:
        """Send one line of that level."""
        line = f"<{self.facility * 8 + _SEVERITY[level]}>{self.ident}[{os.getpid()}]: {text}"
        data = line.encode("utf-8", "backslashreplace")
        for _ in range(2):  # the daemon may have been restarted since the last line
            try:
                if self._sock is None:
                    self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                    self._sock.connect(self.path)
                self._sock.send(data)
                return
            except BlockingIOError:
                return
            except OSError:
                self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
