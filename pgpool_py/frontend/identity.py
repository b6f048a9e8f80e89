"""Users that somebody else vouches for: the kernel, for a process at the other end of a Unix socket, or a certificate.

Knows who vouches and how names are mapped. Nothing is asked of the client.
"""

from __future__ import annotations

import asyncio
import pwd

from pgpool_py.auth.ident import IdentMap

from .errors import CertificateFailed, PeerFailed
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


def check_certificate(user: str, peer: Peer, ident: IdentMap | None, *, known: bool) -> None:
    """Make sure that the certificate of the TLS connection names *user*, or somebody whom *ident* lets be that user.

    Its names are the common name and, as in PgBouncer, the DNS names beside it; a certificate that no root vouches for never
    gets this far.
    """
    if peer.tls is None:
        raise CertificateFailed("TLS connection required")
    certificate = peer.tls.certificate
    if certificate is None:
        raise CertificateFailed("TLS client certificate required")
    if not known:
        raise CertificateFailed("no such user")
    names = [name for name in (certificate.common_name, *certificate.dns_names) if name]
    if ident is not None:
        if not ident.allows(names, user):
            raise CertificateFailed(f"ident map: {ident.name} does not have a match: {certificate.subject}")
    elif user not in names:
        raise CertificateFailed(f"TLS certificate name mismatch: {certificate.subject}")


def system_name(uid: int) -> str | None:
    """The name of a system user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
