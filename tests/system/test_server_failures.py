"""Servers that are terminated, restarted or away while clients work and wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from pgpool_py.testing import PostgresServer
from tests.system import stack, wire
from tests.system.conftest import HBA, ROLES
from tests.system.middle import Middle
from tests.system.rawclient import Address, RawClient, ServerError

# An answer, and right behind it the end.
TERMINATED = wire.raw(b"C", b"SELECT 0\0") + wire.raw(b"Z", b"I") + wire.raw(b"E", b"SFATAL\0VFATAL\0C57P01\0Mby order\0\0")


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test alone, to be restarted."""
    with PostgresServer(hba=HBA) as running:
        with RawClient(Address(running.host, running.port), "postgres", stack.ADMIN) as admin:
            for sql in ROLES:
                admin.query(sql)
        yield running


def terminate(admin: RawClient, condition: str) -> None:
    where = f"datname = '{stack.DATABASE}' and {condition}"
    admin.query(f"select pg_terminate_backend(pid) from pg_stat_activity where {where}")


def test_terminated_while_query_runs(pooler: stack.Pooler, admin: RawClient) -> None:
    """The client whose server is terminated is told so; the next client gets a new server."""
    client = pooler.connect("one")
    client.send(wire.query("select pg_sleep(26)"))
    stack.wait_backend(admin, "query = 'select pg_sleep(26)' and state = 'active'")
    terminate(admin, "query = 'select pg_sleep(26)'")
    assert wire.errors(client.messages())[:1] in (["57P01"], ["08P01"], ["08006"])
    client.vanish()
    with pooler.connect("one") as other:
        assert other.ask("select 'new'") == "new"


def test_terminated_while_idle_is_unseen(pooler: stack.Pooler, admin: RawClient) -> None:
    """An idle server that is terminated is replaced; the logged-in client does not notice."""
    with pooler.connect("one") as client:
        for number in range(5):
            assert client.ask(f"select {number}") == str(number)
            pid = client.ask("select pg_backend_pid()")
            terminate(admin, f"pid = {pid}")
            stack.wait_no_backend(admin, f"pid = {pid}")
        assert client.ask("select 'still here'") == "still here"


def test_terminated_before_it_was_ready(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """A server that is lost after its login is no failed login, after which nobody tries for a while: there is another."""
    slow = "pool_size=1 connect_query='select pg_sleep(0.7)'"
    with start_pooler({"server_login_retry": 100}, databases={"slow": slow}).connect("slow") as client:
        pid = client.ask("select pg_backend_pid()")
        terminate(admin, f"pid = {pid}")
        stack.wait_no_backend(admin, f"pid = {pid}")
        client.send(wire.query("select 'served'"))
        stack.wait_backend(admin, "query = 'select pg_sleep(0.7)' and state = 'active'")
        terminate(admin, "query = 'select pg_sleep(0.7)'")
        assert wire.values(client.until("Z")) == [b"served"]


@pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="what the executable under test asks is not known")
@pytest.mark.parametrize("question", [b"WHERE s.context OPERATOR", b"select 4711"], ids=["its settings", "connect_query"])
def test_terminated_right_behind_an_answer_at_its_login(
    start_pooler: Callable[..., stack.Pooler], middle: Middle, question: bytes
) -> None:
    """The FATAL is read together with the answer to what a new server is asked: a server lost after its login, too."""
    middle.answers[question] = TERMINATED
    databases = {"asked": "pool_size=1 connect_query='select 4711'"}
    pooler = start_pooler({"server_login_retry": 100}, databases, target=middle.address)
    with pooler.connect("asked") as client:
        assert client.ask("select 'served'") == "served"
    assert not middle.answers, "it was terminated"


@pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the executable under test does not listen for its clients")
def test_terminated_before_it_listens(start_pooler: Callable[..., stack.Pooler], middle: Middle) -> None:
    """A connection to listen with that is lost after its login is opened once more; nobody is told."""
    middle.answers[b"idle_session_timeout', 'statement_timeout"] = TERMINATED
    pooler = start_pooler({"server_login_retry": 100}, target=middle.address)
    with pooler.connect("one") as client:
        assert wire.errors(client.query("listen news")) == []
    assert not middle.answers, "it was terminated"


def test_terminated_in_transaction_ends_session(pooler: stack.Pooler, admin: RawClient) -> None:
    """A client whose transaction is lost must learn of it: its session ends, nothing is silently repeated."""
    client = pooler.connect("one")
    client.query("begin")
    pid = client.ask("select pg_backend_pid()")
    terminate(admin, f"pid = {pid}")
    stack.wait_no_backend(admin, f"pid = {pid}")
    try:
        client.send(wire.query("select 'lost'"))
    except OSError:
        pass
    assert wire.kinds(client.messages()) in ("E", "")
    client.vanish()
    with pooler.connect("one") as other:
        assert other.ask("select 'next'") == "next"


ENDS = wire.raw(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")
LAST = "/* and then the server ends */"


def done(tag: str) -> bytes:
    """The answer to a command, and right behind it that the server ends."""
    return wire.raw(b"C", wire.text(tag)) + wire.raw(b"Z", b"I") + ENDS


@pytest.fixture
def behind(middle: Middle) -> Iterator[stack.Pooler]:
    """A pooler whose servers are reached that way."""
    with stack.Pooler(middle.address, {}, {"one": "pool_size=1", "own": "pool_mode=session pool_size=1"}) as pooler:
        yield pooler
        pooler.end_now()


OWN = pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the executable under test passes FATAL on, and goes on")


@OWN
def test_ended_right_behind_an_answer_is_unseen(behind: stack.Pooler, middle: Middle) -> None:
    """Nothing of its client is on it, and nobody else gets it: as if it had been idle already."""
    with behind.connect("one") as client, behind.connect("one") as other:
        client.query("begin")
        other.send(wire.query("select 'waited'"))
        stack.wait_taken(other)
        middle.answers[LAST.encode()] = done("COMMIT")
        assert wire.kinds(client.query(f"commit {LAST}")) == "CZ"
        assert wire.values(other.until("Z")) == [b"waited"]
        assert client.ask("select 'still here'") == "still here"
    assert "server conn crashed?" in behind.log


@OWN
@pytest.mark.parametrize(
    ("database", "before", "last", "tag"),
    [
        ("one", "create temp table mine (i int)", "select 1", "SELECT 1"),
        ("one", "select 1", "set work_mem = '7MB'", "SET"),
        ("one", "listen news", "select 1", "SELECT 1"),
        ("own", "select 1", "select 1", "SELECT 1"),
    ],
    ids=["a pin", "a look due", "a listener", "session mode"],
)
def test_ended_right_behind_an_answer_is_told_once(
    behind: stack.Pooler, middle: Middle, database: str, before: str, last: str, tag: str
) -> None:
    """Who may have lost something gets the answer, the server's own words, and the end of the connection."""
    client = behind.connect(database)
    assert wire.errors(client.query(before)) == []
    middle.answers[LAST.encode()] = done(tag)
    client.send(wire.query(f"{last} {LAST}"))
    messages = list(client.messages())
    assert (wire.kinds(messages), wire.errors(messages)) == ("CZE", ["57P01"])
    client.vanish()
    with behind.connect(database) as other:
        assert other.ask("select 'next'") == "next"


@pytest.mark.parametrize("how", ["lost", "timeout"])
def test_half_a_row_is_not_completed(start_pooler: Callable[..., stack.Pooler], server: PostgresServer, how: str) -> None:
    """The pooler's own words would be the rest of it, and the client would take a wrong value for its row."""
    half = wire.raw(b"T", b"\0\0") + wire.raw(b"D", b"\0\x01\0\0\0\x05hello")[:-3]
    with ExitStack() as connections:
        middle = connections.enter_context(Middle(Address(server.host, server.port)))
        pooler = start_pooler({} if how == "lost" else {"query_timeout": 1}, target=middle.address)
        client = pooler.connect("one")
        client.ask("select 1")
        middle.answers[b"halfway"] = half
        client.send(wire.query("copy (select 'halfway') to stdout"))
        told = b""
        while len(told) < len(half):
            told += client.sock.recv(1000)
        if how == "lost":
            connections.close()
        while more := client.sock.recv(1000):
            told += more
        assert told == half
        client.vanish()


def test_an_error_that_ends_like_a_fatal_one_ends_nothing(pooler: stack.Pooler) -> None:
    """What counts is the field, not the message's last word."""
    with pooler.connect("one") as client:
        pid = client.ask("select pg_backend_pid()")
        assert wire.errors(client.query("do $$ begin raise 'STATUSFATAL'; end $$")) == ["P0001"]
        assert client.ask("select pg_backend_pid()") == pid


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test asks nothing of its own in a session")
@pytest.mark.parametrize("question", ["the look", "the look of a listener", "the difference"])
def test_terminated_while_it_answers_the_pooler(
    pooler: stack.Pooler, direct: Callable[..., RawClient], admin: RawClient, question: str
) -> None:
    """Whoever asked, the session is over, and its client is told so in the server's words."""
    with direct(stack.ADMIN) as locker, pooler.connect("one") as other:
        client = pooler.connect("one")
        stack.wait_no_backend(admin, "wait_event = 'relation'")  # from now on this needs no lock itself: the catalogs are cached
        if question.startswith("the look"):
            client.query("listen news" if question == "the look of a listener" else "select 1")
            client.query("create temp table looked_for (n int)")
            client.query("select 1")  # it was looked for
            locker.query("begin; lock table pg_depend in access exclusive mode")
            client.send(wire.query("do $$ begin perform 1; end $$"))
        else:
            client.query("set default_tablespace = 'pg_default'")
            other.query("select 1")
            locker.query("begin; lock table pg_tablespace in access exclusive mode")
            client.send(wire.query("select 'never'"))
        stack.wait_backend(admin, "wait_event = 'relation'")
        terminate(admin, "wait_event = 'relation'")
        locker.query("rollback")
        told = list(client.messages())
        assert (wire.kinds(told), wire.errors(told)) == ("E" if question == "the difference" else "CZE", ["57P01"])
        client.vanish()
        assert other.ask("select 'next'") == "next"


def test_terminated_while_others_wait(pooler: stack.Pooler, admin: RawClient) -> None:
    """Those who wait for the terminated server are served by its successor, each with its own answer."""
    holder = pooler.connect("one")
    holder.query("begin")
    pid = holder.ask("select pg_backend_pid()")
    waiting = [pooler.connect("one") for _ in range(10)]
    for number, client in enumerate(waiting):
        client.send(wire.query(f"select 'w{number}'"))
        stack.wait_taken(client)
    terminate(admin, f"pid = {pid}")
    for number, client in enumerate(waiting):
        assert wire.values(client.until("Z")) == [f"w{number}".encode()]
        client.leave()
    holder.vanish()


def test_restart_while_clients_wait(own_server: PostgresServer, start_pooler: Callable[..., stack.Pooler]) -> None:
    """PostgreSQL restarts while queries wait: clients get their answers or an error, none a wrong one."""
    pooler = start_pooler({"server_login_retry": 0.2}, target=Address(own_server.host, own_server.port))
    holder = pooler.connect("one")
    holder.query("begin")
    waiting = [pooler.connect("one") for _ in range(5)]
    for number, client in enumerate(waiting):
        client.send(wire.query(f"select 'w{number}'"))
        stack.wait_taken(client)
    own_server.restart()
    for number, client in enumerate(waiting):
        reply = client.rest()
        assert reply, "a client is not dropped without a word"
        assert wire.errors(reply) or wire.values(reply) == [f"w{number}".encode()]
        client.vanish()
    holder.vanish()

    def served() -> bool:
        try:
            with pooler.connect("one") as client:
                return client.ask("select 'back'") == "back"
        except (OSError, EOFError, ServerError):
            return False

    stack.wait_until(served, "the pooler serves again after the restart", 15)


def test_idle_clients_survive_restart(own_server: PostgresServer, start_pooler: Callable[..., stack.Pooler]) -> None:
    """Clients that were idle during a restart of PostgreSQL go on with a new server."""
    pooler = start_pooler({"server_login_retry": 0.2}, target=Address(own_server.host, own_server.port))
    clients = [pooler.connect() for _ in range(10)]
    for client in clients:
        client.ask("select 1")
    own_server.restart()
    for number, client in enumerate(clients):
        assert client.ask(f"select 'c{number}'") == f"c{number}"
        client.leave()


def test_server_away_is_told(start_pooler: Callable[..., stack.Pooler]) -> None:
    """With nobody on the server's port a client gets an error within seconds, not silence."""
    pooler = start_pooler({"server_connect_timeout": 1}, {"away": "pool_size=1"}, target=Address("127.0.0.1", 1))
    client = pooler.raw("away")
    client.send(wire.startup(client.startup), wire.query("select 1"))
    assert wire.errors(client.messages()) in (["08P01"], ["08006"], ["08001"])
    client.vanish()


def test_unknown_server_database_is_told(start_pooler: Callable[..., stack.Pooler], server: PostgresServer) -> None:
    """PostgreSQL's own refusal of the pooler's login reaches the client with PostgreSQL's code and words."""
    pooler = start_pooler()
    pooler.databases["wrong"] = f"host={server.host} port={server.port} dbname=no_such_database"
    pooler.reload()
    pooler.wait_for_log("SIGHUP")
    client = pooler.raw("wrong")
    client.send(wire.startup(client.startup), wire.query("select 1"))
    error = client.refused()
    assert error.sqlstate == "3D000" or stack.IS_PEER
    assert error.fields["M"] == 'database "no_such_database" does not exist'
    client.vanish()
    if stack.IS_PEER:
        return
    pooler.wait_for_log(r'wrong/.* closing because: login failed: database "no_such_database" does not exist \(age=0s\)')
    pooler.wait_for_log('wrong/.* pooler error: database "no_such_database" does not exist')
    late = pooler.raw("wrong")
    late.send(wire.startup(late.startup))
    said = late.refused().fields["M"]
    cached = 'server login has been failing, cached error: database "no_such_database" does not exist (server_login_retry)'
    assert said == cached
    late.vanish()


def test_work_goes_on_while_servers_die(pooler: stack.Pooler, admin: RawClient) -> None:
    """Servers are terminated under twenty working clients: answers are right or an error, never wrong."""
    wrong: list[object] = []
    good = [0] * 20
    stop = threading.Event()

    def work(slot: int) -> None:
        client: RawClient | None = None
        number = 0
        while not stop.is_set():
            try:
                client = client or pooler.connect("two")
                number += 1
                marker = f"{slot}-{number}"
                reply = client.query(f"select '{marker}'")
                if wire.values(reply) not in ([marker.encode()], []):
                    wrong.append((marker, reply))
                good[slot] += len(wire.values(reply))
            except (OSError, EOFError, ServerError):
                if client is not None:
                    client.vanish()
                client = None
        if client is not None:
            client.leave()

    def grown(before: int) -> bool:
        return sum(good) >= before + 20

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(20)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            before = sum(good)
            terminate(admin, f"usename = '{stack.OWNER}'")
            stack.wait_until(partial(grown, before), "work goes on after the servers died", 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert wrong == []
