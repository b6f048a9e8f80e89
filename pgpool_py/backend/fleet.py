"""The hosts that serve one database: in which order they are tried, and which of them may serve.

Knows `load_balance_hosts` and `target_session_attrs`. A host that does not answer holds nobody up: the next one is tried a
quarter of a second later, beside it, and at once when it fails. What was found is remembered for the order of the next attempt,
never to leave a host out, so a promotion is met by the first attempt after it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from .errors import CANNOT_CONNECT, ServerConnectError
from .query import QueryFailed, ask
from .target import ServerLogin, ServerTarget

STAGGER = 0.25  # seconds before the next host is tried beside one that has not answered
REMEMBERED = 60.0  # seconds for which a host that failed is tried last

ANY, READ_WRITE, READ_ONLY, PRIMARY, STANDBY, PREFER_STANDBY = (
    "any", "read-write", "read-only", "primary", "standby", "prefer-standby",
)  # fmt: skip
# For servers before PostgreSQL 14, which do not report it.
ROLE_QUERY = "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')"

Connect = Callable[[ServerTarget, float | None], Awaitable[ServerLogin]]


@dataclass(frozen=True, slots=True)
class Role:
    """What a server is at the moment."""

    standby: bool
    read_only: bool

    def serves(self, attrs: str) -> bool:
        """Whether target_session_attrs is content with it; prefer-standby is with everything, in the end."""
        match attrs:
            case "primary":
                return not self.standby
            case "standby":
                return self.standby
            case "read-write":
                return not self.read_only
            case "read-only":
                return self.read_only
        return True

    def __str__(self) -> str:
        return "a standby" if self.standby else "read-only" if self.read_only else "a primary"


def reported_role(parameters: dict[bytes, bytes]) -> Role | None:
    """The role in what a server reports, None before PostgreSQL 14."""
    standby = parameters.get(b"in_hot_standby")
    if standby is None:
        return None
    return Role(standby == b"on", standby == b"on" or parameters.get(b"default_transaction_read_only") == b"on")


@dataclass(slots=True)
class _Attempt:
    login: ServerLogin
    role: Role


class Fleet:
    """The hosts of one entry, and what is remembered of them."""

    def __init__(self, hosts: tuple[str, ...], round_robin: bool = True) -> None:
        self.hosts = hosts
        self.round_robin = round_robin
        self._turn = 0
        self._failed: dict[str, float] = {}
        self._unfit: set[tuple[str, str]] = set()  # (host, what was asked of it)

    def order(self, attrs: str, now: float) -> list[str]:
        """All hosts: in turn or as written; those that were no use lately come last."""
        turn = self._turn % len(self.hosts) if self.round_robin else 0
        self._turn += 1
        hosts = [*self.hosts[turn:], *self.hosts[:turn]]
        return sorted(
            hosts, key=lambda host: (now - self._failed.get(host, -math.inf) < REMEMBERED, (host, attrs) in self._unfit)
        )

    async def connect(self, target: ServerTarget, attrs: str, timeout: float | None, connect: Connect) -> ServerLogin:
        """A server that may serve; ServerConnectError, naming what was wrong with each host, if there is none."""
        if len(self.hosts) == 1 and attrs == ANY:
            return await connect(target, timeout)
        race = _Race(self, target, attrs, timeout, connect)
        try:
            return await race.run()
        finally:
            await race.end()

    def note(self, host: str, attrs: str, *, failed: bool, fit: bool = True) -> None:
        """Remember how an attempt ended."""
        self._failed.pop(host, None)
        self._unfit.discard((host, attrs))
        if failed:
            self._failed[host] = asyncio.get_running_loop().time()
        elif not fit:
            self._unfit.add((host, attrs))


class _Race:
    """One attempt at all hosts."""

    def __init__(self, fleet: Fleet, target: ServerTarget, attrs: str, timeout: float | None, connect: Connect) -> None:
        self.fleet = fleet
        self.target = target
        self.attrs = attrs
        self.timeout = timeout
        self.connect = connect
        self.running: dict[asyncio.Task[_Attempt], str] = {}
        self.spare: ServerLogin | None = None  # not what is preferred, and good enough if nothing else comes
        self.failures: list[ServerConnectError] = []

    async def run(self) -> ServerLogin:
        loop = asyncio.get_running_loop()
        left = self.fleet.order(self.attrs, loop.time())
        while left or self.running:
            if left:
                host = left.pop(0)
                self.running[loop.create_task(self.attempt(host))] = host
            done, _ = await asyncio.wait(self.running, timeout=STAGGER if left else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (login := self.judge(task, self.running.pop(task))) is not None:
                    return login
        if self.spare is not None:
            login, self.spare = self.spare, None
            return login
        if len(self.failures) == 1:
            raise self.failures[0]
        message = "; ".join(dict.fromkeys(failure.message for failure in self.failures))
        raise ServerConnectError(self.failures[-1].sqlstate, message, self.failures[-1].reason)

    async def attempt(self, host: str) -> _Attempt:
        target = replace(self.target, host=host)
        login = await self.connect(target, self.timeout)
        try:
            role = reported_role(login.parameters)
            if role is None and self.attrs != ANY:
                role = await _ask_role(login, self.timeout)
        except BaseException:
            login.sock.close()
            raise
        return _Attempt(login, role or Role(standby=False, read_only=False))

    def judge(self, task: asyncio.Task[_Attempt], host: str) -> ServerLogin | None:
        """The connection to use, or None and its fault is noted."""
        try:
            attempt = task.result()
        except ServerConnectError as error:
            self.fleet.note(host, self.attrs, failed=True)
            self.failures.append(error)
            return None
        wanted = STANDBY if self.attrs == PREFER_STANDBY else self.attrs
        fit = attempt.role.serves(wanted)
        self.fleet.note(host, self.attrs, failed=False, fit=fit)
        if fit:
            return attempt.login
        if self.attrs == PREFER_STANDBY and self.spare is None:
            self.spare = attempt.login
            return None
        attempt.login.sock.close()
        words = f"{attempt.login.address} is {attempt.role}, wanted is {self.attrs} (target_session_attrs)"
        self.failures.append(ServerConnectError(CANNOT_CONNECT, words, "server is not in the role asked for"))
        return None

    async def end(self) -> None:
        """Break off what is still running and close what was not used."""
        for task in self.running:
            task.cancel()
        for outcome in await asyncio.gather(*self.running, return_exceptions=True):
            if isinstance(outcome, _Attempt):
                outcome.login.sock.close()
        if self.spare is not None:
            self.spare.sock.close()


async def _ask_role(login: ServerLogin, timeout: float | None) -> Role:
    try:
        async with asyncio.timeout(timeout or None):
            recovery, read_only = (await ask(login.sock, ROLE_QUERY))[0]
    except (QueryFailed, OSError, IndexError) as error:
        raise ServerConnectError(CANNOT_CONNECT, f"{login.address} does not tell its role: {error}") from None
    return Role(recovery == b"t", recovery == b"t" or read_only == b"on")
