"""currval and lastval: never another client's, and its own for who reads in a later transaction."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from pgpool_py.session.statements import SEQUENCE_TRIAL
from pgpool_py.testing import PostgresServer
from tests.system import stack, wire
from tests.system.middle import Middle
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test shows sequence values of others")

TABLES = ("first", "second")
UNDEFINED = "55000"
POOLS = {
    "kept": "pool_size=1",
    "wide": "pool_size=2",
    "lost": "pool_size=1 session_pin=error",
    "reset": "pool_size=2 session_state=reset",
    "told": "pool_size=1 session_pin=notice",
}


@pytest.fixture(scope="module", autouse=True)
def tables(direct: Callable[..., RawClient]) -> Iterator[None]:
    """Two tables, counted by a serial and by an identity column."""
    with direct() as owner:
        owner.query("create table first (id serial, note text)")
        owner.query("create table second (id int generated always as identity, note text)")
        yield
        owner.query("drop table first, second")


@pytest.fixture(scope="module")
def pooler(start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    """Pools in which values are kept, or lost, in different ways."""
    return start_pooler({"pin_pool_size": 1}, POOLS)


class Owner:
    """A client, and what a connection of its own would answer."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.values: dict[str, str] = {}  # by table; and the last one, under ""

    def insert(self, table: str) -> None:
        value = self.client.ask(f"insert into {table} (note) values ('x') returning id")
        assert value is not None
        self.values[table] = self.values[""] = value

    def read(self, table: str, *, keeps: bool = False) -> None:
        """Right, or PostgreSQL's word that there is no value; never anything else."""
        reply = self.client.query(f"select currval('{table}_id_seq')" if table else "select lastval()")
        errors = wire.errors(reply)
        if keeps or not errors:
            assert wire.values(reply)[:1] == [self.values.get(table, "").encode()]
        else:
            assert errors == [UNDEFINED]


@pytest.mark.parametrize("name", POOLS)
def test_value_is_the_own_one_or_none(pooler: stack.Pooler, name: str) -> None:
    """Four clients in each kind of pool, in transactions and outside: what is read is right, or is said to be undefined."""
    dice = random.Random(name)
    owners = [Owner(pooler.connect(name)) for _ in range(4)]
    for _ in range(60):
        owner = dice.choice(owners)
        within = dice.random() < 0.4
        if within:
            owner.client.query("begin")
        for _ in range(dice.randrange(1, 4)):
            if dice.random() < 0.5:
                owner.insert(dice.choice(TABLES))
            else:
                owner.read(dice.choice(("", *TABLES)))
                if owner.client.query("")[-1].body == b"E":
                    break
        if within:
            owner.client.query(dice.choice(("commit", "rollback")))
    for owner in owners:
        owner.client.leave()


@pytest.mark.parametrize("name", ["kept", "wide"])
def test_reader_finds_its_value_in_a_later_transaction(pooler: stack.Pooler, name: str) -> None:
    """Once its application has read one so; though others use the pool all the while, and after every read again."""
    with pooler.connect(name, application_name="reader") as client, pooler.connect(name) as other:
        client.query("select lastval()")
        owner, rest = Owner(client), Owner(other)
        for _ in range(3):
            owner.insert("first")
            rest.insert("first")
            owner.read("", keeps=True)
            rest.insert("second")
            owner.read("first", keeps=True)
            for step in (b"begin", b"insert into second (note) values ('rolled back')", b"rollback"):
                client.query(step)
            rest.insert("second")
            owner.values["second"] = owner.values[""] = client.ask("select lastval()") or ""
            owner.read("second", keeps=True)


def settle_as_plain(pooler: stack.Pooler, name: str) -> None:
    """Use a pool until it counts as one in which nobody reads sequence values, and has values of everybody."""
    clients = [pooler.connect(name) for _ in range(25)]
    for _ in range(SEQUENCE_TRIAL // len(clients) + 1):
        for client in clients:
            client.send(wire.query("select 1"))
        for client in clients:
            client.until("Z")
    for client in clients:
        client.query("insert into first (note) values ('x'); insert into second (note) values ('x')")
        client.leave()


BATCH_READER = b"".join(
    wire.parse("", sql) + wire.bind("", "") + wire.execute() for sql in ("select 1", "select lastval()")
)
UNREAD = "do $$ begin execute 'select last' || 'val()'; end $$"
FIRST_READS = {
    "alone": [wire.query("select lastval()")],
    "in a block": [wire.query("begin"), wire.query("select 1"), wire.query("select lastval()")],
    "in a batch of a block": [wire.query("begin"), BATCH_READER + wire.sync()],
    "after an error": [wire.query("begin"), wire.query("select 1/0"), wire.query("rollback; select lastval()")],
    "in unread code": [wire.query("begin"), wire.query("select 1"), wire.query(UNREAD)],
    "called by number": [wire.query("begin"), wire.function_call(2559, [])],
}


def test_first_reader_of_a_pool_sees_nobodys_value(server: PostgresServer, start_pooler: Callable[..., stack.Pooler]) -> None:
    """Where nobody has read for long and many have inserted, in the middle of a transaction: undefined, however it is asked."""
    pools = {f"plain{number}": "pool_size=1" for number in range(len(FIRST_READS))}
    pooler = start_pooler({}, pools)
    for name, (how, requests) in zip(pools, FIRST_READS.items(), strict=True):
        settle_as_plain(pooler, name)
        with pooler.connect(name) as reader:
            for request in requests:
                reply = reader.exchange(request)
            expected = "25P02" if how == "after an error" else UNDEFINED
            assert wire.errors(reply) == [expected], how
            reader.query("rollback")
            # From now on its own is right, within a transaction and later.
            with pooler.connect(name) as other:
                owner = Owner(reader)
                reader.query("begin")
                owner.insert("first")
                owner.read("", keeps=True)
                reader.query("commit")
                reader.query("select lastval()")
                owner.insert("second")
                other.query("insert into first (note) values ('x')")
                owner.read("second", keeps=True)


def test_pipelined_first_reader_sees_nobodys_value(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Two requests at once: what the second may read depends on the first."""
    pooler = start_pooler({}, {"plain": "pool_size=1"})
    settle_as_plain(pooler, "plain")
    with pooler.connect("plain") as reader:
        reply = reader.exchange(wire.query("select 1"), wire.query("select lastval()"), ready=2)
        assert wire.errors(reply) == [UNDEFINED]


def test_session_pin_error_loses_the_value(pooler: stack.Pooler) -> None:
    """The insert is not refused; the value is lost as soon as somebody else has the server."""
    with pooler.connect("lost") as client, pooler.connect("lost") as other:
        client.query("select lastval()")
        assert wire.errors(client.query("insert into first (note) values ('x')")) == []
        pid = client.ask("select pg_backend_pid()")
        assert other.ask("select pg_backend_pid()") == pid
        assert wire.errors(client.query("select lastval()")) == [UNDEFINED]


def test_session_pin_notice_tells_of_a_value(pooler: stack.Pooler) -> None:
    """session_pin = notice: the client is told that it keeps its server."""
    with pooler.connect("told") as client:
        client.query("select lastval()")
        client.send(wire.query("insert into first (note) values ('x')"))
        assert b"sequence value" in client.until("N")[-1].body


def test_who_never_reads_keeps_no_server_for_ever(start_pooler: Callable[..., stack.Pooler]) -> None:
    """pin_timeout ends it, and the client hears nothing of that but that the value is gone."""
    pooler = start_pooler({"pin_timeout": 1, "admin_users": stack.ADMIN}, {"one": "pool_size=1"})
    with pooler.connect("one") as client, pooler.connect("pgbouncer", stack.ADMIN) as console:
        client.query("select lastval()")
        client.query("insert into first (note) values ('x')")
        assert wire.values(console.query("show pins"))
        stack.wait_until(lambda: not wire.values(console.query("show pins")), "the server is free")
        with pooler.connect("one") as other:
            other.ask("select 1")
        assert wire.errors(client.query("select lastval()")) == [UNDEFINED]


def test_lost_server_takes_the_value_along(pooler: stack.Pooler, admin: RawClient) -> None:
    """Not its client, which was only holding it: a pooler's clients outlive servers."""
    with pooler.connect("kept", application_name="patient") as client:
        client.query("select lastval()")
        pid = client.ask("select pg_backend_pid()")
        assert client.ask("insert into first (note) values ('x') returning pg_backend_pid()") == pid
        seen = pooler.log.count("server conn crashed?")
        admin.query(f"select pg_terminate_backend({pid})")
        stack.wait_until(lambda: pooler.log.count("server conn crashed?") > seen, "the pooler knows")
        assert wire.errors(client.query("select lastval()")) == [UNDEFINED]


@pytest.mark.parametrize("opening", ["begin; insert into first (note) values ('half')", "begin; select 1/0"])
def test_lost_server_is_told_to_a_client_in_a_transaction(pooler: stack.Pooler, admin: RawClient, opening: str) -> None:
    """It was only holding that server before, but now half of its transaction is gone: what follows must not run elsewhere."""
    with pooler.connect("kept") as client:
        client.query("select lastval()")
        pid = client.ask("insert into first (note) values ('x') returning pg_backend_pid()")
        for text in opening.split("; "):
            client.query(text)
        admin.query(f"select pg_terminate_backend({pid})")
        assert wire.errors(client.messages()) == ["57P01"]


def test_held_values_give_way_to_temporary_tables(pooler: stack.Pooler) -> None:
    """With one pin for both, who cannot do without it has it; the other client goes on."""
    with pooler.connect("kept") as client, pooler.connect("kept") as other:
        client.query("select lastval()")
        client.query("insert into first (note) values ('x')")
        other.ask("select 1")  # now the client's server is pinned
        assert wire.errors(other.query("create temp table scratch (a int)")) == []
        assert client.ask("select 1") == "1"
        assert wire.errors(other.query("insert into scratch values (1)")) == []


@pytest.fixture(scope="module")
def behind(start_pooler: Callable[..., stack.Pooler], middle: Middle) -> stack.Pooler:
    """A pooler whose servers are behind it; who holds one gives it up."""
    return start_pooler({"pin_pool_size": 0}, target=middle.address)


DISCARD = b"DISCARD SEQUENCES"
FAILED = wire.raw(b"E", b"SERROR\0VERROR\0CXX000\0Mnot now\0\0") + wire.raw(b"Z", b"I")
HELD_UP = 4711  # an advisory lock


@pytest.mark.parametrize("sql", ["select pg_sleep(30)", "begin; select pg_sleep(30)", "select lastval(), pg_sleep(30)"])
def test_cancel_is_not_for_the_removal(behind: stack.Pooler, middle: Middle, admin: RawClient, sql: str) -> None:
    """A cancel that comes while others' values are being removed ends what waits for that, and no session."""
    with behind.connect("one") as client, behind.connect("one") as other:
        client.ask("select 1")
        other.ask("insert into first (note) values ('x') returning id")
        admin.query(f"select pg_advisory_lock({HELD_UP})")
        middle.questions[DISCARD] = wire.query(f"select pg_advisory_xact_lock({HELD_UP}); discard sequences")
        client.send(wire.query(sql.replace("lastval()", "nextval('first_id_seq'), lastval()")))
        stack.wait_backend(admin, f"query like '%pg_advisory_xact_lock({HELD_UP})%' and wait_event = 'advisory'")
        with behind.canceling(client):
            admin.query(f"select pg_advisory_unlock({HELD_UP})")
        assert wire.errors(client.until("Z")) == ["57014"]
        client.query("rollback")
        assert client.ask("select 'alive'") == "alive"


def by_parse(sql: str) -> bytes:
    return wire.parse("", sql) + wire.bind("", "") + wire.execute() + wire.sync()


LONG = f"select lastval() /* {'x' * 40_000} */"
READERS = {
    "a Query": wire.query("select lastval()"),
    "a Query that ends a transaction": wire.query("select 1; commit; select lastval()"),
    "unread code": wire.query(UNREAD),
    "a batch": by_parse("select lastval()"),
    "a plain statement and a reader": BATCH_READER + wire.sync(),
    "a FunctionCall": wire.function_call(2559, []),
    "a long Query": wire.query(LONG),
    "a long Parse": by_parse(LONG),
    "plain text, and behind it a reader": wire.query("select 1") + wire.query("select lastval()"),
}


@pytest.mark.parametrize("how", READERS)
def test_removal_that_fails_shows_nobody_elses_value(behind: stack.Pooler, middle: Middle, how: str) -> None:
    """Who may read is not answered by the server on which others' values are still; and keeps its session."""
    with behind.connect("one") as client, behind.connect("one") as other:
        client.query("set application_name = 'unharmed'")
        other.ask("insert into first (note) values ('x') returning id")
        middle.answers[DISCARD] = FAILED
        reply = client.exchange(READERS[how], ready=2 if how.startswith("plain text") else 1)
        assert DISCARD not in middle.answers
        assert wire.errors(reply) == [UNDEFINED]
        assert client.ask("show application_name") == "unharmed"


def test_removal_that_fails_is_nothing_to_others(behind: stack.Pooler, middle: Middle) -> None:
    """Who reads no sequence is answered as ever."""
    with behind.connect("one") as client, behind.connect("one") as other:
        server = client.ask("select pg_backend_pid()")
        for request in (wire.query("select pg_backend_pid()"), by_parse("select pg_backend_pid()")):
            other.ask("insert into first (note) values ('x') returning id")
            middle.answers[DISCARD] = FAILED
            reply = client.exchange(request)
            assert (DISCARD in middle.answers, wire.errors(reply), wire.values(reply)) == (False, [], [str(server).encode()])


def test_removal_that_fails_in_a_block_fails_the_block(start_pooler: Callable[..., stack.Pooler], middle: Middle) -> None:
    """The first reader of a pool in the middle of a transaction: nothing of what it says may run, nor what begins another."""
    behind = start_pooler(target=middle.address, databases={"plain": "pool_size=1"})
    settle_as_plain(behind, "plain")
    with behind.connect("plain") as client:
        client.query("begin")
        middle.questions[DISCARD] = wire.query("select 1/0")
        reply = client.query("commit; select lastval()")
        assert DISCARD not in middle.questions
        assert (wire.errors(reply), reply[-1].body) == (["25P02"], b"E")
        client.query("rollback")
        assert wire.errors(client.query("select lastval()")) == [UNDEFINED]
