"""Replication through the pooler: a server of its own for each client, its bytes as they come, closed afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgpool_py.testing import Pooler, PostgresServer
from tests.operations.conftest import Program
from tests.operations.test_hosts import bin_dir
from tests.system import wire
from tests.system.rawclient import Address, RawClient, ServerError
from tests.system.stack import wait_until


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    hba = ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
    with PostgresServer(bin_dir=bin_dir(), settings={"wal_level": "logical", "max_wal_senders": "6"}, hba=hba) as running:
        yield running


@pytest.fixture(scope="module")
def pooler(primary: PostgresServer) -> Iterator[Pooler]:
    where = f"host=127.0.0.1 port={primary.port}"
    databases = {
        "app": f"{where} dbname=postgres",
        "narrow": f"{where} dbname=postgres max_db_connections=1",
        "replication": where,  # what the tools of physical replication ask for
    }
    settings = {"auth_type": "trust", "pool_mode": "transaction", "server_tls_sslmode": "disable", "query_wait_timeout": 5}
    with Pooler(databases, {"postgres": ""}, settings) as running:
        yield running


def connect(pooler: Pooler, database: str = "app", **parameters: str) -> RawClient:
    return RawClient(Address(pooler.host, pooler.port), database, "postgres", parameters=parameters)


def walsenders(pooler: Pooler) -> str | None:
    with connect(pooler) as client:
        return client.ask("select count(*) from pg_stat_activity where backend_type = 'walsender'")


def test_physical_replication_passes_through(pooler: Pooler) -> None:
    with connect(pooler, replication="true", application_name="replica") as client:
        assert wire.kinds(client.query("IDENTIFY_SYSTEM")) == "TDCZ"
        with connect(pooler) as looker:
            assert looker.ask("select application_name from pg_stat_activity where backend_type = 'walsender'") == "replica"
    wait_until(lambda: walsenders(pooler) == "0", "its server is closed")


def test_base_backup_through_the_pooler(pooler: Pooler, tmp_path: Path) -> None:
    """PostgreSQL's own tool, with its two connections and the whole data directory."""
    if not (bin_dir() / "pg_basebackup").exists():
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    where = ["-h", pooler.host, "-p", str(pooler.port), "-U", "postgres", "-w"]
    done = subprocess.run(
        [str(bin_dir() / "pg_basebackup"), *where, "-D", str(tmp_path / "copy"), "-c", "fast", "-X", "stream", "--no-sync"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "copy" / "PG_VERSION").exists()


def test_logical_replication_streams(pooler: Pooler) -> None:
    """What others write through the pool arrives; the stream ends when its client says so."""
    with connect(pooler) as writer, connect(pooler, replication="database") as reader:
        writer.query("create table streamed (text text primary key); create publication everything for table streamed")
        assert wire.kinds(reader.query("CREATE_REPLICATION_SLOT here TEMPORARY LOGICAL pgoutput")) == "TDCZ"
        options = "proto_version '1', publication_names 'everything'"
        reader.send(wire.query(f"START_REPLICATION SLOT here LOGICAL 0/0 ({options})"))
        reader.until("W")
        writer.query("insert into streamed values ('through the tunnel')")
        while b"through the tunnel" not in reader.until("d")[-1].body:
            pass
        reader.send(wire.copy_done())
        assert wire.kinds(reader.until("Z")).endswith("CCZ")
        assert reader.ask("show server_version") == writer.ask("show server_version")


def test_a_cancel_request_reaches_it(pooler: Pooler) -> None:
    with connect(pooler, replication="database") as client:
        client.send(wire.query("select pg_sleep(60)"))
        with connect(pooler) as looker:
            sql = "select count(*) from pg_stat_activity where backend_type = 'walsender' and state = 'active'"
            wait_until(lambda: looker.ask(sql) == "1", "it runs")
        client.cancel()
        assert wire.errors(client.until("Z")) == ["57014"]


def test_it_counts_among_the_servers(pooler: Pooler) -> None:
    """max_db_connections: an idle server gives way to it; where there is no room the client is told."""
    with connect(pooler, "narrow") as client:
        client.ask("select 1")
        with connect(pooler, "narrow", replication="true") as holder:
            holder.query("IDENTIFY_SYSTEM")
            with pytest.raises(ServerError, match="max_db_connections") as refused:
                connect(pooler, "narrow", replication="true")
            assert refused.value.sqlstate == "53300"
        assert client.ask("select 'room again'") == "room again"


def test_a_server_that_refuses_is_quoted(pooler: Pooler) -> None:
    with pytest.raises(ServerError, match="no_such_setting"):
        connect(pooler, replication="true", no_such_setting="1")


def test_nobody_else_is_disturbed_by_its_end(pooler: Pooler, primary: PostgresServer) -> None:
    """The server ends it: its client is told and closed, others go on."""
    with connect(pooler) as client, connect(pooler, replication="database") as replica:
        client.query("begin")
        pid = replica.ask("select pg_backend_pid()")
        client.query(f"select pg_terminate_backend({pid})")
        assert replica.refused().sqlstate == "57P01"
        assert client.query("commit")[-1].body == b"I"


def test_it_stays_where_it_is_at_an_online_restart(program: Program, primary: PostgresServer) -> None:
    """Its server cannot change hands; the old process ends when it leaves."""
    program.databases = {"app": f"host=127.0.0.1 port={primary.port} dbname=postgres user=postgres"}
    program.settings |= {"logfile": "log", "pool_mode": "transaction"}
    old = program.start("-q")
    program.wait_for_log("process up")
    replicates, moves = program.connect(replication="database"), program.connect()
    program.start("-q", "-R")
    program.wait_for_log("closing because: takeover")
    assert wire.kinds(replicates.query("IDENTIFY_SYSTEM")) == "TDCZ"
    assert moves.ask("select 'moved'") == "moved"
    assert old.poll() is None
    replicates.leave()
    assert old.wait(10) == 0
    moves.leave()
