"""What goes through an encrypted connection after its login: as much, as little and as late as through any other."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler, PostgresServer, local_bin_dirs
from tests.system import wire
from tests.system.stack import wait_until
from tests.tls.conftest import USER, MakeContext, TlsClient, plain_environment, target, uri
from tests.tls.halfclosing import HalfClosing
from tests.tls.pki import Authority

Connect = Callable[..., TlsClient]
MEGABYTE = 1 << 20


@pytest.fixture(scope="module", params=["clear servers", "encrypted servers"])
def pooler(
    request: pytest.FixtureRequest, client_settings: dict[str, object], authority: Authority
) -> Iterator[Pooler]:
    """TLS with clients, and with servers or not."""
    encrypted = request.param == "encrypted servers"
    server: PostgresServer = request.getfixturevalue("tls_postgres" if encrypted else "plain_postgres")
    tls = {"server_tls_sslmode": "verify-full" if encrypted else "disable", "server_tls_ca_file": authority.file}
    databases = {"app": target(server, pool_size=5), "one": target(server, pool_size=1)}
    with Pooler(databases, {USER: "x"}, {**client_settings, **tls}) as running:
        yield running
        assert "Traceback" not in running.log
        assert "do not add up" not in running.log


def rss(pooler: Pooler) -> int:
    """Resident memory in bytes."""
    status = Path(f"/proc/{pooler.pid}/status").read_text()
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def cpu_ticks(pooler: Pooler) -> int:
    """CPU time of the process in hundredths of a second."""
    fields = Path(f"/proc/{pooler.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_large_results(pooler: Pooler) -> None:
    with psycopg.connect(uri(pooler, sslmode="require")) as connection:
        rows = connection.execute("select i, repeat(i::text, 1000) from generate_series(1, 5000) i").fetchall()
        assert all(text == str(number) * 1000 for number, text in rows)
        assert len(rows) == 5000
        huge = connection.execute("select repeat('0123456789abcdef', 1 << 20)").fetchone()
        assert huge == ("0123456789abcdef" * MEGABYTE,)


def test_large_values_go_the_other_way(pooler: Pooler) -> None:
    value = os.urandom(8 * MEGABYTE)
    with psycopg.connect(uri(pooler, sslmode="require")) as connection:
        assert connection.execute("select %b::bytea, md5(%b)", [value, value]).fetchone() is not None
        found = connection.execute("select length(%b), %b", [value, value], binary=True).fetchone()
        assert found == (len(value), value)


def test_copy_both_ways(pooler: Pooler) -> None:
    lines = b"".join(b"%d\t%s\n" % (number, b"x" * (number % 300)) for number in range(50_000))
    with psycopg.connect(uri(pooler, sslmode="require")) as connection:
        connection.execute("create temp table copied (id int, value text)")
        with connection.cursor().copy("copy copied from stdin") as copy:
            source = io.BytesIO(lines)
            while block := source.read(100_001):
                copy.write(block)
        with connection.cursor().copy("copy (select * from copied order by id) to stdout") as copy:
            assert b"".join(copy) == lines
        connection.rollback()


@pytest.mark.skipif(not local_bin_dirs() or not shutil.which("pgbench"), reason="pgbench is not installed")
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(pooler: Pooler, tmp_path: Path, protocol: str) -> None:
    script = tmp_path / "script.sql"
    script.write_text("select :client_id + 1;\nselect 2;\n")
    done = subprocess.run(
        ["pgbench", "-n", "-f", str(script), "-M", protocol, "-c", "10", "-j", "2", "-t", "50",
         "-h", pooler.host, "-p", str(pooler.port), "-U", USER, "app"],
        capture_output=True, text=True, env=plain_environment(PGSSLMODE="require"), timeout=60,
    )  # fmt: skip
    assert "number of transactions actually processed: 500/500" in done.stdout, done


def test_many_requests_in_one_record(connect: Connect) -> None:
    """All of them arrive with one event of the socket, and none may wait for another event."""
    client = connect()
    replies = client.exchange(*[wire.query(f"select {number}") for number in range(300)], ready=300)
    assert wire.values(replies) == [str(number).encode() for number in range(300)]


def test_a_record_for_each_byte(connect: Connect) -> None:
    client = connect()
    for byte in wire.query("select 42"):
        client.tls.send(bytes([byte]))
    assert wire.values(client.until("Z")) == [b"42"]


@pytest.mark.parametrize("size", [8191, 16384, 16385, 65536, 100_000, 300_000])
def test_requests_of_every_size(connect: Connect, size: int) -> None:
    """Records end where they end, and a message goes on in the next one."""
    client = connect()
    assert client.ask(f"select length('{'x' * size}')") == str(size)
    assert len(client.ask(f"select repeat('y', {size})") or "") == size


def test_requests_sent_ahead_while_the_client_waits(connect: Connect) -> None:
    """The only server is taken: what the second client has sent stays in the socket, and nothing of it gets lost."""
    holder, waiter = connect("one"), connect("one")
    holder.query("begin")
    sent = [wire.query(f"select {number}, repeat('x', 2000)") for number in range(100)]
    waiter.send(sent[0])
    waiter.send(*sent[1:])
    holder.query("commit")
    assert wire.values(waiter.until("Z", 100)) == [str(number).encode() for number in range(100)]


def test_a_slow_reader_costs_no_memory(pooler: Pooler, connect: Connect) -> None:
    """The server is not read until the client has read; then everything arrives, in order."""
    client, other = connect(), connect()
    other.ask("select 1")
    before = rss(pooler)
    client.send(wire.query("select repeat('z', 100000) from generate_series(1, 1000)"))
    wait_until(lambda: idle_for_a_moment(pooler, other), "the pooler has nothing more to do")
    assert rss(pooler) - before < 16 * MEGABYTE
    rows = [message for message in client.until("Z") if message.kind == "D"]
    assert len(rows) == 1000
    assert all(message.body.endswith(b"z" * 100_000) for message in rows)
    assert client.ask("select 42") == "42"


def idle_for_a_moment(pooler: Pooler, other: TlsClient) -> bool:
    """Whether others' requests cost next to nothing: the pooler does not spin on a client that reads nothing."""
    before = cpu_ticks(pooler)
    for number in range(30):
        assert other.ask(f"select {number}") == str(number)
        other.ask("select pg_sleep(0.005)")
    return cpu_ticks(pooler) - before < 10


def test_an_idle_connection_costs_no_time(pooler: Pooler, connect: Connect, trusting: MakeContext) -> None:
    """Neither an idle client, nor one that waits for its query, nor one that said goodbye and waits, is asked all the time."""
    asking, waiting, leaving = connect(), connect(), HalfClosing(pooler, trusting())
    waiting.send(wire.query("select pg_sleep(0.8)"))
    leaving.send(wire.query("select pg_sleep(0.8)"))
    leaving.say_goodbye()
    wait_until(lambda: idle_for_a_moment(pooler, asking), "the pooler is idle")
    assert waiting.until("Z")
    assert leaving.until("Z")
    leaving.vanish()


@pytest.mark.parametrize("way", ["goodbye of TLS", "end of the socket"])
@pytest.mark.parametrize("size", [10, 8192, 16384, 20000])
def test_half_closed_clients_get_their_replies(pooler: Pooler, trusting: MakeContext, way: str, size: int) -> None:
    """What came whole before the end is answered. The end may come with the last record, whatever its size."""
    client = HalfClosing(pooler, trusting())
    client.send(wire.query(f"select length('{'x' * size}')"))
    if way == "goodbye of TLS":
        client.say_goodbye()
    else:
        client.half_close()
    assert wire.values(client.until("Z")) == [str(size).encode()]
    with pytest.raises(EOFError):
        client.receive()
    client.vanish()


def test_the_pooler_says_goodbye(pooler: Pooler, trusting: MakeContext) -> None:
    """With a goodbye the client knows that nobody cut the connection off."""
    client = TlsClient(pooler, trusting())
    client.tls.suppress_ragged_eofs = False  # type: ignore[attr-defined]
    client.send(wire.terminate())
    assert client.tls.recv(1) == b""
    client.vanish()


def test_a_client_that_vanishes_frees_its_server(connect: Connect) -> None:
    client, other = connect("one"), connect("one")
    client.query("begin")
    client.reset()
    assert other.ask("select 42") == "42"


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_keys_may_change_in_between(pooler: Pooler) -> None:
    """TLS 1.3 lets the peer change its keys and ask for ours to be changed; only openssl's own client can be told to."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{pooler.host}:{pooler.port}", "-starttls", "postgres", "-tls1_3"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    said = b""

    def exchange(words: bytes, answer: bytes) -> None:
        nonlocal said
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(words)
        while answer not in said:
            data = process.stdout.read(65536)
            assert data, said
            said += data
        said = said.partition(answer)[2]

    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        exchange(b"", b"Verify return code")
        exchange(wire.startup({"user": USER, "database": "app"}), b"Z\0\0\0\x05I")
        for number in range(5):
            exchange(b"K\n", b"KEYUPDATE")
            # A Sync first: a line that begins with Q would be a command of openssl's.
            exchange(wire.sync() + wire.query(f"select 'answer {number}'"), b"answer %d" % number)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
