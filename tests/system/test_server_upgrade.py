"""Another major version of PostgreSQL behind a pooler that goes on running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgpool_py.testing import PostgresServer, local_bin_dirs
from tests.system import stack
from tests.system.conftest import HBA, ROLES
from tests.system.rawclient import Address, RawClient, ServerError


@contextmanager
def story_server(bin_dir: Path | None, port: int | None = None) -> Iterator[PostgresServer]:
    with PostgresServer(bin_dir=bin_dir, hba=HBA, port=port) as running:
        with RawClient(Address(running.host, running.port), "postgres", stack.ADMIN) as admin:
            for sql in ROLES:
                admin.query(sql)
        yield running


@pytest.mark.skipif(stack.NONE or not local_bin_dirs(), reason="needs two versions of PostgreSQL")
@pytest.mark.slow
def test_clients_are_told_the_version_of_the_new_server(start_pooler: Callable[..., stack.Pooler]) -> None:
    """supavisor #663: what clients are told at login was remembered from the old server; drivers decide by it."""

    def connect() -> RawClient:
        return pooler.connect("one", application_name="same as ever")

    def works(client: RawClient) -> bool:
        try:
            return client.ask("select 1") == "1"
        except ServerError:
            return False

    with story_server(local_bin_dirs()[0]) as old:
        pooler = start_pooler({"server_login_retry": 0.1}, target=Address(old.host, old.port))
        early = connect()
        assert early.ask("show server_version") == early.parameters["server_version"]
        before = early.parameters["server_version"]
        port = old.port
    pooler.wait_for_log("closing because: server")
    with story_server(None, port):  # the wheel's
        stack.wait_until(lambda: works(early), "the new server serves")
        now = early.ask("show server_version")
        assert now != before
        assert early.parameters["server_version"] == now
        late = connect()
        assert late.parameters["server_version"] == now
        for client in (early, late):
            client.leave()


@pytest.mark.skipif(stack.NONE or stack.IS_PEER, reason="the executable under test keeps what it remembers")
def test_reconnect_forgets_what_clients_were_told(start_pooler: Callable[..., stack.Pooler], admin: RawClient) -> None:
    """After RECONNECT a login waits for what a new server says."""
    pooler = start_pooler({"admin_users": stack.ADMIN})
    role = f"alter role {stack.OTHER}"
    with pooler.connect("one", stack.OTHER) as before:
        assert before.parameters["IntervalStyle"] == "postgres"
    admin.query(f"{role} set IntervalStyle = 'iso_8601'")
    try:
        with pooler.connect("pgbouncer", stack.ADMIN) as console:
            console.query("RECONNECT")
        with pooler.connect("one", stack.OTHER) as after:
            assert after.parameters["IntervalStyle"] == "iso_8601"
    finally:
        admin.query(f"{role} reset IntervalStyle")
