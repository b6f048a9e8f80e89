"""An operator's pg_hba.conf on a running pooler: every method that needs no other service, and a reload."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler
from pgpool_py.testing.pooler import run_cli
from tests.auth.conftest import WriteFile, refusal
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database

ME = pwd.getpwuid(os.getuid()).pw_name


def start(start_pooler: StartPooler, database: Database, hba: Path, **settings: object) -> Pooler:
    """A pooler with entries of several names for one database, whose users are the database's owner and I."""
    return start_pooler(
        {"auth_type": "hba", "auth_hba_file": hba, **settings},
        databases={
            name: f"{database.line} user={database.user} password={database.password}"
            for name in ("open", "secret", "plainly", "old", "closed", "nowhere")
        },
        users={database.user: database.password, ME: "mine"},
    )


def test_each_database_has_its_method(start_pooler: StartPooler, database: Database, write_file: WriteFile) -> None:
    """trust, SCRAM, plain and md5 let in with what they ask for; reject and no line let nobody in."""
    hba = write_file(
        "hba.conf",
        """\
# the first line that fits decides
host open    all     127.0.0.0/8 trust
host secret  all     127.0.0.1 255.255.255.255 scram-sha-256
host plainly all     samehost password
host old     @owners samenet  md5
host closed  all     all reject
hots nowhere all     all trust
""",
    )
    write_file("owners", f"{database.user}\n")
    pooler = start(start_pooler, database, hba)
    user = database.user
    for name in ("open", "secret", "plainly", "old"):
        with psycopg.connect(pooler.dsn(name, user)) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        if name != "open":
            assert "authentication failed" in refusal(pooler.dsn(name, user, "wrong"))
    assert "login rejected" in refusal(pooler.dsn("closed", user))
    asked = f'host "127.0.0.1", user "{user}", database "nowhere", no encryption'
    assert f"no pg_hba.conf entry for {asked}" in refusal(pooler.dsn("nowhere", user))
    pooler.wait_for_log(f"closing because: login rejected: {hba}:6 says reject")
    pooler.wait_for_log(f'WARNING {hba}:7: expected one of local, .* got "hots"; the line is ignored')
    checked = run_cli("--check", pooler.ini)
    assert checked.returncode == 0 and f"{hba}:7: expected one of local" in checked.stderr


def test_reload_reads_the_rules_again(start_pooler: StartPooler, database: Database, write_file: WriteFile) -> None:
    """A line that cannot be used is named, a file that is not there keeps the old rules."""
    hba = write_file("hba.conf", "host all all all reject\n")
    pooler = start(start_pooler, database, hba)
    assert "login rejected" in refusal(pooler.dsn("open", database.user))
    write_file("hba.conf", "host all all 10.0.0.0/99 trust\nhost all all all trust\n")
    pooler.reload()
    pooler.wait_for_log("reload done")
    psycopg.connect(pooler.dsn("open", database.user)).close()
    pooler.wait_for_log(r"hba\.conf:1: expected a mask of 0 to 32 bits")
    hba.unlink()
    pooler.reload()
    pooler.wait_for_log("RELOAD failed")
    pooler.wait_for_log("auth_hba_file: cannot read .*No such file")
    psycopg.connect(pooler.dsn("open", database.user)).close()


@pytest.fixture
def socket_pooler(start_pooler: StartPooler, database: Database, write_file: WriteFile, folder: Path) -> Pooler:
    """peer for the user of my own name; with a map for the database's owner."""
    hba = write_file(
        "hba.conf",
        f"local mapped,nobody all peer map=crew\nlocal all {database.user} scram-sha-256\nlocal all all peer\n"
        "host all all all peer\n",
    )
    ident = write_file("ident.conf", f"crew {ME} {database.user}\nothers daemon all\n")
    pooler = start(start_pooler, database, hba, auth_ident_file=ident, unix_socket_dir=folder)
    pooler.databases["mapped"] = pooler.databases["open"]
    pooler.reload()
    pooler.wait_for_log("reload done")
    return pooler


def test_peer_over_a_unix_socket(socket_pooler: Pooler, database: Database, folder: Path) -> None:
    def dsn(name: str, user: str, password: str = "") -> str:
        return f"host={folder} port={socket_pooler.port} dbname={name} user={user} password={password}"

    psycopg.connect(dsn("open", ME)).close()
    psycopg.connect(dsn("mapped", database.user)).close()
    psycopg.connect(dsn("open", database.user, database.password)).close()
    assert "authentication failed" in refusal(dsn("open", database.user, "wrong"))
    assert "unix socket login rejected" in refusal(dsn("open", "daemon"))
    socket_pooler.wait_for_log("closing because: unix socket login rejected: no such user")
    assert "unix socket login rejected" in refusal(dsn("mapped", ME))
    socket_pooler.wait_for_log(rf'unix socket login rejected: ident map crew cannot be matched: system user "{ME}"')
    assert "unix socket login rejected" in refusal(socket_pooler.dsn("open", ME))
    socket_pooler.wait_for_log("peer authentication needs a Unix socket")
