"""Both sides of a connection: logins, sessions, and what neither may say."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import pytest

import pgwire
from pgwire import NEED_DATA, ClientSide, OwnViolation, PeerViolation, ServerSide, State
from pgwire.codes import MAX_LOGIN_MESSAGE, MAX_STARTUP_PACKET
from pgwire.state import BACKEND_SENDS, BACKEND_TURNS, FRONTEND_SENDS, FRONTEND_TURNS

NewPair = Callable[..., Any]
STARTUP = pgwire.StartupMessage({"user": "app"})


def password_login(pair: Any) -> None:
    assert pair.frontend_says(pgwire.SSLRequest()) == [pgwire.SSLRequest()]
    assert pair.backend_answers(pair.backend.refuse_encryption()) == [pgwire.Answer.REFUSED]
    assert pair.frontend_says(STARTUP) == [STARTUP]
    md5 = pgwire.AuthenticationMD5Password(b"salt")
    assert pair.backend_says(md5) == [md5]
    assert pair.frontend_says(pgwire.PasswordMessage(b"md5x")) == [pgwire.PasswordMessage(b"md5x")]
    finish(pair, b"1234")


def scram_login(pair: Any) -> None:
    startup = pgwire.StartupMessage({"user": "app", "_pq_.x": ""}, 196608 + 9999)
    assert pair.frontend_says(startup) == [startup]
    offer = pgwire.negotiation(startup)
    assert pair.backend_says(offer) == [offer]
    assert pair.frontend.protocol == pair.backend.protocol == 196610
    server = pgwire.ScramServer(pgwire.ScramSecret.derive("pencil", 1))
    client = pgwire.ScramClient("pencil")
    pair.backend_says(pgwire.AuthenticationSASL((b"SCRAM-SHA-256",)))
    [initial] = pair.frontend_says(pgwire.SASLInitialResponse(b"SCRAM-SHA-256", client.first()))
    [challenge] = pair.backend_says(pgwire.AuthenticationSASLContinue(server.first(initial.data)))
    [response] = pair.frontend_says(pgwire.SASLResponse(client.final(challenge.data)))
    verifier = server.final(response.data)
    assert verifier is not None
    [outcome] = pair.backend_says(pgwire.AuthenticationSASLFinal(verifier))
    client.verify(outcome.data)
    finish(pair, b"k" * 32)


def finish(pair: Any, secret: bytes) -> None:
    messages = [
        pgwire.AuthenticationOk(),
        pgwire.ParameterStatus(b"server_version", b"18.0"),
        pgwire.BackendKeyData(5, secret),
        pgwire.NoticeResponse.make("NOTICE", "00000", "hello"),
        pgwire.ReadyForQuery(),
    ]
    assert pair.backend_says(*messages) == messages


def simple_queries(pair: Any) -> None:
    queries = [pgwire.Query(b"select 1"), pgwire.Query(b"select 2")]
    assert pair.frontend_says(*queries) == queries  # pipelined
    reply = [
        pgwire.RowDescription((pgwire.Column(b"?column?", 23),)),
        pgwire.DataRow((b"1",)),
        pgwire.CommandComplete(b"SELECT 1"),
        pgwire.ReadyForQuery(),
    ]
    assert pair.backend_says(*reply) == reply
    assert pair.states() == (State.BUSY, State.BUSY)  # the second is still owed
    assert pair.backend_says(*reply) == reply
    assert pair.states() == (State.READY, State.READY)


def extended_queries(pair: Any) -> None:
    batch = [
        pgwire.Parse(b"s", b"select $1", (23,)),
        pgwire.Bind(b"", b"s", (), (b"1",), (0,)),
        pgwire.Describe(b"P", b""),
        pgwire.Execute(),
        pgwire.Close(b"S", b"s"),
        pgwire.Flush(),
        pgwire.Sync(),
    ]
    assert pair.frontend_says(*batch) == batch
    reply = [
        pgwire.ParseComplete(),
        pgwire.BindComplete(),
        pgwire.NoData(),
        pgwire.PortalSuspended(),
        pgwire.CloseComplete(),
        pgwire.ReadyForQuery("T"),
    ]
    assert pair.backend_says(*reply) == reply
    assert pair.frontend.state is State.READY


def copies(pair: Any) -> None:
    pair.frontend_says(pgwire.Query(b"copy t from stdin"))
    pair.backend_says(pgwire.CopyInResponse(0, (0,)))
    data = [pgwire.CopyData(b"1\n"), pgwire.CopyData(b""), pgwire.CopyDone()]
    assert pair.frontend_says(*data) == data
    pair.backend_says(pgwire.CommandComplete(b"COPY 1"), pgwire.ReadyForQuery())
    pair.frontend_says(pgwire.Query(b"copy t to stdout"))
    pair.backend_says(pgwire.CopyOutResponse(0, (0,)))
    assert pair.backend_says(*data) == data
    pair.backend_says(pgwire.CommandComplete(b"COPY 1"), pgwire.ReadyForQuery())
    pair.frontend_says(pgwire.FunctionCall(1, (), (b"x",)))
    pair.backend_says(pgwire.FunctionCallResponse(b"y"), pgwire.ReadyForQuery())
    assert pair.frontend_says(pgwire.Terminate()) == [pgwire.Terminate()]
    assert pair.states() == (State.CLOSED, State.CLOSED)


def whole_life(pair: Any, login: Callable[[Any], None]) -> None:
    login(pair)
    for part in (simple_queries, extended_queries, copies):
        part(pair)


@pytest.mark.parametrize("login", [password_login, scram_login])
@pytest.mark.parametrize("cut", [None, *range(90)])
def test_dialogue_survives_every_split(
    new_pair: NewPair, login: Callable[[Any], None], cut: int | None
) -> None:
    """Cut 0 is byte by byte; the longer transmissions are cut at every further byte below."""
    whole_life(new_pair(cut), login)


def test_long_transmission_survives_every_split() -> None:
    frontend = ServerSide()
    frontend.send(STARTUP)
    login = ClientSide()
    login.receive(STARTUP.encode())
    assert login.next_event() == STARTUP
    messages = [
        pgwire.AuthenticationOk(),
        *(pgwire.ParameterStatus(b"name%d" % number, b"value") for number in range(12)),
        pgwire.BackendKeyData(5, b"1234"),
        pgwire.ReadyForQuery(),
    ]
    wire = b"".join(login.send(message) for message in messages)
    for cut in range(len(wire) + 1):
        side = ServerSide()
        side.send(STARTUP)
        side.receive(wire[:cut])
        heard = list(side.events())
        side.receive(wire[cut:])
        heard += side.events()
        assert heard == messages
        assert side.state is State.READY


def test_leftover_goes_to_whoever_reads_on(pair: Any) -> None:
    early = pgwire.Query(b"select 1").encode()
    pair.backend.receive(STARTUP.encode() + early)
    assert pair.backend.next_event() == STARTUP
    assert pair.backend.next_event() is NEED_DATA  # early is not wrong
    for message in (pgwire.AuthenticationOk(), pgwire.ReadyForQuery()):
        pair.backend.send(message)
    assert pair.backend.leftover() == early
    assert pair.backend.leftover() == b""


def test_early_query_is_heard_after_login(pair: Any) -> None:
    pair.backend.receive(STARTUP.encode() + pgwire.Query(b"select 1").encode())
    list(pair.backend.events())
    pair.backend.send(pgwire.AuthenticationOk())
    pair.backend.send(pgwire.ReadyForQuery())
    assert list(pair.backend.events()) == [pgwire.Query(b"select 1")]


def test_early_bytes_are_bounded(pair: Any) -> None:
    pair.backend.receive(STARTUP.encode() + b"x" * (MAX_LOGIN_MESSAGE + 1))
    assert pair.backend.next_event() == STARTUP
    with pytest.raises(PeerViolation, match="too much data"):
        pair.backend.next_event()


def asked(message: Any) -> ClientSide:
    """A backend that has asked for a password in some way."""
    side = ClientSide()
    side.receive(STARTUP.encode())
    side.next_event()
    side.send(message)
    return side


ASKS = [
    (pgwire.AuthenticationCleartextPassword(), "expected password response, got message type"),
    (pgwire.AuthenticationMD5Password(b"salt"), "expected password response, got message type"),
    (pgwire.AuthenticationSASL((b"SCRAM-SHA-256",)), "expected SASL response, got message type"),
    (pgwire.AuthenticationGSS(), "expected GSS response, got message type"),
]


@pytest.mark.parametrize(("ask", "text"), ASKS, ids=lambda value: type(value).__name__)
def test_other_message_instead_of_password(ask: Any, text: str) -> None:
    """Refused at its first byte, whatever its length will be."""
    for code in range(256):
        if code != pgwire.Frontend.PASSWORD:
            side = asked(ask)
            side.receive(bytes((code,)))
            with pytest.raises(PeerViolation, match=f"{text} {code}"):
                side.next_event()


@pytest.mark.parametrize(("ask", "_text"), ASKS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("length", [0, 3, MAX_LOGIN_MESSAGE + 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_lying_length_of_password_is_refused(ask: Any, _text: str, length: int) -> None:
    side = asked(ask)
    side.receive(b"p" + struct.pack("!I", length))
    with pytest.raises(PeerViolation, match="invalid message length"):
        side.next_event()


def test_password_of_64_kib_is_taken() -> None:
    side = asked(pgwire.AuthenticationCleartextPassword())
    message = pgwire.PasswordMessage(b"x" * 65_536)
    side.receive(message.encode())
    assert side.next_event() == message


@pytest.mark.parametrize("body", [b"", b"secret", b"sec\0ret\0", b"secret\0\0"])
def test_password_without_one_terminator_is_refused(body: bytes) -> None:
    side = asked(pgwire.AuthenticationCleartextPassword())
    side.receive(b"p" + struct.pack("!I", len(body) + 4) + body)
    with pytest.raises(PeerViolation, match="invalid password packet size"):
        side.next_event()


def test_kind_of_password_message_follows_the_question() -> None:
    wire = pgwire.SASLInitialResponse(b"SCRAM-SHA-256", b"n,,").encode()
    kinds = {}
    for ask, _ in ASKS[2:]:
        side = asked(ask)
        side.receive(wire)
        kinds[type(ask)] = type(side.next_event())
    assert kinds == {
        pgwire.AuthenticationSASL: pgwire.SASLInitialResponse,
        pgwire.AuthenticationGSS: pgwire.GSSResponse,
    }


def test_violation_is_raised_again_and_again(session: Any) -> None:
    session.backend.receive(b"?")
    for _ in range(3):
        with pytest.raises(PeerViolation, match="invalid frontend message type 63"):
            session.backend.next_event()
        session.backend.receive(pgwire.Query(b"select 1").encode())


@pytest.mark.parametrize("code", sorted(set(range(256)) - set(pgwire.Frontend)))
def test_unknown_frontend_type_is_a_violation(session: Any, code: int) -> None:
    session.backend.receive(bytes((code,)))
    with pytest.raises(PeerViolation, match=f"invalid frontend message type {code}"):
        session.backend.next_event()


def test_unknown_backend_type_is_a_violation(new_pair: NewPair) -> None:
    for code in sorted(set(range(256)) - set(pgwire.Backend)):
        side = ServerSide()
        side.send(STARTUP)
        side.receive(bytes((code,)))
        with pytest.raises(PeerViolation, match=f"unexpected message type 0x{code:02X} from server"):
            side.next_event()


@pytest.mark.parametrize("length", [0, 3, 0x40000003, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_lying_length_in_a_session_is_refused(session: Any, length: int) -> None:
    session.backend.receive(b"Q" + struct.pack("!I", length))
    with pytest.raises(PeerViolation, match="invalid message length"):
        session.backend.next_event()
    session.frontend.receive(b"A" + struct.pack("!I", length))
    with pytest.raises(PeerViolation, match="invalid message length"):
        session.frontend.next_event()


@pytest.mark.parametrize("code", b"CDEHSXcf")
def test_small_messages_have_a_small_cap(session: Any, code: int) -> None:
    session.backend.receive(bytes((code,)) + struct.pack("!I", 10_005))
    with pytest.raises(PeerViolation, match="invalid message length"):
        session.backend.next_event()


def test_query_in_copy_mode_is_a_violation(session: Any) -> None:
    session.frontend_says(pgwire.Query(b"copy t from stdin"))
    session.backend_says(pgwire.CopyInResponse())
    with pytest.raises(OwnViolation):
        session.frontend.send(pgwire.Query(b"select 1"))
    session.backend.receive(pgwire.Query(b"select 1").encode())
    with pytest.raises(PeerViolation, match="unexpected message type 0x51 during COPY from stdin"):
        session.backend.next_event()


def test_failed_copy_ends_copy_mode(session: Any) -> None:
    session.frontend_says(pgwire.Query(b"copy t from stdin"))
    session.backend_says(pgwire.CopyInResponse())
    session.backend_says(pgwire.ErrorResponse.make("ERROR", "22P02", "bad"), pgwire.ReadyForQuery())
    late = [pgwire.CopyData(b"x"), pgwire.CopyDone(), pgwire.Query(b"select 1")]
    assert session.frontend_says(*late) == late
    assert session.backend.state is State.BUSY


def test_sync_in_copy_mode_owes_nothing(session: Any) -> None:
    """The backend ignores Flush and Sync while it reads copy data, so it answers once."""
    session.frontend_says(pgwire.Query(b"copy t from stdin"))
    session.backend_says(pgwire.CopyInResponse())
    session.frontend_says(pgwire.Sync(), pgwire.Flush(), pgwire.CopyFail(b"no"))
    session.backend_says(pgwire.ErrorResponse.make("ERROR", "57014", "no"), pgwire.ReadyForQuery())
    assert session.states() == (State.READY, State.READY)


def test_replication_copies_both_ways(session: Any) -> None:
    session.frontend_says(pgwire.Query(b"start_replication"))
    session.backend_says(pgwire.CopyBothResponse())
    session.backend_says(pgwire.CopyData(b"w"))
    session.frontend_says(pgwire.CopyData(b"r"), pgwire.CopyDone())
    session.backend_says(pgwire.CopyData(b"w"), pgwire.CopyDone(), pgwire.CommandComplete(b"COPY 0"))
    session.backend_says(pgwire.ReadyForQuery())
    assert session.states() == (State.READY, State.READY)


def test_reply_nobody_asked_for_is_a_violation(session: Any) -> None:
    with pytest.raises(OwnViolation, match="DataRow cannot be sent while READY"):
        session.backend.send(pgwire.DataRow((b"1",)))
    session.frontend.receive(pgwire.DataRow((b"1",)).encode())
    with pytest.raises(PeerViolation, match="unexpected message type 0x44 from server while READY"):
        session.frontend.next_event()


def test_unfinished_batch_keeps_the_session_busy(session: Any) -> None:
    session.frontend_says(pgwire.Sync(), pgwire.Parse(b"", b"select 1"))
    session.backend_says(pgwire.ReadyForQuery())
    assert session.states() == (State.BUSY, State.BUSY)


def test_own_violation_changes_nothing(session: Any) -> None:
    before = repr(session.frontend), repr(session.backend)
    for unfit in (pgwire.PasswordMessage(b"x"), pgwire.ReadyForQuery(), STARTUP, pgwire.Query(b"\0")):
        with pytest.raises(OwnViolation):
            session.frontend.send(unfit)
    for misplaced in (pgwire.Query(b"x"), pgwire.AuthenticationOk(), pgwire.ParameterStatus(b"\0", b"")):
        with pytest.raises(OwnViolation):
            session.backend.send(misplaced)
    assert (repr(session.frontend), repr(session.backend)) == before


def test_wrong_kind_of_password_is_ours_to_notice(pair: Any) -> None:
    pair.frontend_says(STARTUP)
    pair.backend_says(pgwire.AuthenticationSASL((b"SCRAM-SHA-256",)))
    with pytest.raises(OwnViolation):
        pair.frontend.send(pgwire.PasswordMessage(b"x"))
    pair.frontend.send(pgwire.SASLInitialResponse(b"SCRAM-SHA-256", b""))


def test_server_must_prove_itself_after_scram(pair: Any) -> None:
    """A server that skips its own proof could be anybody."""
    pair.frontend_says(STARTUP)
    pair.backend_says(pgwire.AuthenticationSASL((b"SCRAM-SHA-256",)))
    pair.frontend_says(pgwire.SASLInitialResponse(b"SCRAM-SHA-256", b""))
    pair.frontend.receive(pgwire.AuthenticationOk().encode())
    with pytest.raises(PeerViolation, match="unexpected AuthenticationOk from server while SASL_CHECKED"):
        pair.frontend.next_event()


def test_negotiation_comes_once(pair: Any) -> None:
    pair.frontend_says(pgwire.StartupMessage({"user": "app"}, 196610))
    older = pgwire.NegotiateProtocolVersion(196608)
    assert pair.backend_says(older) == [older]
    assert pair.frontend.protocol == 196608
    with pytest.raises(OwnViolation):
        pair.backend.send(older)


@pytest.mark.parametrize("version", [196610, 131072, 262144, 0, 0xFFFFFFFF])
def test_server_cannot_negotiate_upwards(version: int) -> None:
    side = ServerSide()
    side.send(STARTUP)
    side.receive(pgwire.NegotiateProtocolVersion(version).encode())
    with pytest.raises(PeerViolation, match="server cannot negotiate"):
        side.next_event()


def test_long_cancel_key_needs_the_newer_protocol(pair: Any) -> None:
    pair.frontend_says(STARTUP)
    pair.backend_says(pgwire.AuthenticationOk())
    with pytest.raises(OwnViolation, match=r"before protocol 3\.2"):
        pair.backend.send(pgwire.BackendKeyData(1, b"12345"))
    pair.backend.send(pgwire.BackendKeyData(1, b"1234"))


def test_unknown_authentication_is_a_violation() -> None:
    for number in (1, 4, 6, 13, -1, 2**31 - 1):
        side = ServerSide()
        side.send(STARTUP)
        side.receive(b"R" + struct.pack("!Ii", 8, number))
        with pytest.raises(PeerViolation, match=f"authentication method {number} not supported"):
            side.next_event()


@pytest.mark.parametrize(("byte", "answer"), [(b"S", pgwire.Answer.ACCEPTED), (b"N", pgwire.Answer.REFUSED)])
def test_server_answers_encryption_with_a_byte(byte: bytes, answer: pgwire.Answer) -> None:
    side = ServerSide()
    side.send(pgwire.SSLRequest())
    assert side.next_event() is NEED_DATA
    side.receive(byte)
    assert side.next_event() is answer
    side.send(STARTUP)


@pytest.mark.parametrize("wire", [b"SS", b"NE", b"S\x16\x03"])
def test_clear_text_behind_the_answer_is_refused(wire: bytes) -> None:
    side = ServerSide()
    side.send(pgwire.SSLRequest())
    side.receive(wire)
    with pytest.raises(PeerViolation, match="received unencrypted data after SSL response"):
        side.next_event()


@pytest.mark.parametrize("byte", [b"E", b"G", b"H", b"\0"])
def test_other_answers_to_ssl_are_violations(byte: bytes) -> None:
    """Not even an error is read: nobody has authenticated it (CVE-2024-10977)."""
    side = ServerSide()
    side.send(pgwire.SSLRequest())
    side.receive(byte)
    with pytest.raises(PeerViolation, match="to SSL negotiation"):
        side.next_event()


def test_direct_tls_to_a_server() -> None:
    side = ServerSide()
    side.begin_direct_tls()
    with pytest.raises(OwnViolation):
        side.send(STARTUP)
    side.tls_established()
    side.send(STARTUP)


def test_long_parameter_status_is_taken(pair: Any) -> None:
    pair.frontend_says(STARTUP)
    message = pgwire.ParameterStatus(b"search_path", b"x" * 30_720)
    assert pair.backend_says(pgwire.AuthenticationOk(), message)[1:] == [message]


def test_every_state_is_reached_and_left() -> None:
    """No state of the tables is a dead end but CLOSED, and none is out of reach."""
    reached, grown = {State.START}, True
    moves = [(tail, head) for table in (FRONTEND_SENDS, BACKEND_SENDS) for (tail, _), head in table.items()]
    while grown:
        more = {head for tail, head in moves if tail in reached} - reached
        reached |= more
        grown = bool(more)
    assert reached == set(State)
    assert set(State) - FRONTEND_TURNS - BACKEND_TURNS == {State.CLOSED}


@pytest.mark.parametrize("state", list(State))
def test_any_garbage_leads_to_events_or_violation(state: State) -> None:
    for side_class in (ClientSide, ServerSide):
        for filler in (0x00, 0x16, 0x51, 0x52, 0x70, 0xFF):
            side: Any = side_class()
            side.state = state
            side.receive(bytes((filler,)) * (MAX_STARTUP_PACKET + 100))
            with contextlib.suppress(PeerViolation):  # and nothing else
                assert len(list(side.events())) <= 1
