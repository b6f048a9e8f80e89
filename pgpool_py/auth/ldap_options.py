"""What `auth_ldap_options`, or the end of an `ldap` line of the HBA file, says: where the directory is and how to find a user.

Knows the options, which are PostgreSQL's, and which of them go together. Does not talk to a directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

_OPTION = re.compile(r'[\s,]*("?)([a-z]+)\1=(?:"((?:[^"]|"")*)"|([^\s,"]+))')
_PORTS = {"ldap": 389, "ldaps": 636}
_SEARCH = ("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter")
_TEXTS = frozenset({"ldapserver", "ldapscheme", "ldapprefix", "ldapsuffix", *_SEARCH})
_SCOPES = ("base", "one", "sub")


class LdapOptionsError(Exception):
    """Options that cannot be used; the text says why and shows no value, as one may be a password."""


@dataclass(frozen=True, slots=True)
class LdapOptions:
    """Where and how a user's password is tried. With a base, the user's entry is searched for first; else its name is
    made of prefix, user and suffix."""

    servers: tuple[str, ...]
    port: int = 389
    scheme: str = "ldap"
    start_tls: bool = False
    prefix: str = ""
    suffix: str = ""
    base: str | None = None
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    search_attribute: str = "uid"
    search_filter: str = ""  # with $username in it
    scope: str = "sub"


def parse_ldap_options(text: str) -> LdapOptions:
    """The options in *text*: `key=value` pairs, values with blanks or commas in double quotes. Raises LdapOptionsError."""
    found: dict[str, str] = {}
    at = 0
    stripped = text.strip().rstrip(",")
    while at < len(stripped):
        match = _OPTION.match(stripped, at)
        if match is None:
            raise LdapOptionsError(f"ldap: expected key=value at column {at + 1}")
        key = match[2]
        found[key] = match[4] if match[4] is not None else match[3].replace('""', '"')
        at = match.end()
    return _options(_with_url(found))


def _with_url(found: dict[str, str]) -> dict[str, str]:
    """*found* with ldapurl taken apart; what stands beside it goes before it."""
    url = found.pop("ldapurl", None)
    if url is None:
        return found
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise LdapOptionsError("ldap: ldapurl cannot be understood") from None
    if parts.scheme not in _PORTS:
        raise LdapOptionsError("ldap: ldapurl: expected ldap:// or ldaps://")
    taken = {"ldapscheme": parts.scheme}
    if parts.hostname:
        taken["ldapserver"] = unquote(parts.hostname)
    if port:
        taken["ldapport"] = str(port)
    if base := unquote(parts.path.removeprefix("/")):
        taken["ldapbasedn"] = base
    attribute, scope, search_filter, *_ = [*(unquote(part) for part in parts.query.split("?")), "", "", ""]
    if attribute:
        taken["ldapsearchattribute"] = attribute.split(",")[0]
    if search_filter:
        taken["ldapsearchfilter"] = search_filter
    # RFC 4516: without a scope only the entry itself is meant.
    taken["scope"] = scope or "base"
    return {**taken, **found}


def _options(found: dict[str, str]) -> LdapOptions:
    values: dict[str, Any] = {}
    for key in found:
        if key not in _TEXTS | {"ldapport", "ldaptls", "scope"}:
            raise LdapOptionsError(f"ldap: unknown option {key}")
    scheme = found.get("ldapscheme", "ldap")
    if scheme not in _PORTS:
        raise LdapOptionsError("ldap: ldapscheme: expected ldap or ldaps")
    port = found.get("ldapport", str(_PORTS[scheme]))
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise LdapOptionsError("ldap: ldapport: expected a port number")
    if found.get("ldaptls", "0") not in ("0", "1"):
        raise LdapOptionsError("ldap: ldaptls: expected 0 or 1")
    if found.get("scope", "sub") not in _SCOPES:
        raise LdapOptionsError("ldap: ldapurl: expected a scope of base, one or sub")
    if "ldapprefix" in found or "ldapsuffix" in found:
        if any(key in found for key in _SEARCH):
            raise LdapOptionsError("ldap: ldapprefix and ldapsuffix do not go with ldapurl's base or the search options")
    elif "ldapbasedn" not in found:
        raise LdapOptionsError("ldap: expected ldapbasedn, ldapprefix or ldapsuffix")
    if "ldapsearchattribute" in found and "ldapsearchfilter" in found:
        raise LdapOptionsError("ldap: ldapsearchattribute and ldapsearchfilter do not go together")
    if not found.get("ldapserver", "").split():
        raise LdapOptionsError("ldap: expected ldapserver (it is not looked up in the DNS)")
    values.update(
        servers=tuple(found["ldapserver"].split()),
        port=int(port),
        scheme=scheme,
        start_tls=found.get("ldaptls") == "1",
        prefix=found.get("ldapprefix", ""),
        suffix=found.get("ldapsuffix", ""),
        base=found.get("ldapbasedn"),
        bind_dn=found.get("ldapbinddn", ""),
        bind_password=found.get("ldapbindpasswd", ""),
        search_attribute=found.get("ldapsearchattribute", "uid"),
        search_filter=found.get("ldapsearchfilter", ""),
        scope=found.get("scope", "sub"),
    )
    return LdapOptions(**values)
