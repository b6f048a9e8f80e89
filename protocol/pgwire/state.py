"""Where a connection stands in the protocol, and what may be said next.

Theory: a connection is in one State, the same for both ends. Two tables hold every transition, one for each
speaker: FRONTEND_SENDS and BACKEND_SENDS, `(state, what is said) -> next state`. A ClientSide and a
ServerSide read the same tables; they differ only in who is the peer. Three rules follow from the tables
alone:

1. What is not in the table is a violation: the peer's (PeerViolation) or ours (OwnViolation).
2. A state in which the frontend has nothing to say is not its turn. A frontend that is early is not wrong:
   its bytes wait, as they would in the server's socket buffer.
3. Login is a dialogue, one message in turn. After it the frontend may pipeline without bound, so BUSY only
   says that some ReadyForQuery is owed; the connection counts them, and STILL_OWED brings READY back to BUSY.
   Which reply belongs to which request is the business of the queue of expected replies, not of these tables.

One limit on purpose: a frontend that sends its copy data ahead of CopyInResponse is legal on the wire, but
is not modelled here. The tables drive logins and the pooler's own queries; a client's queries pass through
the relay.

docs/protocol-states.md is drawn from these tables by `python -m pgwire.draw`.
"""

from __future__ import annotations

from enum import Enum

from .codes import Answer, Auth, Backend, Frontend, Packet
from .frontend_messages import GSSResponse, PasswordMessage, SASLInitialResponse, SASLResponse


class State(Enum):
    START = "nothing was said yet"
    SSL_ASKED = "SSLRequest waits for its answer"
    GSS_ASKED = "GSSENCRequest waits for its answer"
    SSL_REFUSED = "no TLS; GSSAPI encryption may still be asked for"
    GSS_REFUSED = "no GSSAPI encryption; TLS may still be asked for"
    SSL_ASKED_LAST = "SSLRequest after a refused GSSENCRequest"
    GSS_ASKED_LAST = "GSSENCRequest after a refused SSLRequest"
    DIRECT_TLS = "a TLS handshake began without SSLRequest"
    SETTLED = "encryption is decided; the startup packet comes next"
    STARTED = "the backend has the StartupMessage"
    NEGOTIATED = "the same, and the protocol version is negotiated"
    PASSWORD_ASKED = "the backend wants a password"
    SASL_ASKED = "the backend wants a SASL mechanism"
    SASL_CHECKED = "the backend has SASL data"
    SASL_CONTINUED = "the backend wants more SASL data"
    SASL_FINISHED = "the backend has proved itself"
    GSS_DATA_ASKED = "the backend wants GSSAPI or SSPI data"
    GSS_CHECKED = "the backend has GSSAPI or SSPI data"
    ANSWERED = "the backend has the password"
    AUTHENTICATED = "the backend prepares the session"
    READY = "no reply is owed"
    BUSY = "replies are owed"
    COPY_IN = "the backend reads copy data"
    COPY_OUT = "the backend writes copy data"
    COPY_BOTH = "both write copy data"
    CLOSED = "nothing more may be said"


class Owed(Enum):
    """Not said by anybody: the connection found that the frontend had pipelined more."""

    STILL_OWED = "more is owed"


FrontendInput = Frontend | Packet | Owed
BackendInput = Backend | Auth | Answer

S, F, B = State, Frontend, Backend

# Simple query, function call, extended query: anything that makes the backend owe something.
REQUESTS = (F.QUERY, F.FUNCTION_CALL, F.PARSE, F.BIND, F.DESCRIBE, F.EXECUTE, F.CLOSE, F.FLUSH, F.SYNC)
# Each of these makes the backend owe one ReadyForQuery.
OWE_READY = (F.QUERY, F.FUNCTION_CALL, F.SYNC)
# A frontend may still be sending these when its COPY has failed already: accepted and ignored, as the
# manual says.
COPY_REMAINS = (F.COPY_DATA, F.COPY_DONE, F.COPY_FAIL)
# May come at any time once the session stands.
ASYNCHRONOUS = (B.NOTICE_RESPONSE, B.PARAMETER_STATUS, B.NOTIFICATION_RESPONSE)
REPLIES = (
    B.BIND_COMPLETE,
    B.CLOSE_COMPLETE,
    B.COMMAND_COMPLETE,
    B.DATA_ROW,
    B.EMPTY_QUERY_RESPONSE,
    B.ERROR_RESPONSE,
    B.FUNCTION_CALL_RESPONSE,
    B.NO_DATA,
    B.PARAMETER_DESCRIPTION,
    B.PARSE_COMPLETE,
    B.PORTAL_SUSPENDED,
    B.ROW_DESCRIPTION,
)
BEFORE_STARTUP = (S.START, S.SSL_REFUSED, S.GSS_REFUSED, S.SETTLED)
# The frontend waits for a byte, and a ServerSide takes nothing else; only we may send an error then.
ENCRYPTION_ASKED = (S.SSL_ASKED, S.GSS_ASKED, S.SSL_ASKED_LAST, S.GSS_ASKED_LAST, S.DIRECT_TLS)
LOGIN = (
    S.STARTED,
    S.NEGOTIATED,
    S.PASSWORD_ASKED,
    S.SASL_ASKED,
    S.SASL_CHECKED,
    S.SASL_CONTINUED,
    S.SASL_FINISHED,
    S.GSS_DATA_ASKED,
    S.GSS_CHECKED,
    S.ANSWERED,
    S.AUTHENTICATED,
)

# state                what the frontend says      next state
FRONTEND_SENDS: dict[tuple[State, FrontendInput], State] = {
    (S.START, Packet.SSL_REQUEST): S.SSL_ASKED,
    (S.START, Packet.GSSENC_REQUEST): S.GSS_ASKED,
    (S.START, Packet.DIRECT_TLS): S.DIRECT_TLS,
    (S.GSS_REFUSED, Packet.SSL_REQUEST): S.SSL_ASKED_LAST,
    (S.SSL_REFUSED, Packet.GSSENC_REQUEST): S.GSS_ASKED_LAST,
    **{(state, Packet.STARTUP): S.STARTED for state in BEFORE_STARTUP},
    **{(state, Packet.CANCEL_REQUEST): S.CLOSED for state in BEFORE_STARTUP},
    (S.PASSWORD_ASKED, F.PASSWORD): S.ANSWERED,
    (S.SASL_ASKED, F.PASSWORD): S.SASL_CHECKED,
    (S.SASL_CONTINUED, F.PASSWORD): S.SASL_CHECKED,
    (S.GSS_DATA_ASKED, F.PASSWORD): S.GSS_CHECKED,
    **{(S.READY, request): S.BUSY for request in REQUESTS},
    **{(S.BUSY, request): S.BUSY for request in REQUESTS},
    **{(S.COPY_OUT, request): S.COPY_OUT for request in REQUESTS},
    **{(state, copy): state for state in (S.READY, S.BUSY, S.COPY_OUT) for copy in COPY_REMAINS},
    (S.COPY_IN, F.COPY_DATA): S.COPY_IN,
    (S.COPY_IN, F.FLUSH): S.COPY_IN,  # ignored by the backend, and so is Sync: it owes nothing
    (S.COPY_IN, F.SYNC): S.COPY_IN,
    (S.COPY_IN, F.COPY_DONE): S.BUSY,
    (S.COPY_IN, F.COPY_FAIL): S.BUSY,
    (S.COPY_BOTH, F.COPY_DATA): S.COPY_BOTH,
    (S.COPY_BOTH, F.COPY_DONE): S.COPY_OUT,
    (S.COPY_BOTH, F.COPY_FAIL): S.BUSY,
    (S.READY, Owed.STILL_OWED): S.BUSY,
    **{(state, F.TERMINATE): S.CLOSED for state in (S.READY, S.BUSY, S.COPY_IN, S.COPY_OUT, S.COPY_BOTH)},
}

# state                what the backend says       next state
BACKEND_SENDS: dict[tuple[State, BackendInput], State] = {
    **{(state, Answer.ACCEPTED): S.SETTLED for state in ENCRYPTION_ASKED},
    (S.SSL_ASKED, Answer.REFUSED): S.SSL_REFUSED,
    (S.GSS_ASKED, Answer.REFUSED): S.GSS_REFUSED,
    (S.SSL_ASKED_LAST, Answer.REFUSED): S.SETTLED,
    (S.GSS_ASKED_LAST, Answer.REFUSED): S.SETTLED,
    **{
        (state, B.ERROR_RESPONSE): S.CLOSED for state in (*BEFORE_STARTUP, *ENCRYPTION_ASKED, *LOGIN, S.READY)
    },
    **{(state, B.NOTICE_RESPONSE): state for state in LOGIN},
    (S.STARTED, B.NEGOTIATE_PROTOCOL_VERSION): S.NEGOTIATED,  # once, and first
    **{
        (state, auth): asked
        for state in (S.STARTED, S.NEGOTIATED)
        for auth, asked in (
            (Auth.OK, S.AUTHENTICATED),
            (Auth.CLEARTEXT_PASSWORD, S.PASSWORD_ASKED),
            (Auth.MD5_PASSWORD, S.PASSWORD_ASKED),
            (Auth.SASL, S.SASL_ASKED),
            (Auth.GSS, S.GSS_DATA_ASKED),
            (Auth.SSPI, S.GSS_DATA_ASKED),
            (Auth.KERBEROS_V5, S.CLOSED),  # the dialogue that follows is described nowhere any more
        )
    },
    (S.ANSWERED, Auth.OK): S.AUTHENTICATED,
    (S.SASL_CHECKED, Auth.SASL_CONTINUE): S.SASL_CONTINUED,
    (S.SASL_CHECKED, Auth.SASL_FINAL): S.SASL_FINISHED,
    (S.SASL_FINISHED, Auth.OK): S.AUTHENTICATED,
    (S.GSS_CHECKED, Auth.GSS_CONTINUE): S.GSS_DATA_ASKED,
    (S.GSS_CHECKED, Auth.OK): S.AUTHENTICATED,
    (S.AUTHENTICATED, B.PARAMETER_STATUS): S.AUTHENTICATED,
    (S.AUTHENTICATED, B.BACKEND_KEY_DATA): S.AUTHENTICATED,
    (S.AUTHENTICATED, B.READY_FOR_QUERY): S.READY,
    **{
        (state, message): state
        for state in (S.READY, S.BUSY, S.COPY_IN, S.COPY_OUT, S.COPY_BOTH)
        for message in ASYNCHRONOUS
    },
    **{(S.BUSY, reply): S.BUSY for reply in REPLIES},
    (S.BUSY, B.READY_FOR_QUERY): S.READY,
    (S.BUSY, B.COPY_IN_RESPONSE): S.COPY_IN,
    (S.BUSY, B.COPY_OUT_RESPONSE): S.COPY_OUT,
    (S.BUSY, B.COPY_BOTH_RESPONSE): S.COPY_BOTH,
    (S.COPY_IN, B.ERROR_RESPONSE): S.BUSY,
    (S.COPY_OUT, B.COPY_DATA): S.COPY_OUT,
    (S.COPY_OUT, B.COPY_DONE): S.BUSY,
    (S.COPY_OUT, B.ERROR_RESPONSE): S.BUSY,
    (S.COPY_BOTH, B.COPY_DATA): S.COPY_BOTH,
    (S.COPY_BOTH, B.COPY_DONE): S.COPY_IN,
    (S.COPY_BOTH, B.ERROR_RESPONSE): S.BUSY,
}

# What a frontend's "p" is, by what the backend asked for.
PASSWORD_KINDS: dict[State, type[PasswordMessage | SASLInitialResponse | SASLResponse | GSSResponse]] = {
    S.PASSWORD_ASKED: PasswordMessage,
    S.SASL_ASKED: SASLInitialResponse,
    S.SASL_CONTINUED: SASLResponse,
    S.GSS_DATA_ASKED: GSSResponse,
}

# Rule 2: whose turn it may be, read off the tables.
FRONTEND_TURNS = frozenset(state for state, _ in FRONTEND_SENDS)
BACKEND_TURNS = frozenset(state for state, _ in BACKEND_SENDS)
# Messages carry no more than a login needs.
LOGIN_STATES = frozenset(LOGIN)
# Packets without a type byte are read here.
STARTUP_STATES = frozenset(BEFORE_STARTUP)
# One byte is read here, by a ServerSide.
ANSWER_STATES = frozenset(ENCRYPTION_ASKED)
