"""Names of servers: how long an answer is used, what a failure is worth, and that addresses take turns."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgpool_py.backend import hosts
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.hosts import Names, is_newer
from pgpool_py.backend.nameservers import LookupFailed, NameServers, in_hosts_file
from pgpool_py.backend.target import ServerAddress
from tests.fixtures.dnsserver import DnsServer


class Zone:
    """What the resolver says; it counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def look_up(self, host: str, servers: object = None) -> list[ServerAddress]:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.addresses:
            raise ServerConnectError("08001", f"cannot look up server {host}", "server DNS lookup failed")
        return [ServerAddress(socket.AF_INET, (address, 0)) for address in self.addresses]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    made = Zone("10.0.0.1", "10.0.0.2", "10.0.0.3")
    monkeypatch.setattr(hosts, "look_up", made.look_up)
    return made


def play(coroutine: Coroutine[Any, Any, None]) -> None:
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

    play(story())


def test_addresses_take_turns(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        seen = [await first(names) for _ in range(6)]
        assert seen == ["10.0.0.1:5432", "10.0.0.2:5432", "10.0.0.3:5432"] * 2
        assert len(await names.resolve("db", 5432)) == 3

    play(story())


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

    play(story())


def test_a_resolver_that_is_away_unmakes_nothing(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        names.configure(0, 0, 0)
        await names.resolve("db", 5432)
        zone.addresses = ()
        assert len(await names.resolve("db", 5432)) == 3

    play(story())


def test_addresses_that_are_gone_are_told(zone: Zone) -> None:
    """A name without a zone is looked up every dns_zone_check_period though its answer is fresh."""

    async def story() -> None:
        told: list[tuple[str, set[ServerAddress]]] = []
        names = Names(lambda host, gone: told.append((host, gone)))
        names.configure(3600, 0, 10)
        await names.resolve("db", 5432)
        zone.addresses = ("10.0.0.3", "10.0.0.4")
        now = asyncio.get_running_loop().time()
        names.tick(now)
        names.tick(now + 9)
        assert names.under_way == 0
        names.tick(now + 10)
        while not told:
            await asyncio.sleep(0)
        assert told[0][0] == "db" and {str(address) for address in told[0][1]} == {"10.0.0.1:0", "10.0.0.2:0"}
        assert {str(address) for address in await names.resolve("db", 5432)} == {"10.0.0.3:5432", "10.0.0.4:5432"}

    play(story())


def test_literal_addresses_are_never_asked_about(zone: Zone) -> None:
    async def story() -> None:
        names = Names()
        for host in ("127.0.0.1", "::1", "/tmp", "@abstract"):
            assert len(await names.resolve(host, 5432)) == 1
        assert zone.asked == 0

    play(story())


def test_answers_are_shown(zone: Zone) -> None:
    """SHOW DNS_HOSTS: each name, for how long its answer will be used, its addresses."""

    async def story() -> None:
        names = Names()
        names.configure(3600, 15, 0)
        await names.resolve("db", 5432)
        now = asyncio.get_running_loop().time()
        assert list(names.shown(now + 10.5)) == [("db", 3589, "10.0.0.1,10.0.0.2,10.0.0.3")]

    play(story())


# --- name servers ---

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as running:
        running.names = {"db.example.test": ["10.0.0.1", "10.0.0.2", "fd00::1"], "six.deep.down.example.test": ["fd00::6"]}
        yield running


@pytest.fixture
def servers(server: DnsServer, tmp_path: Path) -> NameServers:
    path = tmp_path / "resolv.conf"
    path.write_text(server.resolver_file + "search example.test\n")
    return NameServers(str(path))


def looked_up(run: Run, servers: NameServers, host: str) -> list[str]:
    return sorted(str(address) for address in run(servers.addresses(host)))


def test_name_servers_of_a_file(run: Run, servers: NameServers) -> None:
    """Both kinds of addresses, names without a dot by the search list, the file of hosts first."""
    assert looked_up(run, servers, "db.example.test") == ["10.0.0.1:0", "10.0.0.2:0", "[fd00::1]:0"]
    assert looked_up(run, servers, "db") == ["10.0.0.1:0", "10.0.0.2:0", "[fd00::1]:0"]
    assert looked_up(run, servers, "six.deep.down.example.test") == ["[fd00::6]:0"]
    assert "127.0.0.1:0" in looked_up(run, servers, "localhost")


@pytest.mark.parametrize(
    ("host", "words"),
    [("no.example.test", "no such name"), ("down.example.test", "the name has no address"), ("x" * 300, "label")],
)
def test_name_servers_that_know_no_address(run: Run, servers: NameServers, host: str, words: str) -> None:
    with pytest.raises(LookupFailed, match=words):
        run(servers.addresses(host))


def test_name_servers_that_are_silent(run: Run, server: DnsServer, servers: NameServers) -> None:
    servers.current().lifetime = 0.1
    server.silent = True
    for question in (servers.addresses("db.example.test"), servers.serial("example.test")):
        with pytest.raises(LookupFailed, match="no name server answers"):
            run(question)


def test_the_serial_number_of_a_zone(run: Run, server: DnsServer, servers: NameServers) -> None:
    """Also of the zone around a name that is none itself; a zone that does not exist has none."""
    assert run(servers.serial("example.test")) == server.serial
    assert run(servers.serial("down.example.test")) == server.serial
    assert run(servers.serial("nowhere.example.test")) is None


def test_a_resolver_file_is_read_again(run: Run, server: DnsServer, servers: NameServers) -> None:
    path = Path(servers.path)
    good = path.read_text()
    for text, words in (("", "no name server in it"), ("nameserver 10.0.0.1:x", "no address of a name server")):
        path.write_text(text)
        os.utime(path, ns=(0, len(words)))
        with pytest.raises(LookupFailed, match=words):
            run(servers.serial("example.test"))
    path.write_text(good.replace("127.0.0.1:", "[::ffff:127.0.0.1]:"))
    assert run(servers.serial("example.test")) == server.serial
    path.unlink()
    with pytest.raises(LookupFailed, match="No such file"):
        run(servers.serial("example.test"))


def test_the_file_of_hosts(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# comment\n10.0.0.5 db DB2 # the new one\nfd00::5\tdb\n\n10.0.0.6 other\n")
    assert [str(address) for address in in_hosts_file("DB", str(path))] == ["10.0.0.5:0", "[fd00::5]:0"]
    assert [str(address) for address in in_hosts_file("db2", str(path))] == ["10.0.0.5:0"]
    assert in_hosts_file("new", str(path)) == []


@pytest.mark.parametrize(
    ("before", "after", "newer"),
    [(None, 5, True), (5, 5, False), (5, 6, True), (6, 5, False), (0xFFFFFFFF, 0, True), (None, 0xF0000000, True)],
)
def test_which_serial_number_is_newer(before: int | None, after: int, newer: bool) -> None:
    """As numbers that begin again at 0; the first one is new, so what changed before it was known is not missed."""
    assert is_newer(after, before) is newer
