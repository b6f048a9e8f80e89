"""Answers a server's request for authentication with what the target has.

Knows which stored form of a password serves which method. Every failure names the method, so that the log
tells what to change.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pgwire import (
    Authentication,
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    ErrorResponse,
    NoticeResponse,
    PasswordMessage,
    SASLInitialResponse,
    SASLResponse,
    ScramClient,
    ScramKeys,
    ScramSecret,
    ServerSide,
    is_md5_secret,
    md5_response,
    md5_secret,
)
from pgwire.scram import MECHANISM

from ..conversation import Conversation
from .errors import ServerConnectError, login_failed, server_error
from .target import ServerTarget

AnySASL = TypeVar("AnySASL", AuthenticationSASLContinue, AuthenticationSASLFinal)


async def answer(talk: Conversation[ServerSide], request: Authentication, target: ServerTarget) -> None:
    """Say what *request* asks for; what the server makes of it comes as its next message."""
    match request:
        case AuthenticationCleartextPassword():
            password = _plain(target, "a clear-text password")
            talk.add(talk.side.send(PasswordMessage(_bytes(password))))
        case AuthenticationMD5Password():
            talk.add(talk.side.send(PasswordMessage(md5_response(_md5_secret(target), request.salt))))
        case AuthenticationSASL():
            await _scram(talk, request, target)
        case _:
            name = type(request).__name__.removeprefix("Authentication")
            raise login_failed(f"server asks for an unsupported authentication method: {name}")


async def _scram(talk: Conversation[ServerSide], request: AuthenticationSASL, target: ServerTarget) -> None:
    if MECHANISM not in request.mechanisms:
        offered = b", ".join(request.mechanisms).decode("ascii", "replace")[:200]
        raise login_failed(f"server offers only unsupported SASL mechanisms: {offered or 'none'}")
    client = ScramClient(_scram_credentials(target))
    talk.add(talk.side.send(SASLInitialResponse(MECHANISM, client.first())))
    server_first = await _next(talk, AuthenticationSASLContinue)
    # The number of iterations is the server's choice: up to half a second of work, so not in the loop's own
    # thread.
    final = await asyncio.to_thread(client.final, server_first.data)
    talk.add(talk.side.send(SASLResponse(final)))
    client.verify((await _next(talk, AuthenticationSASLFinal)).data)


async def _next(talk: Conversation[ServerSide], kind: type[AnySASL]) -> AnySASL:
    """The next step of the exchange; a notice may come between, an error ends it."""
    while True:
        event = await talk.next_event()
        if isinstance(event, kind):
            return event
        if isinstance(event, ErrorResponse):
            raise server_error(event)
        if not isinstance(event, NoticeResponse):
            raise login_failed(f"server sent {type(event).__name__} in the middle of a SCRAM exchange")


def _plain(target: ServerTarget, method: str) -> str:
    password = target.password
    if password is None:
        raise _lacking(target, method, "no password is known")
    if is_md5_secret(password) or ScramSecret.parse(password):
        raise _lacking(target, method, "only a hashed password is known")
    return password


def _md5_secret(target: ServerTarget) -> str:
    if target.password is not None and is_md5_secret(target.password):
        return target.password
    return md5_secret(target.user, _plain(target, "md5"))


def _scram_credentials(target: ServerTarget) -> str | ScramKeys:
    # A plain password first: it fits whatever salt the server has, the keys only that of the secret they
    # came from.
    password = target.password
    if password is not None and not is_md5_secret(password) and not ScramSecret.parse(password):
        return password
    if target.scram_keys is not None:
        return target.scram_keys
    return _plain(target, "SCRAM-SHA-256")


def _lacking(target: ServerTarget, method: str, why: str) -> ServerConnectError:
    return login_failed(f'server asks user "{target.user}" for {method}, but {why}', "28P01")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
