"""A PostgreSQL server for tests and for `pgpool_py dev`: made, started, stopped and thrown away.

Knows initdb, the server's settings for tests (no fsync), and when it is ready. Does not know the pooler.
Which programs run is `binaries`' business, as which user `process`'s.
"""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, Self

from pgpool_py.testing.binaries import embedded_bin_dir
from pgpool_py.testing.dsn import connection_uri
from pgpool_py.testing.process import (
    Watchdog,
    child_account,
    child_environment,
    free_port,
    private_directory,
    remove_tree,
    start_child,
    write_private,
)

if TYPE_CHECKING:
    import psycopg

# Data that is thrown away needs no safety, and tests want many connections.
TEST_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_line_prefix": "'%m [%p] %u@%d '",
}
READY_WITHIN = 30.0
STOPPED_WITHIN = 10.0
_STATUS_LINE = 7  # of postmaster.pid, counted from 0


class PostgresError(Exception):
    """The server could not be made or started; the message ends with its log."""


class PostgresServer:
    """One server on 127.0.0.1, whose superuser is `postgres` with a password made at each start.

    *bin_dir* names another installation than the wheel's, for example /usr/lib/postgresql/15/bin. *data* is
    kept when given, made when empty; without it the data directory is thrown away at the end. *settings* go
    into the server's configuration as they stand, *hba* lines before the default ones (password over TCP).
    """

    host = "127.0.0.1"
    user = "postgres"

    def __init__(
        self,
        *,
        bin_dir: Path | None = None,
        data: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        hba: Iterable[str] = (),
        safe: bool = False,
    ) -> None:
        self._account = child_account()
        self.bin_dir = bin_dir or embedded_bin_dir(self._account.uid)
        self._settings = {**({} if safe else TEST_SETTINGS), **(settings or {})}
        self._hba = list(hba)
        self._wanted_port = port
        self._kept_data = data.resolve() if data is not None else None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self.password = secrets.token_urlsafe(12)
        self.port = 0
        self.directory = Path()  # log, socket and, unless kept elsewhere, data
        self.data = Path()

    # Life

    def start(self) -> Self:
        """Make the data directory if it is empty, start the server, and return when it takes connections."""
        self.directory = private_directory("pgpool_py-pg-", self._account)
        self.data = self._kept_data or self.directory / "data"
        # The watchdog comes first: initdb, too, may be running when we are killed.
        self._watchdog = Watchdog(self._account, remove=self.directory)
        try:
            self._make_data()
            self._start_on_a_free_port()
            self._set_password()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server (clients are cut off) and throw away what is not kept."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
        if self._watchdog is not None:
            remove_tree(self.directory)
            self._watchdog.dismiss()
            self._watchdog = None

    def restart(self) -> None:
        """Stop the server, clients or not, and start it on the same port and data."""
        assert self._process is not None, "not started"
        self._end(self._process)
        self._launch(self.port)

    def crash(self) -> None:
        """Kill the server as a power cut would; `restart` recovers it."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(STOPPED_WITHIN)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What tests ask

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def socket_directory(self) -> Path:
        """Where the Unix socket is: for the server's user (and root) only, who need no password there."""
        return self.directory

    @property
    def log(self) -> str:
        """All that the server has said so far."""
        path = self.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def dsn(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """A connection URI; the superuser's unless another user is named."""
        if user is None:
            user, password = self.user, self.password
        return connection_uri(self.host, self.port, database, user, password)

    def connect(self, database: str = "postgres", **options: Any) -> "psycopg.Connection":
        """A new autocommit connection of psycopg, straight to the server."""
        import psycopg

        return psycopg.connect(self.dsn(database), autocommit=True, **options)

    def execute(self, statement: LiteralString, database: str = "postgres") -> None:
        """Run one statement as superuser."""
        with self.connect(database) as connection:
            connection.execute(statement)

    # Inside

    def _make_data(self) -> None:
        if self._kept_data is not None:
            self._prepare_kept_data()
        if (self.data / "PG_VERSION").exists():
            return
        done = subprocess.run(
            [
                self.bin_dir / "initdb",
                *("-D", self.data, "-U", self.user, "-A", "trust", "--encoding=UTF8", "--locale=C"),
                *("--no-sync", "--no-instructions"),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=child_environment(self.directory),
            **self._account.popen_options,
        )
        if done.returncode:
            raise PostgresError(f"initdb failed in {self.data}\n{done.stdout}{done.stderr}")

    def _prepare_kept_data(self) -> None:
        if not self.data.exists():
            self.data.mkdir(parents=True, mode=0o700)
        if not any(self.data.iterdir()):
            self._account.own(self.data)
        found = subprocess.run(
            ["/bin/sh", "-c", '[ -O "$1" ] && [ -w "$1" ] && cd "$1"', "sh", self.data],
            capture_output=True,
            **self._account.popen_options,
        )
        if found.returncode:
            who = f'user "{self._account.name}"' if self._account.switch else "this user"
            raise PostgresError(f"data directory {self.data} cannot be used: {who} must own and reach it")

    def _start_on_a_free_port(self) -> None:
        if self._wanted_port is not None:
            self._launch(self._wanted_port)
            return
        for attempt in range(5):
            try:
                self._launch(free_port())
                return
            except PostgresError:
                # Somebody else was faster to take the port.
                if attempt == 4 or "Address already in use" not in self.log:
                    raise

    def _launch(self, port: int) -> None:
        hba = [*self._hba, "local all all trust", "host all all 127.0.0.1/32 scram-sha-256"]
        write_private(self.directory / "pg_hba.conf", "\n".join(hba) + "\n", self._account)
        settings = {
            **self._settings,
            "listen_addresses": f"'{self.host}'",
            "port": str(port),
            "unix_socket_directories": f"'{self.directory}'",
            "hba_file": f"'{self.directory / 'pg_hba.conf'}'",
            "password_encryption": "scram-sha-256",
        }
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        config = write_private(self.directory / "postgresql.conf", text, self._account)
        with open(self.directory / "log", "ab") as log:
            self._process = start_child(
                [self.bin_dir / "postgres", "-D", self.data, f"--config-file={config}"],
                self._account,
                home=self.directory,
                output=log,
            )
        assert self._watchdog is not None
        self._watchdog.announce(self._process.pid, "INT")
        self._wait_until_ready(self._process)
        self.port = port

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        pid_file = self.data / "postmaster.pid"
        give_up = time.monotonic() + READY_WITHIN
        while time.monotonic() < give_up:
            if process.poll() is not None:
                raise PostgresError(f"the server ended with {process.returncode}\n{self.log}")
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            ours = lines[:1] == [str(process.pid)]
            if ours and len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready":
                return
            time.sleep(0.02)
        raise PostgresError(f"the server was not ready within {READY_WITHIN:g} s\n{self.log}")

    def _set_password(self) -> None:
        """Over the Unix socket: a kept data directory has the password of an earlier start."""
        import psycopg
        from psycopg import sql

        where = f"host={self.socket_directory} port={self.port} user={self.user} dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(self.password))

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Fast shutdown, then immediate, then kill."""
        for name in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is not None:
                break
            os.kill(process.pid, name)
            try:
                process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                continue
        if self._watchdog is not None:
            self._watchdog.forget(process.pid)
