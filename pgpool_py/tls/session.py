"""What is known of an encrypted connection: version, cipher, and the names in the peer's certificate.

A certificate is only listed when it was verified: OpenSSL tells nothing of one that nobody checked, and nobody should act on it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Certificate:
    """The names of a verified certificate."""

    common_name: str = ""
    """The subject's CN, the last one where there are several, as PostgreSQL reads it."""
    subject: str = ""
    """The distinguished name in the manner of RFC 2253, most specific part first."""
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    """Further alternative names: ("email", "x@y"), ("URI", "...")."""


@dataclass(frozen=True, slots=True)
class TlsSession:
    """A finished handshake."""

    description: str
    """`TLSv1.3/TLS_AES_256_GCM_SHA384`, as the log and the console have it."""
    certificate: Certificate | None = None
    """The peer's, where it showed one and it was checked."""
    alpn: str | None = None


def session_of(sock: ssl.SSLSocket) -> TlsSession:
    """What a handshake has brought."""
    found: Any = sock.getpeercert()
    return TlsSession(describe(sock), certificate_of(found) if found else None, sock.selected_alpn_protocol())


def describe(sock: ssl.SSLSocket) -> str:
    """Version and cipher, in PgBouncer's words."""
    cipher = sock.cipher()
    return f"{sock.version()}/{cipher[0] if cipher else 'unknown'}"


_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "domainComponent": "DC",
    "userId": "UID",
}


def certificate_of(found: dict[str, Any]) -> Certificate:
    """From the form in which `ssl` gives it."""
    parts = [pair for relative in found.get("subject", ()) for pair in relative]
    names = [value for kind, value in parts if kind == "commonName"]
    others = found.get("subjectAltName", ())
    return Certificate(
        common_name=names[-1] if names else "",
        subject=",".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in reversed(parts)),
        dns_names=tuple(value for kind, value in others if kind == "DNS"),
        addresses=tuple(value for kind, value in others if kind == "IP Address"),
        others=tuple((kind, value) for kind, value in others if kind not in ("DNS", "IP Address")),
    )


def _escaped(value: str) -> str:
    escaped = "".join(f"\\{c}" if c in ',+"\\<>;' else c for c in value)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    return escaped
