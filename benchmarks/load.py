"""One measurement: pgbench against one pooler for a few seconds, and the CPU that the pooler used meanwhile.

The CPU is read at pgbench's progress reports, from the first to the last, so that logging in many clients
is not counted as work for transactions.
"""

from __future__ import annotations

import re
import subprocess
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
class Measurement:
    """Transactions per second, and microseconds of the pooler's CPU for each."""

    tps: float
    user: float
    system: float

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def fill(bin_dir: Path, port: int, scale: int) -> None:
    """Make pgbench's tables, straight on the server."""
    _run([bin_dir / "pgbench", "-i", "-q", "-s", str(scale), *_target(port, "postgres")])


def measure(
    bin_dir: Path, contestant: contestants.Contestant, protocol: str, clients: int, seconds: int
) -> Measurement:
    """Run select-only transactions through *contestant*."""
    command = [
        *(bin_dir / "pgbench", "-n", "-S", "-M", protocol, "-T", str(seconds + 1), "-P", "1"),
        *("-c", str(clients), "-j", str(min(clients, machine.cores()))),
        *_target(contestant.port, contestants.DATABASE),
    ]
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
            f"{contestant.name}, {protocol}, {clients} clients: pgbench said\n{''.join(said[-10:])}"
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
