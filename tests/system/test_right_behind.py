"""What a client says right behind something else: at once, in one write, or in two segments; as on a direct connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the executable under test does not keep sessions")
Connect = Callable[..., RawClient]
CLEARING = ["deallocate all", "discard all"]
PINNING = {
    "create temp table t (i int)": "discard temp",
    "declare c cursor with hold for select 1": "close c",
    "declare d cursor with hold for select 1": "close all",
    "select pg_advisory_lock(1)": "select pg_advisory_unlock(1)",
    "select pg_advisory_lock(2)": "select pg_advisory_unlock_all()",
}


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    return start_pooler({"admin_users": stack.ADMIN})


@pytest.fixture(params=["direct", "pooler"])
def connect(request: pytest.FixtureRequest, pooler: stack.Pooler, direct: Connect) -> Connect:
    """The same story past the pooler and through it, where all clients share one server."""
    if request.param == "direct":
        return lambda **parameters: direct(**parameters)
    return lambda **parameters: pooler.connect("one", **parameters)


def only_parse(text: str) -> bytes:
    return wire.parse("", text) + wire.sync()


def use(name: str = "") -> bytes:
    return wire.bind("", name) + wire.execute() + wire.sync()


def answer(reply: list[wire.Message]) -> list[object]:
    return [*(wire.errors(reply) or wire.values(reply))]


def together(client: RawClient, *batches: bytes) -> list[object]:
    """What several requests in one write are answered."""
    return answer(client.exchange(*batches, ready=len(batches)))


# --- settings ---


def test_set_local_behind_a_set_is_nobody_elses_meaning(connect: Connect) -> None:
    """A statement that was parsed under it is not another client's of the same text."""
    with connect() as a, connect() as b:
        for i in range(30):
            text = f"select (date '1.2.2003')::text || ' {i}'"
            a.query(f"set lock_timeout = '{i + 1}s'")
            a.query("begin; set local datestyle = 'German'")
            assert answer(a.exchange(wire.parse(f"s{i}", text) + wire.sync())) == []
            a.query("commit")
            assert answer(b.exchange(wire.run(text, name=f"s{i}"))) == [f"2003-01-02 {i}".encode()]


@pytest.mark.parametrize("pipelined", [False, True])
def test_unnamed_statement_behind_a_set(connect: Connect, pipelined: bool) -> None:
    """It has the new setting's meaning, and keeps it when others have used the server meanwhile."""
    with connect() as a, connect() as b:
        for i in range(20):
            a.query("set datestyle = 'ISO, MDY'")
            b.query("select 1")
            text = f"select (date '1.2.2003')::text || ' {i}'"
            if pipelined:
                together(a, wire.query("set datestyle = 'German'"), only_parse(text))
            else:
                a.query("set datestyle = 'German'")
                a.exchange(only_parse(text))
            b.exchange(wire.run("select 1"))
            assert answer(a.exchange(use())) == [f"01.02.2003 {i}".encode()]


def test_unnamed_statement_used_behind_a_set(connect: Connect) -> None:
    """It keeps the meaning it had before."""
    for i in range(50):
        with connect() as a:
            a.exchange(wire.parse("x", "set datestyle = 'German'") + wire.sync())
            a.exchange(only_parse("select date '1.2.2003'"))
            a.exchange(use("x"))
            assert answer(a.exchange(use())) == [b"02.01.2003"], i


@pytest.mark.parametrize("how", ["execute", "bind"])
def test_named_statement_used_behind_a_set(connect: Connect, how: str) -> None:
    """On a server that does not have it yet."""
    with connect() as a, connect() as b:
        a.exchange(wire.run("select date '1.2.2003'", name="s"))
        b.query("select pg_advisory_lock(1)")  # keeps that server
        used = wire.query("execute s") if how == "execute" else use("s")
        assert together(a, wire.query("set datestyle = 'German'"), used) == [b"02.01.2003"]


def test_set_behind_a_reset_by_code(connect: Connect) -> None:
    """What the client started with is in force again."""
    for i in range(20):
        with connect(application_name="new") as a, connect() as b:
            a.query("do $$ begin execute 'reset all'; end $$")
            a.query("set work_mem = '7MB'")
            b.query("select 1")
            assert a.ask("show application_name") == "new", i


def test_set_behind_a_question_that_takes_long(pooler: stack.Pooler, admin: RawClient, direct: Connect) -> None:
    """It waits until it is known what the transaction before has left; a cancel request meanwhile does not hit the question."""
    with direct() as holder, pooler.connect("one") as a, pooler.connect("one") as b:
        holder.query("select pg_advisory_lock(77)")
        a.query("select 1")
        admin.query("begin")
        assert wire.errors(admin.query("lock table pg_depend in access exclusive mode")) == []
        a.query("select pg_try_advisory_lock(77)")  # false, and what is left of it cannot be looked at
        a.send(wire.query("set lock_timeout = '7s'"))
        with pooler.canceling(a):
            admin.query("rollback")
        if wire.errors(a.until("Z")):  # there was time to cancel it
            a.query("set lock_timeout = '7s'")
        assert b.ask("show lock_timeout") == "0"
        assert a.ask("show lock_timeout") == "7s"


# --- DISCARD ALL and DEALLOCATE ALL ---


def test_prepare_behind_discard_all(connect: Connect) -> None:
    """What it does when it is executed is known."""
    with connect() as a, connect() as b:
        together(a, wire.query("discard all"), wire.query("prepare p as select set_config('work_mem', '7MB', false)"))
        a.query("execute p")
        a.query("deallocate p")
        b.query("select 1")
        assert a.ask("show work_mem") == "7MB"
        assert b.ask("show work_mem") == "4MB"


@pytest.mark.parametrize("order", ["before", "behind"])
def test_custom_settings_stay_defined(connect: Connect, order: str) -> None:
    """For their owner, whatever comes in the same write as DISCARD ALL."""
    with connect() as a, connect() as b:
        if order == "before":
            together(a, wire.query("set behind.x = '1'"), wire.query("discard all"))
        else:
            a.query("set behind.x = '1'")
            b.query("select 1")
            together(a, wire.query("discard all"), wire.query("set work_mem = '7MB'"))
        b.query("select 1")
        assert answer(a.query("select current_setting('behind.x', true)")) == [b""]


@pytest.mark.parametrize("clear", CLEARING)
def test_unnamed_statement_behind_it(connect: Connect, clear: str) -> None:
    """It is its client's, and no other's."""
    with connect() as a, connect() as b:
        together(a, wire.query(clear), only_parse("select 'of a'"))
        assert answer(b.exchange(use())) == ["26000"]
        b.exchange(wire.run("select 'b'"))
        assert answer(a.exchange(use())) == [b"of a"]


@pytest.mark.parametrize("how", ["discard all", "set local"])
def test_unnamed_statement_is_nobody_elses(connect: Connect, how: str) -> None:
    """Also when many changes of owner have shown that nobody reads sequences, so that nothing goes ahead of the next client."""
    with connect() as a, connect() as b:
        for _ in range(520):
            a.query("select 1")
            b.query("select 1")
        if how == "discard all":
            together(a, wire.query("discard all"), only_parse("select 'of a'"))
        else:
            a.query("begin")
            a.query("set local datestyle = 'German'")
            a.exchange(only_parse("select 'of a'"))
            a.exchange(wire.parse("c", "commit") + use("c"))
        assert answer(b.exchange(use())) == ["26000"]


@pytest.mark.parametrize("failure", ["in a block", "not executed", "skipped"])
def test_one_that_is_not_carried_out_ends_no_statement(connect: Connect, failure: str) -> None:
    """Neither its client's nor, at the next one, those of others."""
    with connect() as a, connect() as b:
        a.exchange(wire.run(f"select 'a {failure}'", name="s"))
        if failure == "in a block":
            a.query("begin")
            assert answer(a.exchange(wire.parse("", "discard all") + use())) == ["25001"]
            a.query("rollback")
        elif failure == "not executed":
            a.exchange(wire.parse("", "deallocate all") + wire.bind("", "") + wire.sync())
        else:
            failing = wire.parse("", "select 1/0") + wire.bind("", "") + wire.execute()
            a.exchange(failing + wire.parse("d", "deallocate all") + use("d"))
        assert answer(a.exchange(use("s"))) == [f"a {failure}".encode()]
        assert answer(b.exchange(wire.run(f"select 'b {failure}'", name="s"))) == [f"b {failure}".encode()]
        a.query("deallocate all")
        assert answer(b.exchange(use("s"))) == [f"b {failure}".encode()]


@pytest.mark.parametrize("startup", [{}, {"work_mem": "2MB"}])
def test_one_in_a_batch_behind_a_set(connect: Connect, startup: dict[str, str]) -> None:
    """On a server with other settings: nothing of the pooler's own gets between, which PostgreSQL would refuse."""
    for _ in range(10):
        with connect(**startup) as a, connect() as b:
            b.query("set work_mem = '3MB'")
            batch = wire.parse("s", "discard all") + wire.bind("", "s") + wire.execute() + wire.parse("t", "select 1") + use("t")
            assert together(a, wire.query("set work_mem = '9MB'"), batch) == [b"1"]


@pytest.mark.parametrize("clear", CLEARING)
def test_one_that_is_skipped_is_not_waited_for(connect: Connect, clear: str) -> None:
    """Behind an error of the same batch nothing is answered before its Sync."""
    with connect() as a:
        a.exchange(wire.parse("s", clear) + wire.sync())
        again = wire.bind("", "s") + wire.execute()
        assert answer(a.exchange(wire.parse("s", "select 1") + again + again + again + wire.sync())) == ["42P05"]
        assert a.ask("select 'served'") == "served"


@pytest.mark.parametrize("clear", CLEARING)
def test_named_statement_used_behind_it(connect: Connect, clear: str) -> None:
    """It is gone; and who parses the same text finds no trace of the attempt."""
    with connect() as a, connect() as b:
        text = f"select 'behind {clear}'"
        a.exchange(wire.run(text, name="s"))
        a.exchange(use("s"))
        b.query("discard all")
        assert together(a, wire.query(clear), use("s")) == ["26000"]
        assert answer(b.exchange(wire.run(text, name="mine"))) == [text[8:-1].encode()]


def test_what_it_does_not_clear(connect: Connect) -> None:
    """In one write with code that nobody reads, or a temporary table: the next client finds nothing of that."""
    with connect() as a, connect() as b:
        code = "do $$ begin perform set_config('behind.secret', 'x', false); end $$"
        together(a, wire.query(code), wire.query("discard all"))
        assert answer(b.query("select current_setting('behind.secret', true)")) == [None]
        together(a, wire.query("create temp table t as select 1 as n"), wire.query("table t"), wire.query("discard all"))
        assert answer(b.query("set temp_buffers = '2MB'")) == []
        seen = set()
        for _ in range(3):
            together(a, wire.query("do $$ begin perform setseed(0.5); end $$"), wire.query("discard all"))
            seen.add(b.ask("select random()"))
        assert len(seen) > 1


# --- pins ---


@pytest.mark.parametrize("make", PINNING)
def test_a_pin_ends_with_its_reason(pooler: stack.Pooler, make: str) -> None:
    """Even if that goes as soon as it has come."""
    for i in range(20):
        with pooler.connect("one") as a, pooler.connect("one") as b:
            a.query(make)
            a.query(PINNING[make])
            b.query("select 1")
            with pooler.connect("pgbouncer", stack.ADMIN) as console:
                assert answer(console.query("show pins")) == [], i


@pytest.mark.parametrize("make", [*PINNING, "prepare p as select 1"])
def test_discard_all_of_who_keeps_a_server(connect: Connect, make: str) -> None:
    """It leads to the client's start like any other, and custom settings stay defined."""
    with connect(work_mem="2MB", application_name="new") as a, connect() as b:
        a.query("set behind.y = '1'")
        a.query(make)
        a.query("discard all")
        b.query("select 1")
        assert (a.ask("show work_mem"), a.ask("show application_name")) == ("2MB", "new")
        assert answer(a.query("select current_setting('behind.y', true)")) == [b""]


# --- clients that listen ---


@pytest.mark.parametrize("text", ["do $$ begin execute 'listen hidden'; end $$", "select listen_it()"])
def test_query_behind_a_hidden_listen(connect: Connect, direct: Connect, text: str) -> None:
    """It is answered, and then the next."""
    with direct() as owner:
        owner.query("create or replace function listen_it() returns void language plpgsql as $$ begin listen hidden; end $$")
    for i in range(5):
        with connect() as a, connect() as b:
            a.query("select 1")
            a.query(text)
            assert a.ask(f"select 'mine {i}' from pg_sleep(0.1)") == f"mine {i}"
            b.ask("select 1")
            assert a.ask("select 1") == "1"


def test_listener_pipelines_on_a_server_with_other_settings(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Each request has its own ReadyForQuery."""
    pooler = start_pooler()
    with pooler.connect("two") as a, pooler.connect("two") as b, pooler.connect("two") as c:
        c.query("begin")
        b.query("set work_mem = '9MB'")  # the second server is left so
        c.query("commit")
        a.query("listen news")  # on the first
        a.query("select 1")
        c.query("begin")  # has the first
        assert wire.kinds(a.exchange(wire.query("select 1"), wire.query("select 2"), ready=2)) == "TDCZTDCZ"


@pytest.mark.parametrize(("first", "kinds"), [("select 1", "TDCZTDCZ"), ("do $$ begin null; end $$", "CZTDCZ")])
def test_listener_pipelines_in_two_segments(connect: Connect, first: str, kinds: str) -> None:
    """Whenever the second arrives, each request has its own ReadyForQuery."""
    with connect() as a:
        a.query("listen news")
        for i in range(400):
            a.send(wire.query(first))
            stack.wait_a_bit(3 * i)
            a.send(wire.query("select 2"))
            assert wire.kinds(a.until("Z", 2)) == kinds, i


# --- portals ---


def bound(text: str, portal: str) -> bytes:
    """A statement without a name, and a portal bound to it."""
    return wire.parse("", text) + wire.bind(portal, "")


def executed(*portals: str) -> bytes:
    return b"".join(map(wire.execute, portals)) + wire.sync()


def named(client: RawClient, **texts: str) -> None:
    """The client prepares these."""
    assert answer(client.exchange(b"".join(wire.parse(name, text) for name, text in texts.items()) + wire.sync())) == []


def test_two_portals_each_deallocate_their_own(connect: Connect) -> None:
    """Whichever was bound last; and another client's statement of the same text stays."""
    with connect() as a, connect() as b:
        named(a, s="select 1", t="select 2")
        assert answer(b.exchange(wire.run("select 1", name="s"))) == [b"1"]
        assert answer(a.exchange(bound("deallocate s", "p") + bound("deallocate t", "q") + executed("p", "q"))) == []
        assert answer(b.exchange(use("s"))) == [b"1"]
        for name in "st":
            assert answer(a.exchange(use(name))) == ["26000"]


def test_discard_all_in_a_portal_bound_before_another(connect: Connect) -> None:
    """What the client started with is in force behind it, and what it prepares there is kept."""
    with connect(work_mem="2MB") as a:
        discarded = bound("discard all", "p") + bound("discard plans", "q") + wire.execute("p")
        assert answer(a.exchange(discarded + wire.run("show work_mem", name="s"))) == [b"2MB"]
        assert answer(a.exchange(use("s"))) == [b"2MB"]


def test_deallocate_finds_what_the_name_means_when_it_is_executed(connect: Connect) -> None:
    """Not what it meant when its portal was bound."""
    with connect() as a, connect() as b:
        named(a, s="select 1")
        assert answer(b.exchange(wire.run("select 1", name="s"))) == [b"1"]
        replaced = bound("deallocate s", "p") + wire.close_statement("s") + wire.parse("s", "select 3")
        assert answer(a.exchange(replaced + executed("p"))) == []
        assert answer(a.exchange(use("s"))) == ["26000"]
        assert answer(b.exchange(use("s"))) == [b"1"]
        assert answer(b.exchange(wire.run("select 3", name="t"))) == [b"3"]


def test_deallocate_of_a_statement_that_is_bound_meanwhile(connect: Connect) -> None:
    """The portal outlives its statement, and nothing of it is left for others."""
    with connect() as a, connect() as b:
        named(a, s="select 1")
        b.query("discard all")
        assert answer(a.exchange(bound("deallocate s", "p") + wire.bind("q", "s") + executed("p", "q"))) == [b"1"]
        assert answer(b.exchange(wire.run("select 1", name="t"))) == [b"1"]


def test_deallocate_in_a_portal_that_sql_has_come_before(connect: Connect) -> None:
    """The server has got the client's own names since it was bound."""
    with connect() as a:
        named(a, s="select 1", r="select 2")
        a.query("begin")
        assert answer(a.exchange(bound("deallocate s", "p") + wire.sync())) == []
        assert answer(a.query("execute r")) == [b"2"]
        assert answer(a.exchange(executed("p"))) == []
        a.query("commit")
        assert answer(a.exchange(use("s"))) == ["26000"]


def test_deallocate_that_is_never_executed_leaves_nothing(connect: Connect) -> None:
    """Others who list statements find their own."""
    with connect() as a, connect() as b:
        named(a, s="select 1")
        b.query("discard all")
        a.exchange(bound("deallocate s", "") + wire.describe_portal("") + wire.sync())
        assert answer(b.query("select name from pg_prepared_statements")) == []
        assert answer(a.exchange(use("s"))) == [b"1"]


@pytest.mark.parametrize("parameters", [{}, {"work_mem": "2MB"}], ids=["plain", "startup"])
@pytest.mark.parametrize("table", ["copied", "nothing_there"])
def test_copy_behind_discard_all_in_one_write(connect: Connect, parameters: dict[str, str], table: str) -> None:
    """Its data, and the end of that, are not taken for the end of the wait behind DISCARD ALL."""
    with connect(**parameters) as a, connect() as b:
        b.query("create table if not exists copied (i int)")
        texts = ("discard all", "set work_mem = '5MB'", f"copy {table} from stdin")
        batch = b"".join(bound(text, "") + wire.execute() for text in texts)
        reply = a.exchange(batch + wire.copy_data(b"1\n") + wire.copy_done() + wire.sync())
        assert wire.errors(reply) == ([] if table == "copied" else ["42P01"])
        assert a.ask("show work_mem") == ("5MB" if table == "copied" else parameters.get("work_mem", "4MB"))
        assert answer(b.query("select 1")) == [b"1"]


# --- a Query in the middle of a batch ---

UNSYNCED = {
    "a Query": wire.query("select 'right'"),
    "a FunctionCall": wire.function_call(2026, []),  # pg_backend_pid
}


@pytest.mark.parametrize("how", UNSYNCED)
@pytest.mark.parametrize("sql", ["select 1", "set work_mem = '7MB'", "do $$ begin end $$"])
def test_request_without_sync_before_it_is_nobody_elses_error(pooler: stack.Pooler, sql: str, how: str) -> None:
    """PostgreSQL 18 fails the next statement on that connection: no other client meets that, nor is a session lost."""
    with pooler.connect("one") as a, pooler.connect("one") as b, pooler.connect("one", lock_timeout="9s") as c:
        for _ in range(3):
            batch = wire.parse("", sql) + wire.bind("", "") + wire.execute() + UNSYNCED[how] + wire.sync()
            assert wire.errors(a.exchange(batch, ready=2)) == []
            assert b.ask("select 'another'") == "another"
            assert wire.errors(a.exchange(batch, ready=2)) == []
            assert c.ask("show lock_timeout") == "9s"
        a.query("")  # takes PostgreSQL's own error, if there is one
        assert a.ask("select 'alive'") == "alive"


def test_nobody_meets_a_request_without_sync_where_nothing_is_kept(start_pooler: Callable[..., stack.Pooler]) -> None:
    """So it is with session_state = pgbouncer, where nothing goes ahead of what clients say; and the server serves on."""
    pooler = start_pooler(databases={"one": "pool_size=1 session_state=pgbouncer"})
    with pooler.connect("one") as a, pooler.connect("one") as b:
        server = b.ask("select pg_backend_pid()")
        batch = wire.parse("", "select 1") + wire.bind("", "") + wire.execute() + wire.query("select 2") + wire.sync()
        assert wire.errors(a.exchange(batch, ready=2)) == []
        assert b.ask("select pg_backend_pid()") == server
