"""A client's login, from its first byte to ReadyForQuery.

Knows the order of things, who is told what when something fails, and what is logged: one line for each
failure. The rules live elsewhere: encryption.py, startup.py, authenticate.py, limits.py, and the gate,
which stands for the rest of the pooler.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, replace

from pgwire import (
    AuthenticationOk,
    BackendKeyData,
    CancelRequest,
    ClientSide,
    ErrorResponse,
    NoticeResponse,
    OwnViolation,
    ParameterStatus,
    PeerViolation,
    ReadyForQuery,
    StartupMessage,
    negotiation,
)
from pgwire.codes import PROTOCOL_3_2

from ..conversation import Conversation, PeerClosed
from .authenticate import authenticate
from .encryption import ClientTls, first_packet
from .errors import (
    ClientGone,
    DatabaseDisabled,
    EncryptionRequired,
    LoginRefused,
    LoginTimeout,
    NoSuchDatabase,
    PoolerStopping,
    UserNotForced,
    WrongPassword,
)
from .gate import ClientLogin, Credentials, Database, Gate, LoginRules, Peer, Welcome
from .method import WITHOUT_SECRETS, choose_method
from .startup import StartupRequest, read_startup

KEY_LENGTH = 32  # under protocol 3.2, as PostgreSQL's; older clients can hold 4 bytes
OLD_KEY_LENGTH = 4


async def serve_login(sock: socket.socket, peer: Peer, gate: Gate, number: int = 0) -> ClientLogin | None:
    """The client behind *sock*, logged in; None when it was refused, left, or only wanted a cancel.

    A client that is returned is counted in gate.counts, and whoever closes it uncounts it (leave, then depart; the
    console's clients never arrived: no limit keeps an operator out); otherwise its socket is closed here.
    """
    login = None
    attempt = _Login(sock, peer, gate, number)
    try:
        login = await attempt.run()
    finally:
        if login is None:
            attempt.talk.close()
        else:
            attempt.talk.release()
    return login


@dataclass(slots=True)
class _Progress:
    """How far a login has come: for the log, and for what a timeout is called."""

    database: str = "(nodb)"
    user: str = "(nouser)"
    waits_for_server: bool = False


class _Login:
    """One attempt. Lives no longer than serve_login()."""

    __slots__ = ("connect_time", "gate", "number", "peer", "progress", "rules", "talk")

    def __init__(self, sock: socket.socket, peer: Peer, gate: Gate, number: int) -> None:
        self.talk = Conversation(sock, ClientSide())
        self.peer = peer
        self.gate = gate
        self.number = number
        self.rules: LoginRules = gate.rules
        self.progress = _Progress()
        self.connect_time = time.time()

    @property
    def who(self) -> str:
        """The client in the log's layout; names come from the client, so nothing in them may break a line."""
        database, user = printable(self.progress.database), printable(self.progress.user)
        return f"C-0x{self.number:x}: {database}/{user}@{self.peer}"

    async def run(self) -> ClientLogin | None:
        limit = asyncio.timeout(self.rules.client_login_timeout or None)
        cancel: CancelRequest | None = None
        try:
            async with limit:
                packet, session = await first_packet(self.talk, self._tls_offered())
                self.peer = replace(self.peer, tls=session)
                match packet:
                    case StartupMessage() as startup:
                        return await self._log_in(startup)
                    case CancelRequest() as request:
                        cancel = request
            await self._cancel(cancel)
        except LoginRefused as refusal:
            self._refuse(refusal)
        except PeerViolation as violation:
            self._refuse(LoginRefused(violation.message, violation.sqlstate))
        except (ClientGone, PeerClosed) as gone:
            self._log_failure(gone.reason if isinstance(gone, ClientGone) else "client unexpected eof")
        except OSError as error:
            # TimeoutError is one: ours when the limit has expired, the kernel's otherwise.
            if isinstance(error, TimeoutError) and limit.expired():
                self._refuse(LoginTimeout(server_down=self.progress.waits_for_server))
            else:
                self._log_failure("client unexpected eof", str(error))
        except asyncio.CancelledError:
            self._refuse(PoolerStopping())
            raise
        except Exception as error:
            # A mistake of ours costs this client its login and nobody else anything.
            self._refuse(LoginRefused("internal error", "XX000", f"{type(error).__name__}: {error}"))
        return None

    async def _cancel(self, request: CancelRequest) -> None:
        # libpq takes the close for the answer, so it comes when the cancel has been carried out.
        await self.gate.cancel(request.pid, request.secret, self.peer)

    def _tls_offered(self) -> ClientTls:
        """Nobody can listen in on a Unix socket: there is no TLS over it, and none is asked for."""
        return ClientTls() if self.peer.host == "unix" else self.rules.tls

    async def _log_in(self, startup: StartupMessage) -> ClientLogin:
        if self._tls_offered().required and self.peer.tls is None:
            raise EncryptionRequired
        self.progress.user = startup.parameters.get("user", "") or self.progress.user
        self.progress.database = startup.parameters.get("database", "") or self.progress.user
        request = read_startup(startup.parameters, self.gate.startup_rules(self.progress.database, self.progress.user))
        database = self.gate.find_database(request.database)
        is_console = database is not None and database.is_console
        if not is_console:
            self.gate.counts.arrive(self.rules.max_client_conn)
        try:
            return await self._admit(startup, request, database)
        except BaseException:
            if not is_console:
                self.gate.counts.depart()
            raise

    async def _admit(
        self, startup: StartupMessage, request: StartupRequest, database: Database | None
    ) -> ClientLogin:
        self.gate.admit(request, self.peer)
        names = f"db={printable(request.database)} user={printable(request.user)}"
        tls = self.peer.tls.description if self.peer.tls else "no"
        self.gate.log(self.who, f"login attempt: {names} tls={tls}")
        if (negotiated := negotiation(startup)) is not None:
            self.talk.add(self.talk.side.send(negotiated))
        credentials = await self._authenticate(request, database)
        # Only who is known may learn which databases there are.
        if database is None:
            raise NoSuchDatabase(request.database)
        if database.disabled:
            raise DatabaseDisabled(request.database)
        if self.rules.auth_type == "any" and database.forced_user is None and not database.is_console:
            raise UserNotForced
        return await self._enter(request, database, credentials)

    async def _authenticate(self, request: StartupRequest, database: Database | None) -> Credentials:
        if database is not None and database.is_console and self.gate.is_own_user(request.user, self.peer):
            return Credentials()
        wait = self.gate.slowdown.delay(request.user, self.peer, self.rules.auth_failure_delay, time.monotonic())
        if wait:
            await asyncio.sleep(wait)
        try:
            credentials = await self._prove(request, database)
        except WrongPassword:
            self.gate.slowdown.failed(request.user, self.peer, time.monotonic())
            raise
        self.gate.slowdown.succeeded(request.user, self.peer)
        return credentials

    async def _prove(self, request: StartupRequest, database: Database | None) -> Credentials:
        method = choose_method(self.rules, request, self.peer, encrypted=self.peer.tls is not None)
        secrets = None
        if method.name not in WITHOUT_SECRETS:
            self.progress.waits_for_server = True
            secrets = await self.gate.secrets_of(request.user, database)
            self.progress.waits_for_server = False
        return await authenticate(self.talk, request.user, secrets, method, self.rules, self.peer)

    async def _enter(
        self, request: StartupRequest, database: Database, credentials: Credentials
    ) -> ClientLogin:
        counts, user = self.gate.counts, request.user
        counts.enter(
            database.name,
            user,
            database_limit=database.max_client_connections,
            user_limit=0 if database.is_console else self.gate.max_client_connections_of(user),
        )
        welcome: Welcome | None = None
        try:
            self.progress.waits_for_server = True
            welcome = await self.gate.welcome(request, database, credentials, self.peer)
            self.progress.waits_for_server = False
            pid, key = await self._greet(welcome)
        except BaseException:
            counts.leave(database.name, user)
            if welcome is not None and welcome.discard is not None:
                welcome.discard()
            raise
        return ClientLogin(
            number=self.number,
            sock=self.talk.sock,
            peer=self.peer,
            database=database,
            user=user,
            settings=request.settings,
            pool=welcome.pool,
            protocol=self.talk.side.protocol,
            pid=pid,
            key=key,
            credentials=credentials,
            connect_time=self.connect_time,
            leftover=self.talk.side.leftover(),
        )

    async def _greet(self, welcome: Welcome) -> tuple[int, bytes]:
        talk, side = self.talk, self.talk.side
        pid, key = self.gate.new_key(KEY_LENGTH if side.protocol >= PROTOCOL_3_2 else OLD_KEY_LENGTH)
        talk.add(side.send(AuthenticationOk()))
        for name, value in welcome.parameters.items():
            talk.add(side.send(ParameterStatus(name, value)))
        talk.add(side.send(BackendKeyData(pid, key)))
        if welcome.notice:
            talk.add(side.send(NoticeResponse.make("NOTICE", "00000", welcome.notice)))
        talk.add(side.send(ReadyForQuery("I")))
        await talk.flush()
        return pid, key

    def _refuse(self, refusal: LoginRefused) -> None:
        self._log_failure(refusal.message, refusal.explanation, told=True)
        error = ErrorResponse.make("FATAL", refusal.sqlstate, refusal.message)
        try:
            wire = self.talk.side.send(error)
        except OwnViolation:
            return  # after a cancel request nothing is said
        self.talk.last_words(wire)

    def _log_failure(self, reason: str, explanation: str = "", *, told: bool = False) -> None:
        age = time.time() - self.connect_time
        self.gate.log_failure(self.who, printable(reason), age, printable(explanation), told=told)


def printable(text: str) -> str:
    """*text* with everything escaped that could break or forge a line of the log."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
