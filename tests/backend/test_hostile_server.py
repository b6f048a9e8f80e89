"""Servers that say what they should not: each ends as one ServerConnectError, soon, in bounded memory."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from pgpool_py.backend.connect import connect_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.target import ServerLogin, ServerTarget
from pgwire import (
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    BackendKeyData,
    ErrorResponse,
    NoticeResponse,
    ParameterStatus,
    ReadyForQuery,
)
from pgwire.wire import frame, int32

Run = Callable[[Any], Any]
# One word of a script: bytes to say once the client has said something, or a function of what it said.
Word = bytes | Callable[[bytes], bytes]
CLOSE = b""
OK = AuthenticationOk().encode()
SASL = AuthenticationSASL((b"SCRAM-SHA-256",)).encode()
KEY = BackendKeyData(77, b"key!").encode()
READY = ReadyForQuery("I").encode()


async def converse(words: list[Word], timeout: float, dribble: bool) -> ServerLogin:
    """Log in to a server that answers each of our messages with the next of *words*, then is silent."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        async def serve() -> None:
            sock, _ = await loop.sock_accept(listening)
            with sock:
                for word in words:
                    heard = await loop.sock_recv(sock, 100_000)
                    answer = word if isinstance(word, bytes) else word(heard)
                    if not answer:
                        return
                    step = 1 if dribble else len(answer)
                    for at in range(0, len(answer), step):
                        await loop.sock_sendall(sock, answer[at : at + step])
                while await loop.sock_recv(sock, 100_000):
                    pass

        server = loop.create_task(serve())
        target = ServerTarget("127.0.0.1", listening.getsockname()[1], "app", "ann", password="secret")
        try:
            return await connect_server(target, timeout)
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)


def login(run: Run, *words: Word, dribble: bool = False) -> ServerLogin:
    found: ServerLogin = run(converse(list(words), 5, dribble))
    found.sock.close()
    return found


def failure(run: Run, *words: Word, timeout: float = 5) -> ServerConnectError:
    with pytest.raises(ServerConnectError) as caught:
        run(converse(list(words), timeout, False)).sock.close()
    return caught.value


def continue_with(challenge: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A SASL challenge made from the client's nonce."""

    def answer(heard: bytes) -> bytes:
        return AuthenticationSASLContinue(challenge(heard.rpartition(b"r=")[2])).encode()

    return answer


@pytest.mark.parametrize("dribble", [False, True])
def test_scripted_server_is_believed(run: Run, dribble: bool) -> None:
    """What the other tests change one thing of."""
    status = ParameterStatus(b"server_version", b"99").encode()
    found = login(run, OK + status + KEY + READY, dribble=dribble)
    assert (found.pid, found.key, found.parameters) == (77, b"key!", {b"server_version": b"99"})


def test_what_follows_ready_is_left_over(run: Run) -> None:
    late = NoticeResponse.make("NOTICE", "00000", "late").encode()
    assert login(run, OK + KEY + READY + late).leftover == late


def test_server_without_key_cannot_be_cancelled(run: Run) -> None:
    """Such servers exist; nobody is given their key, so it need not be one."""
    assert login(run, OK + READY).key == b""
    assert login(run, OK + frame(ord("K"), int32(5)) + READY).key == b""


def test_notices_are_kept_for_the_log(run: Run) -> None:
    notice = NoticeResponse.make("WARNING", "01000", "collation mismatch").encode()
    assert login(run, notice + OK + notice + KEY + READY).notices == ("collation mismatch",)
    assert len(login(run, OK + notice * 5000 + KEY + READY).notices) == 10


def test_large_parameter_is_taken(run: Run) -> None:
    status = ParameterStatus(b"search_path", b"x" * 30_000).encode()
    assert len(login(run, OK + status + KEY + READY).parameters[b"search_path"]) == 30_000


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(ParameterStatus(b"p%d" % n, b"").encode() for n in range(1001)),
        ParameterStatus(b"p", b"x" * 300_000).encode() * 4,
    ],
    ids=["many", "large"],
)
def test_flood_of_parameters_is_refused(run: Run, flood: bytes) -> None:
    assert failure(run, OK + flood + KEY + READY).message == "server reports too many parameters"


@pytest.mark.parametrize(
    ("fields", "sqlstate", "message"),
    [
        ({}, "08006", "server login failed"),
        ({"M": b"go away"}, "08006", "go away"),
        ({"C": b"53300", "M": b"sorry"}, "53300", "sorry"),
        ({"C": b"53300"}, "53300", "server login failed"),
        ({"C": b"", "M": b""}, "08006", "server login failed"),
        ({"C": b"too long", "M": b"x"}, "08006", "x"),
        ({"C": b"\xff\xff\xff\xff\xff", "M": b"caf\xe9"}, "08006", "caf\ufffd"),
        ({"Z": b"?", "M": b"m" * 100_000}, "08006", "m" * 1000),
    ],
)
def test_error_with_any_fields_is_passed_on(
    run: Run, fields: dict[str, bytes], sqlstate: str, message: str
) -> None:
    """PgBouncer CVE-2026-6666: an error without SQLSTATE ended the process."""
    error = failure(run, ErrorResponse(fields).encode())
    assert (error.sqlstate, error.message, error.reason) == (sqlstate, message, "login failed")


@pytest.mark.parametrize("body", [b"", b"C", b"C53300", b"C53300\0", b"C53300\0Mx\0", b"\0\0"])
def test_error_without_an_end_is_a_violation(run: Run, body: bytes) -> None:
    assert failure(run, frame(ord("E"), body)).message.startswith("server broke the protocol: ")


@pytest.mark.parametrize("spoken", [b"", OK, OK + KEY, SASL], ids=["nothing", "ok", "key", "sasl"])
def test_server_that_leaves_is_an_error(run: Run, spoken: bytes) -> None:
    words = (CLOSE,) if not spoken else (lambda heard: spoken, CLOSE)
    error = failure(run, *words, timeout=0.5)
    assert error.message == "server closed the connection during login" or error.reason == "connect timeout"


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"R\0\0\0\0",
        b"R\0\0\0\x04",
        b"R\0\0\0\x06\0\0",
        b"R\x7f\xff\xff\xff",
        b"R\x80\0\0\0",
        b"R\xff\xff\xff\xff",
        b"R\0\0\0\x0a\0\0\0\x05ab",  # md5 with half a salt
        b"R\0\0\0\x0c\0\0\0\x0aSCRA",  # a mechanism without its end
        b"R\0\0\0\x08\0\0\0\x63",
        OK + b"K\0\0\0\x06ab",
        OK + b"S\0\0\0\x08name",
        OK + b"Z\0\0\0\x05X",
        OK + OK,
        OK + frame(ord("D"), b"\0\0"),
        OK + b"S" + (1 << 21).to_bytes(4, "big"),
        READY,
        KEY,
        b"N",
        AuthenticationSASLContinue(b"r=1").encode(),
        AuthenticationSASLFinal(b"v=1").encode(),
        SASL + OK,
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_is_a_violation(run: Run, garbage: bytes) -> None:
    error = failure(run, garbage, CLOSE, timeout=1)
    assert error.sqlstate == "08006"
    assert error.message.startswith("server broke the protocol: ") or error.reason == "connect timeout"
    assert (error.reason == "connect timeout") == (garbage in INCOMPLETE)


INCOMPLETE = (b"N",)


def test_server_inside_a_transaction_is_refused(run: Run) -> None:
    assert (
        failure(run, OK + KEY + ReadyForQuery("T").encode()).message == "server begins inside a transaction"
    )


@pytest.mark.parametrize(
    ("mechanisms", "named"),
    [((), "none"), ((b"OAUTHBEARER", b"SCRAM-SHA-256-PLUS"), "OAUTHBEARER, SCRAM-SHA-256-PLUS")],
)
def test_unsupported_mechanisms_are_named(run: Run, mechanisms: tuple[bytes, ...], named: str) -> None:
    error = failure(run, AuthenticationSASL(mechanisms).encode())
    assert error.message == f"server offers only unsupported SASL mechanisms: {named}"


@pytest.mark.parametrize(("number", "name"), [(2, "KerberosV5"), (7, "GSS"), (9, "SSPI")])
def test_unsupported_method_is_named(run: Run, number: int, name: str) -> None:
    error = failure(run, frame(ord("R"), int32(number)))
    assert error.message == f"server asks for an unsupported authentication method: {name}"


@pytest.mark.parametrize(
    "challenge",
    [
        lambda nonce: b"r=" + nonce + b"x" * 65_536 + b",s=c2FsdA==,i=4096",
        lambda nonce: b"r=" + nonce + b"x,s=c2FsdA==,i=1000000000",
        lambda nonce: b"r=" + nonce + b"x,s=c2FsdA==,i=" + b"9" * 5000,
        lambda nonce: b"r=" + nonce + b"x,s=c2FsdA==,i=0",
        lambda nonce: b"r=" + nonce + b"x,s=c2FsdA==,i=-1",
        lambda nonce: b"r=" + nonce + b"x,s=!!!,i=4096",
        lambda nonce: b"r=" + nonce + b"x,s=,i=4096",
        lambda nonce: b"r=" + nonce + b",s=c2FsdA==,i=4096",
        lambda nonce: b"r=other,s=c2FsdA==,i=4096",
        lambda nonce: b"",
        lambda nonce: b"r",
        lambda nonce: b"\0" * 50,
        lambda nonce: b"e=no-resources",
    ],
)
def test_hostile_challenge_costs_nothing(run: Run, challenge: Callable[[bytes], bytes]) -> None:
    """PgBouncer CVE-2026-6665, and a server that asks for a thousand million rounds of work."""
    began = time.process_time()
    error = failure(run, SASL, continue_with(challenge), CLOSE)
    assert error.message.startswith("server broke the protocol: ")
    assert time.process_time() - began < 1


def good_challenge(nonce: bytes) -> bytes:
    return b"r=" + nonce + b"x,s=c2FsdA==,i=4096"


@pytest.mark.parametrize("final", [b"v=AAAA", b"v=!!!", b"", b"e=other-error", b"v=" + b"A" * 60_000])
def test_server_that_cannot_prove_itself_is_refused(run: Run, final: bytes) -> None:
    words = (SASL, continue_with(good_challenge), AuthenticationSASLFinal(final).encode() + OK + KEY + READY)
    assert failure(run, *words).message.startswith("server broke the protocol: ")


def test_server_that_skips_its_proof_is_refused(run: Run) -> None:
    assert failure(run, SASL, OK + KEY + READY).message.startswith("server broke the protocol: ")
    words = (SASL, continue_with(good_challenge), OK + KEY + READY)
    assert failure(run, *words).message.startswith("server broke the protocol: ")


def test_notice_inside_the_exchange_is_harmless(run: Run) -> None:
    notice = NoticeResponse.make("WARNING", "01000", "soon").encode()
    refusal = ErrorResponse.make("FATAL", "28P01", "no").encode()
    words = (SASL, lambda heard: notice + continue_with(good_challenge)(heard), notice + refusal)
    assert failure(run, *words).message == "no"


def test_password_is_asked_for_once(run: Run) -> None:
    for request in (AuthenticationCleartextPassword(), AuthenticationMD5Password(b"salt")):
        wire = request.encode()
        assert failure(run, wire, wire).message.startswith("server broke the protocol: ")


def test_endless_notices_run_into_the_timeout(run: Run) -> None:
    notice = NoticeResponse.make("WARNING", "01000", "x" * 1000).encode()
    assert failure(run, OK + notice * 1000, timeout=0.3).reason == "connect timeout"
