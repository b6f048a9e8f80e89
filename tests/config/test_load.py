"""Loading as a whole: every fault named once, in the order of the file, and no secret in any of it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from pgpool_py.auth.secret import Secret
from pgpool_py.config import ConfigError, load, not_yet_effective

from .conftest import Load, Problems


def test_all_faults_are_named_in_file_order(problems: Problems) -> None:
    text = """\
[pgbouncer]
listen_port = none
poolmode = session
auth_file = users.txt
nosuch = 1
[databases]
app = host=h pool_size=ten port=0 prot=1
pgbouncer = host=h
b = reserve_pool=x
[users]
u = pool_mode=all host=h
[peers]
x = host=h
1 = port=5
"""
    assert problems(text, users__txt='"u" "p"\nbad\n') == [
        'pgbouncer.ini:2: [pgbouncer] listen_port: expected a port number from 0 to 65535, got "none"',
        'pgbouncer.ini:3: [pgbouncer] poolmode: unknown setting, did you mean "pool_mode"?',
        "pgbouncer.ini:5: [pgbouncer] nosuch: unknown setting",
        'pgbouncer.ini:7: [databases] app: prot: unknown setting, did you mean "port"?',
        'pgbouncer.ini:7: [databases] app: port: expected a port number from 1 to 65535, got "0"',
        'pgbouncer.ini:7: [databases] app: pool_size: expected an integer of 0 or more, got "ten"',
        'pgbouncer.ini:8: [databases] pgbouncer: the name "pgbouncer" is reserved for the admin console',
        'pgbouncer.ini:9: [databases] b: reserve_pool: expected an integer of 0 or more, got "x"',
        "pgbouncer.ini:11: [users] u: host: unknown setting",
        'pgbouncer.ini:11: [users] u: pool_mode: expected one of session, transaction, statement, got "all"',
        'pgbouncer.ini:13: [peers] x: expected a peer id from 1 to 16383, got "x"',
        "pgbouncer.ini:14: [peers] 1: expected a host",
        'users.txt:2: expected "user" "secret", both in double quotes',
    ]


def test_a_missing_file_is_one_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        load("none.ini")
    assert caught.value.problems == ["none.ini: cannot be read: No such file or directory"]


def test_a_missing_auth_file_is_a_fault(problems: Problems) -> None:
    assert problems("[pgbouncer]\nauth_file = none.txt\n") == [
        'pgbouncer.ini:2: [pgbouncer] auth_file: cannot read "none.txt": No such file or directory'
    ]


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("auth_file = none.txt", '[pgbouncer] auth_file: cannot read "none.txt": No such file or directory'),
        ("auth_type = hba", '[pgbouncer] auth_type: needs auth_hba_file when it is "hba"'),
    ],
)
def test_a_start_goes_on_without_users(tmp_path: Path, loaded: Load, problems: Problems, line: str, warning: str) -> None:
    """[run] PgBouncer starts, and refuses whoever comes; a reload or --check names the fault, and changes nothing."""
    assert problems(f"[pgbouncer]\n{line}\n") == [f"pgbouncer.ini:2: {warning}"]
    config = load("pgbouncer.ini", starting=True)
    assert config.warnings == (f"pgbouncer.ini:2: {warning}",)
    assert (dict(config.userlist), config.hba.rules) == ({}, ())


def test_a_start_goes_on_without_the_bad_lines_of_auth_file(problems: Problems) -> None:
    """[run] PgBouncer reads up to the first bad line; here those behind it count, too."""
    fault = ['u.txt:2: expected "user" "secret", both in double quotes']
    assert problems("[pgbouncer]\nauth_file = u.txt\n", u__txt='"a" "b"\n# c\n"d" "e"\n') == fault
    config = load("pgbouncer.ini", starting=True)
    assert (list(config.userlist), list(config.warnings)) == (["a", "d"], fault)


def test_a_minimal_file_is_enough(loaded: Load) -> None:
    config = loaded("[pgbouncer]\n[databases]\n* = host=127.0.0.1\n")
    assert config.pgbouncer.listen_port == 6432
    assert not_yet_effective(config) == []


def test_every_key_of_every_section_is_taken(loaded: Load) -> None:
    config = loaded(
        "[pgbouncer]\n[databases]\n"
        "a = dbname=d host=h,i port=1 user=u password=p auth_user=x auth_query='select 1' auth_dbname=y"
        " pool_size=1 min_pool_size=2 reserve_pool_size=3 connect_query='select 2'"
        " pool_mode=statement query_wait_timeout=1.5 load_balance_hosts=disable max_db_connections=4"
        " max_db_client_connections=5 server_lifetime=6"
        " client_encoding=UTF8 datestyle=ISO timezone=UTC application_name=n\n"
        "[users]\nu = pool_size=1 reserve_pool_size=2 pool_mode=session max_user_connections=3"
        " max_user_client_connections=4 query_timeout=5 query_wait_timeout=6 idle_transaction_timeout=7"
        " transaction_timeout=8 client_idle_timeout=9\n"
        "[peers]\n1 = host=h port=2 pool_size=3\n"
    )
    assert config.databases["a"].query_wait_timeout == 1.5
    assert config.users["u"].client_idle_timeout == 9
    assert (config.peers[1].host, config.peers[1].port, config.peers[1].pool_size) == ("h", 2, 3)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("auth_type = cert", 'auth_type: "cert" needs client_tls_sslmode = verify-full'),
        ("auth_type = cert", 'auth_type: "cert" needs client_tls_ca_file'),
        ("auth_type = hba", 'auth_type: needs auth_hba_file when it is "hba"'),
        ("auth_dbname = pgbouncer", 'auth_dbname: cannot be "pgbouncer", the admin console'),
        ("unix_socket_dir =", "unix_socket_dir: is empty and so is listen_addr: nowhere to listen"),
    ],
)
def test_what_would_weaken_security_is_refused(problems: Problems, line: str, problem: str) -> None:
    assert f"pgbouncer.ini:2: [pgbouncer] {problem}" in problems(f"[pgbouncer]\n{line}\n")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_mode_of_tls_is_accepted(loaded: Load, mode: str) -> None:
    config = loaded(f"[pgbouncer]\nclient_tls_sslmode = {mode}\nserver_tls_sslmode = {mode}\n")
    assert config.pgbouncer.client_tls_sslmode == mode
    assert config.pgbouncer.server_tls_sslmode == mode


def test_direct_tls_needs_a_mode_that_insists(problems: Problems) -> None:
    """Without asking first nobody can say "no": there is nothing to fall back to."""
    assert problems("[pgbouncer]\nserver_tls_negotiation = direct\n") == [
        'pgbouncer.ini:2: [pgbouncer] server_tls_negotiation: "direct" needs server_tls_sslmode = require or more'
    ]


def test_settings_without_meaning_here_are_listed(loaded: Load) -> None:
    """Those of another operating system and of PgBouncer's inside: accepted, and start-up says so, if they are set at all."""
    text = "[pgbouncer]\njob_name = bouncer\npkt_buf = 8192\nsbuf_loopcnt = 5\nserver_lifetime = 1\n"
    tail = "accepted, it has no meaning here"
    assert not_yet_effective(loaded(text)) == [
        f"pgbouncer.ini:2: [pgbouncer] job_name: {tail}: it names a Windows service",
        f"pgbouncer.ini:3: [pgbouncer] pkt_buf: {tail}: all connections share one buffer",
    ]


def test_names_have_their_limits(loaded: Load, problems: Problems) -> None:
    """[run] 63 bytes of an entry's name are accepted, 64 are not; a longer dbname is PostgreSQL's affair, which cuts it."""
    assert loaded(f"[pgbouncer]\n[databases]\n{'x' * 63} = host=h\n").databases
    assert problems(
        f"[pgbouncer]\n[databases]\n{'x' * 64} = host=h\na = dbname={'y' * 640} user={'z' * 128}\n"
    ) == [
        f"pgbouncer.ini:3: [databases] {'x' * 64}: expected a name of at most 63 bytes, got 64",
        f'pgbouncer.ini:4: [databases] a: user: expected a name of 1 to 127 bytes, got "{"z" * 77}..."',
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "a = host=h password=hunter2 x",
        "a = host=h password=hunter2 port=0",
        "a = password=x hunter2=1",
        "a = password='hunter2",
        "a password=hunter2",
        f"a = password='{'hunter2' * 10000}'",
    ],
)
def test_no_fault_shows_a_password(problems: Problems, entry: str) -> None:
    assert all("hunter2" not in problem for problem in problems(f"[pgbouncer]\n[databases]\n{entry}\n"))


def test_no_config_shows_a_secret(loaded: Load) -> None:
    text = "[pgbouncer]\nauth_file=users.txt\nauth_ldap_options = hunter2\n"
    text += "[databases]\na = user=u password=hunter2\n"
    config = loaded(text, users__txt='"u" "hunter2"\n')
    assert config.databases["a"].password == Secret("hunter2")
    for shown in (
        repr(config),
        str(config),
        repr(config.databases),
        repr(config.userlist),
        repr(config.userlist["u"]),
    ):
        assert "hunter2" not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(config.databases["a"].password)


def test_any_bytes_end_in_a_config_error(working_directory: Path) -> None:
    (working_directory / "pgbouncer.ini").write_bytes(bytes(range(256)) + b"\n[pgbouncer]\nuser = \xff\0\n")
    with pytest.raises(ConfigError) as caught:
        load("pgbouncer.ini")
    assert caught.value.problems[-1] == "pgbouncer.ini:4: user: a zero byte in the value"


@pytest.mark.parametrize(("method", "package"), [("pam", "pamela"), ("ldap", "ldap3")])
def test_a_missing_extra_is_told_with_its_name(
    problems: Problems, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    """At start, for the method of the main section and for that of a line of the HBA file."""
    monkeypatch.setitem(sys.modules, package, None)
    options = "auth_ldap_options = ldapserver=a ldapprefix=b\n"
    (said,) = problems(f"[pgbouncer]\nauth_type = {method}\n{options}")
    install = f"needs the package {package}: pip install 'pgpool_py[{method}]'"
    assert said.startswith(f'pgbouncer.ini:2: [pgbouncer] auth_type: "{method}" {install}')
    if method == "ldap":
        hba = "local all all trust\nhost all all all ldap ldapserver=a ldapprefix=b\n"
        (said,) = problems("[pgbouncer]\nauth_type = hba\nauth_hba_file = hba.conf\n", hba__conf=hba)
        assert said.startswith(f"hba.conf:2: method ldap {install}")


def test_ldap_needs_its_options(problems: Problems) -> None:
    said = problems("[pgbouncer]\nauth_type = ldap\nauth_ldap_options = ldapbindpasswd=hunter2 ldapserver=a\n")
    assert said[0].startswith("pgbouncer.ini:3: [pgbouncer] auth_ldap_options: ldap: expected ldapbasedn")
    assert "hunter2" not in str(said)


def test_a_bad_line_of_the_hba_file_is_a_warning(loaded: Load) -> None:
    config = loaded(
        "[pgbouncer]\nauth_type = hba\nauth_hba_file = hba.conf\nauth_ident_file = ident.conf\n",
        hba__conf="hots\nlocal all all peer map=crew\n",
        ident__conf="crew root web\nx\n",
    )
    assert [rule.line for rule in config.hba.rules] == [2]
    assert [line.partition(": ")[0] for line in config.warnings] == ["ident.conf:2", "hba.conf:1"]
