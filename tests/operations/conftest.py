"""A pooler as an operator starts it: a directory, an ini file, a command line, a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pgpool_py.testing.pooler import own_command, own_environment
from pgpool_py.testing.process import child_account, child_environment, free_port, private_directory, remove_tree, write_private
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_until


class Program:
    """One directory with a configuration, and the processes started in it."""

    def __init__(self) -> None:
        self.account = child_account()
        self.directory = private_directory("pgpool_py-ops-", self.account)
        self.port = free_port()
        self.settings: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "server_tls_sslmode": "disable",
            "log_stats": 0,
        }
        self.databases: dict[str, str] = {"app": "host=127.0.0.1 port=1 user=nobody"}
        self.processes: list[subprocess.Popen[str]] = []
        self.pids: list[int] = []

    @property
    def ini(self) -> Path:
        return self.directory / "pgbouncer.ini"

    @property
    def pidfile(self) -> Path:
        return self.directory / "pid"

    @property
    def log(self) -> str:
        """What is in its log file."""
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def write(self) -> None:
        lines = ["[databases]", *(f"{key} = {value}" for key, value in self.databases.items())]
        lines += ["[pgbouncer]", *(f"{key} = {value}" for key, value in self.settings.items())]
        write_private(self.ini, "\n".join(lines) + "\n", self.account)

    def start(self, *flags: str, as_root: bool = False, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Run the command line in its directory; *as_root*: without giving up root first, if we are."""
        self.write()
        process = subprocess.Popen(
            [*([sys.executable, "-m", "pgpool_py"] if as_root else own_command()), *flags, "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env=child_environment(self.directory, {**own_environment(), **(env or {})}),
        )
        self.processes.append(process)
        return process

    def run(self, *flags: str, as_root: bool = False) -> tuple[int, str]:
        """Run it to its end: exit code and output."""
        process = self.start(*flags, as_root=as_root)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def daemon_pid(self) -> int:
        """The process id in the pid file."""
        pid = int(self.pidfile.read_text())
        self.pids.append(pid)
        return pid

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log, f"{text!r} is in the log:\n{self.log}")

    def connect(self, database: str = "app", user: str = "anybody", **parameters: str) -> RawClient:
        return RawClient(Address("127.0.0.1", self.port), database, user, parameters=parameters)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        remove_tree(self.directory)


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.close()


def gone(pid: int) -> bool:
    """Whether that process has ended (a zombie nobody has asked about counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def ended() -> Callable[[int], None]:
    """Wait until a process that is not our child has ended."""
    return lambda pid: wait_until(lambda: gone(pid), f"process {pid} has ended")
