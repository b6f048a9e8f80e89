"""The two ends of a connection, as a pooler sees them: what a client says to us, what a server says to us.

Bytes go in, events come out, and our own messages are checked against the same tables; no input or output
is done here. Which state follows which is in state.py alone. Knows nothing of passwords, pools or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, Literal

from . import codes, state
from .auth_messages import Authentication
from .backend_messages import BackendKeyData, NegotiateProtocolVersion
from .codes import Answer, Auth, Backend, Frontend, Packet
from .errors import OwnViolation, PeerViolation, malformed
from .framing import FrameReader, Part
from .messages import COPY_MESSAGES, FRONTEND_MESSAGES, decode_backend
from .startup_messages import (
    DirectTLS,
    StartupMessage,
    StartupPacket,
    decode_startup_packet,
    unsupported_protocol,
)
from .state import BACKEND_SENDS, FRONTEND_SENDS, BackendInput, FrontendInput, Owed, State
from .wire import Message


class NeedData(Enum):
    """The type of NEED_DATA: no event until more is received, or until we have said something."""

    NEED_DATA = "NEED_DATA"


NEED_DATA: Final = NeedData.NEED_DATA
_Nothing = Literal[NeedData.NEED_DATA]
ClientEvent = StartupPacket | DirectTLS | Message | Part
ServerEvent = Answer | Message | Part

# PostgreSQL's PQ_SMALL_MESSAGE_LIMIT holds for these.
_SMALL = frozenset(
    {
        Frontend.CLOSE,
        Frontend.COPY_DONE,
        Frontend.COPY_FAIL,
        Frontend.DESCRIBE,
        Frontend.EXECUTE,
        Frontend.FLUSH,
        Frontend.SYNC,
        Frontend.TERMINATE,
    }
)
_ENDS_BATCH = frozenset(state.OWE_READY)
_EXTENDED = frozenset({Frontend.PARSE, Frontend.BIND, Frontend.DESCRIBE, Frontend.EXECUTE, Frontend.CLOSE})


class _Side:
    """What both ends share: the bytes, the state, and the count of what is owed."""

    def __init__(self, *, max_message: int = codes.MAX_MESSAGE, stream_above: int | None = None) -> None:
        self.state = State.START
        self.protocol = 0  # the version spoken, once it is known
        self._reader = FrameReader()
        self._max_message = max_message
        self._stream_above = stream_above
        # ReadyForQuery owed, and whether the frontend began a batch it has not ended. A Sync that a COPY
        # swallows stays counted, so the state may stay BUSY for ever, but is never READY too early.
        self._owed = 0
        self._batch_open = False
        self._violation: PeerViolation | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} buffered={len(self._reader)} owed={self._owed}>"

    def receive(self, data: bytes) -> None:
        """Keep what the peer sent, until next_event() asks for it."""
        self._reader.receive(data)

    def leftover(self) -> bytes:
        """Take what was received and not consumed: for whoever reads on from here."""
        return self._reader.leftover()

    def _frontend_said(self, what: FrontendInput, following: State) -> None:
        if what in _ENDS_BATCH and self.state is not State.COPY_IN:
            self._owed += 1
            self._batch_open = False
        elif what in _EXTENDED:
            self._batch_open = True
        self.state = following

    def _backend_said(self, what: BackendInput, following: State) -> None:
        self.state = following
        if what == Backend.READY_FOR_QUERY:
            self._owed = max(self._owed - 1, 0)
            if self._owed or self._batch_open:
                self.state = FRONTEND_SENDS[following, Owed.STILL_OWED]

    def _take_message(self, most: int, *, stream: bool) -> tuple[int, bytes] | Part | None:
        return self._reader.message(most, self._stream_above if stream else None)


class ClientSide(_Side):
    """What a client says to us. We are the backend."""

    def next_event(self) -> ClientEvent | _Nothing:
        """The next thing the client said, or NEED_DATA; raises PeerViolation, and then again each time."""
        if self._violation is not None:
            raise self._violation
        try:
            return self._next_event()
        except PeerViolation as violation:
            self._violation = violation
            raise

    def events(self) -> Iterator[ClientEvent]:
        """Every event there is now."""
        while (event := self.next_event()) is not NEED_DATA:
            yield event

    def send(self, message: Message) -> bytes:
        """The bytes of our own *message*, or OwnViolation and no change."""
        what: BackendInput | Frontend
        what = message.auth if isinstance(message, Authentication) else message.message_type
        following = None if isinstance(what, Frontend) else BACKEND_SENDS.get((self.state, what))
        if following is None or isinstance(what, Frontend):
            raise OwnViolation(f"{type(message).__name__} cannot be sent while {self.state.name}")
        if (
            isinstance(message, BackendKeyData)
            and self.protocol < codes.PROTOCOL_3_2
            and len(message.secret) != codes.MIN_CANCEL_KEY
        ):
            raise OwnViolation("before protocol 3.2 a cancel key has 4 bytes")
        wire = message.encode()
        self._backend_said(what, following)
        return wire

    def accept_encryption(self) -> bytes:
        """What to send before the handshake: nothing for a direct one. No clear text may have come."""
        asked_gss = self.state in (State.GSS_ASKED, State.GSS_ASKED_LAST)
        direct = self.state is State.DIRECT_TLS
        self._answer(Answer.ACCEPTED)
        if direct:
            return b""
        return codes.GSSENC_ACCEPTED if asked_gss else codes.SSL_ACCEPTED

    def refuse_encryption(self) -> bytes:
        """What to send before going on in clear text."""
        self._answer(Answer.REFUSED)
        return codes.ENCRYPTION_REFUSED

    def _answer(self, answer: Answer) -> None:
        following = BACKEND_SENDS.get((self.state, answer))
        if following is None:
            raise OwnViolation(f"encryption cannot be {answer.value} while {self.state.name}")
        if self._violation is not None:
            raise self._violation
        self._refuse_early_bytes()
        self.state = following

    def _refuse_early_bytes(self) -> None:
        # CVE-2021-23222 and its like: what was sent before the handshake must not pass for something sent
        # after it.
        if len(self._reader):
            gss = self.state in (State.GSS_ASKED, State.GSS_ASKED_LAST)
            asked = "GSSAPI encryption request" if gss else "SSL request"
            raise malformed(f"received unencrypted data after {asked}")

    def _next_event(self) -> ClientEvent | _Nothing:
        if self.state in state.STARTUP_STATES:
            return self._next_startup_packet()
        if self.state in state.FRONTEND_TURNS:
            return self._next_message()
        if self.state in state.ANSWER_STATES and self.state is not State.DIRECT_TLS:
            self._refuse_early_bytes()
        if self.state in state.LOGIN_STATES and len(self._reader) > codes.MAX_LOGIN_MESSAGE:
            raise malformed("too much data before the end of login")
        return NEED_DATA

    def _next_startup_packet(self) -> ClientEvent | _Nothing:
        if self.state is State.START and self._reader.begins_tls():
            self.state = FRONTEND_SENDS[self.state, Packet.DIRECT_TLS]
            return DirectTLS()
        body = self._reader.startup_packet(codes.MAX_STARTUP_PACKET)
        if body is None:
            return NEED_DATA
        event = decode_startup_packet(body)
        following = FRONTEND_SENDS.get((self.state, event.packet))
        if following is None:  # encryption asked for twice
            raise unsupported_protocol(int.from_bytes(body[:4], "big"))
        self.state = following
        if isinstance(event, StartupMessage):
            self.protocol = event.protocol
        elif following in state.ANSWER_STATES:
            self._refuse_early_bytes()
        return event

    def _next_message(self) -> ClientEvent | _Nothing:
        code = self._reader.message_type()
        if code is None:
            return NEED_DATA
        if self._reader.inside_part:
            part = self._take_message(0, stream=True)
            return NEED_DATA if part is None else _as_part(part)
        following = _frontend_transition(self.state, code)
        login = code == Frontend.PASSWORD
        most = codes.MAX_LOGIN_MESSAGE if login else self._max_message
        small = code in _SMALL
        found = self._take_message(
            min(most, codes.MAX_SMALL_MESSAGE) if small else most, stream=not (login or small)
        )
        if found is None:
            return NEED_DATA
        event: Message | Part
        if isinstance(found, Part):
            event = found
        elif login:
            event = state.PASSWORD_KINDS[self.state].decode(found[1])
        else:
            event = FRONTEND_MESSAGES[code].decode(found[1])
        self._frontend_said(Frontend(code), following)
        return event


class ServerSide(_Side):
    """What a server says to us. We are the frontend."""

    def next_event(self) -> ServerEvent | _Nothing:
        """The next thing the server said, or NEED_DATA; raises PeerViolation, and then again each time."""
        if self._violation is not None:
            raise self._violation
        try:
            return self._next_event()
        except PeerViolation as violation:
            self._violation = violation
            raise

    def events(self) -> Iterator[ServerEvent]:
        """Every event there is now."""
        while (event := self.next_event()) is not NEED_DATA:
            yield event

    def send(self, message: Message | StartupPacket) -> bytes:
        """The bytes of our own *message*, or OwnViolation and no change."""
        what = _frontend_input(message)
        following = None if what is None else FRONTEND_SENDS.get((self.state, what))
        if following is not None and what == Frontend.PASSWORD:
            following = following if isinstance(message, state.PASSWORD_KINDS[self.state]) else None
        if what is None or following is None:
            raise OwnViolation(f"{type(message).__name__} cannot be sent while {self.state.name}")
        wire = message.encode()
        self._frontend_said(what, following)
        if isinstance(message, StartupMessage):
            self.protocol = message.version
        return wire

    def begin_direct_tls(self) -> None:
        """A TLS handshake follows at once; when it is done, tls_established() says so."""
        if (self.state, Packet.DIRECT_TLS) not in FRONTEND_SENDS:
            raise OwnViolation(f"a direct TLS handshake cannot begin while {self.state.name}")
        self.state = FRONTEND_SENDS[self.state, Packet.DIRECT_TLS]

    def tls_established(self) -> None:
        """The direct handshake is done."""
        if self.state is not State.DIRECT_TLS:
            raise OwnViolation(f"no direct TLS handshake is under way while {self.state.name}")
        self.state = BACKEND_SENDS[self.state, Answer.ACCEPTED]

    def _next_event(self) -> ServerEvent | _Nothing:
        code = self._reader.message_type()
        if code is None or self.state is State.CLOSED:
            return NEED_DATA
        if self.state in state.ANSWER_STATES:
            return self._next_answer()
        if self._reader.inside_part:
            part = self._take_message(0, stream=True)
            return NEED_DATA if part is None else _as_part(part)
        if code not in _BACKEND_TYPES[self.state]:
            raise malformed(f"unexpected message type 0x{code:02X} from server while {self.state.name}")
        login = self.state not in (State.READY, State.BUSY, State.COPY_IN, State.COPY_OUT, State.COPY_BOTH)
        most = codes.MAX_SERVER_LOGIN_MESSAGE if login else self._max_message
        found = self._take_message(most, stream=not login and code != Backend.READY_FOR_QUERY)
        if found is None:
            return NEED_DATA
        event: Message | Part = found if isinstance(found, Part) else decode_backend(*found)
        what: BackendInput = event.auth if isinstance(event, Authentication) else Backend(code)
        following = BACKEND_SENDS.get((self.state, what))
        if following is None:
            raise malformed(f"unexpected {type(event).__name__} from server while {self.state.name}")
        if isinstance(event, NegotiateProtocolVersion):
            self._negotiated(event)
        self._backend_said(what, following)
        return event

    def _next_answer(self) -> ServerEvent:
        gss = self.state in (State.GSS_ASKED, State.GSS_ASKED_LAST)
        if self.state is State.DIRECT_TLS:
            raise malformed("received unencrypted data during a direct TLS handshake")
        byte = bytes((self._reader.take_byte(),))
        accepted = codes.GSSENC_ACCEPTED if gss else codes.SSL_ACCEPTED
        if byte not in (accepted, codes.ENCRYPTION_REFUSED):
            # An error message would be one nobody has authenticated: libpq shows it no more either
            # (CVE-2024-10977).
            raise malformed(
                f"unexpected response 0x{byte[0]:02X} to {'GSSAPI' if gss else 'SSL'} negotiation"
            )
        if len(self._reader):
            raise malformed(
                f"received unencrypted data after {'GSSAPI encryption' if gss else 'SSL'} response"
            )
        answer = Answer.ACCEPTED if byte == accepted else Answer.REFUSED
        self.state = BACKEND_SENDS[self.state, answer]
        return answer

    def _negotiated(self, message: NegotiateProtocolVersion) -> None:
        if not codes.PROTOCOL_3_0 <= message.version <= self.protocol:
            offered = codes.version_text(message.version)
            raise malformed(f"server cannot negotiate protocol {offered} down from what was asked for")
        self.protocol = message.version


def _as_part(found: tuple[int, bytes] | Part) -> Part:
    assert isinstance(found, Part)
    return found


def _frontend_input(message: Message | StartupPacket) -> FrontendInput | None:
    if isinstance(message, StartupPacket):
        return message.packet
    if isinstance(message, COPY_MESSAGES):
        return Frontend(message.message_type)
    return message.message_type if isinstance(message.message_type, Frontend) else None


def _frontend_transition(current: State, code: int) -> State:
    following = FRONTEND_SENDS.get((current, Frontend(code))) if code in _FRONTEND_TYPES else None
    if following is not None:
        return following
    if current is State.PASSWORD_ASKED:
        raise malformed(f"expected password response, got message type {code}")
    if current in (State.SASL_ASKED, State.SASL_CONTINUED):
        raise malformed(f"expected SASL response, got message type {code}")
    if current is State.GSS_DATA_ASKED:
        raise malformed(f"expected GSS response, got message type {code}")
    if current is State.COPY_IN and code in _FRONTEND_TYPES:
        raise malformed(f"unexpected message type 0x{code:02X} during COPY from stdin")
    raise malformed(f"invalid frontend message type {code}")


_FRONTEND_TYPES = frozenset(int(code) for code in Frontend)
# Read off the table: which first bytes a server may send in a state.
_BACKEND_TYPES: dict[State, frozenset[int]] = {
    place: frozenset(
        int(Backend.AUTHENTICATION if isinstance(what, Auth) else what)
        for at, what in BACKEND_SENDS
        if at is place and not isinstance(what, Answer)
    )
    for place in State
}
