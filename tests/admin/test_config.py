"""SHOW CONFIG says what is in force; SET and RELOAD change it, or say why not."""

from __future__ import annotations

import signal

import psycopg
import pytest

from tests.admin.conftest import ADMIN, Pooler, Start
from tests.system import stack, wire
from tests.system.stack import wait_until


def value_of(pooler: Pooler, key: str) -> object:
    return next(row["value"] for row in pooler.show("CONFIG") if row["key"] == key)


def full(pooler: Pooler, key: str) -> dict[str, object]:
    return next(row for row in pooler.show("CONFIG FULL") if row["key"] == key)


def test_values_are_those_of_the_file(pooler: Pooler) -> None:
    """As written there; a default where nothing is written, NULL where PgBouncer has none."""
    rows = {row["key"]: (row["value"], row["default"], row["changeable"]) for row in pooler.show("CONFIG")}
    assert rows["pool_mode"] == ("transaction", "session", "yes")
    assert rows["listen_port"] == (str(pooler.port), "6432", "no")
    assert rows["admin_users"] == (ADMIN, "", "yes")
    assert rows["unix_socket_mode"] == ("0777", "0777", "no")
    assert rows["query_wait_timeout"] == ("20", "120", "yes")
    assert rows["auth_user"] == (None, None, "yes")
    assert rows["auth_hba_file"] == ("", "", "yes")
    assert rows["conffile"] == (str(pooler.ini), None, "yes")


def test_full_says_where_each_value_was_written(pooler: Pooler) -> None:
    """File and line, and nothing for a default."""
    lines = pooler.ini.read_text().splitlines()
    mode = full(pooler, "pool_mode")
    assert mode["file"] == str(pooler.ini)
    assert lines[int(str(mode["line"])) - 1] == "pool_mode = transaction"
    assert (full(pooler, "pkt_buf")["file"], full(pooler, "pkt_buf")["line"]) == (None, None)


def test_full_begins_as_the_plain_one(pooler: Pooler) -> None:
    """The four columns that exporters count are the first four."""
    with pooler.console() as console:
        plain = console.execute("SHOW CONFIG").fetchall()
        assert [row[:4] for row in console.execute("SHOW CONFIG FULL").fetchall()] == plain


def test_reload_takes_the_file_anew(shared: Pooler) -> None:
    pooler = shared
    pooler.settings["default_pool_size"] = 7
    pooler.write_config()
    assert pooler.order("RELOAD") == "RELOAD"
    assert value_of(pooler, "default_pool_size") == "7"


def test_a_bad_file_changes_nothing_and_is_said(shared: Pooler) -> None:
    """All or nothing: F0000 on the console, file, line and setting in the log."""
    pooler = shared
    pooler.settings |= {"default_pool_size": 7, "max_client_conn": "many"}
    pooler.write_config()
    with pooler.console() as console:
        with pytest.raises(psycopg.Error, match="RELOAD failed, see logs for additional details") as caught:
            console.execute("RELOAD")
        assert caught.value.sqlstate == "F0000"
    assert value_of(pooler, "default_pool_size") == "20"
    pooler.wait_for_log(r"pgbouncer.ini:\d+: \[pgbouncer\] max_client_conn: expected")


def test_what_waits_for_a_restart_is_said(shared: Pooler) -> None:
    """SHOW CONFIG keeps the value in force, FULL has the other, and a notice tells of it, until the file is as before."""
    pooler = shared
    pooler.settings["listen_backlog"] = 64
    pooler.write_config()
    pooler.order("RELOAD")
    said: list[str | None] = []
    with pooler.console() as console:
        console.add_notice_handler(lambda notice: said.append(notice.message_primary))
        console.execute("SHOW CONFIG")
    row = full(pooler, "listen_backlog")
    assert (row["value"], row["pending"], row["changeable"]) == ("128", "64", "no")
    (notice,) = map(str, said)
    assert notice.startswith("listen_backlog = 64 waits for a restart") and str(pooler.ini) in notice
    del pooler.settings["listen_backlog"]
    pooler.write_config()
    pooler.order("RELOAD")
    assert full(pooler, "listen_backlog")["pending"] is None


def test_set_holds_at_once_and_until_the_next_reload(shared: Pooler) -> None:
    """The file is not touched; FULL says that the value is not from there."""
    pooler = shared
    with pooler.connect("one") as busy, pooler.connect("one") as waiting, pooler.console() as console:
        busy.query("begin")  # before: a server that is being opened is waited for, too
        assert console.execute("SET query_wait_timeout = 0.2").statusmessage == "SET query_wait_timeout=0.2"
        assert full(pooler, "query_wait_timeout")["file"] == "SET"
        waiting.send(wire.query("select 1"))
        assert "query_wait_timeout" in str(waiting.rest())
    pooler.order("RELOAD")
    assert value_of(pooler, "query_wait_timeout") == "20"


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        ("SET pool_mode = session", "pool_mode", "session"),
        ("set MAX_CLIENT_CONN to 5", "max_client_conn", "5"),
        ("SET server_reset_query = 'DISCARD ALL'", "server_reset_query", "DISCARD ALL"),
        ("SET server_check_query = ''", "server_check_query", ""),
        ("SET login_notify_message = 'it''s late'", "login_notify_message", "it's late"),
    ],
)
def test_set_reads_words_and_strings(shared: Pooler, command: str, key: str, value: str) -> None:
    pooler = shared
    assert str(pooler.order(command)).startswith("SET ")
    assert value_of(pooler, key) == value


def test_a_refused_set_says_why(pooler: Pooler) -> None:
    """The message is PgBouncer's, the reason is in its detail."""
    for command, why in (
        ("SET listen_port = 1", "listen_port: only a restart changes it"),
        ("SET max_client_con = 1", 'unknown setting, did you mean "max_client_conn"?'),
        ("SET default_pool_size = ten", 'default_pool_size: expected an integer of 0 or more, got "ten"'),
        ("SET auth_file = '/nowhere'", 'auth_file: cannot read "/nowhere"'),
    ):
        with pytest.raises(psycopg.Error, match=r"^SET failed") as caught, pooler.console() as console:
            console.execute(command)
        assert why in (caught.value.diag.message_detail or "")
    assert value_of(pooler, "default_pool_size") == "20"


def test_secrets_are_shown_nowhere(start_pooler: Start) -> None:
    """Neither CONFIG nor DATABASES, USERS, FDS or any JSON form holds a password; nor does the log."""
    secret = "opensesame"
    pooler = start_pooler(
        {"auth_ldap_options": f"ldapbindpasswd={secret}"}, databases={"secret": f"user={stack.OWNER} password={secret}"}
    )
    pooler.users = {**pooler.users, "another": secret}
    pooler.write_config()
    pooler.order("RELOAD")
    with pooler.connect("one") as client, pooler.console() as console:
        client.ask("select 1")
        for name in ("CONFIG", "CONFIG FULL", "DATABASES", "USERS", "FDS", "SOCKETS", "CLIENTS", "SERVERS", "CONFIG AS JSON"):
            assert secret not in str(console.execute(f"SHOW {name}").fetchall()), name
        fds = console.execute("SHOW FDS").fetchall()
        assert all(row[12:] == (None, None, None) for row in fds)
    assert secret not in pooler.log


def test_sighup_is_reload(shared: Pooler) -> None:
    pooler = shared
    pooler.settings["default_pool_size"] = 7
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    wait_until(lambda: value_of(pooler, "default_pool_size") == "7", "the new value is in force")


def test_a_database_that_is_gone_is_closed_at_once(shared: Pooler) -> None:
    """Its clients are told, in a transaction or not; nobody else notices, and the name is unknown from then on."""
    pooler = shared
    with pooler.connect("one") as stays:
        idle, busy = pooler.connect("two"), pooler.connect("two")
        busy.query("begin")
        stays.query("begin")
        del pooler.databases["two"]
        pooler.write_config()
        assert pooler.order("RELOAD") == "RELOAD"
        for client in (idle, busy):
            assert client.refused().fields["M"] == "database removed"
            client.vanish()
        assert stays.query("commit")[-1].body == b"I"
        late = pooler.raw("two")
        late.send(wire.startup(late.startup))
        assert (error := late.refused()).sqlstate == "3D000" and error.fields["M"] == "no such database: two"
        late.vanish()


def test_min_pool_size_of_a_new_entry_holds_at_once(shared: Pooler) -> None:
    """One with a forced user needs no client for it."""
    pooler = shared
    pooler.databases["filled"] = f"{pooler.databases['one']} user={stack.OWNER} pool_size=3 min_pool_size=2"
    pooler.write_config()
    pooler.order("RELOAD")

    def idle() -> list[object]:
        return [row["sv_idle"] for row in pooler.show("POOLS") if row["database"] == "filled"]

    stack.wait_until(lambda: idle() == [2], "it is filled")


def test_a_forced_user_can_be_taken_away(shared: Pooler) -> None:
    """PgBouncer keeps it until the next start."""
    pooler = shared
    pooler.databases["forced"] = f"{pooler.databases['one']} user={stack.OTHER}"
    pooler.write_config()
    pooler.order("RELOAD")
    with pooler.connect("forced") as client:
        assert client.ask("select current_user") == stack.OTHER
    pooler.databases["forced"] = pooler.databases["one"]
    pooler.write_config()
    pooler.order("RELOAD")
    with pooler.connect("forced") as client:
        assert client.ask("select current_user") == stack.OWNER


def test_conffile_is_read_by_the_next_reload(shared: Pooler) -> None:
    """SET conffile and RELOAD: another file takes over."""
    pooler = shared
    other = pooler.ini.with_name("other.ini")
    other.write_text(pooler.ini.read_text().replace("[pgbouncer]", "[pgbouncer]\ndefault_pool_size = 9"))
    other.chmod(0o644)
    with pooler.console() as console:
        console.execute(f"SET conffile = '{other}'")
        console.execute("RELOAD")
    assert value_of(pooler, "default_pool_size") == "9"
