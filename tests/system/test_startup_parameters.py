"""Settings a client gives at startup, or changes, are its own on whichever server it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient, ServerError

PAIRS = [
    ("application_name", "billing-app", "other-app"),
    ("application_name", "billing-app", "Billing-App"),
    ("application_name", "", "named"),
    ("DateStyle", "German, DMY", "ISO, MDY"),
    ("TimeZone", "Asia/Tokyo", "America/New_York"),
    ("client_encoding", "LATIN1", "UTF8"),
    ("IntervalStyle", "iso_8601", "postgres"),
    ("standard_conforming_strings", "on", "off"),
]


@pytest.mark.parametrize(("name", "mine", "yours"), PAIRS)
def test_differing_values_stay_apart(pooler: stack.Pooler, name: str, mine: str, yours: str) -> None:
    """Two clients with different values on a pool of one: each sees its own, in turn, several times."""
    if stack.IS_PEER and (mine.lower() == yours.lower() or name == "IntervalStyle"):
        pytest.skip("a known defect of the executable under test")
    with pooler.connect("one", **{name: mine}) as first, pooler.connect("one", **{name: yours}) as second:
        for _ in range(3):
            assert first.ask(f"show {name}") == mine
            assert second.ask(f"show {name}") == yours


@pytest.mark.parametrize(("name", "value"), [("DateStyle", "German, DMY"), ("TimeZone", "Asia/Tokyo")])
def test_value_is_told_at_login(pooler: stack.Pooler, name: str, value: str) -> None:
    """ParameterStatus at login carries the client's own value."""
    with pooler.connect("one", **{name: value}) as client:
        client.ask("select 1")
        assert client.parameters[name] == value


def test_without_value_default_is_seen(pooler: stack.Pooler) -> None:
    """After a client with a TimeZone of its own, one without sees the server's default."""
    with pooler.connect("one") as plain:
        default = plain.ask("show TimeZone")
    with pooler.connect("one", TimeZone="Asia/Tokyo") as client:
        assert client.ask("show TimeZone") == "Asia/Tokyo"
    with pooler.connect("one") as plain:
        assert plain.ask("show TimeZone") == default
        assert plain.ask("show application_name") == ""


def test_changed_value_follows_its_client(pooler: stack.Pooler) -> None:
    """SET of a reported setting stays with its client and is not seen by the other."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        default = second.ask("show TimeZone")
        first.query("set TimeZone = 'Asia/Tokyo'")
        assert first.parameters["TimeZone"] == "Asia/Tokyo"
        for _ in range(3):
            assert second.ask("show TimeZone") == default
            assert first.ask("show TimeZone") == "Asia/Tokyo"


def test_rolled_back_value_is_gone(pooler: stack.Pooler) -> None:
    """SET in a transaction that is rolled back leaves what was before."""
    with pooler.connect("one", application_name="before") as client, pooler.connect("one") as other:
        client.query("begin")
        client.query("set application_name = 'inside'")
        client.query("rollback")
        other.ask("select 1")
        assert client.ask("show application_name") == "before"


@pytest.mark.parametrize(
    "value", ["it's", 'a "quoted" name', "back\\slash", "tab\there", "ünïcode", "x" * 63, "'; drop table t; --", "%s {}"]
)
def test_odd_values_arrive_unharmed(pooler: stack.Pooler, value: str) -> None:
    """Quotes, backslashes and the like in application_name are data."""
    with pooler.connect("one") as other, pooler.connect("one", application_name=value) as client:
        other.ask("select 1")
        expected = "".join(c if " " <= c <= "~" else "?" * len(c.encode()) for c in value)
        shown = client.ask("show application_name")
        # PostgreSQL before 16 writes ? for a byte that is not plain ASCII, later versions \\x and its number.
        assert shown in (expected, "".join(c if " " <= c <= "~" else "".join(f"\\x{b:02x}" for b in c.encode()) for c in value))


def test_backslash_values_with_strings_off(pooler: stack.Pooler) -> None:
    """A value that ends in a backslash cannot break out of its quotes where standard_conforming_strings is off."""
    with (
        pooler.connect("one", standard_conforming_strings="off", application_name="end\\") as client,
        pooler.connect("one", application_name="other") as other,
    ):
        for _ in range(3):
            assert client.ask("show application_name") == "end\\"
            assert other.ask("show application_name") == "other"


@pytest.mark.parametrize("length", [63, 64, 127, 128, 300, 5000])
def test_long_values_are_applied(pooler: stack.Pooler, length: int) -> None:
    """A value of any length replaces the previous client's; PostgreSQL cuts it at 63 bytes."""
    with pooler.connect("one", application_name="previous") as other:
        other.ask("select 1")
        with pooler.connect("one", application_name="v" * length) as client:
            assert client.ask("show application_name") == "v" * min(length, 63)


@pytest.mark.parametrize("length", [64, 127, 128, 300, 65_000])
@pytest.mark.parametrize("name", ["search_path", "app.value"])
def test_long_values_replace_each_other(pooler: stack.Pooler, name: str, length: int) -> None:
    """Compared whole, whatever their length, at login and by SET."""
    alike = ["x" * (length - 1) + last for last in "abAB"]
    clients = [pooler.connect("one", **({name: value} if length < 300 else {})) for value in alike]
    for client, value in zip(clients, alike, strict=True):
        if length >= 300:  # more than a startup packet holds
            assert wire.errors(client.query(f"set {name} = '{value}'")) == []
    for _ in range(2):
        for client, value in zip(clients, alike, strict=True):
            assert (client.ask(f"show {name}") or "").strip('"') == value
    for client in clients:
        client.leave()


def test_values_that_differ_in_case_are_different(pooler: stack.Pooler) -> None:
    """Not every setting is a word: compared without case one client got the other's."""
    pairs = [
        {"application_name": "Web", "search_path": '"Foo"', "app.tenant": "ACME"},
        {"application_name": "web", "search_path": "foo", "app.tenant": "acme"},
    ]
    clients = [pooler.connect("one", **pair) for pair in pairs]
    for _ in range(2):
        for client, pair in zip(clients, pairs, strict=True):
            assert {name: client.ask(f"show {name}") for name in pair} == pair
    for client in clients:
        client.leave()


def test_text_is_read_in_own_encoding(pooler: stack.Pooler) -> None:
    """Bytes mean what the client's own client_encoding says, after another client's."""
    with (
        pooler.connect("one", client_encoding="LATIN1") as latin,
        pooler.connect("one", client_encoding="UTF8") as utf,
    ):
        for _ in range(3):
            assert wire.values(latin.query(b"select length('\xe4\xf6')::text, '\xe4'")) == [b"2"]
            assert wire.values(utf.query("select 'äö'")) == ["äö".encode()]
            assert wire.values(latin.query("select chr(228)")) == [b"\xe4"]


def test_unknown_parameter_is_refused(pooler: stack.Pooler) -> None:
    """A startup parameter that cannot be kept per client is an error at login, not silently ignored."""
    client = pooler.raw("one")
    client.startup["no_such_setting"] = "1"
    client.send(wire.startup(client.startup))
    error = client.refused()
    assert error.sqlstate in ("08P01", "42704")
    assert "no_such_setting" in error.fields["M"]
    client.vanish()


def test_wrong_value_is_told(pooler: stack.Pooler) -> None:
    """A value that PostgreSQL refuses is told to its client; the next client is not touched."""
    client = pooler.raw("one")
    client.startup["TimeZone"] = "Not/AZone"
    client.send(wire.startup(client.startup), wire.query("show TimeZone"), wire.terminate())
    replies = list(client.messages())
    client.vanish()
    if not stack.IS_PEER:
        assert "22023" in wire.errors(replies) or "08P01" in wire.errors(replies), replies
    with pooler.connect("one") as other:
        assert other.ask("select 'fine'") == "fine"


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not know them")
@pytest.mark.parametrize("parameters", [{"post_auth_delay": "0"}, {"options": "-c ignore_system_indexes=on"}])
def test_what_only_starts_with_a_server_is_refused(pooler: stack.Pooler, parameters: dict[str, str]) -> None:
    """A parameter that no running session can be given is refused in clear words, and the server serves others."""
    with pytest.raises(ServerError) as refused:
        pooler.connect("one", **parameters)
    assert refused.value.sqlstate == "55P02"
    assert "servers are shared by clients (ignore_startup_parameters)" in refused.value.message.fields["M"]
    with pooler.connect("one", **{"application_name": "fine"}) as other:
        assert other.ask("show application_name") == "fine"


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not know them")
def test_what_does_not_outlast_the_login(pooler: stack.Pooler) -> None:
    """Parameters that a direct session is without by its first query do not come back in the pooler's, nor hinder others."""
    passing = {"seed": "0.5", "transaction_read_only": "on", "session_authorization": stack.OWNER, "work_mem": "5MB"}
    with pooler.connect("one", stack.ADMIN, **passing) as client, pooler.connect("one", stack.ADMIN) as other:
        for _ in range(2):
            assert client.ask("select session_user || current_setting('transaction_read_only')") == f"{stack.ADMIN}off"
            assert client.ask("show work_mem") == "5MB"
            assert other.ask("show work_mem") != "5MB"
        assert client.parameters["session_authorization"] == stack.ADMIN
    with pytest.raises(ServerError) as refused:
        pooler.connect("one", session_authorization=stack.ADMIN)
    assert refused.value.sqlstate == "42501"


def test_ignored_parameters_are_dropped(start_pooler: Callable[..., stack.Pooler]) -> None:
    """ignore_startup_parameters accepts and drops what it names, also inside options."""
    pooler = start_pooler({"ignore_startup_parameters": "extra_float_digits, options, search_path"})
    with pooler.connect("one", extra_float_digits="3", search_path="nowhere") as client:
        assert client.ask("select 1") == "1"


@pytest.mark.skipif(stack.IS_PEER, reason="PgBouncer knows no levels")
def test_at_the_level_of_pgbouncer_untracked_parameters_are_refused(start_pooler: Callable[..., stack.Pooler]) -> None:
    """For the database and user that have this level, in PgBouncer's words; for their neighbours nothing changes."""
    databases = {"narrow": "session_state=pgbouncer", "wide": "", "bare": ""}
    users = {stack.OTHER: "session_state=pgbouncer"}
    settings = {"ignore_startup_parameters": "extra_float_digits", "track_extra_parameters": "work_mem"}
    pooler = start_pooler(settings, databases, users)
    for database, user in (("narrow", stack.OWNER), ("wide", stack.OTHER)):
        for extra, words in (
            ({"statement_timeout": "5s"}, "unsupported startup parameter: statement_timeout"),
            ({"options": "-c lock_timeout=5s"}, "unsupported startup parameter in options: lock_timeout"),
        ):
            client = pooler.raw(database, user)
            client.send(wire.startup({**client.startup, **extra}))
            error = client.refused()
            assert (error.sqlstate, error.fields["M"]) == ("08P01", words)
            client.vanish()
        with pooler.connect(database, user, DateStyle="German", work_mem="7MB", extra_float_digits="3") as client:
            assert [client.ask(f"show {name}") for name in ("DateStyle", "work_mem")] == ["German, DMY", "7MB"]
    with pooler.connect("wide", statement_timeout="5s", options="-c lock_timeout=6s") as client:
        assert [client.ask(f"show {name}") for name in ("statement_timeout", "lock_timeout")] == ["5s", "6s"]


def test_drivers_log_in_with_their_parameters(pooler: stack.Pooler) -> None:
    """psycopg with options of its own and asyncpg with server settings log in and keep them."""
    with psycopg.connect(pooler.uri("one"), application_name="py", prepare_threshold=None) as connection:
        assert connection.execute("show application_name").fetchone() == ("py",)

    async def look() -> str:
        connection = await asyncpg.connect(pooler.uri("one"), server_settings={"application_name": "apg"}, statement_cache_size=0)
        value: str = await connection.fetchval("show application_name")
        await connection.close()
        return value

    assert asyncio.run(look()) == "apg"


def test_many_clients_many_values(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """Thirty clients with thirty names on two servers, interleaved: nobody ever sees another's."""
    clients = [pooler.connect("two", application_name=f"app-{number}") for number in range(30)]
    for turn in range(3):
        for number, client in enumerate(clients):
            if (number + turn) % 3:
                assert client.ask("show application_name") == f"app-{number}"
    for client in clients:
        client.leave()
