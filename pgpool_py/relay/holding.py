"""Servers that a client holds between transactions, as long as nobody else needs them (pool/held.py): for what would be lost.

    a sequence value    that its application reads in later transactions (`sequences`)
    what no reset ends  a seed, a library, settings whose names nobody has seen: the server is closed instead of going to another
                        client, so its own loses nothing, and saves a connection, by coming back to it (`Server.uncleared`)

That is not a pin, which nobody is given up for. `Client.values` is not zero as long as there may be something to hold.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.relay import sequences
from pgpool_py.relay.replies import notice_response
from pgpool_py.relay.server import Server
from pgpool_py.session.statements import PIN_ERROR, PIN_NOTICE

KEEPS_HELD = 8  # of `Client.keeps_server`
VALUE = "sequence value"  # the reason in SHOW PINS


def settle(client: Any, server: Server) -> None:
    """The server of a client that may have something to hold could be given back: hold it, or let go of it."""
    if client.wrote:
        sequences.ended(client)
    context = client.context
    wanted = sequences.wanted(client, server)
    since = client.value_since if wanted else client.relay.now
    if not (
        context.keeping
        and not client.pins
        and context.pin_mode != PIN_ERROR
        and not context.always_reset
        and (wanted or server.uncleared)
        and client.pool.hold(server, since, not wanted or sequences.spare(client))
    ):
        let_go(client, server)
        return
    if not client.keeps_server & KEEPS_HELD:
        client.keeps_server |= KEEPS_HELD
        if context.pin_mode == PIN_NOTICE:
            client.send_data(notice_response(f"this session keeps a server of its own: {held_for(server)}"))
    if client.pool.waiting:
        client.relay.broker.client_waits(client)


def claim(client: Any) -> None:
    """There is something, or will be, on the client's server that no reset ends: it may hold it."""
    client.values = client.values or sequences.READ
    client.value_since = client.relay.now


def held_for(server: Server) -> str:
    """Why a server is held, in the words of SHOW PINS."""
    return server.uncleared or VALUE


def let_go(client: Any, server: Server) -> None:
    """The server is not held any more."""
    if client.keeps_server & KEEPS_HELD:
        client.keeps_server &= ~KEEPS_HELD
        client.pool.unhold(server)
