"""The pool decides and does no I/O."""

from __future__ import annotations

import subprocess
import sys


def test_pool_imports_no_sockets_and_no_other_part() -> None:
    code = (
        "import sys, pgpool_py.pool.pools, pgpool_py.pool.check\n"
        "parts = {m for m in sys.modules if m.startswith('pgpool_py.')}\n"
        "parts = {m for m in parts if m.split('.')[1] not in ('pool', 'build', 'seam')}\n"
        "print(sorted(parts | ({'socket', 'asyncio', 'ssl'} & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
