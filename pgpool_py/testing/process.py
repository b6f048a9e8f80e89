"""Child processes of tests: as which user they run, and that none of them outlives its parent.

Knows nothing of PostgreSQL or poolers.

PostgreSQL and the pooler refuse to run as root. Where the parent is root, its children are `nobody`: an
account that every system has (initdb wants an entry in the user database) and that owns no files.

A child is stopped by whoever started it. For the case that the starter dies first, by `kill -9` too, a shell
waits at the other end of a pipe: when the pipe closes without the word "done", it stops the child and removes
its directory. (The kernel's parent-death signal would do without the shell, but it fires when the *thread*
that started the child ends.)
"""

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

UNPRIVILEGED_USER = "nobody"

# Settings of the caller's own psql or server must not reach a server under test.
_KEPT_OUT = ("PG", "POSTGRES_")
_KEPT = ("PGPOOL_PY_",)


@dataclass(frozen=True, slots=True)
class Account:
    """The user a child runs as."""

    name: str
    uid: int
    gid: int
    switch: bool  # False: the child simply runs as we do

    @property
    def popen_options(self) -> dict[str, Any]:
        """The arguments that make `subprocess.Popen` start the child as this user."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give *path* to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def child_account() -> Account:
    """The user that PostgreSQL and the pooler run as: this one, or `nobody` when this one is root."""
    if os.geteuid() != 0:
        return Account("", os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise RuntimeError(f'started as root, and there is no user "{UNPRIVILEGED_USER}" to run as') from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def private_directory(prefix: str, account: Account) -> Path:
    """A new directory for *account* alone. Its path is short: a Unix socket's must fit in 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    account.own(path)
    return path


def write_private(path: Path, text: str, account: Account) -> Path:
    """Write a file that only *account* can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    account.own(path)
    return path


def child_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment less what would steer PostgreSQL, in the C locale."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_KEPT) or not name.startswith(_KEPT_OUT)
    }
    kept.update(HOME=str(home), LC_ALL="C.UTF-8")
    kept.update(extra or {})
    return kept


_LOWEST_PORT = 15000


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now. Somebody may take it before you do: be ready to ask again.

    Below the ports that the kernel gives to outgoing connections, or thousands of clients would take it before you do.
    """
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        lowest = 0
    candidates = random.sample(range(_LOWEST_PORT, lowest), 100) if lowest > _LOWEST_PORT + 1000 else []
    for port in [*candidates, 0]:
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise OSError(f"no free port on {host}")


# $1 the directory to remove, or nothing. Signals go to the pids that were announced, the last one first.
_WATCHDOG = """
pids=
while read -r word pid name; do
    case $word in
        pid) pids="$pid:$name $pids" ;;
        gone)
            kept=
            for entry in $pids; do
                [ "${entry%%:*}" = "$pid" ] || kept="$kept $entry"
            done
            pids=$kept ;;
        done) exit 0 ;;
    esac
done
for entry in $pids; do
    pid=${entry%%:*}
    kill -s "${entry#*:}" "$pid" 2>/dev/null || continue
    left=50
    while kill -0 "$pid" 2>/dev/null && [ $left -gt 0 ]; do
        sleep 0.1
        left=$((left - 1))
    done
    kill -s KILL "$pid" 2>/dev/null
done
[ -z "$1" ] || { rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }; } 2>/dev/null
"""


class Watchdog:
    """Stops announced processes, and removes a directory, when this process dies without saying `dismiss`."""

    def __init__(self, account: Account, *, remove: Path | None = None) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(remove or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **account.popen_options,
        )

    def announce(self, pid: int, signal_name: str) -> None:
        """From now on *pid* gets the signal (INT, QUIT, ...) if we die, and KILL five seconds later."""
        self._write(f"pid {pid} {signal_name}\n")

    def forget(self, pid: int) -> None:
        """*pid* has ended: its number may soon be somebody else's."""
        self._write(f"gone {pid}\n")

    def dismiss(self) -> None:
        """All is stopped and tidy: the watchdog ends and does nothing."""
        if self._process.poll() is None:
            self._write("done\n")
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # somebody killed the watchdog: we are still here to stop the children ourselves


def start_child(
    command: Sequence[str | os.PathLike[str]],
    account: Account,
    *,
    home: Path,
    output: IO[bytes] | None,
    env: Mapping[str, str] | None = None,
    switch: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a long-running child in a session of its own: ctrl-C reaches only us, who stop it in order.

    *switch* is False for a program that gives up being root by itself. *output* None leaves it the terminal.
    """
    return subprocess.Popen(
        [os.fspath(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        cwd=home,
        env=child_environment(home, env),
        start_new_session=True,
        **(account.popen_options if switch else {}),
    )


def remove_tree(path: Path) -> None:
    """Remove a directory; one that is gone already is fine."""
    shutil.rmtree(path, ignore_errors=True)
