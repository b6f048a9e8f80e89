"""auth_type=ldap, and ldap lines of the HBA file, against a real directory (Debian's slapd)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgpool_py.auth.ldap import check_ldap
from pgpool_py.auth.ldap_options import LdapOptionsError, parse_ldap_options
from pgpool_py.auth.outside import Outside
from pgpool_py.auth.pam import check_pam
from pgpool_py.testing import Pooler, free_port
from pgpool_py.testing.process import child_account, write_private
from tests.auth.conftest import WriteFile, refusal
from tests.auth.slapd import BASE, INSTALLED, Directory
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database, RealPostgres

IMPORTS = {"PGPOOL_PY_TEST_IMPORTS": "ldap3 ldap3.core.exceptions"}
needs_slapd = pytest.mark.skipif(not INSTALLED, reason="Debian's slapd is not installed")


@pytest.fixture(scope="module")
def directory() -> Iterator[Directory]:
    with Directory(ann="ann's secret", twin="x", finder="finds") as running:
        yield running


@pytest.fixture(scope="module")
def pooler(shared_postgres: RealPostgres, directory: Directory) -> Iterator[Pooler]:
    """A database for each way to the directory; the user on the server is a forced one."""
    at = f"{directory.host}:{directory.port}"
    where = f"ldapserver={directory.host} ldapport={directory.port}"
    find = f'ldapbinddn="uid=finder,{BASE}" ldapbindpasswd=finds'
    account = child_account()
    hba = write_private(
        directory.directory / "hba.conf",
        f"""\
host pattern  all all ldap {where} ldapprefix="uid=" ldapsuffix=",{BASE}"
host search   all all ldap {where} ldapbasedn="{BASE}" {find}
host url      all all ldap ldapurl="ldap://{at}/{BASE}?uid?sub" {find}
host filter   all all ldap {where} ldapbasedn="{BASE}" ldapsearchfilter="(mail=$username@example.net)" {find}
host second   all all ldap ldapserver="127.0.0.1:{free_port()} {at}" ldapprefix="uid=" ldapsuffix=",{BASE}"
host nofinder all all ldap {where} ldapbasedn="{BASE}" ldapbinddn="uid=finder,{BASE}" ldapbindpasswd=not-this
host nobody   all all ldap ldapserver=127.0.0.1 ldapport={free_port()} ldapprefix="uid=" ldapsuffix=",{BASE}"
host all      all all ldap {where} nonsense=1
""",
        account,
    )
    names = ("pattern", "search", "url", "filter", "second", "nofinder", "nobody")
    settings = {"auth_type": "hba", "auth_hba_file": hba}
    with shared_postgres.database() as database:
        forced = f"{database.line} user={database.user} password={database.password}"
        with Pooler(dict.fromkeys(names, forced), {}, settings, env=IMPORTS) as running:
            yield running


@needs_slapd
def test_the_directory_judges_the_password(pooler: Pooler) -> None:
    """By every way to the user's entry."""
    for name in ("pattern", "search", "url", "filter", "second"):
        psycopg.connect(pooler.dsn(name, "ann", "ann's secret")).close()
        assert "LDAP authentication failed" in refusal(pooler.dsn(name, "ann", "a wrong one"))
        assert "LDAP authentication failed" in refusal(pooler.dsn(name, "nobody_here", "x"))
        pooler.wait_for_log(f" {name}/nobody_here.* closing because: LDAP authentication failed: LDAP .*")
    pooler.wait_for_log("hba.conf:8: ldap: unknown option nonsense; the line is ignored")
    for secret in ("ann's secret", "a wrong one", "finds"):
        assert secret not in pooler.log


@needs_slapd
def test_who_is_not_found_just_once_is_refused(pooler: Pooler) -> None:
    for user, said in (
        ("twin", "LDAP user is not unique"),
        ("*", "invalid character in user name"),
        ("ann)(uid=*", "invalid character in user name"),
    ):
        dsn = make_conninfo(pooler.dsn("search", "u", "x"), user=user)
        assert "LDAP authentication failed" in refusal(dsn)
        pooler.wait_for_log(said)
    assert "LDAP authentication failed" in refusal(pooler.dsn("nofinder", "ann", "ann's secret"))
    pooler.wait_for_log("could not perform initial LDAP bind for ldapbinddn: invalidCredentials")


@needs_slapd
def test_a_directory_that_is_not_there_lets_nobody_in(pooler: Pooler) -> None:
    assert "LDAP authentication failed" in refusal(pooler.dsn("nobody", "ann", "ann's secret"))
    pooler.wait_for_log("LDAP: LDAPSocketOpenError")


@needs_slapd
def test_the_password_is_sent_to_the_right_directory_only(
    start_pooler: StartPooler, database: Database, directory: Directory, write_file: WriteFile
) -> None:
    """With ldaptls or ldaps the directory's certificate is checked by the system's roots, and its name is."""
    rest = f'ldapprefix="uid=" ldapsuffix=",{BASE}"'
    hba = write_file(
        "hba.conf",
        f"""host starttls all all ldap ldapserver=localhost ldapport={directory.port} ldaptls=1 {rest}
host ldaps    all all ldap ldapserver=localhost ldapport={directory.tls_port} ldapscheme=ldaps {rest}
host misnamed all all ldap ldapserver=127.0.0.1 ldapport={directory.port} ldaptls=1 {rest}
""",
    )
    forced = f"{database.line} user={database.user} password={database.password}"
    databases = dict.fromkeys(("starttls", "ldaps", "misnamed"), forced)
    settings = {"auth_type": "hba", "auth_hba_file": hba}
    trusting = start_pooler(settings, databases=databases, users={}, env={**IMPORTS, "SSL_CERT_FILE": str(directory.roots)})
    doubting = start_pooler(settings, databases=databases, users={}, env=IMPORTS)
    for name in ("starttls", "ldaps"):
        psycopg.connect(trusting.dsn(name, "ann", "ann's secret")).close()
        assert "LDAP authentication failed" in refusal(trusting.dsn(name, "ann", "a wrong one"))
        assert "LDAP authentication failed" in refusal(doubting.dsn(name, "ann", "ann's secret"))
    doubting.wait_for_log("LDAP: LDAPStartTLSError.*CERTIFICATE_VERIFY_FAILED")
    doubting.wait_for_log("LDAP: LDAPSocketOpenError.*CERTIFICATE_VERIFY_FAILED")
    assert "LDAP authentication failed" in refusal(trusting.dsn("misnamed", "ann", "ann's secret"))


@needs_slapd
def test_options_of_the_main_section(start_pooler: StartPooler, database: Database, directory: Directory) -> None:
    """auth_ldap_options; and the password that the directory took opens servers, too."""
    url = f"ldap://{directory.host}:{directory.port}/{BASE}?uid?sub"
    options = f'ldapurl="{url}" ldapbinddn="uid=finder,{BASE}" ldapbindpasswd=finds'
    forced = f"{database.line} user={database.user} password={database.password}"
    pooler = start_pooler({"auth_type": "ldap", "auth_ldap_options": options}, databases={"app": forced}, users={}, env=IMPORTS)
    psycopg.connect(pooler.dsn("app", "ann", "ann's secret")).close()
    assert "LDAP authentication failed" in refusal(pooler.dsn("app", "ann", "no"))


def test_an_empty_password_is_not_even_asked_about() -> None:
    """A directory takes it for "nobody", and lets nobody in with success."""
    options = parse_ldap_options("ldapserver=127.0.0.1 ldapprefix=uid=")
    for password in (b"", b"\0"):
        with pytest.raises(Outside, match="an empty password"):
            check_ldap(options, "ann", password)
    with pytest.raises(Outside, match="an empty password"):
        check_pam("ann", b"", "127.0.0.1")


def test_options_are_read_as_postgresql_reads_them() -> None:
    url = parse_ldap_options('ldapurl="ldaps://dir.example.net/ou=People,dc=x??one?(a=%24username)" ldaptls=0')
    assert (url.servers, url.scheme, url.port, url.base) == (("dir.example.net",), "ldaps", 636, "ou=People,dc=x")
    assert (url.scope, url.search_filter) == ("one", "(a=$username)")
    assert parse_ldap_options('ldapurl="ldap://a:390/b?mail,uid"').search_attribute == "mail"
    quoted = parse_ldap_options('ldapserver="a b:1636", "ldapprefix"="say ""hi""", ldapport=1389')
    assert (quoted.servers, quoted.prefix, quoted.port) == (("a", "b:1636"), 'say "hi"', 1389)
    assert "hunter2" not in repr(parse_ldap_options("ldapserver=a ldapbasedn=b ldapbindpasswd=hunter2"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "ldapbasedn, ldapprefix or ldapsuffix"),
        ("ldapserver=a", "ldapbasedn, ldapprefix or ldapsuffix"),
        ("ldapbasedn=b", "ldapserver"),
        ("ldapserver=a ldapprefix=x ldapbasedn=b", "do not go with"),
        ("ldapserver=a ldapbasedn=b ldapsearchattribute=x ldapsearchfilter=y", "do not go together"),
        ("ldapserver=a ldapbasedn=b ldapport=0", "port number"),
        ("ldapserver=a ldapbasedn=b ldaptls=yes", "0 or 1"),
        ("ldapserver=a ldapbasedn=b ldapscheme=http", "ldap or ldaps"),
        ("ldapurl=http://a/b", "ldap:// or ldaps://"),
        ("ldapurl=ldap://a/b??everywhere", "base, one or sub"),
        ("ldapserver=a ldapbindpasswd hunter2", "key=value at column"),
        ("ldapserver=a hunter2=hunter2", "column"),
    ],
)
def test_options_that_cannot_be_used_are_named_without_a_value(options: str, said: str) -> None:
    with pytest.raises(LdapOptionsError) as caught:
        parse_ldap_options(options)
    assert said in str(caught.value) and "hunter2" not in str(caught.value)
