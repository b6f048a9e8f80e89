"""The packets before login, judged as PostgreSQL judges them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import pgwire
from pgwire import NEED_DATA, ClientSide, OwnViolation, PeerViolation, State


def hear(wire: bytes) -> Any:
    side = ClientSide()
    side.receive(wire)
    return side.next_event()


def packet(body: bytes) -> bytes:
    return struct.pack("!I", len(body) + 4) + body


def version(major: int, minor: int) -> bytes:
    return struct.pack("!HH", major, minor)


def test_parameters_arrive_in_their_order() -> None:
    event = hear(packet(version(3, 0) + b"user\0app\0database\0shop\0TimeZone\0UTC\0\0"))
    assert event == pgwire.StartupMessage({"user": "app", "database": "shop", "TimeZone": "UTC"})
    assert list(event.parameters) == ["user", "database", "TimeZone"]


def test_names_that_are_not_utf8_survive() -> None:
    wire = packet(version(3, 0) + b"user\0\xff\xfe\0\0")
    assert hear(wire).encode() == wire


@pytest.mark.parametrize(("major", "minor"), [(2, 0), (1, 0), (4, 0), (0, 0), (0xFFFF, 0xFFFF), (1234, 5600)])
def test_other_major_versions_are_unsupported(major: int, minor: int) -> None:
    with pytest.raises(PeerViolation) as raised:
        hear(packet(version(major, minor) + b"user\0app\0\0"))
    assert raised.value.sqlstate == "0A000"
    assert raised.value.message == (
        f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"
    )


@pytest.mark.parametrize("length", [0, 3, 4, 7, 10_005, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_bad_length_is_refused_before_the_body(length: int) -> None:
    with pytest.raises(PeerViolation, match="invalid length of startup packet"):
        hear(struct.pack("!I", length))


def test_longest_startup_packet_is_taken() -> None:
    body = version(3, 0) + b"user\0" + b"x" * (10_000 - 4 - 5 - 2) + b"\0\0"
    assert len(body) == 10_000
    assert isinstance(hear(packet(body)), pgwire.StartupMessage)
    with pytest.raises(PeerViolation):
        hear(packet(body + b"\0"))


@pytest.mark.parametrize(
    "parameters",
    [
        b"",
        b"user\0app\0",  # no terminator
        b"user\0app",  # not even of the value
        b"user\0app\0\0x",  # trailing garbage
        b"user\0app\0\0\0",
        b"user\0\0",  # a name and an empty value, no terminator
        b"user",
    ],
)
def test_layout_without_last_terminator_is_refused(parameters: bytes) -> None:
    with pytest.raises(PeerViolation) as raised:
        hear(packet(version(3, 0) + parameters))
    assert raised.value.sqlstate == "08P01"
    assert raised.value.message == "invalid startup packet layout: expected terminator as last byte"


@pytest.mark.parametrize("parameters", [b"\0", b"user\0\0\0"])
def test_empty_parameters_are_well_formed(parameters: bytes) -> None:
    assert isinstance(hear(packet(version(3, 0) + parameters)), pgwire.StartupMessage)


def test_newer_minor_is_negotiated_down() -> None:
    event = hear(packet(version(3, 9999) + b"user\0app\0\0"))
    assert event.protocol == 196610
    assert pgwire.negotiation(event) == pgwire.NegotiateProtocolVersion(196610, ())


def test_unknown_protocol_options_are_named() -> None:
    event = pgwire.StartupMessage({"user": "app", "_pq_.one": "1", "_pq_.two": ""})
    assert pgwire.negotiation(event) == pgwire.NegotiateProtocolVersion(196608, (b"_pq_.one", b"_pq_.two"))


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_known_versions_need_no_negotiation(minor: int) -> None:
    event = hear(packet(version(3, minor) + b"user\0app\0\0"))
    assert event.protocol == 196608 + minor
    assert pgwire.negotiation(event) is None


@pytest.mark.parametrize("length", [4, 5, 32, 255, 256])
def test_cancel_key_of_any_allowed_length(length: int) -> None:
    request = pgwire.CancelRequest(4711, bytes(range(256))[:length])
    assert hear(request.encode()) == request


@pytest.mark.parametrize("length", [0, 1, 3, 257, 5000])
def test_cancel_key_of_other_length_is_refused(length: int) -> None:
    with pytest.raises(PeerViolation, match="invalid length of cancel"):
        hear(packet(struct.pack("!IHH", 80877102, 1, 1) + b"x" * length))


def test_cancel_request_ends_the_conversation() -> None:
    side = ClientSide()
    side.receive(pgwire.CancelRequest(1, b"1234").encode() + b"more")
    assert isinstance(side.next_event(), pgwire.CancelRequest)
    assert side.next_event() is NEED_DATA
    assert side.state is State.CLOSED


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pgwire.SSLRequest(), "received unencrypted data after SSL request"),
        (pgwire.GSSENCRequest(), "received unencrypted data after GSSAPI encryption request"),
    ],
)
def test_clear_text_behind_encryption_request_is_refused(request_: Any, text: str) -> None:
    side = ClientSide()
    side.receive(request_.encode() + pgwire.StartupMessage({"user": "app"}).encode())
    with pytest.raises(PeerViolation, match=text):
        side.next_event()
    with pytest.raises(PeerViolation, match=text):
        side.accept_encryption()


@pytest.mark.parametrize("answer", ["accept_encryption", "refuse_encryption"])
def test_clear_text_before_the_answer_is_refused(answer: str) -> None:
    side = ClientSide()
    side.receive(pgwire.SSLRequest().encode())
    side.next_event()
    side.receive(b"\0")
    with pytest.raises(PeerViolation, match="received unencrypted data after SSL request"):
        getattr(side, answer)()


def test_startup_follows_accepted_encryption() -> None:
    side = ClientSide()
    side.receive(pgwire.SSLRequest().encode())
    side.next_event()
    assert side.accept_encryption() == b"S"
    side.receive(pgwire.StartupMessage({"user": "app"}).encode())
    assert isinstance(side.next_event(), pgwire.StartupMessage)


def test_cancel_request_may_come_encrypted() -> None:
    side = ClientSide()
    side.receive(pgwire.SSLRequest().encode())
    side.next_event()
    side.accept_encryption()
    side.receive(pgwire.CancelRequest(1, b"1234").encode())
    assert isinstance(side.next_event(), pgwire.CancelRequest)


@pytest.mark.parametrize("first", [pgwire.SSLRequest(), pgwire.GSSENCRequest()])
def test_each_encryption_is_asked_for_once(first: Any) -> None:
    side = ClientSide()
    side.receive(first.encode())
    side.next_event()
    assert side.refuse_encryption() == b"N"
    side.receive(first.encode())
    with pytest.raises(PeerViolation, match=r"unsupported frontend protocol 1234\.56"):
        side.next_event()


def test_both_encryptions_may_be_asked_for() -> None:
    for requests in (
        [pgwire.SSLRequest(), pgwire.GSSENCRequest()],
        [pgwire.GSSENCRequest(), pgwire.SSLRequest()],
    ):
        side = ClientSide()
        for request in requests:
            side.receive(request.encode())
            assert side.next_event() == request
            side.refuse_encryption()
        side.receive(pgwire.StartupMessage({"user": "app"}).encode())
        assert isinstance(side.next_event(), pgwire.StartupMessage)


def test_direct_tls_is_its_own_event() -> None:
    side = ClientSide()
    side.receive(b"\x16\x03\x01")
    assert side.next_event() == pgwire.DirectTLS()
    assert side.next_event() is NEED_DATA
    assert side.leftover() == b"\x16\x03\x01"
    assert side.accept_encryption() == b""
    side.receive(pgwire.StartupMessage({"user": "app"}).encode())
    assert isinstance(side.next_event(), pgwire.StartupMessage)


def test_tls_inside_tls_is_no_startup_packet() -> None:
    side = ClientSide()
    side.receive(pgwire.SSLRequest().encode())
    side.next_event()
    side.accept_encryption()
    side.receive(b"\x16\x03\x01\x02")
    with pytest.raises(PeerViolation, match="invalid length of startup packet"):
        side.next_event()


@pytest.mark.parametrize("code", sorted(set(pgwire.Frontend)))
def test_ordinary_message_cannot_come_first(code: int) -> None:
    """Its letter is then the first byte of a length far above the cap (CVE-2015-4054)."""
    with pytest.raises(PeerViolation):
        hear(bytes((code,)) + struct.pack("!I", 4))


def test_refused_client_can_still_be_told() -> None:
    side = ClientSide()
    side.receive(packet(version(2, 0) + b"user\0app\0\0"))
    with pytest.raises(PeerViolation) as raised:
        side.next_event()
    error = pgwire.ErrorResponse.make("FATAL", raised.value.sqlstate, raised.value.message)
    assert side.send(error) == error.encode()
    with pytest.raises(OwnViolation):
        side.send(error)


def test_encryption_unasked_for_cannot_be_answered() -> None:
    with pytest.raises(OwnViolation):
        ClientSide().refuse_encryption()
