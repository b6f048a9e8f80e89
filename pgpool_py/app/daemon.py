"""The process itself: whom it runs as, its pid file, and going to the background.

Knows what happens before there is an event loop. Every refusal is a StartError with the words for the operator.
"""

from __future__ import annotations

import importlib
import os
import pwd
import sys
from collections.abc import Callable
from contextlib import suppress

READY = b"\1"
# What the standard library imports only when it is first needed: root's Python may lie where the user to become cannot read.
_LATE = ("asyncio", "encodings.idna", "linecache", "ssl", "traceback")


class StartError(Exception):
    """The process cannot start like this."""


def become_user(name: str) -> None:
    """Be the system user *name* from now on, with that user's groups and nothing of root's. Running as root is refused."""
    if name:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            raise StartError(f"could not find user {name!r} to switch to") from None
        if account.pw_uid != os.geteuid():
            for module in _LATE:
                importlib.import_module(module)
            try:
                os.initgroups(name, account.pw_gid)
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            except OSError as error:
                raise StartError(f"failed to assume identity of user {name!r}: {error.strerror}") from None
    if os.getuid() == 0 or os.geteuid() == 0:
        raise StartError("pgpool_py should not run as root (use --user or the setting user)")


class Pidfile:
    """The file that says which process runs; nothing at all for an empty path."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path) if path else ""
        self.written = False

    def check(self) -> bool:
        """Refuse while its process lives; remove it and return True when that is long dead."""
        if not self.path:
            return False
        try:
            text = self._read()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StartError(f"pidfile {self.path}: {error.strerror}") from None
        if text.isdecimal() and _lives(int(text)):
            raise StartError(f"pidfile exists, another instance running? ({self.path}: process {text})")
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        return True

    def write(self) -> None:
        """Write our own process id."""
        if not self.path:
            return
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(f"pidfile {self.path}: {error.strerror}") from None
        with os.fdopen(fd, "wb") as file:
            file.write(b"%d\n" % os.getpid())
        self.written = True

    def remove(self) -> None:
        """Take it away, unless another process has made it its own (an online restart)."""
        if self.written:
            self.written = False
            with suppress(OSError):
                if self._read() == str(os.getpid()):
                    os.unlink(self.path)

    def _read(self) -> str:
        with open(self.path, "rb") as file:
            return file.read(100).decode("utf-8", "replace").strip()


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a container that was started anew gives out the same numbers
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return pid > 0


def daemonize() -> Callable[[], None]:
    """Go on in the background. The process that was called waits for the outcome, and ends with 0 or 1.

    Call what is returned once everything works: it says so, and lets go of the terminal.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        started = os.read(reading, 1)
        os._exit(0 if started == READY else 1)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)  # the grandchild leads no session, so it can never get a terminal

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(writing, READY)
        os.close(writing)

    sys.stdout.flush()
    return ready
