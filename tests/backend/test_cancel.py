"""Cancel requests to a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pgpool_py.backend.cancel import cancel_server
from pgpool_py.backend.connect import connect_server
from pgpool_py.backend.errors import ServerConnectError
from pgpool_py.backend.target import ServerAddress, ServerTarget

Run = Callable[[Any], Any]


def query(text: bytes) -> bytes:
    return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"


def test_running_query_is_cancelled(run: Run, postgres: ServerTarget) -> None:
    async def story() -> bytes:
        loop = asyncio.get_running_loop()
        server = await connect_server(postgres, 10)
        # The notice says that the query runs.
        await loop.sock_sendall(
            server.sock, query(b"do $$ begin raise notice 'on'; perform pg_sleep(60); end $$")
        )
        assert (await loop.sock_recv(server.sock, 8192)).startswith(b"N")
        await cancel_server(server.address, server.pid, server.key, 10)
        answer = await loop.sock_recv(server.sock, 8192)
        server.sock.close()
        return answer

    assert b"C57014\0" in run(story())


def test_returning_means_the_cancel_is_over(run: Run, postgres: ServerTarget) -> None:
    """A cancel of an idle server never hits the query that is sent after cancel_server() returned."""

    async def story() -> list[bytes]:
        loop = asyncio.get_running_loop()
        server = await connect_server(postgres, 10)
        answers = []
        for _ in range(20):
            await cancel_server(server.address, server.pid, server.key, 10)
            await loop.sock_sendall(server.sock, query(b"select pg_sleep(0.005)"))
            answers.append(await loop.sock_recv(server.sock, 8192))
        server.sock.close()
        return answers

    assert not [answer for answer in run(story()) if b"57014" in answer]


def test_server_without_a_key_is_not_asked(run: Run) -> None:
    address = ServerAddress(socket.AF_INET, ("127.0.0.1", 1))
    with pytest.raises(ServerConnectError, match="the server gave no cancel key"):
        run(cancel_server(address, 0, b"", 10))


def test_silent_server_runs_into_the_timeout(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = ServerAddress(socket.AF_INET, silent.getsockname())
        with pytest.raises(ServerConnectError, match=r"^cancel_wait_timeout$"):
            run(cancel_server(address, 1, b"key!", 0.1))


def test_unreachable_server_is_an_error(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = ServerAddress(socket.AF_INET, probe.getsockname())
    with pytest.raises(ServerConnectError, match="Connection refused"):
        run(cancel_server(address, 1, b"key!", 10))


def test_reset_is_no_proof_of_a_cancel(run: Run) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            address = ServerAddress(socket.AF_INET, listening.getsockname())
            cancel = loop.create_task(cancel_server(address, 1, b"key!", 10))
            sock, _ = await loop.sock_accept(listening)
            assert await loop.sock_recv(sock, 100) == bytes.fromhex("00000010 04d2162e 00000001") + b"key!"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            await cancel

    with pytest.raises(ServerConnectError, match="cancel request failed: Connection reset"):
        run(story())
