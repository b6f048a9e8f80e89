"""A pooler for tests: `python -m pgpool_py some.ini` as a child process on a free port of 127.0.0.1.

Knows how an ini file and a userlist are written and when the pooler listens. Works with any program that
takes a PgBouncer ini file as its only argument, so the same test or benchmark can run PgBouncer itself.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pgpool_py.testing.dsn import connection_uri
from pgpool_py.testing.process import (
    Watchdog,
    child_account,
    child_environment,
    free_port,
    private_directory,
    remove_tree,
    start_child,
    write_private,
)

READY_WITHIN = 20.0
_READY_WITHIN_UNDER = 300.0  # valgrind and its like are slow
STOPPED_WITHIN = 5.0
_TCP_LISTEN = "0A"


class PoolerError(Exception):
    """The pooler did not start, or ended unasked; the message ends with its log."""


def own_command() -> list[str]:
    """How this interpreter runs this pooler: by itself, or, as root, after becoming somebody else."""
    module = "pgpool_py.testing.unprivileged" if os.geteuid() == 0 else "pgpool_py"
    return [sys.executable, "-m", module]


def own_environment() -> dict[str, str]:
    """What makes the child import the same pgpool_py and pgwire as we do, from a checkout too."""
    root = Path(__file__).parents[2]
    if not (root / "protocol" / "pgwire").is_dir():
        return {}  # installed: the interpreter finds both
    before = [path for path in [os.environ.get("PYTHONPATH")] if path]
    return {"PYTHONPATH": os.pathsep.join([str(root), str(root / "protocol"), *before])}


def run_cli(
    *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run `pgpool_py ARGUMENTS` to its end, never as root, and return what it printed."""
    return subprocess.run(
        [*own_command(), *(os.fspath(word) for word in arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=child_environment(Path("/"), {**own_environment(), **(env or {})}),
        timeout=timeout,
    )


class Pooler:
    """A running pooler with its configuration.

    *databases* maps names to connection strings ("host=127.0.0.1 port=5432 dbname=app"), *users* names to
    the secrets of userlist.txt, *settings* is the [pgbouncer] section, *user_settings* the [users] section.
    *command* runs another program, for example ["/usr/sbin/pgbouncer"]; *under* one that runs the pooler, such as
    valgrind. *inherit_output* lets it write to our terminal instead of `log`.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        databases: Mapping[str, str],
        users: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        user_settings: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        under: Sequence[str] = (),
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        inherit_output: bool = False,
    ) -> None:
        self.databases = dict(databases)
        self.users = dict(users or {})
        self.settings = dict(settings or {})
        self.user_settings = dict(user_settings or {})
        self.port = port or 0
        self._wanted_port = port
        self._account = child_account()
        self._command = [*under, *(command if command is not None else own_command())]
        self._ready_within = _READY_WITHIN_UNDER if under else READY_WITHIN
        self._switch = command is not None  # our own launcher changes the user by itself
        self._env = {**({} if command is not None else own_environment()), **(env or {})}
        self._inherit_output = inherit_output
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._end_expected = False
        self.directory = Path()

    # Life

    def start(self) -> Self:
        """Write the configuration, start the program, and return when it listens."""
        self.directory = private_directory("pgpool_py-", self._account)
        self._watchdog = Watchdog(self._account, remove=self.directory)
        try:
            for attempt in range(5):
                self.port = self._wanted_port or free_port()
                self.write_config()
                try:
                    self._launch()
                    return self
                except PoolerError as error:
                    # Somebody else was faster to take the port.
                    if self._wanted_port or attempt == 4 or "ddress already in use" not in str(error):
                        raise
            raise AssertionError("unreachable")
        except BaseException:
            self.close()
            raise

    def stop(self) -> int:
        """Stop it, clients or not, and return its exit code.

        The first SIGTERM may mean "wait for the clients", the second never does.
        """
        term, kill = signal.SIGTERM, signal.SIGKILL
        for name, patience in ((term, 0.3), (term, STOPPED_WITHIN), (kill, None)):
            if self.process.poll() is not None:
                break
            self.send_signal(name)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return self.process.returncode

    def send_signal(self, name: signal.Signals) -> None:
        """Send one signal; only SIGHUP, SIGUSR1 and SIGUSR2 leave a pooler that must not end."""
        if name not in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._end_expected = True
        self.process.send_signal(name)

    def wait(self, timeout: float = STOPPED_WITHIN) -> int:
        """Wait for its end and return its exit code."""
        self._end_expected = True
        return self.process.wait(timeout)

    def close(self) -> None:
        """Stop it if it runs and throw its directory away."""
        if self._process is not None:
            self.stop()
            self._process = None
        if self._watchdog is not None:
            remove_tree(self.directory)
            self._watchdog.dismiss()
            self._watchdog = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        crash = self._crash()
        self.close()
        if crash is not None and error_type is None:
            raise crash

    # What tests ask

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child itself."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def ini(self) -> Path:
        """Its configuration file."""
        return self.directory / "pgbouncer.ini"

    @property
    def log(self) -> str:
        """All that it has written so far, standard output and error together."""
        path = self.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = 10.0, *, count: int = 1) -> re.Match[str]:
        """Return the *count*-th match of *pattern* in the log, when it is there."""
        give_up = time.monotonic() + timeout
        while True:
            found = list(re.finditer(pattern, self.log, re.MULTILINE))
            if len(found) >= count:
                return found[count - 1]
            if time.monotonic() > give_up or not self.running:
                raise PoolerError(f"no match {count} of {pattern!r} in the log\n{self.log}")
            time.sleep(0.02)

    def dsn(self, database: str, user: str, password: str | None = None) -> str:
        """A connection URI through the pooler; the password is the userlist's unless one is given."""
        if password is None:
            password = self.users.get(user)
        return connection_uri(self.host, self.port, database, user, password)

    # Configuration

    def write_config(self) -> None:
        """Write ini file and userlist anew from the attributes; SIGHUP makes the pooler read them."""
        assert self._watchdog is not None, "not started: there is no directory yet"
        users = "".join(f'"{_doubled(name)}" "{_doubled(secret)}"\n' for name, secret in self.users.items())
        userlist = write_private(self.directory / "userlist.txt", users, self._account)
        own: dict[str, object] = {
            "listen_addr": self.host,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": userlist,
        }
        sections: dict[str, Mapping[str, object]] = {
            "databases": self.databases,
            "users": self.user_settings,
            "pgbouncer": {**own, **self.settings},
        }
        text = "".join(
            f"[{title}]\n" + "".join(f"{name} = {value}\n" for name, value in content.items())
            for title, content in sections.items()
        )
        write_private(self.ini, text, self._account)

    def reload(self) -> None:
        """Write the configuration and have it read."""
        self.write_config()
        self.send_signal(signal.SIGHUP)

    # Inside

    def _launch(self) -> None:
        log = None if self._inherit_output else open(self.directory / "log", "wb")  # noqa: SIM115
        try:
            self._process = start_child(
                [*self._command, self.ini],
                self._account,
                home=self.directory,
                output=log,
                env=self._env,
                switch=self._switch,
            )
        finally:
            if log is not None:
                log.close()
        assert self._watchdog is not None
        self._watchdog.announce(self._process.pid, "QUIT")
        give_up = time.monotonic() + self._ready_within
        while not self._is_up():
            if self._process.poll() is not None:
                self._watchdog.forget(self._process.pid)
                raise PoolerError(f"the pooler ended with {self._process.returncode}\n{self.log}")
            if time.monotonic() > give_up:
                raise PoolerError(f"the pooler did not listen within {self._ready_within:g} s\n{self.log}")
            time.sleep(0.01)

    def _is_up(self) -> bool:
        """Whether it listens. That somebody does is not enough: it may be one who was faster to take the port."""
        return _listens(self.host, self.port) and (self._inherit_output or "process up" in self.log)

    def _crash(self) -> PoolerError | None:
        if self._process is None or self._end_expected or self._process.poll() is None:
            return None
        return PoolerError(f"the pooler ended unasked with {self._process.returncode}\n{self.log}")


@contextmanager
def running_pooler(
    databases: Mapping[str, str],
    users: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
    *,
    user_settings: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Pooler]:
    """A pooler that runs for the length of the block; raises if it ends unasked."""
    with Pooler(
        databases, users, settings, user_settings=user_settings, command=command, port=port, env=env
    ) as pooler:
        yield pooler


def _doubled(text: str) -> str:
    """Quotes as userlist.txt wants them."""
    return text.replace('"', '""')


def _listens(host: str, port: int) -> bool:
    """Whether somebody listens. Asks the kernel: a trial connection would show in counters and log."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return _answers(host, port)
    packed = bytes(int(part) for part in host.split("."))
    address = f"{int.from_bytes(packed, sys.byteorder):08X}:{port:04X}"
    rows = (line.split()[1:4] for line in table.read_text().splitlines()[1:])
    return any(row[0] in (address, f"00000000:{port:04X}") and row[2] == _TCP_LISTEN for row in rows)


def _answers(host: str, port: int) -> bool:
    import socket

    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
