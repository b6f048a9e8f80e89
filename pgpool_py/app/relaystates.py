"""The pool's states under the names by which the relay compares them: the one place where both are known."""

from typing import Any

from pgpool_py.pool.states import ClientState, ServerState


class _RelayStates:
    client_idle: Any = ClientState.IDLE
    client_waiting: Any = ClientState.WAITING
    server_idle: Any = ServerState.IDLE
    server_active: Any = ServerState.ACTIVE
    server_tested: Any = ServerState.TESTED
    server_being_canceled: Any = ServerState.BEING_CANCELED


RELAY_STATES = _RelayStates()
