"""A server that says after its login what no server may say: it costs one session, and nobody gets a wrong answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system import stack, wire
from tests.system.middle import Middle, whole
from tests.system.rawclient import RawClient, ServerError

pytestmark = pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="what the executable under test does with it is known")

READY = wire.raw(b"Z", b"I")
DONE = wire.raw(b"C", b"SELECT 1\0")
ROW = wire.raw(b"D", b"\0\1\0\0\0\6forged")
COLUMNS = wire.raw(b"T", b"\0\1x\0" + b"\0" * 6 + b"\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
ANSWER = COLUMNS + ROW + DONE + READY

# What is said in place of an answer. Whoever asked may be told it, or be closed; nobody else may hear of it.
LIES = {
    "an error without fields": wire.raw(b"E", b"\0") + READY,
    "an error of nothing at all": wire.raw(b"E") + READY,
    "an error without sqlstate": wire.raw(b"E", b"SERROR\0Mno code\0\0") + READY,
    "an error of unknown fields": wire.raw(b"E", b"?what\0!why\0\0") + READY,
    "an error without an end": wire.raw(b"E", b"SERROR\0C42000") + READY,
    "a fatal error and then goes on": wire.raw(b"E", b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0") + READY,
    "a notice of nothing": wire.raw(b"N") + ANSWER,
    "two answers": ANSWER + ANSWER,
    "ready too often": ANSWER + READY,
    "ready and no answer": READY,
    "a row that nobody asked for, later": ANSWER + ROW,
    "ready in an unknown state": COLUMNS + ROW + DONE + wire.raw(b"Z", b"?"),
    "ready of no length": COLUMNS + ROW + DONE + wire.raw(b"Z"),
    "a tag without an end": COLUMNS + ROW + wire.raw(b"C", b"SELECT 1") + READY,
    "a tag of nothing": COLUMNS + ROW + wire.raw(b"C") + READY,
    "a parameter without a value": wire.raw(b"S", b"TimeZone\0") + ANSWER,
    "a parameter of nothing": wire.raw(b"S") + ANSWER,
    "a parameter of 30 kB": wire.raw(b"S", b"search_path\0" + b"x" * 30_000 + b"\0") + ANSWER,
    "a notification cut short": wire.raw(b"A", b"\0\0") + ANSWER,
    "a copy that nobody wants": wire.raw(b"G", b"\0\0\0") + READY,
    "a login anew": wire.raw(b"R", b"\0\0\0\0") + READY,
    "another key": wire.raw(b"K", b"\0" * 8) + ANSWER,
    "a parse completed": wire.raw(b"1") + READY,
    "an unknown message": wire.raw(b"?", b"abc") + READY,
    "a length of 0": b"D\0\0\0\0" + READY,
    "a length of 3": b"D\0\0\0\3" + READY,
    "a length of 2 GB": b"D\x7f\xff\xff\xff" + ROW,
    "a length below zero": b"D\x80\0\0\0" + READY,
    "a length of -1": b"Z\xff\xff\xff\xff" + READY,
}  # fmt: skip


@pytest.fixture(scope="module")
def behind(middle: Middle) -> Iterator[stack.Pooler]:
    """A pooler whose servers are reached through the man in the middle."""
    pooler = stack.Pooler(middle.address, {"server_login_retry": 0.1, "server_reset_timeout": 1, "server_connect_timeout": 1})
    with pooler:
        yield pooler
        assert "Traceback" not in pooler.log and "internal error" not in pooler.log
        pooler.end_now()


@pytest.fixture(scope="module")
def asking(middle: Middle) -> Iterator[stack.Pooler]:
    """A pooler that knows users by asking through the man in the middle: there it hears that everybody is one."""
    settings = {"server_login_retry": 0.1, "server_connect_timeout": 1, "client_login_timeout": 2}
    query = "select $1::text, ''x'' /* look up */"
    entry = f"user={stack.OWNER} auth_user={stack.OTHER} auth_query='{query}'"
    with stack.Pooler(middle.address, settings, {"looked_up": entry}) as pooler:
        yield pooler
        pooler.end_now()


def others_are_served(pooler: stack.Pooler, others: list[RawClient]) -> None:
    """Each gets its own answers, also those who asked while the server told its lies."""
    assert pooler.running
    for number, other in enumerate(others):
        assert wire.values(other.until("Z")) == [b"waiting %d" % number]
    for turn in range(2):
        for number, other in enumerate(others):
            assert other.ask(f"select 'turn {turn} of {number}'") == f"turn {turn} of {number}"


def after(client: RawClient) -> str:
    """What has become of the client that was told a lie: its next answer is right, or there is none."""
    try:
        client.rest()
        return "right" if client.ask("select 'after'") == "after" else "wrong"
    except (EOFError, OSError, ServerError, ValueError):  # the lie may be more than this client can read
        return "gone"


def two_who_wait(pooler: stack.Pooler) -> list[RawClient]:
    others = [pooler.connect("one") for _ in range(2)]
    for number, other in enumerate(others):
        other.send(wire.query(f"select 'waiting {number}'"))
        stack.wait_taken(other)
    return others


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_costs_one_session_at_most(behind: stack.Pooler, middle: Middle, lie: bytes) -> None:
    """CVE-2026-6666, and the aborts over states that cannot be: the process lives, and who waited is answered rightly."""
    seen = len(behind.log)
    liar = behind.connect("one")
    assert liar.ask("select 'before'") == "before"
    holder = behind.connect("one")
    holder.query("begin")
    middle.answers[b"/* to be lied about */"] = lie
    liar.send(wire.query("select 'x' /* to be lied about */"))
    stack.wait_taken(liar)
    others = two_who_wait(behind)
    holder.query("commit")
    others_are_served(behind, others)
    assert not middle.answers, "the lie was told"
    assert after(liar) in ("right", "gone")
    for client in (liar, holder, *others):
        client.vanish()
    news = behind.log[seen:]
    assert "Traceback" not in news and "internal error" not in news, news




LOOK = "select current_setting('work_mem') || current_setting('application_name')"


def next_value(pooler: stack.Pooler, text: str) -> str | None:
    """What the next client that gets a server is answered; a login to it that failed may be told to those who come at once."""
    found: list[str | None] = []

    def answered() -> bool:
        try:
            with pooler.connect("one") as client:
                found.append(client.ask(text))
        except (EOFError, ConnectionResetError, ServerError):
            return False
        return True

    stack.wait_until(answered, "the next client is served")
    return found[0]


# What the pooler itself asks, by a piece of it, and what a client does to make it ask.
OWN_QUESTIONS = {
    "a new server's settings": (b"WHERE s.context OPERATOR", "select 1"),
    "a new server's catalogs": (b"pg_policy", "select 1"),
    "the look after a transaction": (b"pg_catalog.unnest(ARRAY[", "set work_mem = '7MB'"),
    "settings of the session": (b"BEGIN ISOLATION", "select 1"),
    "the reset": (b"DISCARD ALL", "do $$ begin null; end $$"),
    "the end of a transaction": (b"ROLLBACK", "begin"),
}
SHORT_ROW = COLUMNS + wire.raw(b"D", b"\0\3\0\0\0\6for") + DONE + READY
FORGED = {
    "two answers": ANSWER + ANSWER,
    "a row of other columns": ANSWER,
    "a row cut short": SHORT_ROW,
    "a row of nothing": COLUMNS + wire.raw(b"D") + DONE + READY,
    "an error without fields": wire.raw(b"E", b"\0") + READY,
    "an error without an end": wire.raw(b"E", b"SERROR\0C42000") + READY,
    "ready in an unknown state": ANSWER[:-1] + b"?",
    "ready in a transaction": ANSWER[:-1] + b"T",
    "a length of 2 GB": b"D\x7f\xff\xff\xff" + ROW,
    "an unknown message": wire.raw(b"?", b"abc") + READY,
}


CASES = [
    pytest.param(question, lie, id=f"{question}, {name}")
    for question in OWN_QUESTIONS
    for name, lie in FORGED.items()
    if question != "the reset" or not name.startswith("a row")  # whoever says that it was done is believed
]


@pytest.mark.parametrize(("question", "lie"), CASES)
def test_a_lie_to_the_pooler_itself_changes_no_session(
    behind: stack.Pooler, middle: Middle, admin: RawClient, question: str, lie: bytes
) -> None:
    """Whoever made it ask may be told so, or be closed; the next client has a session of its own, as a new one is."""
    piece, text = OWN_QUESTIONS[question]
    seen = len(behind.log)
    client = behind.connect("one", application_name="its own")
    next_value(behind, "select 1")
    if question.startswith("a new server's"):
        admin.query(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{stack.OWNER}'")
        stack.wait_until(lambda: "closing because: server" in behind.log[seen:], "the pooler has noticed")
    middle.answers[piece] = lie
    client.send(wire.query(text))
    if question == "the end of a transaction":
        client.rest()
        client.vanish()
    stack.wait_until(lambda: not middle.answers, "the lie is told")
    assert next_value(behind, LOOK) == "4MB"
    assert next_value(behind, "select 'mine'") == "mine"
    if question != "the end of a transaction":
        assert after(client) in ("right", "gone")
        client.vanish()
    news = behind.log[seen:]
    assert "Traceback" not in news and "internal error" not in news, news


@pytest.mark.parametrize("key", [None, b"\0\0\0\x2a"], ids=["no key", "a key without a secret"])
def test_a_server_without_a_key_has_clients_with_one(behind: stack.Pooler, middle: Middle, key: bytes | None) -> None:
    """teleport #68711: clients were given a key of no length; theirs is the pooler's own, and works as far as it can."""

    def keyless(message: wire.Message) -> bytes:
        if message.kind == "K":
            return b"" if key is None else wire.raw(b"K", key)
        return whole(message)

    middle.login = keyless
    try:
        with behind.connect("two", user=stack.OTHER) as client, behind.connect("two", user=stack.OTHER) as second:
            with behind.connect("two", user=stack.OTHER) as waiting:
                for each in (client, second, waiting):
                    assert each.pid and len(each.secret) == 4
                client.query("begin")
                second.query("begin")
                waiting.send(wire.query("select 'never'"))
                stack.wait_taken(waiting)
                waiting.cancel()
                assert wire.errors(waiting.until("Z")) == ["57014"]
                client.cancel()
                assert client.ask("select 'not cancelled'") == "not cancelled"
    finally:
        middle.login = whole


@pytest.mark.parametrize("lie", FORGED.values(), ids=FORGED)
def test_a_lie_to_auth_query_lets_nobody_in(asking: stack.Pooler, middle: Middle, lie: bytes) -> None:
    """The login is refused, and the next one is asked about on a server that tells the truth."""
    seen = len(asking.log)
    middle.answers[b"/* look up */"] = wire.raw(b"1") + wire.raw(b"2") + lie
    stranger = asking.raw("looked_up", "forged")
    stranger.send(wire.startup(stranger.startup))
    assert stranger.refused().sqlstate in ("08P01", "F0000")
    stack.wait_until(lambda: let_in(asking), "a user that is known comes in")
    news = asking.log[seen:]
    assert "Traceback" not in news and "internal error" not in news, news


def test_a_server_that_ends_behind_auth_query_has_answered_it(asking: stack.Pooler, middle: Middle) -> None:
    """Its answer counts, and the next question goes to another server."""
    ends = wire.raw(b"E", b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0")
    row = wire.raw(b"D", b"\0\2\0\0\0\6forged\0\0\0\1x")
    middle.answers[b"/* look up */"] = wire.raw(b"1") + wire.raw(b"2") + row + DONE + READY + ends
    assert let_in(asking)
    assert not middle.answers, "the server has ended"
    assert let_in(asking)


def let_in(pooler: stack.Pooler) -> bool:
    try:
        with pooler.connect("looked_up", "forged") as client:
            return client.ask("select current_user") == stack.OWNER
    except ServerError as error:
        if error.sqlstate not in ("08P01", "F0000"):
            raise
        return False


def test_a_reset_that_was_none_is_found_out(behind: stack.Pooler, middle: Middle) -> None:
    """What pinned a server is looked for in the catalogs before anybody else gets it, whatever the reset's answer was."""
    seen = len(behind.log)
    with behind.connect("one") as owner:
        owner.query("create temp table left_behind (secret text)")
        assert owner.ask("select pg_try_advisory_lock(4711)") == "t"
        middle.answers[b"DISCARD ALL"] = wire.raw(b"C", b"DISCARD ALL\0") + READY
    stack.wait_until(lambda: "the reset left something" in behind.log[seen:], "the server is closed")
    assert not middle.answers, "the lie was told"
    assert next_value(behind, "select count(*) from pg_locks where locktype = 'advisory'") == "0"
    assert next_value(behind, "select to_regclass('left_behind')::text") is None
