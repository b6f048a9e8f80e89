"""Two machines joined by bytes, and the dialogues they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

import pgwire
from pgwire import NEED_DATA, ClientSide, ServerSide


class Pair:
    """A frontend and a backend on one wire. What one says, the other hears, in pieces of any size."""

    def __init__(self, cut: int | None = None) -> None:
        self.frontend = ServerSide()  # what the server says to us: we are the frontend
        self.backend = ClientSide()
        self.cut = cut  # where each transmission is split; 0 is byte by byte

    def frontend_says(self, *messages: Any) -> list[Any]:
        """What the backend hears."""
        return self._carry(b"".join(self.frontend.send(message) for message in messages), self.backend)

    def backend_says(self, *messages: Any) -> list[Any]:
        """What the frontend hears."""
        return self._carry(b"".join(self.backend.send(message) for message in messages), self.frontend)

    def states(self) -> tuple[pgwire.State, pgwire.State]:
        return self.frontend.state, self.backend.state

    def backend_answers(self, wire: bytes) -> list[Any]:
        return self._carry(wire, self.frontend)

    def _carry(self, wire: bytes, to: ClientSide | ServerSide) -> list[Any]:
        heard: list[Any] = []
        for piece in self._pieces(wire):
            to.receive(piece)
            heard.extend(to.events())
            assert to.next_event() is NEED_DATA
        return heard

    def _pieces(self, wire: bytes) -> Iterable[bytes]:
        if self.cut is None:
            return [wire]
        if self.cut == 0:
            return [wire[at : at + 1] for at in range(len(wire))]
        return [wire[: self.cut], wire[self.cut :]]


def log_in(pair: Pair, version: int = 196608) -> Pair:
    startup = pgwire.StartupMessage({"user": "app"}, version)
    pair.frontend_says(startup)
    pair.backend_says(pgwire.AuthenticationOk(), pgwire.ReadyForQuery())
    assert pair.states() == (pgwire.State.READY, pgwire.State.READY)
    return pair


@pytest.fixture
def new_pair() -> Callable[..., Pair]:
    return Pair


@pytest.fixture
def pair() -> Pair:
    """Nothing said yet."""
    return Pair()


@pytest.fixture
def session() -> Pair:
    """Logged in by trust."""
    return log_in(Pair())
