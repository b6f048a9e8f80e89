"""What a process and its children have used so far, from /proc: CPU time and memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU: all, to the microsecond, and apart for the program's own code and the kernel's work for it, to 10 ms."""

    total: float
    user: float
    system: float

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.total - earlier.total, self.user - earlier.user, self.system - earlier.system)


@dataclass(frozen=True)
class Memory:
    """KiB of memory: the share of the process (Pss), and what it shares with nobody."""

    pss: int
    private: int


def tree(pid: int) -> list[int]:
    """*pid* and all its living descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                pass  # ended while we looked
    return found


def cpu(pid: int) -> Cpu:
    """CPU used by the tree of *pid*, as far as it lives."""
    nanoseconds = user = system = 0
    for member in tree(pid):
        nanoseconds += sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{member}/task").glob("*/schedstat"))
        # The name in brackets may hold spaces; utime and stime are fields 14 and 15 of the line.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(nanoseconds / 1e9, user / _TICK, system / _TICK)


def memory(pid: int) -> Memory:
    """Memory of the tree of *pid*."""
    pss = private = 0
    for member in tree(pid):
        text = Path(f"/proc/{member}/smaps_rollup").read_text()
        sizes = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        pss += sizes["Pss"]
        private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(pss, private)
