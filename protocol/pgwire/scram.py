"""The SCRAM-SHA-256 exchange, both ends: RFC 5802 and RFC 7677 as PostgreSQL speaks them.

Messages in, messages out. Channel binding is not offered, and a client that demands it is refused. The user
name inside the exchange is ignored, as PostgreSQL ignores it: the startup packet has named the user. What a
message gets wrong is a PeerViolation in PostgreSQL's words; a wrong password is not one:
ScramServer.final() answers None.
"""

from __future__ import annotations

import hmac
import os

from .errors import FEATURE_NOT_SUPPORTED, INVALID_PASSWORD, PeerViolation, malformed
from .scram_keys import (
    KEY_LENGTH,
    MAX_ITERATIONS,
    ScramKeys,
    ScramSecret,
    base64_decode,
    base64_encode,
    hmac_sha256,
    sha256,
    xor,
)

MECHANISM = b"SCRAM-SHA-256"
MAX_NONCE = 1024
_NONCE_LENGTH = 18  # random bytes, as in PostgreSQL


class ScramServer:
    """One exchange with a client that must prove it knows the password behind *secret*."""

    def __init__(self, secret: ScramSecret, nonce: bytes | None = None) -> None:
        self.client_key: bytes | None = None  # recovered from a good proof; never shown
        self.server_key = secret.server_key
        self._secret = secret
        self._nonce = _new_nonce() if nonce is None else nonce
        self._gs2_header = b""
        self._client_bare = b""
        self._server_first = b""

    def __repr__(self) -> str:
        return f"<ScramServer proved={self.client_key is not None}>"

    @property
    def keys(self) -> ScramKeys | None:
        """What the client's proof taught us: enough to log in elsewhere as this user."""
        return None if self.client_key is None else ScramKeys(self.client_key, self.server_key)

    def first(self, client_first: bytes) -> bytes:
        """server-first-message, the answer to client-first-message."""
        self._gs2_header, self._client_bare = _split_gs2_header(client_first)
        if self._client_bare.startswith(b"m="):
            raise PeerViolation(FEATURE_NOT_SUPPORTED, "client requires an unsupported SCRAM extension")
        attributes = _attributes(self._client_bare)
        _value(attributes, 0, b"n", "client-first-message")
        client_nonce = _value(attributes, 1, b"r", "client-first-message")
        self._nonce = _checked_nonce(client_nonce) + self._nonce
        secret = self._secret
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, base64_encode(secret.salt), secret.iterations)
        return self._server_first

    def final(self, client_final: bytes) -> bytes | None:
        """server-final-message, or None when the proof is wrong (for a mock secret it always is)."""
        if not self._server_first:
            raise RuntimeError("first() comes before final()")
        without_proof, separator, proof_text = client_final.rpartition(b",p=")
        attributes = _attributes(client_final)
        if _value(attributes, 0, b"c", "client-final-message") != base64_encode(self._gs2_header):
            raise malformed("unexpected SCRAM channel-binding attribute in client-final-message")
        nonce = _value(attributes, 1, b"r", "client-final-message")
        if not separator or b"," in proof_text or attributes[-1][0] != b"p":
            raise malformed("malformed SCRAM message (proof expected at the end of client-final-message)")
        if not hmac.compare_digest(nonce, self._nonce):
            raise malformed("invalid SCRAM response (nonce does not match)")
        proof = base64_decode(proof_text)
        if proof is None or len(proof) != KEY_LENGTH:
            raise malformed("malformed SCRAM message (malformed proof in client-final-message)")
        signed = b",".join((self._client_bare, self._server_first, without_proof))
        client_key = xor(proof, hmac_sha256(self._secret.stored_key, signed))
        good = hmac.compare_digest(sha256(client_key), self._secret.stored_key)
        if not good or self._secret.is_mock:
            return None
        self.client_key = client_key
        return b"v=" + base64_encode(hmac_sha256(self._secret.server_key, signed))


class ScramClient:
    """One exchange with a server, from a password or from keys an earlier exchange has given."""

    def __init__(
        self, credentials: str | bytes | ScramKeys, nonce: bytes | None = None, user: bytes = b""
    ) -> None:
        self._credentials = credentials
        self._nonce = _new_nonce() if nonce is None else nonce
        # PostgreSQL's own clients leave the name empty.
        self._bare = b"n=%b,r=%b" % (user.replace(b"=", b"=3D").replace(b",", b"=2C"), self._nonce)
        self._signed = b""
        self._server_key = b""
        self.done = False  # the server has proved itself

    def __repr__(self) -> str:
        return f"<ScramClient done={self.done}>"

    def first(self) -> bytes:
        """client-first-message."""
        return b"n,," + self._bare

    def final(self, server_first: bytes) -> bytes:
        """client-final-message, the answer to server-first-message. Deriving the keys takes time."""
        attributes = _attributes(server_first)
        nonce = _value(attributes, 0, b"r", "server-first-message")
        salt = base64_decode(_value(attributes, 1, b"s", "server-first-message"))
        iterations = _iterations(_value(attributes, 2, b"i", "server-first-message"))
        if not nonce.startswith(self._nonce) or len(_checked_nonce(nonce)) == len(self._nonce):
            raise malformed("invalid SCRAM response (nonce mismatch)")
        if not salt:
            raise malformed("malformed SCRAM message (invalid salt)")
        keys = self._credentials
        if not isinstance(keys, ScramKeys):
            keys = ScramKeys.derive(keys, salt, iterations)
        without_proof = b"c=biws,r=" + nonce  # base64 of "n,,"
        self._server_key = keys.server_key
        self._signed = b",".join((self._bare, server_first, without_proof))
        proof = xor(keys.client_key, hmac_sha256(keys.stored_key, self._signed))
        return without_proof + b",p=" + base64_encode(proof)

    def verify(self, server_final: bytes) -> None:
        """Make sure by server-final-message that the server knows the secret too."""
        if not self._signed:
            raise RuntimeError("final() comes before verify()")
        attributes = _attributes(server_final)
        if attributes[0][0] == b"e":
            reason = attributes[0][1].decode("ascii", "replace")
            raise PeerViolation(INVALID_PASSWORD, f"error received from server in SCRAM exchange: {reason}")
        signature = base64_decode(_value(attributes, 0, b"v", "server-final-message"))
        if signature is None:
            raise malformed("malformed SCRAM message (invalid server signature)")
        if not hmac.compare_digest(signature, hmac_sha256(self._server_key, self._signed)):
            raise malformed("incorrect server signature")
        self.done = True


def _new_nonce() -> bytes:
    return base64_encode(os.urandom(_NONCE_LENGTH))


def _split_gs2_header(client_first: bytes) -> tuple[bytes, bytes]:
    # "n" no channel binding, "y" could, but thinks we cannot (true), "p=..." demands it; then an
    # authorization identity.
    flag, _, rest = client_first.partition(b",")
    if flag.startswith(b"p"):
        raise PeerViolation(
            FEATURE_NOT_SUPPORTED, "client requires SCRAM channel binding, but it is not supported"
        )
    if flag not in (b"n", b"y"):
        raise malformed("malformed SCRAM message (unexpected channel-binding flag)")
    identity, comma, bare = rest.partition(b",")
    if identity.startswith(b"a"):
        raise PeerViolation(
            FEATURE_NOT_SUPPORTED, "client uses authorization identity, but it is not supported"
        )
    if identity or not comma:
        raise malformed("malformed SCRAM message (unexpected attribute in client-first-message)")
    return flag + b",,", bare


def _attributes(message: bytes) -> list[tuple[bytes, bytes]]:
    if b"\0" in message:
        raise malformed("malformed SCRAM message (length does not match)")
    found = []
    for item in message.split(b","):
        name, equals, text = item.partition(b"=")
        if not equals or len(name) != 1 or not name.isalpha():
            raise malformed("malformed SCRAM message (attribute expected)")
        found.append((name, text))
    return found


def _value(attributes: list[tuple[bytes, bytes]], index: int, name: bytes, where: str) -> bytes:
    if len(attributes) <= index or attributes[index][0] != name:
        raise malformed(f'malformed SCRAM message (attribute "{name.decode()}" expected in {where})')
    return attributes[index][1]


def _checked_nonce(nonce: bytes) -> bytes:
    if not nonce or len(nonce) > MAX_NONCE:
        raise malformed("invalid length of SCRAM nonce")
    if any(byte < 0x21 or byte > 0x7E or byte == 0x2C for byte in nonce):
        raise malformed("non-printable characters in SCRAM nonce")
    return nonce


def _iterations(text: bytes) -> int:
    # Asked for by the server, paid for by us. int() takes more than digits, and long strings cost time.
    if not text.isdigit() or len(text) > 10 or not 1 <= int(text) <= MAX_ITERATIONS:
        raise malformed("malformed SCRAM message (invalid iteration count)")
    return int(text)
