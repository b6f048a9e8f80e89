"""From the host of a target to addresses that can be connected to, remembered for a while.

Literal addresses and Unix sockets need no look-up; names go through getaddrinfo in the loop's executor. Knows `dns_max_ttl`,
`dns_nxdomain_ttl` and `dns_zone_check_period`. Trying the addresses is connect.py's work.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import CANNOT_CONNECT, ServerConnectError
from .target import ServerAddress

Look = Callable[[str, int], list[ServerAddress]]


async def resolve(host: str, port: int) -> list[ServerAddress]:
    """The addresses of *host*, in the order they should be tried; never empty."""
    return literal_addresses(host, port) or await look_up(host, port)


def literal_addresses(host: str, port: int) -> list[ServerAddress]:
    """What *host* says by itself; nothing for a name."""
    if host.startswith(("/", "@")):
        name = f"{host}/.s.PGSQL.{port}"
        return [ServerAddress(socket.AF_UNIX, "\0" + name[1:] if name.startswith("@") else name)]
    literal = _literal(host, port)
    return [literal] if literal else []


async def look_up(host: str, port: int) -> list[ServerAddress]:
    """What the system's resolver says of a name."""
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


@dataclass(slots=True)
class Answer:
    """What is known of a name; without *addresses* it is not known to anybody."""

    addresses: list[ServerAddress]
    failure: ServerConnectError | None = None
    looked_at: float = -math.inf
    turn: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Names:
    """The names of servers and their addresses. *changed* is told of addresses a name no longer has."""

    def __init__(self, changed: Callable[[set[ServerAddress]], None] | None = None) -> None:
        self.max_ttl = 15.0
        self.nxdomain_ttl = 15.0
        self.check_period = 0.0
        self.answers: dict[tuple[str, int], Answer] = {}
        self._changed = changed or (lambda gone: None)

    def configure(self, max_ttl: float, nxdomain_ttl: float, check_period: float) -> None:
        """Take over the settings dns_*."""
        self.max_ttl, self.nxdomain_ttl, self.check_period = max_ttl, nxdomain_ttl, check_period

    async def resolve(self, host: str, port: int) -> list[ServerAddress]:
        """The addresses of *host*, each time with the next one first."""
        if literal := literal_addresses(host, port):
            return literal
        answer = self.answers.setdefault((host, port), Answer([]))
        age = asyncio.get_running_loop().time() - answer.looked_at
        if age >= (self.nxdomain_ttl if answer.failure else self.max_ttl):
            await self._renew(host, port, answer)
        if not answer.addresses:
            assert answer.failure is not None
            raise answer.failure
        answer.turn = (answer.turn + 1) % len(answer.addresses)
        return [*answer.addresses[answer.turn - 1 :], *answer.addresses[: answer.turn - 1]]

    def tick(self, now: float) -> None:
        """Look again, in the background, at the names that dns_zone_check_period asks about."""
        for (host, port), answer in self.answers.items():
            if 0 < self.check_period <= now - answer.looked_at and answer.task is None:
                answer.task = asyncio.get_running_loop().create_task(self._look(host, port, answer))

    def shown(self, now: float) -> Iterator[tuple[str, int, str]]:
        """Each name with the seconds for which its answer will be used, and its addresses."""
        for (host, _), answer in self.answers.items():
            ttl = self.nxdomain_ttl if answer.failure else self.max_ttl
            left = max(0, int(answer.looked_at + ttl - now)) if answer.looked_at > -math.inf else 0
            yield host, left, ",".join(str(address).rpartition(":")[0] for address in answer.addresses)

    async def _renew(self, host: str, port: int, answer: Answer) -> None:
        # One question for all who wait; who gives up does not take the answer from the others.
        if answer.task is None:
            answer.task = asyncio.get_running_loop().create_task(self._look(host, port, answer))
        await asyncio.shield(answer.task)

    async def _look(self, host: str, port: int, answer: Answer) -> None:
        try:
            found = await look_up(host, port)
        except ServerConnectError as failure:
            # A resolver that is away for a moment does not unmake what was known; the next look may be soon.
            answer.failure = failure
        else:
            gone = set(answer.addresses) - set(found)
            # Resolvers shuffle: the order stays as it was for addresses that stay.
            kept = [address for address in answer.addresses if address in found]
            answer.addresses = kept + [address for address in found if address not in kept]
            answer.failure = None
            if gone:
                self._changed(gone)
        finally:
            answer.looked_at = asyncio.get_running_loop().time()
            answer.task = None


def _literal(host: str, port: int) -> ServerAddress | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return ServerAddress(family, (host, port))
    return None
