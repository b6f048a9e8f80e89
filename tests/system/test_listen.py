"""LISTEN and NOTIFY in transaction mode: notifications come where and when PostgreSQL would bring them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import asyncpg
import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient
from tests.system.wire import Message

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")
LISTENING = "application_name = 'pgpool_py listen'"


def listening(admin: RawClient) -> set[bytes | None]:
    """The listening connections of all poolers."""
    return set(wire.values(admin.query(f"select pid from pg_stat_activity where {LISTENING}")))


def notification(message: Message) -> tuple[int, str, str]:
    """Process id, channel and payload."""
    channel, payload = message.body[4:].split(b"\0")[:2]
    return struct.unpack("!I", message.body[:4])[0], channel.decode(), payload.decode()


def heard(messages: list[Message]) -> list[tuple[str, str]]:
    """The notifications among *messages*: channel and payload."""
    return [notification(message)[1:] for message in messages if message.kind == "A"]


def say(client: RawClient, *messages: bytes | str) -> list[Message]:
    """Everything up to ReadyForQuery, notifications included, after queries or other messages."""
    client.send(*(wire.query(message) if isinstance(message, str) else message for message in messages))
    return client.until("Z")


def hear(client: RawClient, count: int = 1) -> list[tuple[str, str]]:
    """Wait for the next notifications, and for nothing else."""
    messages = client.until("A", count)
    assert wire.kinds(messages) == "A" * count
    return heard(messages)


def told_nothing(client: RawClient) -> bool:
    """Whether nothing came: a notification of its own, on a channel of its own, is the next it hears."""
    say(client, "listen fence")
    messages = say(client, "notify fence, 'end'")
    say(client, "unlisten fence")
    return heard(messages) == [("fence", "end")]


@pytest.fixture
def sender(direct: Callable[..., RawClient]) -> Iterator[RawClient]:
    """Somebody past the pooler."""
    with direct() as client:
        yield client


def test_idle_listener_is_told(pooler: stack.Pooler, sender: RawClient) -> None:
    """A notification reaches a client that holds no server."""
    with pooler.connect("one") as client:
        assert wire.kinds(say(client, "listen news")) == "CZ"
        sender.query("notify news, 'hello'")
        assert hear(client) == [("news", "hello")]


def test_own_notification_comes_before_ready(pooler: stack.Pooler) -> None:
    """Between CommandComplete and ReadyForQuery, with the process id of the client's BackendKeyData."""
    with pooler.connect("one") as client:
        say(client, "listen news")
        for number in range(20):
            reply = say(client, f"notify news, '{number}'")
            assert wire.kinds(reply) == "CAZ"
            assert notification(reply[1]) == (client.pid, "news", str(number))


def test_nothing_is_heard_before_listen(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("one") as client:
        say(sender, "notify news, 'early'")
        say(client, "listen news")
        say(sender, "notify news, 'late'")
        assert hear(client) == [("news", "late")]


def test_notification_during_a_transaction_comes_after_it(pooler: stack.Pooler, sender: RawClient) -> None:
    """Nothing is said inside a transaction; then what came meanwhile, before ReadyForQuery, in order."""
    with pooler.connect("one") as client:
        say(client, "listen news")
        assert wire.kinds(say(client, "begin")) == "CZ"
        say(sender, "notify news, '1'")
        say(sender, "notify news, '2'")
        assert wire.kinds(say(client, "select 1")) == "TDCZ"
        say(client, "notify news, 'own'")
        reply = say(client, "commit")
        assert wire.kinds(reply) == "CAAAZ"
        assert heard(reply) == [("news", "1"), ("news", "2"), ("news", "own")]


def test_notification_of_a_rolled_back_transaction_is_not_heard(pooler: stack.Pooler) -> None:
    with pooler.connect("one") as client, pooler.connect("two") as other:
        say(client, "listen news")
        say(other, "begin")
        say(other, "notify news, 'never'")
        say(other, "rollback")
        say(other, "begin; notify news, 'at commit'")
        assert told_nothing(client)
        say(other, "commit")
        assert hear(client) == [("news", "at commit")]


def test_listen_that_is_rolled_back_hears_nothing(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("one") as client:
        for end in ("rollback", "select 1/0"):
            say(client, "begin; listen news")
            assert heard(say(client, end)) == []
            say(client, "rollback")
            say(sender, "notify news, 'x'")
            assert told_nothing(client)
        assert wire.errors(say(client, "listen news; select 1/0")) == ["22012"]
        say(sender, "notify news, 'x'")
        assert told_nothing(client)


def test_listen_begins_at_commit(pooler: stack.Pooler, sender: RawClient) -> None:
    """What others commit between LISTEN and COMMIT is not heard; what comes after the COMMIT is."""
    with pooler.connect("one") as client:
        for _ in range(10):
            say(client, "begin")
            say(client, "listen news")
            say(sender, "notify news, 'before'")
            assert heard(say(client, "commit")) == []
            say(sender, "notify news, 'after'")
            assert hear(client) == [("news", "after")]
            say(client, "unlisten news")


def test_own_notification_of_the_transaction_that_listens(pooler: stack.Pooler) -> None:
    with pooler.connect("one") as client:
        assert heard(say(client, "listen news; notify news, 'x'")) == [("news", "x")]
        say(client, "unlisten *")
        say(client, "begin; notify news, 'y'; listen news")
        assert heard(say(client, "commit")) == [("news", "y")]


def channels(client: RawClient) -> list[str]:
    """What the client's session listens to, as it sees it itself."""
    rows = wire.values(say(client, "select c from pg_listening_channels() c order by 1"))
    return [value.decode() for value in rows if value is not None]


SCRIPTS: dict[str, tuple[list[str], list[str]]] = {
    "savepoint undone": (["begin", "listen a", "savepoint s", "listen b", "rollback to s", "listen c", "commit"], ["a", "c"]),
    "savepoint kept": (["begin", "savepoint s", "listen a", "release s", "commit"], ["a"]),
    "unlisten": (["listen a; listen b", "unlisten a"], ["b"]),
    "unlisten in a transaction": (["listen a", "listen b", "begin", "unlisten a", "commit"], ["b"]),
    "unlisten undone": (["listen a", "begin", "unlisten a", "rollback"], ["a"]),
    "unlisten in a savepoint undone": (["listen a", "begin", "savepoint s", "unlisten a", "rollback to s", "commit"], ["a"]),
    "unlisten all": (["listen a", "listen b", "unlisten *"], []),
    "unlisten all in a transaction": (["listen a", "begin; unlisten *; listen b", "commit"], ["b"]),
    "unlisten all undone": (["listen a", "begin; unlisten *", "rollback"], ["a"]),
    "failed": (["listen a", "begin; listen b", "select 1/0", "commit"], ["a"]),
    "listen, unlisten, listen": (["begin", "listen a", "unlisten a", "listen a", "commit"], ["a"]),
    "discard all": (["listen a", "discard all"], []),
    "reset all": (["listen a", "reset all"], ["a"]),
    "asyncpg's clean-up": (["listen a", "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"], []),
    "names": (
        ['listen News; LISTEN "News"; listen "with ""quotes"""; listen /* x */ "a b"'],
        ["News", "a b", "news", 'with "quotes"'],
    ),
    "hidden": (["do $$ begin execute 'listen ' || 'hidden'; end $$"], ["hidden"]),
    "hidden, undone": (["begin", "do $$ begin execute 'listen ' || 'hidden'; end $$", "rollback"], []),
    "hidden unlisten": (["listen a", "listen b", "do $$ begin execute 'unlisten ' || 'a'; end $$"], ["b"]),
    "commit and chain": (["begin; listen a", "commit and chain", "listen b", "rollback"], ["a"]),
    "several transactions in a text": (["listen a", "begin; unlisten a; listen b; commit; begin; listen c; rollback"], ["b"]),
}


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_channels_after(pooler: stack.Pooler, sender: RawClient, script: str, extended: bool) -> None:
    """The session listens to what a session of PostgreSQL would: by its own view, by what it hears, and nobody else does."""
    texts, expected = SCRIPTS[script]
    if extended:
        texts = [part for text in texts for part in ([text] if "$$" in text else text.rstrip(";").split(";"))]
    with pooler.connect("one") as client, pooler.connect("one") as stranger:
        for text in texts:
            say(client, *([wire.run(text)] if extended else [text]))
        assert channels(stranger) == []
        assert channels(client) == expected
        say(client, "begin")
        assert channels(client) == expected
        say(client, "commit")
        for channel in ("a", "b", "c", "news", "hidden"):
            say(sender, f"notify {channel}, '1'")
        wanted = [(channel, "1") for channel in ("a", "b", "c", "news", "hidden") if channel in expected]
        assert hear(client, len(wanted)) == wanted
        assert told_nothing(client)
        assert told_nothing(stranger)


def test_listen_within_a_pipeline(pooler: stack.Pooler, sender: RawClient) -> None:
    """Several statements up to one Sync: one transaction."""
    with pooler.connect("one") as client:
        def run(*texts: str) -> list[Message]:
            batch = b"".join(wire.parse("", text) + wire.bind("", "") + wire.execute() for text in texts)
            return say(client, batch + wire.sync())

        run("select 1", "listen a", "listen b")
        assert channels(client) == ["a", "b"]
        run("select 1", "unlisten a", "listen c")
        assert channels(client) == ["b", "c"]
        assert wire.errors(run("select 1", "unlisten b", "select 1/0")) == ["22012"]
        assert channels(client) == ["b", "c"]
        run("begin", "unlisten b", "commit")
        assert channels(client) == ["c"]
        run("select 1", "listen a", "notify a, 'own'")
        say(sender, "notify c, 'x'")
        assert hear(client) == [("c", "x")]


def test_prepared_listen_works_again(pooler: stack.Pooler, sender: RawClient) -> None:
    """A statement that was prepared before listens whenever it is executed."""
    with pooler.connect("one") as client, pooler.connect("one") as other:
        say(client, wire.parse("on", "listen news") + wire.parse("off", "unlisten news") + wire.sync())
        assert channels(client) == []
        for _ in range(3):
            say(client, wire.bind("", "on") + wire.execute() + wire.sync())
            say(other, "select 1")
            say(sender, "notify news, 'x'")
            assert hear(client) == [("news", "x")]
            say(client, wire.bind("", "off") + wire.execute() + wire.sync())
            assert channels(client) == []


def test_requests_sent_at_once_are_answered_in_order(pooler: stack.Pooler) -> None:
    """Each request's own notification comes before its ReadyForQuery, also where the next is sent already."""
    with pooler.connect("one") as client:
        say(client, "listen news")
        texts = ("notify news, '1'", "select 1", "notify news, '2'", "notify news")
        client.send(*(wire.run(text) if "2" in text else wire.query(text) for text in texts))
        assert wire.kinds(client.until("Z", 4)) == "CAZ" + "TDCZ" + "12nCAZ" + "CAZ"


def test_duplicates_within_a_transaction_are_one(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("one") as client:
        say(client, "listen a; listen b")
        say(sender, "begin; notify a, 'x'; notify b, 'x'; notify a, 'x'; notify a, 'y'; commit; notify a, 'x'")
        assert hear(client, 4) == [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]


def test_process_id_is_the_notifying_client_s(pooler: stack.Pooler) -> None:
    """As its BackendKeyData said, whichever server carried the NOTIFY out; so a client can tell its own from others'."""
    with pooler.connect("one") as listener, pooler.connect("one") as first, pooler.connect("two") as second:
        say(listener, "listen news")
        say(second, "select 1")
        seen: list[tuple[int, str]] = []
        for number in range(20):
            for who in (first, second, listener):
                reply = say(who, f"notify news, '{number}'")
            seen += [notification(message)[::2] for message in reply if message.kind == "A"]
        assert seen == [(who.pid, str(number)) for number in range(20) for who in (first, second, listener)]


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
        reply = say(client, "listen news")
        assert wire.errors(reply) == ["53300"]
        assert client.ask("select 1") == "1"


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


def test_session_mode_listens_itself(pooler: stack.Pooler, sender: RawClient) -> None:
    """In session mode the server itself tells its client; the process id is the client's there too."""
    with pooler.connect("session") as client:
        say(client, "listen news")
        reply = say(client, "notify news, 'own'")
        assert [notification(message) for message in reply if message.kind == "A"] == [(client.pid, "news", "own")]
        say(sender, "notify news, 'x'")
        assert hear(client) == [("news", "x")]


def test_statement_mode_listens(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("statement") as client:
        say(client, "listen news")
        assert heard(say(client, "notify news, 'own'")) == [("news", "own")]
        say(sender, "notify news, 'x'")
        assert hear(client) == [("news", "x")]


def test_payload_comes_in_the_client_s_encoding(pooler: stack.Pooler, sender: RawClient) -> None:
    with pooler.connect("one", client_encoding="LATIN1") as latin, pooler.connect("one", client_encoding="UTF8") as utf8:
        for client in (latin, utf8):
            say(client, "listen news")
        sender.query("set client_encoding = 'UTF8'; notify news, 'größe'")
        assert latin.until("A")[-1].body.endswith("größe".encode("latin-1") + b"\0")
        assert utf8.until("A")[-1].body.endswith("größe".encode() + b"\0")
        say(latin, "set client_encoding = 'UTF8'")
        say(latin, "notify news, 'own'")
        sender.query("notify news, 'größe'")
        assert latin.until("A")[-1].body.endswith("größe".encode() + b"\0")


def test_psycopg_listens(pooler: stack.Pooler, sender: RawClient) -> None:
    """connection.notifies(), in transactions and out of them; its own notifications are told by the process id."""
    with psycopg.connect(pooler.uri("one"), autocommit=True) as connection:
        connection.execute("listen news")
        say(sender, "notify news, 'hello'")
        notice = next(connection.notifies(timeout=10, stop_after=1))
        assert (notice.channel, notice.payload) == ("news", "hello")
        connection.autocommit = False
        connection.execute("unlisten *")
        connection.execute("listen other")
        connection.execute("notify other, 'own'")
        connection.commit()
        notice = next(connection.notifies(timeout=10, stop_after=1))
        assert (notice.channel, notice.payload, notice.pid) == ("other", "own", connection.info.backend_pid)
        assert connection.execute("select pg_listening_channels()").fetchall() == [("other",)]
        connection.rollback()


def test_asyncpg_listens(pooler: stack.Pooler) -> None:
    """add_listener, remove_listener, and what its pool sends between two uses of a connection."""

    async def story() -> None:
        listener = await asyncpg.connect(pooler.uri("one"))
        pool = await asyncpg.create_pool(pooler.uri("one"), min_size=1, max_size=1)
        heard: asyncio.Queue[tuple[int, str, str]] = asyncio.Queue()

        def callback(_: object, pid: int, channel: str, payload: object) -> None:
            heard.put_nowait((pid, channel, str(payload)))

        await listener.add_listener("News", callback)
        async with pool.acquire() as connection:
            await connection.execute("select pg_notify('News', $1)", "hello")
            pid = connection.get_server_pid()
        assert await asyncio.wait_for(heard.get(), 10) == (pid, "News", "hello")
        async with listener.transaction():
            await listener.execute("notify \"News\", 'own'")
            assert heard.empty()
        assert await asyncio.wait_for(heard.get(), 10) == (listener.get_server_pid(), "News", "own")
        await listener.remove_listener("News", callback)
        assert await listener.fetch("select pg_listening_channels()") == []
        await pool.close()
        await listener.close()

    asyncio.run(story())
