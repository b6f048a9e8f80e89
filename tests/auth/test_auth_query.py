"""auth_query on a real server: whose secret it gives, what it can be made to do, and what servers are logged in to with it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from pgpool_py.testing import Pooler, PostgresServer, free_port
from tests.auth.conftest import refusal
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database, RealPostgres

# Unqualified on purpose: what an operator writes, and what a search_path could mislead.
LOOKUP = "SELECT usename, passwd FROM user_lookup($1)"
FUNCTION = """
CREATE FUNCTION public.user_lookup(name text) RETURNS TABLE(usename text, passwd text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
FROM pg_authid WHERE rolname = name AND rolcanlogin $$
"""


@dataclass
class World:
    """A database with a look-up function, who may call it, and two users that only the server knows."""

    postgres: RealPostgres
    database: Database
    asker: tuple[str, str]
    ann: tuple[str, str]
    bob: tuple[str, str]
    start_pooler: StartPooler

    def pooler(
        self, settings: dict[str, object] | None = None, entry: str = "", entries: dict[str, str] | None = None
    ) -> Pooler:
        line = self.database.line
        databases = {"app": f"{line} {entry}", **{name: f"{line} {rest}" for name, rest in (entries or {}).items()}}
        ours = {"pool_mode": "transaction", "auth_failure_delay": 0, "auth_user": self.asker[0], "auth_query": LOOKUP}
        merged = {**ours, **(settings or {})}
        return self.start_pooler(merged, databases=databases, users={self.asker[0]: self.asker[1]})

    def run(self, statement: str) -> None:
        with self.postgres.connect(self.database.name) as connection:
            connection.execute(statement.encode())


@pytest.fixture
def world(shared_postgres: RealPostgres, database: Database, start_pooler: StartPooler) -> Iterator[World]:
    with shared_postgres.login_role() as asker, shared_postgres.login_role() as ann, shared_postgres.login_role() as bob:
        made = World(shared_postgres, database, asker, ann, bob, start_pooler)
        made.run(FUNCTION)
        yield made


def who_am_i(pooler: Pooler, user: tuple[str, str], database: str = "app") -> str:
    with psycopg.connect(pooler.dsn(database, *user)) as connection:
        row = connection.execute("select current_user, session_user").fetchone()
        assert row is not None and row[0] == row[1]
        return str(row[0])


@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5", "plain"])
def test_users_come_from_the_server(world: World, auth_type: str) -> None:
    """Their own login opens servers too: with the keys of a SCRAM proof, or with what a plain password proves."""
    pooler = world.pooler({"auth_type": auth_type})
    for user in (world.ann, world.bob, world.asker):
        assert who_am_i(pooler, user) == user[0]
    wrong = refusal(pooler.dsn("app", world.ann[0], "wrong"))
    unknown = refusal(pooler.dsn("app", "nobody_here", "wrong"))
    assert "authentication failed" in wrong and wrong == unknown
    pooler.wait_for_log("closing because: .* authentication failed: no such user")


def test_a_new_password_counts_at_once(world: World) -> None:
    """Nothing is kept that could let the old one in, though a server that it opened is still there."""
    pooler = world.pooler()
    name = world.ann[0]
    assert who_am_i(pooler, world.ann) == name
    world.run(f"ALTER ROLE {name} PASSWORD 'changed'")
    assert "authentication failed" in refusal(pooler.dsn("app", *world.ann))
    assert who_am_i(pooler, (name, "changed")) == name
    # The function is that of docs/authentication.md: it leaves out what has expired, and who may not log in.
    world.run(f"ALTER ROLE {name} VALID UNTIL '2020-01-01'")
    assert "authentication failed" in refusal(pooler.dsn("app", name, "changed"))
    world.run(f"ALTER ROLE {name} VALID UNTIL 'infinity'; ALTER ROLE {name} NOLOGIN")
    assert "authentication failed" in refusal(pooler.dsn("app", name, "changed"))


def test_default_query_leaves_out_expired_and_barred_roles(world: World) -> None:
    """CVE-2025-2291: VALID UNTIL counts."""
    postgres = world.postgres
    databases = {"app": world.database.line}
    settings = {"auth_user": postgres.user}
    pooler = world.start_pooler(settings, databases=databases, users={postgres.user: postgres.password or ""})
    assert who_am_i(pooler, world.ann) == world.ann[0]
    world.run(f"ALTER ROLE {world.ann[0]} VALID UNTIL '2020-01-01'")
    assert "authentication failed" in refusal(pooler.dsn("app", *world.ann))
    world.run(f"ALTER ROLE {world.ann[0]} VALID UNTIL 'infinity'")
    assert who_am_i(pooler, world.ann) == world.ann[0]


ANSWERS = {
    "none": ("SELECT usename, passwd FROM user_lookup($1) WHERE false", "no such user"),
    "null": ("SELECT usename, NULL FROM user_lookup($1)", "no password is stored"),
    "empty": ("SELECT usename, '''' FROM user_lookup($1)", "no password is stored"),
    "nameless": ("SELECT NULL, passwd FROM user_lookup($1)", "a row without a name"),
    "others": ("SELECT u.* FROM user_lookup(''{asker}'') u WHERE $1 <> ''''", "another user's row"),
    "folded": ("SELECT upper(usename), passwd FROM user_lookup($1)", "another user's row"),
    "two": ("SELECT usename, passwd FROM user_lookup($1) UNION ALL SELECT ''{asker}'', ''x''", "2 rows"),
}
FAULTS = {
    "narrow": ("SELECT usename FROM user_lookup($1)", "it gave 1 columns"),
    "wide": ("SELECT usename, passwd, 1 FROM user_lookup($1)", "it gave 3 columns"),
    "wrong": ("SELECT nosuch FROM user_lookup($1)", "42703"),
    "failing": ("SELECT 1/0, $1", "22012"),
    "greedy": ("SELECT $1, $2", "08P01"),
    "double": ("SELECT 1; SELECT usename, passwd FROM user_lookup($1)", "42601"),
}


def test_an_answer_that_is_not_the_users_lets_nobody_in(world: World) -> None:
    """CVE-2015-6817: neither with the own password nor with that of auth_user, and never as auth_user."""
    asker = world.asker[0]
    pooler = world.pooler(
        entries={name: f"auth_query='{query.format(asker=asker)}'" for name, (query, _) in ANSWERS.items()}
    )
    for database, (_, said) in ANSWERS.items():
        for password in (world.ann[1], world.asker[1], "x"):
            assert "authentication failed" in refusal(pooler.dsn(database, world.ann[0], password))
        assert said in pooler.log, database


def test_a_query_that_cannot_be_used_is_the_operators_fault(world: World) -> None:
    pooler = world.pooler(entries={name: f"auth_query='{query}'" for name, (query, _) in FAULTS.items()})
    for database, (_, said) in FAULTS.items():
        assert "bouncer config error" in refusal(pooler.dsn(database, *world.ann))
        pooler.wait_for_log(f" {database}/.* closing because: bouncer config error: auth_query .*{said}")


def test_a_name_is_only_ever_a_name(world: World) -> None:
    pooler = world.pooler()
    for name in ("x' OR '1'='1", 'a"b', "$1", "ann; drop table x", "\N{SNOWMAN}", "n" * 127):
        assert "authentication failed" in refusal(pooler.dsn("app", name, "x"))
    assert who_am_i(pooler, world.ann) == world.ann[0]


def test_no_startup_parameter_reaches_the_query(world: World) -> None:
    """CVE-2025-12819: a shadowing function, operator and table in a schema of the attacker's choice change nothing."""
    evil = f"""
CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO public;
CREATE FUNCTION evil.user_lookup(name text) RETURNS TABLE(usename text, passwd text) LANGUAGE sql AS $$ SELECT name, 'evil' $$;
CREATE VIEW evil.pg_authid AS SELECT '{world.ann[0]}'::name AS rolname, 'evil' AS rolpassword,
  NULL::timestamptz AS rolvaliduntil, true AS rolcanlogin
"""
    world.run(evil)
    postgres = world.postgres
    direct = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname=$1"
    pooler = world.pooler(
        entries={"direct": f"auth_user={postgres.user} auth_query='{direct}'", "default": f"auth_user={postgres.user}"}
    )
    pooler.users[postgres.user] = postgres.password or ""
    pooler.reload()
    pooler.wait_for_log("reload done")
    for database in ("app", "direct", "default"):
        for how in ({"options": "-c search_path=evil,pg_catalog"}, {"options": "-csearch_path=evil -crole=postgres"}):
            assert "authentication failed" in refusal(pooler.dsn(database, world.ann[0], "evil"), **how)
        with psycopg.connect(pooler.dsn(database, *world.ann), options="-c search_path=evil,pg_catalog") as connection:
            assert connection.execute("select passwd from user_lookup('x')").fetchone() == ("evil",)
        assert "authentication failed" in refusal(pooler.dsn(database, world.ann[0], "evil"))
        assert who_am_i(pooler, world.ann, database) == world.ann[0]


def test_many_at_once_are_never_mixed_up(world: World) -> None:
    """Odyssey #541: one server for all questions, right and wrong passwords together."""
    pooler = world.pooler({"auth_type": "plain", "max_client_conn": 200}, entry="pool_size=1")

    def attempt(number: int) -> bool:
        user, other = (world.ann, world.bob) if number % 2 else (world.bob, world.ann)
        if number % 3:
            return who_am_i(pooler, user) == user[0]
        return "authentication failed" in refusal(pooler.dsn("app", user[0], other[1]))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(attempt, range(24)))


def test_clients_of_auth_user_do_not_hold_up_logins(world: World) -> None:
    """The questions have a pool of their own, which no client gets."""
    pooler = world.pooler(entry="pool_size=1")
    with psycopg.connect(pooler.dsn("app", *world.asker)) as busy:
        busy.execute("select 1")  # holds the only server of its pool
        assert who_am_i(pooler, world.ann) == world.ann[0]


def test_where_and_as_whom_is_asked(world: World) -> None:
    """auth_dbname, auth_user and auth_query: of the database, else of [pgbouncer]."""
    other = world.postgres.database()
    with other as empty:
        here = world.database.name
        pooler = world.start_pooler(
            {"auth_user": "nobody_at_all", "auth_query": "SELECT nonsense", "auth_dbname": "look"},
            databases={
                "look": f"{world.database.line} auth_user={world.asker[0]} auth_query='{LOOKUP}' auth_dbname=look",
                "far": f"{empty.line} auth_user={world.asker[0]} auth_query='{LOOKUP}'",
                "own": f"{empty.line} auth_user={world.asker[0]} auth_query='{LOOKUP}' auth_dbname=own",
                "lost": f"{empty.line} auth_user={world.asker[0]} auth_dbname=nosuch",
            },
            users={world.asker[0]: world.asker[1]},
        )
        assert who_am_i(pooler, world.ann, "look") == world.ann[0]
        with psycopg.connect(pooler.dsn("far", *world.ann)) as connection:
            assert connection.execute("select current_database()").fetchone() == (empty.name,) != (here,)
        assert "bouncer config error" in refusal(pooler.dsn("own", *world.ann))
        pooler.wait_for_log("user_lookup.* does not exist")
        assert "bouncer config error" in refusal(pooler.dsn("lost", *world.ann))
        pooler.wait_for_log('authentication database "nosuch" is not configured')
        # Nobody is asked about users of a database that there is not.
        assert "authentication failed" in refusal(pooler.dsn("nowhere", *world.ann))


def test_auth_file_goes_first(world: World) -> None:
    pooler = world.pooler()
    pooler.users[world.ann[0]] = "of the file"
    pooler.reload()
    pooler.wait_for_log("reload done")
    assert "authentication failed" in refusal(pooler.dsn("app", *world.ann))


def test_forced_user_keeps_its_own_secret(world: World) -> None:
    """pgbouncer #1461: the keys that a client's proof teaches must not become those of the forced user."""
    owner = world.database
    pooler = world.pooler(entry=f"user={owner.user} password={owner.password}")
    for user in (world.ann, world.bob):
        assert who_am_i(pooler, user) == owner.user
    world.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner.user}'")
    pooler.wait_for_log("closing because: server")
    assert who_am_i(pooler, world.ann) == owner.user


def test_the_password_of_an_entry_is_not_that_of_auth_user(world: World) -> None:
    pooler = world.pooler(entry=f"password={world.ann[1]}")
    assert who_am_i(pooler, world.ann) == world.ann[0]


def test_trust_asks_whether_the_user_is_there(world: World) -> None:
    pooler = world.pooler({"auth_type": "trust"}, entry=f"user={world.database.user} password={world.database.password}")
    assert who_am_i(pooler, (world.ann[0], "")) == world.database.user
    assert '"trust" authentication failed' in refusal(pooler.dsn("app", "nobody_here", ""))


def test_a_question_that_hangs_ends_with_the_login(world: World) -> None:
    """client_login_timeout covers it; the query is cancelled and its server serves the next login."""
    world.run("CREATE TABLE gate (); GRANT SELECT ON gate TO public")
    query = "SELECT usename, passwd FROM user_lookup($1) WHERE (SELECT count(*) FROM gate) = 0"
    pooler = world.pooler({"auth_query": query, "client_login_timeout": 0.5}, entry="pool_size=1")
    assert who_am_i(pooler, world.ann) == world.ann[0]
    with world.postgres.connect(world.database.name) as locker, locker.transaction():
        locker.execute("LOCK TABLE gate")
        assert "client_login_timeout (server down)" in refusal(pooler.dsn("app", *world.ann))
    pooler.settings["client_login_timeout"] = 10
    pooler.reload()
    assert who_am_i(pooler, world.ann) == world.ann[0]


def test_without_a_server_nobody_is_let_in(world: World) -> None:
    pooler = world.start_pooler(
        {"auth_user": world.asker[0], "auth_query": LOOKUP, "server_login_retry": 1, "auth_type": "trust"},
        databases={"app": f"host=127.0.0.1 port={free_port()}"},
        users={world.asker[0]: world.asker[1]},
    )
    assert "cannot connect" in refusal(pooler.dsn("app", *world.ann))


def test_invented_databases_leave_nothing_behind(world: World) -> None:
    """With "*" and without auth_dbname a stranger makes the pooler look in any database; it must not remember them all."""
    star = f"host={world.database.host} port={world.database.port}"
    pooler = world.start_pooler(
        {"auth_user": world.asker[0], "auth_query": LOOKUP, "admin_users": world.asker[0]},
        databases={"*": star, "app": world.database.line},
        users={world.asker[0]: world.asker[1]},
    )
    for number in range(5):
        assert "does not exist" in refusal(pooler.dsn(f"invented_{number}", "nobody_here", "x"))
    assert who_am_i(pooler, world.ann, world.database.name) == world.ann[0]
    with psycopg.connect(pooler.dsn("pgbouncer", *world.asker), autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        assert "invented" not in str(console.execute("SHOW POOLS").fetchall())


def test_no_secret_is_in_the_log(world: World) -> None:
    pooler = world.pooler({"verbose": 2})
    who_am_i(pooler, world.ann)
    refusal(pooler.dsn("app", world.ann[0], "a wrong guess"))
    with world.postgres.connect() as connection:
        row = connection.execute(
            sql.SQL("select rolpassword from pg_authid where rolname = {}").format(world.ann[0])
        ).fetchone()
    assert row is not None
    for secret in (world.ann[1], world.asker[1], "a wrong guess", row[0], row[0].split("$")[-1]):
        assert secret not in pooler.log


def test_md5_secrets_of_the_server(start_pooler: StartPooler) -> None:
    """Known to clients by md5 and to the server by md5, without the password being known to the pooler."""
    with PostgresServer(hba=["host all all 127.0.0.1/32 md5"]) as server:
        server.execute("SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'older than SCRAM'")
        pooler = start_pooler(
            {"auth_type": "md5", "auth_user": server.user},
            databases={"app": f"host={server.host} port={server.port} dbname=postgres"},
            users={server.user: server.password},
        )
        assert who_am_i(pooler, ("old", "older than SCRAM")) == "old"
        assert "authentication failed" in refusal(pooler.dsn("app", "old", "wrong"))
