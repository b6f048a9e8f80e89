"""`pgpool_py dev`: an embedded PostgreSQL and the pooler in front of it, with one command.

Knows the order of starting and stopping, and what to tell a newcomer. How a server or a pooler is run is the
business of `pgpool_py.testing`; they are children of this process and end with it, whatever way it ends.
"""

import argparse
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgpool_py.testing.pooler import Pooler
    from pgpool_py.testing.postgres import PostgresServer

HOST = "127.0.0.1"
DATABASE = USER = "app"
_LOOK_EVERY = 0.1
_LOG_TAIL = 20

EXIT_STOPPED = 0  # asked to: ctrl-C, SIGTERM, SIGHUP
EXIT_FAILED = 1  # did not start, or one of the two ended by itself


class _Failure(Exception):
    """What ends `dev`, in words for the user."""


def main(argv: Sequence[str]) -> int:
    """Run both until a signal comes or one of them ends; the exit code says which."""
    arguments = _parser().parse_args(argv)
    stop = _StopRequest()
    try:
        with ExitStack() as stack, stop:
            _run(arguments, stack, stop)
    except _Failure as failure:
        print(f"pgpool_py dev: {failure}", flush=True)
        return EXIT_FAILED
    return EXIT_STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pgpool_py dev",
        description="Start an embedded PostgreSQL and the pooler; ctrl-C stops both.",
        epilog="Exit code: 0 when stopped by a signal, 1 when one of the two failed, 2 for wrong arguments.",
    )
    parser.add_argument("--port", type=int, default=6432, help="of the pooler (default: %(default)s)")
    parser.add_argument("--postgres-port", type=int, help="of PostgreSQL (default: a free one)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the data (default: thrown away)")
    parser.add_argument("--password", help=f'of user "{USER}" (default: a new one at each start)')
    modes = ["transaction", "session", "statement"]
    parser.add_argument("--pool-mode", choices=modes, default=modes[0], help="(default: %(default)s)")
    parser.add_argument("--pool-size", type=int, default=20, help="(default: %(default)s)")
    return parser


class _StopRequest:
    """True from the first signal on. A second one ends this process, and its children, at once."""

    _signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._note) for number in self._signals}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        for other in self._signals:
            signal.signal(other, signal.SIG_DFL)


def _run(arguments: argparse.Namespace, stack: ExitStack, stop: _StopRequest) -> None:
    _check_port(arguments.port)
    try:
        import psycopg

        from pgpool_py.testing.binaries import BinariesMissing
        from pgpool_py.testing.pooler import Pooler, PoolerError
        from pgpool_py.testing.postgres import PostgresError, PostgresServer
    except ImportError as error:
        raise _Failure(f"{error}; pip install 'pgpool_py[dev]'") from None
    password = arguments.password or secrets.token_urlsafe(9)
    try:
        kept = arguments.data is not None
        server = PostgresServer(data=arguments.data, port=arguments.postgres_port, safe=kept)
        stack.enter_context(server)
        _make_database(server, password)
        if stop:
            return
        pooler = Pooler(
            {DATABASE: f"host={server.host} port={server.port} dbname={DATABASE}"},
            {USER: password},
            {
                "pool_mode": arguments.pool_mode,
                "default_pool_size": arguments.pool_size,
                "max_client_conn": 1000,
            },
            port=arguments.port,
            inherit_output=True,
        )
        stack.callback(pooler.close)
        pooler.start()
    except (PostgresError, PoolerError, BinariesMissing, psycopg.Error, RuntimeError) as error:
        raise _Failure(str(error)) from None
    where = f"in {server.data}" if kept else "thrown away at the end"
    print(_welcome(server, pooler, password, where), flush=True)
    _watch(server, pooler, stop)
    print(f"\n{stop.name}: stopping the pooler and PostgreSQL", flush=True)


def _check_port(port: int) -> None:
    """Before anything is started: the likeliest mistake, in one line."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            said = f"port {port} on {HOST}: {reason.lower()}; choose another one with --port"
            raise _Failure(said) from None


def _make_database(server: "PostgresServer", password: str) -> None:
    """The user and database of a kept data directory are there already; only the password is new."""
    from psycopg import sql

    user, database = sql.Identifier(USER), sql.Identifier(DATABASE)
    with server.connect() as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [USER])
        if not known.fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(user, password))
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if not known.fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user))


def _welcome(server: "PostgresServer", pooler: "Pooler", password: str, where: str) -> str:
    psql = "psql" if shutil.which("psql") else str(server.bin_dir / "psql")
    return f"""
PostgreSQL runs on {server.host}:{server.port}, its data {where}
pgpool_py runs on {pooler.host}:{pooler.port}, its configuration in {pooler.ini}

  PGPASSWORD={password} {psql} -h {pooler.host} -p {pooler.port} -U {USER} {DATABASE}
  DSN: {pooler.dsn(DATABASE, USER)}

ctrl-C stops both
"""


def _watch(server: "PostgresServer", pooler: "Pooler", stop: _StopRequest) -> None:
    while not stop:
        if not pooler.running:
            code = pooler.process.returncode
            raise _Failure(f"the pooler ended with exit code {code}; PostgreSQL is stopped too")
        if not server.running:
            tail = "\n".join(server.log.splitlines()[-_LOG_TAIL:])
            raise _Failure(f"PostgreSQL ended; the pooler is stopped too. The server's last words:\n{tail}")
        time.sleep(_LOOK_EVERY)
