"""idle_session_timeout belongs to the client that has it: the pooler keeps it, and it ends no server that is nobody's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient
from tests.system.stack import wait_until

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep settings")

Start = Callable[..., stack.Pooler]


@pytest.fixture(autouse=True)
def known(admin: RawClient) -> None:
    """PostgreSQL 14 and later have it."""
    if not wire.values(admin.query("select 1 from pg_settings where name = 'idle_session_timeout'")):
        pytest.skip("this PostgreSQL has no idle_session_timeout")


@pytest.fixture
def with_default(admin: RawClient, start_pooler: Start) -> Iterator[stack.Pooler]:
    """A pooler whose servers start with a timeout that comes from the role."""
    admin.query(f"alter role {stack.OWNER} set idle_session_timeout = '600ms'")
    yield start_pooler()
    admin.query(f"alter role {stack.OWNER} reset idle_session_timeout")


def told(client: RawClient) -> None:
    """The client hears what PostgreSQL would say, and is closed."""
    error = client.refused()
    assert (error.fields["S"], error.sqlstate) == ("FATAL", "57P05")
    assert error.fields["M"] == "terminating connection due to idle-session timeout"
    client.vanish()


@pytest.mark.parametrize("parameters", [{}, {"idle_session_timeout": "600ms"}, {"options": "-c idle_session_timeout=600"}])
def test_idle_client_is_ended_and_its_server_is_not(pooler: stack.Pooler, parameters: dict[str, str]) -> None:
    """By SET or at startup: the client sees its value, is told after that time, and its server goes on for others."""
    with pooler.connect("one") as other:
        server = other.ask("select pg_backend_pid()")
        client = pooler.connect("one", **parameters)
        if not parameters:
            client.query("set idle_session_timeout = '600ms'")
        assert client.ask("show idle_session_timeout") == "600ms"
        assert other.ask("show idle_session_timeout") == "0"
        assert client.ask("show idle_session_timeout") == "600ms"
        told(client)
        assert other.ask("select pg_backend_pid()") == server


def test_others_and_transactions_are_left_alone(pooler: stack.Pooler) -> None:
    """In a transaction, busy, or with a longer time, nobody is ended; after a change the new time holds."""
    with pooler.connect("two") as other, pooler.connect("two", idle_session_timeout="1h") as patient:
        hasty = pooler.connect("two", idle_session_timeout="400ms")
        hasty.query("begin")
        other.ask("select pg_sleep(0.9)")
        hasty.query("commit")
        assert hasty.ask("select 'there' from pg_sleep(0.9)") == "there"
        hasty.query("set idle_session_timeout = 0")
        other.ask("select pg_sleep(0.9)")
        assert [each.ask("show idle_session_timeout") for each in (other, patient, hasty)] == ["0", "1h", "0"]
        hasty.query("reset idle_session_timeout")
        told(hasty)


def test_servers_default_is_the_clients(with_default: stack.Pooler, admin: RawClient) -> None:
    """A timeout of the role ends its idle clients, and none of its servers; a client may lift it for itself."""
    lifted = with_default.connect("one", idle_session_timeout="0")
    server = lifted.ask("select pg_backend_pid()")
    client = with_default.connect("one")
    assert client.ask("show idle_session_timeout") == "600ms"
    told(client)
    admin.ask("select pg_sleep(0.7)")
    assert lifted.ask("show idle_session_timeout") == "0"
    assert lifted.ask("select pg_backend_pid()") == server
    lifted.leave()


def test_kept_server_ends_with_its_client(pooler: stack.Pooler, admin: RawClient) -> None:
    """A client with a server of its own is ended in the same words, and the server's session is over, too."""
    client = pooler.connect("two", idle_session_timeout="600ms")
    client.query("create temp table own_table as select 1")
    server = client.ask("select pg_backend_pid()")
    told(client)
    wait_until(lambda: admin.ask(f"select count(*) from pg_stat_activity where pid = {server}") == "0", "it is gone")
