"""What the numbers were measured on: a benchmark without this is a rumour."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


def cpu_model() -> str:
    """The processor's name, as the kernel knows it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def program_version(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """All lines that a program prints about itself."""
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30)
    return lines(done)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a program has printed, without empty lines."""
    return [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]


def describe() -> dict[str, str]:
    """Name and value of each fact about the machine."""
    load = os.getloadavg()[0]
    return {
        "machine": f"{cpu_model()}, {cores()} cores, load {load:.2f} before the start",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
