"""`python -m pgpool_py.testing.unprivileged ARGS`: as root, becomes `nobody` and then is `pgpool_py ARGS`.

Everything is imported before the change of user, because the interpreter and the project often lie where only
root can read (a pyenv or a checkout in /root). Nothing of root is kept: no group, no capability.
"""

import contextlib
import ctypes
import importlib
import os
import pkgutil
import sys
from types import ModuleType

from pgpool_py.testing.process import child_account

# What the standard library imports only when it is first needed.
_LATE = ("asyncio", "encodings.idna", "ssl", "traceback", "linecache", "resource", "uvloop")
# More of it, for a test that needs an extra.
_LATE_VARIABLE = "PGPOOL_PY_TEST_IMPORTS"
# What would be loaded for nothing: this package.
_LEFT_OUT = ("pgpool_py.testing", "pgpool_py.__main__", "pgpool_py.dev")
_PR_SET_DUMPABLE = 4


def main(arguments: list[str]) -> int:
    """Import, give up being root, run the command line."""
    account = child_account()
    if not account.switch:
        raise SystemExit("pgpool_py.testing.unprivileged is for root only")
    import pgpool_py
    import pgwire

    for name in (*_LATE, *os.environ.get(_LATE_VARIABLE, "").split()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for package in (pgwire, pgpool_py):
        _import_all(package)
    cli = importlib.import_module("pgpool_py.cli")

    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if sys.platform == "linux":
        # A process that changed its user could not read its own /proc otherwise, nor leave a core file.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    sys.argv = ["pgpool_py", *arguments]
    code: int = cli.main(arguments)
    return code


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(_LEFT_OUT):
            importlib.import_module(module.name)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
