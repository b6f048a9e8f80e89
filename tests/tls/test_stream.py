"""Waiting for a socket during a login: nobody is forgotten, whoever else waits for the same."""

from __future__ import annotations

import asyncio
import socket
import ssl

from pgpool_py.tls import stream


class Reluctant(socket.socket):
    """A socket that wants to be written before anything else, as TLS does when keys change; counts who tries."""

    tries = 0

    def attempt(self) -> str:
        self.tries += 1
        if self.tries <= 2:
            raise ssl.SSLWantWriteError
        return "done"


def reluctant() -> tuple[Reluctant, socket.socket]:
    mine, yours = socket.socketpair()
    mine.setblocking(False)
    return Reluctant(fileno=mine.detach()), yours


def test_two_may_wait_for_one_direction() -> None:
    """A reader that wants to write, and a writer, both of a tunnel: one event wakes both."""
    mine, yours = reluctant()

    async def story() -> list[str]:
        both = [stream._repeat(mine, mine.attempt) for _ in range(2)]
        async with asyncio.timeout(10):
            return list(await asyncio.gather(*both))

    with mine, yours:
        assert asyncio.run(story()) == ["done", "done"]


def test_who_gives_up_wakes_the_other() -> None:
    mine, yours = reluctant()
    filled = 0
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    while True:  # now it cannot be written
        try:
            filled += mine.send(bytes(4096))
        except BlockingIOError:
            break

    async def story() -> str:
        first = asyncio.ensure_future(stream._repeat(mine, mine.attempt))
        second = asyncio.ensure_future(stream._repeat(mine, mine.attempt))
        while mine.tries < 2:
            await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(10):
            return await second

    with mine, yours:
        assert asyncio.run(story()) == "done"
