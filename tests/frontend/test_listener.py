"""Listening sockets, and accepting from them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pgpool_py.frontend import listener as listener_module
from pgpool_py.frontend.addresses import ListenError, open_tcp, open_unix, remove_unix
from pgpool_py.frontend.gate import LoginRules, Peer
from pgpool_py.sockets import SocketOptions
from pgwire import ReadyForQuery
from tests.frontend.fakes import FakeDatabase, FakeGate, Frontend, RawClient


@pytest.fixture(autouse=True)
def trust(gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="trust")


@pytest.fixture
def unix_frontend(gate: FakeGate, tmp_path: Path) -> Iterator[Frontend]:
    with Frontend(gate, sockets=[open_unix(str(tmp_path), 6432)]) as running:
        yield running


def connect_unix(directory: Path) -> RawClient:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"{directory}/.s.PGSQL.6432")
    return RawClient(sock)


def test_unix_client_logs_in(unix_frontend: Frontend, gate: FakeGate, tmp_path: Path) -> None:
    with connect_unix(tmp_path) as client:
        client.startup()
        client.events(ReadyForQuery)
    assert unix_frontend.next_client().peer == Peer("unix", 6432, pid=os.getpid(), uid=os.getuid())
    assert gate.lines[0][0] == f"C-0x1: app/ann@unix({os.getpid()}):6432"


def test_own_system_user_enters_the_console(unix_frontend: Frontend, gate: FakeGate, tmp_path: Path) -> None:
    gate.rules = LoginRules(auth_type="md5")
    gate.databases["pgbouncer"] = FakeDatabase("pgbouncer", is_console=True)
    gate.own_uid = os.getuid()
    with connect_unix(tmp_path) as client:
        client.startup(user="pgbouncer", database="pgbouncer")
        client.events(ReadyForQuery)


def test_unix_socket_has_the_mode_asked_for(tmp_path: Path) -> None:
    with open_unix(str(tmp_path), 6432, mode=0o770, group=str(os.getgid())):
        assert stat.S_IMODE((tmp_path / ".s.PGSQL.6432").stat().st_mode) == 0o770
    remove_unix(str(tmp_path), 6432)
    assert not list(tmp_path.iterdir())
    remove_unix(str(tmp_path), 6432)


def test_left_over_unix_socket_is_replaced(tmp_path: Path) -> None:
    open_unix(str(tmp_path), 6432).close()
    open_unix(str(tmp_path), 6432).close()


def test_live_unix_socket_is_left_alone(tmp_path: Path) -> None:
    with (
        open_unix(str(tmp_path), 6432),
        pytest.raises(ListenError, match="unix socket is in use, cannot continue"),
    ):
        open_unix(str(tmp_path), 6432)


@pytest.mark.parametrize(
    ("directory", "group", "text"),
    [
        ("/nonexistent", "", "No such file"),
        ("", "no-such-group", "unix_socket_group no-such-group: no such group"),
    ],
)
def test_impossible_unix_socket_is_explained(tmp_path: Path, directory: str, group: str, text: str) -> None:
    with pytest.raises(ListenError, match=text):
        open_unix(directory or str(tmp_path), 6432, group=group)


def test_abstract_socket_needs_no_file(gate: FakeGate) -> None:
    name = f"@pgpool-test-{os.getpid()}"
    with Frontend(gate, sockets=[open_unix(name, 6432)]) as running:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"\0{name[1:]}/.s.PGSQL.6432")
        with RawClient(sock) as client:
            client.startup()
            client.events(ReadyForQuery)
        assert running.next_client().peer.port == 6432


def test_used_port_is_explained() -> None:
    with open_tcp(["127.0.0.1"], 0)[0] as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            open_tcp(["127.0.0.1"], port)


def test_backlog_is_the_kernels() -> None:
    """listen_backlog: Linux tells it in the place of the acknowledged segments of a listening socket."""
    (sock,) = open_tcp(["127.0.0.1"], 0, backlog=7)
    with sock:
        assert struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28) == (7,)


def test_several_addresses_are_listened_on() -> None:
    sockets = open_tcp(["127.0.0.1", "localhost"], 0, reuse_port=True, defer_accept=True)
    assert len(sockets) >= 2
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("10.0.0.4", 53111), "10.0.0.4:53111"),
        (Peer("fe80::1", 53111), "[fe80::1]:53111"),
        (Peer("unix", 6432, pid=17), "unix(17):6432"),
    ],
)
def test_peer_is_named_as_in_pgbouncer(peer: Peer, text: str) -> None:
    assert str(peer) == text


def test_tcp_options_are_set(frontend: Frontend) -> None:
    frontend.listener.options = SocketOptions(
        tcp_keepcnt=3, tcp_keepidle=20, tcp_keepintvl=5, tcp_user_timeout=7000
    )
    with frontend.connect() as client:
        client.startup()
        client.events(ReadyForQuery)
        sock = frontend.next_client().sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        values = [
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_NODELAY,
                socket.TCP_KEEPCNT,
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_USER_TIMEOUT,
            )
        ]
    assert values == [1, 3, 20, 5, 7000]


def test_storm_of_clients_gets_in(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="trust", max_client_conn=500)
    clients = [frontend.connect() for _ in range(200)]
    for client in clients:
        client.startup()
    for client in clients:
        client.events(ReadyForQuery)
    numbers = {frontend.next_client().number for _ in clients}
    assert numbers == set(range(1, 201))
    for client in clients:
        client.sock.close()


class Exhausted(socket.socket):
    """A listening socket on a machine that has no descriptors left, once."""

    failures = 1

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_accepting_goes_on_after_exhaustion(gate: FakeGate) -> None:
    listening = Exhausted()
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    address = listening.getsockname()
    with patch.object(listener_module, "PAUSE_SECONDS", 0.01), Frontend(gate, sockets=[listening]):
        with RawClient(socket.create_connection(address)) as client:
            client.startup()
            client.events(ReadyForQuery)
    assert gate.lines[0] == ("", "accept() failed: Too many open files, trying again in 0.01 s")


def test_who_has_connected_is_taken_before_the_port_closes(gate: FakeGate) -> None:
    """Another process may listen there, too, but the connection is this one's."""
    listening = open_tcp(["127.0.0.1"], 0, backlog=200, defer_accept=False)
    with Frontend(gate, sockets=listening) as frontend:
        clients: list[socket.socket] = []

        def connect_and_close() -> None:
            # In the loop's own thread: nothing is accepted meanwhile.
            clients.extend(socket.create_connection(listening[0].getsockname()) for _ in range(100))
            frontend.listener.close_tcp()

        frontend.call(connect_and_close)
        for each in clients:
            with RawClient(each) as client:
                client.startup()
                client.events(ReadyForQuery)


def test_closed_listener_refuses_clients(frontend: Frontend) -> None:
    with frontend.connect() as early:
        frontend.call(frontend.listener.close)
        with pytest.raises(ConnectionRefusedError):
            frontend.connect()
        early.startup()  # what was accepted goes on; what was not is reset
        try:
            early.events(ReadyForQuery)
        except ConnectionResetError:
            assert frontend.listener.logins == 0
