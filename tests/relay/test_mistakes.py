"""A mistake of ours, met while a client's messages are understood: whose event it was decides nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pgpool_py.relay.client import Client
from pgpool_py.relay.connection import Connection, Hub
from pgpool_py.relay.server import Server
from pgpool_py.seam import Dispenser
from pgpool_py.session.statements import SessionContext
from pgpool_py.session.verdict import UNINFORMED
from pgwire import Parse

INTEGER = 23


class FakeRelay(Hub):
    """A relay without epoll, whose broker notes who made a mistake."""

    def __init__(self) -> None:
        Hub.__init__(self)
        self.mistakes: list[tuple[Connection, str]] = []
        self.broker: Any = SimpleNamespace(internal_error=self._note)

    def _note(self, connection: Connection, error: Exception) -> None:
        self.mistakes.append((connection, str(error)))

    def modify(self, fd: int, interest: int) -> None:
        """Nothing to tell."""


def stumble(types: bytes) -> int:
    """What stands for a mistake."""
    raise ValueError("a mistake")


@pytest.fixture
def fd() -> Iterator[int]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours.fileno()


def test_a_client_that_waited_pays_for_its_own_message(fd: int) -> None:
    """Who gave the server back, or opened it, hears nothing of what the waiting client had said."""
    relay, pool, context = FakeRelay(), Dispenser(), SessionContext(UNINFORMED, stumble)
    server, client = Server(relay, fd, pool, context), Client(relay, fd, pool, context)
    server.in_force = client.settings = client.startup = context.table.empty
    client.kept = Parse(b"", b"select $1", (INTEGER,)).encode()
    client.linked(server)
    assert relay.mistakes == [(client, "a mistake")]
