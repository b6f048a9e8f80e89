"""Users by their certificates, made by an authority of the test."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler
from pgwire import SSLRequest, StartupMessage
from tests.auth.conftest import WriteFile, refusal
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database
from tests.tls.pki import Authority, Identity


class Certificates:
    """An authority and the pooler's own certificate."""

    def __init__(self, folder: Path) -> None:
        self.ours = Authority(folder, "our root")
        self.server = self.ours.issue("localhost", ["localhost"], ["127.0.0.1"])

    def settings(self) -> dict[str, object]:
        return {
            "client_tls_sslmode": "verify-full",
            "client_tls_key_file": self.server.key,
            "client_tls_cert_file": self.server.cert,
            "client_tls_ca_file": self.ours.file,
        }


@pytest.fixture
def certificates(folder: Path) -> Certificates:
    return Certificates(folder)


def shown(identity: Identity | None) -> dict[str, str]:
    """The options of a client that shows this certificate, or none."""
    if identity is None:
        return {"sslmode": "require", "sslcert": "/nonexistent", "sslkey": "/nonexistent"}
    return {"sslmode": "require", "sslcert": str(identity.cert), "sslkey": str(identity.key)}


def start(start_pooler: StartPooler, database: Database, settings: dict[str, object]) -> Pooler:
    forced = f"{database.line} user={database.user} password={database.password}"
    return start_pooler(settings, databases={"app": forced, "mapped": forced, "asked": forced}, users={"ann": "hers", "bob": ""})


def test_the_name_in_the_certificate_is_the_user(
    start_pooler: StartPooler, database: Database, certificates: Certificates
) -> None:
    """Its common name or a DNS name beside it; nobody else, and no user that auth_file does not know."""
    pooler = start(start_pooler, database, {"auth_type": "cert", **certificates.settings()})
    ann = certificates.ours.issue("ann")
    both = certificates.ours.issue("somebody", ["bob", "ann"])
    for identity, user in ((ann, "ann"), (both, "ann"), (both, "bob")):
        with psycopg.connect(pooler.dsn("app", user, ""), **shown(identity)) as connection:  # type: ignore[arg-type]
            assert connection.execute("select 1").fetchone() == (1,)
    for identity, user, said in (
        (ann, "bob", "TLS certificate name mismatch: CN=ann"),
        (certificates.ours.issue("stranger"), "stranger", "no such user"),
        (certificates.ours.issue("ANN"), "ann", "TLS certificate name mismatch: CN=ANN"),
        (certificates.ours.issue("*", ["*"]), "ann", "TLS certificate name mismatch"),
    ):
        assert "certificate authentication failed" in refusal(pooler.dsn("app", user, "hers"), **shown(identity))
        pooler.wait_for_log(f"closing because: certificate authentication failed: {said.replace('*', '.')}")


def test_lines_of_the_hba_file(
    start_pooler: StartPooler, database: Database, certificates: Certificates, write_file: WriteFile
) -> None:
    """cert for one database, with a map for another, a password for the third, all under a mode that only offers TLS."""
    hba = write_file(
        "hba.conf",
        "hostssl asked all all scram-sha-256\nhostssl mapped all all cert map=crew\n"
        "hostssl all all all cert\nhost app all all cert\n",
    )
    ident = write_file("ident.conf", "crew robot ann\ncrew boss all\n")
    hosts = {"auth_type": "hba", "auth_hba_file": hba, "auth_ident_file": ident}
    pooler = start(start_pooler, database, {**certificates.settings(), **hosts, "client_tls_sslmode": "prefer"})
    robot, boss, ann = (certificates.ours.issue(name) for name in ("robot", "boss", "ann"))
    for identity, database_name, user in (
        (robot, "mapped", "ann"),
        (boss, "mapped", "ann"),
        (boss, "mapped", "bob"),
        (ann, "app", "ann"),
        (None, "asked", "ann"),
    ):
        psycopg.connect(pooler.dsn(database_name, user, "hers"), **shown(identity)).close()  # type: ignore[arg-type]
    for identity, database_name, user, said in (
        (robot, "mapped", "bob", "ident map: crew does not have a match: CN=robot"),
        (ann, "mapped", "ann", "ident map: crew does not have a match: CN=ann"),
        (None, "app", "ann", "TLS client certificate required"),
    ):
        assert "certificate authentication failed" in refusal(pooler.dsn(database_name, user, "hers"), **shown(identity))
        pooler.wait_for_log(f"closing because: certificate authentication failed: {said}")
    assert "certificate authentication failed" in refusal(pooler.dsn("app", "ann", "hers"), sslmode="disable")
    pooler.wait_for_log("closing because: certificate authentication failed: TLS connection required")
    unmatched = refusal(pooler.dsn("mapped", "ann", "hers"), sslmode="disable")
    assert 'no pg_hba.conf entry for host "127.0.0.1", user "ann", database "mapped", no encryption' in unmatched


def test_check_auth_knows_lines_for_tls(
    start_pooler: StartPooler, database: Database, certificates: Certificates, write_file: WriteFile
) -> None:
    """CHECK AUTH: whoever encrypts has another line than whoever does not."""
    hba = write_file(
        "hba.conf",
        "hostssl asked all all scram-sha-256\nhost pgbouncer ann all trust\n"
        "hostnossl app all all trust\nhost app all all cert\n",
    )
    settings = {**certificates.settings(), "auth_type": "hba", "auth_hba_file": hba, "admin_users": "ann"}
    pooler = start(start_pooler, database, {**settings, "client_tls_sslmode": "prefer"})

    def check(name: str, address: str) -> tuple[str, str]:
        with psycopg.connect(
            pooler.dsn("pgbouncer", "ann", ""), autocommit=True, cursor_factory=psycopg.ClientCursor, sslmode="require"
        ) as console:
            row = console.execute(f"CHECK AUTH ann {name} {address}".encode()).fetchone()
            assert row is not None
            return row[2], row[3]

    asked = "scram-sha-256 is asked, against a plain password in auth_file"
    assert check("asked", '"10.0.0.1"') == ("ok", f"{asked} ({hba}:1, over TLS)")
    assert check("asked", "local")[0] == "refused"
    assert check("app", '"10.0.0.1"') == ("ok", f"no proof is asked ({hba}:3)")
    pooler.settings["client_tls_sslmode"] = "require"
    pooler.reload()
    pooler.wait_for_log("reload done")
    assert check("app", '"10.0.0.1"') == ("ok", f"the client's certificate decides ({hba}:4, over TLS)")


def test_a_certificate_of_another_root_is_no_certificate(
    start_pooler: StartPooler, database: Database, certificates: Certificates, folder: Path
) -> None:
    other = Authority(folder, "other root").issue("ann")
    pooler = start(start_pooler, database, {"auth_type": "cert", **certificates.settings()})
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(pooler.dsn("app", "ann", "hers"), **shown(other))  # type: ignore[arg-type]
    pooler.wait_for_log("closing because: TLS")


def test_clear_text_before_the_handshake_is_nobodys(
    start_pooler: StartPooler, database: Database, certificates: Certificates
) -> None:
    """Odyssey CVE-2021-43766: what is said before the certificate must not be taken for its owner's words."""
    pooler = start(start_pooler, database, {"auth_type": "cert", **certificates.settings()})
    startup = StartupMessage({"user": "ann", "database": "app"}).encode()
    query = b"Q\0\0\0\x0dselect 1\0"
    for packet in (SSLRequest().encode() + startup, SSLRequest().encode() + startup + query):
        with socket.create_connection((pooler.host, pooler.port), timeout=10) as sock:
            sock.sendall(packet)
            said = b""
            while data := sock.recv(8192):
                said += data
        assert not said.startswith(b"S") and b"received unencrypted data after SSL request" in said
    pooler.wait_for_log("closing because: received unencrypted data after SSL request", count=2)
