"""A client's login over a real socket: what it hears, what is handed over, what is logged."""

from __future__ import annotations

import gc
import struct
import threading
import weakref
from dataclasses import replace

import pytest

from pgpool_py.frontend.errors import LoginRefused, PoolerStopping
from pgpool_py.frontend.gate import LoginRules
from pgwire import (
    Answer,
    AuthenticationOk,
    BackendKeyData,
    ErrorResponse,
    NegotiateProtocolVersion,
    NoticeResponse,
    ParameterStatus,
    ReadyForQuery,
    SSLRequest,
    StartupMessage,
)
from pgwire.codes import PROTOCOL_3_0, PROTOCOL_3_2
from pgwire.startup_messages import CancelRequest, GSSENCRequest
from tests.frontend.fakes import PARAMETERS, FakeDatabase, FakeGate, Frontend, RawClient

TRUST = LoginRules(auth_type="trust")


@pytest.fixture(autouse=True)
def trust(gate: FakeGate) -> None:
    gate.rules = TRUST


def refusal(client: RawClient) -> tuple[str, str, str]:
    """Severity, SQLSTATE and text of the error that comes next; nothing may follow it."""
    error = client.event()
    assert isinstance(error, ErrorResponse), error
    assert client.at_end()
    return error.severity, error.code, error.message


def test_client_gets_the_welcome(frontend: Frontend, gate: FakeGate) -> None:
    with frontend.connect() as client:
        client.startup(application_name="web")
        assert client.events(ReadyForQuery) == [
            AuthenticationOk(),
            *(ParameterStatus(name, value) for name, value in PARAMETERS.items()),
            BackendKeyData(4711, bytes(range(4))),
            ReadyForQuery("I"),
        ]
        login = frontend.next_client()
    assert (login.user, login.database.name, login.pool) == ("ann", "app", ("pool of", "app"))
    assert login.settings == {"application_name": "web"}
    assert (login.pid, login.key, login.protocol) == (4711, bytes(range(4)), PROTOCOL_3_0)
    assert login.leftover == b""
    assert gate.counts.by_user == {"ann": 1}
    assert "bytes" not in repr(login) and "secret" not in repr(login)


def test_login_attempt_is_logged(frontend: Frontend, gate: FakeGate) -> None:
    with frontend.connect() as client:
        client.startup()
        client.events(ReadyForQuery)
        port = client.sock.getsockname()[1]
    assert gate.lines == [(f"C-0x1: app/ann@127.0.0.1:{port}", "login attempt: db=app user=ann tls=no")]
    assert gate.failures.empty()


def test_newer_client_gets_a_long_key(frontend: Frontend) -> None:
    with frontend.connect() as client:
        client.send(StartupMessage({"user": "ann", "database": "app"}, PROTOCOL_3_2))
        key = client.events(ReadyForQuery)[-2]
    assert key == BackendKeyData(4711, bytes(range(32)))


def test_future_protocol_is_negotiated_once(frontend: Frontend) -> None:
    with frontend.connect() as client:
        parameters = {"user": "ann", "database": "app", "_pq_.magic": "1"}
        client.send(StartupMessage(parameters, (3 << 16) | 9999))
        events = client.events(ReadyForQuery)
    negotiations = [event for event in events if isinstance(event, NegotiateProtocolVersion)]
    assert events[0] == NegotiateProtocolVersion(PROTOCOL_3_2, (b"_pq_.magic",))
    assert len(negotiations) == 1
    assert len(events[-2].secret) == 32  # type: ignore[attr-defined]


def test_notice_comes_before_ready(frontend: Frontend, gate: FakeGate) -> None:
    gate.notice = "be nice"
    with frontend.connect() as client:
        client.startup()
        notice, ready = client.events(ReadyForQuery)[-2:]
    assert isinstance(notice, NoticeResponse) and notice.message == "be nice"
    assert ready == ReadyForQuery("I")


def test_dribbled_bytes_work(frontend: Frontend) -> None:
    with frontend.connect() as client:
        for byte in client.side.send(StartupMessage({"user": "ann", "database": "app"})):
            client.sock.sendall(bytes((byte,)))
        client.events(ReadyForQuery)
        assert frontend.next_client().user == "ann"


def test_early_query_is_handed_over(frontend: Frontend) -> None:
    query = b"Q\0\0\0\x0dselect 1\0"
    with frontend.connect() as client:
        client.sock.sendall(client.side.send(StartupMessage({"user": "ann", "database": "app"})) + query)
        client.events(ReadyForQuery)
        assert frontend.next_client().leftover == query


@pytest.mark.parametrize("requests", [[SSLRequest], [GSSENCRequest], [GSSENCRequest, SSLRequest]])
def test_encryption_is_refused_politely(frontend: Frontend, requests: list[type]) -> None:
    with frontend.connect() as client:
        for request in requests:
            client.send(request())
            assert client.event() is Answer.REFUSED
        client.startup()
        assert client.events(ReadyForQuery)


@pytest.mark.parametrize("request_class", [SSLRequest, GSSENCRequest])
def test_bytes_behind_encryption_request_are_refused(
    frontend: Frontend, gate: FakeGate, request_class: type[SSLRequest | GSSENCRequest]
) -> None:
    """CVE-2021-3935: they would pass for bytes that came encrypted."""
    with frontend.connect() as client:
        startup = StartupMessage({"user": "ann", "database": "app"}).encode()
        client.sock.sendall(request_class().encode() + startup)
        assert b"received unencrypted data after" in client.sock.recv(8192)
        assert client.at_end()
    _, reason, _ = gate.next_failure()
    assert reason.startswith("received unencrypted data after")
    assert frontend.clients.empty()


def test_second_ssl_request_is_refused(frontend: Frontend) -> None:
    with frontend.connect() as client:
        client.sock.sendall(SSLRequest().encode())
        assert client.sock.recv(1) == b"N"
        client.sock.sendall(SSLRequest().encode())
        assert b"unsupported frontend protocol" in client.sock.recv(8192)


def test_direct_tls_is_closed_without_words(frontend: Frontend, gate: FakeGate) -> None:
    with frontend.connect() as client:
        client.sock.sendall(bytes.fromhex("16030100c8010000c40303"))
        assert client.at_end()
    assert gate.next_failure()[1] == "TLS setup failed: direct TLS is not supported"


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (2 << 16, "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"),
        (4 << 16, "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"),
    ],
)
def test_other_protocols_are_refused(frontend: Frontend, gate: FakeGate, version: int, text: str) -> None:
    with frontend.connect() as client:
        client.sock.sendall(struct.pack("!ii", 8 + 9, version) + b"user\0ann\0")
        assert text.encode() in client.sock.recv(8192)
        assert client.at_end()
    assert gate.next_failure()[1] == text


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!i", 0) + b"x" * 20,
        struct.pack("!i", 7) + b"x" * 20,
        struct.pack("!i", -1) + b"x" * 20,
        struct.pack("!I", 0x80000000) + b"x" * 20,
        struct.pack("!i", 0x7FFFFFFF) + b"x" * 20,
        struct.pack("!ii", 10_005, PROTOCOL_3_0),
        struct.pack("!ii", 17, PROTOCOL_3_0) + b"user\0annx",
        b"p\0\0\0\x08abc\0",  # a password first
        b"Q\0\0\0\x0dselect 1\0",
        b"\0" * 100_000,
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_is_answered_and_closed(frontend: Frontend, gate: FakeGate, garbage: bytes) -> None:
    with frontend.connect() as client, frontend.connect() as neighbour:
        client.sock.sendall(garbage)
        answer = client.sock.recv(8192)
        assert answer.startswith(b"E") and (b"C08P01\0" in answer or b"C0A000\0" in answer)
        assert client.at_end()
        gate.next_failure()
        neighbour.startup()
        neighbour.events(ReadyForQuery)
    assert gate.failures.empty()
    assert gate.counts.total == 1


def test_long_names_do_no_harm(frontend: Frontend, gate: FakeGate) -> None:
    """PgBouncer CVE-2012-4575: an over-long database name ended the process."""
    with frontend.connect() as client:
        client.startup(database="d" * 9000)
        severity, code, text = refusal(client)
    assert (severity, code) == ("FATAL", "3D000")
    assert text == f"no such database: {'d' * 9000}"


def test_names_cannot_forge_log_lines(frontend: Frontend, gate: FakeGate) -> None:
    gate.secrets["x\ny"] = ["s"]
    with frontend.connect() as client:
        client.startup(user="x\ny", database="a\r\nb")
        refusal(client)
    who, reason, _ = gate.next_failure()
    assert who.startswith(r"C-0x1: a\r\nb/x\ny@127.0.0.1:")
    assert reason == r"no such database: a\r\nb"


def test_names_that_are_not_utf8_come_back(frontend: Frontend) -> None:
    with frontend.connect() as client:
        client.startup(database="caf\udce9")
        assert client.event().fields["M"] == b"no such database: caf\xe9"  # type: ignore[attr-defined]


def test_unknown_database_is_named(frontend: Frontend, gate: FakeGate) -> None:
    with frontend.connect() as client:
        client.startup(database="nosuch")
        assert refusal(client) == ("FATAL", "3D000", "no such database: nosuch")
    assert gate.next_failure()[1] == "no such database: nosuch"


def test_disabled_database_is_refused(frontend: Frontend, gate: FakeGate) -> None:
    gate.databases["off"] = FakeDatabase("off", disabled=True)
    with frontend.connect() as client:
        client.startup(database="off")
        assert refusal(client) == ("FATAL", "55000", 'database "off" is disabled')


def test_nonsense_for_replication_is_refused(frontend: Frontend) -> None:
    with frontend.connect() as client:
        client.startup(replication="perhaps")
        assert refusal(client) == ("FATAL", "22023", 'invalid value for parameter "replication": "perhaps"')


def test_unsupported_parameter_is_refused(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(TRUST, startup_parameters=frozenset({"datestyle"}))
    with frontend.connect() as client:
        client.startup(options="-c geqo=on")
        assert refusal(client) == ("FATAL", "08P01", "unsupported startup parameter in options: geqo")


def test_gate_may_refuse_before_authentication(frontend: Frontend, gate: FakeGate) -> None:
    gate.not_admitted = PoolerStopping()
    with frontend.connect() as client:
        client.startup()
        assert refusal(client) == ("FATAL", "57P01", "pooler is shutting down")


def test_gate_may_refuse_after_authentication(frontend: Frontend, gate: FakeGate) -> None:
    gate.no_welcome = LoginRefused(
        "server login has been failing, cached error: x (server_login_retry)", "28P01"
    )
    with frontend.connect() as client:
        client.startup()
        assert refusal(client)[1] == "28P01"
    gate.next_failure()
    assert gate.counts.by_user == {} and gate.counts.by_database == {}


def test_mistake_of_ours_costs_one_login(frontend: Frontend, gate: FakeGate) -> None:
    gate.no_welcome = KeyError("oops")
    with frontend.connect() as client:
        client.startup()
        assert refusal(client) == ("FATAL", "XX000", "internal error")
    assert gate.next_failure()[1:] == ("internal error", "KeyError: 'oops'")
    gate.no_welcome = None
    with frontend.connect() as client:
        client.startup()
        client.events(ReadyForQuery)


def test_too_many_clients_are_told(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(TRUST, max_client_conn=1)
    gate.databases["pgbouncer"] = FakeDatabase("pgbouncer", is_console=True)
    with frontend.connect() as first, frontend.connect() as second, frontend.connect() as admin:
        first.startup()
        first.events(ReadyForQuery)
        second.startup()
        assert refusal(second) == ("FATAL", "53300", "no more connections allowed (max_client_conn)")
        admin.startup(database="pgbouncer")
        admin.events(ReadyForQuery)


def test_database_and_user_limits_hold(frontend: Frontend, gate: FakeGate) -> None:
    gate.databases["app"].max_client_connections = 1
    gate.databases["web"] = FakeDatabase("web")
    gate.user_limits["ann"] = 1
    with frontend.connect() as first, frontend.connect() as second, frontend.connect() as third:
        first.startup()
        first.events(ReadyForQuery)
        second.startup()
        assert refusal(second)[2] == "client connections exceeded (max_db_client_connections)"
        third.startup(database="web")
        assert refusal(third)[2] == "client connections exceeded (max_user_client_connections)"


def test_stalling_client_is_closed(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(TRUST, client_login_timeout=0.1)
    with frontend.connect() as client:
        client.sock.sendall(b"\0\0\0")
        assert refusal(client) == ("FATAL", "08P01", "client_login_timeout")
    assert gate.next_failure()[1] == "client_login_timeout"
    assert gate.counts.total == 0


def test_timeout_says_when_the_server_is_down(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(TRUST, client_login_timeout=0.1)
    gate.hold_welcome = True
    with frontend.connect() as client:
        client.startup()
        assert refusal(client)[2] == "client_login_timeout (server down)"


def test_zero_is_no_login_timeout(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(TRUST, client_login_timeout=0)
    with frontend.connect() as client:
        client.startup()
        client.events(ReadyForQuery)


@pytest.mark.parametrize("said", [b"", b"\0\0", SSLRequest().encode()])
def test_client_that_leaves_is_forgotten(frontend: Frontend, gate: FakeGate, said: bytes) -> None:
    with frontend.connect() as client:
        client.sock.sendall(said)
    who, reason, _ = gate.next_failure()
    assert who.startswith("C-0x1: (nodb)/(nouser)@127.0.0.1:")
    assert reason == "client unexpected eof"
    frontend.run(_nothing())
    assert gate.counts.total == 0 and frontend.listener.logins == 0


async def _nothing() -> None:
    """One turn of the frontend's loop."""


def test_cancel_request_reaches_the_gate(frontend: Frontend, gate: FakeGate) -> None:
    """The connection stays open until the cancel has taken effect, then closes without a word."""
    gate.cancel_gate = threading.Event()
    gate.rules = replace(TRUST, max_client_conn=0)
    with frontend.connect() as client:
        client.sock.sendall(CancelRequest(99, b"k" * 32).encode())
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        gate.cancel_gate.set()
        client.sock.settimeout(10)
        assert client.at_end()
    assert gate.cancels == [(99, b"k" * 32)]
    assert gate.failures.empty()


@pytest.mark.parametrize("length", [0, 3, 257])
def test_impossible_cancel_keys_are_refused(frontend: Frontend, gate: FakeGate, length: int) -> None:
    with frontend.connect() as client:
        client.sock.sendall(struct.pack("!iii", 12 + length, 80877102, 1) + b"k" * length)
        assert client.sock.recv(8192).startswith(b"E")
    assert gate.cancels == []


def test_end_of_logins_is_told(frontend: Frontend, gate: FakeGate) -> None:
    gate.hold_welcome = True
    with frontend.connect() as client:
        client.startup()
        while not gate.requests:
            frontend.run(_nothing())
        frontend.run(frontend.listener.end_logins())
        assert refusal(client)[1:] == ("57P01", "pooler is shutting down")
    assert gate.counts.total == 0


def test_nothing_but_the_hand_over_remains(frontend: Frontend) -> None:
    """10,000 idle clients must not leave 10,000 tasks, timers or cycles behind."""

    def garbage_of_one_login() -> tuple[int, bool]:
        with frontend.connect() as client:
            client.startup()
            client.events(ReadyForQuery)
            login = frontend.next_client()
            frontend.run(_nothing())
            registered = frontend.call(lambda: frontend.loop.remove_reader(login.sock))
        return frontend.listener.logins, bool(registered)

    def login_objects() -> list[object]:
        return [thing for thing in gc.get_objects() if type(thing).__name__ in LOGIN_OBJECTS]

    garbage_of_one_login()
    gc.collect()
    before = login_objects()  # held by other test modules, as parameters
    gc.disable()
    try:
        assert garbage_of_one_login() == (0, False)
        frontend.run(_nothing())
        alive = [thing for thing in login_objects() if not any(thing is other for other in before)]
    finally:
        gc.enable()
    assert alive == []


LOGIN_OBJECTS = {"_Login", "_Progress", "Conversation", "ClientSide", "StartupMessage", "Welcome"}


def test_handed_over_login_dies_with_its_owner(frontend: Frontend) -> None:
    with frontend.connect() as client:
        client.startup()
        client.events(ReadyForQuery)
        login = frontend.next_client()
        frontend.run(_nothing())
        gc.disable()
        try:
            sock = weakref.ref(login.sock)
            login.sock.close()
            frontend.kept.clear()
            del login
            assert sock() is None
        finally:
            gc.enable()
