"""Settings that limit how long something may take or stay."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Seconds, Text, WholeSeconds


class ServerTimes(Settings):
    """How long server connections live."""

    group: ClassVar[str] = "Server connections"

    server_lifetime: Seconds = setting(
        3600.0,
        "Close a server connection of this age once it is released. 0: use each connection once.",
    )
    server_idle_timeout: Seconds = setting(600.0, "Close a server connection idle for this long. 0: never.")
    server_connect_timeout: Seconds = setting(15.0, "Give up a connection attempt, login included. 0: never.")
    server_login_retry: Seconds = setting(
        15.0,
        "After a failed connection or login wait this long; clients meanwhile get the same error at once.",
    )
    autodb_idle_timeout: Seconds = setting(
        3600.0,
        "Forget a database made from the `*` entry when unused for this long. 0: never.",
    )
    pool_idle_timeout: Seconds = setting(
        0.0,
        "Forget a pool that has had neither clients nor servers for this long. 0: never.",
    )


class ClientTimes(Settings):
    """How long clients may wait, idle or run."""

    group: ClassVar[str] = "Client timeouts"

    client_login_timeout: Seconds = setting(60.0, "Disconnect a client that has not logged in after this. 0: never.")
    query_wait_timeout: Seconds = setting(120.0, "Disconnect a client that has waited this long for a server. 0: let it wait.")
    query_wait_notify: WholeSeconds = setting(5, "Send a client that has waited this long for a server a notice. 0: never.")
    query_timeout: Seconds = setting(
        0.0,
        "Disconnect a client whose request has waited and run for this long in all; what runs is cancelled on the server."
        " 0: never.",
    )
    transaction_timeout: Seconds = setting(
        0.0, "Disconnect a client that has been in a transaction for this long; a query that runs is cancelled. 0: never."
    )
    idle_transaction_timeout: Seconds = setting(
        0.0, "Disconnect a client that has been idle in a transaction for this long; it is rolled back. 0: never."
    )
    client_idle_timeout: Seconds = setting(
        0.0,
        "Disconnect a client that has asked nothing for this long outside a transaction. In session mode only a client that"
        " holds no server yet, as in PgBouncer. 0: never.",
    )
    cancel_wait_timeout: Seconds = setting(10.0, "Give up a cancel request that could not be passed on in this time. 0: never.")
    login_notify_message: Text = setting("", "A notice sent to each client after login. Empty: none.")
