"""What a process and its children have used so far, from /proc: CPU time and memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU, apart for the program's own code and the kernel's work for it."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user - earlier.user, self.system - earlier.system)


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
    """CPU used by the tree of *pid*, children that have ended included."""
    user = system = 0
    for member in tree(pid):
        # The name in brackets may hold spaces; utime, stime, cutime, cstime are fields 14 to 17 of the line.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        utime, stime, cutime, cstime = map(int, fields[11:15])
        user += utime + cutime
        system += stime + cstime
    return Cpu(user / _TICK, system / _TICK)


def memory(pid: int) -> Memory:
    """Memory of the tree of *pid*."""
    pss = private = 0
    for member in tree(pid):
        text = Path(f"/proc/{member}/smaps_rollup").read_text()
        sizes = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        pss += sizes["Pss"]
        private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(pss, private)
