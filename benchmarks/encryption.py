"""TLS for a comparison: certificates for the length of it, and the settings that make everybody use them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pgpool_py.testing.process import child_account, private_directory
from tests.tls.pki import Authority

CHOICES = ("clients", "both")


@dataclass(frozen=True)
class Encryption:
    """What `--tls` means for the PostgreSQL, the poolers and pgbench."""

    server: Mapping[str, str] = field(default_factory=dict)
    poolers: Mapping[str, object] = field(default_factory=dict)
    sslmode: str = "disable"  # of pgbench
    words: str = ""  # for the report's header


@contextmanager
def prepared(choice: str | None) -> Iterator[Encryption]:
    """The settings for *choice*: nothing encrypted, the clients' side, or both sides."""
    if choice is None:
        yield Encryption()
        return
    folder = private_directory("pgpool_py-bench-tls-", child_account())
    try:
        own = Authority(folder).issue("localhost", ["localhost"], ["127.0.0.1"])
        poolers: dict[str, object] = {
            "client_tls_sslmode": "require",
            "client_tls_key_file": own.key,
            "client_tls_cert_file": own.cert,
            "server_tls_sslmode": "require" if choice == "both" else "disable",
        }
        server = {"ssl": "on", "ssl_key_file": f"'{own.key}'", "ssl_cert_file": f"'{own.cert}'"}
        words = "with clients and servers" if choice == "both" else "with clients"
        yield Encryption(server if choice == "both" else {}, poolers, "require", words)
    finally:
        shutil.rmtree(folder)
