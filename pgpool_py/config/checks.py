"""Rules that no single value can be judged by: what this version refuses, and settings that need one another.

Knows the rules only. Values that are wrong by themselves have been reported before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from pgpool_py.auth.outside import missing_extra
from pgpool_py.config.config import ADMIN_DATABASE, Config
from pgpool_py.config.errors import Origin, Problem, quoted
from pgpool_py.config.models import PgBouncerSettings
from pgpool_py.config.setting import Settings, meta_of, set_to_other_than_default, setting_fields
from pgpool_py.config.values import AuthType, Negotiation, SslMode

INSISTENT = frozenset({SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL})


def check(config: Config) -> Iterator[Problem]:
    """Every rule that *config* breaks."""
    yield from _refused(config)
    main = config.pgbouncer
    if main.server_tls_negotiation is Negotiation.DIRECT and main.server_tls_sslmode not in INSISTENT:
        yield _main_problem(config, "server_tls_negotiation", '"direct" needs server_tls_sslmode = require or more')
    for rule in config.hba.rules:
        if missing := missing_extra(rule.method):
            yield Problem(Origin(config.hba.name, rule.line), f"method {rule.method} {missing}")
    if missing := missing_extra(main.auth_type.value):
        yield _main_problem(config, "auth_type", f"{quoted(main.auth_type.value)} {missing}")
    if main.auth_type is AuthType.CERT:
        if main.client_tls_sslmode is not SslMode.VERIFY_FULL:
            yield _main_problem(config, "auth_type", '"cert" needs client_tls_sslmode = verify-full')
        if not main.client_tls_ca_file:
            yield _main_problem(config, "auth_type", '"cert" needs client_tls_ca_file')
    for name in ("resolv_conf", "dns_zone_check_period"):
        if getattr(main, name) and (missing := _missing_dns()):
            yield _main_problem(config, name, f"needs the package dnspython ({missing})")
    if main.metrics_listen_addr and (missing := _missing_prometheus()):
        text = f"needs the package prometheus-client: pip install 'pgpool_py[metrics]' ({missing})"
        yield _main_problem(config, "metrics_listen_addr", text)
    if main.auth_dbname == ADMIN_DATABASE:
        yield _main_problem(config, "auth_dbname", f"cannot be {quoted(ADMIN_DATABASE)}, the admin console")
    if not main.listen_addr and not main.unix_socket_dir and not os.environ.get("LISTEN_FDS"):
        yield _main_problem(config, "unix_socket_dir", "is empty and so is listen_addr: nowhere to listen")
    for name, database in config.databases.items():
        if database.auth_dbname == ADMIN_DATABASE:
            text = f"cannot be {quoted(ADMIN_DATABASE)}, the admin console"
            yield Problem(_origin(config, "databases", name), text, "databases", (name, "auth_dbname"))


def _missing_dns() -> str | None:
    """Why name servers cannot be asked, if so. Everything is imported here, at start: later the process may be a user who
    cannot read it, and dnspython takes a type of record it cannot import for one that nobody knows."""
    try:
        import dns.asyncbackend
        import dns.asyncresolver
        import dns.rdata
        from dns.rdataclass import IN
        from dns.rdatatype import AAAA, CNAME, OPT, SOA, A

        dns.asyncbackend.get_backend("asyncio")
        for kind in (A, AAAA, CNAME, OPT, SOA):
            dns.rdata.get_rdata_class(IN, kind)  # type: ignore[no-untyped-call]
    except ImportError as error:
        return str(error)
    return None


def _missing_prometheus() -> str | None:
    """Why metrics cannot be written, if so. Imported here for the same reason."""
    try:
        import prometheus_client.core  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def doubts(config: Config) -> Iterator[Problem]:
    """What is taken as it stands, and is hardly what was meant."""
    mode = config.pgbouncer.unix_socket_mode
    if mode > 0o777:
        yield _main_problem(config, "unix_socket_mode", f"is 0{mode:o}: without a leading 0 it is read as decimal")


_IGNORED = "accepted, but this version does not act on it"


def not_yet_effective(config: Config) -> list[str]:
    """One line for each setting with another value than its default that is not acted on, yet or at all."""
    lines = [f"{_origin(config, 'pgbouncer', name)}: [pgbouncer] {name}: {why}" for name, why in _ignored(config.pgbouncer)]
    for section, entries in (
        ("databases", config.databases),
        ("users", config.users),
        ("peers", config.peers),
    ):
        for key, entry in entries.items():
            origin = _origin(config, section, str(key))
            lines += [f"{origin}: [{section}] {key}: {name}: {why}" for name, why in _ignored(entry)]
    return lines


def moot_variables(environment: Mapping[str, str]) -> list[str]:
    """One line for each variable by which PgBouncer's libevent is told what to do."""
    names = sorted(name for name in environment if name.startswith("EVENT_NO") or name == "EVENT_SHOW_METHOD")
    return [f"environment: {name}: accepted, it has no meaning here: there is no libevent" for name in names]


def _ignored(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in set_to_other_than_default(settings):
        meta = meta_of(type(settings), name)
        if meta.moot:
            yield name, f"accepted, it has no meaning here: {meta.moot}"
        elif not meta.effective:
            yield name, _IGNORED


def _refused(config: Config) -> Iterator[Problem]:
    """What cannot be done and must not be left out in silence."""
    for name in setting_fields(PgBouncerSettings):
        value = getattr(config.pgbouncer, name)
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if text in meta_of(PgBouncerSettings, name).refused:
            yield _main_problem(config, name, f"{quoted(text)} is not supported by this version yet")


def _main_problem(config: Config, key: str, text: str) -> Problem:
    return Problem(_origin(config, "pgbouncer", key), text, "pgbouncer", (key,))


def _origin(config: Config, section: str, key: str) -> Origin:
    return config.origins.get((section, key), Origin(config.path, 0))
