"""The poolers that are compared: each runs from an ini file with the same settings, in transaction mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import machine
from encryption import Encryption

from pgpool_py.testing import Pooler, PoolerError, PostgresServer
from pgpool_py.testing.pooler import run_cli

USER = "postgres"
DATABASE = "bench"
# Login is trust and logs are quiet, so that what is measured is the relay.
SETTINGS: Mapping[str, object] = {
    "auth_type": "trust",
    "pool_mode": "transaction",
    "max_client_conn": 15000,
    "server_tls_sslmode": "disable",
    "log_connections": 0,
    "log_disconnections": 0,
    "log_stats": 0,
}
# Where instructions are counted, dictionaries must not differ from one process to the next.
_FIXED = {"PYTHONHASHSEED": "0"}
PREPARED = {"max_prepared_statements": 200}


class Contestant:
    """One pooler, running, and what it can do."""

    def __init__(
        self,
        name: str,
        command: Sequence[str] | None,
        server: PostgresServer,
        pool_size: int,
        extra: Mapping[str, str],
        tls: Encryption,
        under: Sequence[str] = (),
    ) -> None:
        self.tls = tls
        self.name = name
        self.version = machine.program_version(command) if command else machine.lines(run_cli("--version"))
        target = f"host={server.host} port={server.port} dbname=postgres pool_size={pool_size}"

        def start(settings: Mapping[str, object]) -> Pooler:
            return Pooler(
                {DATABASE: target},
                {USER: server.password},
                {**SETTINGS, **tls.poolers, **settings, **extra},
                command=command,
                under=under,
                env=_FIXED if under else None,
            ).start()

        # A pooler that does not know the setting refuses to start, and has no prepared statements.
        try:
            self.pooler = start(PREPARED)
            self.protocols = {"simple", "extended", "prepared"}
        except PoolerError:
            self.pooler = start({})
            self.protocols = {"simple", "extended"}

    @property
    def pid(self) -> int:
        return self.pooler.pid

    @property
    def port(self) -> int:
        return self.pooler.port

    def close(self) -> None:
        self.pooler.close()
