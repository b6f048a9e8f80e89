"""Names of servers: a PostgreSQL at two addresses of this machine, a name server of the test's own, a name that moves."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psycopg
import pytest

from pgpool_py.testing import PostgresServer
from pgpool_py.testing.process import write_private
from tests.fixtures.dnsserver import DnsServer
from tests.operations.conftest import Program
from tests.system.rawclient import RawClient, ServerError
from tests.system.stack import wait_until

OLD, NEW = "127.0.0.1", "127.0.0.2"
HOST = "db.example.test"
# Where the pooler starts as nobody already, it may not be able to read them: see testing/unprivileged.py.
RECORDS = ["IN.A", "IN.AAAA", "ANY.CNAME", "ANY.OPT", "ANY.SOA"]
MODULES = ["dns._asyncio_backend", "dns.asyncresolver", *(f"dns.rdtypes.{record}" for record in RECORDS)]
IMPORTS = {"PGPOOL_PY_TEST_IMPORTS": " ".join(MODULES)}


class AtBothAddresses(PostgresServer):
    host = f"{OLD},{NEW}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with AtBothAddresses(hba=["host all all 127.0.0.0/8 trust"]) as running:
        yield running


@pytest.fixture
def names() -> Iterator[DnsServer]:
    with DnsServer() as server:
        server.names[HOST] = [OLD]
        yield server


@pytest.fixture
def named(program: Program, postgres: PostgresServer, names: DnsServer) -> Program:
    """A pooler that knows its server by a name only *names* can tell."""
    resolver_file = program.directory / "resolv.conf"
    write_private(resolver_file, names.resolver_file, program.account)
    line = f"port={postgres.port} dbname=postgres user=postgres pool_size=1"
    hosts = {"app": HOST, "beside": "localhost", "lost": "lost.example.test"}
    program.databases = {database: f"host={host} {line}" for database, host in hosts.items()}
    program.settings |= {"logfile": "log", "pool_mode": "transaction", "resolv_conf": str(resolver_file)}
    program.settings |= {"admin_users": "anybody", "dns_max_ttl": 3600, "server_login_retry": 0.001}
    return program


def started(program: Program) -> Program:
    program.start("-q", env=IMPORTS)
    wait_until(lambda: "process up" in program.log, "the pooler serves", 30)
    return program


def where(client: RawClient) -> str | None:
    return client.ask("select host(inet_server_addr())")


def shown(console: psycopg.Connection, what: str) -> list[tuple[object, ...]]:
    return console.execute(f"show {what}".encode()).fetchall()


def test_servers_follow_a_name_when_its_zone_changes(named: Program, names: DnsServer) -> None:
    """The serial number is asked for; the name, whose answer is fresh for an hour, only when that has changed."""
    named.settings["dns_zone_check_period"] = 0.1
    started(named)
    admin = psycopg.connect(host="127.0.0.1", port=named.port, dbname="pgbouncer", user="anybody", autocommit=True)
    with named.connect() as idle, named.connect("beside") as beside, admin as console:
        assert where(idle) == where(beside) == OLD
        others = beside.ask("select pg_backend_pid()")
        named.wait_for_log(f"zone 'example.test' serial changed: old=0 new={names.serial}")
        assert shown(console, "dns_zones") == [("example.test", names.serial, 1)]
        assert {("dns_zones", 1), ("dns_names", 2), ("dns_pending", 0)} <= set(shown(console, "lists"))
        settled = 2  # for the first server, and since the zone may have changed between that and its first serial number
        wait_until(lambda: names.asked[HOST, "A"] == settled, "the name is looked up once more")

        def checks(more: int) -> None:
            before = names.asked["example.test", "SOA"]
            wait_until(lambda: names.asked["example.test", "SOA"] >= before + more, "the zone is asked for")

        checks(2)
        assert names.asked[HOST, "A"] == settled  # the same serial number: no look-up
        names.names[HOST] = [NEW]
        checks(2)
        assert where(idle) == OLD  # changed without a word in the serial number: nobody has noticed
        idle.query("begin")
        names.serial += 1
        named.wait_for_log(f"serial changed: old={names.serial - 1} new={names.serial}")
        wait_until(lambda: names.asked[HOST, "A"] > settled, "the name is looked up again")
        wait_until(lambda: (HOST, NEW) in [row[::2] for row in shown(console, "dns_hosts")], "the new address is known")
        assert where(idle) == OLD  # the transaction ends where it began
        idle.query("commit")
        assert where(idle) == NEW
        assert beside.ask("select pg_backend_pid()") == others  # another name, though at the address that this one left
        names.silent = True
        wait_until(lambda: ("dns_queries", 1) in shown(console, "lists"), "a question is under way")
        assert where(idle) == NEW


def test_addresses_of_a_name_take_turns(named: Program, names: DnsServer) -> None:
    names.names[HOST] = [OLD, NEW]
    named.databases["app"] = named.databases["app"].replace("pool_size=1", "pool_size=4")
    started(named)
    clients = [named.connect() for _ in range(4)]
    for client in clients:
        client.query("begin")
    found = [where(client) for client in clients]
    assert sorted(found) == [OLD, OLD, NEW, NEW]  # type: ignore[type-var]
    for client in clients:
        client.leave()


def test_a_name_that_does_not_exist_is_remembered(named: Program, names: DnsServer) -> None:
    """For dns_nxdomain_ttl no name server is asked again; a reload that shortens it lets the name be found."""
    named.settings["dns_nxdomain_ttl"] = 3600
    process = started(named).processes[0]

    with pytest.raises(ServerError, match=r"cannot look up server lost.example.test: no such name"):
        named.connect("lost")
    wait_until(lambda: not _enters(named, "lost") and named.log.count("server DNS lookup failed") >= 3, "three attempts failed")
    assert names.asked["lost.example.test", "A"] == 1
    names.names["lost.example.test"] = [NEW]
    named.settings["dns_nxdomain_ttl"] = 0
    named.write()
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: _enters(named, "lost"), "the name is found")


def _enters(program: Program, database: str) -> bool:
    try:
        with program.connect(database) as client:
            return where(client) is not None
    except ServerError:
        return False


def test_a_resolver_file_that_is_wrong_is_named(named: Program) -> None:
    """PgBouncer takes any file, so the pooler starts; what is wrong is said then, and a repaired file is used."""
    path = named.directory / "resolv.conf"
    good = path.read_text()
    path.write_text("nameserver nonsense\n")
    named.settings["dns_nxdomain_ttl"] = 0
    started(named)
    with pytest.raises(ServerError, match=f'cannot look up server {HOST}: resolver file {path}: "nonsense" is no address'):
        named.connect()
    path.write_text(good)
    wait_until(lambda: _enters(named, "app"), "the repaired file is used")
