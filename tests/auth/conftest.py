"""Files that a pooler of another user can read, and clients of the stories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing.process import child_account, private_directory, remove_tree

WriteFile = Callable[[str, str], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of the user that the pooler runs as. (pytest's own are closed to others whenever a run begins.)"""
    path = private_directory("pgpool_py-auth-", child_account())
    yield path
    remove_tree(path)


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
