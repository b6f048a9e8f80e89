"""Settings of encryption on both sides."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import File, Negotiation, NegotiationName, SslMode, SslModeName, Text

_CIPHERS = "Cipher suites up to TLS 1.2: an OpenSSL list, or `default`, `secure`, `fast`, `normal`, `all`."
_CIPHERS13 = "Cipher suites of TLS 1.3. Empty: OpenSSL's own. Acted on where Python can set them (3.15), else start-up says so."
_PROTOCOLS = "Versions allowed: a comma list of `tlsv1.0` to `tlsv1.3`, or `all`, `secure` (1.2 and 1.3)."


class ClientTls(Settings):
    """TLS with clients."""

    group: ClassVar[str] = "TLS with clients"

    client_tls_sslmode: SslModeName = setting(
        SslMode.DISABLE,
        "TLS with clients over TCP: `disable` answers that there is none; `allow` and `prefer` offer it; `require`"
        " insists; `verify-ca` and `verify-full` insist on a client certificate that a known root signed, too.",
    )
    client_tls_key_file: File = setting("", "Our private key.")
    client_tls_cert_file: File = setting("", "Our certificate.")
    client_tls_ca_file: File = setting(
        "",
        "Root certificates that clients' certificates are checked by. Empty: the system's where the mode insists on"
        " certificates; else none is asked for.",
    )
    client_tls_protocols: Text = setting("secure", _PROTOCOLS)
    client_tls_ciphers: Text = setting("default", _CIPHERS)
    client_tls13_ciphers: Text = setting("", _CIPHERS13)
    client_tls_ecdhcurve: Text = setting("auto", "Curve of the key exchange: `none`, `auto` or a name.")
    client_tls_dheparams: Text = setting(
        "auto",
        "Diffie-Hellman parameters: `none`, `auto` (2048 bits) or `legacy` (1024 bits). Taken, and left to OpenSSL.",
    )


class ServerTls(Settings):
    """TLS with servers."""

    group: ClassVar[str] = "TLS with servers"

    server_tls_sslmode: SslModeName = setting(
        SslMode.PREFER,
        "TLS with servers over TCP: `disable` never; `allow` and `prefer` when the server has it; `require` always;"
        " `verify-ca` with a certificate that a known root signed; `verify-full` with the host's name in it"
        " too.",
        recycles=True,
    )
    server_tls_ca_file: File = setting(
        "", "Root certificates that servers' certificates are checked by. Empty: the system's.", recycles=True
    )
    server_tls_key_file: File = setting("", "Our private key as a client.", recycles=True)
    server_tls_cert_file: File = setting("", "Our certificate as a client.", recycles=True)
    server_tls_protocols: Text = setting("secure", _PROTOCOLS, recycles=True)
    server_tls_ciphers: Text = setting("default", _CIPHERS, recycles=True)
    server_tls13_ciphers: Text = setting("", _CIPHERS13, recycles=True)
    server_tls_negotiation: NegotiationName = setting(
        Negotiation.POSTGRES,
        "How TLS with a server begins: `postgres` asks first; `direct` begins at once, which PostgreSQL has from version 17"
        " on, saves a round trip, and needs a mode that insists.",
        own=True,
        recycles=True,
    )
