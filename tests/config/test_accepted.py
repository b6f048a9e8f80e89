"""What PgBouncer accepts is accepted, and what it refuses is refused: the same files for both.

Each case says what we do; where Debian's PgBouncer (1.18) is installed, it is asked, too. `STRICTER` are the files that it takes
and garbles, which we refuse; the page on compatibility has a row for each kind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgpool_py.app.encryption import Encryption
from pgpool_py.config import ConfigError, load
from pgpool_py.testing import running_pooler
from pgpool_py.testing.process import child_account, free_port, private_directory, remove_tree

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
USERS = '"u" "p"\n'


def main(*lines: str) -> str:
    return "\n".join(("@MAIN@", *lines, "[databases]", ""))


def databases(*lines: str) -> str:
    return "\n".join(("@MAIN@", "[databases]", *lines, ""))


def users(*lines: str) -> str:
    return "\n".join(("@MAIN@", "[databases]", "[users]", *lines, ""))


LONG = "x" * 63
PORT = free_port()
ACCEPTED = [
    # comments, sections, %include
    "@MAIN@; one\n  # two\n[databases] ; three\n",
    "@MAIN@[databases] # three\n",
    "@MAIN@[databases] a = host=h\n",
    "@MAIN@[databases]\na = host=h\n[users]\n[databases]\nb = host=h\n",
    "@MAIN@[pgbouncer]\nverbose = 1\nunix_socket_dir = @DIR@\nlisten_port = @PORT@\n[databases]\n",
    "[databases]\na = host=h\n@MAIN@",
    "@MAIN@%include more.ini\n[databases]\n",
    "@MAIN@%include\tmore.ini  \n[databases]\n",
    "@MAIN@[databases]\na = host=h",
    "@MAIN@\tverbose\t=\t1\t\r\n[databases]\r\n",
    "@MAIN@",
    # integers, switches, times, words, lists
    main("default_pool_size = 0x10", "min_pool_size = 010", "listen_backlog = +7"),
    main("log_connections = 2", "syslog = 0x0", "tcp_defer_accept = 45", "server_round_robin = -1"),
    main("server_lifetime = .5", "query_timeout = 1e2", "server_idle_timeout = 0x10", "suspend_timeout = 007"),
    main("server_idle_timeout = 1e10", "server_check_delay = 0x1p3", "server_login_retry = 5."),
    main("unix_socket_mode = 0770"),
    main("unix_socket_mode = 777"),
    main("pool_mode = TRANSACTION", "auth_type = Trust", "server_tls_sslmode = DISABLE"),
    main("admin_users = a, b ,,c", "ignore_startup_parameters = x , options", "listen_addr = 127.0.0.1,"),
    main("server_check_query = select 1; -- x", "server_reset_query =", "job_name = 'x'"),
    main("verbose = 1", "verbose = 2"),
    main("server_tls_sslmode = disable", "server_tls_protocols = nonsense", "client_tls_dheparams = nonsense"),
    # users and rules
    main("auth_file = users.txt"),
    main("auth_file = missing.txt"),
    main("auth_file = broken.txt"),
    main("auth_type = hba", "auth_hba_file = missing.hba"),
    main("auth_type = hba"),
    main("auth_type = hba", "auth_hba_file = broken.hba"),
    # entries
    databases("a =", "b.c-d = host=h", "* = port=05", "* = port=+5"),
    databases("a = host = h  port= '5' dbname='x y' password='it''s' user=u"),
    databases("a = host=h1,h2 reserve_pool=1 min_pool_size=2 max_db_connections=0"),
    databases(f"{LONG} = dbname={'y' * 200}"),
    databases("a = connect_query='select ''x''' client_encoding=UTF8 datestyle=ISO,MDY timezone=GMT application_name=n"),
    databases("a = pool_size=-1 pool_mode=SESSION auth_user=x", "a = host=again"),
    users("u = pool_mode=session max_user_connections=-1", "v =", "u = max_user_connections=0"),
]
REFUSED = [
    "",
    "verbose = 1\n",
    "[PGBOUNCER]\n",
    "[ pgbouncer ]\n",
    "[pgbouncer\n",
    "@MAIN@[other]\n",
    "@MAIN@[databases] x\n",
    "@MAIN@%include missing.ini\n[databases]\n",
    "@MAIN@%include 'more.ini'\n[databases]\n",
    "@MAIN@%includemore.ini\n[databases]\n",
    "@MAIN@%INCLUDE more.ini\n[databases]\n",
    "@MAIN@%include\n[databases]\n",
    "\ufeff@MAIN@[databases]\n",
    "@MAIN@[databases]\n%include users.ini\nb = host=h\n",
    main("verbose"),
    main("verbose: 1"),
    main("ver bose = 1"),
    main("VERBOSE = 1"),
    main("nosuch = 1"),
    *(main(f"default_pool_size = {text}") for text in ("", "ten", "10 ; x", "10 # x", "09", "0x", "1.5", "5s", "1e2", "0b1")),
    *(main(f"log_connections = {text}") for text in ("", "yes", "on", "true")),
    *(main(f"server_lifetime = {text}") for text in ("", "5s", "-1", "1_0", "1e400")),
    main("stats_period = 0.5"),
    main("unix_socket_mode = 0999"),
    main("pool_mode = query"),
    main("auth_type = crypt"),
    main("auth_type = cert"),
    main("auth_dbname = pgbouncer"),
    main("server_tls_sslmode = yes"),
    main("client_tls_sslmode = require"),
    *(databases(f"a = {text}") for text in ("host", "host=", "host=''", "host='h", "host=h # x", "host=h ; x", "host=h1, h2")),
    *(databases(f"a = {text}") for text in ("port=0", "port=abc", "pool_mode=x", "nosuch=1", "Host=h")),
    databases("pgbouncer = host=h"),
    databases(f"{LONG}x = host=h"),
    databases("ü = host=h"),
    databases("a"),
    users("u = nosuch=1"),
    users("u = pool_mode=x"),
    users("u = password=x"),
]
STRICTER = [
    *(main(f"default_pool_size = {text}") for text in ("-5", "99999999999")),
    *(main(f"server_lifetime = {text}") for text in ("inf", "nan")),
    *(databases(f"a = {text}") for text in ("pool_size=ten", "pool_size=5x", "pool_size=-5", "port=65536")),
    users("u = max_user_connections=x"),
    users(f"{'u' * 128} = pool_mode=session"),
    databases("a = host=h\0x"),
    databases("= host=h"),
]
FILES = {
    "users.txt": f'; comment\n\n  {USERS}"v","q" rest\n"w""w" ""\n',
    "broken.txt": f'{USERS}# no comment\n"v" "q"\n',
    "broken.hba": "host all all 127.0.0.1/33 md5\nlocal all all trust\n",
    "more.ini": "verbose = 1\n",
    "users.ini": "[users]\nu = pool_mode=session\n",
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the files are, readable and writable for who runs PgBouncer."""
    account = child_account()
    made = private_directory("pgpool_py-", account)
    for name, text in FILES.items():
        (made / name).write_text(text)
    made.chmod(0o755 if not account.switch else 0o777)
    yield made
    remove_tree(made)


def accepted(folder: Path, text: str) -> bool:
    """Whether we start with this file."""
    write(folder, text)
    before = Path.cwd()
    os.chdir(folder)
    try:
        Encryption.of(load("test.ini", starting=True))
    except ConfigError:
        return False
    finally:
        os.chdir(before)
    return True


def pgbouncer_starts(folder: Path, text: str) -> bool:
    """The same question, to PgBouncer."""
    assert PGBOUNCER is not None
    write(folder, text)
    account = child_account()
    process = subprocess.Popen(
        [PGBOUNCER, "test.ini"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        user=account.uid if account.switch else None,
        group=account.gid if account.switch else None,
        extra_groups=[] if account.switch else None,
    )
    assert process.stderr is not None
    with process, process.stderr as lines:
        try:
            return any("process up" in line for line in lines)
        finally:
            process.kill()


def write(folder: Path, text: str) -> None:
    own = f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\n"
    written = text.replace("@MAIN@", own).replace("@DIR@", str(folder)).replace("@PORT@", str(PORT))
    (folder / "test.ini").write_text(written, newline="")


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(folder: Path, text: str) -> None:
    assert accepted(folder, text)
    assert PGBOUNCER is None or pgbouncer_starts(folder, text)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(folder: Path, text: str) -> None:
    assert not accepted(folder, text)
    assert PGBOUNCER is None or not pgbouncer_starts(folder, text)


@pytest.mark.parametrize("text", STRICTER)
def test_garbled_by_pgbouncer_and_refused(folder: Path, text: str) -> None:
    """It goes on with another number than the one that was written, or none."""
    assert not accepted(folder, text)
    assert PGBOUNCER is None or pgbouncer_starts(folder, text)


@pytest.mark.skipif(PGBOUNCER is None, reason="there is no PgBouncer to compare with")
def test_values_are_shown_as_pgbouncer_shows_them() -> None:
    """SHOW CONFIG of both, for the same file; apart from what the page on compatibility names."""
    settings: dict[str, object] = {
        "auth_type": "any",
        "admin_users": "a",
        "default_pool_size": "0x10",
        "min_pool_size": "03",
        "server_lifetime": "0.5",
        "server_idle_timeout": "1e2",
        "query_timeout": "1.25",
        "query_wait_timeout": "007",
        "reserve_pool_timeout": ".5",
        "client_idle_timeout": "0.0001",
        "log_connections": "0x0",
        "pool_mode": "TRANSACTION",
        "server_tls_sslmode": "DISABLE",
        "client_tls_ciphers": "fast",
        "server_tls_ciphers": "fast",
        "server_check_query": "select 1",
        "verbose": "1",
    }
    assert PGBOUNCER is not None
    ours, theirs = config_of(settings, None), config_of(settings, [PGBOUNCER])
    own = {"auth_file", "conffile", "listen_port", "unix_socket_mode"}  # other places, and octal
    assert {key: ours[key] for key in theirs.keys() - own} == {key: theirs[key] for key in theirs.keys() - own}


def config_of(settings: dict[str, object], command: list[str] | None) -> dict[str, tuple[str, str]]:
    """Value and whether a reload changes it, by key."""
    with running_pooler({"app": "host=127.0.0.1"}, {"a": "x"}, settings, command=command) as pooler:
        uri = f"postgresql://a@127.0.0.1:{pooler.port}/pgbouncer?sslmode=disable"
        with psycopg.connect(uri, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            return {row[0]: (row[1], row[3]) for row in console.execute("SHOW CONFIG").fetchall()}
