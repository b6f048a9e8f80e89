"""Who is let in, by which method, and that a stranger cannot tell an unknown user from a known one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import psycopg
import pytest

from pgpool_py.frontend.gate import LoginRules
from pgwire import (
    Authentication,
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    ErrorResponse,
    PasswordMessage,
    ReadyForQuery,
    SASLInitialResponse,
    SASLResponse,
    ScramClient,
    ScramKeys,
    ScramSecret,
    md5_response,
    md5_secret,
)
from pgwire.scram import MECHANISM
from tests.frontend.fakes import FakeDatabase, FakeGate, Frontend, RawClient

SCRAM = ScramSecret.derive("secret", 4096, b"salt of sixteen.").text()
MD5 = md5_secret("ann", "secret")
STORED = {"plain": ["secret"], "md5": [MD5], "scram": [SCRAM]}
# auth_type, what is stored, whether the right password opens
SERVES = [
    ("plain", "plain", True),
    ("plain", "md5", True),
    ("plain", "scram", True),
    ("md5", "plain", True),
    ("md5", "md5", True),
    ("md5", "scram", True),  # becomes SCRAM
    ("scram-sha-256", "plain", True),
    ("scram-sha-256", "md5", False),
    ("scram-sha-256", "scram", True),
]


def dsn(frontend: Frontend, password: str, user: str = "ann", database: str = "app") -> str:
    return (
        f"host=127.0.0.1 port={frontend.port} user={user} password={password} dbname={database} "
        "sslmode=prefer gssencmode=disable connect_timeout=10"
    )


@pytest.mark.parametrize(("auth_type", "stored", "serves"), SERVES)
def test_psycopg_logs_in(
    frontend: Frontend, gate: FakeGate, auth_type: str, stored: str, serves: bool
) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    gate.secrets["ann"] = STORED[stored]
    if serves:
        with psycopg.connect(dsn(frontend, "secret")) as connection:
            assert connection.info.parameter_status("server_version") == "18.1"
            assert frontend.next_client().credentials.secret == STORED[stored][0]
    else:
        with pytest.raises(psycopg.OperationalError, match="FATAL:  SASL authentication failed"):
            psycopg.connect(dsn(frontend, "secret"))
        assert gate.next_failure()[1:] == ("SASL authentication failed", "only md5 secrets are stored")


@pytest.mark.parametrize(("auth_type", "stored", "serves"), [each for each in SERVES if each[2]])
def test_asyncpg_logs_in(
    frontend: Frontend, gate: FakeGate, auth_type: str, stored: str, serves: bool
) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    gate.secrets["ann"] = STORED[stored]

    async def log_in(password: str) -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=frontend.port, user="ann", password=password, database="app", timeout=10
        )
        connection.terminate()

    asyncio.run(log_in("secret"))
    with pytest.raises(asyncpg.InvalidPasswordError, match="authentication failed"):
        asyncio.run(log_in("Secret"))


@pytest.mark.parametrize(("auth_type", "stored"), [each[:2] for each in SERVES])
@pytest.mark.parametrize("user", ["ann", "nobody"])
def test_wrong_password_and_unknown_user_are_refused(
    frontend: Frontend, gate: FakeGate, auth_type: str, stored: str, user: str
) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    gate.secrets["ann"] = STORED[stored]
    with pytest.raises(psycopg.OperationalError, match=r"FATAL:  (SASL|password) authentication failed"):
        psycopg.connect(dsn(frontend, "wrong", user))
    assert gate.counts.total == 0 and frontend.clients.empty()


def exchange(client: RawClient, user: str, password: str = "wrong") -> list[object]:
    """What the pooler says to a login, by class; an error by its code and text."""
    client.startup(user)
    scram = ScramClient(password)
    said: list[object] = []
    while True:
        match event := client.event():
            case AuthenticationCleartextPassword():
                client.send(PasswordMessage(password.encode()))
            case AuthenticationMD5Password():
                client.send(PasswordMessage(md5_response(md5_secret(user, password), event.salt)))
            case AuthenticationSASL():
                client.send(SASLInitialResponse(MECHANISM, scram.first()))
            case AuthenticationSASLContinue():
                said.append(
                    len(event.data) - event.data.index(b",s=")
                )  # the salt is as long, the count equal
                client.send(SASLResponse(scram.final(event.data)))
            case ErrorResponse():
                return [*said, dict(event.fields)]
            case ReadyForQuery() | None:
                return [*said, event]
        said.append(type(event))


@pytest.mark.parametrize(
    ("auth_type", "stored", "unknown"),
    [
        ("plain", "plain", "md5"),
        ("md5", "plain", "md5"),
        ("md5", "md5", "md5"),
        ("md5", "scram", "scram-sha-256"),
        ("scram-sha-256", "plain", "md5"),
        ("scram-sha-256", "md5", "md5"),
        ("scram-sha-256", "scram", "md5"),
    ],
)
def test_unknown_user_hears_the_same(
    frontend: Frontend, gate: FakeGate, auth_type: str, stored: str, unknown: str
) -> None:
    gate.rules = LoginRules(auth_type=auth_type, unknown_user_method=unknown)
    gate.secrets["ann"] = STORED[stored]
    with frontend.connect() as known, frontend.connect() as stranger:
        assert exchange(known, "ann") == exchange(stranger, "bob")
    assert gate.next_failure()[2] != "no such user"
    assert gate.next_failure()[2] == "no such user"


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_password_comes_before_the_database(frontend: Frontend, gate: FakeGate, auth_type: str) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(dsn(frontend, "wrong", database="nosuch"))
    with pytest.raises(psycopg.OperationalError, match="no such database: nosuch"):
        psycopg.connect(dsn(frontend, "secret", database="nosuch"))


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("secrets", [["old", "secret"], ["secret", "old"], ["old", MD5, "secret"]])
def test_any_of_several_secrets_opens(
    frontend: Frontend, gate: FakeGate, auth_type: str, secrets: list[str]
) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    gate.secrets["ann"] = secrets
    for password in ("old", "secret"):
        psycopg.connect(dsn(frontend, password)).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn(frontend, "neither"))


def test_plain_secret_serves_beside_a_scram_one(frontend: Frontend, gate: FakeGate) -> None:
    """The client is shown the salt of the SCRAM secret; the plain one is derived to fit."""
    gate.rules = LoginRules(auth_type="scram-sha-256")
    gate.secrets["ann"] = ["new", SCRAM]
    for password in ("new", "secret"):
        psycopg.connect(dsn(frontend, password)).close()


@pytest.mark.parametrize("secrets", [[], [""]])
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_empty_password_opens_nothing(
    frontend: Frontend, gate: FakeGate, auth_type: str, secrets: list[str]
) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    gate.secrets["ann"] = secrets
    with frontend.connect() as client:
        error = exchange(client, "ann", "")[-1]
    assert isinstance(error, dict) and error["C"] == b"28P01"
    assert gate.next_failure()[2] == "no password is stored"


def test_scram_proof_teaches_the_keys(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="scram-sha-256")
    gate.secrets["ann"] = [SCRAM]
    psycopg.connect(dsn(frontend, "secret")).close()
    credentials = frontend.next_client().credentials
    assert credentials.scram_keys == ScramKeys.derive("secret", b"salt of sixteen.", 4096)
    assert repr(credentials) == "Credentials(scram_keys=ScramKeys())"


def test_trust_takes_known_users_only(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="trust")
    psycopg.connect(dsn(frontend, "whatever")).close()
    with pytest.raises(psycopg.OperationalError, match='"trust" authentication failed'):
        psycopg.connect(dsn(frontend, "whatever", "nobody"))


def test_any_takes_everybody_to_a_forced_user(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="any")
    gate.databases["forced"] = FakeDatabase("forced", forced_user="app")
    psycopg.connect(dsn(frontend, "whatever", "nobody", "forced")).close()
    with pytest.raises(psycopg.OperationalError, match="bouncer config error"):
        psycopg.connect(dsn(frontend, "whatever", "nobody"))
    assert gate.next_failure()[2] == "auth_type=any requires forced user"


def test_long_password_works(frontend: Frontend, gate: FakeGate) -> None:
    password = "p" * 65_531
    gate.rules = LoginRules(auth_type="plain")
    gate.secrets["ann"] = [password]
    with frontend.connect() as client:
        assert exchange(client, "ann", password)[-1] == ReadyForQuery("I")


def test_password_may_be_no_utf8(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="plain")
    gate.secrets["ann"] = ["caf\udce9"]
    with frontend.connect() as client:
        client.startup()
        client.event()
        client.send(PasswordMessage(b"caf\xe9"))
        assert client.event() == AuthenticationOk()


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_dribbled_login_works(frontend: Frontend, gate: FakeGate, auth_type: str) -> None:
    gate.rules = LoginRules(auth_type=auth_type)
    with frontend.connect() as client:
        send = client.sock.sendall

        class Dribbling:
            recv = staticmethod(client.sock.recv)
            close = staticmethod(client.sock.close)

            def sendall(self, data: bytes) -> None:
                for byte in data:
                    send(bytes((byte,)))

        client.sock = Dribbling()  # type: ignore[assignment]
        assert exchange(client, "ann", "secret")[-1] == ReadyForQuery("I")


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize(
    "garbage",
    [
        b"Q\0\0\0\x0dselect 1\0",
        b"p\0\0\0\0",
        b"p\0\0\0\x03",
        b"p\x7f\xff\xff\xff",
        b"p\x80\0\0\0",
        b"p\xff\xff\xff\xff",
        b"p\0\0\0\x04",
        b"p\0\0\0\x08abcd",
        b"p\0\0\0\x12SCRAM-SHA-256\0",
        b"p\0\0\0\x16SCRAM-SHA-256\0\x7f\xff\xff\xff",
        b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff",
        b"p\0\0\0\x16SCRAM-SHA-256\0\0\0\0\0",
        b"p\0\0\0\x1bSCRAM-SHA-256\0\0\0\0\x05p=x,,",
        b"p\0\0\0\x0eOAUTHBEARE\0",
        b"X\0\0\0\x04",
        b"\0" * 20,
    ],
    ids=repr,
)
def test_garbage_instead_of_a_password_is_refused(
    frontend: Frontend, gate: FakeGate, auth_type: str, garbage: bytes
) -> None:
    """CVE-2015-4054 and CVE-2026-6664: every message and every length, in every state of a login."""
    gate.rules = LoginRules(auth_type=auth_type)
    with frontend.connect() as client:
        client.startup()
        assert isinstance(client.event(), Authentication)
        client.sock.sendall(garbage)
        error = client.event()
        assert isinstance(error, ErrorResponse) and error.severity == "FATAL"
        assert error.code in ("08P01", "28P01")
        assert client.at_end()
    gate.next_failure()
    assert gate.failures.empty() and gate.counts.total == 0


@pytest.mark.parametrize(
    "garbage",
    [
        *[b"p" + length.to_bytes(4, "big") for length in (0, 3, 4, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)],
        b"p\0\0\0\x06c=",
        b"p\0\0\0\x2cc=biws,r=" + b"x" * 31 + b",",
        b"p\0\1\0\0" + b"c=biws,r=" + b"x" * 65_523,
        b"Q\0\0\0\x0dselect 1\0",
        b"X\0\0\0\x04",
        b"\0" * 20,
    ],
    ids=lambda garbage: repr(garbage[:20]),
)
def test_garbage_instead_of_a_proof_is_refused(frontend: Frontend, gate: FakeGate, garbage: bytes) -> None:
    """CVE-2026-6664 once more: the second message of SCRAM."""
    gate.rules = LoginRules(auth_type="scram-sha-256")
    with frontend.connect() as client:
        client.startup()
        client.event()
        client.send(SASLInitialResponse(b"SCRAM-SHA-256", b"n,,n=,r=abcdefgh"))
        assert isinstance(client.event(), AuthenticationSASLContinue)
        client.sock.sendall(garbage)
        error = client.event()
        assert isinstance(error, ErrorResponse) and error.severity == "FATAL"
        assert error.code in ("08P01", "28P01")
        assert client.at_end()
    gate.next_failure()
    assert gate.failures.empty() and gate.counts.total == 0


def test_client_that_waits_for_a_password_prompt_leaves_quietly(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = LoginRules(auth_type="md5")
    with frontend.connect() as client:
        client.startup()
        client.event()
    assert gate.next_failure()[1] == "client unexpected eof"


def test_stall_inside_authentication_is_closed(frontend: Frontend, gate: FakeGate) -> None:
    gate.rules = replace(LoginRules(auth_type="scram-sha-256"), client_login_timeout=0.1)
    with frontend.connect() as client:
        client.startup()
        client.event()
        client.sock.sendall(b"p\0\0")
        error = client.event()
    assert isinstance(error, ErrorResponse) and error.message == "client_login_timeout"


def test_wrong_password_after_a_right_one_is_refused(frontend: Frontend, gate: FakeGate) -> None:
    """Pgpool-II CVE-2025-46801: what an earlier client proved must not help the next one."""
    for auth_type in ("plain", "md5", "scram-sha-256"):
        gate.rules = LoginRules(auth_type=auth_type)
        psycopg.connect(dsn(frontend, "secret")).close()
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(dsn(frontend, "wrong"))
