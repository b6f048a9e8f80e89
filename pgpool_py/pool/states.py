"""The states of clients and servers, in PgBouncer's words.

A value is the text that SHOW CLIENTS and SHOW SERVERS print. For servers a state is also a list in the pool;
what a state does not say (dirty, close when idle) is a named attribute of the connection.
"""

from enum import StrEnum


class ClientState(StrEnum):
    IDLE = "idle"  # logged in, holds no server
    ACTIVE = "active"  # holds a server
    WAITING = "waiting"  # in pool.waiting
    ACTIVE_CANCEL_REQ = "active_cancel_req"  # a cancel request being sent on
    WAITING_CANCEL_REQ = "waiting_cancel_req"  # a cancel request that waits to be sent on


class ServerState(StrEnum):
    NEW = "new"  # connecting or logging in: counted in pool.connecting, the pool has no object yet
    ACTIVE = "active"  # pool.active: a client holds it
    PINNED = "pinned"  # pool.pinned: one client's until what it has on it is gone; outside the pool's size
    IDLE = "idle"  # pool.idle: may be handed out as it is
    SURPLUS = "surplus"  # pool.surplus: free, and outside the pool's size: for the next place that a pin makes
    USED = "used"  # pool.used: unused for long, must be checked first
    TESTED = "tested"  # pool.tested: its check or reset query is running
    ACTIVE_CANCEL = "active_cancel"  # a connection that only sends a cancel request on; never in a list
    BEING_CANCELED = "being_canceled"  # pool.being_canceled: clean, but a cancel may still hit it
    CLOSED = "closed"  # left the pool; whoever sees this state closes the socket
