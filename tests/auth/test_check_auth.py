"""CHECK AUTH user db [address] of the console: one line that says why a login would fail, and is right about it."""

from __future__ import annotations

import psycopg

from pgwire import ScramSecret, md5_secret
from tests.auth.conftest import WriteFile
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database, RealPostgres

HBA = """\
host  app      all      10.0.0.0/8   reject
host  app      all      127.0.0.1/32 scram-sha-256
local app      all                   peer
host  outside  all      all          ldap ldapserver=127.0.0.1 ldapprefix=x
host  pgbouncer boss    all          md5
host  own      all      all          md5
host  all      nobody   all          trust
host  peers    all      all          peer
host  certs    all      all          cert
hostssl secure all      all          md5
"""
# user, database, address; the result, and words of the explanation
CHECKS = [
    ("plain", "app", "127.0.0.1", "ok", ["scram-sha-256 is asked", "a plain password", "auth_file", "hba.conf:2"]),
    ("keyed", "app", "127.0.0.1", "ok", ["scram-sha-256 is asked", "a SCRAM secret"]),
    ("hashed", "app", "127.0.0.1", "refused", ["md5 hash", "SCRAM needs a plain password or a SCRAM secret"]),
    ("plain", "app", "10.1.2.3", "refused", ["hba.conf:1 says reject"]),
    ("plain", "app", "192.0.2.1", "refused", ["no line of", "192.0.2.1"]),
    ("plain", "app", "local", "ok", ["the system user decides", "hba.conf:3"]),
    ("plain", "nosuch", "127.0.0.1", "refused", ["no line of"]),
    ("nobody", "nosuch", "127.0.0.1", "refused", ["auth_file does not have this user"]),
    ("stranger", "app", "127.0.0.1", "refused", ["auth_file does not have this user", "auth_query did not find it"]),
    ("{ann}", "app", "127.0.0.1", "ok", ["scram-sha-256 is asked", "what auth_query gave"]),
    ("{expired}", "app", "127.0.0.1", "refused", ["no password is stored", "auth_query gave none"]),
    ("empty", "app", "127.0.0.1", "refused", ["no password is stored"]),
    ("whoever", "outside", "127.0.0.1", "ok", ["ldap decides"]),
    ("keyed", "own", "127.0.0.1", "ok", ["scram-sha-256 is asked", "hba.conf:6"]),
    ("boss", "pgbouncer", "127.0.0.1", "ok", ["as admin"]),
    ("plain", "peers", "127.0.0.1", "refused", ["says peer", "needs a Unix socket"]),
    ("plain", "certs", "127.0.0.1", "refused", ["says cert", "needs TLS"]),
    ("plain", "secure", "127.0.0.1", "refused", ["no line of"]),
]
# What auth_query does, and what is said of it.
LOOKUPS = {
    "others": ("select ''somebody'', $1::text", ["auth_query gave another user's row"]),
    "nameless": ("select null, $1::text", ["auth_query gave a row without a name"]),
    "two": ("select $1::text, ''x'' from generate_series(1, 2)", ["auth_query gave 2 rows"]),
    "none": ("select $1::text, ''x'' where false", ["auth_query did not find it"]),
    "null": ("select $1::text, null", ["no password is stored", "auth_query gave none"]),
    "failing": ("select 1/0, $1::text", ["bouncer config error", "auth_query failed: 22012"]),
    "narrow": ("select $1::text", ["bouncer config error", "it gave 1 columns"]),
}


def test_check_auth(
    start_pooler: StartPooler, shared_postgres: RealPostgres, database: Database, write_file: WriteFile
) -> None:
    forced = f"{database.line} user={database.user} password={database.password} auth_user={shared_postgres.user}"
    users = {
        "plain": "p",
        "keyed": ScramSecret.derive("p", 4096).text(),
        "hashed": md5_secret("hashed", "p"),
        "empty": "",
        "boss": "b",
        shared_postgres.user: shared_postgres.password or "",
    }
    with shared_postgres.login_role() as ann, shared_postgres.login_role() as expired:
        with shared_postgres.connect() as admin:
            admin.execute(f"ALTER ROLE {expired[0]} VALID UNTIL '2020-01-01'".encode())
        pooler = start_pooler(
            {"auth_type": "hba", "auth_hba_file": write_file("hba.conf", HBA), "admin_users": "boss"},
            databases={name: forced for name in ("app", "outside", "peers", "certs", "secure")} | {"own": database.line},
            users=users,
            env={"PGPOOL_PY_TEST_IMPORTS": "ldap3 ldap3.core.exceptions"},
        )
        names = {"ann": ann[0], "expired": expired[0]}
        uri = pooler.dsn("pgbouncer", "boss")
        with psycopg.connect(uri, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            for user, name, address, result, words in CHECKS:
                user = user.format(**names)
                row = console.execute(f'CHECK AUTH "{user}" {name} "{address}"'.encode()).fetchone()
                assert row is not None
                assert row[:3] == (user, name, result), row
                assert all(word in row[3] for word in words) and "\n" not in row[3], row
        for secret in (users["keyed"], users["hashed"], ann[1]):
            assert str(secret) not in pooler.log


def test_each_way_auth_query_fails_is_told(
    start_pooler: StartPooler, shared_postgres: RealPostgres, database: Database
) -> None:
    """In one line and without asking the log; and what a server is for that is not there."""
    asker = shared_postgres.user
    entries = {name: f"{database.line} auth_query='{query}'" for name, (query, _) in LOOKUPS.items()}
    entries |= {"nowhere": f"{database.line} auth_dbname=nosuch", "away": "host=127.0.0.1 port=1 dbname=x"}
    pooler = start_pooler(
        {"auth_user": asker, "admin_users": "boss", "server_login_retry": 0.1, "unix_socket_dir": ""},
        databases=entries,
        users={"boss": "b", asker: shared_postgres.password or ""},
    )
    expected = {name: words for name, (_, words) in LOOKUPS.items()}
    expected |= {"nowhere": ['authentication database "nosuch" is not configured'], "away": ["no server for auth_query"]}
    uri = pooler.dsn("pgbouncer", "boss")
    with psycopg.connect(uri, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        for name, words in expected.items():
            row = console.execute(f"CHECK AUTH ann {name}".encode()).fetchone()
            assert row is not None and row[2] == "refused", row
            assert all(word in row[3] for word in words) and "\n" not in row[3], row
