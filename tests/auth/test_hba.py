"""pg_hba.conf and pg_ident.conf: which line decides, and what of a file is left out."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest

from pgpool_py.auth.hba import Hba, HbaRule, Origin, parse_hba
from pgpool_py.auth.ident import IdentMap, parse_ident
from pgpool_py.auth.interfaces import local_interfaces

MAPS = {"staff": IdentMap("staff", (("root", "admin"),))}


def hba(text: str, name: str = "hba.conf") -> Hba:
    return parse_hba(text, name, MAPS)


def decides(
    text: str,
    database: str = "app",
    user: str = "web",
    address: str | None = "10.1.2.3",
    encrypted: bool = False,
    replication: bool = False,
) -> str | None:
    """The method of the line that fits."""
    parsed = hba(text)
    assert parsed.problems == ()
    rule = parsed.find(Origin(database, user, address, encrypted, replication))
    return rule.method if rule else None


def test_the_first_line_that_fits_decides() -> None:
    text = "host app web 10.1.0.0/16 md5\nhost app web 10.0.0.0/8 trust\nhost all all all reject\n"
    assert decides(text) == "md5"
    assert decides(text, address="10.2.0.1") == "trust"
    assert decides(text, address="11.0.0.1") == "reject"
    assert decides(text, address=None) is None


@pytest.mark.parametrize(
    ("kind", "address", "encrypted", "fits"),
    [
        ("local", None, False, True),
        ("local", "10.1.2.3", False, False),
        ("host", None, False, False),
        ("host", "10.1.2.3", False, True),
        ("host", "10.1.2.3", True, True),
        ("hostssl", "10.1.2.3", True, True),
        ("hostssl", "10.1.2.3", False, False),
        ("hostnossl", "10.1.2.3", False, True),
        ("hostnossl", "10.1.2.3", True, False),
    ],
)
def test_types(kind: str, address: str | None, encrypted: bool, fits: bool) -> None:
    where = "" if kind == "local" else "all"
    assert decides(f"{kind} all all {where} trust", address=address, encrypted=encrypted) == ("trust" if fits else None)


@pytest.mark.parametrize(
    ("network", "address", "fits"),
    [
        ("10.1.2.3/32", "10.1.2.3", True),
        ("10.1.2.3/32", "10.1.2.4", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "fd00::1", False),
        ("10.1.2.0 255.255.255.0", "10.1.2.77", True),
        ("10.1.2.0 255.255.255.0", "10.1.3.77", False),
        ("fd00:1::/32", "fd00:1::9", True),
        ("fd00:1::/32", "fd00:2::9", False),
        ("fd00:1:: ffff:ffff::", "fd00:1::9", True),
        ("::/0", "fe80::1%eth0", True),
        ("::/0", "10.1.2.3", False),
        ("all", "10.1.2.3", True),
        ("all", "fd00::1", True),
    ],
)
def test_addresses(network: str, address: str, fits: bool) -> None:
    assert decides(f"host all all {network} trust", address=address) == ("trust" if fits else None)


def rule_of(line: str) -> HbaRule:
    return hba(line).rules[0]


def test_samehost_and_samenet() -> None:
    def here() -> list:  # type: ignore[type-arg]
        return [ip_interface("192.0.2.7/24"), ip_interface("fd00::7/64")]

    for line, address, fits in (
        ("host all all samehost trust", "192.0.2.7", True),
        ("host all all samehost trust", "192.0.2.8", False),
        ("host all all samenet trust", "192.0.2.8", True),
        ("host all all samenet trust", "192.0.3.8", False),
        ("host all all samenet trust", "fd00::99", True),
    ):
        assert rule_of(line).fits(Origin("app", "web", address), here) == fits


def test_this_machine_knows_its_addresses() -> None:
    assert "127.0.0.1" in {str(each.ip) for each in local_interfaces()}


@pytest.mark.parametrize(
    ("databases", "users", "database", "user", "fits"),
    [
        ("all", "all", "x", "y", True),
        ("app,other", "web,api", "other", "api", True),
        ("app , other", "web", "other", "web", True),
        ("app,other", "web", "third", "web", False),
        ("app", "web,api", "app", "sys", False),
        ("sameuser", "all", "web", "web", True),
        ("sameuser", "all", "app", "web", False),
        ('"all"', "all", "app", "web", False),
        ('"all"', "all", "all", "web", True),
        ('"a ""b"", c"', "all", 'a "b", c', "web", True),
        ("all", '"sameuser"', "x", "sameuser", True),
        ("all", "sameuser", "web", "web", False),
    ],
)
def test_names(databases: str, users: str, database: str, user: str, fits: bool) -> None:
    assert decides(f"host {databases} {users} all trust", database, user) == ("trust" if fits else None)


def test_all_does_not_mean_replication() -> None:
    text = "host all all all md5\nhost replication repl all trust\n"
    assert decides(text, user="repl", replication=True) == "trust"
    assert decides(text, user="web", replication=True) is None
    assert decides(text, user="repl") == "md5"


def test_names_from_files(tmp_path: Path) -> None:
    """Beside the file that names them; blank lines and comments are no fault."""
    (tmp_path / "users").write_text('web, api\n\n# nobody else\n"last one"\n@more\n')
    (tmp_path / "more").write_text("deep\n")
    parsed = hba("host all @users,extra all trust", str(tmp_path / "hba.conf"))
    assert parsed.problems == ()
    assert parsed.rules[0].users.names == {"web", "api", "last one", "deep", "extra"}


@pytest.mark.parametrize(
    ("file", "method"),
    [("password", "plain"), ("md5", "md5"), ("scram-sha-256", "scram-sha-256"), ("trust", "trust"), ("reject", "reject")],
)
def test_methods(file: str, method: str) -> None:
    assert decides(f"host all all all {file}") == method


def test_maps() -> None:
    assert rule_of("local all all peer map=staff").ident == MAPS["staff"]
    assert rule_of('local all all peer map="staff" # comment').ident == MAPS["staff"]
    assert rule_of("hostssl all all all cert map=staff").ident == MAPS["staff"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hosts all all all trust", ['"hosts"', "hostnossl"]),
        ("host all all 10.0.0.0/33 trust", ["0 to 32", '"33"']),
        ("host all all 10.1.0.0/8 trust", ["outside its mask", "10.0.0.0/8"]),
        ("host all all 10.0.0.0 255.0.255.0 trust", ["ones and then zeroes"]),
        ("host all all 10.0.0.0 trust", ["mask", '"trust"']),
        ("host all all db.example.com trust", ["address", '"db.example.com"']),
        ("host all +staff all trust", ['"+staff"', "groups"]),
        ("host samerole all all trust", ["samerole"]),
        ("host all all all gss", ['"gss"', "scram-sha-256"]),
        ("host all all all pam", ['"pam"']),
        ("host all all all any", ['"any"']),
        ("host all all all md5 map=staff", ["map=", "md5"]),
        ("local all all peer map=nosuch", ['"nosuch"']),
        ("local all all peer clientcert=1", ["map=name", '"clientcert"']),
        ("host all @nosuchfile all trust", ["nosuchfile", "No such file"]),
        ('host "all all all trust', ["not closed"]),
        ("host all", ["expected a user"]),
        ("host all all all ldap ldapbindpasswd=hunter2", ["ldapbasedn"]),
    ],
)
def test_a_bad_line_is_left_out_and_named(line: str, words: list[str]) -> None:
    """The others still count."""
    parsed = hba(f"# comment\n{line}\nhost all all all md5\n")
    assert [rule.line for rule in parsed.rules] == [3]
    (problem,) = parsed.problems
    assert problem.startswith("hba.conf:2: ") and problem.endswith("the line is ignored")
    assert all(word in problem for word in words)
    assert "hunter2" not in problem


def test_ident_file() -> None:
    parsed = parse_ident('# c\nstaff root admin\nstaff "Big Boss" all # x\nother root "all"\nbad line\n', "ident.conf")
    assert parsed.problems == ("ident.conf:5: expected a database user after the system user; the line is ignored",)
    staff, other = parsed.maps["staff"], parsed.maps["other"]
    assert staff.allows(["root"], "admin") and not staff.allows(["root"], "web")
    assert staff.allows(["Big Boss"], "web")
    assert other.allows(["root"], "all") and not other.allows(["root"], "web")
    assert not staff.allows([], "admin")
