"""What a login asks of the rest of the pooler, and what it hands over.

The protocol class `Gate` is implemented by the application; tests implement a small one. Holds no rules of
its own beyond the names, so that frontend/ knows neither the pool nor the relay.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pgpool_py.auth.hba import Hba
from pgpool_py.auth.ldap_options import LdapOptions
from pgpool_py.tls.session import TlsSession
from pgwire import ScramKeys

from .encryption import ClientTls

if TYPE_CHECKING:
    from .limits import ClientCounts
    from .slowdown import Slowdown
    from .startup import StartupRequest

_PROCESS_KEY = os.urandom(32)


@dataclass(frozen=True, slots=True)
class LoginRules:
    """The settings that decide a login; read once for each client, so a reload counts for the next one."""

    auth_type: str = "md5"  # in the words of the setting
    hba: Hba = field(default_factory=Hba, repr=False)  # counts where auth_type is "hba"
    ldap: LdapOptions | None = None  # where it is "ldap"; a line of the HBA file has its own
    auth_failure_delay: float = 0.0  # seconds, the longest wait of who guesses
    tls: ClientTls = field(default_factory=ClientTls)
    client_login_timeout: float = 60.0  # seconds, 0 = no limit
    max_client_conn: int = 100
    scram_iterations: int = 4096
    # Lower-case names of the settings a client may give at startup; None = every one.
    startup_parameters: frozenset[str] | None = None
    ignore_startup_parameters: frozenset[str] = frozenset()
    # What an unknown user is asked under auth_type=md5: "scram-sha-256" where the users known have SCRAM
    # secrets.
    unknown_user_method: str = "md5"
    # Makes the salt an unknown user is shown; processes that share a port share it too.
    mock_key: bytes = field(default=_PROCESS_KEY, repr=False)

    def accepts_parameter(self, lowered: str) -> bool:
        """Whether a client may give the setting with this lower-case name."""
        return self.startup_parameters is None or lowered in self.startup_parameters


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a client comes from. str() is how the log names it."""

    host: str  # the address, or "unix"
    port: int  # for a Unix socket the port in its name
    pid: int = 0  # of a Unix peer
    uid: int = -1  # of a Unix peer
    tls: TlsSession | None = None  # with the names in its certificate, where it showed one and it was checked

    def __str__(self) -> str:
        if self.host == "unix":
            return f"unix({self.pid}):{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Database(Protocol):
    """A database entry as far as a login is concerned; the object travels on to the hand-over."""

    @property
    def name(self) -> str: ...
    @property
    def forced_user(self) -> str | None: ...
    @property
    def disabled(self) -> bool: ...
    @property
    def is_console(self) -> bool:
        """The virtual database "pgbouncer": exempt from max_client_conn."""
        ...

    @property
    def max_client_connections(self) -> int:
        """max_db_client_connections in force; 0 = no limit."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known of the user after authentication."""

    secret: str = field(default="", repr=False)  # the stored one that matched; under trust the first, if any
    scram_keys: ScramKeys | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a client is told when it is let in, and where it belongs."""

    parameters: Mapping[bytes, bytes]  # ParameterStatus, in this order
    pool: object  # passed through to the hand-over
    notice: str = ""  # login_notify_message
    discard: Callable[[], None] | None = None  # called if the client leaves before its hand-over


@dataclass(slots=True)
class ClientLogin:
    """A client that is logged in: everything known of it, and a socket nobody listens to any more."""

    number: int
    sock: socket.socket  # non-blocking, registered nowhere
    peer: Peer
    database: Database
    user: str
    settings: dict[str, str]
    pool: object
    protocol: int
    pid: int
    key: bytes = field(repr=False)
    credentials: Credentials
    connect_time: float  # time.time()
    leftover: bytes = field(repr=False)  # received, not yet consumed


class Gate(Protocol):
    """The rest of the pooler, as a login sees it. Whatever may refuse does so by raising LoginRefused."""

    @property
    def rules(self) -> LoginRules: ...
    @property
    def counts(self) -> ClientCounts: ...
    @property
    def slowdown(self) -> Slowdown: ...

    def find_database(self, name: str) -> Database | None:
        """The entry for *name*, the fallback entry included."""
        ...

    def startup_rules(self, database: str, user: str) -> LoginRules:
        """`rules`, as far as they say which startup parameters this user may give for this database."""
        ...

    def admit(self, request: StartupRequest, peer: Peer) -> None:
        """Refuse before authentication: the pooler is stopping, the address is unwanted."""
        ...

    async def secrets_of(self, user: str, database: Database | None) -> Sequence[str] | None:
        """The stored secrets of *user* (plain, md5 or SCRAM; maybe none), or None for an unknown user.

        May ask a server of *database*, so it may take time, and fail.
        """
        ...

    def is_own_user(self, user: str, peer: Peer) -> bool:
        """Whether *peer* is the pooler's own system user, who enters the console without a password."""
        ...

    def max_client_connections_of(self, user: str) -> int:
        """max_user_client_connections in force; 0 = no limit."""
        ...

    async def welcome(
        self, request: StartupRequest, database: Database, credentials: Credentials, peer: Peer
    ) -> Welcome:
        """Let an authenticated client in; waits for the pool's first server if nothing is known of it."""
        ...

    def new_key(self, length: int) -> tuple[int, bytes]:
        """A process id and a secret of *length* bytes; they count from the hand-over on."""
        ...

    async def cancel(self, pid: int, secret: bytes, peer: Peer) -> None:
        """Take a cancel request; returns when it took effect or was given up (cancel_wait_timeout)."""
        ...

    def log(self, who: str, text: str) -> None:
        """Write one line about a client; *who* is in PgBouncer's layout."""
        ...

    def log_failure(self, who: str, reason: str, age: float, explanation: str, *, told: bool) -> None:
        """Write about a login that failed; with *told* the client heard *reason*, else it was gone."""
        ...
