"""Names of servers: how long an answer is used, what a failure is worth, and that addresses take turns."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from pgpool_py.backend import hosts
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.hosts import Names
from pgpool_py.backend.target import ServerAddress


class Zone:
    """What the resolver says; it counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def look_up(self, host: str, port: int) -> list[ServerAddress]:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.addresses:
            raise ServerConnectError("08001", f"cannot look up server {host}", "server DNS lookup failed")
        return [ServerAddress(socket.AF_INET, (address, port)) for address in self.addresses]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    made = Zone("10.0.0.1", "10.0.0.2", "10.0.0.3")
    monkeypatch.setattr(hosts, "look_up", made.look_up)
    return made


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 10))


async def first(names: Names) -> str:
    return str((await names.resolve("db", 5432))[0])


def test_an_answer_is_used_for_its_time(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        names.configure(3600, 0, 0)
        await asyncio.gather(*(names.resolve("db", 5432) for _ in range(5)))
        assert zone.asked == 1  # whoever comes while the question is under way waits for its answer
        names.configure(0, 0, 0)
        await names.resolve("db", 5432)
        assert zone.asked == 2

    run(story())


def test_addresses_take_turns(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        seen = [await first(names) for _ in range(6)]
        assert seen == ["10.0.0.1:5432", "10.0.0.2:5432", "10.0.0.3:5432"] * 2
        assert len(await names.resolve("db", 5432)) == 3

    run(story())


def test_a_failure_is_remembered_for_its_own_time(zone: Zone) -> None:
    async def story() -> None:
        zone.addresses = ()
        names = Names()
        names.configure(3600, 3600, 0)
        for _ in range(3):
            with pytest.raises(ServerConnectError, match="cannot look up server db"):
                await names.resolve("db", 5432)
        assert zone.asked == 1
        names.configure(3600, 0, 0)
        zone.addresses = ("10.0.0.9",)
        assert await first(names) == "10.0.0.9:5432"

    run(story())


def test_a_resolver_that_is_away_unmakes_nothing(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        names.configure(0, 0, 0)
        await names.resolve("db", 5432)
        zone.addresses = ()
        assert len(await names.resolve("db", 5432)) == 3

    run(story())


def test_addresses_that_are_gone_are_told(zone: Zone) -> None:
    """dns_zone_check_period looks though the answer is fresh; servers at gone addresses are to be closed."""

    async def story() -> None:
        told: list[set[ServerAddress]] = []
        names = Names(told.append)
        names.configure(3600, 0, 0.001)
        await names.resolve("db", 5432)
        zone.addresses = ("10.0.0.3", "10.0.0.4")
        await asyncio.sleep(0.002)
        names.tick(asyncio.get_running_loop().time())
        while not told:
            await asyncio.sleep(0)
        assert {str(address) for address in told[0]} == {"10.0.0.1:5432", "10.0.0.2:5432"}
        assert {str(address) for address in await names.resolve("db", 5432)} == {"10.0.0.3:5432", "10.0.0.4:5432"}

    run(story())


def test_literal_addresses_are_never_asked_about(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        for host in ("127.0.0.1", "::1", "/tmp", "@abstract"):
            assert len(await names.resolve(host, 5432)) == 1
        assert zone.asked == 0

    run(story())


def test_answers_are_shown(zone: Zone) -> None:
    """SHOW DNS_HOSTS: each name, for how long its answer will be used, its addresses."""

    async def story() -> None:
        names = Names()
        names.configure(3600, 15, 0)
        await names.resolve("db", 5432)
        now = asyncio.get_running_loop().time()
        assert list(names.shown(now + 10.5)) == [("db", 3589, "10.0.0.1,10.0.0.2,10.0.0.3")]

    run(story())
