"""The settings of one side's TLS as plain values, and the words that they are written in.

Knows what the words mean (`secure`, `tlsv1.2`, `fast`). What OpenSSL makes of them is context.py's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

# Modes, by PostgreSQL's names; the strings are those of the settings.
DISABLE, ALLOW, PREFER, REQUIRE, VERIFY_CA, VERIFY_FULL = "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
INSISTENT = frozenset({REQUIRE, VERIFY_CA, VERIFY_FULL})
VERIFYING = frozenset({VERIFY_CA, VERIFY_FULL})

ALPN = "postgresql"  # registered with IANA; without it nobody can tell this protocol from another on the same certificate


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What the settings client_tls_* or server_tls_* say; empty is "not set"."""

    mode: str = DISABLE
    key_file: str = ""
    cert_file: str = ""
    ca_file: str = ""
    protocols: str = "secure"
    ciphers: str = "default"
    tls13_ciphers: str = ""
    ecdhcurve: str = "auto"
    dheparams: str = "auto"


class TlsSettingError(Exception):
    """A setting cannot be used; `name` is its last part ("cert_file"), the text says why."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


V = ssl.TLSVersion
VERSIONS = {"tlsv1.0": V.TLSv1, "tlsv1.1": V.TLSv1_1, "tlsv1.2": V.TLSv1_2, "tlsv1.3": V.TLSv1_3}
_ALL = frozenset(VERSIONS.values())
_WORDS: dict[str, frozenset[ssl.TLSVersion]] = {
    **{word: frozenset({version}) for word, version in VERSIONS.items()},
    "tlsv1": _ALL,
    "all": _ALL,
    "legacy": _ALL,
    "secure": frozenset({V.TLSv1_2, V.TLSv1_3}),
    "default": frozenset({V.TLSv1_2, V.TLSv1_3}),
}


def parse_protocols(text: str) -> frozenset[ssl.TLSVersion]:
    """The versions that *text* allows: words separated by commas or colons, `!` before one takes it away."""
    allowed: frozenset[ssl.TLSVersion] | None = None
    for part in text.replace(":", ",").split(","):
        word = part.strip().lower()
        negated = word.startswith("!")
        versions = _WORDS.get(word.removeprefix("!"))
        if versions is None:
            expected = ", ".join(("all", "secure", *VERSIONS))
            raise TlsSettingError("protocols", f'expected a comma list of {expected}, got "{part.strip()}"')
        if negated:
            allowed = (_ALL if allowed is None else allowed) - versions
        else:
            allowed = (allowed or frozenset()) | versions
    if not allowed:
        raise TlsSettingError("protocols", f'"{text}" allows no version at all')
    return allowed


# PgBouncer's words for lists of suites up to TLS 1.2.  "default": forward secrecy and authenticated encryption only; "normal" and
# "fast" also take older suites, the second prefers 128 bits; "all" is whatever encrypts and authenticates at all.
_SECURE = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!DSS"
CIPHER_WORDS = {
    "default": _SECURE,
    "secure": _SECURE,
    "normal": "ECDHE+HIGH:DHE+HIGH:RSA+HIGH:!aNULL:!DSS:!CAMELLIA",
    "fast": "ECDHE+HIGH:DHE+HIGH:RSA+HIGH:+AES256:!aNULL:!DSS:!CAMELLIA",
    "compat": "HIGH:!aNULL",
    "legacy": "HIGH:!aNULL",
    "all": "ALL:!aNULL:!eNULL",
    "insecure": "ALL:!aNULL:!eNULL",
}


def cipher_list(text: str) -> str:
    """OpenSSL's list for the value of the setting `ciphers`."""
    return CIPHER_WORDS.get(text.lower(), text) or _SECURE
