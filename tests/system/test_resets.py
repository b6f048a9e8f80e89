"""When a server is reset and when not, as the server sees it: a reset for nothing costs a round trip for each transaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system import stack, wire
from tests.system.middle import Middle

pytestmark = pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the executable under test resets session mode only")


@pytest.fixture(scope="module")
def watched_pooler(middle: Middle) -> Iterator[stack.Pooler]:
    with stack.Pooler(middle.address) as pooler:
        yield pooler
        pooler.end_now()


def resets(middle: Middle) -> int:
    return sum(b"DISCARD ALL" in body.upper() for body in middle.asked)


def test_settings_put_in_force_by_the_pooler_cost_no_reset(watched_pooler: stack.Pooler, middle: Middle) -> None:
    """pgcat #152, #444: its own SET made a server dirty, so each change of clients was followed by a reset, and that by a SET."""
    with (
        watched_pooler.connect("one", application_name="first", TimeZone="Asia/Tokyo") as first,
        watched_pooler.connect("one", application_name="second", options="-c search_path=pg_catalog") as second,
    ):
        middle.asked.clear()
        for _ in range(5):
            assert first.ask("select current_setting('TimeZone')") == "Asia/Tokyo"
            assert second.ask("select current_setting('search_path')") == "pg_catalog"
        assert sum(b'SET "' in body for body in middle.asked) >= 10, "the settings did change"
        assert resets(middle) == 0


def test_the_clients_own_discard_is_not_done_again(watched_pooler: stack.Pooler, middle: Middle) -> None:
    """pg_doorman #184: what a driver cleans up at the end of its checkout was cleaned a second time before the next client."""
    with watched_pooler.connect("one") as client, watched_pooler.connect("one") as other:
        client.query("set work_mem = '7MB'; set application_name = 'mine'")
        middle.asked.clear()
        assert wire.errors(client.query("DISCARD ALL")) == []
        assert other.ask("select current_setting('work_mem') || current_setting('application_name')") == "4MB"
        assert resets(middle) == 1
