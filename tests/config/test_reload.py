"""What a reload changes, and what it leaves for the next start."""

from __future__ import annotations

from pgpool_py.config import Change, Config, PoolMode, diff

from .conftest import Load


def two(loaded: Load, old: str, new: str) -> tuple[Config, Config]:
    return loaded("[pgbouncer]\n" + old), loaded("[pgbouncer]\n" + new)


def test_equal_configurations_change_nothing(loaded: Load) -> None:
    text = "verbose=1\n[databases]\na = host=h password=p\n[users]\nu = pool_size=1\n"
    outcome = diff(*two(loaded, text, "; moved by a line\n" + text))
    assert not (outcome.changed or outcome.needs_restart or outcome.recycle_all or outcome.recycled)
    assert not (outcome.adjusted or outcome.added or outcome.vanished or outcome.users_changed)
    assert not outcome.secrets_changed


def test_a_changeable_setting_takes_its_new_value(loaded: Load) -> None:
    outcome = diff(*two(loaded, "", "pool_mode = transaction\n"))
    assert outcome.changed == (Change("pool_mode", PoolMode.SESSION, PoolMode.TRANSACTION),)
    assert outcome.config.pgbouncer.pool_mode == "transaction"


def test_other_settings_wait_for_a_restart(loaded: Load) -> None:
    outcome = diff(*two(loaded, "listen_port = 1\n", "listen_port = 2\nverbose = 1\n"))
    assert outcome.needs_restart == (Change("listen_port", 1, 2),)
    assert [change.name for change in outcome.changed] == ["verbose"]
    assert outcome.config.pgbouncer.listen_port == 1


def test_databases_are_sorted_by_what_changed(loaded: Load) -> None:
    old = "[databases]\nmoved = host=a\nforced = host=a\nlimits = host=a\nsame = host=a\ngone = host=a\n"
    new = "[databases]\nmoved = host=b\nforced = host=a user=u\nlimits = host=a pool_size=1\n"
    new += "same = host=a\nnew = port=1\n"
    outcome = diff(*two(loaded, old, new))
    assert outcome.recycled == {"moved", "forced"}
    assert outcome.adjusted == {"limits"}
    assert outcome.added == {"new"}
    assert outcome.vanished == {"gone"}


def test_each_way_to_lead_elsewhere_recycles(loaded: Load) -> None:
    keys = ("dbname=x", "host=x", "port=1", "user=x", "connect_query=x", "auth_dbname=x", "auth_query=x")
    for key in (*keys, "load_balance_hosts=disable"):
        assert diff(*two(loaded, "[databases]\na =\n", f"[databases]\na = {key}\n")).recycled == {"a"}, key


def test_a_new_password_keeps_the_servers(loaded: Load) -> None:
    outcome = diff(
        *two(loaded, "[databases]\na = user=u password=p\n", "[databases]\na = user=u password=q\n")
    )
    assert outcome.recycled == frozenset()
    assert outcome.adjusted == {"a"}


def test_tls_with_servers_recycles_all(loaded: Load) -> None:
    assert diff(*two(loaded, "", "server_tls_sslmode = disable\n")).recycle_all
    assert not diff(*two(loaded, "", "client_tls_sslmode = prefer\n")).recycle_all


def test_users_and_secrets_are_compared(loaded: Load) -> None:
    old = loaded(
        "[pgbouncer]\nauth_file=u.txt\n[users]\na = pool_size=1\nb = pool_size=1\n", u__txt='"a" "1"\n'
    )
    new = loaded(
        "[pgbouncer]\nauth_file=u.txt\n[users]\na = pool_size=2\nc = pool_size=1\n", u__txt='"a" "2"\n'
    )
    outcome = diff(old, new)
    assert outcome.users_changed == {"a", "b", "c"}
    assert outcome.secrets_changed
