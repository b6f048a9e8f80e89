"""Who broke the protocol: the peer or we ourselves.

The sentences are PostgreSQL's own where it has one. Knows nothing of how an error is sent or logged.
"""

from __future__ import annotations

PROTOCOL_VIOLATION = "08P01"
FEATURE_NOT_SUPPORTED = "0A000"
INVALID_AUTHORIZATION = "28000"
INVALID_PASSWORD = "28P01"


class ProtocolError(Exception):
    """The base of both, never raised itself."""


class PeerViolation(ProtocolError):
    """The peer sent what is not allowed. The connection cannot go on; the peer may be told why."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message

    def __repr__(self) -> str:
        return f"PeerViolation({self.sqlstate!r}, {self.message!r})"


class OwnViolation(ProtocolError):
    """We were about to send what the protocol does not allow. Nothing was sent and no state has changed."""


def malformed(message: str) -> PeerViolation:
    """The violation for a message that cannot be what it claims to be."""
    return PeerViolation(PROTOCOL_VIOLATION, message)
