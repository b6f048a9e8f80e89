"""What PgBouncer does not have: SHOW TOP, SHOW PINS, SHOW SETTINGS_DIFF, CHECK AUTH."""

from __future__ import annotations

import psycopg
import pytest

from tests.admin.conftest import ADMIN, STATS, Pooler, Start
from tests.system import stack, wire


def test_top_tells_who_holds_and_who_waits(shared: Pooler) -> None:
    """By application: the one that sits on the only server, and those that wait for it."""
    pooler = shared
    with pooler.connect("one", application_name="hog") as hog:
        hog.query("begin")
        victims = [pooler.connect("one", application_name="victim") for _ in range(3)]
        for victim in victims:
            victim.send(wire.query("select 1"))
            stack.wait_taken(victim)
        rows = {row["application_name"]: row for row in pooler.show("TOP")}
        assert pooler.show("TOP")[0]["application_name"] == "hog"
        assert [rows["hog"][name] for name in ("clients", "holding", "waiting")] == [1, 1, 0]
        assert [rows["victim"][name] for name in ("clients", "holding", "waiting")] == [3, 0, 3]
        assert int(str(rows["hog"]["longest_hold_us"])) > 0 and int(str(rows["victim"]["longest_wait_us"])) > 0
        hog.query("commit")
        for victim in victims:
            victim.until("Z")
        rows = {row["application_name"]: row for row in pooler.show("TOP")}
        assert (rows["victim"]["transactions"], rows["victim"]["queries"], rows["victim"]["waiting"]) == (3, 3, 0)
        assert int(str(rows["victim"]["wait_time_us"])) > 0
        for victim in victims:
            victim.leave()


def test_pins_tell_who_keeps_a_server(shared: Pooler) -> None:
    """A statement too long to be remembered keeps its client on its server; nobody else is listed."""
    pooler = shared
    with pooler.connect("two", application_name="pinned") as client, pooler.connect("two") as other:
        other.query("select 1")
        assert pooler.show("PINS") == []
        client.exchange(*[wire.parse("long", "select 1 /*" + "x" * 200_000 + "*/"), wire.sync()])
        (pin,) = pooler.show("PINS")
        assert (pin["application_name"], pin["database"]) == ("pinned", "two")
        assert "too long" in str(pin["reason"]) and pin["link"]


def test_pins_tell_what_lives_on_the_server(shared: Pooler) -> None:
    """A temporary table: its reason and age, until it is dropped."""
    pooler = shared
    with pooler.connect("two", application_name="temporary") as client:
        client.query("create temp table mine (n int)")
        (pin,) = pooler.show("PINS")
        assert (pin["application_name"], pin["user"]) == ("temporary", stack.OWNER)
        assert "temp" in str(pin["reason"]).lower() and int(str(pin["age"])) >= 0 and pin["link"]
        client.query("drop table mine")
        stack.wait_until(lambda: pooler.show("PINS") == [], "looked, after the answer")


def test_pins_tell_of_a_sequence_value(shared: Pooler) -> None:
    """Who may read lastval() later holds its server, until somebody else wants it: PAUSE, for example."""
    pooler = shared
    with pooler.connect("two", application_name="counting") as client:
        client.query("create sequence arrivals")
        client.query("select lastval()")
        client.query("select nextval('arrivals')")
        (pin,) = pooler.show("PINS")
        assert (pin["application_name"], pin["reason"]) == ("counting", "sequence value") and pin["link"]
        assert pooler.order("PAUSE two") == "PAUSE"
        assert pooler.show("PINS") == []
        pooler.order("RESUME two")
        client.query("drop sequence arrivals")


def test_settings_diff_shows_what_a_client_set(shared: Pooler) -> None:
    """Its value now, at its start, and on the server it holds."""
    pooler = shared
    with pooler.connect("one", application_name="tenant", DateStyle="German, DMY") as client:
        number = next(row["id"] for row in pooler.show("CLIENTS") if row["application_name"] == "tenant")
        client.query("set timezone to 'Asia/Tokyo'")
        rows = {row["name"]: row for row in pooler.show(f"SETTINGS_DIFF {number}")}
    assert (rows["TimeZone"]["client"], rows["TimeZone"]["startup"]) == ("Asia/Tokyo", None)
    assert rows["DateStyle"]["client"] == rows["DateStyle"]["startup"] == "German, DMY"
    assert rows["application_name"]["client"] == "tenant"


def check(pooler: Pooler, user: str, database: str, address: str = "") -> tuple[object, str]:
    with pooler.console() as console:
        row = console.execute(f'CHECK AUTH "{user}" "{database}" {address}').fetchone()
    assert row is not None and row[:2] == (user, database)
    return row[2], str(row[3])


def test_check_auth_explains_a_login(start_pooler: Start) -> None:
    """One line for each reason a login can fail by, and for what it depends on otherwise."""
    pooler = start_pooler({"auth_type": "scram-sha-256"}, databases={"disabled": "", "full": "max_db_client_connections=1"})
    pooler.users |= {"hashed": "md5" + "0" * 32, "empty": ""}
    pooler.write_config()
    pooler.order("RELOAD")
    pooler.order("DISABLE disabled")
    with psycopg.connect(pooler.dsn("full", stack.OWNER)):
        for user, database, result, words in (
            (stack.OWNER, "one", "ok", "scram-sha-256 is asked, against a plain password in auth_file"),
            ("stranger", "one", "refused", "auth_file does not have this user, and without auth_user nobody asks auth_query"),
            ("hashed", "one", "refused", "the stored secret is an md5 hash"),
            ("empty", "one", "refused", "no password is stored"),
            (stack.OWNER, "nowhere", "refused", "no such database: nowhere"),
            (stack.OWNER, "disabled", "refused", 'database "disabled" is disabled'),
            (stack.OWNER, "full", "refused", "max_db_client_connections"),
            (stack.OWNER, "pgbouncer", "refused", "neither in admin_users nor in stats_users"),
            (ADMIN, "pgbouncer", "ok", "as admin"),
            (STATS, "pgbouncer", "ok", "as a reader"),
        ):
            found, why = check(pooler, user, database)
            assert (found, words in why) == (result, True), why
    pooler.order("PAUSE one")
    assert check(pooler, stack.OWNER, "one")[0] == "doubtful"


def test_check_auth_reads_the_hba_file(shared: Pooler) -> None:
    """The line that would decide, from an address or from anywhere."""
    pooler = shared
    hba = pooler.ini.with_name("pg_hba.conf")
    hba.write_text(f"host all {ADMIN} all trust\nhost two {stack.OWNER} 10.0.0.0/8 reject\nhost two {stack.OWNER} all md5\n")
    hba.chmod(0o644)
    pooler.settings |= {"auth_type": "hba", "auth_hba_file": hba}
    pooler.write_config()
    pooler.order("RELOAD")
    assert check(pooler, stack.OWNER, "one")[0] == "refused"
    assert "md5 is asked" in check(pooler, stack.OWNER, "two")[1] and ":3" in check(pooler, stack.OWNER, "two")[1]
    assert check(pooler, stack.OWNER, "two", "10.1.2.3") == ("refused", f"{hba}:2 says reject")
    assert "from local" in check(pooler, stack.OWNER, "two", "local")[1]


def test_check_auth_tells_of_scram_on_the_way_to_the_server(shared: Pooler) -> None:
    """A SCRAM secret and a forced user: the client gets in, the server would ask for a password nobody has."""
    secret = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=:" + "A" * 43 + "="
    pooler = shared
    pooler.databases["forced"] = pooler.databases["one"] + " user=robot"
    pooler.users |= {"robot": secret, "human": secret}
    pooler.write_config()
    pooler.order("RELOAD")
    assert check(pooler, stack.OWNER, "forced") == (
        "doubtful",
        "no proof is asked (auth_type=trust); the secret of robot is SCRAM, so a server that asks for a password needs"
        " password= in the entry",
    )
    assert "clients that prove the password" in check(pooler, "human", "one")[1]


@pytest.mark.parametrize("command", ["CHECK AUTH a b", "SHOW SETTINGS_DIFF 1"])
def test_readers_do_not_ask_for_secrets_of_others(pooler: Pooler, command: str) -> None:
    """What a user may log in with, and what a client has set, is for admins."""
    with pytest.raises(psycopg.Error, match="admin access needed"), pooler.console(STATS) as console:
        console.execute(command)
