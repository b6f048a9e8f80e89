"""Several hosts for one database: two PostgreSQL with streaming replication, dead and silent ones beside them, a promotion.

All hosts of an entry have one port, so they are addresses of this machine: .1 the primary, .2 its standby, .3 nobody, .4 somebody
who takes connections and says nothing.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgpool_py.testing import Pooler, PostgresServer, embedded_bin_dir, local_bin_dirs
from pgpool_py.testing.process import child_environment
from tests.system import wire
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_taken, wait_until

PRIMARY, STANDBY, NOBODY, SILENT = (f"127.0.0.{number}" for number in range(1, 5))
HBA = ["host all all 127.0.0.0/8 trust", "host replication all 127.0.0.0/8 trust"]
REPLICATES = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}


def bin_dir() -> Path:
    for each in local_bin_dirs():
        if (each / "pg_basebackup").exists():
            return each
    return embedded_bin_dir(os.geteuid())


class Standby(PostgresServer):
    """A copy of *primary* that follows it."""

    host = STANDBY

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(bin_dir=primary.bin_dir, port=primary.port, settings=REPLICATES, hba=HBA)
        self._primary = primary

    def _make_data(self) -> None:
        subprocess.run(
            [str(self.bin_dir / "pg_basebackup"), "-h", PRIMARY, "-p", str(self._primary.port), "-U", "postgres",
             "-D", str(self.data), "-R", "-c", "fast", "-X", "stream", "--no-sync"],
            check=True,
            cwd="/",
            env=child_environment(self.directory),
            **self._account.popen_options,
        )

    def _set_password(self) -> None:
        """It has the primary's."""

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: "ready to accept read-only connections" in self.log, "the standby serves", 30)


class Cluster:
    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self.primary = primary
        self.standby = standby
        self.port = primary.port

    def line(self, *hosts: str, **keys: object) -> str:
        """An entry of [databases] with these hosts."""
        rest = " ".join(f"{key}={value}" for key, value in keys.items())
        return f"host={','.join(hosts)} port={self.port} dbname=postgres user=postgres {rest}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if not (bin_dir() / "pg_basebackup").exists():
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    with PostgresServer(bin_dir=bin_dir(), settings=REPLICATES, hba=HBA) as primary, Standby(primary) as standby:
        yield Cluster(primary, standby)


def connect(pooler: Pooler, database: str) -> RawClient:
    return RawClient(Address(pooler.host, pooler.port), database, "anybody")


def where(client: RawClient) -> str | None:
    return client.ask("select host(inet_server_addr())")


SETTINGS: dict[str, object] = {
    "auth_type": "any",
    "pool_mode": "transaction",
    "server_tls_sslmode": "disable",
    "server_connect_timeout": 60,
    "server_login_retry": 60,
}
ATTRS = {
    "any": {PRIMARY, STANDBY},
    "read-write": {PRIMARY},
    "primary": {PRIMARY},
    "standby": {STANDBY},
    "read-only": {STANDBY},
    "prefer-standby": {STANDBY},
}


def test_roles_dead_hosts_and_a_promotion(cluster: Cluster) -> None:
    """One cluster for all stories: making it takes longer than they do."""
    everybody = (NOBODY, SILENT, PRIMARY, STANDBY)
    databases = {attrs: cluster.line(*everybody, target_session_attrs=attrs, pool_size=4) for attrs in ATTRS}
    databases |= {
        "turns": cluster.line(PRIMARY, STANDBY, pool_size=4),
        "first": cluster.line(PRIMARY, STANDBY, pool_size=4, load_balance_hosts="disable"),
        "lonely": cluster.line(NOBODY, PRIMARY, target_session_attrs="prefer-standby"),
        "nowhere": cluster.line(NOBODY, STANDBY, target_session_attrs="primary", query_wait_timeout=1),
    }
    with socket.create_server((SILENT, cluster.port)), Pooler(databases, settings=SETTINGS) as pooler:
        for attrs, allowed in ATTRS.items():
            with connect(pooler, attrs) as client:
                assert where(client) in allowed, attrs
        _hosts_take_turns(pooler)
        with connect(pooler, "lonely") as client:
            assert where(client) == PRIMARY
        _nobody_in_that_role(pooler)
        _promotion(pooler, cluster)


def _hosts_take_turns(pooler: Pooler) -> None:
    for database, expected in (("turns", {PRIMARY, STANDBY}), ("first", {PRIMARY})):
        clients = [connect(pooler, database) for _ in range(4)]
        for client in clients:
            client.query("begin")
        assert {where(client) for client in clients} == expected
        for client in clients:
            client.leave()


def _nobody_in_that_role(pooler: Pooler) -> None:
    """The log says of every host why it is none."""
    with pytest.raises(Exception, match="query_wait_timeout"):
        connect(pooler, "nowhere").ask("select 1")
    pooler.wait_for_log(
        rf"cannot connect to {NOBODY}:\d+: Connection refused; {STANDBY}:\d+ is a standby, wanted is primary"
    )


def _promotion(pooler: Pooler, cluster: Cluster) -> None:
    """The primary dies; queries wait, and go on where the standby has become one; no client is lost."""
    with connect(pooler, "primary") as idle, connect(pooler, "primary") as waiting, connect(pooler, "standby") as reader:
        assert where(idle) == where(waiting) == PRIMARY
        assert where(reader) == STANDBY
        pid = reader.ask("select pg_backend_pid()")
        gone = rf" primary/\w+@{PRIMARY}:\d+ closing because: server "
        before = len(re.findall(gone, pooler.log))
        cluster.primary.crash()
        pooler.wait_for_log(gone, count=before + 1)  # else the query may go to a server that is about to be lost
        waiting.send(wire.query("select 'survived ' || host(inet_server_addr())"))
        wait_taken(waiting)
        pooler.wait_for_log(rf"{STANDBY}:\d+ is a standby, wanted is primary \(target_session_attrs\) \(age=\d+s\)\n")
        with psycopg.connect(host=STANDBY, port=cluster.port, user="postgres", autocommit=True) as admin:
            waiting.sock.settimeout(60)  # a promotion takes as long as the machine needs
            admin.execute("select pg_promote()")
            assert wire.values(waiting.until("Z")) == [f"survived {STANDBY}".encode()]
            assert where(idle) == STANDBY
            with connect(pooler, "primary") as fresh:
                assert where(fresh) == STANDBY
            # What was connected to a standby hears with its next reply that it is none, and serves nobody after that.
            assert where(reader) == STANDBY
            sql = f"select count(*) from pg_stat_activity where pid = {pid}"

            def retired() -> bool:
                row = admin.execute(sql).fetchone()
                return row == (0,)

            wait_until(retired, "the server that is no standby any more is closed")
