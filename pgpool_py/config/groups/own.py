"""Settings that PgBouncer does not have."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Seconds


class Own(Settings):
    """Settings that PgBouncer does not have."""

    group: ClassVar[str] = "pgpool_py only"

    leaving_query_timeout: Seconds = setting(
        30.0,
        "How long a request that was received whole before its client left may run on before it is"
        " cancelled. 0: it is"
        " cancelled at once.",
        own=True,
    )
    server_reset_timeout: Seconds = setting(
        5.0,
        "How long the roll-back and reset of a server between two clients may take before it is closed instead.",
        own=True,
    )
    drain_delay: Seconds = setting(
        0.0,
        "On SIGTERM, go on accepting clients for this long: whoever sends them here needs a while to notice. 0: stop at once.",
        own=True,
    )
    drain_timeout: Seconds = setting(
        0.0,
        "On SIGTERM, close clients between two transactions (57P01), evenly over this time, and cut off what is left at its"
        " end. 0: wait for the clients, as PgBouncer does.",
        own=True,
    )
    auth_failure_delay: Seconds = setting(
        2.0,
        "After five wrong passwords in a minute, a login of the same user from the same address waits before it begins:"
        " 0.1 seconds, then twice as long each time, up to this. 0: it does not.",
        own=True,
    )
