"""SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS, FDS: one row a connection.

`ptr` and `link` are the numbers by which the log calls a connection (`C-0x1f: ...`), so a row can be followed there. Rows are
made while they are sent: a connection that closes meanwhile is left out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pgpool_py.admin.table import Row, columns
from pgpool_py.admin.world import ConsoleClient, LoginAttempt, Tunnel, World
from pgpool_py.config import ADMIN_DATABASE
from pgpool_py.pool.states import ClientState, ServerState
from pgpool_py.relay.client import Client
from pgpool_py.relay.connection import Connection
from pgpool_py.relay.listening import LISTENING_NAME, ListeningConnection
from pgpool_py.relay.server import Server

_STANDARD = (
    "type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i wait_us:i"
    " close_needed:i ptr link remote_pid:i tls application_name prepared_statements:i id:i"
)
_BUFFERS = " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i"

CLIENTS = SERVERS = columns(_STANDARD)
SOCKETS = ACTIVE_SOCKETS = columns(_STANDARD + _BUFFERS)

_SERVER_STATES = {
    ServerState.IDLE: "sv_idle",
    ServerState.SURPLUS: "sv_idle",
    ServerState.USED: "sv_used",
    ServerState.TESTED: "sv_tested",
}


def clients(world: World) -> Iterator[Row]:
    view = _View(world)
    for client in list(world.clients):
        if not client.closed:
            yield view.client(client, _client_state(client))
    for tunnel in list(world.tunnels):
        yield view.tunnel_client(tunnel, "active")
    for console in list(world.consoles):
        yield view.console(console, "active" if console.busy else "idle")


def servers(world: World) -> Iterator[Row]:
    view = _View(world)
    for server in _servers(world):
        if not server.closed:
            yield view.server(server, str(server.state))
    for tunnel in list(world.tunnels):
        yield view.tunnel_server(tunnel, "active")
    for connection in world.channel_servers:
        if connection.opened and not connection.closed:
            yield view.channel_server(connection)


def sockets(world: World) -> Iterator[Row]:
    return _sockets(world, only_active=False)


def active_sockets(world: World) -> Iterator[Row]:
    """Those with something in their buffers."""
    return _sockets(world, only_active=True)


def _sockets(world: World, *, only_active: bool) -> Iterator[Row]:
    view = _View(world)
    for client in list(world.clients):
        if not client.closed and (not only_active or _is_active(client)):
            state = "cl_waiting" if client.state is ClientState.WAITING else "cl_active"
            yield (*view.client(client, state), *_buffers(client, client.kept))
    for server in _servers(world):
        if not server.closed and (not only_active or _is_active(server)):
            yield (*view.server(server, _SERVER_STATES.get(server.state, "sv_active")), *_buffers(server, None))
    for console in list(world.consoles):
        if console.busy or not only_active:
            yield (*view.console(console, "cl_active"), *[0] * 7)
    for tunnel in list(world.tunnels) if not only_active else ():
        yield (*view.tunnel_client(tunnel, "cl_active"), *[0] * 7)
        yield (*view.tunnel_server(tunnel, "sv_active"), *[0] * 7)
    for attempt in list(world.logins) if not only_active else ():
        yield (*view.login(attempt), *[0] * 7)


def _servers(world: World) -> Iterable[Server]:
    return [server for place in world.places for server in place.pool.servers() if isinstance(server, Server)]


def _is_active(connection: Connection) -> bool:
    kept = connection.kept if isinstance(connection, Client) else None
    return bool(connection.out or connection.tail or kept or connection.passing)


def _buffers(connection: Connection, kept: bytes | None) -> Row:
    unsent = len(connection.out or b"")
    waiting = len(connection.tail or b"") + len(kept or b"")
    return (0, 0, connection.passing, 0, unsent, waiting, unsent)


def _client_state(client: Client) -> str:
    if client.state is ClientState.WAITING:
        return "waiting"
    return "active" if client.server is not None else "idle"


class _View:
    """Makes the rows of one answer; all of them by the same clock."""

    def __init__(self, world: World) -> None:
        self.now = world.clock()
        self.wall = time.time() - self.now  # added to a stamp of the relay's clock

    def client(self, client: Client, state: str) -> Row:
        waited = int((self.now - client.wait_start) * 1e6) if client.state is ClientState.WAITING else 0
        return (
            "C",
            client.user,
            client.database.name,
            "none",
            state,
            client.peer.host,
            client.peer.port,
            *_local(client.fd),
            _stamp(client.connect_time),
            self.stamp(client.request_time, client.connect_time),
            waited // 1_000_000,
            waited % 1_000_000,
            0,
            pointer(client),
            pointer(client.server),
            client.peer.pid,
            tls_of(client),
            application_name(client),
            len(client.names.known) if client.names is not None else 0,
            client.number,
        )

    def server(self, server: Server, state: str) -> Row:
        name, port = _address(server.address)
        return (
            "S",
            server.pool.user,
            server.pool.database,
            "none",
            state,
            name,
            port,
            *_local(server.fd),
            self.stamp(server.connect_time),
            self.stamp(server.request_time),
            0,
            0,
            server.close_needed,
            pointer(server),
            pointer(server.client),
            server.pid,
            tls_of(server),
            server.reported.get(b"application_name", b"").decode("utf-8", "replace"),
            len(server.statements),
            server.number,
        )

    def channel_server(self, connection: ListeningConnection) -> Row:
        """One that listens for clients: it is in no pool's list, so its state is a word of its own."""
        return (
            *("S", connection.pool.user, connection.pool.database, "none", "listening", *_address(connection.address)),
            *(*_local(connection.fd), self.stamp(connection.connect_time), self.stamp(connection.heard_at), 0, 0, 0),
            *(pointer(connection), "", connection.pid, tls_of(connection), LISTENING_NAME, 0, connection.number),
        )

    def console(self, console: ConsoleClient, state: str) -> Row:
        peer = console.peer
        return (
            *("C", console.user, ADMIN_DATABASE, "none", state, peer.host, peer.port),
            *_local(console.fd),
            *(_stamp(console.connect_time), _stamp(console.request_time), 0, 0, 0, pointer(console), "", peer.pid),
            *(tls_of(peer), console.application_name, console.prepared_statements, console.number),
        )

    def tunnel_client(self, tunnel: Tunnel, state: str) -> Row:
        login = tunnel.login
        peer, since = login.peer, _stamp(login.connect_time)
        return (
            *("C", login.user, login.database.name, tunnel.replication, state, peer.host, peer.port),
            *(*_local(login.sock.fileno()), since, since, 0, 0, 0, pointer(login), pointer(login), peer.pid),
            *(tls_of(peer), login.settings.get("application_name", ""), 0, login.number),
        )

    def tunnel_server(self, tunnel: Tunnel, state: str) -> Row:
        login, server, pool = tunnel.login, tunnel.server, tunnel.place.pool
        since = _stamp(login.connect_time)
        name = server.parameters.get(b"application_name", b"").decode("utf-8", "replace")
        return (
            *("S", pool.user, pool.database, tunnel.replication, state, *_address(server.address)),
            *(*_local(server.sock.fileno()), since, since, 0, 0, 0, pointer(login), pointer(login), server.pid),
            *("", name, 0, login.number),
        )

    def login(self, attempt: LoginAttempt) -> Row:
        peer, since = attempt.peer, _stamp(attempt.connect_time)
        return (
            *("C", "(nouser)", "(nodb)", "none", "cl_login", peer.host, peer.port, *_local(attempt.fd)),
            *(since, since, 0, 0, 0, pointer(attempt), "", peer.pid, "", "", 0, attempt.number),
        )

    def stamp(self, moment: float, otherwise: float = 0.0) -> str:
        """A moment of the relay's clock as PgBouncer writes times."""
        return _stamp(self.wall + moment if moment else otherwise)


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))


def application_name(client: Client) -> str:
    """What the client calls itself."""
    name = b"application_name"
    own = client.settings.values.get(name) if client.settings is not None else None
    return (own or client.told.get(name, b"")).decode("utf-8", "replace")


def pointer(connection: Any) -> str:
    """How a connection is called in the log, as far as it has a number."""
    number = getattr(connection, "number", None)
    return "" if number is None else f"0x{number:x}"


def tls_of(connection: Any) -> str:
    """Protocol and cipher, empty without TLS."""
    return "" if connection.tls is None else str(connection.tls.description)


def _local(fd: int) -> tuple[str, int]:
    """Our own end of a connection."""
    sock = socket.socket(fileno=fd)
    try:
        return _named(sock.getsockname())
    except OSError:
        return ("", 0)
    finally:
        sock.detach()


def _address(address: Any) -> tuple[str, int]:
    return _named(getattr(address, "sockaddr", ""))


def _named(name: object) -> tuple[str, int]:
    if isinstance(name, tuple):
        return (str(name[0]).removeprefix("::ffff:"), int(name[1]))
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    last = text.rpartition(".")[2]
    return ("unix", int(last) if last.isdecimal() else 0)


FDS = columns(
    "fd:i task user database addr port:i cancel:q link:i client_encoding std_strings datestyle timezone password"
    " scram_client_key:b scram_server_key:b"
)
_SECRETS: Row = (None, None, None)  # the columns are PgBouncer's, what it shows in them is nobody's business


def fds(world: World) -> Iterator[Row]:
    for listening in world.listening:
        name, port = _named(listening.getsockname())
        yield (listening.fileno(), "pooler", None, None, name, port, 0, 0, None, None, None, None, *_SECRETS)
    for client in list(world.clients):
        if not client.closed:
            link = client.server.fd if client.server is not None else 0
            who = ("client", client.user, client.database.name, client.peer.host, client.peer.port)
            yield (client.fd, *who, None, link, *_told(client.told), *_SECRETS)
    for server in _servers(world):
        if not server.closed:
            link = server.client.fd if server.client is not None else 0
            who = ("server", server.pool.user, server.pool.database, *_address(server.address))
            yield (server.fd, *who, None, link, *_told(server.reported), *_SECRETS)


def _told(reported: dict[bytes, bytes]) -> Iterator[str | None]:
    for name in (b"client_encoding", b"standard_conforming_strings", b"DateStyle", b"TimeZone"):
        value = reported.get(name)
        yield None if value is None else value.decode("utf-8", "replace")
