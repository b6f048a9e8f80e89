"""docs/incidents.md: every lesson names a test that exists, once."""

from __future__ import annotations

import re

import pytest

from tests.test_compatibility import ROOT, functions_in

PAGE = ROOT / "docs" / "incidents.md"


def lessons() -> list[tuple[str, str]]:
    """(lesson, test) of each row."""
    found: list[tuple[str, str]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not re.match(r"\| (lesson|---) \|", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 2, f"a row has other than two cells: {line}"
            found.append((cells[0], cells[1].strip("`")))
    return found


@pytest.mark.parametrize(("lesson", "test"), lessons(), ids=[lesson for lesson, _ in lessons()])
def test_every_lesson_has_its_test(lesson: str, test: str) -> None:
    path, _, name = test.partition("::")
    assert lesson and (ROOT / path).is_file(), f"there is no {path}"
    assert name in functions_in(path), f"{path} has no {name}"


def test_every_test_stands_for_one_lesson() -> None:
    tests = [test for _, test in lessons()]
    assert sorted(tests) == sorted(set(tests))
