"""Makes sure that a client is the user it says it is.

Knows the methods and which stored secret serves which of them. An unknown user, and one whose secrets do
not serve the method, go through the same dialogue as a known one and hear the same refusal; only the log
tells them apart. What the user may do, and whether the database exists, is not asked here.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pgpool_py.auth.ldap import check_ldap
from pgpool_py.auth.outside import Outside, Questions
from pgpool_py.auth.pam import check_pam
from pgwire import (
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    ClientSide,
    PasswordMessage,
    PeerViolation,
    SASLInitialResponse,
    SASLResponse,
    ScramSecret,
    ScramServer,
    is_md5_secret,
    md5_matches,
    md5_secret,
)
from pgwire.md5 import SALT_LENGTH
from pgwire.scram import MECHANISM
from pgwire.scram_keys import MAX_ITERATIONS

from ..conversation import Conversation
from .derive import keys_of, stored_form
from .errors import LoginRefused, OutsideFailed, PasswordFailed, SaslFailed, TrustFailed
from .gate import Credentials, LoginRules, Peer
from .identity import check_certificate, check_peer
from .method import Method

Answer = TypeVar("Answer")

_questions = Questions()


async def authenticate(
    talk: Conversation[ClientSide],
    user: str,
    secrets: Sequence[str] | None,
    method: Method,
    rules: LoginRules,
    peer: Peer,
) -> Credentials:
    """The credentials of *user*, who knows one of *secrets* (None: an unknown user); LoginRefused if not."""
    if secrets is not None:
        secrets = [secret for secret in secrets if secret]  # an empty password fits nobody
    match method_for(method.name, rules, secrets):
        case "any":
            return Credentials(secrets[0] if secrets else "")
        case "trust":
            if secrets is None:
                raise TrustFailed
            return Credentials(secrets[0] if secrets else "")
        case "plain":
            return await _plain(talk, user, secrets, rules)
        case "md5":
            return await _md5(talk, user, secrets)
        case "scram-sha-256":
            return await _scram(talk, user, secrets, rules)
        case "peer":
            await check_peer(user, peer, method.rule.ident if method.rule else None, known=secrets is not None)
            return Credentials(secrets[0] if secrets else "")
        case "cert":
            check_certificate(user, peer, method.rule.ident if method.rule else None, known=secrets is not None)
            return Credentials(secrets[0] if secrets else "")
        case "pam":
            return await _outside(talk, "PAM", partial(check_pam, user, address=str(peer.host)))
        case "ldap":
            options = method.rule.ldap if method.rule else rules.ldap
            assert options is not None  # the configuration has made sure of it
            return await _outside(talk, "LDAP", partial(check_ldap, options, user))
        case name:
            raise LoginRefused("bouncer config error", "F0000", f"method {name} is not supported")


def method_for(name: str, rules: LoginRules, secrets: Sequence[str] | None) -> str:
    """The method a user with *secrets* is asked for: md5 becomes SCRAM where the first secret is one."""
    if name != "md5":
        return name
    if secrets is None:
        return rules.unknown_user_method
    return "scram-sha-256" if secrets and ScramSecret.parse(secrets[0]) else "md5"


async def _plain(
    talk: Conversation[ClientSide], user: str, secrets: Sequence[str] | None, rules: LoginRules
) -> Credentials:
    talk.add(talk.side.send(AuthenticationCleartextPassword()))
    password = await _password(talk)
    for secret in secrets or ():
        if (found := await _credentials(password, user, secret)) is not None:
            return found
    if not secrets and rules.unknown_user_method == "scram-sha-256":
        # Where users have SCRAM secrets a wrong password takes its time: so must a wrong name.
        mock = ScramSecret.mock(user, rules.mock_key, rules.scram_iterations)
        await keys_of(password, mock.salt, mock.iterations)
    raise PasswordFailed(_why(secrets))


async def _credentials(password: bytes, user: str, secret: str) -> Credentials | None:
    """What a client that knows *password* proves of *secret*; None when that is another password's."""
    if is_md5_secret(secret):
        fits = hmac.compare_digest(md5_secret(user, _text(password)).encode(), secret.encode())
    elif stored := ScramSecret.parse(secret):
        if stored.iterations > MAX_ITERATIONS:
            return None
        keys = await keys_of(password, stored.salt, stored.iterations)
        return Credentials(secret, keys) if hmac.compare_digest(keys.stored_key, stored.stored_key) else None
    else:
        fits = hmac.compare_digest(password, _bytes(secret))
    return Credentials(secret) if fits else None


async def _outside(talk: Conversation[ClientSide], service: str, check: Callable[..., None]) -> Credentials:
    """The password itself are the credentials: a server may ask for it again."""
    talk.add(talk.side.send(AuthenticationCleartextPassword()))
    password = await _password(talk)
    try:
        await _questions.ask(partial(check, password=password))
    except Outside as reason:
        raise OutsideFailed(service, str(reason)) from None
    return Credentials(_text(password))


async def _md5(talk: Conversation[ClientSide], user: str, secrets: Sequence[str] | None) -> Credentials:
    salt = os.urandom(SALT_LENGTH)
    talk.add(talk.side.send(AuthenticationMD5Password(salt)))
    response = await _password(talk)
    usable = [secret for secret in secrets or () if not ScramSecret.parse(secret)]
    matched = [secret for secret in usable if md5_matches(_as_md5(user, secret), salt, response)]
    if not matched:
        raise PasswordFailed(_why(secrets) or ("" if usable else "only SCRAM secrets are stored"))
    return Credentials(matched[0])


async def _password(talk: Conversation[ClientSide]) -> bytes:
    message = await talk.next_event()
    assert isinstance(message, PasswordMessage)  # pgwire's tables let nothing else pass here
    return message.password


def _as_md5(user: str, secret: str) -> str:
    return secret if is_md5_secret(secret) else md5_secret(user, secret)


async def _scram(
    talk: Conversation[ClientSide], user: str, secrets: Sequence[str] | None, rules: LoginRules
) -> Credentials:
    talk.add(talk.side.send(AuthenticationSASL((MECHANISM,))))
    first = await talk.next_event()
    assert isinstance(first, SASLInitialResponse)
    if first.mechanism != MECHANISM:
        raise SaslFailed("client selected an invalid SASL authentication mechanism")
    candidates = await _scram_candidates(user, secrets, rules)
    # One dialogue, several secrets behind it: they share salt and iterations, and here the nonce.
    nonce = base64.b64encode(os.urandom(18))
    exchanges = [(secret, ScramServer(stored, nonce)) for secret, stored in candidates]
    challenges = [_checked(exchange.first, first.data or b"") for _, exchange in exchanges]
    talk.add(talk.side.send(AuthenticationSASLContinue(challenges[0])))
    final = await talk.next_event()
    assert isinstance(final, SASLResponse)
    for secret, exchange in exchanges:
        if (server_final := _checked(exchange.final, final.data)) is not None:
            talk.add(talk.side.send(AuthenticationSASLFinal(server_final)))
            return Credentials(secret, exchange.keys)
    raise SaslFailed(_why(secrets) or ("only md5 secrets are stored" if candidates[0][1].is_mock else ""))


async def _scram_candidates(
    user: str, secrets: Sequence[str] | None, rules: LoginRules
) -> list[tuple[str, ScramSecret]]:
    """What a proof may be checked against: the client is shown one salt, so all of these have that one.

    That of the first SCRAM secret; plain passwords are derived to fit. Never empty: a mock fits no proof.
    """
    parsed = [(secret, ScramSecret.parse(secret)) for secret in secrets or ()]
    stored = [(secret, found) for secret, found in parsed if found]
    mock = ScramSecret.mock(user, rules.mock_key, rules.scram_iterations)
    shown = stored[0][1] if stored else mock
    fitting = [
        (secret, found)
        for secret, found in stored
        if (found.salt, found.iterations) == (shown.salt, shown.iterations)
    ]
    for secret, found in parsed:
        if found is None and not is_md5_secret(secret) and shown.iterations <= MAX_ITERATIONS:
            fitting.append((secret, await stored_form(secret, shown.salt, shown.iterations)))
    return fitting or [("", mock)]


def _checked(step: Callable[[bytes], Answer], data: bytes) -> Answer:
    """What *step* of an exchange says to *data*; a malformed message fails like a wrong password."""
    try:
        return step(data)
    except PeerViolation as violation:
        raise SaslFailed(violation.message) from None


def _why(secrets: Sequence[str] | None) -> str:
    if secrets is None:
        return "no such user"
    return "" if secrets else "no password is stored"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
