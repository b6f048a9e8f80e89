"""LISTEN and NOTIFY in transaction mode: notifications come where and when PostgreSQL would bring them."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

import asyncpg
import psycopg
import pytest

from tests.system import stack, wire
from tests.system.middle import Middle
from tests.system.notifications import channels, hear, heard, notification, say, told_nothing
from tests.system.rawclient import RawClient
from tests.system.wire import Message

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not listen for its clients")


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


CHAINED: dict[str, list[str]] = {
    "commit and chain": ["begin", "listen news", "commit and chain"],
    "commit, begin": ["begin", "listen news", "commit; begin"],
    "all in one": ["listen news; commit; begin"],
}


@pytest.mark.parametrize("way", CHAINED)
def test_listen_begins_at_a_commit_that_begins_a_block(pooler: stack.Pooler, sender: RawClient, way: str) -> None:
    """What others commit during the next block is heard at its end, and what was committed before the LISTEN was is not."""
    with pooler.connect("one") as client:
        for text in CHAINED[way]:
            say(sender, "notify news, 'before'")
            assert heard(say(client, text)) == []
        say(sender, "notify news, '1'")
        assert heard(say(client, "select 1")) == []
        say(sender, "notify news, '2'")
        assert heard(say(client, "notify news, 'own'")) == []
        assert heard(say(client, "commit")) == [("news", "1"), ("news", "2"), ("news", "own")]
        say(sender, "notify news, 'after'")
        assert hear(client) == [("news", "after")]


def test_notified_while_the_listen_is_under_way(
    pooler: stack.Pooler, sender: RawClient, direct: Callable[..., RawClient]
) -> None:
    """A Query is a transaction: it listens when it has ended. (Who listens to something already hears what is unread by then.)"""
    with direct() as owner, direct() as native, pooler.connect("two") as client:
        for round, text in enumerate(("select 1", "listen old")):
            for who in (native, client):
                say(who, f"unlisten *; {text}")
            say(owner, "select pg_advisory_lock(7)")
            for who in (native, client):
                who.send(wire.query("listen news; select pg_advisory_xact_lock_shared(7)"))
            stack.wait_until(lambda: sender.ask("select count(*) from pg_locks where not granted") == "2", "both wait")
            say(sender, "notify news, 'early'; notify old, 'heard'")
            say(owner, "select pg_advisory_unlock(7)")
            wanted, found = [heard(who.until("Z")) for who in (native, client)]
            assert found == wanted == ([("news", "early"), ("old", "heard")] if round else [])
            say(sender, "notify news, 'late'")
            assert hear(client) == [("news", "late")]
            hear(native)


def test_own_notifications_come_in_their_order(pooler: stack.Pooler) -> None:
    """Those on channels that are new among those on others, which the listening connection brings."""
    with pooler.connect("one") as client:
        say(client, "listen old")
        for number in range(10):
            text = f"notify old, '1'; listen new{number}; notify new{number}, '2'; notify old, '3'; notify new{number}, '4'"
            assert [payload for _, payload in heard(say(client, text))] == ["1", "2", "3", "4"]


def test_listen_in_code_hears_what_is_notified_at_once(pooler: stack.Pooler, sender: RawClient) -> None:
    """No text showed it, and nothing is lost, or comes twice, while the listening connection takes over."""
    for number in range(30):
        with pooler.connect("app") as client:
            say(client, f"do $$ begin execute 'listen ' || 'hidden{number}'; end $$")
            for payload in ("1", "2", "3"):
                sender.send(wire.query(f"notify hidden{number}, '{payload}'"))
            sender.until("Z", 3)
            assert hear(client, 3) == [(f"hidden{number}", payload) for payload in ("1", "2", "3")]
            assert told_nothing(client)


def test_pinned_client_begins_to_listen(pooler: stack.Pooler, sender: RawClient) -> None:
    """On a server that it keeps, which goes on listening for it: nothing comes twice, and nothing else shows."""
    with pooler.connect("two") as client:
        say(client, "create temp table t ()")
        for channel in ("a", "b"):
            say(client, f"listen {channel}")
            say(sender, f"notify {channel}, '1'")
            assert hear(client) == [(channel, "1")]
        assert channels(client) == ["a", "b"]
        assert heard(say(client, "begin; notify a, '2'; commit; select 1")) == [("a", "2")]
        assert told_nothing(client)


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


def test_execute_of_a_prepared_statement_sees_the_channels(pooler: stack.Pooler) -> None:
    with pooler.connect("one") as client:
        client.exchange(wire.parse("looks", "select c from pg_listening_channels() c"), wire.sync())
        say(client, "prepare listed as select c from pg_listening_channels() c")
        say(client, "listen news")
        assert client.ask("execute looks") == "news"
        assert client.ask("execute listed") == "news"


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


# $ stands for what tells the channels of the two sessions of a pair apart.
STEPS = [
    *["listen $a", "listen $b", "listen $c", "unlisten $b", "unlisten $a; listen $c", "unlisten *"],
    *["listen $a; select 1; listen $b", "begin", "begin; listen $a", "commit", "rollback", "savepoint s", "rollback to s"],
    *["commit and chain", "commit; begin"],
    *["listen $b; commit; begin", "begin; listen $a; commit; begin; listen $c; commit", "select 1/0", "select 1"],
    *[f"do $x$ begin execute '{word} ' || '${name}'; end $x$" for word in ("listen", "unlisten") for name in "ab"],
    *[f"notify ${name}, 'own'" for name in "abc"],
    *["set application_name = 'x'", "discard all", "create temp table if not exists t ()", "drop table if exists t"],
    *["select count(*) from pg_listening_channels()", "begin; create temp table if not exists t (); listen $c; commit"],
]


@pytest.mark.parametrize("seed", range(5))
def test_as_on_a_direct_connection(
    start_pooler: Callable[..., stack.Pooler], sender: RawClient, direct: Callable[..., RawClient], seed: int
) -> None:
    """Whatever three sessions do, and others commit between any two steps of theirs: each hears what its twin does.

    (But for one that in transactions without a pause ends its listening, and begins again: PostgreSQL forgets what is unread.)
    """
    pooler = start_pooler({"pin_pool_size": 3})
    chance = random.Random(seed)
    pairs = [{"d": direct(), "p": pooler.connect("app")} for _ in range(3)]
    blocks: set[int] = set()

    def both(number: int, pair: dict[str, RawClient], text: str, extended: bool) -> None:
        replies = []
        for prefix, who in pair.items():
            own = re.sub(r"\$(?=[abcf]\b)", prefix, text)
            replies.append(say(who, wire.run(own) if extended else own))
        (blocks.discard if replies[0][-1].body == b"I" else blocks.add)(pairs.index(pair))
        for look in (wire.values, wire.errors):
            assert look(replies[0]) == look(replies[1]), f"{number}: {text}"

    for number in range(150):
        at = chance.randrange(len(pairs))
        text = chance.choice(STEPS).replace("own", f"own of {at} at {number}")
        if at not in blocks or not re.search("unlisten|discard", text):
            both(number, pairs[at], text, ";" not in text and chance.random() < 0.3)
        for name in chance.choices("abc", k=chance.randrange(3)):
            for prefix in "dp":
                say(sender, f"notify {prefix}{name}, '{number}'")
    for pair in pairs:
        for text in ("rollback", "listen $f", "notify $f"):
            both(-1, pair, text, False)
    pooler.end_now()
    for pair in pairs:
        wanted, found = [[body[5:] for body in who.notifications] for who in pair.values()]
        assert found == wanted


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


def test_pooler_s_own_listen_is_cancelled(start_pooler: Callable[..., stack.Pooler], middle: Middle) -> None:
    """That ahead of a block, by statement_timeout or past the pooler: the client listens all the same."""
    cancelled = wire.raw(b"E", b"SERROR\0VERROR\0C57014\0Mcanceling statement\0\0") + wire.raw(b"Z", b"I")
    pooler = start_pooler(target=middle.address)
    with pooler.connect("one") as client, pooler.connect("two") as other:
        say(client, "listen first")
        for number, texts in enumerate((["begin", "listen second", "commit"], ["listen third"], ["begin; rollback"])):
            middle.answers[b'LISTEN "first"'] = cancelled
            for text in texts:
                assert wire.errors(say(client, text)) == []
            assert not middle.answers
            say(other, f"notify first, '{number}'")
            assert hear(client) == [("first", str(number))]
        assert channels(client) == ["first", "second", "third"]
    pooler.end_now()


def test_channels_outlive_a_server_that_was_held(start_pooler: Callable[..., stack.Pooler], sender: RawClient) -> None:
    """It listened for its client, and was given up: the next one does not, until it is told to."""
    pooler = start_pooler({"pin_pool_size": 0})
    with pooler.connect("one") as client, pooler.connect("one") as other:
        client.query("listen news")
        client.query("select setseed(0.5)")  # what no reset ends: the server is held
        client.query("begin; select 1; commit")
        other.query("select 1")
        client.query("begin; listen other; commit")
        assert client.ask("select string_agg(c, ' ' order by c) from pg_listening_channels() c") == "news other"
        sender.query("notify news, 'heard'")
        assert client.until("A")[-1].body.endswith(b"news\0heard\0")
