"""The pooler under test and the PostgreSQL behind it, as the stories see them.

The pooler is an executable that takes an ini file: PGPOOL_PY_STORY_POOLER names another one, for example
/usr/sbin/pgbouncer, to see which stories hold for the original, and "none" runs them on PostgreSQL itself,
which judges those that have one client. Nothing here looks inside the process.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pgpool_py import testing
from pgwire import RowDescription
from tests.system.rawclient import Address, RawClient

POOLER = shlex.split(os.environ.get("PGPOOL_PY_STORY_POOLER", ""))
NONE = POOLER == ["none"]
IS_PEER = bool(POOLER)  # another program than ours is under test
DATABASE, OWNER, OTHER, ADMIN, LOCKED = "story", "story_owner", "story_other", "postgres", "story_locked"
PASSWORD = "correct horse"
USERS = {name: PASSWORD for name in (OWNER, OTHER, ADMIN, LOCKED)}
SETTINGS: Mapping[str, object] = {
    "auth_type": "trust",
    "stats_users": ADMIN,
    "pool_mode": "transaction",
    "max_client_conn": 1000,
    "server_tls_sslmode": "disable",
    "server_login_retry": 1,
    "query_wait_timeout": 20,
    "log_stats": 0,
}


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Return as soon as *condition* holds; fail with *what* after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not after {seconds} s: {what}"
        time.sleep(0.005)


def wait_a_bit(microseconds: int) -> None:
    """So long that the next segment meets another moment; too short for sleeping."""
    until = time.perf_counter() + microseconds * 1e-6
    while time.perf_counter() < until:
        pass


def unread(client: RawClient) -> int:
    """Bytes sent by *client* that the pooler has not read yet (Linux: the kernel's receive queue)."""
    ends = (client.address.port, client.sock.getsockname()[1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if ends == (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)):
            return int(queues.split(":")[1], 16)
    return 0


def wait_taken(client: RawClient) -> None:
    """Return once everything *client* has sent was read by the pooler."""
    # The kernel counts a FIN as a byte; a pooler that leaves a waiting client unread does not see it.
    wait_until(lambda: unread(client) <= 1, "the pooler has read what the client sent")


def wait_backend(admin: RawClient, condition: str, what: str = "") -> None:
    """Return once pg_stat_activity has a backend of the stories' database for which *condition* holds."""
    sql = f"select count(*) from pg_stat_activity where datname = '{DATABASE}' and {condition}"
    wait_until(lambda: admin.ask(sql) != "0", what or condition)


def wait_no_backend(admin: RawClient, condition: str, what: str = "") -> None:
    """Return once pg_stat_activity has none."""
    sql = f"select count(*) from pg_stat_activity where datname = '{DATABASE}' and {condition}"
    wait_until(lambda: admin.ask(sql) == "0", what or f"none with {condition}")


def shown(console: RawClient, what: str) -> list[dict[bytes, bytes | None]]:
    """The rows of SHOW *what*, by the names of their columns."""
    reply = console.query(f"show {what}")
    columns = next(RowDescription.decode(message.body).columns for message in reply if message.kind == "T")
    names = [column.name for column in columns]
    return [dict(zip(names, message.columns, strict=True)) for message in reply if message.kind == "D"]


def prepared_statements(console: RawClient) -> list[int]:
    """How many statements each server connection has, by SHOW SERVERS: none, once it has been reset."""
    return [int(row[b"prepared_statements"] or 0) for row in shown(console, "servers")]


class Pooler(testing.Pooler):
    """A running pooler with the stories' configuration: trust, transaction mode, pools of several sizes."""

    def __init__(
        self,
        server: Address,
        settings: Mapping[str, object] | None = None,
        databases: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.server = server
        target = f"host={server.host} port={server.port} dbname={DATABASE}"
        pools = {
            "app": "pool_size=5",
            "one": "pool_size=1",
            "two": "pool_size=2",
            "session": "pool_size=1 pool_mode=session",
            "statement": "pool_size=1 pool_mode=statement",
        } | dict(databases or {})
        super().__init__(
            {name: f"{target} {rest}" for name, rest in pools.items()},
            USERS,
            {**SETTINGS, **(settings or {})},
            user_settings=users,
            command=POOLER or None,
        )

    @property
    def address(self) -> Address:
        return self.server if NONE else Address(self.host, self.port)

    def connect(self, database: str = "app", user: str = OWNER, password: str | None = None, **parameters: str) -> RawClient:
        """A raw client logged in through this pooler."""
        name = DATABASE if NONE else database
        return RawClient(self.address, name, user, password=password, parameters=parameters)

    def raw(self, database: str = "app", user: str = OWNER) -> RawClient:
        """A raw client that has only connected."""
        return RawClient(self.address, DATABASE if NONE else database, user, login=False)

    def uri(self, database: str = "app", user: str = OWNER) -> str:
        """For libpq and asyncpg, without TLS: what psycopg probes is another story."""
        host, port = self.address
        return f"postgresql://{user}@{host}:{port}/{DATABASE if NONE else database}?sslmode=disable"

    @contextmanager
    def canceling(self, client: RawClient) -> Iterator[None]:
        """A cancel request that cannot be carried out yet; at the end it was, or there was nothing left to cancel."""
        with client.canceling() as sock:
            if not IS_PEER:
                with self.connect("pgbouncer", ADMIN) as console:
                    wait_until(lambda: any(row[b"cl_waiting_cancel_req"] != b"0" for row in shown(console, "pools")), "it waits")
                assert not select.select([sock], [], [], 0)[0], "it is answered before it is carried out"
            yield

    @property
    def rss_kib(self) -> int:
        """Resident memory in KiB."""
        status = "" if NONE else Path(f"/proc/{self.pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def crashed(self) -> bool:
        """Whether it ended though nobody asked it to."""
        return self._crash() is not None

    def end_now(self) -> None:
        """SIGQUIT: the stories' own clean-up does not wait for clients."""
        if self.running:
            self.send_signal(signal.SIGQUIT)
            self.wait()
