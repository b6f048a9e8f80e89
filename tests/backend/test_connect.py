"""Connecting and logging in to a real PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgpool_py.backend.connect import UNIX_RETRY_SECONDS, connect_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.target import ServerAddress, ServerLogin, ServerTarget
from pgpool_py.sockets import SocketOptions
from pgpool_py.testing.postgres import PostgresServer
from pgwire import AuthenticationOk, ReadyForQuery, ScramKeys, ScramSecret, md5_secret

Run = Callable[[Any], Any]


def log_in(run: Run, target: ServerTarget, timeout: float = 10) -> ServerLogin:
    login: ServerLogin = run(connect_server(target, timeout))
    return login


def failure(run: Run, target: ServerTarget, timeout: float = 10) -> ServerConnectError:
    with pytest.raises(ServerConnectError) as caught:
        log_in(run, target, timeout)
    assert "secret" not in str(caught.value)
    return caught.value


def select(login: ServerLogin, query: str) -> bytes:
    """All that the server answers to *query*, asked over the socket handed over."""
    login.sock.settimeout(10)
    text = query.encode() + b"\0"
    login.sock.sendall(b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
    answer = b""
    while not answer.endswith(b"Z\0\0\0\x05I"):
        answer += login.sock.recv(8192)
    return answer


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("u_trust", None),
        ("u_plain", "secret"),
        ("u_md5", "secret"),
        ("u_md5", md5_secret("u_md5", "secret")),
        ("u_scram", "secret"),
    ],
)
def test_server_is_ready_for_queries(
    run: Run, postgres: ServerTarget, user: str, password: str | None
) -> None:
    login = log_in(run, replace(postgres, user=user, password=password))
    assert user.encode() in select(login, "select current_user")
    assert login.parameters[b"server_version"] and login.parameters[b"server_encoding"] == b"UTF8"
    assert login.pid > 0 and len(login.key) == 4
    assert login.leftover == b""
    assert login.address == ServerAddress(socket.AF_INET, ("127.0.0.1", postgres.port))
    assert login.key.hex() not in repr(login)
    login.sock.close()


def test_name_and_unix_directory_lead_there(run: Run, postgres: ServerTarget, server: PostgresServer) -> None:
    for host in ("localhost", str(server.socket_directory)):
        login = log_in(run, replace(postgres, host=host))
        assert b"u_trust" in select(login, "select current_user")
        login.sock.close()


def test_startup_parameters_are_sent(run: Run, postgres: ServerTarget) -> None:
    target = replace(postgres, application_name="pool", parameters={"DateStyle": "German"})
    login = log_in(run, target)
    assert login.parameters[b"DateStyle"].startswith(b"German")
    assert login.parameters[b"application_name"] == b"pool"
    login.sock.close()


def test_scram_keys_open_without_a_password(run: Run, postgres: ServerTarget, server: PostgresServer) -> None:
    """Keys from a client's proof, whose secret is the server's own."""
    with server.connect() as connection:
        row = connection.execute("select rolpassword from pg_authid where rolname = 'u_scram'").fetchone()
    assert row is not None
    secret = ScramSecret.parse(row[0])
    assert secret is not None
    keys = ScramKeys.derive("secret", secret.salt, secret.iterations)
    login = log_in(run, replace(postgres, user="u_scram", password=row[0], scram_keys=keys))
    assert b"u_scram" in select(login, "select current_user")
    login.sock.close()


@pytest.mark.parametrize("user", ["u_plain", "u_md5", "u_scram"])
def test_wrong_password_is_the_servers_word(run: Run, postgres: ServerTarget, user: str) -> None:
    error = failure(run, replace(postgres, user=user, password="wrong"))
    assert (error.sqlstate, error.reason) == ("28P01", "login failed")
    assert error.message == f'password authentication failed for user "{user}"'


@pytest.mark.parametrize(
    ("user", "password", "text"),
    [
        ("u_plain", None, 'server asks user "u_plain" for a clear-text password, but no password is known'),
        ("u_md5", None, 'server asks user "u_md5" for md5, but no password is known'),
        ("u_scram", None, 'server asks user "u_scram" for SCRAM-SHA-256, but no password is known'),
        (
            "u_scram",
            md5_secret("u_scram", "x"),
            'server asks user "u_scram" for SCRAM-SHA-256, but only a hashed password is known',
        ),
    ],
)
def test_what_is_lacking_is_named(
    run: Run, postgres: ServerTarget, user: str, password: str | None, text: str
) -> None:
    assert failure(run, replace(postgres, user=user, password=password)).message.startswith(text)


def test_unknown_database_keeps_its_sqlstate(run: Run, postgres: ServerTarget) -> None:
    error = failure(run, replace(postgres, dbname="nosuch"))
    assert (error.sqlstate, error.message) == ("3D000", 'database "nosuch" does not exist')


def test_bad_startup_value_is_the_servers_error(run: Run, postgres: ServerTarget) -> None:
    error = failure(run, replace(postgres, parameters={"DateStyle": "nonsense"}))
    assert error.sqlstate == "22023"


def test_closed_port_is_named(run: Run, postgres: ServerTarget) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    error = failure(run, replace(postgres, port=port))
    assert error.reason == "connect failed"
    assert error.message == f"cannot connect to 127.0.0.1:{port}: Connection refused"


def test_missing_unix_socket_is_named(run: Run, postgres: ServerTarget) -> None:
    error = failure(run, replace(postgres, host="/nonexistent"))
    assert error.message.startswith(f"cannot connect to /nonexistent/.s.PGSQL.{postgres.port}: No such file")


def test_unknown_host_is_a_lookup_failure(run: Run, postgres: ServerTarget) -> None:
    error = failure(run, replace(postgres, host="host\udce9"))
    assert error.reason == "server DNS lookup failed"
    assert failure(run, replace(postgres, host="x" * 300)).reason == "server DNS lookup failed"


def test_silent_server_runs_into_the_timeout(run: Run, postgres: ServerTarget) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = failure(run, replace(postgres, port=port), timeout=0.1)
    assert error.reason == "connect timeout"
    assert error.message == f"connect timeout: 127.0.0.1:{port} (login)"


def test_next_address_is_tried(run: Run, postgres: ServerTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a dead address and a live one leads to the live one."""
    from pgpool_py.backend import connect

    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = ServerAddress(socket.AF_INET, ("127.0.0.1", probe.getsockname()[1]))

    async def two_addresses(host: str, port: int) -> list[ServerAddress]:
        return [dead, ServerAddress(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(connect, "resolve", two_addresses)
    login = log_in(run, replace(postgres, host="two"))
    assert login.address.sockaddr == ("127.0.0.1", postgres.port)
    login.sock.close()


def test_full_backlog_is_waited_for(run: Run, tmp_path: Path) -> None:
    """On a Unix socket no event tells when there is room again."""
    name = str(tmp_path / ".s.PGSQL.5432")

    async def story() -> ServerLogin:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
            listening.bind(name)
            listening.listen(0)
            listening.setblocking(False)
            first.connect(name)
            target = ServerTarget(str(tmp_path), 5432, "app", "ann")
            login = loop.create_task(connect_server(target, 10))
            await asyncio.sleep(3 * UNIX_RETRY_SECONDS)
            assert not login.done()
            listening.accept()[0].close()
            sock, _ = await loop.sock_accept(listening)
            await loop.sock_recv(sock, 100)
            await loop.sock_sendall(sock, AuthenticationOk().encode() + ReadyForQuery("I").encode())
            sock.close()
            return await login

    login = run(story())
    assert str(login.address) == name
    login.sock.close()


def test_socket_is_free_for_the_relay(run: Run, postgres: ServerTarget) -> None:
    async def connect() -> tuple[ServerLogin, bool, int]:
        target = replace(postgres, options=SocketOptions(tcp_keepidle=33))
        login = await connect_server(target, 10)
        loop = asyncio.get_running_loop()
        registered = bool(loop.remove_reader(login.sock)) or bool(loop.remove_writer(login.sock))
        return login, registered, len(asyncio.all_tasks())

    login, registered, tasks = run(connect())
    assert not registered and tasks <= 2  # the test's own
    assert not login.sock.getblocking()
    assert login.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
    assert login.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    login.sock.close()


def test_target_shows_no_secret(postgres: ServerTarget) -> None:
    target = replace(postgres, password="hunter2", scram_keys=ScramKeys(b"hunter2", b"hunter2"))
    assert "hunter2" not in repr(target)
