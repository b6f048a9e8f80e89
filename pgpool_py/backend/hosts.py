"""From the host of a target to addresses that can be connected to.

Literal addresses and Unix sockets need no look-up; names go through getaddrinfo in the loop's executor.
Caching (dns_max_ttl) will go here; trying the addresses is connect.py's work.
"""

from __future__ import annotations

import asyncio
import socket

from .errors import CANNOT_CONNECT, ServerConnectError
from .target import ServerAddress


async def resolve(host: str, port: int) -> list[ServerAddress]:
    """The addresses of *host*, in the order they should be tried; never empty."""
    if host.startswith(("/", "@")):
        name = f"{host}/.s.PGSQL.{port}"
        return [ServerAddress(socket.AF_UNIX, "\0" + name[1:] if name.startswith("@") else name)]
    if literal := _literal(host, port):
        return [literal]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        # The text of a UnicodeError is for programmers.
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ServerConnectError(
            CANNOT_CONNECT, f"cannot look up server {host}: {reason}", "server DNS lookup failed"
        ) from None
    addresses = dict.fromkeys(ServerAddress(family, sockaddr) for family, _, _, _, sockaddr in found)
    return list(addresses)


def _literal(host: str, port: int) -> ServerAddress | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return ServerAddress(family, (host, port))
    return None
