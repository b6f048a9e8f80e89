"""Log lines in PgBouncer's layout, which log analysers read:

    2026-11-23 11:32:41.571 UTC [31022] LOG C-0x1f: app/web@10.0.0.4:53111 taking connection from reserve_pool

Knows the layout, the levels and where lines go. Does not know which events are worth a line. Every line is
written at once by one write, to a file opened for appending, so that a reader never sees half of one and
several processes may share the file. Nothing here raises while logging: a full disk must not stop the
pooler.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from enum import IntEnum

from pgpool_py.observe.syslog import Syslog


class Level(IntEnum):
    """PgBouncer's levels, with the numbers that Python's logging uses for their like."""

    NOISE = 5
    DEBUG = 10
    LOG = 20
    WARNING = 30
    ERROR = 40
    FATAL = 50


_BY_VERBOSITY = (Level.LOG, Level.DEBUG, Level.NOISE)
_STDERR = 2


def label(side: str, number: int, database: str | None, user: str | None, address: object) -> str:
    """Who a line is about: *side* is "C" for a client, "S" for a server; *address* prints as `addr:port`."""
    return f"{side}-0x{number:x}: {database or '(nodb)'}/{user or '(nouser)'}@{address}"


def printable(text: str) -> str:
    """*text* with everything escaped that could break a line or forge another."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Log:
    """A writer of log lines. One per process is enough: `get_log()`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.threshold = Level.LOG
        self.stderr = True
        self.logfile = ""
        self.syslog: Syslog | None = None
        self.least_verbosity = 0  # what the command line asks for; no reload takes it back
        self._fd = -1
        self._clock = clock
        # strftime costs more than the rest of a line; the text of a second is kept for that second.
        self._second = -1
        self._date = self._zone = ""

    # Where lines go

    def configure(self, logfile: str = "", verbose: int = 0, quiet: bool = False, syslog: Syslog | None = None) -> None:
        """Use these settings from now on and open the file anew (a reload does the same).

        Raises OSError when the file cannot be opened; everything then stays as it was.
        """
        fd = os.open(logfile, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644) if logfile else -1
        self.close()
        self._fd, self.logfile = fd, logfile
        self.threshold = _BY_VERBOSITY[min(max(verbose, self.least_verbosity), len(_BY_VERBOSITY) - 1)]
        self.stderr = not quiet
        if self.syslog is not None:
            self.syslog.close()
        self.syslog = syslog

    def reopen(self) -> None:
        """Open the file again, after somebody moved it away. Raises OSError and keeps the old one open."""
        if self.logfile:
            fd = os.open(self.logfile, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self.close()
            self._fd = fd

    def close(self) -> None:
        """Close the file; lines go on to standard error only."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # Lines

    def wants(self, level: Level) -> bool:
        """Whether lines of *level* are written at all; ask before building a costly text."""
        return level >= self.threshold

    def write(self, level: Level, text: str, who: str = "") -> None:
        """One line, of *who* (see `label`) if given."""
        if level >= self.threshold:
            line = printable(f"{who} {text}" if who else text)
            self._emit(f"{self._stamp()} [{os.getpid()}] {level.name} {line}\n")
            if self.syslog is not None:
                self.syslog.send(level.name, line)

    def noise(self, text: str, who: str = "") -> None:
        """A detail of the protocol."""
        self.write(Level.NOISE, text, who)

    def debug(self, text: str, who: str = "") -> None:
        """A step that helps to find a fault."""
        self.write(Level.DEBUG, text, who)

    def log(self, text: str, who: str = "") -> None:
        """An event the operator wants to know of."""
        self.write(Level.LOG, text, who)

    def warning(self, text: str, who: str = "") -> None:
        """Something is not as it should be, and work goes on."""
        self.write(Level.WARNING, text, who)

    def error(self, text: str, who: str = "") -> None:
        """Something failed."""
        self.write(Level.ERROR, text, who)

    def fatal(self, text: str, who: str = "") -> None:
        """The process is about to end because of this."""
        self.write(Level.FATAL, text, who)

    def client(self, who: str, text: str) -> None:
        """An event of the client (or server) with the label *who*."""
        self.write(Level.LOG, text, who)

    server = client

    def _stamp(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second:
            local = time.localtime(second)
            self._date = time.strftime("%Y-%m-%d %H:%M:%S", local)
            self._zone = time.strftime("%Z", local)
            self._second = second
        return f"{self._date}.{int(now * 1000) % 1000:03d} {self._zone}"

    def _emit(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")
        if self._fd >= 0:
            _write(self._fd, data)
        if self.stderr:
            _write(_STDERR, data)


class LoggingHandler(logging.Handler):
    """Passes what libraries say through Python's logging (asyncio's forgotten exceptions, say) to *log*."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line of ours for each line of the record, tracebacks included."""
        try:
            text = self.format(record)
        except Exception as error:  # a wrong format string in a library
            text = f"{record.msg!r} ({error!r})"
        level = max((level for level in Level if level <= record.levelno), default=Level.NOISE)
        for line in text.splitlines():
            self._log.write(level, f"{record.name}: {line}")


def hear_libraries(log: Log) -> None:
    """Have warnings and errors of libraries, and what asyncio says of exceptions nobody caught, in *log*."""
    logging.basicConfig(handlers=[LoggingHandler(log)], level=logging.WARNING, format="%(message)s", force=True)


def _write(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass


_the_log = Log()


def get_log() -> Log:
    """The log of this process."""
    return _the_log
