"""Writing configuration files and reading them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgpool_py.config import Config, ConfigError, load

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files are named relative to here, so that messages are short and the same everywhere."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(working_directory: Path) -> Load:
    """Load a configuration of this text; more files by keyword, a dot in a name as two underscores."""

    def load_text(text: str, **others: str) -> Config:
        for name, content in {"pgbouncer__ini": text, **others}.items():
            path = working_directory / name.replace("__", ".")
            path.write_bytes(content.encode("utf-8", "surrogateescape"))
        return load("pgbouncer.ini")

    return load_text


@pytest.fixture
def problems(loaded: Load) -> Problems:
    """The problems of a configuration that must be refused."""

    def problems_of(text: str, **others: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **others)
        return caught.value.problems

    return problems_of
