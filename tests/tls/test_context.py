"""Contexts from settings: what the words mean, and that whatever cannot be used is named."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pgpool_py.tls.context import context_for_clients, context_for_servers, trusts_everybody, unsettable
from pgpool_py.tls.options import CIPHER_WORDS, TlsOptions, TlsSettingError, parse_protocols
from pgpool_py.tls.session import certificate_of
from tests.tls.pki import Authority

V = ssl.TLSVersion


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def usable(authority: Authority) -> TlsOptions:
    """Settings that both sides can use."""
    identity = authority.issue("localhost")
    return TlsOptions("require", str(identity.key), str(identity.cert), str(authority.file))


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("secure", {V.TLSv1_2, V.TLSv1_3}),
        ("default", {V.TLSv1_2, V.TLSv1_3}),
        ("all", {V.TLSv1, V.TLSv1_1, V.TLSv1_2, V.TLSv1_3}),
        ("tlsv1.2", {V.TLSv1_2}),
        ("tlsv1.2,tlsv1.3", {V.TLSv1_2, V.TLSv1_3}),
        ("TLSv1.2 : tlsv1.3", {V.TLSv1_2, V.TLSv1_3}),
        ("all,!tlsv1.0,!tlsv1.1", {V.TLSv1_2, V.TLSv1_3}),
        ("!tlsv1.0", {V.TLSv1_1, V.TLSv1_2, V.TLSv1_3}),
    ],
)
def test_protocols_are_read_as_pgbouncer_reads_them(text: str, versions: set[ssl.TLSVersion]) -> None:
    assert parse_protocols(text) == versions


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tlsv2", 'expected a comma list of all, secure, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3, got "tlsv2"'),
        ("", 'expected a comma list of all, secure, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3, got ""'),
        ("tlsv1.2,!tlsv1.2", '"tlsv1.2,!tlsv1.2" allows no version at all'),
    ],
)
def test_wrong_protocols_are_named(text: str, why: str) -> None:
    with pytest.raises(TlsSettingError) as caught:
        parse_protocols(text)
    assert (caught.value.name, caught.value.text) == ("protocols", why)


def test_versions_reach_the_context(usable: TlsOptions) -> None:
    context = context_for_clients(replace(usable, protocols="tlsv1.1,tlsv1.3"))
    assert context is not None
    assert (context.minimum_version, context.maximum_version) == (V.TLSv1_1, V.TLSv1_3)
    assert context.options & ssl.OP_NO_TLSv1_2, "the hole between them"


@pytest.mark.parametrize("word", [*CIPHER_WORDS, "ECDHE-ECDSA-AES128-GCM-SHA256", "HIGH:!aNULL"])
def test_ciphers_take_words_and_openssls_lists(usable: TlsOptions, word: str) -> None:
    assert context_for_clients(replace(usable, ciphers=word))
    assert context_for_servers(replace(usable, ciphers=word))


def test_default_ciphers_keep_secrets_for_ever(usable: TlsOptions) -> None:
    """Up to TLS 1.2: only suites with forward secrecy and authenticated encryption."""
    context = context_for_clients(usable)
    assert context is not None
    old = [suite["name"] for suite in context.get_ciphers() if not suite["name"].startswith("TLS_")]
    assert old
    assert all("DHE" in name and ("GCM" in name or "CHACHA" in name or "CCM" in name) for name in old)


def test_fast_prefers_128_bits(usable: TlsOptions) -> None:
    context = context_for_clients(replace(usable, ciphers="fast"))
    assert context is not None
    names = [suite["name"] for suite in context.get_ciphers()]
    assert names.index("ECDHE-ECDSA-AES128-GCM-SHA256") < names.index("ECDHE-ECDSA-AES256-GCM-SHA384")


@pytest.mark.parametrize("curve", ["auto", "none", "prime256v1", "secp384r1", "X25519"])
def test_curves(usable: TlsOptions, curve: str) -> None:
    assert context_for_clients(replace(usable, ecdhcurve=curve))


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"ciphers": "nonsense"}, "ciphers", 'OpenSSL knows no suite for "nonsense"'),
        ({"ecdhcurve": "nonsense"}, "ecdhcurve", 'OpenSSL knows no curve "nonsense"'),
        ({"dheparams": "2048"}, "dheparams", 'expected one of none, auto, legacy, got "2048"'),
        ({"key_file": ""}, "key_file", "is needed to offer TLS to clients, and is not set"),
        ({"cert_file": ""}, "cert_file", "is needed to offer TLS to clients, and is not set"),
        ({"key_file": "/no/such"}, "key_file", "/no/such: No such file or directory"),
        ({"cert_file": "/no/such"}, "cert_file", "/no/such: No such file or directory"),
        ({"ca_file": "/no/such"}, "ca_file", "/no/such: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_named(usable: TlsOptions, changes: dict[str, str], name: str, text: str) -> None:
    with pytest.raises(TlsSettingError) as caught:
        context_for_clients(replace(usable, **changes))
    assert (caught.value.name, caught.value.text) == (name, text)


def test_half_an_identity_towards_servers_is_refused(usable: TlsOptions) -> None:
    with pytest.raises(TlsSettingError) as caught:
        context_for_servers(replace(usable, key_file=""))
    assert caught.value.name == "key_file"
    assert context_for_servers(replace(usable, key_file="", cert_file=""))


def test_words_are_judged_where_tls_is_on(usable: TlsOptions) -> None:
    """[run] PgBouncer starts with any words where they are not used."""
    assert context_for_clients(TlsOptions(protocols="tlsv2", dheparams="none of these")) is None
    for make in (context_for_clients, context_for_servers):
        with pytest.raises(TlsSettingError):
            make(replace(usable, protocols="tlsv2"))


@pytest.mark.parametrize("name", ["key_file", "cert_file", "ca_file"])
def test_a_file_of_something_else_is_named(usable: TlsOptions, tmp_path: Path, name: str) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("this is not PEM\n")
    with pytest.raises(TlsSettingError) as caught:
        context_for_clients(replace(usable, **{name: str(wrong)}))
    assert caught.value.name == name
    assert caught.value.text.startswith(f"{wrong}: ")


def test_a_key_of_another_certificate_is_named(usable: TlsOptions, authority: Authority) -> None:
    other = authority.issue("other")
    with pytest.raises(TlsSettingError) as caught:
        context_for_clients(replace(usable, key_file=str(other.key)))
    assert caught.value.text == f"{other.key}: does not belong to the certificate in {usable.cert_file}"


def test_a_locked_key_is_named_and_nobody_is_asked(usable: TlsOptions, tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase on the terminal, and a daemon would wait there for ever."""
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(TlsSettingError) as caught:
        context_for_clients(replace(usable, key_file=str(locked)))
    assert caught.value.text == f"{locked}: is locked with a passphrase"


@pytest.mark.parametrize(
    ("mode", "has_roots", "verify"),
    [
        ("allow", False, ssl.CERT_NONE),
        ("prefer", True, ssl.CERT_OPTIONAL),
        ("require", False, ssl.CERT_NONE),
        ("require", True, ssl.CERT_OPTIONAL),
        ("verify-ca", True, ssl.CERT_REQUIRED),
        ("verify-full", True, ssl.CERT_REQUIRED),
        ("verify-full", False, ssl.CERT_REQUIRED),
    ],
)
def test_what_is_asked_of_clients(usable: TlsOptions, mode: str, has_roots: bool, verify: ssl.VerifyMode) -> None:
    options = replace(usable, mode=mode, ca_file=usable.ca_file if has_roots else "")
    context = context_for_clients(options)
    assert context is not None
    assert context.verify_mode is verify
    assert trusts_everybody(options) == (mode.startswith("verify") and not has_roots)


@pytest.mark.parametrize(
    ("mode", "verify", "name_checked"),
    [
        ("allow", ssl.CERT_NONE, False),
        ("prefer", ssl.CERT_NONE, False),
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_what_is_asked_of_servers(usable: TlsOptions, mode: str, verify: ssl.VerifyMode, name_checked: bool) -> None:
    context = context_for_servers(replace(usable, mode=mode))
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (verify, name_checked)


@pytest.mark.parametrize("make", [context_for_clients, context_for_servers])
def test_nobody_renegotiates(usable: TlsOptions, make: object) -> None:
    assert callable(make)
    assert make(usable).options & ssl.OP_NO_RENEGOTIATION


def test_what_python_cannot_set_is_said(usable: TlsOptions) -> None:
    """From 3.15 on Python can choose the suites of TLS 1.3; then they are set, and this is silent."""
    options = replace(usable, tls13_ciphers="TLS_AES_128_GCM_SHA256", dheparams="legacy", ecdhcurve="none")
    said = dict(unsettable(options))
    assert ("tls13_ciphers" in said) == (not hasattr(ssl.SSLContext, "set_ciphersuites"))
    assert {"dheparams", "ecdhcurve"} <= set(said)
    assert not list(unsettable(usable))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve("X25519")
        sets = True
    except ssl.SSLError:
        sets = False
    assert [name for name, _ in unsettable(replace(usable, ecdhcurve="X25519"))] == ([] if sets else ["ecdhcurve"])
    assert not list(unsettable(replace(options, mode="disable"))), "nothing is promised, so nothing is missed"


def test_names_of_a_certificate() -> None:
    found = certificate_of(
        {
            "subject": ((("organizationName", "Sales, East"),), (("commonName", "first"),), (("commonName", "ann"),)),
            "subjectAltName": (("DNS", "a.example"), ("DNS", "b.example"), ("IP Address", "10.0.0.1"), ("email", "ann@x")),
        }
    )
    assert found.common_name == "ann"
    assert found.subject == "CN=ann,CN=first,O=Sales\\, East"
    assert found.dns_names == ("a.example", "b.example")
    assert found.addresses == ("10.0.0.1",)
    assert found.others == (("email", "ann@x"),)
