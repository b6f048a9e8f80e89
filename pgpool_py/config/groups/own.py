"""Settings that PgBouncer does not have."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import (
    Address,
    Bytes,
    Count,
    ListenLoss,
    ListenLossName,
    Placeholders,
    PlaceholdersName,
    Port,
    Seconds,
    SessionPin,
    SessionPinName,
    SessionState,
    SessionStateName,
)


class Own(Settings):
    """Settings that PgBouncer does not have."""

    group: ClassVar[str] = "pgpool_py only"

    session_state: SessionStateName = setting(
        SessionState.TRANSPARENT,
        "What becomes of session state in transaction and statement mode. `transparent`: the client keeps it and nobody"
        " else sees it. `reset`: nobody else sees it, the client may lose it. `pgbouncer`: exactly as PgBouncer does,"
        " which means that it leaks. An entry's own goes before it.",
        own=True,
    )
    session_pin: SessionPinName = setting(
        SessionPin.ALLOW,
        "What happens when only one server can keep a client's state (a temporary table, a session advisory lock, a"
        " `WITH HOLD` cursor, SQL `PREPARE`). `allow`: the client keeps that server until the state is gone; `notice`: and is"
        " sent a NOTICE; `error`: the statement is refused. An insert whose `lastval()` may be read later is never refused:"
        " then that value is lost. An entry's own goes before it.",
        own=True,
    )
    pin_pool_size: Count = setting(
        5,
        "How many servers of a pool may be pinned to a client, beside the pool's size. One that is needed beyond that is"
        " refused with an error; one that is only held (for a sequence value, or for what no reset ends) makes room.",
        own=True,
    )
    pin_timeout: Seconds = setting(
        0.0,
        "How long a client may keep a pinned server; then it is disconnected with an error that names the state."
        " A server that is only held, for 60 seconds at most, is taken back instead. 0: no limit.",
        own=True,
    )
    session_placeholders: PlaceholdersName = setting(
        Placeholders.EXACT,
        "A custom setting such as `app.tenant` stays defined, as an empty string, for the life of a server connection."
        " `exact`: a client that never touched it gets a server where it was never defined, or a new one. `empty`: it may"
        " see an empty string where a direct connection has none, and code that runs commands which nobody has seen costs no"
        " connections.",
        own=True,
    )
    leaving_query_timeout: Seconds = setting(
        30.0,
        "How long a request that was received whole before its client left may run on before it is"
        " cancelled. 0: it is"
        " cancelled at once.",
        own=True,
    )
    listen_buffer_size: Bytes = setting(
        8388608,
        "How many bytes of notifications are kept for a client that listens while it is in a transaction or does"
        " not read. Beyond that they are lost, and it is told so as `listen_loss` says. 0: no limit.",
        own=True,
    )
    listen_loss: ListenLossName = setting(
        ListenLoss.FATAL,
        "What a client is told whose notifications are lost, because the connection that listens for it was, or"
        " because it does not keep up: `fatal` ends it with 57P01, `notice` sends a warning, and it goes on listening.",
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
    metrics_listen_addr: Address = setting(
        "",
        "Address on which `GET /metrics` is answered in Prometheus' format, to whoever asks; `0.0.0.0` is every IPv4"
        " address, `::` every IPv6 one. Empty: none.",
        changeable=False,
        own=True,
    )
    metrics_port: Port = setting(9127, "TCP port for that.", changeable=False, own=True)
