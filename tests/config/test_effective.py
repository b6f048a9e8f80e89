"""Which level decides: the user's entry, then the database's, then [pgbouncer]; and what "*" stands for."""

from __future__ import annotations

import pytest

from pgpool_py.app.catalogs import Catalogs
from pgpool_py.app.place import Place, fresh_settings
from pgpool_py.app.timeouts import Timeouts
from pgpool_py.config import Config, DatabaseSettings, UserSettings
from pgpool_py.config.setting import setting_fields
from pgpool_py.pool.pools import Pools

from .conftest import Load

TIMES = {"query_timeout", "transaction_timeout", "idle_transaction_timeout", "client_idle_timeout"}  # see the test of these
TEXT = """\
[pgbouncer]
pool_mode = transaction
default_pool_size = 10
reserve_pool_size = 1
query_wait_timeout = 60
[databases]
app = pool_size=5 pool_mode=session query_wait_timeout=0 max_db_connections=7 server_lifetime=1.5
forced = user=owner dbname=real
* = host=other reserve_pool=4
[users]
web = pool_size=3 pool_mode=statement query_wait_timeout=2.5
owner = max_user_connections=9
"""


@pytest.fixture
def config(loaded: Load) -> Config:
    return loaded(TEXT)


def test_the_user_goes_before_the_database(config: Config) -> None:
    assert config.pool_size("app", "web") == 3
    assert config.pool_mode("app", "web") == "statement"
    assert config.query_wait_timeout("app", "web") == 2.5


def test_the_database_goes_before_the_rest(config: Config) -> None:
    assert config.pool_size("app", "other") == 5
    assert config.pool_mode("app", "other") == "session"
    assert config.query_wait_timeout("app", "other") == 0.0
    assert config.max_db_connections("app") == 7
    assert config.server_lifetime("app") == 1.5


def test_the_main_section_decides_what_is_left(config: Config) -> None:
    assert config.pool_size("forced", "other") == 10
    assert config.pool_mode("forced", "other") == "transaction"
    assert config.reserve_pool_size("app", "web") == 1
    assert config.min_pool_size("app") == 0
    assert config.max_user_connections("web") == 0
    assert config.effective("app", "web", "client_idle_timeout") == 0.0


def test_a_database_without_entry_is_made_from_the_star(config: Config) -> None:
    made = config.find_database("unheard")
    assert made is not None
    assert (made.name, made.dbname, made.host) == ("unheard", "unheard", "other")
    assert config.reserve_pool_size("unheard", "x") == 4


def test_no_star_means_no_database(loaded: Load) -> None:
    assert loaded("[pgbouncer]\n[databases]\na = host=h\n").find_database("b") is None


def test_dbname_defaults_to_the_entry(config: Config) -> None:
    names = [
        (found.name, found.dbname) for name in ("app", "forced") if (found := config.find_database(name))
    ]
    assert names == [("app", "app"), ("forced", "real")]


def test_a_forced_user_is_the_pools(config: Config) -> None:
    forced, app = config.find_database("forced"), config.find_database("app")
    assert forced is not None
    assert app is not None
    assert config.pool_user(forced, "web") == "owner"
    assert config.pool_user(app, "web") == "web"
    assert config.max_user_connections("owner") == 9


@pytest.mark.parametrize("key", list(setting_fields(UserSettings)))
def test_an_entry_for_one_user_changes_nothing_for_another(loaded: Load, key: str) -> None:
    """PgBouncer's client_idle_timeout for one user disconnects all others; here no key of [users] reaches anybody else."""
    value = {"pool_mode": "statement", "session_state": "reset", "session_pin": "error"}.get(key, "7")
    without = loaded(TEXT)
    within = loaded(TEXT.replace("[users]", f"[users]\nx = {key}={value}"))
    for user in ("y", "web"):
        assert within.effective("app", user, key) == without.effective("app", user, key)
        assert Timeouts(within).by_user.get(user) == Timeouts(without).by_user.get(user)
    assert Timeouts(within).default == Timeouts(without).default
    assert within.effective("forced", "x", key) != without.effective("forced", "x", key)


CONTEXT = ("pooling", "statement_pooling", "watching", "keeping", "pin_mode", "pin_timeout", "reset_query")
VALUES = {
    "pool_mode": "statement",
    "session_state": "reset",
    "session_pin": "error",
    "load_balance_hosts": "disable",
    "target_session_attrs": "primary",
}


def as_in_force(config: Config, database: str, user: str) -> list[str]:
    """What a pool of this database and user, and its servers, are made of."""
    entry = config.find_database(database)
    assert entry is not None
    place = Place(entry, config.pool_user(entry, user), Pools().get(database, user, fresh_settings()), Catalogs())
    place.configure(config)
    context = {name: getattr(place.context, name) for name in CONTEXT}
    limits = (config.max_db_connections(entry), config.max_user_connections(user))
    clients = [config.effective(entry, user, f"max_{whose}_client_connections") for whose in ("db", "user")]
    return [repr(part) for part in (place.pool.settings, context, place.mode, place.target(config), entry, limits, clients)]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *(("databases", key) for key in setting_fields(DatabaseSettings)),
        *(("users", key) for key in setting_fields(UserSettings) if key not in TIMES),
    ],
)
def test_an_entry_is_about_nobody_else(loaded: Load, section: str, key: str) -> None:
    """Each key changes something for who is named, and nothing for any other database and user."""
    bare = "[pgbouncer]\npool_mode = transaction\n[databases]\nx = host=h,g\ny = host=h,g\n* = host=h\n[users]\nu =\nv =\n"
    without = loaded(bare)
    name, line = ("x", "x = host=h,g") if section == "databases" else ("u", "u =")
    value = VALUES.get(key, "7")
    within = loaded(bare.replace(f"{line}\n", f"{line} {key}={value}\n"))
    others = [("y", "v"), ("made", "v"), ("y", "u" if name == "x" else "v"), ("x" if name == "u" else "y", "v")]
    for database, user in others:
        assert as_in_force(within, database, user) == as_in_force(without, database, user)
    assert as_in_force(within, "x", "u") != as_in_force(without, "x", "u")
