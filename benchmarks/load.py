"""One measurement: a load on one pooler for a few seconds, and the CPU that the pooler used meanwhile.

The load is pgbench, or for texts that never repeat our own texts.py, which says the same things. The CPU is read at the
progress reports, from the first to the last, so that logging in many clients
is not counted as work for transactions.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import contestants
import machine
import usage

_PROGRESS = re.compile(r"^progress: [\d.]+ s, ([\d.]+) tps")


class LoadFailed(Exception):
    """pgbench did not finish its run."""


@dataclass(frozen=True)
class Load:
    """What the clients do, and how many they are: `pgbench -S`, or texts of `size` bytes that never repeat."""

    protocol: str
    clients: int
    size: int | None = None

    @property
    def name(self) -> str:
        return self.protocol if self.size is None else f"{self.protocol}, new {self.size} B"

    def command(self, bin_dir: Path, port: int, seconds: int | None, transactions: int | None) -> list[object]:
        """The program that does it for that time, or until each client has had so many transactions."""
        if self.size is not None:
            return [
                *(sys.executable, Path(__file__).with_name("texts.py"), "--port", port),
                *("--user", contestants.USER, "--database", contestants.DATABASE),
                *("--protocol", self.protocol, "--clients", self.clients, "--bytes", self.size),
                *(("--seconds", seconds) if seconds else ("--transactions", transactions)),
            ]
        return [
            *(bin_dir / "pgbench", "-n", "-S", "-M", self.protocol, "-P", 1),
            *("-c", self.clients, "-j", min(self.clients, machine.cores())),
            *(("-T", seconds) if seconds else ("-t", transactions)),
            *_target(port, contestants.DATABASE),
        ]


@dataclass(frozen=True)
class Measurement:
    """Transactions per second, and microseconds of the pooler's CPU for each."""

    tps: float
    cpu: float
    user: float
    system: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def fill(bin_dir: Path, port: int, scale: int) -> None:
    """Make pgbench's tables, straight on the server."""
    _run([bin_dir / "pgbench", "-i", "-q", "-s", str(scale), *_target(port, "postgres")])


def carry_out(bin_dir: Path, contestant: contestants.Contestant, load: Load, transactions: int) -> None:
    """Let each client have so many transactions."""
    _run(load.command(bin_dir, contestant.port, None, transactions))


def measure(bin_dir: Path, contestant: contestants.Contestant, load: Load, seconds: int) -> Measurement:
    """Load *contestant* for that time."""
    command = load.command(bin_dir, contestant.port, seconds + 1, None)
    marks: list[tuple[float, float, usage.Cpu]] = []
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(contestant.tls.sslmode),
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := _PROGRESS.match(line):
            marks.append((time.monotonic(), float(found[1]), usage.cpu(contestant.pid)))
    if process.wait() or len(marks) < 2 or "aborted" in "".join(said):
        raise LoadFailed(
            f"{contestant.name}, {load.name}, {load.clients} clients: it said\n{''.join(said[-10:])}"
        )
    return _evaluate(marks)


def _evaluate(marks: Sequence[tuple[float, float, usage.Cpu]]) -> Measurement:
    times = [mark[0] for mark in marks]
    transactions = sum(
        tps * (end - start) for (_, tps, _), start, end in zip(marks[1:], times[:-1], times[1:], strict=True)
    )
    used = marks[-1][2] - marks[0][2]
    return Measurement(
        tps=transactions / (times[-1] - times[0]),
        cpu=used.total / transactions * 1e6,
        user=used.user / transactions * 1e6,
        system=used.system / transactions * 1e6,
    )


def _target(port: int, database: str) -> list[str]:
    return ["-h", "127.0.0.1", "-p", str(port), "-U", contestants.USER, database]


def _environment(sslmode: str = "disable") -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PGSSLMODE": sslmode, "PGGSSENCMODE": "disable", "LC_ALL": "C"}


def _run(command: Sequence[object]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=_environment())
    if done.returncode:
        raise LoadFailed(done.stderr)
