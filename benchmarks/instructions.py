"""Instructions of a pooler's own code for each transaction: the figure that other work on the machine cannot touch.

Valgrind's callgrind counts them while it runs the pooler, some fifty times slower; the kernel's part is not in it. Each load is
carried out by two new processes, a short and a long one: what they differ by is transactions, the rest (logging clients in,
starting servers) is the same but for a few per cent. Of this pooler only the relay is counted, where transactions are: the
timers of the control plane go by the clock, and would count for more in a slow process.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import contestants
import load

TRANSACTIONS = 2_000, 42_000
_COUNTING = ("valgrind", "--tool=callgrind", "--vgdb=no", "--callgrind-out-file=/dev/null")
_RELAY_ONLY = ("--collect-atstart=no", "--toggle-collect=__pyx_pw_9pgpool_py_5relay_5relay_5Relay_7drain")
_COLLECTED = re.compile(r"^==\d+== Collected : (\d+)", re.MULTILINE)


def available() -> bool:
    """Whether there is valgrind to count with."""
    return shutil.which("valgrind") is not None


def measure(
    bin_dir: Path, start: Callable[[Sequence[str]], contestants.Contestant], own: bool, one: load.Load
) -> float | None:
    """Instructions for each transaction of that load; None where the contestant lacks the protocol. *own*: it is this pooler."""
    done, counted = [], []
    for transactions in TRANSACTIONS:
        contestant = start([*_COUNTING, *_RELAY_ONLY] if own else _COUNTING)
        try:
            if one.protocol not in contestant.protocols:
                return None
            load.carry_out(bin_dir, contestant, one, transactions // one.clients)
            contestant.pooler.stop()
            found = _COLLECTED.search(contestant.pooler.log)
        finally:
            contestant.close()
        if found is None:
            raise load.LoadFailed(f"{contestant.name}: valgrind has counted nothing")
        done.append(transactions // one.clients * one.clients)
        counted.append(int(found[1]))
    return (counted[1] - counted[0]) / (done[1] - done[0])
