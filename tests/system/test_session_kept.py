"""What a client set, or made, follows it though others use the same servers in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack, wire
from tests.system.rawclient import Address, RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep sessions")

# How a client sets something, the question, and what only the setter is to see.
SETTINGS = [
    ("set work_mem = '7MB'", "show work_mem", "7MB"),
    ("SET /* why */ SESSION Work_Mem TO '7MB'", "show work_mem", "7MB"),
    ("begin; set work_mem = '7MB'; commit", "show work_mem", "7MB"),
    ("select set_config('work_mem', '7MB', false)", "show work_mem", "7MB"),
    ("set app.tenant = 'acme'", "select current_setting('app.tenant', true)", "acme"),
    ("select set_config('app.' || 'tenant', 'acme', false)", "select current_setting('app.tenant', true)", "acme"),
    ("do $$ begin perform set_config('app.tenant', 'acme', false); end $$",
     "select current_setting('app.tenant', true)", "acme"),
    ("do $$ begin execute 'set work_mem = ''7MB'''; end $$", "show work_mem", "7MB"),
    ("set role story_other", "select current_user", "story_other"),
    ("set search_path = pg_catalog, public", "show search_path", "pg_catalog, public"),
    ("set time zone 'Asia/Tokyo'", "show timezone", "Asia/Tokyo"),
    ("set session characteristics as transaction read only", "show transaction_read_only", "on"),
    ("set client_encoding = 'latin1'", "show client_encoding", "LATIN1"),
    ("update pg_settings set setting = '7MB' where name = 'work_mem'", "show work_mem", "7MB"),
    ("set datestyle = 'german'", "select '2026-01-02'::date", "02.01.2026"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "look", "value"), SETTINGS, ids=[each[0] for each in SETTINGS])
def test_settings_follow_their_owner(pooler: stack.Pooler, make: str, look: str, value: str) -> None:
    """Two clients share one server, or two where one keeps it: each sees its own."""
    with pooler.connect("two") as owner, pooler.connect("two") as other:
        before = other.ask(look)
        assert before != value
        assert wire.errors(owner.query(make)) == []
        for _ in range(3):
            assert other.ask(look) == before
            assert owner.ask(look) == value


@pytest.fixture
def starts_as_group(server: PostgresServer, admin: RawClient) -> Iterator[stack.Pooler]:
    """A pooler where each session of story_other starts in the role of a group (ALTER ROLE ... SET role)."""
    admin.query(f"create role story_group; grant story_group to {stack.OTHER}; alter role {stack.OTHER} set role = story_group")
    try:
        with stack.Pooler(Address(server.host, server.port)) as pooler:
            yield pooler
    finally:
        admin.query(f"alter role {stack.OTHER} reset role; drop role story_group")


NO_ROLE = ("set role none", "do $$ begin set role none; end $$", f"set session authorization {stack.OTHER}")


@pytest.mark.parametrize("make", NO_ROLE)
def test_no_role_is_kept_where_sessions_start_with_one(starts_as_group: stack.Pooler, make: str) -> None:
    """SET ROLE NONE is its client's own: nobody else's, and not lost on another server; RESET ROLE leads to the group."""
    pooler, who = starts_as_group, "select current_user"
    with pooler.connect("one", stack.OTHER) as owner, pooler.connect("one", stack.OTHER) as other:
        assert wire.errors(owner.query(make)) == []
        for _ in range(2):
            assert other.ask(who) == "story_group"
            assert owner.ask(who) == stack.OTHER
        owner.query("reset role")
        assert other.ask(who) == owner.ask(who) == "story_group"
        with pooler.connect("one", stack.OTHER, role="none") as third:
            assert [client.ask(who) for client in (third, other, third)] == [stack.OTHER, "story_group", stack.OTHER]


def test_settings_of_a_superuser_that_starts_with_less(starts_as_group: stack.Pooler, admin: RawClient) -> None:
    """What only the superuser may set, who has taken no role for that, is neither lost nor seen."""
    admin.query(f"alter role {stack.OTHER} superuser")
    pooler, look = starts_as_group, "select current_user || current_setting('log_min_messages')"
    with pooler.connect("one", stack.OTHER) as owner, pooler.connect("one", stack.OTHER) as other:
        assert wire.errors(owner.query("set role none") + owner.query("set log_min_messages = 'error'")) == []
        for _ in range(2):
            assert other.ask(look) == "story_groupwarning"
            assert owner.ask(look) == "story_othererror"
    admin.query(f"alter role {stack.OTHER} nosuperuser")


def test_settings_of_those_who_may_not_call_set_config(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """Where the function is revoked, as some do for row-level security, what SET makes is still its client's."""
    function, path = "function pg_catalog.set_config(text, text, boolean)", '"größer", public'
    with direct(stack.ADMIN) as admin:
        admin.query(f"revoke execute on {function} from public")
        try:
            with pooler.connect("one", search_path=path) as owner, pooler.connect("one") as other:
                assert wire.errors(owner.query("set work_mem = '5MB'; set app.x = 'ä'; set role story_other")) == []
                for _ in range(2):
                    assert other.ask("select current_user || current_setting('work_mem')") == "story_owner4MB"
                    look = "select concat(current_user, current_setting('work_mem'), current_setting('app.x'))"
                    assert owner.ask(look) == "story_other5MBä"
                    assert owner.ask("show search_path") == path
        finally:
            admin.query(f"grant execute on {function} to public")


AUTHORIZATIONS = {
    "set": wire.query("set session_authorization = 'story_owner'"),
    "reset": wire.query("reset session_authorization"),
    "default": wire.query("set session_authorization to default"),
    "set_config": wire.query("select set_config('session_authorization', 'story_owner', false)"),
    "bound": wire.run("select set_config($1, 'story_owner', false)", [b"session_authorization"]),
}


@pytest.mark.parametrize("way", AUTHORIZATIONS)
def test_a_role_goes_with_the_session_authorization(pooler: stack.Pooler, way: str) -> None:
    """PostgreSQL takes the role back, by whatever name the authorization is set: it does not return on another server."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("set role story_other")
        assert wire.errors(client.exchange(AUTHORIZATIONS[way])) == []
        assert other.ask("select current_user") == "story_owner"
        assert client.ask("select current_user || current_setting('role')") == "story_ownernone"


def test_old_names_of_settings_mean_the_new_ones(pooler: stack.Pooler) -> None:
    """PostgreSQL takes sort_mem for work_mem: so it is one setting, and another client's is not taken back with it."""
    look = "show work_mem"
    with pooler.connect("one", sort_mem="5MB") as owner, pooler.connect("one") as other:
        other.query("set work_mem = '8MB'")
        for text, value in (("select 1", "5MB"), ("set sort_mem = '7MB'", "7MB"), ("set work_mem = '9MB'", "9MB")):
            owner.query(text)
            assert [client.ask(look) for client in (other, owner)] == ["8MB", value]
        assert wire.values(owner.query(f"reset sort_mem; {look}")) == [b"5MB"]
        owner.exchange(wire.run("select set_config($1, '6MB', false)", [b"sort_mem"]))
        assert [client.ask(look) for client in (other, owner)] == ["8MB", "6MB"]


def test_rolled_back_settings_are_not_kept(pooler: stack.Pooler) -> None:
    """What PostgreSQL took back is gone, savepoints and failed texts included."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        owner.query("set work_mem = '5MB'")
        other.ask("select 1")
        owner.query("begin; set work_mem = '6MB'; rollback")
        other.ask("select 1")
        assert owner.ask("show work_mem") == "5MB"
        owner.query("set work_mem = '7MB'; select 1/0")
        other.ask("select 1")
        assert owner.ask("show work_mem") == "5MB"
        for text in ("begin", "savepoint a", "set work_mem = '8MB'", "rollback to a", "set lock_timeout = '9s'", "commit"):
            owner.query(text)
        other.ask("select 1")
        assert owner.ask("show work_mem") == "5MB"
        assert owner.ask("show lock_timeout") == "9s"


def test_bound_names_and_values_are_kept(pooler: stack.Pooler) -> None:
    """set_config with everything bound, as row-level security is driven by frameworks."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        text = "select set_config($1, $2, false)"
        assert wire.errors(owner.exchange(wire.run(text, [b"app.user", b"7"]))) == []
        other.ask("select 1")
        assert owner.ask("select current_setting('app.user', true)") == "7"
        assert other.ask("select current_setting('app.user', true)") is None


def test_reset_goes_back_to_startup_values(pooler: stack.Pooler) -> None:
    """RESET, SET TO DEFAULT, RESET ALL and DISCARD ALL mean what the client started with."""
    with pooler.connect("one", application_name="mine", options="-c work_mem=5MB") as owner, pooler.connect("one") as other:
        for text in ("reset work_mem", "set work_mem to default", "reset all", "discard all"):
            owner.query("set work_mem = '7MB'")
            other.ask("select 1")
            assert wire.errors(owner.query(text)) == []
            other.ask("select 1")
            assert owner.ask("show work_mem") == "5MB"
            assert owner.ask("show application_name") == "mine"


@pytest.mark.parametrize("reset", ["reset all", "discard all", "reset work_mem", "begin; reset all; commit"])
def test_reset_right_behind_a_set_is_not_lost(pooler: stack.Pooler, reset: str) -> None:
    """It comes while the server is still being asked what the SET has left."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        for _ in range(20):
            client.query("set work_mem = '7MB'")
            client.query(reset)
            other.query("set work_mem = '9MB'")
            assert client.ask("show work_mem") == "4MB"


def test_untouched_placeholder_is_undefined(pooler: stack.Pooler) -> None:
    """After SET LOCAL, for its client the custom setting is an empty string; for others it is not there at all."""
    look = "select coalesce(current_setting('app.x', true), 'undefined')"
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        for text in ("begin", "set local app.x = 'secret'", "commit"):
            owner.query(text)
        for _ in range(2):
            assert other.ask(look) == "undefined"
            assert owner.ask(look) == ""


def test_untouched_placeholder_may_be_empty(server: PostgresServer) -> None:
    """session_placeholders = empty: no server is given up for it, and never is another's value seen."""
    at = Address(server.host, server.port)
    with (
        stack.Pooler(at, {"session_placeholders": "empty"}) as pooler,
        pooler.connect("one") as owner,
        pooler.connect("one") as other,
    ):
        owner.query("set app.x = 'secret'")
        assert same_server(owner, other)
        assert other.ask("select current_setting('app.x', true)") == ""
        assert owner.ask("select current_setting('app.x', true)") == "secret"
        assert same_server(owner, other)


def same_server(one: RawClient, other: RawClient) -> bool:
    """Whether both are served by the one server of their pool."""
    return one.ask("select pg_backend_pid()") == other.ask("select pg_backend_pid()")


PINS = [
    ("create temp table mine as select 'kept'::text as word", "select word from mine", "kept", "drop table mine"),
    ("select pg_advisory_lock(77)", "select count(*) from pg_locks where locktype = 'advisory' and objid = 77", "1",
     "select pg_advisory_unlock(77)"),
    ("begin; declare c cursor with hold for select 'kept' from generate_series(1, 9); commit", "fetch 1 c", "kept", "close c"),
    ("prepare plan as select 'kept'", "execute plan", "kept", "deallocate plan"),
    ("do $$ begin create temp table mine (word text); insert into mine values ('kept'); end $$",
     "select word from mine", "kept", "drop table mine"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "look", "value", "drop"), PINS, ids=[each[0] for each in PINS])
def test_client_keeps_its_server_while_needed(pooler: stack.Pooler, make: str, look: str, value: str, drop: str) -> None:
    """A pin begins with the state, does not starve a pool of one, and ends with the state."""
    own = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        assert wire.errors(owner.query(make)) == []
        pid = owner.ask("select pg_backend_pid()")
        for _ in range(3):
            assert owner.ask(look) == value
            assert other.ask("select pg_backend_pid()") != pid
            assert other.ask(own) == "0"
        assert wire.errors(owner.query(drop)) == []
        stack.wait_until(lambda: same_server(owner, other), "the pin ends")


def test_short_pins_open_no_connections(pooler: stack.Pooler) -> None:
    """Temporary tables for one statement: the second server that they need is opened once, not each time."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        servers = set()
        for _ in range(5):
            assert wire.errors(owner.query("create temp table mine (a int)")) == []
            servers.add(other.ask("select pg_backend_pid()"))
            servers.add(owner.ask("select pg_backend_pid()"))
            assert wire.errors(owner.query("drop table mine")) == []
        assert len(servers) == 2


def test_discard_all_ends_a_pin(pooler: stack.Pooler) -> None:
    """DISCARD ALL leaves nothing that a server would have to be kept for."""
    with pooler.connect("one") as owner, pooler.connect("one") as other:
        owner.query("create temp table mine (a int)")
        owner.query("discard all")
        stack.wait_until(lambda: same_server(owner, other), "the pin ends")
        assert owner.ask("select to_regclass('mine')") is None


def test_leaving_ends_a_pin(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """However its client goes, nothing of it is left on the server."""
    for leave in (RawClient.leave, RawClient.vanish, RawClient.reset):
        owner = pooler.connect("one")
        owner.query("create temp table mine (a int); select pg_advisory_lock(78)")
        leave(owner)
        with direct() as watcher:
            watcher.query("select pg_advisory_lock(78); select pg_advisory_unlock_all()")
        with pooler.connect("one") as other:
            assert other.ask("select to_regclass('mine')") is None


def test_pins_beyond_the_bound_are_refused(pooler: stack.Pooler) -> None:
    """The statement that would need one more fails, its transaction with it, and its client lives on."""
    owners = [pooler.connect("one") for _ in range(5)]
    for number, owner in enumerate(owners):
        assert wire.errors(owner.query(f"select pg_advisory_lock({1000 + number})")) == []
    with pooler.connect("one") as late:
        late.query("begin")
        reply = late.query("create temp table mine (a int)")
        assert wire.errors(reply) == ["53300"]
        assert b"pin_pool_size" in b"".join(message.body for message in reply)
        assert wire.errors(late.query("select 1")) == ["25P02"]
        late.query("rollback")
        assert wire.errors(late.exchange(wire.run("select pg_advisory_lock(1)"))) == ["53300"]
        assert wire.errors(late.query("begin; create temp table mine (a int) on commit drop; commit")) == []
        owners[0].query("select pg_advisory_unlock_all()")
        stack.wait_until(lambda: not wire.errors(late.query("select pg_advisory_lock(1)")), "a place is free")
    for owner in owners:
        owner.leave()


def test_statements_prepared_before_are_refused_too(pooler: stack.Pooler) -> None:
    """As drivers remember them: the Bind fails, with its transaction, and nobody believes to have a lock that is gone."""
    clients = [pooler.connect("one") for _ in range(6)]
    for client in clients:
        client.exchange(wire.parse("kept", "select pg_advisory_lock($1)"), wire.sync())
    for number, owner in enumerate(clients[:5]):
        assert wire.errors(owner.query(f"select pg_advisory_lock({1000 + number})")) == []
    late = clients[5]
    batch = wire.bind("", "kept", [b"5"]) + wire.execute() + wire.sync()
    for begun in (False, True):
        late.query("begin" if begun else "select 1")
        reply = late.exchange(batch)
        assert (wire.kinds(reply), wire.errors(reply)) == ("EZ", ["53300"])
        assert wire.errors(late.query("select 1")) == (["25P02"] if begun else [])
        late.query("rollback")
    clients[0].query("select pg_advisory_unlock_all()")
    stack.wait_until(lambda: not wire.errors(late.exchange(batch)), "a place is free")
    assert late.ask("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == "1"
    for client in clients:
        client.leave()


def test_pins_are_promised_within_a_transaction(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Who was let make a temporary table keeps it at COMMIT; a second one is refused before that, and not ended after it."""
    pooler = start_pooler({"pin_pool_size": 1})
    with pooler.connect("two") as first, pooler.connect("two") as second:
        assert wire.errors(first.query("begin; create temp table mine (n int)")) == []
        assert wire.errors(second.query("begin; create temp table mine (n int)")) == ["53300"]
        second.query("rollback")
        assert wire.errors(first.query("rollback")) == []
        make = "begin; create temp table mine (n int); commit"
        stack.wait_until(lambda: not wire.errors(second.query(make)) or second.query("rollback") is None, "the promise has ended")
        assert wire.errors(first.query("create temp table mine (n int)")) == ["53300"]
        assert wire.errors(second.query("select * from mine")) == []
        assert wire.errors(first.query("prepare p as select 1")) == ["53300"]
        assert wire.errors(first.query("begin; create temp table mine (n int) on commit drop; commit")) == []


@pytest.fixture
def strict(server: PostgresServer) -> Iterator[stack.Pooler]:
    """A pooler that refuses to keep servers for clients, or not for long."""
    at = Address(server.host, server.port)
    pools = {"one": "pool_size=1", "short": "pool_size=1 session_pin=allow", "told": "pool_size=1 session_pin=notice"}
    users = {stack.OTHER: "session_pin=allow"}
    with stack.Pooler(at, {"session_pin": "error", "pin_timeout": 0.1}, pools, users) as pooler:
        yield pooler


def test_session_pin_error_refuses(strict: stack.Pooler) -> None:
    """session_pin = error: a clear error that names statement and setting; what cannot be foreseen ends the session."""
    with strict.connect("one") as client:
        reply = client.query("create temp table mine (a int)")
        assert wire.errors(reply) == ["0A000"]
        assert b'"create temp table mine (a int)" needs a server of its own (session_pin)' in b"".join(m.body for m in reply)
        assert client.ask("select 1") == "1"
        client.send(wire.query("do $$ begin create temp table mine (a int); end $$"))
        assert b"session_pin" in client.refused().body
    with strict.connect("one") as client:
        client.query("begin")
        client.query("do $$ begin create temp table mine (a int); end $$")
        client.send(wire.query("commit"))  # after which deferred triggers might do anything, too
        assert b'temporary object of "do $$' in client.refused().body
    with strict.connect("one", stack.OTHER) as client:  # whose own entry allows it
        assert not wire.errors(client.query("create temp table mine (a int); drop table mine"))


def test_a_reload_takes_no_pin_back_that_was_let_be(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Whose statement ran while session_pin allowed that keeps what it made, though its transaction ends after a RELOAD."""
    pooler = start_pooler({"session_pin": "allow"})
    with pooler.connect("one") as early, pooler.connect("two") as client:
        assert wire.errors(early.query("select pg_advisory_lock(70)")) == []
        assert wire.errors(client.query("begin; select pg_advisory_lock(71)")) == []
        pooler.settings["session_pin"] = "error"
        pooler.reload()
        pooler.wait_for_log("reload done")
        assert wire.errors(client.query("commit")) == []
        assert client.ask("select pg_advisory_unlock(71)") == "t"
        assert early.ask("select pg_advisory_unlock(70)") == "t"
        assert wire.errors(client.query("select pg_advisory_lock(71)")) == ["0A000"]


def test_session_pin_notice_tells(strict: stack.Pooler) -> None:
    """session_pin = notice: the client is told that it keeps a server."""
    with strict.connect("told") as client:
        client.send(wire.query("select pg_advisory_lock(1)"))
        assert b"advisory lock" in client.until("N")[-1].body


def test_pin_timeout_ends_a_session(strict: stack.Pooler) -> None:
    """A client that keeps a server for too long is told which statement it was."""
    client = strict.connect("short")
    client.query("create temp table mine (a int)")
    assert b'"create temp table mine (a int)" has kept a server for too long (pin_timeout)' in client.refused().body
