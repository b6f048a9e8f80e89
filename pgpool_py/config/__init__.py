"""The settings: PgBouncer's ini file, checked and documented. Start at models.py; `load` is the way in."""

from pgpool_py.config.checks import moot_variables, not_yet_effective
from pgpool_py.config.config import ADMIN_DATABASE, FALLBACK, Config
from pgpool_py.config.errors import ConfigError, Origin, Problem
from pgpool_py.config.load import change_setting, load
from pgpool_py.config.models import DatabaseSettings, PeerSettings, PgBouncerSettings, UserSettings
from pgpool_py.config.reload import Change, Diff, diff
from pgpool_py.config.values import AuthType, LoadBalance, Placeholders, PoolMode, SessionPin, SessionState, SslMode

__all__ = [
    "ADMIN_DATABASE",
    "FALLBACK",
    "AuthType",
    "Change",
    "Config",
    "ConfigError",
    "DatabaseSettings",
    "Diff",
    "LoadBalance",
    "Origin",
    "PeerSettings",
    "PgBouncerSettings",
    "Placeholders",
    "PoolMode",
    "Problem",
    "SessionPin",
    "SessionState",
    "SslMode",
    "UserSettings",
    "change_setting",
    "diff",
    "load",
    "moot_variables",
    "not_yet_effective",
]
