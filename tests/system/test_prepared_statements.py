"""Protocol-level prepared statements in transaction mode: names belong to clients, servers are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(
    stack.IS_PEER and not stack.NONE,
    reason="the executable under test has no protocol-level prepared statements",
)


@pytest.fixture
def client(pooler: stack.Pooler) -> Iterator[RawClient]:
    with pooler.connect("one") as client:
        yield client


def test_statement_outlives_its_transaction(client: RawClient) -> None:
    """Parse once, Bind in later transactions."""
    assert wire.kinds(client.exchange(wire.parse("s", "select $1::int + 1", []), wire.sync())) == "1Z"
    for number in range(5):
        assert wire.values(client.exchange(wire.run_parsed("s", b"%d" % number))) == [b"%d" % (number + 1)]


def test_statement_follows_client_to_every_server(pooler: stack.Pooler) -> None:
    """A name works on whichever server the client gets."""
    with pooler.connect("two") as client, pooler.connect("two") as other:
        client.exchange(wire.parse("s", "select 'mine', pg_backend_pid()::text"), wire.sync())
        pids = set()
        for number in range(6):
            # Hold one server, so that the client has to take the other in turn.
            other.query("begin")
            reply = client.exchange(wire.run_parsed("s"))
            row = next(message for message in reply if message.kind == "D").columns
            assert row[0] == b"mine"
            pids.add(row[1])
            client.query("begin")
            other.query("rollback")
            if number % 2:
                assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"mine"]
            client.query("rollback")
        assert len(pids) <= 2


def test_same_name_different_texts(pooler: stack.Pooler) -> None:
    """Ten clients use one name for ten texts on one server; each gets its own."""
    clients = [pooler.connect("one") for _ in range(10)]
    for number, client in enumerate(clients):
        client.exchange(wire.parse("s", f"select 'text {number}', $1::int"), wire.sync())
    for _ in range(3):
        for number, client in enumerate(clients):
            assert wire.values(client.exchange(wire.run_parsed("s", b"1"))) == [f"text {number}".encode()]
    for client in clients:
        client.leave()


def test_same_text_different_types(pooler: stack.Pooler) -> None:
    """The parameter types are part of what a statement is."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        first.exchange(wire.parse("s", "select pg_typeof($1)", [wire.INT4]), wire.sync())
        second.exchange(wire.parse("s", "select pg_typeof($1)", [wire.TEXT]), wire.sync())
        assert wire.values(first.exchange(wire.run_parsed("s", b"1"))) == [b"integer"]
        assert wire.values(second.exchange(wire.run_parsed("s", b"1"))) == [b"text"]


def test_same_text_under_different_settings(client: RawClient) -> None:
    """Of two statements with the same text each keeps what it meant when it was parsed, whatever is in force later."""
    text = "select '2020-06-01 00:00'::timestamptz at time zone 'UTC'"
    meant = {"UTC": b"2020-06-01 00:00:00", "Asia/Tokyo": b"2020-05-31 15:00:00"}
    for zone in meant:
        client.query(f"set timezone = '{zone}'")
        client.exchange(wire.parse(zone, text), wire.sync())
    client.query("set timezone = 'America/New_York'")
    for zone in (*reversed(meant), *meant):
        assert wire.values(client.exchange(wire.run_parsed(zone))) == [meant[zone]]


def test_parsed_with_other_types_in_one_batch(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """The statement that was closed is told of after the one of its name and text was parsed, and is none of its."""
    number, text = 23, 25
    with direct() as owner, pooler.connect("one") as client, pooler.connect("one") as other:
        owner.query("drop table if exists unrelated; create table unrelated (n int)")
        sql = "select pg_typeof($1)::text"
        other.exchange(wire.parse("known", sql, [number]), wire.describe_statement("known"), wire.sync())
        client.exchange(wire.parse("s", sql, [text]), wire.close_statement("s"), wire.parse("s", sql, [number]), wire.sync())
        other.query("create index on unrelated (n)")
        assert wire.values(client.exchange(wire.run_parsed("s", b"5"))) == [b"integer"]


def test_duplicate_name_is_refused(client: RawClient) -> None:
    """A name that is in use is 42P05; the statement and the session live."""
    client.exchange(wire.parse("s", "select 'first'"), wire.sync())
    assert wire.errors(client.exchange(wire.parse("s", "select 'second'"), wire.sync())) == ["42P05"]
    assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"first"]


def test_duplicate_with_same_text_too(client: RawClient) -> None:
    """The same name with the same text is refused all the same, as PostgreSQL does."""
    client.exchange(wire.parse("s", "select 'same'"), wire.sync())
    reply = client.exchange(wire.parse("s", "select 'same'"), wire.sync())
    assert wire.errors(reply) == ["42P05"]
    assert '"s"' in reply[0].fields["M"]


@pytest.mark.parametrize("request_", [wire.bind("", "nobody"), wire.describe_statement("nobody")])
def test_unknown_name_is_26000(client: RawClient, request_: bytes) -> None:
    """Bind and Describe of a name never prepared: PostgreSQL's own code, with the client's name."""
    reply = client.exchange(request_, wire.execute(), wire.sync())
    assert wire.errors(reply) == ["26000"]
    assert '"nobody"' in reply[0].fields["M"]
    assert client.ask("select 'alive'") == "alive"


def test_close_then_bind_is_26000(client: RawClient) -> None:
    """A closed name is gone, and free for another text."""
    client.exchange(wire.parse("s", "select 'old'"), wire.sync())
    assert wire.kinds(client.exchange(wire.close_statement("s"), wire.sync())) == "3Z"
    assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]
    client.exchange(wire.parse("s", "select 'new'"), wire.sync())
    assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"new"]


def test_close_of_unknown_is_fine(client: RawClient) -> None:
    """Close of a name that does not exist is CloseComplete, not an error."""
    assert wire.kinds(client.exchange(wire.close_statement("nobody"), wire.close_portal("none"), wire.sync())) == "33Z"


def test_close_frees_only_own_name(pooler: stack.Pooler) -> None:
    """One client's Close leaves the other's statement of the same text alone."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        for client in (first, second):
            client.exchange(wire.parse("s", "select 'shared'"), wire.sync())
        first.exchange(wire.close_statement("s"), wire.sync())
        assert wire.values(second.exchange(wire.run_parsed("s"))) == [b"shared"]
        assert wire.errors(first.exchange(wire.run_parsed("s"))) == ["26000"]


def test_others_names_are_unknown(pooler: stack.Pooler) -> None:
    """A name prepared by one client does not exist for another."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        first.exchange(wire.parse("s", "select 1"), wire.sync())
        assert wire.errors(second.exchange(wire.run_parsed("s"))) == ["26000"]


@pytest.fixture(scope="module", params=[1, 2])
def tiny(request: pytest.FixtureRequest, start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    """A pooler that keeps one or two statements on a server."""
    return start_pooler({"max_prepared_statements": request.param})


def test_more_statements_than_lru(tiny: stack.Pooler) -> None:
    """Ten statements in turn through an LRU of one or two: all work, again and again."""
    with tiny.connect("one") as client:
        for number in range(10):
            client.exchange(wire.parse(f"s{number}", f"select 'st {number}'"), wire.sync())
        for number in [*range(10), *range(10), 9, 9, 8, 8, 0]:
            assert wire.values(client.exchange(wire.run_parsed(f"s{number}"))) == [f"st {number}".encode()]


def test_batch_uses_more_than_lru(tiny: stack.Pooler) -> None:
    """One batch that needs five statements at an LRU of one or two gets replies in order."""
    with tiny.connect("one") as client:
        for number in range(5):
            client.exchange(wire.parse(f"s{number}", f"select 'st {number}'"), wire.sync())
        batch = b"".join(wire.bind("", f"s{number}") + wire.execute() for number in [0, 1, 2, 3, 4, 0, 0, 4])
        reply = client.exchange(batch, wire.sync())
        assert wire.kinds(reply) == "2DC" * 8 + "Z"
        assert wire.values(reply) == [f"st {number}".encode() for number in [0, 1, 2, 3, 4, 0, 0, 4]]


def test_batched_close_and_parse_in_order(tiny: stack.Pooler) -> None:
    """Close and Parse in one batch: their replies stay in the order of the requests."""
    with tiny.connect("one") as client:
        batch = b""
        for number in range(6):
            batch += wire.parse("s", f"select 'v{number}'") + wire.bind("", "s") + wire.execute()
            batch += wire.close_statement("s")
        reply = client.exchange(batch, wire.sync())
        assert wire.kinds(reply) == "12DC3" * 6 + "Z"
        assert wire.values(reply) == [f"v{number}".encode() for number in range(6)]
        assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]


def test_batch_error_in_middle_with_lru(tiny: stack.Pooler) -> None:
    """An error in the middle of a batch: what was parsed before it exists, what came after does not."""
    with tiny.connect("one") as client:
        reply = client.exchange(
            wire.parse("a", "select 'a'"),
            wire.parse("b", "select 'b'"),
            wire.close_statement("a"),
            wire.parse("bad", "selec"),
            wire.parse("c", "select 'c'"),
            wire.close_statement("b"),
            wire.sync(),
        )
        assert wire.kinds(reply) == "113EZ" and wire.errors(reply) == ["42601"]
        assert wire.errors(client.exchange(wire.run_parsed("a"))) == ["26000"]
        assert wire.values(client.exchange(wire.run_parsed("b"))) == [b"b"]
        assert wire.errors(client.exchange(wire.run_parsed("c"))) == ["26000"]


def test_failed_parse_is_not_kept(client: RawClient) -> None:
    """Parse with a syntax error, then Bind: 26000, and the name is free."""
    assert wire.errors(client.exchange(wire.parse("s", "selec 1"), wire.sync())) == ["42601"]
    assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]
    assert wire.kinds(client.exchange(wire.parse("s", "select 1"), wire.sync())) == "1Z"


def test_failed_parse_again_with_same_text(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """A text that failed once is tried anew when the missing table exists."""
    with direct() as owner, pooler.connect("one") as client:
        owner.query("drop table if exists later")
        assert wire.errors(client.exchange(wire.parse("s", "select * from later"), wire.sync())) == ["42P01"]
        owner.query("create table later as select 'now' as x")
        assert wire.kinds(client.exchange(wire.parse("s", "select * from later"), wire.sync())) == "1Z"
        assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"now"]


def test_parse_in_aborted_block_is_25p02(pooler: stack.Pooler) -> None:
    """In a failed transaction Parse is refused, also of a text the server knows already."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        other.exchange(wire.parse("known", "select 'known'"), wire.sync())
        client.query("begin")
        client.query("select 1/0")
        assert wire.errors(client.exchange(wire.parse("s", "select 'known'"), wire.sync())) == ["25P02"]
        client.query("rollback")
        assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]
        assert wire.kinds(client.exchange(wire.parse("s", "select 'known'"), wire.sync())) == "1Z"


def test_parse_behind_the_rollback_leaves_nothing_to_others(pooler: stack.Pooler, admin: RawClient) -> None:
    """In the same batch, of a text that the server has: it has it once, under no name that anybody forgets."""
    count = "select count(*) from pg_prepared_statements where statement like '%behind_rollback'"
    with pooler.connect("one") as client, pooler.connect("one") as other:
        for name in ("s1", "s2"):
            client.exchange(wire.parse(name, "select 1 as behind_rollback"), wire.sync())
        for _ in range(3):
            client.query("begin; select 1/0")
            batch = wire.run("rollback")[: -len(wire.sync())] + wire.close_statement("s2")
            batch += wire.parse("s2", "select 1 as behind_rollback") + wire.run_parsed("s2")
            assert wire.errors(client.exchange(batch)) == []
        assert other.ask(count) == "0"


def test_bind_in_aborted_block_is_25p02(client: RawClient) -> None:
    """Bind of a good name in a failed transaction: PostgreSQL's 25P02, and later it works."""
    client.exchange(wire.parse("s", "select 'good'"), wire.sync())
    client.query("begin")
    client.query("select 1/0")
    assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["25P02"]
    client.query("rollback")
    assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"good"]


def test_statement_survives_rollback(client: RawClient) -> None:
    """Statements are not transactional: a Parse inside a rolled-back block stays."""
    client.query("begin")
    client.exchange(wire.parse("s", "select 'stays'"), wire.sync())
    client.query("rollback")
    assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"stays"]


def test_unnamed_statement_outlives_sync(pooler: stack.Pooler) -> None:
    """The unnamed statement works in a later transaction, though another client came between."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.exchange(wire.parse("", "select 'unnamed', $1::int"), wire.sync())
        assert wire.values(client.exchange(wire.run_parsed("", b"1"))) == [b"unnamed"]
        other.exchange(wire.run("select 'other'"))
        assert wire.values(client.exchange(wire.run_parsed("", b"1"))) == [b"unnamed"]
        assert wire.values(other.exchange(wire.run_parsed(""))) == [b"other"]


def test_unnamed_statement_ends_with_query(client: RawClient) -> None:
    """A simple Query destroys the unnamed statement: Bind afterwards is 26000."""
    client.exchange(wire.parse("", "select 'unnamed'"), wire.sync())
    client.ask("select 'simple'")
    assert wire.errors(client.exchange(wire.run_parsed(""))) == ["26000"]


def test_unnamed_statement_of_others_is_unknown(pooler: stack.Pooler) -> None:
    """A client that never parsed has no unnamed statement, whatever is on the server."""
    with pooler.connect("one") as first, pooler.connect("one") as second:
        first.exchange(wire.run("select 'secret'"))
        assert wire.errors(second.exchange(wire.run_parsed(""))) == ["26000"]


def test_close_of_unnamed_statement(client: RawClient) -> None:
    """Close of the unnamed statement destroys it."""
    client.exchange(wire.parse("", "select 1"), wire.sync())
    assert wire.kinds(client.exchange(wire.close_statement(""), wire.sync())) == "3Z"
    assert wire.errors(client.exchange(wire.run_parsed(""))) == ["26000"]


@pytest.mark.parametrize("sql", ["deallocate all", "DEALLOCATE ALL;", "  deallocate /* x */ all", "discard all"])
def test_deallocate_all_forgets_names(pooler: stack.Pooler, sql: str) -> None:
    """DEALLOCATE ALL drops this client's statements and nobody else's."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        other.exchange(wire.parse("o", "select 'other'"), wire.sync())
        client.exchange(wire.parse("s", "select 'mine'"), wire.sync())
        assert wire.errors(client.query(sql)) == []
        assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]
        assert wire.values(other.exchange(wire.run_parsed("o"))) == [b"other"]
        assert wire.kinds(client.exchange(wire.parse("s", "select 'again'"), wire.sync())) == "1Z"
        assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"again"]


def test_deallocate_of_protocol_name(client: RawClient) -> None:
    """DEALLOCATE NAME drops a protocol-level statement (libpq before 17 sends it)."""
    client.exchange(wire.parse("s", "select 'mine'"), wire.sync())
    reply = client.query("deallocate s")
    assert wire.errors(reply) == [] and reply[0].tag == "DEALLOCATE"
    assert wire.errors(client.exchange(wire.run_parsed("s"))) == ["26000"]
    assert wire.errors(client.query("deallocate s")) == ["26000"]


def test_describe_tells_types_and_columns(client: RawClient) -> None:
    """Describe of a statement in a later transaction is what PostgreSQL says."""
    client.exchange(wire.parse("s", "select $1::int8 as wide, $2::text as words"), wire.sync())
    reply = client.exchange(wire.describe_statement("s"), wire.sync())
    assert wire.kinds(reply) == "tTZ"
    assert b"wide" in reply[1].body and b"words" in reply[1].body


def test_new_server_learns_statement(pooler: stack.Pooler, admin: RawClient) -> None:
    """After its server was terminated a client's statement works on the new one."""
    with pooler.connect("one") as client:
        client.exchange(wire.parse("s", "select 'kept'"), wire.sync())
        pid = client.ask("select pg_backend_pid()")
        admin.query(f"select pg_terminate_backend({pid})")
        stack.wait_no_backend(admin, f"pid = {pid}")
        assert wire.values(client.exchange(wire.run_parsed("s"))) == [b"kept"]


def test_pipelined_batches_with_same_name(client: RawClient) -> None:
    """Parse, use and Close of one name in pipelined batches keep their order."""
    batches = b"".join(
        wire.parse("s", f"select 'r{number}'") + wire.bind("", "s") + wire.execute() + wire.close_statement("s") + wire.sync()
        for number in range(20)
    )
    reply = client.exchange(batches, ready=20)
    assert wire.values(reply) == [f"r{number}".encode() for number in range(20)]


def test_long_statement_text(client: RawClient) -> None:
    """A text of a megabyte can be prepared and used."""
    text = f"select length('{'x' * 1_000_000}'), $1::int"
    client.exchange(wire.parse("s", text), wire.sync())
    for _ in range(2):
        assert wire.values(client.exchange(wire.run_parsed("s", b"1"))) == [b"1000000"]


@pytest.mark.parametrize("name", ["s" * 200, 'quo"te', "pgpool", "__asyncpg_stmt_1__", "s p a c e", "ä"])
def test_odd_names_work(client: RawClient, name: str) -> None:
    """Any name a client may choose works, and appears in errors as it was given."""
    client.exchange(wire.parse(name, "select 'odd'"), wire.sync())
    assert wire.values(client.exchange(wire.run_parsed(name))) == [b"odd"]
    reply = client.exchange(wire.parse(name, "select 1"), wire.sync())
    assert wire.errors(reply) == ["42P05"] and name in reply[0].fields["M"]


def test_psycopg_prepares_everything(pooler: stack.Pooler) -> None:
    """psycopg with prepare_threshold=1: two connections share one server and keep their statements apart."""
    with (
        psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=1) as first,
        psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=1) as second,
    ):
        for number in range(10):
            assert first.execute("select %s::int", [number]).fetchone() == (number,)
            assert second.execute("select %s::text", [str(number)]).fetchone() == (str(number),)


def test_psycopg_evicts_own_statements(pooler: stack.Pooler) -> None:
    """More texts than psycopg keeps prepared: its Close or DEALLOCATE goes through."""
    with psycopg.connect(pooler.uri("one"), autocommit=True, prepare_threshold=0) as connection:
        connection.prepared_max = 3
        for number in range(20):
            assert connection.execute(f"select {number}, %s::int", [1]).fetchone() == (number, 1)


def test_asyncpg_defaults_work(pooler: stack.Pooler) -> None:
    """asyncpg with its statement cache on: many connections, few servers."""

    async def work(slot: int) -> None:
        connection = await asyncpg.connect(pooler.uri("two"))
        try:
            for number in range(10):
                assert await connection.fetchval("select $1::int", number * slot) == number * slot
            async with connection.transaction():
                assert await connection.fetchval("select $1::text", f"t{slot}") == f"t{slot}"
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("select 1/$1::int", 0)
            assert [r["n"] for r in await connection.fetch("select generate_series(1, $1::int) n", 3)] == [
                1,
                2,
                3,
            ]
        finally:
            await connection.close()

    async def crowd() -> None:
        await asyncio.gather(*(work(slot) for slot in range(15)))

    asyncio.run(crowd())


def test_fetch_has_the_columns_of_its_own_cursor(pooler: stack.Pooler) -> None:
    """asyncpg prepares it as everything else; another client's cursor of that name has other columns."""

    async def run() -> None:
        clients = [await asyncpg.connect(pooler.uri("two")) for _ in range(2)]
        for client, query, expected in (
            (clients[0], "select 7 as n, 'x'::text as t", [{"n": 7, "t": "x"}]),
            (clients[1], "select 'other'::text as only", [{"only": "other"}]),
            (clients[0], "select 7 as n, 'x'::text as t", [{"n": 7, "t": "x"}]),
        ):
            async with client.transaction():
                await client.execute(f"declare c cursor for {query}")
                assert [dict(row) for row in await client.fetch("fetch 10 from c")] == expected
        for client in clients:
            await client.close()

    asyncio.run(run())


def test_unnamed_literals_of_the_time_are_of_ones_own_parse(pooler: stack.Pooler, sender: RawClient) -> None:
    """The same without a name, bound in a batch of its own on a server on which somebody else has parsed that text before."""
    parsed = wire.parse("", "select 'now'::timestamptz::text"), wire.describe_statement(""), wire.sync()
    with pooler.connect("two") as client, pooler.connect("two") as other, pooler.connect("two") as third:
        # By statements with names: a Query would end the server's without one.
        third.exchange(wire.run("begin", name="s1"))
        other.exchange(*parsed)
        earlier = wire.values(other.exchange(wire.run_parsed("")))
        other.exchange(wire.run("begin", name="s1"))
        third.exchange(wire.run("commit", name="s2"))
        sender.query("select pg_sleep(0.01)")
        client.exchange(*parsed)
        third.exchange(wire.run_parsed("s1"))
        other.exchange(wire.run("commit", name="s2"))
        assert wire.values(client.exchange(wire.run_parsed(""))) > earlier
        third.exchange(wire.run_parsed("s2"))


def test_literals_of_the_time_are_of_ones_own_parse(pooler: stack.Pooler) -> None:
    """PostgreSQL fixes 'now' when it parses a statement: not when another client has parsed the same text."""
    read = "select 'now'::timestamptz"

    async def run() -> None:
        times = []
        for _ in range(3):
            client = await asyncpg.connect(pooler.uri("one"))
            times.append((await client.fetchval("select clock_timestamp()"), await client.fetchval(read)))
            await client.close()
        assert all(before <= fixed for before, fixed in times), times

    asyncio.run(run())


def test_asyncpg_pool_resets_cleanly(pooler: stack.Pooler) -> None:
    """asyncpg's own pool, with the reset it sends at each release."""

    async def crowd() -> None:
        async with asyncpg.create_pool(pooler.uri("two"), min_size=1, max_size=8) as pool:

            async def one(number: int) -> int:
                async with pool.acquire() as connection:
                    value: int = await connection.fetchval("select $1::int", number)
                    return value

            assert await asyncio.gather(*(one(number) for number in range(50))) == list(range(50))

    asyncio.run(crowd())


@pytest.mark.parametrize("bound", [1, 2])
def test_servers_keep_few_statements(start_pooler: Callable[..., stack.Pooler], bound: int) -> None:
    """The LRU bound holds on the server, as it reports itself: at this level nobody tidies up before such a question."""
    pooler = start_pooler({"max_prepared_statements": bound, "session_state": "pgbouncer"})
    with pooler.connect("one") as client:
        for number in range(8):
            client.exchange(wire.parse(f"n{number}", f"select 'few {number}'"), wire.sync())
        counted = client.ask("select count(*) from pg_prepared_statements where not from_sql")
        assert 1 <= int(counted or 0) <= bound
