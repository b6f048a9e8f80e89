"""From the host of a target to addresses that can be connected to, remembered for a while.

Literal addresses and Unix sockets need no look-up. Names go through getaddrinfo in the loop's executor, or with `resolv_conf` to
the name servers of that file. Knows `dns_max_ttl`, `dns_nxdomain_ttl` and `dns_zone_check_period`. Trying the addresses is
connect.py's work.

A zone is what follows the first dot of a name. Its serial number says whether any of its names has changed: one question in
place of one for each name.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import CANNOT_CONNECT, ServerConnectError
from .nameservers import LookupFailed, NameServers
from .target import ServerAddress

SERIALS = 1 << 32


async def resolve(host: str, port: int) -> list[ServerAddress]:
    """The addresses of *host*, in the order they should be tried; never empty."""
    return literal_addresses(host, port) or [address.at(port) for address in await look_up(host)]


def literal_addresses(host: str, port: int) -> list[ServerAddress]:
    """What *host* says by itself; nothing for a name."""
    if host.startswith(("/", "@")):
        name = f"{host}/.s.PGSQL.{port}"
        return [ServerAddress(socket.AF_UNIX, "\0" + name[1:] if name.startswith("@") else name)]
    literal = _literal(host, port)
    return [literal] if literal else []


async def look_up(host: str, servers: NameServers | None = None) -> list[ServerAddress]:
    """What *servers*, or the system's resolver, say of a name: addresses without a port."""
    try:
        if servers is not None:
            return list(dict.fromkeys(await servers.addresses(host)))
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, LookupFailed) as error:
        # The text of a UnicodeError is for programmers.
        reason = "not a host name" if isinstance(error, UnicodeError) else getattr(error, "strerror", None) or str(error)
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
    """The names of servers and their addresses. *changed* is told of addresses, without a port, that a name no longer has."""

    def __init__(
        self,
        changed: Callable[[str, set[ServerAddress]], None] | None = None,
        log: Callable[[str], None] | None = None,
        debug: Callable[[str], None] | None = None,
    ) -> None:
        self.max_ttl = 15.0
        self.nxdomain_ttl = 15.0
        self.check_period = 0.0
        self.answers: dict[str, Answer] = {}
        self.zones: dict[str, int | None] = {}  # their serial numbers, None before the first is known
        self.checked_at = math.inf  # when zones were last asked for
        self._changed = changed or (lambda host, gone: None)
        self._log = log or (lambda text: None)
        self._debug = debug or (lambda text: None)
        self._servers: NameServers | None = None  # of resolv_conf
        self._zone_servers = NameServers()
        self._checking: asyncio.Task[None] | None = None

    def configure(self, max_ttl: float, nxdomain_ttl: float, check_period: float, resolv_conf: str = "") -> None:
        """Take over the settings dns_* and resolv_conf."""
        self.max_ttl, self.nxdomain_ttl, self.check_period = max_ttl, nxdomain_ttl, check_period
        if self._zone_servers.path != NameServers(resolv_conf).path:
            self._zone_servers = NameServers(resolv_conf)
            self._servers = self._zone_servers if resolv_conf else None

    async def resolve(self, host: str, port: int) -> list[ServerAddress]:
        """The addresses of *host*, each time with the next one first."""
        if literal := literal_addresses(host, port):
            return literal
        answer = self.answers.get(host) or self._begin(host)
        age = asyncio.get_running_loop().time() - answer.looked_at
        if age >= (self.nxdomain_ttl if answer.failure else self.max_ttl):
            # One question for all who wait; who gives up does not take the answer from the others.
            await asyncio.shield(self._look_again(host, answer))
        if not answer.addresses:
            assert answer.failure is not None
            raise answer.failure
        answer.turn = (answer.turn + 1) % len(answer.addresses)
        in_turn = [*answer.addresses[answer.turn - 1 :], *answer.addresses[: answer.turn - 1]]
        return [address.at(port) for address in in_turn]

    def tick(self, now: float) -> None:
        """Ask for zones, in the background, every dns_zone_check_period."""
        if not self.check_period or not self.answers:
            self.checked_at = math.inf
        elif self.checked_at == math.inf:
            self.checked_at = now
        elif now - self.checked_at >= self.check_period and self._checking is None:
            self._checking = _task(self._check_zones())

    def shown(self, now: float) -> Iterator[tuple[str, int, str]]:
        """Each name with the seconds for which its answer will be used, and its addresses."""
        for host, answer in self.answers.items():
            ttl = self.nxdomain_ttl if answer.failure else self.max_ttl
            left = max(0, int(answer.looked_at + ttl - now)) if answer.looked_at > -math.inf else 0
            yield host, left, _text(answer)

    def shown_zones(self) -> Iterator[tuple[str, int, int]]:
        """Each zone with its serial number, and how many names of it are known."""
        for zone, serial in sorted(self.zones.items()):
            yield zone, serial or 0, len(self._names_in(zone))

    @property
    def under_way(self) -> int:
        """Questions that are not answered yet."""
        return sum(answer.task is not None for answer in self.answers.values()) + (self._checking is not None)

    def _begin(self, host: str) -> Answer:
        if zone := zone_of(host):
            self.zones.setdefault(zone)
        return self.answers.setdefault(host, Answer([]))

    def _names_in(self, zone: str) -> list[str]:
        return [host for host in self.answers if zone_of(host) == zone]

    async def _check_zones(self) -> None:
        try:
            for zone, before in list(self.zones.items()):
                try:
                    serial = await self._zone_servers.serial(zone)
                except LookupFailed as failure:
                    self._debug(f"no serial number of zone '{zone}': {failure}")
                    continue
                if serial is None:
                    self._look_at(zone)
                elif is_newer(serial, before):
                    self._log(f"zone '{zone}' serial changed: old={before or 0} new={serial}")
                    self.zones[zone] = serial
                    self._look_at(zone)
            # What nobody can be asked about, the names of a machine or a container network, is looked up itself.
            self._look_at("")
        finally:
            self.checked_at = asyncio.get_running_loop().time()
            self._checking = None

    def _look_at(self, zone: str) -> None:
        for host in self._names_in(zone):
            self._look_again(host, self.answers[host])

    def _look_again(self, host: str, answer: Answer) -> asyncio.Task[None]:
        if answer.task is None:
            answer.task = _task(self._look(host, answer))
        return answer.task

    async def _look(self, host: str, answer: Answer) -> None:
        try:
            found = await look_up(host, self._servers)
        except ServerConnectError as failure:
            # A resolver that is away for a moment does not unmake what was known; the next look may be soon.
            answer.failure = failure
        else:
            gone = set(answer.addresses) - set(found)
            # Resolvers shuffle: the order stays as it was for addresses that stay.
            kept = [address for address in answer.addresses if address in found]
            answer.addresses = kept + [address for address in found if address not in kept]
            answer.failure = None
            self._debug(f"{host} is {_text(answer)}")
            if gone:
                self._changed(host, gone)
        finally:
            answer.looked_at = asyncio.get_running_loop().time()
            answer.task = None


def _text(answer: Answer) -> str:
    return ",".join(str(address).rpartition(":")[0] for address in answer.addresses)


def zone_of(host: str) -> str:
    """What follows the first dot of *host*; empty for a name that has none."""
    return host.rstrip(".").partition(".")[2].lower()


def is_newer(serial: int, before: int | None) -> bool:
    """Whether a zone has changed since its serial number was *before* (RFC 1982); the first one is news, too."""
    return before is None or 0 < (serial - before) % SERIALS < SERIALS // 2


def _task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coroutine)


def _literal(host: str, port: int) -> ServerAddress | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return ServerAddress(family, (host, port))
    return None
