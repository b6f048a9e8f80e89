"""Files that a pooler of another user can read, and clients of the stories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

WriteFile = Callable[[str, str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that an unprivileged child can enter, and make a socket in."""
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def write_file(folder: Path) -> WriteFile:
    """Write a file of that name and text into the folder."""

    def write(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        return path

    return write


def refusal(dsn: str, **options: object) -> str:
    """What a client that is refused hears; it must be refused."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(dsn, connect_timeout=10, **options).close()  # type: ignore[arg-type]
    return str(caught.value)
