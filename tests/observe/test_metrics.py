"""`GET /metrics`: what the console shows, as Prometheus reads it; and what else somebody may send to that port."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgpool_py.observe.metrics import Readings, exposition
from pgpool_py.testing import Pooler, PoolerError, free_port
from pgpool_py.testing.pooler import own_environment
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database, RealPostgres
from tests.operations.conftest import Program
from tests.system import wire
from tests.system.middle import Middle
from tests.system.rawclient import Address
from tests.system.stack import wait_until

Series = dict[tuple[str, ...], float]
POOL = ("database", "user")
PIN = (*POOL, "reason")
# The interpreter may lie where only root can read, and poolers of tests are not root.
IMPORTS = {"PGPOOL_PY_TEST_IMPORTS": "prometheus_client.core"}


@pytest.fixture(scope="module")
def postgres_database(shared_postgres: RealPostgres) -> Iterator[Database]:
    with shared_postgres.database() as made:
        yield made


@pytest.fixture(scope="module")
def scraped(postgres_database: Database) -> Iterator[Pooler]:
    """A pooler with metrics on; the port is in its settings."""
    made = postgres_database
    settings = {"pool_mode": "transaction", "metrics_listen_addr": "127.0.0.1", "metrics_port": free_port()}
    databases = {"app": made.line, "small": f"{made.line} pool_size=1"}
    with Pooler(databases, {made.user: made.password}, settings, env=IMPORTS) as pooler:
        yield pooler


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.close()


def text_of(port: object) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(reply.read().decode())


def samples(text: str, name: str, labels: tuple[str, ...]) -> Series:
    """Values of one name by those labels; no series may come twice."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                key = tuple(sample.labels[label] for label in labels)
                assert key not in found and set(sample.labels) == set(labels)
                found[key] = sample.value
    return found


def scrape(pooler: Pooler, name: str, labels: tuple[str, ...] = POOL) -> Series:
    return samples(text_of(pooler.settings["metrics_port"]), name, labels)


def connect(pooler: Pooler, database: str, user: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(pooler.dsn(database, user), autocommit=True)


def test_pools_and_totals_are_told_as_the_exporter_does(scraped: Pooler, postgres_database: Database) -> None:
    """By database and user: who has a server, who waits, and what was done; times in seconds."""
    user = postgres_database.user
    me = ("small", user)
    with connect(scraped, "small", user) as holder, connect(scraped, "small", user) as waiter:
        before = scrape(scraped, "pgbouncer_stats_queries_pooled_total", ("database",)).get(("small",), 0)
        holder.execute("begin")
        waiter.pgconn.send_query(b"select 1")
        wait_until(lambda: scrape(scraped, "pgbouncer_pools_client_waiting_connections")[me] == 1, "one waits")
        text = text_of(scraped.settings["metrics_port"])
        assert samples(text, "pgbouncer_pools_client_active_connections", POOL)[me] == 1
        assert samples(text, "pgbouncer_pools_server_active_connections", POOL)[me] == 1
        assert samples(text, "pgbouncer_pools_server_idle_connections", POOL)[me] == 0
        assert samples(text, "pgbouncer_up", ()) == {(): 1}
        assert samples(text, "pgbouncer_used_servers", ())[()] >= 1
        holder.execute("select pg_sleep(0.01)")
        holder.execute("commit")
        while waiter.pgconn.get_result() is not None:
            pass
        wait_until(
            lambda: scrape(scraped, "pgbouncer_stats_queries_pooled_total", ("database",))[("small",)] == before + 4,
            "four queries are counted",
        )
    assert 0.01 <= scrape(scraped, "pgbouncer_stats_server_in_transaction_seconds_total", ("database",))[("small",)] < 1000
    assert scrape(scraped, "pgpool_py_doubts_total", ("database",))[("small",)] == 0


def test_a_pin_comes_with_its_reason_and_goes(scraped: Pooler, postgres_database: Database) -> None:
    """How many clients keep a server for that reason, and for how long the oldest has."""
    user = postgres_database.user
    assert scrape(scraped, "pgpool_py_pins", PIN) == {}
    with connect(scraped, "app", user) as one, connect(scraped, "app", user) as two, connect(scraped, "app", user) as third:
        one.execute("create temp table mine (n int)")
        two.execute("create temp table mine (n int)")
        third.execute("select pg_advisory_lock(1)")
        pins = scrape(scraped, "pgpool_py_pins", PIN)
        ((table, count),) = [(key, value) for key, value in pins.items() if "temp" in key[2]]
        ((lock, _),) = [(key, value) for key, value in pins.items() if "lock" in key[2]]
        assert (table[:2], count, pins[lock]) == (("app", user), 2, 1)
        wait_until(lambda: scrape(scraped, "pgpool_py_pin_age_seconds", PIN)[table] >= 1, "it grows older")
        third.execute("select pg_advisory_unlock(1)")
        wait_until(lambda: set(scrape(scraped, "pgpool_py_pins", PIN)) == {table}, "looked, after the answer, and found no lock")
    wait_until(lambda: scrape(scraped, "pgpool_py_pins", PIN) == {}, "no pin is left")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics?name=x HTTP/1.0\r\n\r\n", b"200"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"405"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\0\xff\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: ", None),
        (b"", None),
    ],
)
def test_wrong_requests_are_refused(scraped: Pooler, sent: bytes, status: bytes | None) -> None:
    """In words of HTTP, or not at all where the request never ends; and the connection is closed."""
    with socket.create_connection(("127.0.0.1", int(str(scraped.settings["metrics_port"]))), timeout=20) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: sock.recv(65536), b""))
    if status is None:
        assert reply == b""
    else:
        head = reply.partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 " + status) and b"Connection: close" in head
        assert (b"Allow: GET" in head) == (status == b"405")


def test_whoever_says_too_much_or_nothing_harms_nobody(scraped: Pooler, postgres_database: Database) -> None:
    """A head without an end is cut off; idle connections are few, end by themselves, and then others are answered again."""
    port = int(str(scraped.settings["metrics_port"]))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        with pytest.raises(OSError):  # long before all of it is taken
            sock.sendall(b"x" * 100_000_000)
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(30)]
    with connect(scraped, "app", postgres_database.user) as client:
        assert client.execute("select 1").fetchone() == (1,)
    for sock in silent:
        with sock:
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    assert scrape(scraped, "pgbouncer_up", ()) == {(): 1}
    assert "Traceback" not in scraped.log and "internal error" not in scraped.log


def test_nothing_is_told_unless_asked_for(start_pooler: StartPooler) -> None:
    """Without metrics_listen_addr the port is closed, and the library need not be there."""
    port = free_port()
    pooler = start_pooler({"metrics_port": port})
    assert pooler.running and "metrics" not in pooler.log
    with pytest.raises(urllib.error.URLError):
        text_of(port)


def test_a_missing_library_is_told_at_start(start_pooler: StartPooler, database: Database, program: Program) -> None:
    """With the setting and what to install; who wants no metrics does not need it."""
    absent = program.directory / "prometheus_client.py"
    absent.write_text("raise ModuleNotFoundError(\"No module named 'prometheus_client'\")\n")
    absent.chmod(0o644)
    program.directory.chmod(0o755)
    paths = [str(program.directory), own_environment().get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    said = r"metrics_listen_addr: needs the package prometheus-client: pip install 'pgpool_py\[metrics\]'"
    with pytest.raises(PoolerError, match=said):
        start_pooler({"metrics_listen_addr": "127.0.0.1"}, env=env)
    assert start_pooler(env=env).running


def test_an_address_that_is_none_is_refused(start_pooler: StartPooler) -> None:
    """One that is no address as the file is read, one that is not ours at start."""
    with pytest.raises(PoolerError, match="metrics_listen_addr: expected an IP address"):
        start_pooler({"metrics_listen_addr": "localhost"})
    with pytest.raises(PoolerError, match=r"cannot listen on 192\.0\.2\.1:\d+: .*\(metrics_listen_addr\)"):
        start_pooler({"metrics_listen_addr": "192.0.2.1", "metrics_port": free_port()}, env=IMPORTS)


def test_an_online_restart_takes_the_port_when_it_is_free(program: Program, database: Database) -> None:
    """The new process serves without it, and gets it as soon as the old one has stepped down, its clients there or not."""
    port = free_port()
    program.databases = {"app": f"{database.line} user={database.user} password='{database.password}'"}
    program.settings |= {"logfile": "log", "pidfile": "pid", "pool_mode": "session", "unix_socket_dir": str(program.directory)}
    program.settings |= {"metrics_listen_addr": "127.0.0.1", "metrics_port": port}
    program.start("-q", env=IMPORTS)
    program.wait_for_log("process up")
    with program.connect() as stays:
        stays.query("select 1")
        me = ("app", database.user)
        assert samples(text_of(port), "pgbouncer_pools_client_active_connections", POOL)[me] == 1
        program.start("-q", "-R", env=IMPORTS)
        wait_until(lambda: program.log.count("process up") > 1, "the new process serves", 20)
        assert "no metrics until it is free" in program.log
        wait_until(lambda: program.log.count("metrics: listening") > 1, "it has the port", 20)
        assert me not in samples(text_of(port), "pgbouncer_pools_client_active_connections", POOL)
        assert stays.ask("select 'here'") == "here"
        stays.leave()


def test_a_server_that_does_not_add_up_is_counted(start_pooler: StartPooler, database: Database) -> None:
    """And stays counted when its pool is forgotten: a total never falls."""
    settings = {"metrics_listen_addr": "127.0.0.1", "metrics_port": free_port(), "pool_mode": "transaction"}
    settings |= {"pool_idle_timeout": 0.1, "server_tls_sslmode": "disable"}
    with Middle(Address(database.host, database.port)) as middle:
        line = f"host={middle.address.host} port={middle.address.port} dbname={database.name}"
        users = {database.user: database.password}
        pooler = start_pooler(settings, databases={"app": line}, users=users, env=IMPORTS)
        middle.answers[b"a lie"] = wire.raw(b"C", b"SELECT 1\0") + wire.raw(b"Z", b"I") * 2
        with connect(pooler, "app", database.user) as client:
            with pytest.raises(psycopg.OperationalError):
                client.execute("select 1 /* a lie */")
        wait_until(lambda: scrape(pooler, "pgpool_py_doubts_total", ("database",)) == {("app",): 1}, "it is counted")
        pools = "pgbouncer_pools_client_active_connections"
        wait_until(lambda: ("app", database.user) not in scrape(pooler, pools), "no pool is left")
        assert scrape(pooler, "pgpool_py_doubts_total", ("database",)) == {("app",): 1}


def test_names_that_are_no_utf8_stay_apart() -> None:
    """Prometheus would refuse the whole answer because of one such label."""
    pins = [{"database": name, "user": 'a"b\n', "reason": "lock", "age": 1} for name in ("\udcff", "\udcfe")]
    text = b"".join(exposition(Readings(pins=pins))).decode()
    assert len(samples(text, "pgpool_py_pins", PIN)) == 2
