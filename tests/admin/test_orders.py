"""PAUSE, RESUME, KILL and the rest, as an operator gives them while clients work."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pgpool_py.testing import PostgresServer
from pgpool_py.testing.process import child_account, private_directory, remove_tree
from tests.admin.conftest import ADMIN, Pooler, Start
from tests.system import stack, wire
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_until
from tests.system.test_drivers import program


@pytest.fixture
def direct(server: PostgresServer) -> Iterator[RawClient]:
    """A superuser's connection past the pooler."""
    with RawClient(Address(server.host, server.port), stack.DATABASE, stack.ADMIN) as client:
        yield client


class Ordered:
    """A command that is being carried out on a console of its own."""

    def __init__(self, pooler: Pooler, command: str) -> None:
        self.client = pooler.connect("pgbouncer", ADMIN)
        self.client.send(wire.query(command))
        stack.wait_taken(self.client)

    @property
    def answered(self) -> bool:
        """Whether there is an answer yet."""
        self.client.sock.setblocking(False)
        try:
            return bool(self.client.sock.recv(1, 2))  # MSG_PEEK
        except BlockingIOError:
            return False
        finally:
            self.client.sock.settimeout(10)

    def answer(self) -> str:
        """The tag, or the error's SQLSTATE and text."""
        reply = self.client.until("Z")
        tags = [message.body[:-1].decode() for message in reply if message.kind == "C"]
        return tags[0] if tags else str(reply[0])


def shown(pooler: Pooler, command: str, **where: object) -> list[dict[str, object]]:
    rows = pooler.show(command)
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def number_of(pooler: Pooler, application: str) -> int:
    return int(str(shown(pooler, "CLIENTS", application_name=application)[0]["id"]))


@contextmanager
def asking(client: RawClient, sql: str) -> Iterator[Callable[[], list[wire.Message]]]:
    """*client* asks; call what comes out for the reply."""
    client.send(wire.query(sql))
    stack.wait_taken(client)
    yield lambda: client.until("Z")


def test_pause_waits_for_transactions_and_resume_goes_on(shared: Pooler) -> None:
    """PAUSE is answered when the last server is gone; who asks meanwhile waits, and is served after RESUME."""
    pooler = shared
    with pooler.connect("one") as busy, pooler.connect("one") as other:
        busy.query("begin")
        pause = Ordered(pooler, "PAUSE")
        assert {row["key"]: row["value"] for row in pooler.show("STATE")}["paused"] == "yes"
        with asking(other, "select 'served'") as reply:
            assert busy.ask("select 1") == "1"
            assert not pause.answered
            busy.query("commit")
            assert pause.answer() == "PAUSE"
            assert shown(pooler, "SERVERS") == []
            assert shown(pooler, "POOLS", database="one")[0]["cl_waiting"] == 1
            assert pooler.order("RESUME") == "RESUME"
            assert wire.values(reply()) == [b"served"]


def test_pause_of_one_database_leaves_others_alone(shared: Pooler) -> None:
    """PAUSE db: also for pools that are made later; RESUME db undoes it."""
    pooler = shared
    assert pooler.order("PAUSE one") == "PAUSE"
    assert shown(pooler, "DATABASES", name="one")[0]["paused"] == 1
    with pooler.connect("two") as client:
        assert client.ask("select 1") == "1"
    late = pooler.raw("one", stack.OTHER)
    late.send(wire.startup(late.startup))
    stack.wait_taken(late)
    assert pooler.order("RESUME one") == "RESUME"
    assert wire.kinds(late.until("Z")).endswith("Z")
    assert shown(pooler, "DATABASES", name="one")[0]["paused"] == 0
    late.vanish()


def test_a_quoted_name_is_a_database(start_pooler: Start) -> None:
    """Names with blanks and capitals are quoted, as everywhere; unquoted ones are taken as typed."""
    pooler = start_pooler(databases={'"My Db"': ""})
    assert pooler.order('PAUSE "My Db"') == "PAUSE"
    with pytest.raises(psycopg.Error, match="no such database: my"), pooler.console() as console:
        console.execute('PAUSE "my db"')


def test_pause_is_not_given_twice(shared: Pooler) -> None:
    pooler = shared
    pooler.order("PAUSE")
    for command in ("PAUSE", "PAUSE one", "SUSPEND", "KILL one"):
        with pytest.raises(psycopg.Error, match=r"^already suspended/paused"), pooler.console() as console:
            console.execute(command)


def test_ctrl_c_on_the_console_resumes(shared: Pooler) -> None:
    """A cancel request while PAUSE waits takes the pause back."""
    pooler = shared
    with pooler.connect("one") as busy:
        busy.query("begin")
        pause = Ordered(pooler, "PAUSE")
        pause.client.cancel()
        assert "57014" in pause.answer()
        assert {row["key"]: row["value"] for row in pooler.show("STATE")}["active"] == "yes"
        assert busy.ask("select 1") == "1"


def test_a_vanished_operator_leaves_the_pause(shared: Pooler) -> None:
    """Losing the terminal does not undo an order; somebody else resumes."""
    pooler = shared
    with pooler.connect("one") as busy:
        busy.query("begin")
        Ordered(pooler, "PAUSE").client.vanish()
        wait_until(lambda: len(shown(pooler, "CLIENTS", database="pgbouncer")) == 1, "the operator's connection is closed")
        assert pooler.order("RESUME") == "RESUME"


def test_signals_pause_and_resume(shared: Pooler) -> None:
    """SIGUSR1 and SIGUSR2 are PAUSE and RESUME."""
    pooler = shared
    with pooler.connect("one") as client:
        client.ask("select 1")
        pooler.send_signal(signal.SIGUSR1)
        wait_until(lambda: shown(pooler, "STATE", key="paused", value="yes"), "paused")
        with asking(client, "select 'later'") as reply:
            pooler.send_signal(signal.SIGUSR2)
            assert wire.values(reply()) == [b"later"]
    for line in ("got SIGUSR1, pausing all activity", "got SIGUSR2, continuing from PAUSE"):
        pooler.wait_for_log(line)


def test_disable_refuses_new_clients_only(shared: Pooler) -> None:
    pooler = shared
    with pooler.connect("one") as client:
        assert pooler.order("DISABLE one") == "DISABLE"
        assert client.ask("select 1") == "1"
        assert shown(pooler, "DATABASES", name="one")[0]["disabled"] == 1
        with pytest.raises(psycopg.OperationalError, match='database "one" is disabled'):
            psycopg.connect(pooler.uri("one"))
        assert pooler.order("ENABLE one") == "ENABLE"
        pooler.connect("one").leave()


def test_reconnect_replaces_servers_when_they_are_free(shared: Pooler) -> None:
    """WAIT_CLOSE then waits until the old ones are gone."""
    pooler = shared
    with pooler.connect("one") as client:
        client.query("begin")
        before = client.ask("select pg_backend_pid()")
        assert pooler.order("RECONNECT one") == "RECONNECT"
        assert shown(pooler, "SERVERS", database="one")[0]["close_needed"] == 1
        waiting = Ordered(pooler, "WAIT_CLOSE one")
        assert client.ask("select pg_backend_pid()") == before
        assert not waiting.answered
        client.query("commit")
        assert waiting.answer() == "WAIT_CLOSE"
        assert client.ask("select pg_backend_pid()") != before
    assert pooler.order("RECONNECT") == "RECONNECT"
    assert pooler.order("WAIT_CLOSE") == "WAIT_CLOSE"


def test_kill_drops_everybody_and_leaves_it_paused(shared: Pooler, direct: RawClient) -> None:
    """KILL db: clients and servers go at once, waiting ones too; others stay; RESUME db brings it back."""
    pooler = shared
    with pooler.connect("two") as other:
        busy, waiting = pooler.connect("one"), pooler.connect("one")
        busy.query("begin")
        pid = busy.ask("select pg_backend_pid()")
        waiting.send(wire.query("select 1"))
        stack.wait_taken(waiting)
        assert pooler.order("KILL one") == "KILL"
        assert "database removed" in str(busy.rest()) and "database removed" in str(waiting.rest())
        stack.wait_no_backend(direct, f"pid = {pid}")
        assert other.ask("select 1") == "1"
        assert shown(pooler, "DATABASES", name="one")[0]["paused"] == 1
        assert pooler.order("RESUME one") == "RESUME"
        with pooler.connect("one") as fresh:
            assert fresh.ask("select 1") == "1"


def test_kill_of_all(shared: Pooler) -> None:
    pooler = shared
    clients = [pooler.connect(name) for name in ("one", "two")]
    for client in clients:
        client.ask("select 1")
    assert pooler.order("KILL") == "KILL"
    assert all("database removed" in str(client.rest()) for client in clients)
    assert {row["name"] for row in pooler.show("DATABASES") if row["paused"]} >= {"one", "two"}


def test_kill_client_ends_that_client(shared: Pooler) -> None:
    """By the id of SHOW CLIENTS; what it ran is cancelled, and its server serves on. A console can be killed, too."""
    pooler = shared
    with pooler.connect("two", application_name="stays") as stays:
        target = pooler.connect("two", application_name="goes")
        target.send(wire.query("select pg_sleep(60)"))
        stack.wait_taken(target)
        assert pooler.order(f"KILL_CLIENT {number_of(pooler, 'goes')}") == "KILL_CLIENT"
        said = target.rest()
        assert "admin forced disconnect" in str(said) and wire.kinds(said).endswith("E")
        pooler.wait_for_log("closing because: admin forced disconnect")
        assert stays.ask("select 1") == "1"
    with pooler.connect("pgbouncer", ADMIN, application_name="console") as console:
        assert pooler.order(f"KILL_CLIENT {number_of(pooler, 'console')}") == "KILL_CLIENT"
        assert "admin forced disconnect" in str(console.rest())


def test_replication_is_shown_paused_for_and_killed(shared: Pooler) -> None:
    """A replication client is in CLIENTS, SERVERS and POOLS, PAUSE waits for it, and KILL_CLIENT ends it."""
    pooler = shared
    walsender = pooler.connect("two", stack.ADMIN, replication="true", application_name="replica")
    walsender.query("IDENTIFY_SYSTEM")
    (client,) = shown(pooler, "CLIENTS", replication="physical")
    (sender,) = shown(pooler, "SERVERS", replication="physical")
    assert (client["application_name"], client["database"], sender["link"]) == ("replica", "two", client["ptr"])
    assert shown(pooler, "POOLS", database="two", user=stack.ADMIN)[0]["sv_active"] == 1
    pause = Ordered(pooler, "PAUSE two")
    pooler.show("LISTS")
    assert not pause.answered
    assert pooler.order(f"KILL_CLIENT {client['id']}") == "KILL_CLIENT"
    assert walsender.rest() == []
    assert pause.answer() == "PAUSE"
    late = pooler.raw("two", stack.ADMIN)
    late.send(wire.startup({**late.startup, "replication": "true"}))
    stack.wait_taken(late)
    assert shown(pooler, "SERVERS", replication="physical") == []
    pooler.order("RESUME two")
    assert wire.kinds(late.until("Z")).endswith("Z")
    assert pooler.order("RECONNECT two") == "RECONNECT"  # its stream might never end by itself
    assert late.rest() == []
    pooler.wait_for_log("closing because: database configuration changed")


def test_suspend_freezes_and_resume_loses_nothing(shared: Pooler) -> None:
    """What clients say meanwhile waits in the kernel; no new client comes in; RESUME goes on where it was."""
    pooler = shared
    with pooler.connect("one") as client, pooler.console() as console:
        client.ask("select 1")
        assert console.execute("SUSPEND").statusmessage == "SUSPEND"
        rows = console.execute("SHOW STATE").fetchall()
        assert ("suspended", "yes") in rows
        client.send(wire.query("select 'after'"))
        late = pooler.raw("two")
        late.send(wire.startup(late.startup))
        with pytest.raises(psycopg.Error, match=r"^already suspended/paused"):
            console.execute("PAUSE")
        assert stack.unread(client) > 1
        assert console.execute("RESUME").statusmessage == "RESUME"
        assert wire.values(client.until("Z")) == [b"after"]
        assert wire.kinds(late.until("Z")).endswith("Z")
        late.vanish()


def test_suspend_ends_with_its_operator(shared: Pooler) -> None:
    """Nobody left to say RESUME: it is done for them."""
    pooler = shared
    with pooler.connect("one") as client:
        pooler.order("SUSPEND")
        assert client.ask("select 'alive'") == "alive"
    pooler.wait_for_log("admin disappeared when suspended, doing RESUME")


def test_suspend_flushes_first(start_pooler: Start) -> None:
    """SUSPEND is answered when nothing is left to be sent; a client that does not read is dropped after suspend_timeout."""
    pooler = start_pooler({"suspend_timeout": 0.3, "tcp_socket_buffer": 4096})  # the kernel takes less than the pooler keeps
    slow = pooler.connect("one")
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.send(wire.query("select repeat('x', 1000) from generate_series(1, 100000)"))
    seen: list[object] = []

    def stuck() -> bool:
        seen.append(next(row["send_remain"] for row in pooler.show("SOCKETS") if row["database"] == "one" and row["type"] == "C"))
        return len(seen) > 10 and bool(seen[-1]) and len(set(seen[-10:])) == 1

    wait_until(stuck, "the kernel takes no more, and the pooler holds the rest")
    with pooler.console() as console:
        assert console.execute("SUSPEND").statusmessage == "SUSPEND"
        assert not [row for row in console.execute("SHOW CLIENTS").fetchall() if row[2] == "one"]
        console.execute("RESUME")
    slow.vanish()


def test_suspend_is_refused_with_paused_databases(shared: Pooler) -> None:
    pooler = shared
    pooler.order("PAUSE one")
    with pytest.raises(psycopg.Error, match=r"^cannot suspend with paused databases"), pooler.console() as console:
        console.execute("SUSPEND")


def test_shutdown_says_nothing_and_ends(start_pooler: Start) -> None:
    """SHUTDOWN: no answer, the connection closes, and so do all others."""
    pooler = start_pooler()
    client, console = pooler.connect("one"), pooler.connect("pgbouncer", ADMIN)
    client.query("begin")
    pooler._end_expected = True
    console.send(wire.query("SHUTDOWN"))
    assert console.rest() == []
    assert pooler.wait() == 0
    client.vanish()


@pytest.mark.parametrize("mode", ["WAIT_FOR_CLIENTS", "WAIT_FOR_SERVERS"])
def test_shutdown_waits_as_it_is_told(start_pooler: Start, mode: str) -> None:
    """Answered at once; new clients are refused; ends when the client has left, or its transaction is over."""
    pooler = start_pooler()
    client, console = pooler.connect("one"), pooler.connect("pgbouncer", ADMIN)
    client.query("begin")
    pooler._end_expected = True
    reply = console.query(f"SHUTDOWN {mode}")
    assert [message.body for message in reply if message.kind == "C"] == [b"SHUTDOWN\0"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(pooler.uri("one"))
    assert wire.errors(console.query("RESUME")) == ["08P01"]
    assert client.ask("select 1") == "1"
    if mode == "WAIT_FOR_CLIENTS":
        client.leave()
    else:
        client.query("commit")
    assert pooler.wait(10) == 0
    assert "server shutting down" in str(console.rest())
    if mode == "WAIT_FOR_SERVERS":
        assert "closing because: server shutting down" in pooler.log
    client.vanish()


def test_a_signal_to_a_suspended_pooler_ends_it(start_pooler: Start) -> None:
    """Nothing is read, so nobody could ever be waited for."""
    pooler = start_pooler()
    client, console = pooler.connect("one"), pooler.connect("pgbouncer", ADMIN)
    client.query("begin")
    console.query("SUSPEND")
    pooler.send_signal(signal.SIGTERM)
    assert pooler.wait(10) == 0
    pooler.wait_for_log("got SIGTERM, suspend was in progress, going down immediately")
    client.vanish()
    console.vanish()


def test_the_console_stays_reachable_while_it_stops(start_pooler: Start, server: PostgresServer) -> None:
    """After SIGTERM the TCP port is closed; over the Unix socket an admin sees what is waited for, and nobody else comes in."""
    account = child_account()
    folder = private_directory("console-", account)
    try:
        pooler = start_pooler({"unix_socket_dir": folder})
        client = pooler.connect("one")
        pooler.send_signal(signal.SIGTERM)
        pooler.wait_for_log("SIGTERM")

        def psql(database: str, text: str) -> subprocess.CompletedProcess[str]:
            base = [str(program("psql", server)), "-XAtw", "-h", str(folder), "-p", str(pooler.port), "-U", ADMIN]
            return subprocess.run([*base, "-d", database, "-c", text], capture_output=True, text=True, timeout=30, cwd="/")

        assert "|one|" in psql("pgbouncer", "SHOW CLIENTS").stdout
        assert "pooler is shutting down" in psql("one", "select 1").stderr
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(pooler.uri("one"))
        client.leave()
        assert pooler.wait(10) == 0
    finally:
        remove_tree(folder)


def test_operators_do_not_hold_each_other_up(shared: Pooler) -> None:
    """While one waits for PAUSE, ten others look, and the clients of other databases work."""
    pooler = shared
    with pooler.connect("one") as busy, pooler.connect("two") as other:
        busy.query("begin")
        pause = Ordered(pooler, "PAUSE one")
        threads = [threading.Thread(target=pooler.show, args=("POOLS",)) for _ in range(10)]
        for thread in threads:
            thread.start()
        assert other.ask("select 1") == "1"
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        busy.query("commit")
        assert pause.answer() == "PAUSE"
