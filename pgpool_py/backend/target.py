"""Where a server connection goes and what it needs to log in, and what a finished one is.

Plain values; connect.py acts on them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgpool_py.tls.options import DISABLE
from pgwire import ScramKeys

from ..sockets import SocketOptions


@dataclass(frozen=True, slots=True)
class ServerTls:
    """server_tls_sslmode, and what a handshake is done with. A Unix socket is never encrypted."""

    mode: str = DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False)
    direct: bool = False  # begin with the handshake, without asking (PostgreSQL 17)
    host: str = ""  # the name of the server, for its certificate and for SNI


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """One host, one database, one user. *host* is a name, an address, a directory "/dir" or "@abstract"."""

    host: str
    port: int
    dbname: str
    user: str
    # A plain password or an md5 secret. Keys taken from a client's proof serve for SCRAM where there is no
    # plain password.
    password: str | None = field(default=None, repr=False)
    scram_keys: ScramKeys | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)  # sent in the startup packet as they stand
    application_name: str | None = None
    options: SocketOptions = field(default_factory=SocketOptions)
    tls: ServerTls = field(default_factory=ServerTls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """What a connection really went to, so that a cancel request goes to the same place."""

    family: int
    sockaddr: tuple[object, ...] | str | bytes
    # How the connection was encrypted, None for not at all: a cancel request goes the same way.
    tls: ServerTls | None = field(default=None, compare=False)

    def at(self, port: int) -> ServerAddress:
        """The same with another port; a Unix socket has none."""
        if not isinstance(self.sockaddr, tuple):
            return self
        return ServerAddress(self.family, (self.sockaddr[0], port, *self.sockaddr[2:]), self.tls)

    def __str__(self) -> str:
        if isinstance(self.sockaddr, tuple):
            host, port = self.sockaddr[:2]
            return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        name = self.sockaddr if isinstance(self.sockaddr, str) else self.sockaddr.decode(errors="replace")
        return name.replace("\0", "@", 1)


@dataclass(slots=True)
class ServerLogin:
    """A server that said ReadyForQuery, and a socket nobody listens to any more."""

    sock: socket.socket  # non-blocking, registered nowhere
    address: ServerAddress
    parameters: dict[bytes, bytes]  # ParameterStatus, in the order they came
    pid: int  # 0 when the server gave no key
    key: bytes = field(repr=False)  # empty when the server gave none: it cannot be cancelled
    leftover: bytes = field(repr=False)  # received after ReadyForQuery
    notices: tuple[str, ...] = ()  # for the log
