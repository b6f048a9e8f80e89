"""The networks this machine has an address in, for `samehost` and `samenet`, asked of the kernel over netlink.

Knows the few bytes of rtnetlink that carry addresses (Linux, RFC 3549). Does not know who asks, or why.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

Interface = IPv4Interface | IPv6Interface

_RTM_GETADDR, _RTM_NEWADDR, _NLMSG_DONE = 22, 20, 3
_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type


def local_interfaces() -> list[Interface]:
    """Every address of this machine with its network; empty when the kernel does not say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(1.0)
            body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _REQUEST_DUMP, 1, 0) + body)
            found: list[Interface] = []
            while _read(netlink.recv(65536), found):
                pass
            return found
    except (OSError, AttributeError):
        return []


def _read(data: bytes, found: list[Interface]) -> bool:
    """Add the addresses of one datagram; whether more will come."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if kind == _RTM_NEWADDR:
            found.extend(_address(data[at + _HEADER.size : at + length]))
        elif kind == _NLMSG_DONE or length < _HEADER.size:
            return False
        at += (length + 3) & ~3
    return True


def _address(message: bytes) -> Iterator[Interface]:
    _, prefix, _, _, _ = _ADDRESS.unpack_from(message)
    attributes: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    # On a point-to-point link IFA_ADDRESS is the other end; ours is then in IFA_LOCAL.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if packed is not None and len(packed) in (4, 16):
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        yield ip_interface(f"{socket.inet_ntop(family, packed)}/{prefix}")
