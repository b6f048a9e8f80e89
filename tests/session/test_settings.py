"""Maps of settings: one object for equal ones, and none that outlives its use."""

from __future__ import annotations

import gc
import time

from pgpool_py.session.settings import Settings, SettingsTable, difference
from pgpool_py.session.spelling import assignment


def alive() -> int:
    gc.collect()
    return sum(isinstance(each, Settings) for each in gc.get_objects())


def test_maps_that_followed_each_other_do_not_keep_each_other() -> None:
    """Two clients that share a server and set a value for each request: each map leads to the next one."""
    table = SettingsTable(limit=50)
    before = alive()
    in_force = table.empty
    for number in range(1000):
        wanted = table.get({b"application_name": b"request %d" % number})
        assert difference(in_force, wanted)
        in_force = wanted
    assert alive() - before < 150


def test_what_may_end_a_difference_is_taken_back_first() -> None:
    """Another client's timeouts are none of the next one's; its own come behind what it has set."""
    table = SettingsTable()
    hasty = table.get({b"DateStyle": b"German", b"statement_timeout": b"5ms", b"work_mem": b"5MB"})
    calm = table.get({b"TimeZone": b"UTC", b"search_path": b"x"})
    (text,) = difference(hasty, calm)
    assert text.index(b"statement_timeout") < min(text.index(word) for word in (b"TimeZone", b"DateStyle", b"search_path"))
    (text,) = difference(calm, hasty)
    assert text.index(b"statement_timeout") > text.index(b"DateStyle")
    (text,) = difference(hasty, table.get({b"statement_timeout": b"7ms", b"role": b"other"}))
    assert text.index(b"RESET") < text.index(b"role") < text.index(b"7ms")


def test_lists_of_any_length_take_time_as_they_are_long() -> None:
    """A value that only nearly is a list as SET writes it was tried in all ways, while everybody waited."""

    def takes(count: int) -> float:
        began = time.perf_counter()
        assignment(b"search_path", b'"' + b'""' * count + b'",b')
        return time.perf_counter() - began

    assert min(takes(32_000) for _ in range(5)) < 40 * min(takes(2_000) for _ in range(5)), "16 would be fair"


def test_lists_are_said_as_set_writes_them() -> None:
    assert assignment(b"search_path", b'a, "B c", "d""e"') == b"\"search_path\" = E'a', E'B c', E'd\"e'"
    for other in (b'"a"', b'""', b"a,b", b'a, "b', b"select", b'a, "select"', b"A", b""):
        assert assignment(b"search_path", other) is None, other


def test_lists_are_set_while_nothing_is_put_in_quotes() -> None:
    """quote_all_identifiers is off meanwhile; where nobody has it on nothing is said of it."""
    table = SettingsTable()
    path, quoting = table.get({b"search_path": b"x"}), table.get({b"quote_all_identifiers": b"on"})
    both = table.get({**path.values, **quoting.values})
    assert b"quote" not in difference(table.empty, path)[0]
    assert difference(table.empty, quoting)[0].count(b"quote") == 1
    for old, new in ((table.empty, both), (quoting, path), (quoting, both)):
        (text,) = difference(old, new)
        assert text.index(b"E'off'") < text.index(b"search_path") < text.rindex(b"quote_all_identifiers")
