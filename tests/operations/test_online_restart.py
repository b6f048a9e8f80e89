"""-R: a new process takes over from a running one, and no client notices: none that idles, waits, or is in a transaction."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from pgpool_py.app.peers import Peers
from pgpool_py.app.takeover import Predecessor, Successor, _unknown
from pgpool_py.relay.client import Client
from tests.fixtures.real_postgres import Database, RealPostgres
from tests.operations.conftest import Program
from tests.system import wire
from tests.system.rawclient import RawClient
from tests.system.stack import wait_taken, wait_until
from tests.tls.pki import Authority


@pytest.fixture
def running(program: Program, database: Database) -> Program:
    """A pooler with one server for everybody, with a pid file and a log both processes write to."""
    program.databases = {"app": f"{database.line} user={database.user} password='{database.password}' pool_size=1"}
    program.databases["many"] = program.databases["app"].replace("pool_size=1", "pool_size=4")
    program.settings |= {"logfile": "log", "pidfile": "pid", "pool_mode": "transaction"}
    program.settings |= {"unix_socket_dir": str(program.directory)}
    return program


def restart(program: Program) -> None:
    """Start the successor and return when it serves."""
    before = program.log.count("process up")
    program.start("-q", "-R")
    wait_until(lambda: program.log.count("process up") > before, "the new process serves", 20)


def pid_of(program: Program) -> int:
    return int(program.pidfile.read_text())


def test_clients_move_to_the_new_process(running: Program) -> None:
    """With their settings, prepared statements and cancel keys; the old process ends when all are gone."""
    old = running.start("-q")
    running.wait_for_log("process up")
    idle, waiting, holder = (running.connect(application_name=name) for name in ("idle", "waiting", "holder"))
    idle.query("set search_path = pg_catalog")
    idle.query("set application_name = 'renamed'")
    assert wire.kinds(idle.exchange(wire.parse("mine", "select $1::int + 1"), wire.sync())) == "1Z"
    holder.query("begin")
    waiting.send(wire.query("select 'waited'"))
    wait_taken(waiting)
    restart(running)
    assert pid_of(running) != old.pid
    assert wire.values(waiting.until("Z")) == [b"waited"]  # on a server of the new process
    assert holder.ask("select 'still in its transaction'") == "still in its transaction"
    assert holder.query("commit")[-1].body == b"I"
    assert old.wait(10) == 0
    for client, name in ((idle, "renamed"), (waiting, "waiting"), (holder, "holder")):
        assert client.ask("show application_name") == name
    reply = idle.exchange(wire.bind("", "mine", [b"41"]), wire.execute(), wire.sync())
    assert wire.values(reply) == [b"42"]
    idle.send(wire.query("select pg_sleep(60)"))
    wait_taken(idle)
    wait_until(lambda: _cancelled(idle), "the old key works with the new process")
    with running.connect() as fresh:
        assert fresh.ask("select 'new here'") == "new here"
    for client in (idle, waiting, holder):
        client.leave()


@pytest.mark.parametrize("words", ["repeated", "random"])
def test_large_sessions_move_or_stay(running: Program, words: str) -> None:
    """With a megabyte of prepared statements: texts as applications have them take little room; who needs too much stays."""
    old = running.start("-q")
    running.wait_for_log("process up")
    with running.connect() as large, running.connect() as small:
        for number in range(100):
            text = "some words " * 1500 if words == "repeated" else os.urandom(15000).hex()
            assert wire.errors(large.exchange(wire.parse(f"s{number}", f"select {number} -- {text}"), wire.sync())) == []
        restart(running)
        for number in (0, 99):
            reply = large.exchange(wire.bind("", f"s{number}"), wire.execute(), wire.sync())
            assert wire.values(reply) == [str(number).encode()]
        assert small.ask("select 'moved'") == "moved"
        if words == "repeated":
            assert old.wait(10) == 0
        else:
            running.wait_for_log("its session is too large")
            assert old.poll() is None
    assert old.wait(10) == 0


def test_portal_that_was_never_executed_keeps_nobody(running: Program) -> None:
    """Bound to a RESET, which leads to the client's own start: it ended with its transaction."""
    old = running.start("-q")
    running.wait_for_log("process up")
    with running.connect(work_mem="5MB") as client:
        assert wire.errors(client.exchange(wire.parse("", "reset work_mem") + wire.bind("", ""), wire.sync())) == []
        restart(running)
        assert old.wait(10) == 0
        assert client.ask("show work_mem") == "5MB"


def test_parameters_keep_their_types(running: Program) -> None:
    """A function that fits better may have come meanwhile."""
    running.start("-q")
    running.wait_for_log("process up")
    with running.connect() as client:
        client.query("create function moved(n int) returns text language sql as $$ select 'int' $$")
        client.exchange(wire.parse("mine", "select moved($1)"), wire.sync())
        restart(running)
        with running.connect() as fresh:
            fresh.query("create function moved(n text) returns text language sql as $$ select 'text' $$")
        reply = client.exchange(wire.bind("", "mine", [b"41"]), wire.execute(), wire.sync())
        client.query("drop function moved(int), moved(text)")
        assert wire.values(reply) == [b"int"]


def _cancelled(client: RawClient) -> bool:
    client.cancel()
    client.sock.settimeout(0.3)
    try:
        return wire.errors(client.until("Z")) == ["57014"]
    except TimeoutError:
        return False
    finally:
        client.sock.settimeout(10)


def test_cancel_finds_a_client_that_stays_behind(running: Program) -> None:
    """The new process has the port; the client whose query runs is still with the old one."""
    old = running.start("-q")
    running.wait_for_log("process up")
    client = running.connect()
    client.send(wire.query("select pg_sleep(60)"))
    wait_taken(client)
    restart(running)
    wait_until(lambda: _cancelled(client), "the query is cancelled")
    assert client.ask("select 'moved'") == "moved"
    assert old.wait(10) == 0
    client.leave()


def test_cancel_of_a_client_that_stays_behind_is_answered(
    running: Program, database: Database, shared_postgres: RealPostgres
) -> None:
    """By the end of its connection, and only when it was carried out: here it waits for the pooler's own statement."""
    first = running.start("-q")
    running.wait_for_log("process up")
    client, other = running.connect(), running.connect()
    client.query("set default_tablespace = 'pg_default'")
    other.ask("select 1")
    waits = f"select count(*) from pg_stat_activity where datname = '{database.name}' and wait_event = 'relation'"
    with shared_postgres.connect(database.name) as locker, shared_postgres.connect() as admin:
        admin.execute(waits)  # what PostgreSQL reads for that once is read
        locker.execute("begin")
        locker.execute("lock table pg_tablespace in access exclusive mode")
        client.send(wire.query("select pg_sleep(60)"))
        wait_until(lambda: admin.execute(waits).fetchone() != (0,), "the pooler's statement waits")
        restart(running)
        restart(running)
        with client.canceling() as sock:
            assert not select.select([sock], [], [], 0.3)[0]
            locker.execute("rollback")
        assert wire.errors(client.until("Z")) == ["57014"]
    assert first.wait(10) == 0
    for each in client, other:
        assert each.ask("select 'moved'") == "moved"
        each.leave()


def test_cancel_finds_a_client_two_restarts_behind(running: Program) -> None:
    """The process between has no clients of its own, and stays for those of the first."""
    first = running.start("-q")
    running.wait_for_log("process up")
    client = running.connect()
    client.send(wire.query("select pg_sleep(60)"))
    wait_taken(client)
    restart(running)
    second = running.processes[-1]
    restart(running)
    wait_until(lambda: _cancelled(client), "the query is cancelled")
    assert client.ask("select 'moved'") == "moved"
    assert first.wait(10) == second.wait(10) == 0
    client.leave()


def test_busy_clients_lose_nothing(running: Program) -> None:
    """Two restarts while clients work and come and go: every answer is right, nobody is refused."""
    running.start("-q")
    running.wait_for_log("process up")
    stop = threading.Event()
    answers: list[int] = []
    faults: list[object] = []

    def work(number: int, stay: bool) -> None:
        client = running.connect("many")
        try:
            while not stop.is_set():
                if not stay:
                    client.leave()
                    client = running.connect("many")
                if client.ask(f"select {number}") != str(number):
                    faults.append(number)
                answers.append(number)
        except Exception as fault:
            faults.append(fault)
        finally:
            client.leave()

    threads = [threading.Thread(target=work, args=(number, number % 3 != 0)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            restart(running)
            seen = len(answers)
            wait_until(lambda seen=seen: len(answers) > seen + 50 or faults, "work goes on")  # type: ignore[misc]
        for process in running.processes[:-1]:
            assert process.wait(20) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_a_client_that_listens_moves(running: Program, database: Database) -> None:
    """It hears what is notified before, between and after, is the same to itself, and may have nothing else of its own."""
    old = running.start("-q")
    running.wait_for_log("process up")
    client = running.connect()
    client.query("listen news")
    client.query('listen "Two Words"')
    with psycopg.connect(database.dsn, autocommit=True) as sender:
        sender.execute("notify news, 'before'")
        assert payloads(client.until("A")) == ["before"]
        restart(running)
        assert old.wait(10) == 0
        sender.execute("notify \"Two Words\", 'after'")
        assert payloads(client.until("A")) == ["after"]
        client.send(wire.query("notify news, 'my own'"))
        reply = client.until("Z")
        assert wire.kinds(reply) == "CAZ" and payloads(reply) == ["my own"]
        assert int.from_bytes(reply[1].body[:4], "big") == client.pid
        assert client.ask("select string_agg(c, ',' order by c) from pg_listening_channels() c") == "Two Words,news"
        client.query("unlisten news")
        sender.execute("notify news, 'unheard'")
        sender.execute("notify \"Two Words\", 'heard'")
        assert payloads(client.until("A")) == ["heard"]
    client.leave()


def test_a_client_that_listens_stays_where_it_can(running: Program, database: Database) -> None:
    """The new process cannot connect to the server: the old one goes on listening for the client, and serves it."""
    old = running.start("-q")
    running.wait_for_log("process up")
    client = running.connect()
    client.query("listen news")
    running.databases["app"] = running.databases["app"].replace(f"port={database.port}", "port=1")
    restart(running)
    running.wait_for_log("no listening connection: cannot connect to")
    with psycopg.connect(database.dsn, autocommit=True) as sender:
        sender.execute("notify news, 'heard'")
    assert payloads(client.until("A")) == ["heard"]
    assert client.ask("select 'served'") == "served"
    assert old.poll() is None
    client.leave()
    assert old.wait(10) == 0


def test_notifications_are_heard_once_and_in_order(running: Program, database: Database) -> None:
    """Two restarts while somebody notifies without a pause, and clients listen idly or at work: none lost, none twice."""
    running.start("-q")
    running.wait_for_log("process up")
    stop = threading.Event()
    sent = 0
    listeners = [running.connect("many") for _ in range(8)]
    heard: list[list[str]] = [[] for _ in listeners]
    faults: list[Exception] = []
    for number, client in enumerate(listeners):
        client.query(f"listen c{number % 3}")
        client.query("listen everybody")

    def notify() -> None:
        nonlocal sent
        with psycopg.connect(database.dsn, autocommit=True) as sender:
            while not stop.wait(0.002):
                names = ("c0", "c1", "c2", "everybody")
                sender.execute(f"notify {names[sent % 4]}, '{sent}'".encode())
                sent += 1
            sender.execute("notify everybody, 'end'")

    def listen(client: RawClient, busy: bool, into: list[str]) -> None:
        try:
            while "end" not in into[-1:]:
                if busy and not stop.is_set():
                    client.send(wire.query("select 1"))
                    into += payloads(client.until("Z"))
                else:
                    into += payloads([client.receive()])
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=notify)]
    for number, client in enumerate(listeners):
        threads.append(threading.Thread(target=listen, args=(client, number % 4 == 0, heard[number])))
    for thread in threads:
        thread.start()
    try:
        for old in range(2):
            restart(running)
            assert running.processes[old].wait(20) == 0
            seen = sent
            wait_until(lambda seen=seen: sent > seen + 100, "more is notified")  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert faults == []
    for number, payload in enumerate(heard):
        mine = [str(each) for each in range(sent) if each % 4 in (number % 3, 3)]
        assert payload == [*mine, "end"], number
    for client in listeners:
        client.leave()


def payloads(messages: list[wire.Message]) -> list[str]:
    return [message.body[4:].split(b"\0")[1].decode() for message in messages if message.kind == "A"]


def test_what_cannot_be_passed_on_stays(running: Program) -> None:
    """A TLS client stays where it is until it leaves, one with a temporary table as long as it has that; others go."""
    authority = Authority(running.directory)
    identity = authority.issue("localhost", ["localhost"], ["127.0.0.1"])
    running.settings |= {"client_tls_sslmode": "prefer", "client_tls_key_file": identity.key}
    running.settings |= {"client_tls_cert_file": identity.cert, "client_tls_ca_file": authority.file}
    old = running.start("-q")
    running.wait_for_log("process up")
    moves, keeps = running.connect("many"), running.connect("many")
    encrypted = RawClient(moves.address, "many", "anybody", login=False)
    encrypted.sock.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
    assert encrypted.sock.recv(1) == b"S"
    context = ssl.create_default_context(cafile=str(authority.file))
    encrypted.sock = context.wrap_socket(encrypted.sock, server_hostname="localhost")
    encrypted.log_in()
    keeps.query("create temp table mine as select 'kept' as what")
    restart(running)
    wait_until(lambda: "C-0x1: many/anybody" in running.log.partition("handing over clients")[2], "the plain client has moved")
    assert moves.ask("select 'moved'") == "moved"
    assert keeps.ask("select what from mine") == "kept"
    assert encrypted.ask("select 'as before'") == "as before"
    assert old.poll() is None
    keeps.query("drop table mine")
    wait_until(lambda: "C-0x2: many/anybody" in running.log.partition("handing over clients")[2], "the other one has moved")
    encrypted.leave()
    assert old.wait(10) == 0
    for client in (moves, keeps):
        assert client.ask("select 'goes on'") == "goes on"
        client.leave()


def test_the_old_process_keeps_no_servers_ready(running: Program) -> None:
    """min_pool_size holds in the new one: what the old one opened for it would be closed at once, and opened again."""
    running.databases["many"] += " min_pool_size=2"
    old = running.start("-q")
    running.wait_for_log("process up")
    with running.connect() as client:
        client.query("begin")
        restart(running)
        client.query("select pg_sleep(0.5)")
        _, _, afterwards = running.log.partition("handing over clients")
        assert not [line for line in afterwards.splitlines() if f"[{old.pid}]" in line and "new connection to server" in line]


def test_one_of_two_processes_on_a_port_drains(running: Program) -> None:
    """so_reuseport: who is told to stop serves its clients to their end, and every new one comes to the other process."""
    running.settings |= {"so_reuseport": 1, "unix_socket_dir": "", "pidfile": ""}
    for number in (1, 2):
        running.settings["peer_id"] = number
        running.start("-q")
        wait_until(lambda number=number: running.log.count("process up") == number, "it is up", 20)  # type: ignore[misc]
    old = running.processes[0]
    clients: list[RawClient] = []

    def served_by(number: int) -> list[RawClient]:
        clients.append(running.connect("many"))
        return [client for client in clients if client.pid >> 17 == number]

    wait_until(lambda: len(served_by(1)) >= 2, "the first process has clients")
    idle, holder = served_by(1)[:2]
    holder.query("begin")
    old.send_signal(signal.SIGTERM)
    wait_until(lambda: listening_on(running.port) == 1, "the first process listens no more")
    before = len(clients)
    for _ in range(20):
        served_by(2)
    assert {client.pid >> 17 for client in clients[before:]} == {2}
    assert idle.ask("select 'served'") == holder.ask("select 'served'") == "served"
    assert holder.query("commit")[-1].body == b"I"
    for client in served_by(1):
        client.leave()
    assert old.wait(10) == 0
    for client in served_by(2):
        assert client.ask("select 'served'") == "served"
        client.leave()


def listening_on(port: int) -> int:
    """How many sockets listen on that port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in lines)


def test_without_an_old_process_it_starts_as_ever(running: Program) -> None:
    running.start("-q", "-R")
    running.wait_for_log("process up")
    assert "old process not found, try to continue normally" in running.log


def test_a_successor_that_fails_changes_nothing(running: Program, ended: Callable[[int], None]) -> None:
    """It took the sockets and died before it served: the old process goes on."""
    old = running.start("-q")
    running.wait_for_log("process up")
    with running.connect() as client:
        running.settings["pidfile"] = "/nowhere/pid"
        code, output = running.run("-R")
        assert code == 1 and "pidfile /nowhere/pid: No such file or directory" in output
        assert client.ask("select 'still here'") == "still here"
        with running.connect() as fresh:
            assert fresh.ask("select 'welcome'") == "welcome"
    old.send_signal(signal.SIGINT)
    assert old.wait(10) == 0


def test_process_ids_are_given_out_once(running: Program) -> None:
    """Those of a number have 17 bits of their own: the two processes draw from different halves, while clients go over."""
    running.settings["peer_id"] = 1
    running.start("-q")
    running.wait_for_log("process up")
    lowest: list[set[int]] = []
    for generation in range(3):
        if generation:
            restart(running)
            assert running.processes[-2].wait(20) == 0  # until then it may welcome somebody
        clients = [running.connect() for _ in range(12)]
        lowest.append({client.pid & 1 for client in clients})
        assert {client.pid >> 17 for client in clients} == {1}
        for client in clients:
            client.leave()
    assert lowest in ([{0}, {1}, {0}], [{1}, {0}, {1}])


def test_process_ids_of_the_other_half_come_last() -> None:
    """A process that has given out all of its half still welcomes clients."""
    config: Any = SimpleNamespace(pgbouncer=SimpleNamespace(peer_id=3))
    broker: Any = SimpleNamespace(config=config)
    peers = Peers(broker)
    assert {peers.new_pid() & 1 for _ in range(20)} == {0}
    half = {pid for pid in range(3 << 17, 4 << 17) if pid & 1 == 0}
    assert peers.new_pid(half) & 1 == 1
    peers.taken = half
    assert peers.new_pid() & 1 == 1


def test_process_ids_of_the_old_process_are_taken(tmp_path: Path) -> None:
    """Whatever half they are of: clients may have come to it from one before it."""
    main = SimpleNamespace(listen_addr=str(tmp_path), listen_port=1, unix_socket_dir="", peer_id=3)
    config: Any = SimpleNamespace(pgbouncer=main)
    free, ids = 3 << 17 | 4711, range(3 << 17, 4 << 17)
    old: Any = SimpleNamespace(config=config, log=Mock())
    broker: Any = SimpleNamespace(config=config)
    new: Any = SimpleNamespace(gate=SimpleNamespace(peers=Peers(broker), elsewhere=None))
    old.gate = SimpleNamespace(pids=lambda: [pid for pid in ids if pid != free], peers=SimpleNamespace(half=0))

    async def take_over() -> int:
        with socket.socket() as listening:
            old.listener = SimpleNamespace(sockets=[listening])
            predecessor = Predecessor(old)
            predecessor.listen()
            successor = await asyncio.to_thread(Successor.find, config)
            assert successor is not None
            successor.begin(new)
            pid: int = new.gate.peers.new_pid()
            asyncio.get_running_loop().remove_reader(successor.channel.sock)
            successor.channel.close()
            for each in successor.sockets:
                each.close()
            predecessor.close()
        return pid

    assert asyncio.run(take_over()) == free


def test_every_attribute_of_a_client_is_known() -> None:
    """A new attribute goes into the record, or a client that has it set stays with the old process: pgpool_py/app/takeover.py."""
    client = Client(None, -1, None, None)
    assert [name for name in _unknown(client) if getattr(client, name)] == []
