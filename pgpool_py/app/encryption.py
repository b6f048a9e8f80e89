"""TLS as the configuration asks for it: one context for clients, one for servers, made anew at a start and at each reload.

Names the setting, file and line that a context could not be made of. Connections that exist keep theirs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from pgpool_py.backend.target import ServerTls
from pgpool_py.config import Config, ConfigError, Origin, Problem
from pgpool_py.config.values import Negotiation
from pgpool_py.frontend.encryption import ClientTls
from pgpool_py.tls.context import context_for_clients, context_for_servers, trusts_everybody, unsettable
from pgpool_py.tls.options import TlsOptions, TlsSettingError


@dataclass(frozen=True, slots=True)
class Encryption:
    """Both sides' TLS, and what the log says of it once."""

    clients: ClientTls = field(default_factory=ClientTls)
    servers: ServerTls = field(default_factory=ServerTls)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Encryption:
        """What *config* asks for; ConfigError with every setting that cannot be used."""
        problems: list[str] = []
        contexts: list[ssl.SSLContext | None] = []
        notes: list[str] = []
        make: Callable[[TlsOptions], ssl.SSLContext | None]
        for side, make in (("client", context_for_clients), ("server", context_for_servers)):
            options = options_of(config, side)
            try:
                contexts.append(make(options))
            except TlsSettingError as error:
                problems.append(str(_problem(config, _setting(side, error.name), error.text)))
                continue
            for name, text in unsettable(options):
                notes.append(str(_problem(config, _setting(side, name), text)))
            if trusts_everybody(options):
                name = f"{side}_tls_ca_file"
                notes.append(str(_problem(config, name, f"is not set: {options.mode} takes what the system's roots signed")))
        if problems:
            raise ConfigError(problems)
        main = config.pgbouncer
        return cls(
            ClientTls(main.client_tls_sslmode.value, contexts[0]),
            ServerTls(main.server_tls_sslmode.value, contexts[1], main.server_tls_negotiation is Negotiation.DIRECT),
            tuple(notes),
        )

    def renewed(self, old: Config, new: Config) -> Encryption:
        """This one, or that of *new* if a setting of TLS differs."""
        names = [name for name in type(old.pgbouncer).model_fields if "_tls_" in name or "_tls13_" in name]
        same = all(getattr(old.pgbouncer, name) == getattr(new.pgbouncer, name) for name in names)
        return self if same else Encryption.of(new)


def options_of(config: Config, side: str) -> TlsOptions:
    """The settings of one side, "client" or "server"."""
    main = config.pgbouncer

    def value(name: str) -> str:
        return str(getattr(main, _setting(side, name), "") or "")

    return TlsOptions(
        mode=value("sslmode"),
        key_file=value("key_file"),
        cert_file=value("cert_file"),
        ca_file=value("ca_file"),
        protocols=value("protocols") or "secure",
        ciphers=value("ciphers") or "default",
        tls13_ciphers=value("tls13_ciphers"),
        ecdhcurve=value("ecdhcurve") or "auto",
        dheparams=value("dheparams") or "auto",
    )


def _setting(side: str, name: str) -> str:
    return f"{side}_tls13_ciphers" if name == "tls13_ciphers" else f"{side}_tls_{name}"


def _problem(config: Config, name: str, text: str) -> Problem:
    origin = config.origins.get(("pgbouncer", name), Origin(config.path, 0))
    return Problem(origin, text, "pgbouncer", (name,))
