"""SCRAM-SHA-256: the RFC's example, both ends against each other, and everything a peer can get wrong."""

from __future__ import annotations

import base64
import contextlib
import random

import pytest

from pgwire import PeerViolation, ScramClient, ScramKeys, ScramSecret, ScramServer
from pgwire.saslprep import prepare_password, saslprep

# RFC 7677, section 3. The server nonce is what the server adds to the client's.
CLIENT_NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def secret() -> ScramSecret:
    return ScramSecret.derive("pencil", 4096, SALT)


def server_at_final(of: ScramSecret | None = None) -> ScramServer:
    server = ScramServer(of or secret(), SERVER_NONCE)
    server.first(CLIENT_FIRST)
    return server


def client_at_final() -> ScramClient:
    client = ScramClient("pencil", CLIENT_NONCE, b"user")
    assert client.first() == CLIENT_FIRST
    return client


def test_client_follows_the_rfc_example() -> None:
    client = client_at_final()
    assert client.final(SERVER_FIRST) == CLIENT_FINAL
    client.verify(SERVER_FINAL)
    assert client.done


def test_server_follows_the_rfc_example() -> None:
    server = ScramServer(secret(), SERVER_NONCE)
    assert server.first(CLIENT_FIRST) == SERVER_FIRST
    assert server.final(CLIENT_FINAL) == SERVER_FINAL


def converse(client: ScramClient, server: ScramServer) -> bool:
    answer = server.final(client.final(server.first(client.first())))
    if answer is None:
        return False
    client.verify(answer)
    return client.done


def test_stored_secret_survives_its_text() -> None:
    stored = ScramSecret.parse(secret().text())
    assert stored == secret()
    assert converse(ScramClient("pencil"), ScramServer(secret()))


def test_wrong_password_gets_no_answer() -> None:
    server = ScramServer(secret())
    assert not converse(ScramClient("pencils"), server)
    assert server.keys is None


def test_learned_keys_log_in_elsewhere() -> None:
    """The pooler never sees the password, yet can prove it to a server that stores the same secret."""
    server = ScramServer(secret())
    assert converse(ScramClient("pencil"), server)
    assert server.keys == ScramKeys.derive("pencil", SALT, 4096)
    assert server.keys is not None
    assert converse(ScramClient(server.keys), ScramServer(secret()))


def test_keys_of_another_secret_do_not_fit() -> None:
    keys = ScramKeys.derive("pencil", b"another salt", 4096)
    assert not converse(ScramClient(keys), ScramServer(secret()))


def test_server_without_the_secret_is_noticed() -> None:
    client = client_at_final()
    client.final(SERVER_FIRST)
    with pytest.raises(PeerViolation, match="incorrect server signature"):
        client.verify(b"v=" + base64.b64encode(bytes(32)))
    assert not client.done


def test_server_error_is_reported() -> None:
    client = client_at_final()
    client.final(SERVER_FIRST)
    with pytest.raises(PeerViolation, match="invalid-proof"):
        client.verify(b"e=invalid-proof")


def test_unknown_user_looks_like_any_other() -> None:
    first = ScramServer(ScramSecret.mock("nobody", b"key")).first(CLIENT_FIRST)
    again = ScramServer(ScramSecret.mock("nobody", b"key")).first(CLIENT_FIRST)
    other = ScramServer(ScramSecret.mock("somebody", b"key")).first(CLIENT_FIRST)
    salts = [message.split(b",")[1] for message in (first, again, other)]
    assert salts[0] == salts[1] != salts[2]
    assert len(base64.b64decode(salts[0][2:])) == 16
    assert not converse(ScramClient("pencil"), ScramServer(ScramSecret.mock("nobody", b"key")))


def test_mock_secret_fits_no_proof_at_all() -> None:
    mock = ScramSecret(4096, SALT, secret().stored_key, secret().server_key, is_mock=True)
    assert server_at_final(mock).final(CLIENT_FINAL) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"x,,n=,r=abc",
        b"n,x,n=,r=abc",
        b"n,,r=abc",
        b"n,,n=",
        b"n,,n=,r=",
        b"n,,n=,x=abc",
        b"n,,n=,r=a c",
        b"n,,n=,r=a\x7fc",
        b"n,,n=,r=a\xc3\xa4",
        b"n,,n=,r=abc\0",
        b"n,,n=,r=" + b"x" * 1025,
        b"n,,n=,r=" + b"x" * 60_000,
        b"n,,n=,r=abc,nonsense",
        b"n,,,,,,",
    ],
)
def test_malformed_client_first_is_a_violation(message: bytes) -> None:
    with pytest.raises(PeerViolation) as raised:
        ScramServer(secret()).first(message)
    assert raised.value.sqlstate == "08P01"


@pytest.mark.parametrize(
    "message",
    [b"p=tls-server-end-point,,n=,r=abc", b"n,a=admin,n=,r=abc", b"n,,m=ext,n=,r=abc"],
    ids=["channel binding", "authorization identity", "mandatory extension"],
)
def test_unsupported_wishes_are_named_so(message: bytes) -> None:
    with pytest.raises(PeerViolation) as raised:
        ScramServer(secret()).first(message)
    assert raised.value.sqlstate == "0A000"


def test_client_that_could_bind_is_served() -> None:
    """Flag "y": it would, but rightly sees that we offer nothing to bind to."""
    server = ScramServer(secret(), SERVER_NONCE)
    server.first(b"y,," + CLIENT_FIRST[3:])
    with pytest.raises(PeerViolation, match="channel-binding"):
        server.final(CLIENT_FINAL)
    server.first(b"y,," + CLIENT_FIRST[3:])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        CLIENT_FINAL.replace(b"c=biws", b"c=eSws"),
        CLIENT_FINAL.replace(b"c=biws", b"c=!!!!"),
        CLIENT_FINAL.replace(b"r=rO", b"r=xO"),
        CLIENT_FINAL.replace(b"k0,p", b"k,p"),
        CLIENT_FINAL.partition(b",p=")[0],
        CLIENT_FINAL + b",x=1",
        CLIENT_FINAL + b",p=",
        CLIENT_FINAL[:-1],
        CLIENT_FINAL[:-4],
        CLIENT_FINAL[:-2] + b"*=",
        CLIENT_FINAL + b"\0",
        CLIENT_FINAL.replace(b"p=", b"p=AAAA"),
        CLIENT_FINAL.partition(b",p=")[0] + b",p=" + base64.b64encode(b"x" * 40_000),
    ],
)
def test_malformed_client_final_is_a_violation(message: bytes) -> None:
    with pytest.raises(PeerViolation) as raised:
        server_at_final().final(message)
    assert raised.value.sqlstate == "08P01"


def test_optional_extensions_are_passed_over() -> None:
    client = ScramClient("pencil")
    server = ScramServer(secret())
    first = client.first() + b",x=ignored"
    client._bare += b",x=ignored"
    assert server.final(client.final(server.first(first))) is not None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        SERVER_FIRST.replace(b"rOpr", b"xOpr"),
        b"r=" + CLIENT_NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        SERVER_FIRST.replace(b"s=W22", b"s=*22"),
        SERVER_FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        SERVER_FIRST.replace(b"i=4096", b"i=0"),
        SERVER_FIRST.replace(b"i=4096", b"i=-1"),
        SERVER_FIRST.replace(b"i=4096", b"i=+4096"),
        SERVER_FIRST.replace(b"i=4096", b"i=1_000"),
        SERVER_FIRST.replace(b"i=4096", b"i="),
        SERVER_FIRST.replace(b"i=4096", b"i=4096x"),
        SERVER_FIRST.replace(b",i=4096", b""),
        SERVER_FIRST.replace(b"i=4096", b"i=1000001"),
        SERVER_FIRST.replace(b"i=4096", b"i=100000000"),
        SERVER_FIRST.replace(b"i=4096", b"i=" + b"9" * 50_000),
        b"m=ext," + SERVER_FIRST,
        b"e=other-error",
        SERVER_FIRST.replace(b"k0", b"k0" + b"x" * 2000),
    ],
)
def test_malformed_server_first_is_a_violation(message: bytes) -> None:
    with pytest.raises(PeerViolation) as raised:
        client_at_final().final(message)
    assert raised.value.sqlstate == "08P01"


def test_random_damage_never_logs_anybody_in() -> None:
    rng = random.Random(7)
    for _ in range(500):
        damaged = bytearray(CLIENT_FINAL)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        with contextlib.suppress(PeerViolation):
            assert server_at_final().final(bytes(damaged)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pencil",
        "md5" + "0" * 32,
        "SCRAM-SHA-256$4096:AAAA",
        "SCRAM-SHA-256$0:AAAA$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$99999999999:AAAA$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$4096:AAAA$" + "A" * 44 + ":" + "A" * 43 + "=",
        "SCRAM-SHA-256$4096:A*AA$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$4096:AAA$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$4096:AAAA$" + "A" * 43 + "=:" + "A" * 43 + "=\n",
        "SCRAM-SHA-1$4096:AAAA$" + "A" * 43 + "=:" + "A" * 43 + "=",
    ],
)
def test_other_texts_are_no_scram_secret(text: str) -> None:
    assert ScramSecret.parse(text) is None


def test_secret_as_postgresql_stores_it_is_read() -> None:
    """The secret of the RFC's example, in PostgreSQL's notation."""
    stored = ScramSecret.parse(
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert stored is not None
    assert server_at_final(stored).final(CLIENT_FINAL) == SERVER_FINAL


def test_too_many_iterations_are_not_derived() -> None:
    with pytest.raises(ValueError, match="iterations"):
        ScramSecret.derive("pencil", 100_000_000)


def test_repr_of_scram_shows_no_secret() -> None:
    server = server_at_final()
    server.final(CLIENT_FINAL)
    shown = repr((server, server.keys, secret(), client_at_final(), ScramClient("pencil")))
    assert "pencil" not in shown
    for part in (secret().stored_key, secret().server_key, SALT, server.client_key):
        assert part is not None
        assert repr(part)[2:-1] not in shown
        assert base64.b64encode(part).decode() not in shown


@pytest.mark.parametrize(
    ("given", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013, section 3: soft hyphen mapped to nothing
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0007", None),  # prohibited
        ("\u0627\u0031", None),  # right-to-left, but no right-to-left character at its end
        ("\u0627a\u0627", None),
        ("\u06271\u0628", "\u06271\u0628"),
        ("\u00ad", None),
        ("\u0221", None),  # unassigned in Unicode 3.2
    ],
)
def test_saslprep_follows_the_rfc(given: str, prepared: str | None) -> None:
    assert saslprep(given) == prepared


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("pencil", b"pencil"),
        ("bell\x07", b"bell\x07"),  # ASCII is never touched
        (b"\xff\xfe", b"\xff\xfe"),  # not UTF-8
        ("\u0627\u0031", "\u0627\u0031".encode()),  # forbidden, so used as it is
        ("\u2168", b"IX"),
        ("\u00ad", "\u00ad".encode()),
        ("\udcff", b"\xff"),  # a surrogate stands for a byte
    ],
)
def test_password_is_prepared_as_postgresql_does(given: str | bytes, used: bytes) -> None:
    assert prepare_password(given) == used
