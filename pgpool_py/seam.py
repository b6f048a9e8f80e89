"""Where the pool and the relay meet: what each may know of the other, and no more.

Hot: `acquire` and `release` run once per transaction each, through these classes; `benchmarks/compare.py`
guards them. Neither side imports the other; `app` puts them together.
"""

from __future__ import annotations

from typing import Any


class Member:
    """A client or a server connection as a pool sees it. Hashed by identity.

    `state`         ClientState or ServerState
    `pool`          the pool it belongs to
    `connect_time`  when the connection was started
    `wait_start`    of a client: when it entered the queue; written by the pool
    `last_server`   of a client: the server it held last, or None; written by the pool
    `request_time`  of a server: when it was last handed back; written by the pool
    `close_needed`  of a server: close it instead of handing it on
    `ahead`, `behind`  its neighbours in the pool's list it stands in, None in none; see pool/line.py
    """

    state: Any
    pool: Any
    connect_time: float
    wait_start: float
    last_server: Any
    request_time: float
    close_needed: bool
    ahead: Any
    behind: Any


class Dispenser:
    """A pool as the relay sees it on the path of a transaction; `pool.Pool` is one."""

    def acquire(self, client: Member, now: float) -> Any:
        """The server the client may use at once, or None: it waits."""
        raise NotImplementedError

    def may_grow(self) -> bool:
        """Whether something may be done for a client that has to wait, beyond waiting."""
        raise NotImplementedError

    def release(self, server: Member, now: float) -> Any:
        """Take *server* back: the waiting client that has it now; or None, and server.state tells the rest."""
        raise NotImplementedError
