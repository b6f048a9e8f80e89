"""What comes before the startup packet: requests for TLS and GSSAPI encryption, and their answer.

The one place that decides whether a connection is encrypted. Bytes that come between a request and its
answer are refused by pgwire, because after a "yes" they would pass for encrypted ones. GSSAPI encryption is
always answered with "no".
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from pgpool_py.tls import stream
from pgpool_py.tls.options import ALPN, DISABLE, INSISTENT
from pgpool_py.tls.session import TlsSession, session_of
from pgwire import CancelRequest, ClientSide, DirectTLS, GSSENCRequest, SSLRequest, StartupMessage

from ..conversation import Conversation
from .errors import ClientGone

_TLS_HANDSHAKE = b"\x16"  # the first byte of a record that begins a handshake


@dataclass(frozen=True, slots=True)
class ClientTls:
    """client_tls_sslmode, and what a handshake is done with."""

    mode: str = DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def required(self) -> bool:
        """Whether a client over TCP must encrypt; one that only wants a cancel need not, as with PostgreSQL."""
        return self.mode in INSISTENT


async def first_packet(
    talk: Conversation[ClientSide], tls: ClientTls
) -> tuple[StartupMessage | CancelRequest, TlsSession | None]:
    """The packet that says what the client wants, after encryption is settled; and the TLS session it came in."""
    session = None
    if tls.context is not None and await stream.first_byte(talk.sock) == _TLS_HANDSHAKE:
        session = await _direct(talk, tls.context)
    while True:
        match event := await talk.next_event():
            case SSLRequest() if tls.context is not None:
                talk.add(talk.side.accept_encryption())
                session = await _encrypt(talk, tls.context)
            case SSLRequest() | GSSENCRequest():
                talk.add(talk.side.refuse_encryption())
            case DirectTLS():
                # It expects a ServerHello; words in clear text would only confuse it.
                raise ClientGone("TLS setup failed: direct TLS is not supported")
            case StartupMessage() | CancelRequest():
                return event, session
            case _:
                raise AssertionError(f"no event of a beginning: {event!r}")


async def _direct(talk: Conversation[ClientSide], context: ssl.SSLContext) -> TlsSession:
    """A handshake without a request (PostgreSQL 17): the protocol is named in it, or this may be anybody."""
    # The protocol machine is shown the first byte only; the handshake itself is still in the socket.
    talk.side.receive(_TLS_HANDSHAKE)
    talk.side.next_event()
    talk.side.leftover()
    talk.side.accept_encryption()
    session = await _encrypt(talk, context)
    if session.alpn != ALPN:
        raise ClientGone(f"TLS setup failed: direct TLS without ALPN {ALPN}")
    return session


async def _encrypt(talk: Conversation[ClientSide], context: ssl.SSLContext) -> TlsSession:
    try:
        return session_of(await talk.encrypt(context, server_side=True))
    except stream.HandshakeFailed as failure:
        raise ClientGone(f"TLS handshake failed: {failure}") from None
