"""Online restart: a new process takes the listening sockets and, one after the other, the clients of the old one (`-R`).

Each process listens on an abstract Unix socket for its successor, which must be the same system user. The successor gets the
listening sockets, says when it serves, and is then sent every plain client that holds no server: the descriptor, and what makes
its session. A client in a transaction follows when that is over; how one that listens does is moving.py's. TLS clients, and
those that keep a server, stay until they leave. Cancel requests for clients that have not come yet go to the old process, which
ends with the last of them. In a row of processes each knows only the one before it, and ends behind that one.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import json
import os
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from pgpool_py.app.gatehouse import Entry
from pgpool_py.app.moving import Arrival, Departures, may_move
from pgpool_py.auth.secret import Secret
from pgpool_py.config import Config
from pgpool_py.frontend.gate import Peer
from pgpool_py.pool.states import ClientState
from pgpool_py.relay._io import clock
from pgpool_py.relay.client import Client
from pgpool_py.session.naming import NO_EPOCH, Names
from pgpool_py.session.statements import Statement
from pgwire import ScramKeys

if TYPE_CHECKING:
    from pgpool_py.app.place import Place
    from pgpool_py.app.pooler import Pooler

AGAIN = 0.02  # seconds between two looks for clients that can go
LARGEST = 1 << 20  # bytes of one message; a client whose session does not fit stays
LARGE = 1 << 16  # what is larger is compressed: texts of statements are small then
PIDS = 5000  # process ids in one message
_UCRED = struct.Struct("3i")
# Attributes of a client that its record holds, that `_can_go` asks about, or that start afresh. A client with anything else set
# has something that this module does not know how to pass on: it stays.
_NAMES = """
    again ahead all_back awaiting behind broken brought cancel_key cancel_secret cause clearing close_needed
    closed connect_time context database deadline deviation difference_error differing ending fd idle_since interest
    keeps_server kept last_server leaving names noticed number out overturns parse_note passing peer pool prepared
    query_count query_start reading relay request_time server settings skipping stage start startup state subscription
    tail takers temporaries tls told touched transaction_count transaction_start transaction_time transient unheard unnamed
    unnamed_told user value_at value_since values wait_start wait_time wrote
"""
_KNOWN = frozenset(_NAMES.split())


def _address(config: Config) -> str:
    main = config.pgbouncer
    where = f"{main.listen_addr}|{main.listen_port}|{main.unix_socket_dir}|{main.peer_id}|{os.getuid()}"
    return "\0pgpool_py-" + hashlib.sha256(where.encode()).hexdigest()[:32]


def _same_user(sock: socket.socket) -> bool:
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return bool(uid == os.getuid())


class Channel:
    """Messages with at most one descriptor each, over a socket that keeps them apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST)

    def send(self, message: dict[str, Any], *fds: int) -> None:
        """Send, or OSError, also where it is too large."""
        data = json.dumps(message).encode()
        if len(data) > LARGE:
            data = zlib.compress(data, 1)
        if len(data) > LARGEST:
            raise OSError(errno.EMSGSIZE, "the message is too large")
        socket.send_fds(self.sock, [data], list(fds))

    def say(self, message: dict[str, Any]) -> bool:
        """The same without descriptors; False, and nothing sent, where there is no room, or nobody."""
        try:
            self.send(message)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message; None at the end."""
        data, fds, _, _ = socket.recv_fds(self.sock, LARGEST, 4)
        if not data:
            return None
        return json.loads(data if data[:1] == b"{" else zlib.decompress(data)), list(fds)

    def close(self) -> None:
        self.sock.close()


# --- the successor ---


class Successor:
    """The new process' side: what it took, and the channel on which clients come."""

    def __init__(self, channel: Channel, sockets: list[socket.socket], half: int, taken: set[int]) -> None:
        self.channel = channel
        self.sockets = sockets
        self._half = half
        self._taken = taken
        self._pooler: Pooler | None = None
        self._arrivals: dict[int, Arrival] = {}  # of clients that listen, by the old process' number
        self._cancels: dict[int, asyncio.Future[None]] = {}  # cancel requests that were passed on, by number
        self._numbers = itertools.count()
        self.over = False  # the old process has ended

    @classmethod
    def find(cls, config: Config) -> Successor | None:
        """Ask the process that serves these addresses for its listening sockets; None if there is no such process."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(10)
            sock.connect(_address(config))
            if not _same_user(sock):
                raise ConnectionRefusedError("the socket belongs to another user")
            channel = Channel(sock)
            sockets: list[socket.socket] = []
            taken: set[int] = set()
            while (message := channel.receive()) is not None:
                content, fds = message
                sockets += [socket.socket(fileno=fd) for fd in fds]
                taken.update(content.get("taken", ()))
                if "done" in content:
                    sock.setblocking(False)
                    return cls(channel, sockets, 1 - content.get("half", 0), taken)
        except OSError:
            pass
        sock.close()
        return None

    def begin(self, pooler: Pooler) -> None:
        """We serve: the old process may stop accepting and send its clients."""
        self._pooler = pooler
        pooler.gate.elsewhere = self.cancel
        pooler.gate.peers.half, pooler.gate.peers.taken = self._half, self._taken
        asyncio.get_running_loop().add_reader(self.channel.sock, self._readable)
        self.channel.send({"ready": True})

    @property
    def waiting(self) -> int:
        """Clients that have come and are not let in yet."""
        return sum(arrival.waiting for arrival in self._arrivals.values())

    async def cancel(self, pid: int, secret: bytes) -> None:
        """A cancel request for a client that we do not have: perhaps it has not come yet. Returns as `Gate.cancel` does."""
        assert self._pooler is not None
        number = next(self._numbers)
        answered = self._cancels[number] = asyncio.get_running_loop().create_future()
        try:
            if self.channel.say({"cancel": pid, "secret": secret.hex(), "number": number}):
                await asyncio.wait([answered], timeout=self._pooler.config.pgbouncer.cancel_wait_timeout or None)
        finally:
            del self._cancels[number]

    def _readable(self) -> None:
        assert self._pooler is not None
        while True:
            try:
                message = self.channel.receive()
            except BlockingIOError:
                return
            except OSError:
                message = None
            if message is None:
                asyncio.get_running_loop().remove_reader(self.channel.sock)
                self.channel.close()
                self.over = True
                self._pooler.gate.elsewhere = None
                self._pooler.gate.peers.taken = set()
                for arrival in self._arrivals.values():
                    arrival.release()
                for answered in self._cancels.values():
                    self._answer(answered)
                self._pooler.log.log("takeover done: the old process has ended")
                return
            content, fds = message
            if "reserve" in content:
                self._reserve(content)
            elif "canceled" in content:
                self._answer(self._cancels.get(content["canceled"]))
            elif "release" in content:
                if content["release"] in self._arrivals:
                    self._arrivals[content["release"]].release()
            elif content["arrival"] is not None:
                self._arrivals[content["arrival"]].receive(content, fds[0])
            else:
                self._admit(content, fds[0])

    @staticmethod
    def _answer(canceled: asyncio.Future[None] | None) -> None:
        if canceled is not None and not canceled.done():
            canceled.set_result(None)

    def _reserve(self, request: dict[str, Any]) -> None:
        """Listen for clients that are about to come."""
        assert self._pooler is not None
        number = request["reserve"]
        try:
            _, place = _place(self._pooler, request)
        except LookupError:
            return  # they stay where they are
        source = self._pooler.broker.listening.get(place.pool)
        self._arrivals[number] = Arrival(source, request, lambda: self._reserved(number), self._admit)

    def _reserved(self, number: int) -> None:
        self.channel.say({"reserved": number})

    def _admit(self, record: dict[str, Any], fd: int, arrival: Arrival | None = None) -> None:
        assert self._pooler is not None
        try:
            _adopt(self._pooler, record, fd, arrival)
        except Exception as error:  # one client that cannot be taken must not cost the others
            self._pooler.log.error(f"a client could not be taken over: {error!r}")
            os.close(fd)


def _place(pooler: Pooler, record: dict[str, Any]) -> tuple[Entry, Place]:
    """Where a client of *record* belongs, with the credentials that the old process had for it."""
    database = pooler.gate.find_database(record["database"])
    if not isinstance(database, Entry):
        raise LookupError(f"no such database: {record['database']}")
    place = pooler.place_for(database.settings, database.forced_user or record["user"])
    if record["scram"] and place.scram_keys is None:
        place.scram_keys = ScramKeys(*map(bytes.fromhex, record["scram"]))
    if record["learned"] and place.learned is None:
        place.learned = Secret(record["learned"])
    return database, place


def _adopt(pooler: Pooler, record: dict[str, Any], fd: int, arrival: Arrival | None) -> None:
    """Make the client of *record* again, with its descriptor."""
    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    broker = pooler.broker
    database, place = _place(pooler, record)
    context = place.context
    client = Client(broker.relay, fd, place.pool, context)
    client.number = pooler.listener.next_number() if pooler.listener is not None else 0
    client.database, client.user, client.peer = database, sys.intern(record["user"]), Peer(*record["peer"])
    client.connect_time, client.cancel_key = record["connect_time"], record["pid"]
    client.request_time = client.idle_since = clock()
    client.state = broker.relay.client_idle_state
    client.touched = frozenset(map(bytes.fromhex, record.get("touched", ())))  # not from older versions
    client.settings, client.startup = (context.table.get(_bytes(record[key])) for key in ("settings", "startup"))
    client.told = context.same_reported(_bytes(record["told"]))
    for name, text, settings, told in record["statements"]:
        statement = context.statement(context.table.get(_bytes(settings)), bytes.fromhex(text)).own(NO_EPOCH)
        if name is None:
            client.unnamed = statement
            client.unnamed_told = None if told is None else (bytes.fromhex(told), clock())
        else:
            client.names = client.names or Names(context)
            client.names.known[bytes.fromhex(name)] = statement
            if told is not None:
                client.names.described[bytes.fromhex(name)] = bytes.fromhex(told)
    broker.counts.arrive(None)
    broker.counts.enter(database.name, client.user, database_limit=0, user_limit=0)
    broker.clients[client.cancel_key] = client
    client.cancel_secret = bytes.fromhex(record["key"])
    place.pool.client_joined(client)
    if arrival is not None:
        arrival.subscribe(client, set(map(bytes.fromhex, record["channels"])))
    broker.relay.add(client, bytes.fromhex(record["leftover"]))
    if client.subscription is not None:
        client.subscription.deliver()
        broker.relay.reap()


def _bytes(values: dict[str, str]) -> dict[bytes, bytes]:
    return {bytes.fromhex(name): bytes.fromhex(value) for name, value in values.items()}


# --- the predecessor ---


class Predecessor:
    """The old process' side: waits for a successor all its life, and hands everything over to it."""

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._is_listening = False
        self._channel: Channel | None = None
        self._stay: set[Client] = set()  # too large to be sent: they are not tried again
        self._departures = Departures(self._say, lambda client, number: self._send(client, number) and client.closed, self._soon)
        self.handing_over = False

    def listen(self) -> None:
        """Wait for a successor from now on, if nobody else does at these addresses."""
        if self._is_listening or self.handing_over:
            return
        try:
            self._listening.bind(_address(self._pooler.config))
            self._listening.listen(1)
        except OSError:
            return  # several processes on one port: the first of them can be taken over
        self._is_listening = True
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Wait no longer; a successor sees that we have ended."""
        loop = asyncio.get_running_loop()
        if self._is_listening:
            self._is_listening = False
            loop.remove_reader(self._listening)
        self._listening.close()
        if self._channel is not None:
            loop.remove_reader(self._channel.sock)
            self._channel.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        listener = self._pooler.listener
        if not _same_user(sock) or self._channel is not None or listener is None or not listener.sockets:
            sock.close()
            return
        self._channel = Channel(sock)
        self._stay.clear()
        sock.settimeout(1)  # the other side does nothing else
        try:
            for each in listener.sockets:
                self._channel.send({"listening": True}, each.fileno())
            pids = self._pooler.gate.pids()
            for at in range(0, len(pids), PIDS):
                self._channel.send({"taken": pids[at : at + PIDS]})
            self._channel.send({"done": True, "half": self._pooler.gate.peers.half})
        except OSError:
            self._lost()
            return
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._readable)
        self._pooler.log.log("takeover: the listening sockets were passed on")

    def _readable(self) -> None:
        assert self._channel is not None
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None:
            self._lost()
        elif "ready" in message[0]:
            self.handing_over = True
            # The address is the successor's, for the one after it.
            self._is_listening = False
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._pooler.log.log("takeover: the new process serves, handing over clients")
            self._pooler.step_down()
            self._again()
        elif "reserved" in message[0]:
            self._departures.reserved(message[0]["reserved"])
        elif "cancel" in message[0]:
            self._pooler.broker.begin(self._cancel(message[0]))

    async def _cancel(self, request: dict[str, Any]) -> None:
        await self._pooler.gate.cancel(request["cancel"], bytes.fromhex(request["secret"]), Peer("unix", 0))
        if "number" in request:  # not from older versions
            self._say({"canceled": request["number"]})

    def _lost(self) -> None:
        """A successor that never served has changed nothing; one that did leaves us with the clients we have."""
        assert self._channel is not None
        asyncio.get_running_loop().remove_reader(self._channel.sock)
        self._channel.close()
        self._channel = None
        self._departures.end()
        self._pooler.log.warning("takeover: the new process has ended")

    def _again(self) -> None:
        # More often than the tick: a client that is never idle for long must be met in such a moment.
        if self._channel is not None:
            asyncio.get_running_loop().call_later(AGAIN, self._again)
            self.step()

    def _soon(self) -> None:
        self._pooler.broker.relay.busy = True
        asyncio.get_running_loop().call_soon(self.step)

    def step(self) -> None:
        """Send the clients that can go now, those that wait in their order."""
        if self._channel is None:
            return
        broker = self._pooler.broker
        broker.relay.now = clock()
        for client in sorted(broker.clients.values(), key=lambda client: client.wait_start):
            if client.subscription is None and client not in self._stay and _can_go(client) and not self._send(client):
                return
        self._departures.step(
            clock(),
            lambda: [each for each in broker.clients.values() if each not in self._stay and may_move(each) and _can_go(each)],
            lambda client: _place_record(client, broker.places[client.pool]),
        )
        for place in broker.places.values():
            broker.perform(place.pool.close_unused("takeover"))  # the successor opens its own

    def _say(self, message: dict[str, Any]) -> bool:
        return self._channel is not None and self._channel.say(message)

    def _send(self, client: Client, arrival: int | None = None) -> bool:
        """Send one client; False when there is no room for more at the moment."""
        relay, broker = self._pooler.broker.relay, self._pooler.broker
        assert self._channel is not None
        relay.epoll.unregister(client.fd)  # first: the set would go on reporting a descriptor that lives elsewhere
        try:
            self._channel.send(_record(client, broker.places[client.pool], arrival), client.fd)
        except OSError as error:
            relay.epoll.register(client.fd, client.interest)
            if isinstance(error, BlockingIOError):
                return False
            self._stay.add(client)
            words = "not handed over: its session is too large; it stays with this process until it leaves"
            broker.log.log(words, broker.client_label(client))
            return True
        relay.close_client(client, "takeover")
        return True


def _can_go(client: Client) -> bool:
    """Whether all there is of the client is in its record."""
    idle = client.server is None and client.state in (ClientState.IDLE, ClientState.WAITING)
    if any(getattr(client, name) for name in _unknown(client)):
        return False
    halfway = client.passing or client.skipping or client.differing or client.ending or client.leaving or client.keeps_server
    return bool(idle and not halfway and client.tls is None and client.out is None and not client.closed and not client.broken)


def _unknown(client: Client) -> Iterator[str]:
    """The client's attributes that are not in _KNOWN; compiled, they are descriptors of its class."""
    yield from (vars(client).keys() if hasattr(client, "__dict__") else _descriptors()) - _KNOWN


@cache
def _descriptors() -> frozenset[str]:
    names = (name for name in dir(Client) if not name.startswith("_"))
    return frozenset(name for name in names if type(getattr(Client, name)).__name__ == "getset_descriptor")


def _place_record(client: Client, place: Place) -> dict[str, Any]:
    keys = place.scram_keys
    return {
        "database": client.database.name,
        "user": client.user,
        "scram": (keys.client_key.hex(), keys.server_key.hex()) if keys is not None else None,
        "learned": place.learned.reveal() if place.learned is not None else None,
    }


def _record(client: Client, place: Place, arrival: int | None) -> dict[str, Any]:
    peer = client.peer
    return {
        **_place_record(client, place),
        "arrival": arrival,
        "channels": [name.hex() for name in client.subscription.channels] if client.subscription is not None else [],
        "peer": (peer.host, peer.port, peer.pid, peer.uid),
        "connect_time": client.connect_time,
        "pid": client.cancel_key,
        "key": client.cancel_secret.hex(),
        "settings": _hex(client.settings.values),
        "startup": _hex(client.startup.values),
        "touched": [name.hex() for name in client.touched],
        "told": _hex(client.told),
        "statements": list(_statements(client)),
        "leftover": (client.kept or client.tail or b"").hex(),
    }


def _statements(client: Client) -> Iterator[tuple[str | None, str, dict[str, str], str | None]]:
    if client.unnamed is not None:
        unnamed: Statement = client.unnamed
        told = client.unnamed_told[0].hex() if client.unnamed_told is not None else None
        yield None, unnamed.typed(unnamed.types).hex(), _hex(unnamed.settings.values), told
    names = client.names
    for name, statement in (names.known if names is not None else {}).items():
        assert names is not None
        columns, body = names.described.get(name), statement.typed(names.typed.get(name))
        yield name.hex(), body.hex(), _hex(statement.settings.values), columns.hex() if columns is not None else None


def _hex(values: dict[bytes, bytes]) -> dict[str, str]:
    return {name.hex(): value.hex() for name, value in values.items()}
