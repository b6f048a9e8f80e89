"""Which build runs: compiled or interpreted, and why.

The hot modules are compiled all together or not at all: a compiled class over an interpreted one fails at import. `choose` runs
before any of them is imported. PGPOOL_PY_PURE=1 asks for the interpreted build.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

# As in [[tool.setuptools.ext-modules]] of pyproject.toml; a test compares the two.
HOT = (
    "pgwire.expected",
    "pgpool_py.pool.line",
    "pgpool_py.pool.pool",
    "pgpool_py.relay._io",
    "pgpool_py.relay.canceling",
    "pgpool_py.relay.client",
    "pgpool_py.relay.connection",
    "pgpool_py.relay.hearing",
    "pgpool_py.relay.keeping",
    "pgpool_py.relay.noting",
    "pgpool_py.relay.pinning",
    "pgpool_py.relay.preparing",
    "pgpool_py.relay.reading",
    "pgpool_py.relay.relay",
    "pgpool_py.relay.requesting",
    "pgpool_py.relay.returning",
    "pgpool_py.relay.server",
    "pgpool_py.relay.tls",
    "pgpool_py.relay.upkeep",
    "pgpool_py.seam",
    "pgpool_py.session._begins",
    "pgpool_py.session.scan",
    "pgpool_py.session.settings",
    "pgpool_py.session.statements",
)
PURE_VARIABLE = "PGPOOL_PY_PURE"

_reason = ""


class _SourceFinder(MetaPathFinder):
    """Finds the sources of the hot modules, though compiled ones lie beside them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in HOT or path is None:
            return None
        for folder in path:
            source = Path(folder) / f"{fullname.rpartition('.')[2]}.py"
            if source.exists():
                return importlib.util.spec_from_file_location(fullname, source)
        return None


def compiled_file(name: str) -> Path | None:
    """The compiled file of a hot module, None when there is none."""
    package, _, last = name.rpartition(".")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / (last + suffix)
            if path.exists():
                return path
    return None


def choose() -> None:
    """Decide which build runs; once, before a hot module is imported."""
    global _reason
    if os.environ.get(PURE_VARIABLE, "") not in ("", "0"):
        _reason = f"{PURE_VARIABLE} is set"
    else:
        missing = [name for name in HOT if compiled_file(name) is None]
        if missing:
            _reason = f"not compiled: {', '.join(missing)} (no C compiler at installation?)"
    if _reason:
        sys.meta_path.insert(0, _SourceFinder())


def is_compiled() -> bool:
    """Whether the compiled build runs."""
    return not _reason


def describe() -> str:
    """One line for --version, the log and the header of a test run."""
    python = f"Python {sys.version.split()[0]}"
    return f"compiled, {python}" if is_compiled() else f"interpreted ({_reason}), {python}"
