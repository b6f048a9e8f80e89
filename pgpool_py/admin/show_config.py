"""SHOW CONFIG, and SHOW CONFIG FULL with what PgBouncer's four columns have no room for.

Every setting of [pgbouncer] with the value in force. FULL adds where it was written, and what a reload has read that only
a restart will put in force. Exporters count the columns of SHOW CONFIG, so they stay four.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgpool_py.admin.table import Row, Value, columns
from pgpool_py.admin.world import World
from pgpool_py.config import PgBouncerSettings
from pgpool_py.config.docs import default_text, value_text
from pgpool_py.config.setting import meta_of, setting_fields

CONFIG = columns("key value default changeable")
CONFIG_FULL = columns("key value default changeable file line:i pending effective")

# Where PgBouncer has no default at all, as opposed to an empty text.
_NO_DEFAULT = frozenset(
    {
        "auth_dbname",
        "auth_file",
        "auth_ident_file",
        "auth_ldap_options",
        "auth_user",
        "client_tls13_ciphers",
        "conffile",
        "server_tls13_ciphers",
        "user",
        "verbose",
    }
)
# Alphabetical but for one pair, then our own.
_NAMES = sorted(
    setting_fields(PgBouncerSettings),
    key=lambda name: (meta_of(PgBouncerSettings, name).own, name.replace("pool_mode", "pool_idle_time")),
)


def config(world: World) -> Iterator[Row]:
    for name in _NAMES:
        yield _four(world, name)


def config_full(world: World) -> Iterator[Row]:
    for name in _NAMES:
        origin = world.config.origins.get(("pgbouncer", name))
        pending = value_text(PgBouncerSettings, name, world.pending[name]) if name in world.pending else None
        meta = meta_of(PgBouncerSettings, name)
        where = (origin.file, origin.line or None) if origin is not None else (None, None)
        yield (*_four(world, name), *where, pending, "yes" if meta.effective else "no")


def pending_lines(world: World) -> list[str]:
    """One line for each setting that waits for a restart."""
    lines = []
    for name, value in world.pending.items():
        origin = world.config.origins.get(("pgbouncer", name))
        at = f" ({origin})" if origin is not None else ""
        lines.append(f"{name} = {value_text(PgBouncerSettings, name, value)} waits for a restart{at}")
    return lines


def _four(world: World, name: str) -> Row:
    meta = meta_of(PgBouncerSettings, name)
    value = getattr(world.config.pgbouncer, name)
    default: Value = default_text(setting_fields(PgBouncerSettings)[name])
    shown: Value = world.config.path if name == "conffile" and not value else value_text(PgBouncerSettings, name, value)
    if name in _NO_DEFAULT:
        shown, default = shown or None, None
    return (name, shown, default, "yes" if meta.changeable else "no")
