"""Logs in to a server over a connected socket: from StartupMessage to ReadyForQuery.

Knows what a login says and what a server may answer, and trusts nothing the server sends: every message has
a bound, and whatever does not fit is a ServerConnectError. Time limits and addresses are connect.py's.
"""

from __future__ import annotations

import socket

from pgwire import (
    Authentication,
    AuthenticationOk,
    BackendKeyData,
    ErrorResponse,
    NoticeResponse,
    ParameterStatus,
    PeerViolation,
    ReadyForQuery,
    ServerSide,
    StartupMessage,
)

from ..conversation import Conversation, PeerClosed
from .authenticate import answer
from .encryption import encrypt
from .errors import login_failed, server_error, why
from .target import ServerAddress, ServerLogin, ServerTarget

# PostgreSQL sends about 15 parameters; what is kept of a server's talk during its login is bounded by these.
MAX_PARAMETERS = 1000
MAX_PARAMETER_BYTES = 1 << 20
MAX_NOTICES = 10


async def log_in(sock: socket.socket, address: ServerAddress, target: ServerTarget) -> ServerLogin:
    """The server behind *sock*, ready for queries. On any failure the connection is closed."""
    talk = Conversation(sock, ServerSide())
    login: ServerLogin | None = None
    try:
        address = await encrypt(talk, address, target)
        talk.add(talk.side.send(StartupMessage(_parameters(target))))
        await _authenticate(talk, target)
        login = await _receive_session(talk, address)
        return login
    except PeerViolation as violation:
        raise login_failed(f"server broke the protocol: {violation.message}") from None
    except PeerClosed:
        raise login_failed("server closed the connection during login") from None
    except OSError as error:
        raise login_failed(f"connection lost during login: {why(error)}") from None
    finally:
        if login is None:
            talk.close()
        else:
            talk.release()


def _parameters(target: ServerTarget) -> dict[str, str]:
    parameters = {"user": target.user, "database": target.dbname}
    if target.application_name is not None:
        parameters["application_name"] = target.application_name
    return parameters | dict(target.parameters)


async def _authenticate(talk: Conversation[ServerSide], target: ServerTarget) -> None:
    while True:
        event = await talk.next_event()
        match event:
            case AuthenticationOk():
                return
            case Authentication():
                await answer(talk, event, target)
            case ErrorResponse():
                raise server_error(event)
            case _:
                pass  # NoticeResponse; NegotiateProtocolVersion says that 3.0 is spoken, as we asked


async def _receive_session(talk: Conversation[ServerSide], address: ServerAddress) -> ServerLogin:
    parameters: dict[bytes, bytes] = {}
    notices: list[str] = []
    key = BackendKeyData(0, b"")
    room = MAX_PARAMETER_BYTES
    while True:
        match event := await talk.next_event():
            case ParameterStatus():
                room -= len(event.name) + len(event.value)
                if room < 0 or len(parameters) >= MAX_PARAMETERS:
                    raise login_failed("server reports too many parameters")
                parameters[event.name] = event.value
            case BackendKeyData():
                key = event
            case NoticeResponse():
                if len(notices) < MAX_NOTICES:
                    notices.append(event.message[:200])
            case ErrorResponse():
                raise server_error(event)
            case ReadyForQuery():
                if event.status != "I":
                    raise login_failed("server begins inside a transaction")
                break
    leftover = talk.side.leftover()
    return ServerLogin(talk.sock, address, parameters, key.pid, key.secret, leftover, tuple(notices))
