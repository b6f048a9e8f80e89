"""What comes before the startup packet: requests for TLS and GSSAPI encryption, and their answer.

The one place that decides whether a connection is encrypted. Today the answer is always "no"; bytes that
come between a request and its answer are refused by pgwire, because after a "yes" they would pass for
encrypted ones.
"""

from __future__ import annotations

from pgwire import CancelRequest, ClientSide, DirectTLS, GSSENCRequest, SSLRequest, StartupMessage

from ..conversation import Conversation
from .errors import ClientGone


async def first_packet(talk: Conversation[ClientSide]) -> StartupMessage | CancelRequest:
    """The packet that says what the client wants, after encryption is settled."""
    while True:
        match event := await talk.next_event():
            case SSLRequest() | GSSENCRequest():
                # TLS goes here: accept_encryption(), flush, a handshake on the socket, and round again.
                talk.add(talk.side.refuse_encryption())
            case DirectTLS():
                # It expects a ServerHello; words in clear text would only confuse it.
                raise ClientGone("TLS setup failed: direct TLS is not supported")
            case StartupMessage() | CancelRequest():
                return event
            case _:
                raise AssertionError(f"no event of a beginning: {event!r}")
