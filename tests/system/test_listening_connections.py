"""The connections that listen for all clients of a pool: how many, what they cost, and what happens when one is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.system import stack, wire
from tests.system.notifications import LISTENING, channels, hear, heard, listening, notification, say, told_nothing
from tests.system.rawclient import RawClient
from tests.system.wire import Message

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")


def test_one_server_connection_listens_for_all(pooler: stack.Pooler, admin: RawClient, sender: RawClient) -> None:
    """Two hundred listeners of one pool; some on a channel of their own."""
    before = listening(admin)
    clients = [pooler.connect("app") for _ in range(200)]
    for number, client in enumerate(clients):
        say(client, "listen everybody" if number % 2 else f"listen everybody; listen c{number}")
    assert len(listening(admin) - before) == 1
    say(sender, "notify everybody, 'x'")
    for number in range(0, 200, 2):
        say(sender, f"notify c{number}, 'y'")
    for number, client in enumerate(clients):
        wanted = [("everybody", "x")] if number % 2 else [("everybody", "x"), (f"c{number}", "y")]
        assert hear(client, len(wanted)) == wanted
        client.leave()


def test_lost_listening_connection_ends_listeners(pooler: stack.Pooler, admin: RawClient) -> None:
    """57P01, as on a connection of one's own: at once when idle, else after the transaction; others notice nothing."""
    with pooler.connect("two") as idle, pooler.connect("two") as busy, pooler.connect("two") as other:
        say(other, "select 1")
        say(idle, "listen news")
        say(busy, "listen news")
        say(busy, "begin")
        admin.ask(f"select pg_terminate_backend(pid) from pg_stat_activity where {LISTENING}")
        assert idle.refused().sqlstate == "57P01"
        assert wire.kinds(say(busy, "select 1")) == "TDCZ"
        busy.send(wire.query("commit"))
        messages = list(busy.messages())
        assert wire.kinds(messages) == "CZE"
        assert messages[-1].sqlstate == "57P01"
        assert other.ask("select 1") == "1"
        say(other, "listen news")
        assert heard(say(other, "notify news, 'again'")) == [("news", "again")]


def test_lost_listening_connection_can_be_a_notice(
    start_pooler: Callable[..., stack.Pooler], admin: RawClient, sender: RawClient
) -> None:
    """listen_loss = notice: a warning, once the pooler listens again; nothing after it is missed."""
    pooler = start_pooler({"listen_loss": "notice"})
    with pooler.connect("one") as client:
        say(client, "listen news")
        for _ in range(2):
            admin.ask(f"select pg_terminate_backend(pid) from pg_stat_activity where {LISTENING}")
            notice = client.until("N")[-1]
            assert (notice.sqlstate, "were lost" in notice.fields["M"]) == ("01000", True)
            say(sender, "notify news, 'again'")
            assert hear(client) == [("news", "again")]
        assert channels(client) == ["news"]


@pytest.mark.parametrize("way", ["idle", "in a transaction"])
def test_slow_listener_is_told(start_pooler: Callable[..., stack.Pooler], sender: RawClient, way: str) -> None:
    """Beyond listen_buffer_size a client that does not keep up is ended with 57P01, in order, and others are not."""
    pooler = start_pooler({"listen_buffer_size": 1_000_000, "tcp_socket_buffer": 16384})
    with pooler.connect("one") as slow, pooler.connect("two") as quick:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        say(slow, "listen news")
        say(quick, "listen news")
        if way != "idle":
            say(slow, "begin")
        for _ in range(30):
            say(sender, "begin;" + "".join(f"notify news, '{n:07000}';" for n in range(20)) + "commit")
            hear(quick, 20)
        if way != "idle":
            slow.send(wire.query("commit"))
        messages = list(slow.messages())
        assert messages[-1].sqlstate == "57P01"
        assert "listen_buffer_size" in messages[-1].fields["M"]
        numbers = [int(payload[-2:]) for _, payload in heard(messages)]
        assert numbers == [n % 20 for n in range(len(numbers))]
        assert wire.kinds(messages).strip("A") == ("E" if way == "idle" else "CZE")


@pytest.mark.slow
def test_two_thousand_listeners(start_pooler: Callable[..., stack.Pooler], admin: RawClient, sender: RawClient) -> None:
    """All on one server connection: each hears everything, in order, and nobody else's channel."""
    count = 2000
    pooler = start_pooler({"max_client_conn": count + 10})
    before = listening(admin)
    with ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(lambda _: pooler.connect("two"), range(count)))
    for number, client in enumerate(clients):
        client.send(wire.query(f"listen everybody; listen c{number % 50}"))
    for client in clients:
        assert wire.errors(client.until("Z")) == []
    assert len(listening(admin) - before) == 1
    say(sender, "notify everybody, '1'")
    say(sender, "begin;" + "".join(f"notify c{number}, 'x';" for number in range(50)) + "commit")
    say(sender, "notify everybody, '2'")
    for number, client in enumerate(clients):
        assert hear(client, 3) == [("everybody", "1"), (f"c{number % 50}", "x"), ("everybody", "2")]
    assert wire.kinds(say(clients[0], "notify everybody, '3'")) == "CAZ"
    for client in clients[1:]:
        assert hear(client) == [("everybody", "3")]
        client.leave()


def test_limits_count_the_listening_connection(
    start_pooler: Callable[..., stack.Pooler], admin: RawClient, sender: RawClient
) -> None:
    """max_db_connections is kept: an idle server makes room, and where there is none LISTEN is refused."""
    pooler = start_pooler(
        {"query_wait_timeout": 1},
        {"few": "pool_size=5 max_db_connections=2", "single": "pool_size=5 max_db_connections=1"},
    )
    with pooler.connect("few", stack.OTHER) as first, pooler.connect("few", stack.OTHER) as second:
        say(second, "begin")
        say(first, "select 1")
        say(second, "commit")
        say(first, "listen news")
        say(sender, "notify news, 'x'")
        assert hear(first) == [("news", "x")]
        used = f"select count(*) from pg_stat_activity where usename = '{stack.OTHER}'"
        stack.wait_until(lambda: admin.ask(used) == "2", "the limit is kept")
    with pooler.connect("single", stack.OTHER) as client:
        for text in ("listen news", wire.run("listen news")):
            assert wire.errors(say(client, text)) == ["53300"]
            assert client.ask("select 1") == "1"
            say(client, "begin")
            assert wire.errors(say(client, text)) == ["53300"]
            assert wire.errors(say(client, "select 1")) == ["25P02"]
            say(client, "rollback")
        assert wire.errors(say(client, "notify news")) == []


def test_busy_servers_give_a_place_up(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """Where no server is idle the next that becomes free makes room, though clients wait for it."""
    pooler = start_pooler({}, {"few": "pool_size=5 max_db_connections=3"})
    count = f"select count(*) from pg_stat_activity where usename = '{stack.OTHER}'"
    before = int(admin.ask(count) or 0)
    with ExitStack() as stacked:
        busy, waiting, listener = [
            [stacked.enter_context(pooler.connect("few", stack.OTHER)) for _ in range(number)] for number in (2, 3, 1)
        ]
        for client in busy:
            say(client, "begin")
        say(listener[0], "begin")
        for client in waiting:
            client.send(wire.query("select 1"))
            stack.wait_taken(client)
        listener[0].send(wire.query("listen news"))
        stack.wait_taken(listener[0])
        for client in busy:
            say(client, "commit")
        listener[0].until("Z")
        say(listener[0], "commit")
        for client in waiting:
            client.until("Z")
        assert heard(say(listener[0], "notify news, 'x'")) == [("news", "x")]
        assert int(admin.ask(count) or 0) <= before + 3


def test_no_notification_is_missed_between_listen_and_look(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """LISTEN, then look at the state: what is not in the state yet is heard."""
    with direct() as owner:
        owner.query("drop table if exists state; create table state (n int); insert into state values (0)")
    with direct() as writer:
        for text in ("listen news; select n from state", "listen news"):
            for n in range(1, 40):
                with pooler.connect("two") as client:
                    writer.send(wire.query(f"begin; update state set n = n + 1; notify news, '{n}'; commit"))
                    reply = say(client, text)
                    if "select" not in text:
                        reply += say(client, "select n from state")
                    writer.until("Z")
                    seen = int(wire.values(reply)[0] or 0)
                    reply += say(client, "select 1")
                    final = int(writer.ask("select n from state") or 0)
                    assert seen == final or [payload for _, payload in heard(reply)] == [str(n)]


def test_nothing_is_lost_or_doubled_under_load(pooler: stack.Pooler) -> None:
    """Many senders, and listeners that send too, on few servers: each hears each sender's numbers once, in order, and knows
    its own by the process id."""
    last = 40
    listeners = [pooler.connect("two") for _ in range(12)]
    senders = [pooler.connect("app") for _ in range(6)]
    clients = [*listeners, *senders]
    for client in listeners:
        say(client, "listen numbers")

    def send(client: RawClient, who: int, number: int) -> list[Message]:
        """NOTIFY, in a transaction block of its own now and then; the reply that ends it."""
        if number % 3:
            return say(client, f"notify numbers, '{who}:{number}'")
        assert wire.kinds(say(client, "begin")).endswith("CZ")
        assert wire.kinds(say(client, f"select pg_notify('numbers', '{who}:{number}')")) == "TDCZ"
        return say(client, "commit")

    def send_all(who: int) -> None:
        for number in range(1, last + 1):
            send(clients[who], who, number)

    def listen(who: int) -> list[list[int]]:
        client = clients[who]
        found: list[list[int]] = [[] for _ in clients]
        sent = 0
        while not all(numbers and numbers[-1] == last for numbers in found):
            if sent < last:
                sent += 1
                reply = send(client, who, sent)
                assert ("numbers", f"{who}:{sent}") in heard(reply)
            else:
                client.receive()
            for body in client.notifications:
                pid, _, payload = notification(Message("A", body))
                sender, number = map(int, payload.split(":"))
                assert (pid == client.pid) == (sender == who)
                found[sender].append(number)
            client.notifications.clear()
        return found

    with ThreadPoolExecutor(len(clients)) as threads:
        results = [threads.submit(listen, who) for who in range(len(listeners))]
        for done in [threads.submit(send_all, who) for who in range(len(listeners), len(clients))]:
            done.result()
        for result in results:
            assert result.result() == [list(range(1, last + 1))] * len(clients)
    for client in clients:
        client.leave()


def test_listener_that_leaves_is_forgotten(pooler: stack.Pooler, admin: RawClient, sender: RawClient) -> None:
    """Whatever the way out, nothing is left of it, and the others are told."""
    with pooler.connect("one") as client:
        say(client, "listen news")
        for way in (RawClient.leave, RawClient.vanish, RawClient.reset):
            other = pooler.connect("one")
            say(other, "listen news")
            way(other)
        say(sender, "notify news, 'x'")
        assert hear(client) == [("news", "x")]
        other = pooler.connect("one")
        say(other, "begin; listen news")
        other.reset()
        assert told_nothing(client)


def test_console_shows_it(start_pooler: Callable[..., stack.Pooler], sender: RawClient) -> None:
    """SHOW SERVERS has a row for the connection that listens; RECONNECT tells its clients that it goes."""
    pooler = start_pooler({"admin_users": stack.ADMIN})
    with pooler.connect("one") as client, pooler.connect("pgbouncer", stack.ADMIN) as console:

        def states() -> list[bytes]:
            return sorted(message.columns[4] or b"" for message in console.query("show servers") if message.kind == "D")

        say(client, "select 1")
        assert states() == [b"idle"]
        for text in ("listen news", "unlisten news"):
            say(client, text)
            stack.wait_until(lambda: states() == [b"idle", b"listening"], "the server has been cleaned")
        say(client, "listen news")
        console.query("reconnect one")
        assert client.refused().sqlstate == "57P01"
        stack.wait_until(lambda: b"listening" not in states(), "it is closed")
