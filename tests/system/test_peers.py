"""Processes behind one address: a cancel request finds the client's process, whichever it reaches first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgpool_py.testing import free_port
from tests.system import stack, wire
from tests.system.rawclient import Address, RawClient

pytestmark = pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="peers speak to their like")
Start = Callable[..., stack.Pooler]


def peered(start_pooler: Start, number: int, peers: str) -> stack.Pooler:
    """A pooler with that peer_id; the section comes by %include."""
    pooler = start_pooler()
    path = pooler.directory / "peers.ini"
    path.write_text(f"[peers]\n{peers}")
    path.chmod(0o644)
    pooler.settings["peer_id"] = f"{number}\n%include {path}"
    pooler.reload()
    pooler.wait_for_log("reload done")
    return pooler


def test_a_cancel_request_is_passed_on(start_pooler: Start) -> None:
    """It arrives at the other process, comes home, and ends the query; with a wrong secret nothing happens."""
    home = peered(start_pooler, 1, "")
    away = peered(start_pooler, 2, f"1 = host=127.0.0.1 port={home.port}\n2 = host=127.0.0.1 port=1\n")
    client = home.connect("one")
    assert client.pid >> 17 == 1
    client.send(wire.query("select pg_sleep(60)"))
    stack.wait_taken(client)
    client.address = Address(away.host, away.port)
    right, client.secret = client.secret, bytes(4)
    client.cancel()
    client.secret = right
    stack.wait_until(lambda: _canceled(client), "the query is cancelled")
    client.leave()
    with away.connect("one") as own:
        own.send(wire.query("select pg_sleep(60)"))
        stack.wait_taken(own)
        stack.wait_until(lambda: _canceled(own), "a process looks after its own clients itself")


def _canceled(client: RawClient) -> bool:
    client.cancel()
    client.sock.settimeout(0.2)
    try:
        return wire.errors(client.until("Z")) == ["57014"]
    except TimeoutError:
        return False
    finally:
        client.sock.settimeout(10)


def test_a_peer_that_is_away_costs_nothing(start_pooler: Start) -> None:
    """The request is dropped, said in the log, and its sender is not left hanging."""
    pooler = peered(start_pooler, 2, f"1 = host=127.0.0.1 port={free_port()}\n")
    with pooler.connect("one") as client:
        client.pid = 1 << 17 | 5
        client.cancel()
        pooler.wait_for_log("cancel request for peer 1 failed: cannot connect")
        assert client.ask("select 'here'") == "here"
