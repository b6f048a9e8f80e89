"""Thousands of requests in one pipeline: the work for each does not grow with their number, which would hold up all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER or stack.NONE, reason="the CPU time of our own process is compared")

FAILS = wire.parse("", "x")
RUNS = wire.bind("", "") + wire.execute()
# What is sent *count* times, and how many ReadyForQuery are owed for all of it.
PIPELINES: dict[str, Callable[[int], tuple[bytes, int]]] = {
    "Parses that fail": lambda count: ((FAILS + wire.sync()) * count, count),
    "batches whose beginning fails": lambda count: ((FAILS + wire.parse("", "select 1") + RUNS + wire.sync()) * count, count),
    "Binds of one Parse": lambda count: (wire.parse("", "select 1") + RUNS * count + wire.sync(), 1),
    "Describes of one Parse": lambda count: (wire.parse("", "select 1") + wire.describe_statement("") * count + wire.sync(), 1),
}


@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
def test_four_times_as_many_requests_are_four_times_the_work(
    pooler: stack.Pooler, direct: Callable[..., RawClient], pipeline: Callable[[int], tuple[bytes, int]]
) -> None:
    """All of them are owed an answer at once: the server is busy until the last one was sent."""
    with direct() as holder, pooler.connect("one") as client:

        def work(count: int) -> int:
            data, batches = pipeline(count)
            holder.query("select pg_advisory_lock(4711)")
            before = cpu(pooler)
            client.send(wire.query("select 1 from pg_advisory_xact_lock_shared(4711)"), data)
            stack.wait_taken(client)
            holder.query("select pg_advisory_unlock(4711)")
            client.until("Z", 1 + batches)
            return cpu(pooler) - before

        work(10)
        assert work(32000) < 8 * work(8000)  # of fewer the compiled build makes so little that others' work counts for more


def cpu(pooler: stack.Pooler) -> int:
    """Nanoseconds of CPU that the process has used."""
    return int(Path(f"/proc/{pooler.pid}/schedstat").read_text().split()[0])
