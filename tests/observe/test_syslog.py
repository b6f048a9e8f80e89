"""Lines to syslog: their form, and that a daemon that comes and goes is no trouble."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgpool_py.observe.log import Log
from pgpool_py.observe.syslog import Syslog


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens on /dev/log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "log"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def open_syslog(tmp_path: Path) -> Iterator[Callable[..., Syslog]]:
    """Senders to that daemon."""
    with ExitStack() as stack:

        def make(ident: str, facility: str) -> Syslog:
            made = Syslog(ident, facility, str(tmp_path / "log"))
            stack.callback(made.close)
            return made

        yield make


Make = Callable[..., Syslog]


def test_lines_carry_priority_name_and_process(daemon: socket.socket, open_syslog: Make) -> None:
    log = Log()
    log.configure(quiet=True, syslog=open_syslog("pooler", "local3"))
    log.log("taking connection", "C-0x1: app/web@10.0.0.4:5")
    log.error("broken\nline")
    assert daemon.recv(1000).decode() == f"<{19 * 8 + 6}>pooler[{os.getpid()}]: C-0x1: app/web@10.0.0.4:5 taking connection"
    assert daemon.recv(1000).decode() == f"<{19 * 8 + 3}>pooler[{os.getpid()}]: broken\\nline"


def test_unknown_facility_is_daemon(daemon: socket.socket, open_syslog: Make) -> None:
    """[run] PgBouncer starts with whatever stands there."""
    open_syslog("p", "no such facility").send("FATAL", "x")
    assert daemon.recv(1000).startswith(b"<26>p[")


def test_daemon_that_was_restarted_is_found_again(daemon: socket.socket, open_syslog: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    syslog = open_syslog("p", "daemon")
    syslog.send("LOG", "one")
    path.unlink()
    daemon.close()
    syslog.send("LOG", "lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anew:
        anew.bind(str(path))
        syslog.send("LOG", "two")
        assert anew.recv(1000).endswith(b": two")
