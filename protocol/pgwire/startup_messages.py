"""The packets that open a connection and carry no message type.

StartupMessage is judged as PostgreSQL's backend_startup.c judges it, and an unknown major version is
refused here. Whether a packet may come at this moment is state.py's affair; what its parameters mean is the
frontend's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import codes
from .backend_messages import NegotiateProtocolVersion
from .codes import PROTOCOL_3_0, PROTOCOL_LATEST, PROTOCOL_OPTION_PREFIX, Packet, version_text
from .errors import FEATURE_NOT_SUPPORTED, OwnViolation, PeerViolation, malformed
from .wire import Fields, int32, string, uint32


class StartupPacket:
    """A packet of length, code and contents."""

    __slots__ = ()

    @property
    def packet(self) -> Packet:
        """Which of them this is: its name in the state table."""
        raise NotImplementedError

    def body(self) -> bytes:
        """What follows the length word, the code included."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The whole packet as it goes over the wire."""
        body = self.body()
        return int32(len(body) + 4) + body


@dataclass(frozen=True, slots=True)
class StartupMessage(StartupPacket):
    """Who wants in, and how. Bytes that are not UTF-8 survive in the parameters as surrogates."""

    parameters: Mapping[str, str]
    version: int = PROTOCOL_3_0

    @property
    def packet(self) -> Packet:
        return Packet.STARTUP

    @property
    def protocol(self) -> int:
        """The version that will be spoken: what was asked for, or the newest there is."""
        return min(self.version, PROTOCOL_LATEST)

    def body(self) -> bytes:
        pairs = b"".join(_pair(name, text) for name, text in self.parameters.items())
        return uint32(self.version) + pairs + b"\0"

    @classmethod
    def decode(cls, body: bytes) -> StartupMessage:
        """The message in *body*, or the violation PostgreSQL would report."""
        version = Fields(body).uint32()
        if version >> 16 != PROTOCOL_3_0 >> 16:
            raise unsupported_protocol(version)
        return cls(_read_parameters(body), version)


@dataclass(frozen=True, slots=True)
class SSLRequest(StartupPacket):
    @property
    def packet(self) -> Packet:
        return Packet.SSL_REQUEST

    def body(self) -> bytes:
        return uint32(codes.SSL_REQUEST)

    @classmethod
    def decode(cls, body: bytes) -> SSLRequest:
        _only_code(body, codes.SSL_REQUEST)
        return cls()


@dataclass(frozen=True, slots=True)
class GSSENCRequest(StartupPacket):
    @property
    def packet(self) -> Packet:
        return Packet.GSSENC_REQUEST

    def body(self) -> bytes:
        return uint32(codes.GSSENC_REQUEST)

    @classmethod
    def decode(cls, body: bytes) -> GSSENCRequest:
        _only_code(body, codes.GSSENC_REQUEST)
        return cls()


@dataclass(frozen=True, slots=True)
class CancelRequest(StartupPacket):
    """Stop what the connection with this key is doing. *secret* has 4 bytes, under protocol 3.2 up to 256."""

    pid: int
    secret: bytes = field(repr=False)

    @property
    def packet(self) -> Packet:
        return Packet.CANCEL_REQUEST

    def body(self) -> bytes:
        if not codes.MIN_CANCEL_KEY <= len(self.secret) <= codes.MAX_CANCEL_KEY:
            raise OwnViolation(f"a cancel key has 4 to 256 bytes, not {len(self.secret)}")
        return uint32(codes.CANCEL_REQUEST) + int32(self.pid) + self.secret

    @classmethod
    def decode(cls, body: bytes) -> CancelRequest:
        fields = Fields(body)
        if fields.uint32() != codes.CANCEL_REQUEST or fields.left < 4 + codes.MIN_CANCEL_KEY:
            raise malformed("invalid length of cancel request packet")
        if fields.left > 4 + codes.MAX_CANCEL_KEY:
            raise malformed("invalid length of cancel key in cancel request packet")
        return cls(fields.int32(), fields.rest())


@dataclass(frozen=True, slots=True)
class DirectTLS:
    """A client began a TLS handshake without asking. Its bytes are still in leftover()."""

    @property
    def packet(self) -> Packet:
        return Packet.DIRECT_TLS


def decode_startup_packet(body: bytes) -> StartupMessage | SSLRequest | GSSENCRequest | CancelRequest:
    """The packet whose contents, without the length word, these are."""
    code = Fields(body).uint32()
    if code == codes.CANCEL_REQUEST:
        return CancelRequest.decode(body)
    if code == codes.SSL_REQUEST:
        return SSLRequest.decode(body)
    if code == codes.GSSENC_REQUEST:
        return GSSENCRequest.decode(body)
    return StartupMessage.decode(body)


def negotiation(startup: StartupMessage) -> NegotiateProtocolVersion | None:
    """What the client must be told once before authentication, or None: nothing it asked for is new."""
    unknown = [name for name in startup.parameters if name.startswith(PROTOCOL_OPTION_PREFIX)]
    if startup.version <= PROTOCOL_LATEST and not unknown:
        return None
    return NegotiateProtocolVersion(
        startup.protocol, tuple(name.encode("utf-8", "surrogateescape") for name in unknown)
    )


def unsupported_protocol(version: int) -> PeerViolation:
    """The refusal of a version, or of a request code out of place: PostgreSQL takes it for one."""
    return PeerViolation(
        FEATURE_NOT_SUPPORTED,
        f"unsupported frontend protocol {version_text(version)}: server supports "
        f"{version_text(PROTOCOL_3_0)} to {version_text(PROTOCOL_LATEST)}",
    )


def _read_parameters(body: bytes) -> dict[str, str]:
    # PostgreSQL puts a zero byte behind the packet and reads names and values up to an empty name; then the
    # terminator must have been the last byte. A last value without its own terminator fails only by that.
    parameters: dict[str, str] = {}
    at, padded = 4, body + b"\0"
    while at < len(body) and body[at]:
        name_end = padded.index(b"\0", at)
        if name_end + 1 >= len(body):
            break
        value_end = padded.index(b"\0", name_end + 1)
        parameters[_text(body[at:name_end])] = _text(body[name_end + 1 : value_end])
        at = value_end + 1
    if at != len(body) - 1:
        raise malformed("invalid startup packet layout: expected terminator as last byte")
    return parameters


def _pair(name: str, text: str) -> bytes:
    if not name:
        raise OwnViolation("a startup parameter needs a name")
    return string(name.encode("utf-8", "surrogateescape")) + string(text.encode("utf-8", "surrogateescape"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _only_code(body: bytes, code: int) -> None:
    fields = Fields(body)
    if fields.uint32() != code or fields.left:
        raise malformed("invalid length of startup packet")
