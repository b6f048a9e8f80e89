"""Questions to name servers, where the system's resolver cannot ask them: the serial number of a zone, and addresses by a
resolver file other than the system's (`resolv_conf`).

dnspython speaks the protocol. It is imported where the settings are checked (config/checks.py), so who asks no name server does
not pay for it. What to ask when is hosts.py's.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from .target import ServerAddress

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.rrset import RRset

SYSTEM_FILE = "/etc/resolv.conf"
HOSTS_FILE = "/etc/hosts"


class LookupFailed(Exception):
    """No answer, and in a few words why not."""


class NameServers:
    """The name servers of one resolver file, which is read again when it has changed."""

    def __init__(self, path: str = "") -> None:
        self.path = path or SYSTEM_FILE
        self._version: tuple[int, int] | None = None
        self._resolver: Resolver | None = None

    async def addresses(self, host: str) -> list[ServerAddress]:
        """The addresses of *host*, without a port; the system's file of hosts is asked first, as everywhere."""
        if known := in_hosts_file(host):
            return known
        resolver = self.current()
        found: list[ServerAddress] = []
        failures: list[BaseException] = []
        kinds = ("A", "AAAA")
        # Both at once; a server that answers one of them only is no reason to go without.
        answers = await asyncio.gather(*(resolver.resolve(host, kind, search=True) for kind in kinds), return_exceptions=True)
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
                continue
            for record in answer:
                found.append(_without_port(socket.AF_INET if kind == "A" else socket.AF_INET6, record.address))
        if not found:
            raise LookupFailed(_reason(failures[0]))
        return found

    async def serial(self, zone: str) -> int | None:
        """The serial number of *zone*, or of the zone that it is a part of; None where there is no such zone."""
        import dns.resolver

        try:
            answer = await self.current().resolve(zone, "SOA", search=True, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None
        except Exception as error:
            raise LookupFailed(_reason(error)) from None
        return _serial_in([*answer.response.answer, *answer.response.authority])

    def current(self) -> Resolver:
        """The name servers, as the file has them now; LookupFailed if it has none."""
        try:
            found = os.stat(self.path)
            version = (found.st_mtime_ns, found.st_ino)
            if self._resolver is None or version != self._version:
                self._resolver, self._version = _read(Path(self.path).read_text()), version
        except OSError as error:
            raise LookupFailed(f"resolver file {self.path}: {error.strerror}") from None
        except Exception as error:
            raise LookupFailed(f"resolver file {self.path}: {error}") from None
        return self._resolver


def in_hosts_file(host: str, path: str = HOSTS_FILE) -> list[ServerAddress]:
    """The addresses, without a port, that the file of hosts has for *host*."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if host.lower() in (name.lower() for name in names):
            found.append(_without_port(socket.AF_INET6 if ":" in address else socket.AF_INET, address))
    return found


def _read(text: str) -> Resolver:
    """A resolver as resolv.conf(5) has it; a name server may have a port: 192.0.2.1:5353, [2001:db8::1]:5353."""
    from dns.asyncresolver import Resolver
    from dns.nameserver import Do53Nameserver, Nameserver

    resolver = Resolver(configure=False)
    servers: list[Nameserver] = []
    rest = ["nameserver 127.0.0.1"]  # it insists on one; ours follow
    for line in text.splitlines():
        words = line.split()
        if words[:1] != ["nameserver"]:
            rest.append(line)
        elif len(words) > 1:
            address, port = _address_and_port(words[1])
            servers.append(Do53Nameserver(address, port))
    resolver.read_resolv_conf(io.StringIO("\n".join(rest)))
    if not servers:
        raise ValueError("no name server in it")
    resolver.nameservers = servers
    return resolver


def _address_and_port(text: str) -> tuple[str, int]:
    address, port = text, "53"
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address.partition("%")[0])
        return address, int(port)
    except (OSError, ValueError):
        raise ValueError(f'"{text}" is no address of a name server') from None


def _serial_in(sets: list[RRset]) -> int | None:
    from dns.rdtypes.ANY.SOA import SOA

    for records in sets:
        for record in records:
            if isinstance(record, SOA):
                return int(record.serial)
    return None


def _without_port(family: int, address: str) -> ServerAddress:
    return ServerAddress(family, (address, 0) if family == socket.AF_INET else (address, 0, 0, 0))


def _reason(error: BaseException) -> str:
    import dns.exception
    import dns.resolver

    match error:
        case dns.resolver.NXDOMAIN():
            return "no such name"
        case dns.resolver.NoAnswer():
            return "the name has no address"
        case dns.exception.Timeout():
            return "no name server answers"
        case dns.exception.DNSException():
            return str(error)
        case _:
            return "not a host name" if isinstance(error, UnicodeError) else str(error) or type(error).__name__
