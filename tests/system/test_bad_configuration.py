"""Configurations that cannot be used: told with file, line, setting, what was found and expected; exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgpool_py.testing import PoolerError
from pgpool_py.testing.pooler import run_cli
from tests.system import stack
from tests.system.rawclient import Address

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="--check is our own")

GOOD = """\
[databases]
app = host=127.0.0.1 port=5432 dbname=app pool_size=5
[users]
web = pool_size=3
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 6432
auth_type = trust
; a comment
"""


def check(folder: Path, text: str) -> tuple[int, str]:
    path = folder / "pooler.ini"
    path.write_text(text)
    path.chmod(0o644)
    done = run_cli("--check", path)
    return done.returncode, done.stdout + done.stderr


def test_good_configuration_passes(open_path: Path) -> None:
    """A good file is 0, and says so."""
    code, said = check(open_path, GOOD)
    assert code == 0 and "pooler.ini" in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no_such_setting = 1", ["pooler.ini:10:", "no_such_setting"]),
        ("defualt_pool_size = 1", ["pooler.ini:10:", "defualt_pool_size", "default_pool_size"]),
        ("default_pool_size = ten", ["pooler.ini:10:", "default_pool_size", "expected", '"ten"']),
        ("listen_port = 99999", ["pooler.ini:10:", "listen_port", "expected", '"99999"']),
        ("pool_mode = often", ["pooler.ini:10:", "pool_mode", "expected", "transaction", '"often"']),
        ("query_wait_timeout = soon", ["pooler.ini:10:", "query_wait_timeout", "expected", '"soon"']),
        ("auth_type = guess", ["pooler.ini:10:", "auth_type", "expected", '"guess"']),
        ("auth_file = /no/such/userlist.txt", ["/no/such/userlist.txt"]),
        ("just words", ["pooler.ini:10:"]),
        ("[unknown_section]", ["pooler.ini:10:", "unknown_section"]),
        ("%include /no/such/file.ini", ["/no/such/file.ini"]),
        ("[databases]\nbad = host=x prot=1", ["pooler.ini:11:", "bad", "prot"]),
        ("[databases]\nbad = host='x", ["pooler.ini:11:", "bad"]),
        ("[databases]\nbad = pool_size=many", ["pooler.ini:11:", "bad", "pool_size", '"many"']),
        ("[databases]\npgbouncer = host=x", ["pooler.ini:11:", "pgbouncer"]),
        ("[users]\nbad = no_such=1", ["pooler.ini:11:", "bad", "no_such"]),
    ],
)
def test_fault_is_named(open_path: Path, line: str, words: list[str]) -> None:
    """Each kind of fault: exit 1, and the message has all that is needed to mend it."""
    code, said = check(open_path, GOOD + line + "\n")
    assert code == 1
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in said


def test_all_faults_are_named_at_once(open_path: Path) -> None:
    """Three faults are three lines, not the first only."""
    code, said = check(open_path, GOOD + "one = 1\ntwo = 2\ndefault_pool_size = x\n")
    assert code == 1
    assert all(f"pooler.ini:{number}:" in said for number in (10, 11, 12)), said


def test_missing_file_is_named(open_path: Path) -> None:
    """A file that is not there is named, with exit code 1."""
    done = run_cli("--check", open_path / "nowhere.ini")
    assert done.returncode == 1 and "nowhere.ini" in done.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"\x7fELF\x02\x01", b"", b"\x00" * 100])
def test_binary_file_is_refused(open_path: Path, content: bytes) -> None:
    """A file of something else ends in a message, not in a traceback."""
    path = open_path / "pooler.ini"
    path.write_bytes(content)
    path.chmod(0o644)
    done = run_cli("--check", path)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


def test_no_argument_is_explained() -> None:
    """Without a file: exit 1 and a hint."""
    done = run_cli()
    assert done.returncode == 1 and "no configuration file specified" in done.stderr


def test_version_names_the_build() -> None:
    """--version says which version and which build runs."""
    done = run_cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("PgBouncer 1.25.2 (pgpool_py ")
    assert "compiled" in done.stdout or "interpreted" in done.stdout


def test_start_with_bad_setting_is_refused() -> None:
    """The pooler itself does not start either."""
    pooler = stack.Pooler(Address("127.0.0.1", 1), {"no_such_setting": 1})
    with pytest.raises(PoolerError, match="no_such_setting"):
        pooler.start()


def test_occupied_port_is_told(pooler: stack.Pooler) -> None:
    """A port that is taken is named at start; the one that has it works on."""
    done = run_cli(pooler.ini)
    assert done.returncode == 1
    assert str(pooler.port) in done.stderr and "in use" in done.stderr
    with pooler.connect("one") as client:
        assert client.ask("select 1") == "1"
