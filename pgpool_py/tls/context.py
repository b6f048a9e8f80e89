"""SSL contexts made from settings. A file or a word that cannot be used is a TlsSettingError that names the setting.

Knows what Python's `ssl` can set; `unsettable` names what it cannot. A context is made once for a start or a reload and serves
all handshakes after it; connections that exist keep the one they were made with.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator

from .options import (
    ALPN,
    DISABLE,
    VERIFY_FULL,
    VERIFYING,
    TlsOptions,
    TlsSettingError,
    cipher_list,
    parse_protocols,
)

_NO_VERSION = {
    ssl.TLSVersion.TLSv1: "OP_NO_TLSv1",
    ssl.TLSVersion.TLSv1_1: "OP_NO_TLSv1_1",
    ssl.TLSVersion.TLSv1_2: "OP_NO_TLSv1_2",
    ssl.TLSVersion.TLSv1_3: "OP_NO_TLSv1_3",
}
_DHEPARAMS = ("none", "auto", "legacy")
_OPENSSLS_CHOICE = ("", "auto", "none")  # words for ecdhcurve
_NOT_ELLIPTIC = ("x25519", "x448")  # by OpenSSL's older interface, which Python 3.11.2 uses


def context_for_clients(options: TlsOptions) -> ssl.SSLContext | None:
    """What clients' handshakes are done with; None when the mode is `disable`."""
    if options.mode == DISABLE:
        return None
    _check_words(options)
    for name in ("key_file", "cert_file"):
        if not getattr(options, name):
            raise TlsSettingError(name, "is needed to offer TLS to clients, and is not set")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _configure(context, options)
    # As PostgreSQL: a session is never resumed, so that each handshake looks at the client's certificate anew.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_identity(context, options)
    if options.mode in VERIFYING:
        _load_roots(context, options, ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED
    elif options.ca_file:
        # Nobody needs a certificate, but one that is shown must be right: rules of pg_hba.conf may ask for it.
        _load_roots(context, options, ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def context_for_servers(options: TlsOptions) -> ssl.SSLContext | None:
    """What handshakes with servers are done with; None when the mode is `disable`."""
    if options.mode == DISABLE:
        return None
    _check_words(options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options.mode == VERIFY_FULL
    if options.mode in VERIFYING:
        _load_roots(context, options, ssl.Purpose.SERVER_AUTH)
    else:
        context.verify_mode = ssl.CERT_NONE
    _configure(context, options)
    if options.key_file or options.cert_file:
        for name in ("key_file", "cert_file"):
            if not getattr(options, name):
                raise TlsSettingError(name, "is not set, and the other half of our identity is")
        _load_identity(context, options)
    return context


def unsettable(options: TlsOptions) -> Iterator[tuple[str, str]]:
    """The settings with a value that this Python's `ssl` cannot carry out, each with what holds instead."""
    if options.mode == DISABLE:
        return
    if options.tls13_ciphers and not hasattr(ssl.SSLContext, "set_ciphersuites"):
        yield "tls13_ciphers", "this Python cannot choose suites of TLS 1.3, OpenSSL's own are used"
    if options.dheparams.lower() == "legacy":
        yield "dheparams", "parameters of 1024 bits are not offered, suites with DHE take OpenSSL's own"
    if options.ecdhcurve.lower() == "none":
        yield "ecdhcurve", "key exchange on curves cannot be switched off, OpenSSL's own choice is used"
    if options.ecdhcurve.lower() in _NOT_ELLIPTIC and not _sets_curve(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), options.ecdhcurve):
        yield "ecdhcurve", f"this Python cannot choose {options.ecdhcurve}, OpenSSL's own choice is used"


def trusts_everybody(options: TlsOptions) -> bool:
    """Whether certificates are checked by the system's roots, because there is no file of our own."""
    return options.mode in VERIFYING and not options.ca_file


def _check_words(options: TlsOptions) -> None:
    """Words are judged where TLS is on, as in PgBouncer."""
    parse_protocols(options.protocols)
    if options.dheparams and options.dheparams.lower() not in _DHEPARAMS:
        raise TlsSettingError("dheparams", f'expected one of {", ".join(_DHEPARAMS)}, got "{options.dheparams}"')


def _configure(context: ssl.SSLContext, options: TlsOptions) -> None:
    # The relay's channel relies on it: without renegotiation a write never wants to read.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # The protocol says itself where it ends. OpenSSL takes an end without a goodbye for an attack and would not even let us send
    # the replies that are due.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.set_alpn_protocols([ALPN])
    _set_versions(context, options.protocols)
    try:
        context.set_ciphers(cipher_list(options.ciphers))
    except ssl.SSLError:
        raise TlsSettingError("ciphers", f'OpenSSL knows no suite for "{options.ciphers}"') from None
    if options.tls13_ciphers and hasattr(context, "set_ciphersuites"):
        try:
            context.set_ciphersuites(options.tls13_ciphers)
        except ssl.SSLError:
            raise TlsSettingError("tls13_ciphers", f'OpenSSL knows no suite for "{options.tls13_ciphers}"') from None
    curve = options.ecdhcurve
    if curve.lower() not in _OPENSSLS_CHOICE and not _sets_curve(context, curve) and curve.lower() not in _NOT_ELLIPTIC:
        raise TlsSettingError("ecdhcurve", f'OpenSSL knows no curve "{curve}"')


def _sets_curve(context: ssl.SSLContext, name: str) -> bool:
    """Set the curve; whether that could be done."""
    try:
        context.set_ecdh_curve(name)
    except (ValueError, ssl.SSLError):
        return False
    return True


def _set_versions(context: ssl.SSLContext, text: str) -> None:
    allowed = parse_protocols(text)
    with warnings.catch_warnings():
        # Python warns of the old versions, and of the options that make holes; whoever asks for them knows.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = min(allowed)
        context.maximum_version = max(allowed)
        for version, name in _NO_VERSION.items():
            if version not in allowed and min(allowed) < version < max(allowed):
                context.options |= getattr(ssl, name)


def _load_identity(context: ssl.SSLContext, options: TlsOptions) -> None:
    _readable("key_file", options.key_file)
    _readable("cert_file", options.cert_file)
    locked = False

    def no_passphrase() -> str:
        nonlocal locked
        locked = True
        return ""

    try:
        context.load_cert_chain(options.cert_file, options.key_file, no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        if locked:
            raise TlsSettingError("key_file", f"{options.key_file}: is locked with a passphrase") from None
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            text = f"{options.key_file}: does not belong to the certificate in {options.cert_file}"
            raise TlsSettingError("key_file", text) from None
        if not _holds_certificate(options.cert_file):
            raise TlsSettingError("cert_file", f"{options.cert_file}: holds no usable certificate") from None
        raise TlsSettingError("key_file", f"{options.key_file}: {explain(error)}") from None


def _load_roots(context: ssl.SSLContext, options: TlsOptions, purpose: ssl.Purpose) -> None:
    if not options.ca_file:
        context.load_default_certs(purpose)
        return
    _readable("ca_file", options.ca_file)
    try:
        context.load_verify_locations(options.ca_file)
    except ssl.SSLError:
        raise TlsSettingError("ca_file", f"{options.ca_file}: holds no usable certificate") from None


def _holds_certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        return False
    return True


def _readable(name: str, path: str) -> None:
    """OpenSSL's own words for a file that cannot be read do not name it."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise TlsSettingError(name, f"{path}: {error.strerror}") from None


def explain(error: BaseException) -> str:
    """What went wrong in TLS, in words without source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
