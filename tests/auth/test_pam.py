"""auth_type=pam against the system's own libpam, with a service directory of the test (Debian's libpam-wrapper)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler
from tests.auth.conftest import WriteFile, refusal
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database
from tests.system.stack import wait_until


def found(pattern: str) -> Path | None:
    return next((path for base in ("/usr/lib", "/lib") for path in sorted(Path(base).glob(pattern))), None)


WRAPPER = found("*/libpam_wrapper.so") or found("libpam_wrapper.so")
MATRIX = found("*/pam_wrapper/pam_matrix.so") or found("pam_wrapper/pam_matrix.so")
pytestmark = pytest.mark.skipif(None in (WRAPPER, MATRIX), reason="Debian's libpam-wrapper is not installed")


@pytest.fixture
def pooler(start_pooler: StartPooler, database: Database, write_file: WriteFile, folder: Path) -> Pooler:
    """PAM knows ann, and the database's owner by its password; barred may use another service only."""
    write_file("passwords", f"{database.user}:{database.password}:pgbouncer\nann:secret:pgbouncer\nbarred:x:sshd\n")
    service, library = folder / "services", folder / "lib"
    for made in (service, library):
        made.mkdir()
        made.chmod(0o755)
    line = f"{MATRIX} passdb={folder}/passwords"
    (service / "pgbouncer").write_text(f"auth required {line}\naccount required {line}\n")
    (service / "pgbouncer").chmod(0o644)
    # pamela opens the library by its name, so a preloaded one alone is not seen.
    (library / "libpam.so.0").symlink_to(str(WRAPPER))
    env = {
        "PGPOOL_PY_TEST_IMPORTS": "pamela",
        "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": str(service),
        "LD_LIBRARY_PATH": str(library),
        "LD_PRELOAD": str(WRAPPER),
    }
    forced = f"{database.line} user={database.user} password={database.password}"
    return start_pooler(
        {"auth_type": "pam", "client_login_timeout": 30},
        databases={"app": forced, "own": database.line},
        users={},
        env=env,
    )


def test_pam_judges_the_password_and_the_account(pooler: Pooler, database: Database) -> None:
    """Nobody has to be in auth_file; the password that PAM took opens servers, too."""
    psycopg.connect(pooler.dsn("app", "ann", "secret")).close()
    with psycopg.connect(pooler.dsn("own", database.user, database.password)) as connection:
        assert connection.execute("select current_user").fetchone() == (database.user,)
    for user, password, said in (
        ("ann", "a wrong one", "pam_authenticate failed: Authentication failure"),
        ("nobody_here", "secret", "pam_authenticate failed"),
        ("barred", "x", "pam_acct_mgmt failed: Permission denied"),
    ):
        assert "PAM authentication failed" in refusal(pooler.dsn("app", user, password))
        pooler.wait_for_log(f"app/{user}@.* closing because: PAM authentication failed: {said}")
    assert "a wrong one" not in pooler.log


@contextmanager
def hanging(folder: Path) -> Iterator[Path]:
    """The passwords as a pipe: whoever opens it waits until somebody writes."""
    passwords, kept, pipe = folder / "passwords", folder / "kept", folder / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    passwords.rename(kept)
    pipe.rename(passwords)
    try:
        yield passwords
    finally:
        passwords.rename(pipe)
        kept.rename(passwords)


def opened_by_both(pipe: Path) -> int:
    """The pipe's other end, as soon as PAM has opened this one."""
    found: list[int] = []

    def opened() -> bool:
        try:
            found.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads yet
                raise
        return bool(found)

    wait_until(opened, "PAM reads its passwords")
    return found[0]


def test_nobody_waits_for_somebody_elses_pam(pooler: Pooler, folder: Path) -> None:
    """A module that hangs holds up its own login only."""
    with psycopg.connect(pooler.dsn("app", "ann", "secret"), autocommit=True) as at_work, ThreadPoolExecutor(1) as thread:
        with hanging(folder) as passwords:
            slow = thread.submit(lambda: psycopg.connect(pooler.dsn("app", "ann", "secret"), connect_timeout=20).close())
            writer = opened_by_both(passwords)
        try:
            assert at_work.execute("select 1").fetchone() == (1,)
            psycopg.connect(pooler.dsn("app", "ann", "secret")).close()
            assert not slow.done()
            os.write(writer, b"ann:secret:pgbouncer\n")
        finally:
            os.close(writer)
        slow.result(20)


def test_a_login_that_pam_holds_up_ends_in_time(pooler: Pooler, folder: Path) -> None:
    """client_login_timeout covers it, and the pooler can end meanwhile."""
    pooler.settings["client_login_timeout"] = 0.3
    pooler.reload()
    pooler.wait_for_log("reload done")
    with hanging(folder):
        assert "client_login_timeout" in refusal(pooler.dsn("app", "ann", "secret"))
        assert pooler.stop() == 0
