"""Why there is no server connection: what clients are told and what the log says.

Knows nothing of how the connection was tried.
"""

from __future__ import annotations

import os
import ssl

from pgpool_py.tls.context import explain
from pgwire import ErrorResponse

CONNECTION_FAILURE = "08006"
CANNOT_CONNECT = "08001"  # sqlclient_unable_to_establish_sqlconnection
MAX_SERVER_TEXT = 1000  # of a message we pass on


class ServerConnectError(Exception):
    """Clients are told *message* under *sqlstate*; *reason* is the log's and SHOW's short word for it."""

    def __init__(self, sqlstate: str, message: str, reason: str = "connect failed") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.reason = reason

    def __repr__(self) -> str:
        return f"ServerConnectError({self.sqlstate!r}, {self.message!r}, {self.reason!r})"


def why(error: OSError) -> str:
    """What the system says of *error*, without what asyncio adds to it."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {explain(error)}"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def connect_failed(where: str, reason: str) -> ServerConnectError:
    """The server cannot be reached."""
    return ServerConnectError(CANNOT_CONNECT, f"cannot connect to {where}: {reason}")


def login_failed(message: str, sqlstate: str = CONNECTION_FAILURE) -> ServerConnectError:
    """The server was reached, and it or we did not like the login."""
    return ServerConnectError(sqlstate, message, "login failed")


def server_error(error: ErrorResponse) -> ServerConnectError:
    """The server's own refusal, passed on; any of its fields may be missing or nonsense."""
    code = error.code
    well_formed = len(code) == 5 and code.isascii() and code.isalnum()
    message = error.message[:MAX_SERVER_TEXT] or "server login failed"
    return login_failed(message, code if well_formed else CONNECTION_FAILURE)
