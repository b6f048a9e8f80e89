"""What the source promises about itself: imports point one way, and the two builds are made of the same modules."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgpool_py import build

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "pgpool_py"

# Which parts each part may import, beside the leaves that anything may; docs/architecture.md explains it.
LEAVES = frozenset({"__init__", "build", "version", "sockets", "seam"})
MAY_IMPORT: dict[str, frozenset[str]] = {
    "build": frozenset(),
    "version": frozenset(),
    "sockets": frozenset(),
    "seam": frozenset(),  # the base classes by which pool and relay know each other
    "pgwire": frozenset(),
    "tls": frozenset(),
    "conversation": frozenset({"pgwire", "tls"}),
    "auth": frozenset({"pgwire"}),
    "pool": frozenset({"pgwire"}),
    "session": frozenset({"pgwire"}),
    "config": frozenset({"pgwire", "auth"}),
    "relay": frozenset({"pgwire", "session", "tls"}),
}
BELOW_APP = frozenset(MAY_IMPORT)
MAY_IMPORT |= {
    "frontend": BELOW_APP,
    "backend": BELOW_APP,
    "observe": BELOW_APP,
    "admin": BELOW_APP | {"observe"},
}
MAY_IMPORT["app"] = frozenset(MAY_IMPORT)
# `testing` is for users' tests and for `dev`; it starts the pooler as a program of its own.
MAY_IMPORT["testing"] = BELOW_APP
MAY_IMPORT["dev"] = frozenset({"testing"})
MAY_IMPORT["cli"] = frozenset(MAY_IMPORT)
MAY_IMPORT["__main__"] = frozenset({"cli"})
MAY_IMPORT["__init__"] = frozenset({"build"})


def part_of(path: Path) -> str:
    """The part of the house a source file belongs to: a package, or a module beside the packages."""
    if SOURCE not in path.parents:
        return "pgwire"
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def sources() -> Iterator[Path]:
    yield from sorted(SOURCE.rglob("*.py"))
    yield from sorted((ROOT / "protocol" / "pgwire").rglob("*.py"))


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """The parts that *path* imports anywhere, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT / "protocol" if part_of(path) == "pgwire" else ROOT).parts[: -node.level]
                module = ".".join([*package, *([module] if module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            top, *rest = name.split(".")
            if top == "pgwire":
                yield node.lineno, "pgwire"
            elif top == "pgpool_py":
                yield node.lineno, rest[0] if rest else "__init__"


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for path in sources()
        for line, imported in imported_parts(path)
        if imported != part_of(path) and imported not in MAY_IMPORT[part_of(path)] | LEAVES
    ]
    assert wrong == []


def test_every_part_has_its_rule() -> None:
    """A new package must take its place in the table before it imports anything."""
    assert {part_of(path) for path in sources()} <= set(MAY_IMPORT)


def test_the_table_has_no_circle() -> None:
    """A part may not, by way of others, import itself."""
    reached = {part: set(allowed) for part, allowed in MAY_IMPORT.items()}
    for _ in reached:
        for allowed in reached.values():
            allowed |= {further for part in set(allowed) for further in reached[part]}
    assert [part for part, allowed in reached.items() if part in allowed] == []


def test_pool_and_relay_do_not_meet() -> None:
    """They meet in app, by protocol classes; the table above must not be changed to allow more."""
    met = {
        (part_of(path), imported)
        for path in sources()
        for _, imported in imported_parts(path)
        if {part_of(path), imported} == {"pool", "relay"}
    }
    assert met == set()
    assert "pool" not in MAY_IMPORT["relay"]
    assert "relay" not in MAY_IMPORT["pool"]


def test_c_imports_point_one_way() -> None:
    """The .pxd files obey the same table: a cimport is an import too."""
    wrong = []
    for path in sorted([*SOURCE.rglob("*.p[xy][dx]"), *(ROOT / "protocol").rglob("*.p[xy][dx]")]):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in ("from", "cimport") and words[1].split(".")[0] in ("pgpool_py", "pgwire"):
                top, *rest = words[1].split(".")
                imported = top if top == "pgwire" else rest[0]
                if imported != part_of(path) and imported not in MAY_IMPORT[part_of(path)] | LEAVES:
                    wrong.append(f"{path.relative_to(ROOT)}: {line.strip()}")
    assert wrong == []


# --- the two builds ---


def source_of(name: str) -> Path:
    root = ROOT / "protocol" if name.startswith("pgwire.") else ROOT
    return root.joinpath(*name.split("."))


def test_groups_that_keep_what_they_took_end_in_an_empty_round() -> None:
    """For Python 3.11.2; `session.statement_texts` says why."""
    modules = [importlib.import_module(f"pgpool_py.session.{path.stem}") for path in (SOURCE / "session").glob("*.py")]
    patterns = [value for module in modules for value in vars(module).values() if isinstance(value, re.Pattern)]
    texts = [each.pattern if isinstance(each.pattern, str) else each.pattern.decode("latin-1") for each in patterns]
    assert len(texts) > 50
    assert [text for text in texts if re.search(r"[^|]\)(?:[*+?]|\{[\d,]+\})\+", text)] == []


def test_hot_list_equals_the_extension_list() -> None:
    """One list says what setuptools compiles, the other what the switch to the interpreted build covers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    modules = project["tool"]["setuptools"]["ext-modules"]
    assert sorted(module["name"] for module in modules) == sorted(build.HOT)
    assert all(module["optional"] for module in modules), "a missing compiler must not stop an installation"
    for module in modules:
        stem = source_of(module["name"])
        assert [ROOT / source for source in module["sources"]] in ([stem.with_suffix(".py")], [stem.with_suffix(".pyx")])


@pytest.mark.parametrize("name", build.HOT)
def test_hot_module_has_both_sources(name: str) -> None:
    """The .py runs interpreted; the .pxd beside it gives the C types."""
    stem = source_of(name)
    assert stem.with_suffix(".py").is_file()
    assert stem.with_suffix(".pxd").is_file()


def test_every_pxd_belongs_to_a_hot_module() -> None:
    """C types beside a module that is never compiled would be a trap for the reader."""
    found = [*SOURCE.rglob("*.pxd"), *(ROOT / "protocol").rglob("*.pxd")]
    assert sorted(found) == sorted(source_of(name).with_suffix(".pxd") for name in build.HOT)


def run_python(code: str, pure: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, build.PURE_VARIABLE: pure, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protocol'}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


SHOW_FILES = (
    "import importlib; from pgpool_py import build; import pgpool_py.relay.relay\n"
    "print(build.describe())\n"
    "print(*(importlib.import_module(name).__file__ for name in build.HOT), sep='\\n')"
)


def test_interpreted_build_on_request() -> None:
    """PGPOOL_PY_PURE=1 takes every hot module from its .py, compiled files beside them or not, and says so."""
    first, *files = run_python(SHOW_FILES, pure="1")
    assert first.startswith("interpreted (PGPOOL_PY_PURE is set), Python 3.")
    assert [Path(file) for file in files] == [source_of(name).with_suffix(".py") for name in build.HOT]


def test_build_is_all_or_nothing() -> None:
    """A compiled class over an interpreted one fails at import, so the modules agree with what the build says."""
    first, *files = run_python(SHOW_FILES, pure="0")
    assert {Path(file).suffix for file in files} == ({".so"} if first.startswith("compiled, ") else {".py"})
