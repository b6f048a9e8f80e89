"""What a reload changes: the difference between two configurations, and the one to go on with.

Knows which changes make server connections unusable. Does not carry anything out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pgpool_py.config.config import Config
from pgpool_py.config.models import DatabaseSettings, PgBouncerSettings
from pgpool_py.config.setting import Settings, meta_of, setting_fields


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of [pgbouncer] with its value before and after."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Diff:
    """The outcome of `diff`. Database names are entries; "*" stands for every database that was made from"
    " it."""

    config: Config
    """The new configuration, except that settings which cannot change while running keep their old value."""
    changed: tuple[Change, ...] = ()
    """Settings of [pgbouncer] that take their new value now."""
    needs_restart: tuple[Change, ...] = ()
    """Settings that keep their old value until the next start."""
    recycle_all: bool = False
    """Every server connection must be replaced once it is released (a TLS setting changed)."""
    recycled: frozenset[str] = field(default_factory=frozenset)
    """Entries whose servers must be replaced once released: they lead elsewhere, or as somebody else."""
    adjusted: frozenset[str] = field(default_factory=frozenset)
    """Entries of which only limits and the like changed; their servers may stay."""
    added: frozenset[str] = field(default_factory=frozenset)
    vanished: frozenset[str] = field(default_factory=frozenset)
    """Entries that are gone: their clients and servers are closed at once, unless "*" now serves the name."""
    users_changed: frozenset[str] = field(default_factory=frozenset)
    """Entries of [users] that were added, altered or removed."""
    secrets_changed: bool = False
    """Whether the user list differs."""


def diff(old: Config, new: Config) -> Diff:
    """What going from *old* to *new* means for a running pooler."""
    changes = tuple(_changes(old.pgbouncer, new.pgbouncer))
    fixed = tuple(change for change in changes if not meta_of(PgBouncerSettings, change.name).changeable)
    live = tuple(change for change in changes if change not in fixed)
    kept = new.pgbouncer.model_copy(update={change.name: change.old for change in fixed})
    both = old.databases.keys() & new.databases.keys()
    recycled = frozenset(name for name in both if _leads_elsewhere(old.databases[name], new.databases[name]))
    return Diff(
        config=new.model_copy(update={"pgbouncer": kept}),
        changed=live,
        needs_restart=fixed,
        recycle_all=any(meta_of(PgBouncerSettings, change.name).recycles for change in live),
        recycled=recycled,
        adjusted=frozenset(name for name in both if old.databases[name] != new.databases[name]) - recycled,
        added=frozenset(new.databases.keys() - old.databases.keys()),
        vanished=frozenset(old.databases.keys() - new.databases.keys()),
        users_changed=frozenset(
            name for name in old.users.keys() | new.users.keys() if old.users.get(name) != new.users.get(name)
        ),
        secrets_changed=dict(old.userlist) != dict(new.userlist),
    )


def _changes(old: Settings, new: Settings) -> list[Change]:
    return [
        Change(name, getattr(old, name), getattr(new, name))
        for name in setting_fields(type(old))
        if getattr(old, name) != getattr(new, name)
    ]


def _leads_elsewhere(old: DatabaseSettings, new: DatabaseSettings) -> bool:
    return any(meta_of(DatabaseSettings, change.name).recycles for change in _changes(old, new))
