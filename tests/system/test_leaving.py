"""How clients go away: what was asked is done, what was open is undone, the server serves the next."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import pytest

from tests.system import stack, wire
from tests.system.rawclient import WAYS_OUT, RawClient

ways_out = pytest.mark.parametrize("way", WAYS_OUT)


@pytest.fixture
def count(direct: Callable[..., RawClient]) -> Callable[[str], str | None]:
    """Look directly, past the pooler, how often a marker was stored."""
    with direct() as owner:
        owner.query("create table if not exists kept (mark text)")
        owner.query("truncate kept")

    def look(mark: str) -> str | None:
        with direct() as owner:
            return owner.ask(f"select count(*) from kept where mark = '{mark}'")

    return look


def next_client_is_served(pooler: stack.Pooler, database: str = "one") -> None:
    with pooler.connect(database) as client:
        assert client.ask("select 'next'") == "next"


def test_query_then_terminate_commits(pooler: stack.Pooler, count: Callable[[str], str | None]) -> None:
    """A Query followed at once by Terminate runs to its end, as on a direct connection."""

    def stored(mark: str) -> bool:
        return count(mark) == "1"

    for number in range(10):
        client = pooler.connect("one")
        client.send(wire.query(f"select pg_sleep(0.01); insert into kept values ('t{number}')"), wire.terminate())
        client.vanish()
        stack.wait_until(partial(stored, f"t{number}"), "the insert is committed")
    next_client_is_served(pooler)


def test_query_then_half_close_commits_and_answers(pooler: stack.Pooler, count: Callable[[str], str | None]) -> None:
    """A half-closed client still gets its reply, and then the end."""
    client = pooler.connect("one")
    client.send(wire.query("insert into kept values ('h') returning pg_sleep(0.05), mark"))
    client.half_close()
    reply = list(client.messages())
    assert wire.kinds(reply) == "TDCZ"
    assert count("h") == "1"
    client.vanish()
    next_client_is_served(pooler)


def test_pipeline_then_terminate_runs_all(pooler: stack.Pooler, count: Callable[[str], str | None]) -> None:
    """Every batch received before Terminate is executed."""
    client = pooler.connect("one")
    client.send(wire.run("insert into kept values ('p')") * 20, wire.terminate())
    # Reading on matters: bytes that meet a closed socket cause RST, and then PostgreSQL itself gives up.
    assert wire.kinds(client.messages()).count("Z") == 20
    assert count("p") == "20"
    client.vanish()
    next_client_is_served(pooler)


def test_request_of_waiting_client_then_half_close(pooler: stack.Pooler, count: Callable[[str], str | None]) -> None:
    """A request received whole before FIN is answered though its client had to wait for a server."""
    with pooler.connect("one") as holder:
        holder.query("begin")
        client = pooler.connect("one")
        client.send(wire.query("insert into kept values ('w')"))
        stack.wait_taken(client)
        client.half_close()
        holder.query("commit")
        assert wire.kinds(client.messages()) == "CZ"
        client.vanish()
    assert count("w") == "1"


@ways_out
def test_open_transaction_is_rolled_back(
    pooler: stack.Pooler, count: Callable[[str], str | None], admin: RawClient, way: str
) -> None:
    """A client that leaves inside a transaction undoes it, and the pool of one serves the next client."""
    client = pooler.connect("one")
    client.query("begin")
    client.query("insert into kept values ('undone')")
    WAYS_OUT[way](client)
    next_client_is_served(pooler)
    stack.wait_no_backend(admin, "state like 'idle in transaction%'")
    assert count("undone") == "0"


@ways_out
def test_failed_transaction_is_left(pooler: stack.Pooler, way: str) -> None:
    """The same with a transaction that has failed."""
    client = pooler.connect("one")
    client.query("begin")
    client.query("select 1/0")
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
def test_client_leaves_while_query_runs(pooler: stack.Pooler, way: str) -> None:
    """A client that leaves during a query of half a second does not take the server with it."""
    client = pooler.connect("one")
    client.send(wire.query("select pg_sleep(0.5)"))
    stack.wait_taken(client)
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
def test_begin_whose_answer_nobody_heard_is_undone(pooler: stack.Pooler, admin: RawClient, way: str) -> None:
    """supavisor #1172: the reply to BEGIN READ ONLY came when its client had gone, and the next one was in that transaction."""
    client = pooler.connect("one")
    text = f"select pg_sleep(0.2); begin read only /* {way} */"
    client.send(wire.query(text))
    stack.wait_backend(admin, f"query = '{text.replace(chr(39), chr(39) * 2)}' and state = 'active'")
    WAYS_OUT[way](client)
    with pooler.connect("one") as stranger:
        assert stranger.ask("show transaction_read_only") == "off"
        reply = stranger.query("create temp table mine (n int) on commit drop")
        assert wire.errors(reply) == [] and reply[-1].body == b"I"


def test_reset_cancels_running_query(pooler: stack.Pooler, admin: RawClient) -> None:
    """A client whose connection is reset has its query cancelled: nobody would read the result."""
    client = pooler.connect("one")
    client.send(wire.query("select pg_sleep(25)"))
    stack.wait_backend(admin, "query = 'select pg_sleep(25)' and state = 'active'")
    client.reset()
    stack.wait_no_backend(admin, "query = 'select pg_sleep(25)' and state = 'active'")
    next_client_is_served(pooler)


@ways_out
def test_client_leaves_while_result_flows(pooler: stack.Pooler, way: str) -> None:
    """A client that leaves in the middle of a large result frees the server."""
    client = pooler.connect("one")
    client.send(wire.query("select repeat('r', 1000) from generate_series(1, 1000000)"))
    client.until("D", 10)
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
def test_client_leaves_while_waiting(pooler: stack.Pooler, way: str) -> None:
    """Clients that leave while they wait are forgotten; those behind them are served."""
    with pooler.connect("one") as holder, pooler.connect("one") as behind:
        holder.query("begin")
        leaving = [pooler.connect("one") for _ in range(5)]
        for client in leaving:
            client.send(wire.query("select 'gone'"))
            stack.wait_taken(client)
        behind.send(wire.query("select 'behind'"))
        stack.wait_taken(behind)
        for client in leaving:
            WAYS_OUT[way](client)
        assert holder.ask("select 'held'") == "held"
        holder.query("commit")
        assert wire.values(behind.until("Z")) == [b"behind"]


@ways_out
def test_client_leaves_in_open_batch(pooler: stack.Pooler, way: str) -> None:
    """A batch without its Sync is given up when its client leaves."""
    client = pooler.connect("one")
    client.send(wire.parse("", "select 1"), wire.bind("", ""), wire.execute(), wire.flush())
    client.until("C")
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
@pytest.mark.parametrize("cut", [1, 4, 5, 7, 20])
def test_client_leaves_inside_message(pooler: stack.Pooler, way: str, cut: int) -> None:
    """A message cut short by the end of its connection is dropped with it."""
    if way == "Terminate":
        pytest.skip("a Terminate would be part of the cut message")
    client = pooler.connect("one")
    client.send(wire.query("select 'never whole, never run'")[:cut])
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
@pytest.mark.parametrize("cut", [0, 1, 4, 8, 15])
def test_client_leaves_during_startup(pooler: stack.Pooler, way: str, cut: int) -> None:
    """Connections that end in the middle of the first packet disturb nobody."""
    client = pooler.raw("one")
    client.send(wire.startup(client.startup)[:cut])
    WAYS_OUT[way](client)
    next_client_is_served(pooler)


@ways_out
def test_client_leaves_before_login_ends(start_pooler: Callable[..., stack.Pooler], way: str) -> None:
    """Connections that end where the password is asked for disturb nobody."""
    pooler = start_pooler({"auth_type": "plain"})
    for cut in (0, 1, 5, 8):
        client = pooler.raw("one")
        client.send(wire.startup(client.startup))
        assert client.receive().kind == "R"
        client.send(wire.raw(b"p", wire.text(stack.PASSWORD))[:cut])
        WAYS_OUT[way](client)
    with pooler.connect("one", password=stack.PASSWORD) as client:
        assert client.ask("select 1") == "1"


def test_idle_clients_vanish_in_crowds(pooler: stack.Pooler) -> None:
    """Two hundred clients reset at once; the pooler lives and has forgotten them."""
    clients = [pooler.connect() for _ in range(200)]
    descriptors = pooler.descriptors
    for client in clients:
        client.reset()
    next_client_is_served(pooler)
    stack.wait_until(lambda: pooler.descriptors <= descriptors - 200, "the descriptors are closed")


def test_half_open_client_is_just_idle(pooler: stack.Pooler) -> None:
    """A client that half-closes without asking anything is closed, and others go on."""
    client = pooler.connect("one")
    client.half_close()
    assert list(client.messages()) == []
    client.vanish()
    next_client_is_served(pooler)


NO_SYNC = wire.parse("", "insert into kept values ('never')") + wire.bind("", "") + wire.execute()
UNFINISHED = {
    "alone": NO_SYNC,
    "and Flush": NO_SYNC + wire.flush(),
    "that fails": wire.parse("", "no such command") + NO_SYNC,
    "behind a Query": wire.query("insert into kept values ('u')") + NO_SYNC,
    "behind a slow Query": wire.query("insert into kept select 'u' from pg_sleep(0.05)") + NO_SYNC + wire.flush(),
    "behind a Sync": wire.run("insert into kept values ($1)", [b"u"]) + NO_SYNC,
}


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such settings")
def test_batch_without_its_sync_is_not_waited_for(
    start_pooler: Callable[..., stack.Pooler], count: Callable[[str], str | None]
) -> None:
    """A client that ends in the middle of a batch: what came before is done and answered, the batch never, and at once."""
    pooler = start_pooler({"server_reset_timeout": 300, "leaving_query_timeout": 300})
    for name, data in UNFINISHED.items():
        client = pooler.connect("one")
        client.send(data)
        client.half_close()
        before = wire.kinds(client.messages()).count("Z")
        client.vanish()
        next_client_is_served(pooler)
        assert before == name.startswith("behind"), name
    assert (count("u"), count("never")) == ("3", "0")


def test_server_reply_to_reset_client_is_dropped(pooler: stack.Pooler) -> None:
    """Clients that ask and reset at once, many times: the pool of one keeps answering in step."""
    for number in range(50):
        client = pooler.connect("one")
        client.send(wire.query(f"select {number}"))
        client.reset()
        with pooler.connect("one") as other:
            assert other.ask(f"select 'mark {number}'") == f"mark {number}"


def test_silent_connections_take_no_server(pooler: stack.Pooler) -> None:
    """Connections that never say anything do not keep others out."""
    silent = [socket.create_connection(pooler.address) for _ in range(50)]
    next_client_is_served(pooler)
    for sock in silent:
        sock.close()
