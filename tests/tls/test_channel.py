"""What the relay's channel promises: the answers of plain calls, and nothing left behind that epoll cannot see."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pgpool_py.relay._io import load, piece
from pgpool_py.relay.connection import Connection, Hub
from pgpool_py.relay.tls import Channel, adopt
from pgpool_py.tls.context import context_for_clients
from pgpool_py.tls.options import TlsOptions
from tests.tls.pki import Authority

NOT_NOW, BROKEN = -1, -2
RECORD, ROOM = 16384, 65536  # constants of C in the compiled build


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Those of a server and of a client that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    identity = authority.issue("localhost", ["localhost"])
    server = context_for_clients(TlsOptions("require", str(identity.key), str(identity.cert)))
    assert server is not None
    client = ssl.create_default_context(cafile=str(authority.file))
    return server, client


@pytest.fixture
def pair(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[tuple[Channel, ssl.SSLSocket]]:
    """A channel at the server's end, and the client's end, which does not block either."""
    mine, yours = (end for end in socket.socketpair())
    for end in (mine, yours):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    server = contexts[0].wrap_socket(mine, server_side=True, do_handshake_on_connect=False)
    client = contexts[1].wrap_socket(
        yours, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    waiting: list[Callable[[], None]] = [client.do_handshake, server.do_handshake]
    while waiting:
        step = waiting.pop(0)
        try:
            step()
        except ssl.SSLWantReadError:
            waiting.append(step)
    fd, channel = adopt(server)
    assert channel is not None and fd == server.fileno()
    yield channel, client
    server.close()
    client.close()


Pair = tuple[Channel, ssl.SSLSocket]


def test_a_plain_socket_needs_no_channel() -> None:
    mine, yours = socket.socketpair()
    with yours:
        fd, channel = adopt(mine)
        assert channel is None
        assert mine.fileno() == -1, "the relay owns the descriptor now"
        socket.socket(fileno=fd).close()


def test_the_description_names_version_and_cipher(pair: Pair) -> None:
    assert pair[0].description.startswith("TLSv1.3/TLS_")


def test_reads_to_the_place_it_is_told(pair: Pair) -> None:
    channel, client = pair
    load(0, b"before")
    client.send(b"hello")
    assert channel.receive(6) == 5
    assert piece(0, 11) == b"beforehello"
    assert channel.receive(0) == NOT_NOW


@pytest.mark.parametrize("size", [1, 100, 4095, 4096, 8192, RECORD - 1, RECORD])
def test_nothing_stays_in_the_ssl_object(pair: Pair, size: int) -> None:
    """Whatever the size of the records: what is not given out must still be in the socket, where epoll sees it."""
    channel, client = pair
    sent = 0
    while True:
        try:
            sent += client.send(bytes(size))
        except ssl.SSLWantWriteError:
            break
    received = 0
    while (n := channel.receive(1000)) > 0:
        received += n
        assert n <= ROOM
        assert channel.sock.pending() == 0
    assert n == NOT_NOW
    assert received >= sent


def test_large_records_are_read_together(pair: Pair) -> None:
    channel, client = pair
    for _ in range(3):
        assert client.send(bytes(8192)) == 8192
    assert channel.receive(0) == 3 * 8192


def test_the_end_is_told_once_and_not_lost(pair: Pair) -> None:
    """The end comes right behind a large record: `again` asks to be called without an event."""
    channel, client = pair
    client.send(bytes(8192))
    with pytest.raises(ssl.SSLWantReadError):
        client.unwrap()
    assert channel.receive(0) == 8192
    assert channel.again
    assert channel.receive(0) == 0
    assert not channel.again


def test_an_end_without_a_goodbye_is_an_end(pair: Pair) -> None:
    """And no more than that: the peer may still read."""
    channel, client = pair
    socket.socket.shutdown(client, socket.SHUT_WR)
    assert channel.receive(0) == 0
    assert channel.send_bytes(b"late reply") == 10
    assert client.recv(100) == b"late reply"


def test_what_comes_in_clear_breaks_the_connection(pair: Pair) -> None:
    channel, client = pair
    socket.socket.send(client, b"Q\0\0\0\x0dselect 1\0 and more that is no record of TLS")
    assert channel.receive(0) == BROKEN


def test_replies_still_go_out_after_the_peers_goodbye(pair: Pair) -> None:
    """Half closed: the peer says no more and reads on."""
    channel, client = pair
    with pytest.raises(ssl.SSLWantReadError):
        client.unwrap()
    assert channel.receive(0) == 0
    assert channel.send_bytes(b"late reply") == 10


def test_writes_what_the_socket_takes(pair: Pair) -> None:
    """A slow reader: the rest is given again, longer than before and at another address, and arrives whole."""
    channel, client = pair
    data = bytes(range(256)) * 4096
    assert channel.send_bytes(data) == NOT_NOW
    assert channel.send_bytes(bytes(bytearray(data))) == NOT_NOW
    rest = data + b"appended meanwhile"
    arrived = bytearray()
    while len(arrived) < len(data) + 18:
        try:
            arrived += client.recv(65536)
        except ssl.SSLWantReadError:
            n = channel.send_bytes(rest)
            assert n != BROKEN
            rest = rest[max(n, 0) :]
    assert bytes(arrived) == data + b"appended meanwhile"


def test_sends_from_the_shared_buffer(pair: Pair) -> None:
    channel, client = pair
    load(100, b"reply")
    assert channel.send(100, 105) == 5
    assert client.recv(100) == b"reply"


def test_writing_to_a_peer_that_is_gone_breaks(pair: Pair) -> None:
    channel, client = pair
    client.close()
    answers = [channel.send_bytes(b"x") for _ in range(3)]
    assert answers[-1] == BROKEN


def test_closing_says_goodbye_and_waits_for_nobody(pair: Pair) -> None:
    channel, client = pair
    channel.close()
    assert channel.sock.fileno() == -1
    client.settimeout(5)
    assert client.recv(10) == b"", "a bare end of the socket would be an error here"


# --- what the relay makes of it ---


class FakeSock:
    """TLS that answers as it is told."""

    def __init__(self) -> None:
        self.answers: list[int | OSError] = []

    def read(self, size: int, room: memoryview) -> int:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        room[:answer] = bytes(answer)
        return answer

    write = fileno = None


class Epoll(Hub):
    """What epoll was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []

    def modify(self, fd: int, interest: int) -> None:
        self.told.append(interest)


class Probe(Connection):
    """A connection that reads when it may."""

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if events & READ:
            seen.append(self.receive(0))


READ, WRITE = select.EPOLLIN, select.EPOLLOUT
seen: list[int] = []


@pytest.fixture
def probe() -> tuple[Probe, FakeSock, Epoll]:
    seen.clear()
    sock: Any = FakeSock()
    epoll = Epoll()
    probe = Probe(epoll, 99)
    probe.tls = Channel(sock, "TLSv1.3/FAKE")
    return probe, sock, epoll


def test_a_read_that_wants_to_write_waits_for_writing(probe: tuple[Probe, FakeSock, Epoll]) -> None:
    """The peer asked for new keys, and the answer does not fit: the read goes on when the socket can be written."""
    connection, sock, epoll = probe
    sock.answers = [ssl.SSLWantWriteError(), 5]
    connection.on_event(READ)
    assert (seen, epoll.told) == ([NOT_NOW], [READ | WRITE])
    connection.on_event(WRITE)
    assert (seen, epoll.told) == ([NOT_NOW, 5], [READ | WRITE, READ])


def test_who_is_not_read_does_not_spin(probe: tuple[Probe, FakeSock, Epoll]) -> None:
    """A socket that can be written always can: while the connection is paused nothing may be asked of epoll for it."""
    connection, sock, epoll = probe
    sock.answers = [8192, 0, 0]
    connection.on_event(READ)
    assert (seen, epoll.told) == ([8192], [READ | WRITE])
    connection.pause()
    assert epoll.told[-1] == 0
    connection.resume()
    assert epoll.told[-1] == READ | WRITE
    connection.on_event(WRITE)
    assert seen == [8192, 0]
    assert epoll.told[-1] == READ


def test_an_error_behind_data_is_met_after_it(probe: tuple[Probe, FakeSock, Epoll]) -> None:
    connection, sock, _ = probe
    sock.answers = [8192, ConnectionResetError(), ConnectionResetError()]
    connection.on_event(READ)
    connection.on_event(WRITE)
    assert seen == [8192, BROKEN]
