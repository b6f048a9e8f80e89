"""What each kind of value accepts; compared with PgBouncer 1.18 where it does not guess."""

from __future__ import annotations

import pytest

from pgpool_py.config import PgBouncerSettings, PoolMode

from .conftest import Load, Problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0x10", 16),
        ("0X1f", 31),
        ("010", 8),
        ("+7", 7),
        ("0", 0),
        ("-0", 0),
        ("2147483647", 2147483647),
    ],
)
def test_integers_are_read_as_c_does(loaded: Load, text: str, value: int) -> None:
    assert loaded(f"[pgbouncer]\ndefault_pool_size = {text}\n").pgbouncer.default_pool_size == value


@pytest.mark.parametrize(
    "text",
    ["ten", "", "10 ; twenty", "09", "0x", "1_0", "5s", "1.5", "-5", "99999999999", "٣", "1e2", "1" * 5000],
)
def test_other_integers_are_refused(problems: Problems, text: str) -> None:
    (problem,) = problems(f"[pgbouncer]\ndefault_pool_size = {text}\n")
    shown = text if len(text) < 80 else text[:77] + "..."
    assert problem == (
        f'pgbouncer.ini:2: [pgbouncer] default_pool_size: expected an integer of 0 or more, got "{shown}"'
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), (".5", 0.5), ("1e2", 100.0), ("0x10", 16.0), ("0x1p3", 8.0), ("007", 7.0), ("3600", 3600.0), ("1e99", 1e9)],
)
def test_times_are_seconds_with_fractions(loaded: Load, text: str, value: float) -> None:
    assert loaded(f"[pgbouncer]\nserver_lifetime = {text}\n").pgbouncer.server_lifetime == value


@pytest.mark.parametrize("text", ["inf", "nan", "-3", "5s", "", "1_0", "1e400"])
def test_other_times_are_refused(problems: Problems, text: str) -> None:
    (problem,) = problems(f"[pgbouncer]\nserver_lifetime = {text}\n")
    assert problem.endswith(f'server_lifetime: expected a number of seconds, 0 or more, got "{text}"')


@pytest.mark.parametrize(("text", "value"), [("0", False), ("1", True), ("0x1", True), ("45", True)])
def test_switches_are_integers(loaded: Load, text: str, value: bool) -> None:
    assert loaded(f"[pgbouncer]\nlog_connections = {text}\n").pgbouncer.log_connections is value


@pytest.mark.parametrize("text", ["yes", "on", "true", ""])
def test_words_are_no_switches(problems: Problems, text: str) -> None:
    assert problems(f"[pgbouncer]\nlog_connections = {text}\n") == [
        f'pgbouncer.ini:2: [pgbouncer] log_connections: expected 0 (off) or 1 (on), got "{text}"'
    ]


def test_words_are_told_in_any_case(loaded: Load) -> None:
    assert loaded("[pgbouncer]\npool_mode = TRANSACTION\n").pgbouncer.pool_mode is PoolMode.TRANSACTION


def test_a_wrong_word_lists_the_right_ones(problems: Problems) -> None:
    expected = "expected one of session, transaction, statement"
    assert problems("[pgbouncer]\npool_mode = query\n[databases]\na = pool_mode=x\n") == [
        f'pgbouncer.ini:2: [pgbouncer] pool_mode: {expected}, got "query"',
        f'pgbouncer.ini:4: [databases] a: pool_mode: {expected}, got "x"',
    ]


def test_file_modes_are_octal_by_their_zero(loaded: Load, problems: Problems) -> None:
    """[run] PgBouncer takes 777 as decimal, too; here that is a warning."""
    octal = loaded("[pgbouncer]\nunix_socket_mode = 0770\n")
    assert (octal.pgbouncer.unix_socket_mode, octal.warnings) == (0o770, ())
    decimal = loaded("[pgbouncer]\nunix_socket_mode = 777\n")
    assert decimal.pgbouncer.unix_socket_mode == 0o1411
    assert decimal.warnings == (
        "pgbouncer.ini:2: [pgbouncer] unix_socket_mode: is 01411: without a leading 0 it is read as decimal",
    )
    (problem,) = problems("[pgbouncer]\nunix_socket_mode = rwx\n")
    assert 'expected a file mode such as 0777 (a leading 0 makes it octal), got "rwx"' in problem


def test_lists_are_split_at_commas(loaded: Load) -> None:
    config = loaded("[pgbouncer]\nlisten_addr = 127.0.0.1 , ::1,\nadmin_users =\n")
    assert config.pgbouncer.listen_addr == ("127.0.0.1", "::1")
    assert config.pgbouncer.admin_users == ()


def test_entries_count_in_decimal(loaded: Load) -> None:
    """[run] pool_size=010 is ten in PgBouncer's entries."""
    assert loaded("[pgbouncer]\n[databases]\na = pool_size=010\n").databases["a"].pool_size == 10


def test_minus_one_in_an_entry_is_unset(loaded: Load) -> None:
    config = loaded("[pgbouncer]\n[databases]\na = pool_size=-1 query_wait_timeout=-1\n")
    assert config.databases["a"].pool_size is None
    assert config.query_wait_timeout("a", "u") == 120.0


def test_code_may_give_native_values() -> None:
    settings = PgBouncerSettings(default_pool_size=3, pool_mode=PoolMode.TRANSACTION, server_lifetime=1)
    assert (settings.default_pool_size, settings.pool_mode, settings.server_lifetime) == (3, "transaction", 1)
    with pytest.raises(ValueError, match="expected an integer of 0 or more"):
        PgBouncerSettings(default_pool_size=True)


def test_settings_are_immutable(loaded: Load) -> None:
    config = loaded("[pgbouncer]\n")
    with pytest.raises(ValueError, match="frozen"):
        config.pgbouncer.listen_port = 1
