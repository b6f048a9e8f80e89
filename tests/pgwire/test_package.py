"""What the package promises about itself: its imports and its picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pgwire
from pgwire.draw import render

ROOT = Path(__file__).parents[2]


def test_import_pulls_in_nothing_that_blocks() -> None:
    script = (
        "import sys; import pgwire, pgwire.draw, pgwire.messages;"
        "unwanted = {'socket', '_socket', 'asyncio', 'ssl', 'select', 'pgpool_py'};"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    protocol = str(Path(pgwire.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {protocol!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_committed_picture_is_drawn_from_the_tables() -> None:
    committed = (ROOT / "docs" / "protocol-states.md").read_text(encoding="utf-8")
    assert committed == render(), "run: python -m pgwire.draw > docs/protocol-states.md"


def test_everything_public_is_exported() -> None:
    assert all(hasattr(pgwire, name) for name in pgwire.__all__)
