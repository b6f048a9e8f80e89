"""Users that somebody else vouches for: the kernel, for a process at the other end of a Unix socket.

Knows who vouches and how names are mapped. Nothing is asked of the client.
"""

from __future__ import annotations

import asyncio
import pwd

from pgpool_py.auth.ident import IdentMap

from .errors import PeerFailed
from .gate import Peer


async def check_peer(user: str, peer: Peer, ident: IdentMap | None, *, known: bool) -> None:
    """Make sure that the process behind a Unix socket runs as *user*, or as one whom *ident* lets be that user."""
    if peer.host != "unix":
        raise PeerFailed("peer authentication needs a Unix socket")
    if not known:
        raise PeerFailed("no such user")
    # The name may come from a directory over the network, so not in the loop's own thread.
    name = await asyncio.to_thread(system_name, peer.uid)
    if name is None:
        raise PeerFailed(f"no system user has the id {peer.uid}")
    if ident is not None:
        if not ident.allows([name], user):
            raise PeerFailed(f'ident map {ident.name} cannot be matched: system user "{name}"')
    elif name != user:
        raise PeerFailed(f'system user "{name}" is not "{user}"')


def system_name(uid: int) -> str | None:
    """The name of a system user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
