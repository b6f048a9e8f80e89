"""Every message of the manual: written and read back, cut short, and with lengths that lie."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgwire
from pgwire import OwnViolation, PeerViolation
from pgwire.framing import FrameReader
from pgwire.messages import BACKEND_MESSAGES, FRONTEND_MESSAGES, decode_backend
from pgwire.startup_messages import decode_startup_packet

text = st.binary(max_size=30).map(lambda data: data.replace(b"\0", b"x"))
name = st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\0", b"x"))
value = st.none() | st.binary(max_size=50)
values = st.lists(value, max_size=6).map(tuple)
int16 = st.integers(-(2**15), 2**15 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
oid = st.integers(0, 2**32 - 1)
formats = st.lists(int16, max_size=6).map(tuple)
oids = st.lists(oid, max_size=6).map(tuple)
copy_format = st.sampled_from([0, 1])
key = st.binary(min_size=4, max_size=256)
fields = st.dictionaries(st.characters(min_codepoint=1, max_codepoint=255), text, max_size=8)
parameter = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20)
column = st.builds(pgwire.Column, text, oid, int16, int32, int16, oid, int16)

BACKEND: dict[str, st.SearchStrategy[Any]] = {
    "AuthenticationOk": st.builds(pgwire.AuthenticationOk),
    "AuthenticationKerberosV5": st.builds(pgwire.AuthenticationKerberosV5),
    "AuthenticationCleartextPassword": st.builds(pgwire.AuthenticationCleartextPassword),
    "AuthenticationMD5Password": st.builds(
        pgwire.AuthenticationMD5Password, st.binary(min_size=4, max_size=4)
    ),
    "AuthenticationGSS": st.builds(pgwire.AuthenticationGSS),
    "AuthenticationGSSContinue": st.builds(pgwire.AuthenticationGSSContinue, st.binary()),
    "AuthenticationSSPI": st.builds(pgwire.AuthenticationSSPI),
    "AuthenticationSASL": st.builds(pgwire.AuthenticationSASL, st.lists(name, max_size=4).map(tuple)),
    "AuthenticationSASLContinue": st.builds(pgwire.AuthenticationSASLContinue, st.binary()),
    "AuthenticationSASLFinal": st.builds(pgwire.AuthenticationSASLFinal, st.binary()),
    "BackendKeyData": st.builds(pgwire.BackendKeyData, int32, key),
    "BindComplete": st.builds(pgwire.BindComplete),
    "CloseComplete": st.builds(pgwire.CloseComplete),
    "CommandComplete": st.builds(pgwire.CommandComplete, text),
    "CopyData": st.builds(pgwire.CopyData, st.binary()),
    "CopyDone": st.builds(pgwire.CopyDone),
    "CopyInResponse": st.builds(pgwire.CopyInResponse, copy_format, formats),
    "CopyOutResponse": st.builds(pgwire.CopyOutResponse, copy_format, formats),
    "CopyBothResponse": st.builds(pgwire.CopyBothResponse, copy_format, formats),
    "DataRow": st.builds(pgwire.DataRow, values),
    "EmptyQueryResponse": st.builds(pgwire.EmptyQueryResponse),
    "ErrorResponse": st.builds(pgwire.ErrorResponse, fields),
    "FunctionCallResponse": st.builds(pgwire.FunctionCallResponse, value),
    "NegotiateProtocolVersion": st.builds(
        pgwire.NegotiateProtocolVersion, oid, st.lists(text, max_size=4).map(tuple)
    ),
    "NoData": st.builds(pgwire.NoData),
    "NoticeResponse": st.builds(pgwire.NoticeResponse, fields),
    "NotificationResponse": st.builds(pgwire.NotificationResponse, int32, text, text),
    "ParameterDescription": st.builds(pgwire.ParameterDescription, oids),
    "ParameterStatus": st.builds(pgwire.ParameterStatus, text, text),
    "ParseComplete": st.builds(pgwire.ParseComplete),
    "PortalSuspended": st.builds(pgwire.PortalSuspended),
    "ReadyForQuery": st.builds(pgwire.ReadyForQuery, st.sampled_from("ITE")),
    "RowDescription": st.builds(pgwire.RowDescription, st.lists(column, max_size=4).map(tuple)),
}
FRONTEND: dict[str, st.SearchStrategy[Any]] = {
    "Bind": st.builds(pgwire.Bind, text, text, formats, values, formats),
    "Close": st.builds(pgwire.Close, st.sampled_from([b"S", b"P"]), text),
    "CopyData": BACKEND["CopyData"],
    "CopyDone": BACKEND["CopyDone"],
    "CopyFail": st.builds(pgwire.CopyFail, text),
    "Describe": st.builds(pgwire.Describe, st.sampled_from([b"S", b"P"]), text),
    "Execute": st.builds(pgwire.Execute, text, int32),
    "Flush": st.builds(pgwire.Flush),
    "FunctionCall": st.builds(pgwire.FunctionCall, oid, formats, values, int16),
    "Parse": st.builds(pgwire.Parse, text, text, oids),
    "Query": st.builds(pgwire.Query, text),
    "Sync": st.builds(pgwire.Sync),
    "Terminate": st.builds(pgwire.Terminate),
}
PASSWORDS: dict[str, st.SearchStrategy[Any]] = {
    "GSSResponse": st.builds(pgwire.GSSResponse, st.binary()),
    "PasswordMessage": st.builds(pgwire.PasswordMessage, text),
    "SASLInitialResponse": st.builds(pgwire.SASLInitialResponse, text, value),
    "SASLResponse": st.builds(pgwire.SASLResponse, st.binary()),
}
STARTUP: dict[str, st.SearchStrategy[Any]] = {
    "CancelRequest": st.builds(pgwire.CancelRequest, int32, key),
    "GSSENCRequest": st.builds(pgwire.GSSENCRequest),
    "SSLRequest": st.builds(pgwire.SSLRequest),
    "StartupMessage": st.builds(
        pgwire.StartupMessage,
        st.dictionaries(parameter.filter(bool), parameter, max_size=6),
        st.integers(196608, 196608 + 65535),
    ),
}

# One of each that has lengths or strings, for the tests that damage them.
SAMPLES: list[Any] = [
    pgwire.AuthenticationMD5Password(b"salt"),
    pgwire.AuthenticationSASL((b"SCRAM-SHA-256", b"OAUTHBEARER")),
    pgwire.BackendKeyData(7, b"0123"),
    pgwire.CommandComplete(b"SELECT 1"),
    pgwire.CopyInResponse(1, (1, 1)),
    pgwire.DataRow((b"one", None, b"")),
    pgwire.ErrorResponse.make("ERROR", "42601", "syntax error"),
    pgwire.NoticeResponse.make("NOTICE", "00000", "well"),
    pgwire.FunctionCallResponse(b"result"),
    pgwire.NegotiateProtocolVersion(196610, (b"_pq_.a", b"_pq_.b")),
    pgwire.NotificationResponse(1, b"channel", b"payload"),
    pgwire.ParameterDescription((23, 25)),
    pgwire.ParameterStatus(b"TimeZone", b"UTC"),
    pgwire.ReadyForQuery(),
    pgwire.RowDescription((pgwire.Column(b"a"), pgwire.Column(b"b"))),
    pgwire.Bind(b"p", b"s", (0, 1), (b"one", None), (0,)),
    pgwire.Close(b"S", b"s"),
    pgwire.CopyFail(b"because"),
    pgwire.Describe(b"P", b"p"),
    pgwire.Execute(b"p", 5),
    pgwire.FunctionCall(1, (0,), (b"argument",), 0),
    pgwire.Parse(b"s", b"select $1", (23,)),
    pgwire.Query(b"select 1"),
    pgwire.PasswordMessage(b"secret"),
    pgwire.SASLInitialResponse(b"SCRAM-SHA-256", b"n,,n=,r=abc"),
    pgwire.ParseComplete(),
    pgwire.Sync(),
]
sampled = pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)


def each(strategies: dict[str, st.SearchStrategy[Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("strategy", strategies.values(), ids=strategies.keys())


def unframe(wire: bytes) -> tuple[int, bytes]:
    reader = FrameReader()
    reader.receive(wire)
    found = reader.message(2**30)
    assert isinstance(found, tuple)
    assert len(reader) == 0
    return found


@each(BACKEND)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_backend_message_survives_the_wire(strategy: st.SearchStrategy[Any], data: st.DataObject) -> None:
    message = data.draw(strategy)
    assert decode_backend(*unframe(message.encode())) == message


@each(FRONTEND)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_frontend_message_survives_the_wire(strategy: st.SearchStrategy[Any], data: st.DataObject) -> None:
    message = data.draw(strategy)
    code, body = unframe(message.encode())
    assert FRONTEND_MESSAGES[code].decode(body) == message


@each(PASSWORDS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_password_message_survives_the_wire(strategy: st.SearchStrategy[Any], data: st.DataObject) -> None:
    message = data.draw(strategy)
    code, body = unframe(message.encode())
    assert code == pgwire.Frontend.PASSWORD
    assert type(message).decode(body) == message


@each(STARTUP)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_startup_packet_survives_the_wire(strategy: st.SearchStrategy[Any], data: st.DataObject) -> None:
    packet = data.draw(strategy)
    reader = FrameReader()
    reader.receive(packet.encode())
    body = reader.startup_packet(10_000)
    assert body is not None
    assert decode_startup_packet(body) == packet


def test_every_message_type_has_its_class() -> None:
    assert set(FRONTEND_MESSAGES) == set(pgwire.Frontend) - {pgwire.Frontend.PASSWORD}
    assert set(BACKEND_MESSAGES) == set(pgwire.Backend) - {pgwire.Backend.AUTHENTICATION}


def test_every_class_has_a_round_trip() -> None:
    """Those of the manual's "Message Formats", CopyData and CopyDone counted once."""
    tested = BACKEND.keys() | FRONTEND.keys() | PASSWORDS.keys() | STARTUP.keys()
    classes = {kind.__name__ for kind in (*FRONTEND_MESSAGES.values(), *BACKEND_MESSAGES.values())}
    assert classes <= tested
    assert tested == {found for found in tested if hasattr(pgwire, found)}
    assert len(tested) == 52


@sampled
def test_truncated_body_is_a_violation(message: Any) -> None:
    body = message.body()
    for length in range(len(body)):
        if isinstance(message, pgwire.BackendKeyData) and length in (4, 8):
            continue  # an empty key and the whole one
        with pytest.raises(PeerViolation) as raised:
            type(message).decode(body[:length])
        assert raised.value.sqlstate == "08P01"


@sampled
def test_trailing_byte_is_a_violation(message: Any) -> None:
    if isinstance(message, pgwire.BackendKeyData):
        return  # its key goes to the end of the message
    with pytest.raises(PeerViolation):
        type(message).decode(message.body() + b"x")


LIES = [0, 3, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@sampled
@pytest.mark.parametrize("lie", LIES)
def test_lying_inner_length_never_escapes(message: Any, lie: int) -> None:
    """Four bytes replaced at every place, length fields among them: decoded or refused, nothing else."""
    body = message.body()
    for at in range(len(body) - 3):
        damaged = body[:at] + struct.pack("!I", lie) + body[at + 4 :]
        with contextlib.suppress(PeerViolation):
            assert isinstance(type(message).decode(damaged), type(message))


@pytest.mark.parametrize("lie", [3, 4, 0x7FFFFFFF, 0x80000000])
def test_value_longer_than_its_message_is_refused(lie: int) -> None:
    short = struct.pack("!HI", 1, lie) + b"ab"
    with pytest.raises(PeerViolation, match="insufficient data left in message"):
        pgwire.DataRow.decode(short)
    with pytest.raises(PeerViolation, match="insufficient data left in message"):
        pgwire.SASLInitialResponse.decode(b"SCRAM-SHA-256\0" + short[2:])
    with pytest.raises(PeerViolation, match="insufficient data left in message"):
        pgwire.FunctionCallResponse.decode(short[2:])


@pytest.mark.parametrize("count", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 3])
def test_count_of_options_is_checked_first(count: int) -> None:
    with pytest.raises(PeerViolation):
        pgwire.NegotiateProtocolVersion.decode(struct.pack("!II", 196610, count) + b"a\0")
    with pytest.raises(PeerViolation):
        pgwire.NegotiateProtocolVersion.decode(struct.pack("!II", 196610, count))


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_garbage_is_decoded_or_refused(body: bytes) -> None:
    samples: list[Any] = [type(sample) for sample in SAMPLES]
    for kind in (*FRONTEND_MESSAGES.values(), *BACKEND_MESSAGES.values(), *samples):
        with contextlib.suppress(PeerViolation):
            assert isinstance(kind.decode(body), kind)


def test_parameters_are_counted_without_sign() -> None:
    """PostgreSQL takes 65,535 parameters, which a signed count could not say."""
    message = pgwire.Bind(b"", b"", (), (None,) * 65_535)
    assert pgwire.Bind.decode(message.body()) == message
    with pytest.raises(OwnViolation):
        pgwire.Bind(b"", b"", (), (None,) * 65_536).encode()


@pytest.mark.parametrize(
    "message",
    [
        pgwire.Query(b"select\0"),
        pgwire.ParameterStatus(b"a\0", b""),
        pgwire.StartupMessage({"user": "a\0b"}),
        pgwire.StartupMessage({"": "a"}),
        pgwire.BackendKeyData(1, b"123"),
        pgwire.BackendKeyData(1, b"x" * 257),
        pgwire.CancelRequest(1, b""),
        pgwire.ReadyForQuery("X"),
        pgwire.AuthenticationMD5Password(b"123"),
        pgwire.AuthenticationSASL((b"",)),
        pgwire.Close(b"X", b""),
        pgwire.CopyInResponse(2),
        pgwire.ErrorResponse({"": b"x"}),
        pgwire.NotificationResponse(2**31, b"", b""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_we_never_write_what_cannot_be_read(message: Any) -> None:
    with pytest.raises(OwnViolation):
        message.encode()


def test_error_response_reads_missing_fields_as_empty() -> None:
    empty = pgwire.ErrorResponse.decode(b"\0")
    assert (empty.severity, empty.code, empty.message, empty.detail, empty.hint) == ("", "", "", "", "")


def test_error_response_prefers_the_untranslated_severity() -> None:
    translated = pgwire.ErrorResponse({"S": b"FEHLER", "V": b"ERROR", "M": b"\xff"})
    assert translated.severity == "ERROR"
    assert translated.message == "�"
    made = pgwire.ErrorResponse.make("FATAL", "08P01", "broken", detail="very", hint="fix it")
    assert (made.severity, made.code, made.message, made.detail, made.hint) == (
        "FATAL",
        "08P01",
        "broken",
        "very",
        "fix it",
    )


@pytest.mark.parametrize(
    "message",
    [
        pgwire.PasswordMessage(b"hidden"),
        pgwire.SASLInitialResponse(b"SCRAM-SHA-256", b"hidden"),
        pgwire.SASLResponse(b"hidden"),
        pgwire.GSSResponse(b"hidden"),
        pgwire.CancelRequest(1, b"hidden"),
        pgwire.BackendKeyData(1, b"hidden"),
        pgwire.AuthenticationSASLFinal(b"hidden"),
        pgwire.Bind(b"", b"", (), (b"hidden",)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_repr_shows_no_secret(message: Any) -> None:
    assert "hidden" not in repr(message)
