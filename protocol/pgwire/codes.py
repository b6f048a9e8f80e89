"""The numbers of the protocol: message types, authentication requests, request codes, limits.

The one place where a wire letter appears. The same letter in two directions is two names. Because the
members are integers, a Frontend and a Backend member with the same letter are equal: never mix the two in
one dictionary.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class Frontend(IntEnum):
    """First byte of what a client sends after its startup packet."""

    BIND = ord("B")
    CLOSE = ord("C")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_FAIL = ord("f")
    DESCRIBE = ord("D")
    EXECUTE = ord("E")
    FLUSH = ord("H")
    FUNCTION_CALL = ord("F")
    PARSE = ord("P")
    PASSWORD = ord(
        "p"
    )  # PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse: the context decides
    QUERY = ord("Q")
    SYNC = ord("S")
    TERMINATE = ord("X")


class Backend(IntEnum):
    """First byte of what a server sends."""

    AUTHENTICATION = ord("R")
    BACKEND_KEY_DATA = ord("K")
    BIND_COMPLETE = ord("2")
    CLOSE_COMPLETE = ord("3")
    COMMAND_COMPLETE = ord("C")
    COPY_BOTH_RESPONSE = ord("W")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_IN_RESPONSE = ord("G")
    COPY_OUT_RESPONSE = ord("H")
    DATA_ROW = ord("D")
    EMPTY_QUERY_RESPONSE = ord("I")
    ERROR_RESPONSE = ord("E")
    FUNCTION_CALL_RESPONSE = ord("V")
    NEGOTIATE_PROTOCOL_VERSION = ord("v")
    NO_DATA = ord("n")
    NOTICE_RESPONSE = ord("N")
    NOTIFICATION_RESPONSE = ord("A")
    PARAMETER_DESCRIPTION = ord("t")
    PARAMETER_STATUS = ord("S")
    PARSE_COMPLETE = ord("1")
    PORTAL_SUSPENDED = ord("s")
    READY_FOR_QUERY = ord("Z")
    ROW_DESCRIPTION = ord("T")


class Auth(IntEnum):
    """The number inside an Authentication message. None of them is equal to a message type."""

    OK = 0
    KERBEROS_V5 = 2
    CLEARTEXT_PASSWORD = 3
    MD5_PASSWORD = 5
    GSS = 7
    GSS_CONTINUE = 8
    SSPI = 9
    SASL = 10
    SASL_CONTINUE = 11
    SASL_FINAL = 12


class Packet(Enum):
    """What may come where no message type is sent yet."""

    STARTUP = "StartupMessage"
    SSL_REQUEST = "SSLRequest"
    GSSENC_REQUEST = "GSSENCRequest"
    CANCEL_REQUEST = "CancelRequest"
    DIRECT_TLS = "ClientHello"  # TLS without SSLRequest, sslnegotiation=direct


class Answer(Enum):
    """The single byte that answers SSLRequest or GSSENCRequest; also the event a ServerSide makes of it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


PROTOCOL_3_0 = 196608
PROTOCOL_3_2 = 196610
PROTOCOL_LATEST = PROTOCOL_3_2

CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104

SSL_ACCEPTED = b"S"
GSSENC_ACCEPTED = b"G"
ENCRYPTION_REFUSED = b"N"
TLS_HANDSHAKE = 0x16  # the first byte of a ClientHello; as a startup packet it would be hundreds of megabytes

PROTOCOL_OPTION_PREFIX = "_pq_."

# Length of a startup packet without its length word, as PostgreSQL's MAX_STARTUP_PACKET_LENGTH.
MAX_STARTUP_PACKET = 10_000
# Length of a password or SASL message body: room for a password of 64 KiB, its terminator, and a mechanism
# name.
MAX_LOGIN_MESSAGE = 66_560
# Length of any one message body of a server's login (a ParameterStatus may well have 30 KiB).
MAX_SERVER_LOGIN_MESSAGE = 1 << 20
# PostgreSQL's PQ_LARGE_MESSAGE_LIMIT and PQ_SMALL_MESSAGE_LIMIT.
MAX_MESSAGE = 0x3FFFFFFE
MAX_SMALL_MESSAGE = 10_000

MIN_CANCEL_KEY = 4
MAX_CANCEL_KEY = 256


def version_text(version: int) -> str:
    """The protocol version as people write it: 196610 is "3.2"."""
    return f"{version >> 16}.{version & 0xFFFF}"
