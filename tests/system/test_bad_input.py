"""Bad input at every stage: the right error, one connection closed, and the client beside it undisturbed."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient, ServerError


@pytest.fixture(autouse=True)
def neighbour(pooler: stack.Pooler) -> Iterator[RawClient]:
    """A client that works in a transaction of its own all the while."""
    with pooler.connect("two") as client:
        client.query("begin")
        pid = client.ask("select pg_backend_pid()")
        yield client
        assert client.ask("select pg_backend_pid()") == pid
        assert client.query("commit")[-1].body == b"I"


def packet(length: int, body: bytes) -> bytes:
    return struct.pack("!I", length) + body


STARTUP_BODY = struct.pack("!I", wire.PROTOCOL_3_0) + b"user\0story_owner\0database\0one\0\0"
BAD_STARTUPS = {
    "empty": b"",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "random": random.Random(1).randbytes(2000),
    "zeros": b"\0" * 2000,
    "length 0": packet(0, STARTUP_BODY),
    "length 3": packet(3, STARTUP_BODY),
    "length 4": packet(4, b""),
    "length 7": packet(7, b"\0\3\0"),
    "length negative": packet(0xFFFFFFFF, STARTUP_BODY),
    "length least": packet(0x80000000, STARTUP_BODY),
    "length most": packet(0x7FFFFFFF, STARTUP_BODY),
    "over 10000": packet(10_005, STARTUP_BODY),
    "no terminator": packet(len(STARTUP_BODY) + 3, STARTUP_BODY[:-1]),
    "odd words": packet(8 + 5, struct.pack("!I", wire.PROTOCOL_3_0) + b"user\0"),
    "no user": wire.startup({"database": "one"}),
    "empty user": wire.startup({"user": "", "database": "one"}),
    "protocol 2": wire.startup({"user": "story_owner", "database": "one"}, 0x00020000),
    "protocol 4": wire.startup({"user": "story_owner", "database": "one"}, 0x00040000),
    "protocol 1": packet(8, struct.pack("!I", 0x00010000)),
    "query first": wire.query("select 1"),
    "password first": wire.raw(b"p", b"secret\0"),
    "terminate first": wire.terminate(),
    "plaintext after SSLRequest": wire.SSL_REQUEST + wire.startup({"user": "story_owner", "database": "one"}),
    "query after SSLRequest": wire.SSL_REQUEST + wire.query("select 1"),
    "plaintext after GSSENCRequest": wire.GSSENC_REQUEST + wire.startup({"user": "story_owner", "database": "one"}),
    "SSLRequest too long": packet(9, struct.pack("!I", 80877103) + b"x"),
    "cancel without key": packet(12, struct.pack("!II", 80877102, 1)),
    "cancel too short": packet(8, struct.pack("!I", 80877102)),
    "cancel of nobody": wire.cancel_request(2**31 - 1, b"\0" * 4),
    "cancel too long": wire.cancel_request(1, b"k" * 9000),
    "user of 9000 bytes": wire.startup({"user": "u" * 9000, "database": "one"}),
    "database of 9000 bytes": wire.startup({"user": "story_owner", "database": "d" * 9000}),
    "invalid utf-8": packet(len(STARTUP_BODY) + 8, STARTUP_BODY[:-1] + b"\xff\xfe\0" + b"\0"),
}


@pytest.mark.parametrize("data", BAD_STARTUPS.values(), ids=BAD_STARTUPS.keys())
def test_bad_startup_is_refused(pooler: stack.Pooler, data: bytes) -> None:
    """A first packet that is none, or that nobody may send, never ends in a session."""
    client = pooler.raw("one")
    client.send(data)
    client.half_close()
    replies = b""
    try:
        while chunk := client.sock.recv(4096):
            replies += chunk
    except ConnectionResetError:
        pass
    client.vanish()
    assert b"Z\0\0\0\5" not in replies, "it was let in"
    assert replies[:1] in (b"", b"E", b"N"), replies


EXPECTED = {
    "protocol 2": ("0A000", "08P01"),
    "protocol 4": ("0A000", "08P01"),
    "no user": ("28000", "08P01"),
    "over 10000": ("08P01",),
    "length negative": ("08P01",),
    "length 0": ("08P01",),
    "no terminator": ("08P01",),
    "plaintext after SSLRequest": ("08P01",),
    "plaintext after GSSENCRequest": ("08P01",),
}


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test closes many of these without a word")
@pytest.mark.parametrize("name", EXPECTED)
def test_bad_startup_is_explained(pooler: stack.Pooler, name: str) -> None:
    """What a client could have meant gets a FATAL with its SQLSTATE, and is logged once."""
    before = pooler.log.count("\n")
    client = pooler.raw("one")
    client.send(BAD_STARTUPS[name])
    # A refused SSLRequest may be answered by N before the rest is looked at.
    replies = b""
    try:
        while chunk := client.sock.recv(4096):
            replies += chunk
    except ConnectionResetError:
        pass
    client.vanish()
    if replies[:1] == b"N":
        replies = replies[1:]
    messages = list(wire.split(bytearray(replies)))
    assert [message.kind for message in messages] == ["E"], replies
    assert messages[0].sqlstate in EXPECTED[name], messages
    assert messages[0].fields["S"] == "FATAL"
    news = pooler.log.splitlines()[before:]
    assert len([line for line in news if "closing because" in line]) <= 1, news


def test_startup_dribbles_in(pooler: stack.Pooler) -> None:
    """A startup packet that arrives byte by byte is read as if it had come whole."""
    client = pooler.raw("one")
    for byte in wire.startup(client.startup) + wire.query("select 'slow'"):
        client.send(bytes([byte]))
    assert wire.kinds(client.until("Z")).endswith("Z")
    assert wire.values(client.until("Z")) == [b"slow"]
    client.leave()


def test_encryption_is_refused_in_clear(pooler: stack.Pooler) -> None:
    """Without TLS both requests get N, in any order, and then a plain startup works."""
    client = pooler.raw("one")
    for request in (wire.GSSENC_REQUEST, wire.SSL_REQUEST):
        client.send(request)
        assert client.sock.recv(10) == b"N"
    client.log_in()
    assert client.ask("select 1") == "1"
    client.leave()


@pytest.mark.parametrize("minor", [1, 2, 9999])
def test_newer_minor_is_negotiated(pooler: stack.Pooler, minor: int) -> None:
    """Protocol 3.x with unknown options gets one NegotiateProtocolVersion and a session."""
    if stack.IS_PEER:
        pytest.skip("the executable under test knows 3.0 only")
    client = pooler.raw("one")
    client.send(wire.startup({**client.startup, "_pq_.unknown_option": "1"}, (3 << 16) + minor))
    seen = client.until("Z")
    negotiations = [message for message in seen if message.kind == "v"]
    assert len(negotiations) == 1
    assert b"_pq_.unknown_option" in negotiations[0].body
    assert client.ask("select 1") == "1"
    client.leave()


BAD_MESSAGES = {
    "unknown letter": wire.raw(b"?", b"what"),
    "letter zero": wire.raw(b"\0", b""),
    "a server's letter": wire.raw(b"Z", b"I"),
    "length 0": b"Q\0\0\0\0select 1\0",
    "length 3": b"Q\0\0\0\3",
    "length negative": b"Q\xff\xff\xff\xffselect 1\0",
    "length least": b"Q\x80\0\0\0select 1\0",
    "second startup": wire.startup({"user": "story_owner", "database": "one"}),
    "SSLRequest inside": wire.SSL_REQUEST,
    "random": random.Random(2).randbytes(3000),
    "http": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_bad_message_ends_one_session(pooler: stack.Pooler, data: bytes) -> None:
    """After login, bytes that are no message get 08P01 and the end, as from PostgreSQL."""
    client = pooler.connect("one")
    client.ask("select 1")
    client.send(data)
    client.half_close()
    errors = wire.errors(client.messages())
    assert errors in (["08P01"], []) if stack.IS_PEER else errors == ["08P01"], errors
    client.vanish()
    with pooler.connect("one") as other:
        assert other.ask("select 'fine'") == "fine"


MALFORMED = {
    "Query without terminator": wire.raw(b"Q", b"select 1"),
    "Query with bytes behind": wire.raw(b"Q", b"select 1\0garbage"),
    "Query empty body": wire.raw(b"Q"),
    "Query that needs more, with bytes behind": wire.raw(b"Q", b"set work_mem = '1MB'\0garbage"),
    "Query that names a statement, without terminator": wire.parse("n", "select 1") + wire.raw(b"Q", b"deallocate nx"),
    "Parse cut": wire.raw(b"P", b"name") + wire.sync(),
    "Parse type count too big": wire.raw(b"P", b"\0select 1\0\xff\xff") + wire.sync(),
    "Parse empty": wire.raw(b"P"),
    "Parse count negative": wire.raw(b"P", b"\0select 1\0\0\x02\0\0\0\x17") + wire.sync(),
    "Bind cut": wire.raw(b"B", b"\0") + wire.sync(),
    "Bind empty": wire.raw(b"B") + wire.sync(),
    "Bind value too long": wire.parse("", "select $1::text")
    + wire.raw(b"B", b"\0\0" + struct.pack("!HHi", 0, 1, 1000) + b"x")
    + wire.sync(),
    "Bind value negative": wire.parse("", "select $1::text")
    + wire.raw(b"B", b"\0\0" + struct.pack("!HHi", 0, 1, -5) + b"\0\0")
    + wire.sync(),
    "Describe of nothing": wire.raw(b"D", b"X\0") + wire.sync(),
    "Describe empty": wire.raw(b"D") + wire.sync(),
    "Describe without name": wire.raw(b"D", b"S") + wire.sync(),
    "Describe without terminator": wire.parse("n", "select 1") + wire.raw(b"D", b"Snx") + wire.sync(),
    "Close of nothing": wire.raw(b"C", b"X\0") + wire.sync(),
    "Close empty": wire.raw(b"C") + wire.sync(),
    "Close without terminator": wire.parse("n", "select 1") + wire.raw(b"C", b"Snx") + wire.sync(),
    "Execute cut": wire.raw(b"E", b"\0\0") + wire.sync(),
    "Execute that clears, cut": wire.parse("", "discard all")
    + wire.bind("p", "")
    + wire.raw(b"E", b"pppppppp")
    + wire.sync(),
    "Execute that resets, cut": wire.parse("", "reset all") + wire.bind("p", "") + wire.raw(b"E", b"p") + wire.sync(),
    "Sync with body": wire.raw(b"S", b"body"),
    "Flush with body": wire.raw(b"H", b"body") + wire.sync(),
    "FunctionCall cut": wire.raw(b"F", b"\0\0"),
    "CopyData outside": wire.copy_data(b"stray") + wire.query("select 'after'"),
    "CopyDone outside": wire.copy_done() + wire.query("select 'after'"),
    "CopyFail outside": wire.copy_fail("stray") + wire.query("select 'after'"),
    "password inside": wire.raw(b"p", b"secret\0"),
    "unnamed portal unknown": wire.execute("nowhere") + wire.sync(),
    "zero bytes in name": wire.raw(b"P", b"a\0b\0c\0\0\0") + wire.sync(),
    "invalid utf-8 text": wire.query(b"select '\xff\xfe'"),
}


def outcome(client: RawClient, data: bytes) -> tuple[str, list[str]]:
    """What it is answered to *data* and what it says behind that, up to the end of its session."""
    client.send(data, wire.sync(), wire.query("select 'end'"), wire.terminate())
    messages = list(client.messages())
    client.vanish()
    return wire.kinds(messages), wire.errors(messages)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_body_as_postgresql(pooler: stack.Pooler, direct: Callable[..., RawClient], data: bytes) -> None:
    """A whole message with a broken body: the same answers as from PostgreSQL, also to what follows."""
    expected = outcome(direct(), data)
    got = outcome(pooler.connect("one"), data)
    assert got == expected or (stack.IS_PEER and got[1] in (["08P01"], [])), (got, expected)
    with pooler.connect("one") as other:
        assert other.ask("select 'fine'") == "fine"


@pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the executable under test ends such sessions")
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_body_of_a_client_that_waited(pooler: stack.Pooler, direct: Callable[..., RawClient], data: bytes) -> None:
    """It is understood when somebody else gives the server back: that one hears nothing of it."""
    with pooler.connect("one") as holder:
        holder.query("begin")
        client = pooler.connect("one")
        client.send(data + wire.sync())
        stack.wait_taken(client)
        holder.query("commit")
        assert outcome(client, b"") == outcome(direct(), data + wire.sync())
        assert holder.ask("select 'fine'") == "fine"


BREAKING = {
    "length": b"Q\0\0\0\1",
    "type": b"\x7f\0\0\0\4",
    "type, not whole": b"\x7f\0\0\1\0",
    "password": wire.raw(b"p", b"secret\0"),
}
AHEAD = {"first": b"", "Query": wire.query("select 'ahead'"), "Parse": wire.parse("", "select 1")}


@pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no such setting")
@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD.keys())
def test_whoever_breaks_the_protocol_holds_up_nobody(start_pooler: Callable[..., stack.Pooler], ahead: bytes) -> None:
    """Their server waits for nothing that was never sent to it: it is free, or closed, at once."""
    pooler = start_pooler({"server_reset_timeout": 300})
    for name, data in BREAKING.items():
        client = pooler.connect("one")
        client.send(ahead + data)
        assert wire.errors(client.messages())[-1:] == ["08P01"], name
        client.vanish()
        with pooler.connect("one") as other:
            assert other.ask("select 'fine'") == "fine", name


def test_cut_long_message_holds_nothing(pooler: stack.Pooler) -> None:
    """A message that promises a gigabyte and never comes does not make the pooler allocate it."""
    client = pooler.connect("one")
    client.ask("select 1")
    before = pooler.rss_kib
    client.send(b"Q" + struct.pack("!I", 1_000_000_000) + b"select 1")
    with pooler.connect("two") as other:
        assert other.ask("select 'fine'") == "fine"
    assert pooler.rss_kib - before < 10_000
    client.vanish()


@pytest.fixture(scope="module", params=["plain", "md5", "scram-sha-256"])
def guarded(request: pytest.FixtureRequest, start_pooler: Callable[..., stack.Pooler]) -> stack.Pooler:
    """A pooler that asks for passwords."""
    return start_pooler({"auth_type": request.param})


def with_password(pooler: stack.Pooler, user: str, password: str, database: str = "one") -> psycopg.Connection:
    host, port = pooler.address
    return psycopg.connect(
        f"host={host} port={port} dbname={database} sslmode=disable",
        user=user,
        password=password,
        prepare_threshold=None,
        connect_timeout=10,
    )


def test_right_password_enters(guarded: stack.Pooler) -> None:
    """The password of the userlist opens the door."""
    with with_password(guarded, stack.OWNER, stack.PASSWORD) as connection:
        assert connection.execute("select session_user").fetchone() == (stack.OWNER,)


@pytest.mark.parametrize("password", ["wrong", "", "correct horse ", "x" * 5000, "correct\\horse"])
def test_wrong_password_is_refused(guarded: stack.Pooler, password: str) -> None:
    """A wrong password is refused, also after a right one has warmed up a server; a neighbour works on."""
    with with_password(guarded, stack.OWNER, stack.PASSWORD) as good:
        good.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no password supplied"):
            with_password(guarded, stack.OWNER, password)
        assert good.execute("select 'fine'").fetchone() == ("fine",)


def test_unknown_user_looks_like_wrong_password(guarded: stack.Pooler) -> None:
    """An unknown user cannot be told from a wrong password."""

    def complaint(user: str) -> str:
        with pytest.raises(psycopg.OperationalError) as raised:
            with_password(guarded, user, "wrong")
        return str(raised.value).replace(user, "USER").split("FATAL")[-1]

    if stack.IS_PEER:
        pytest.skip("the executable under test tells them apart")
    assert complaint("nobody_known") == complaint(stack.OWNER)


def test_password_reaches_locked_server(guarded: stack.Pooler) -> None:
    """Where PostgreSQL itself asks for SCRAM the pooler logs in with the stored secret."""
    with with_password(guarded, stack.LOCKED, stack.PASSWORD) as connection:
        assert connection.execute("select session_user").fetchone() == (stack.LOCKED,)


@pytest.mark.parametrize("length", [0, 3, 4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_bad_password_packet_is_refused(guarded: stack.Pooler, length: int) -> None:
    """Every length of the password packet is looked at before it is believed."""
    client = guarded.raw("one")
    client.send(wire.startup(client.startup))
    assert client.receive().kind == "R"
    client.send(b"p" + struct.pack("!I", length) + b"x\0" * 50)
    client.half_close()
    assert "Z" not in wire.kinds(client.messages())
    client.vanish()


@pytest.mark.parametrize("letter", b"QPBDEHSCFXdcf?\0")
def test_other_message_instead_of_password(guarded: stack.Pooler, letter: int) -> None:
    """Any other message where the password belongs is refused."""
    client = guarded.raw("one")
    client.send(wire.startup(client.startup))
    client.receive()
    client.send(wire.raw(bytes([letter]), b"correct horse\0"))
    client.half_close()
    messages = list(client.messages())
    assert "Z" not in wire.kinds(messages)
    client.vanish()


def test_query_behind_password_waits_for_login(start_pooler: Callable[..., stack.Pooler]) -> None:
    """A query sent in the same write as the password is run after the login, not before."""
    pooler = start_pooler({"auth_type": "plain"})
    for password, expected in ((stack.PASSWORD, [b"now"]), ("wrong", [])):
        client = pooler.raw("one")
        client.send(wire.startup(client.startup))
        client.receive()
        client.send(wire.raw(b"p", wire.text(password)), wire.query("select 'now'"), wire.terminate())
        assert wire.values(client.messages()) == expected
        client.vanish()


def test_unknown_database_is_told(pooler: stack.Pooler) -> None:
    """A database that is not configured is refused by name."""
    client = pooler.raw("no_such_entry")
    if stack.NONE:
        pytest.skip("needs a pooler")
    client.send(wire.startup(client.startup))
    error = client.refused()
    assert error.fields["S"] == "FATAL" and error.sqlstate in ("3D000", "08P01")
    assert "no_such_entry" in error.fields["M"]
    client.vanish()


def test_unknown_user_is_told(pooler: stack.Pooler) -> None:
    """With trust, a user that is not in the userlist is refused."""
    if stack.NONE:
        pytest.skip("needs a pooler")
    with pytest.raises(ServerError) as raised:
        pooler.connect("one", "nobody_known")
    assert raised.value.message.fields["S"] == "FATAL"
    assert raised.value.sqlstate in ("28000", "28P01", "08P01")


def test_noise_disturbs_nobody(pooler: stack.Pooler) -> None:
    """Three hundred connections of random bytes, before and after login; the pooler works on."""
    generator = random.Random(3)
    for number in range(300):
        client = pooler.connect("one") if number % 3 == 0 else pooler.raw("one")
        try:
            client.send(generator.randbytes(generator.randrange(1, 400)))
        except OSError:
            pass
        if number % 2:
            client.reset()
        else:
            client.vanish()
    with pooler.connect("one") as other:
        assert other.ask("select 'fine'") == "fine"
    assert pooler.running or stack.NONE


def test_login_timeout_ends_silence(start_pooler: Callable[..., stack.Pooler]) -> None:
    """Who connects and says nothing, or half a packet, is closed after client_login_timeout."""
    # With tcp_defer_accept the kernel itself would hold the silent one back for 45 seconds.
    pooler = start_pooler({"client_login_timeout": 1, "tcp_defer_accept": 0})
    silent, half = pooler.raw("one"), pooler.raw("one")
    half.send(wire.startup(half.startup)[:9])
    for client in (silent, half):
        assert wire.kinds(client.messages()) in ("", "E")
        client.vanish()
    with pooler.connect("one") as other:
        assert other.ask("select 'fine'") == "fine"


def test_secrets_stay_out_of_the_log(guarded: stack.Pooler) -> None:
    """Neither the stored password nor one that was tried appears in the log."""
    with_password(guarded, stack.OWNER, stack.PASSWORD).close()
    with pytest.raises(psycopg.OperationalError):
        with_password(guarded, stack.OWNER, "tried-and-wrong")
    assert stack.PASSWORD not in guarded.log and "tried-and-wrong" not in guarded.log
    assert os.path.basename(guarded.ini) == "pgbouncer.ini"
