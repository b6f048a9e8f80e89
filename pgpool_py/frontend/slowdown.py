"""Slows down who guesses: after some wrong passwords, the next login of the same user from the same place waits.

Knows counts and times, given by the caller. The wait comes before anything is asked, so leaving early and coming back saves
no time; a right password waits too while wrong ones keep coming, never longer than the limit.
"""

from __future__ import annotations

from .gate import Peer

FREE = 5  # wrong passwords that cost nothing: a person mistypes, a program starts anew with an old file
FIRST = 0.1  # seconds for the next one, doubled for each that follows
FORGET = 60.0  # seconds without a wrong password
MAX_KEPT = 10_000


class Slowdown:
    """Wrong passwords by user and place; the oldest are forgotten when there are too many."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, int, str], tuple[int, float]] = {}

    def __repr__(self) -> str:
        return f"<Slowdown of {len(self._failures)}>"

    def delay(self, user: str, peer: Peer, longest: float, now: float) -> float:
        """How long a login of *user* has to wait now, at most *longest* seconds."""
        count, last = self._failures.get(_key(user, peer), (0, now))
        if count < FREE or now - last > FORGET:
            return 0.0
        return float(min(FIRST * 2 ** min(count - FREE, 32), longest))

    def failed(self, user: str, peer: Peer, now: float) -> None:
        """A wrong password."""
        key = _key(user, peer)
        count, last = self._failures.pop(key, (0, now))
        if len(self._failures) >= MAX_KEPT:
            del self._failures[next(iter(self._failures))]
        self._failures[key] = (1 if now - last > FORGET else count + 1, now)

    def succeeded(self, user: str, peer: Peer) -> None:
        """A right one: what came before was a mistake."""
        self._failures.pop(_key(user, peer), None)


def _key(user: str, peer: Peer) -> tuple[str, int, str]:
    return peer.host, peer.uid, user
