"""What a pool asks its caller to do. Its own lists are already changed when it says so."""

from dataclasses import dataclass
from typing import Any

from pgpool_py.seam import Member


@dataclass(frozen=True, slots=True)
class CloseServer:
    """The server has left its pool (state CLOSED): close the socket, log the reason."""

    server: Member
    reason: str


@dataclass(frozen=True, slots=True)
class CheckServer:
    """The server is TESTED: send server_check_query, then call release or server_lost."""

    server: Member


@dataclass(frozen=True, slots=True)
class HandOver:
    """The client waited and the server is its now; both are ACTIVE."""

    client: Member
    server: Member


@dataclass(frozen=True, slots=True)
class FailClient:
    """The client has left the queue: send it the message as an error and disconnect it."""

    client: Member
    message: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The server is held by a client between transactions, and others need it: make its client give it back."""

    server: Member


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Call activate once more after so many seconds."""

    pool: Any
    delay: float


@dataclass(frozen=True, slots=True)
class Launch:
    """Start one connection for the pool; it ends in server_connected or connect_failed, exactly once."""

    pool: Any
    from_reserve: bool = False


Action = CloseServer | CheckServer | HandOver | FailClient | GiveUp | LookAgain | Launch
