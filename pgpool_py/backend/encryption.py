"""Makes a connection to a server a TLS one, as far as server_tls_sslmode asks for it and the server has it.

`allow` and `prefer` mean the same, as in PgBouncer: TLS where the server says yes, clear text where it says
no. A handshake that fails is a failure in every mode; going on without would let anybody in between undo it.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from pgpool_py.tls import stream
from pgpool_py.tls.options import ALPN, INSISTENT
from pgpool_py.tls.session import session_of
from pgwire import Answer, ServerSide, SSLRequest

from ..conversation import Conversation
from .errors import login_failed
from .target import ServerAddress, ServerTarget, ServerTls


async def encrypt(talk: Conversation[ServerSide], address: ServerAddress, target: ServerTarget) -> ServerAddress:
    """*address*, with the way it was encrypted noted in it."""
    tls = target.tls
    if tls.context is None or address.family == socket.AF_UNIX:
        return address
    tls = replace(tls, host=target.host)
    return replace(address, tls=tls) if await shake_hands(talk, tls) else address


async def shake_hands(talk: Conversation[ServerSide], tls: ServerTls) -> bool:
    """Whether the connection is encrypted now; ServerConnectError where it must be and is not."""
    assert tls.context is not None
    side = talk.side
    if tls.direct:
        side.begin_direct_tls()
    else:
        talk.add(side.send(SSLRequest()))
        if await talk.next_event() is not Answer.ACCEPTED:
            if tls.mode in INSISTENT:
                raise login_failed("server refused SSL")
            return False
    try:
        encrypted = await talk.encrypt(tls.context, server_side=False, server_hostname=tls.host)
    except stream.HandshakeFailed as failure:
        raise login_failed(f"TLS handshake with the server failed: {failure}") from None
    if tls.direct:
        if session_of(encrypted).alpn != ALPN:
            raise login_failed(f"server speaks TLS, but did not agree to ALPN {ALPN}")
        side.tls_established()
    return True
