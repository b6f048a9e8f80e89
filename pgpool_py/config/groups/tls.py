"""Settings of encryption on both sides. This version speaks no TLS: what would promise it is refused."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import File, SslMode, SslModeName, Text

_MUST = ("require", "verify-ca", "verify-full")
_CIPHERS = "Cipher suites up to TLS 1.2: an OpenSSL list, or `default`, `secure`, `fast`, `normal`, `all`."
_CIPHERS13 = "Cipher suites of TLS 1.3. Empty: the library's own."
_PROTOCOLS = "Versions allowed: a comma list of `tlsv1.0` to `tlsv1.3`, or `all`, `secure` (1.2 and 1.3)."


class ClientTls(Settings):
    """TLS with clients."""

    group: ClassVar[str] = "TLS with clients"

    client_tls_sslmode: SslModeName = setting(
        SslMode.DISABLE,
        "TLS with clients: `disable` answers that there is none; `allow` and `prefer` offer it; `require`"
        " insists;"
        " `verify-ca` and `verify-full` ask for a client certificate too.",
        refused=_MUST,
    )
    client_tls_key_file: File = setting("", "Our private key.", effective=False)
    client_tls_cert_file: File = setting("", "Our certificate.", effective=False)
    client_tls_ca_file: File = setting("", "Root certificates that clients' certificates are checked by.", effective=False)
    client_tls_protocols: Text = setting("secure", _PROTOCOLS, effective=False)
    client_tls_ciphers: Text = setting("default", _CIPHERS, effective=False)
    client_tls13_ciphers: Text = setting("", _CIPHERS13, effective=False)
    client_tls_ecdhcurve: Text = setting("auto", "Curve of the key exchange: `none`, `auto` or a name.", effective=False)
    client_tls_dheparams: Text = setting(
        "auto",
        "Diffie-Hellman parameters: `none`, `auto` (2048 bits) or `legacy` (1024 bits).",
        effective=False,
    )


class ServerTls(Settings):
    """TLS with servers."""

    group: ClassVar[str] = "TLS with servers"

    server_tls_sslmode: SslModeName = setting(
        SslMode.PREFER,
        "TLS with servers: `disable` never; `allow` and `prefer` when the server has it; `require` always;"
        " `verify-ca` with a certificate that a known root signed; `verify-full` with the host's name in it"
        " too.",
        refused=_MUST,
        recycles=True,
    )
    server_tls_ca_file: File = setting(
        "", "Root certificates that servers' certificates are checked by.", effective=False, recycles=True
    )
    server_tls_key_file: File = setting("", "Our private key as a client.", effective=False, recycles=True)
    server_tls_cert_file: File = setting("", "Our certificate as a client.", effective=False, recycles=True)
    server_tls_protocols: Text = setting("secure", _PROTOCOLS, effective=False, recycles=True)
    server_tls_ciphers: Text = setting("default", _CIPHERS, effective=False, recycles=True)
    server_tls13_ciphers: Text = setting("", _CIPHERS13, effective=False, recycles=True)
