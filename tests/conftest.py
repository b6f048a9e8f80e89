"""What every test can ask for: a real PostgreSQL, a database of its own, a pooler. And the run's header."""

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgpool_py import build
from pgpool_py.testing import Pooler, PostgresServer
from tests.fixtures.build import stale_modules
from tests.fixtures.docker import docker_answers
from tests.fixtures.real_postgres import Database, RealPostgres, planned_source, real_postgres

StartPooler = Callable[..., Pooler]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test yesterday's build: an edited .py beside an older .so is silently ignored by Python."""
    stale = stale_modules() if build.is_compiled() else []
    if stale:
        raise pytest.UsageError(
            "compiled modules are older than their source: "
            + ", ".join(path.name for path in stale)
            + "\nbuild them anew (python -m pip install -e .) or run interpreted (PGPOOL_PY_PURE=1)"
        )


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which build, which PostgreSQL, and whether the container tests run."""
    return [
        f"pgpool_py: {build.describe()}",
        f"PostgreSQL: {planned_source()}",
        f"Docker: {'yes' if docker_answers() else 'no engine answers, container tests are skipped'}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Benchmarks run only when asked for, container tests only where Docker answers."""
    if "benchmark" not in config.option.markexpr:
        measured = [item for item in items if item.get_closest_marker("benchmark")]
        items[:] = [item for item in items if item not in measured]
        config.hook.pytest_deselected(items=measured)
    if not docker_answers():
        for item in items:
            if item.get_closest_marker("docker"):
                item.add_marker(pytest.mark.skip(reason="no Docker engine answers"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of every pooler of a test that failed."""
    report = yield
    for pooler in getattr(item, "_poolers", []):
        if report.failed and pooler.running:
            report.sections.append((f"log of the pooler on port {pooler.port}", pooler.log[-20000:]))
    return report


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[RealPostgres]:
    """The run's PostgreSQL. Leave it as you found it: others use it too."""
    with real_postgres() as server:
        yield server


@pytest.fixture
def database(shared_postgres: RealPostgres) -> Iterator[Database]:
    """An empty database of this test alone, with an owner who is no superuser."""
    with shared_postgres.database() as made:
        yield made


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of this test alone, to be restarted, crashed or reconfigured at will."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def start_pooler(request: pytest.FixtureRequest) -> Iterator[StartPooler]:
    """Start poolers that end with the test, which fails if one of them crashed.

    Without other *databases* and *users* the pooler serves the test's own `database`.
    """
    poolers: list[Pooler] = []
    request.node._poolers = poolers
    with ExitStack() as stack:

        def start(settings: dict[str, object] | None = None, **options: Any) -> Pooler:
            if "databases" not in options:
                made: Database = request.getfixturevalue("database")
                options["databases"] = {made.name: made.line}
                options.setdefault("users", {made.user: made.password})
            pooler = stack.enter_context(Pooler(settings=settings, **options))
            poolers.append(pooler)
            return pooler

        yield start


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can reach. Not below pytest's own: those each run of pytest makes private again."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder
