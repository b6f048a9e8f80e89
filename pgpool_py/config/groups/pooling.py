"""Settings of who may have how many connections, and how a server passes from client to client."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Count, OnOff, PoolMode, PoolModeName, Seconds, Text, TextList


class Pooling(Settings):
    """Pools and their limits."""

    group: ClassVar[str] = "Pooling"

    pool_mode: PoolModeName = setting(
        PoolMode.SESSION,
        "When a server goes back to its pool: `session`, when the client disconnects; `transaction`, when the"
        " transaction ends; `statement`, after each statement, with transaction blocks refused.",
    )
    default_pool_size: Count = setting(
        20,
        "How many server connections a pool, that is one database and user, may have. An entry's `pool_size`"
        " goes"
        " before it. 0: no limit.",
    )
    min_pool_size: Count = setting(
        0,
        "Keep at least this many server connections open in each pool that has a client or a forced user.",
    )
    reserve_pool_size: Count = setting(
        0,
        "How many servers a pool may open beyond its size once a client has waited `reserve_pool_timeout`. 0: none.",
    )
    reserve_pool_timeout: Seconds = setting(5.0, "How long a client waits before the reserve is used. 0: never.")
    max_client_conn: Count = setting(
        100,
        "How many clients may be connected in all, waiting ones included. The admin console is not counted.",
    )
    max_db_connections: Count = setting(
        0, "How many server connections one database entry may have, all its pools together. 0: no limit."
    )
    max_db_client_connections: Count = setting(0, "How many clients one database entry may have. 0: no limit.")
    max_user_connections: Count = setting(0, "How many server connections one user may have, over all databases. 0: no limit.")
    max_user_client_connections: Count = setting(0, "How many clients one user may have, over all databases. 0: no limit.")
    server_round_robin: OnOff = setting(False, "Hand out the server that was idle longest instead of the one used last.")


class Handover(Settings):
    """How a server is made ready for its next client."""

    group: ClassVar[str] = "Sessions and reset"

    max_prepared_statements: Count = setting(
        200,
        "How many prepared statements of the protocol each server connection keeps for its clients in"
        " transaction and"
        " statement mode; the least recently used goes first. 0: statements are passed through untouched.",
    )
    server_reset_query: Text = setting(
        "DISCARD ALL",
        "Query sent when a session ends, before the server goes to the next client. Empty: none.",
    )
    server_reset_query_always: OnOff = setting(False, "Send `server_reset_query` at every release, in every pool mode.")
    server_check_query: Text = setting(
        "<empty>",
        "Query that tells whether an idle server still answers; `<empty>` is the protocol's empty query."
        " Nothing:"
        " servers are not checked.",
    )
    server_check_delay: Seconds = setting(
        30.0, "A server released less than this ago is handed out without a check. 0: always check."
    )
    server_fast_close: OnOff = setting(
        False,
        "In session mode, close a server that is to be replaced at the end of the transaction instead of the session.",
    )
    track_extra_parameters: TextList = setting(
        ("IntervalStyle",),
        "Further parameters, of those the server reports, that follow a client to every server it gets.",
        changeable=False,
    )
    ignore_startup_parameters: TextList = setting(
        (),
        "Startup parameters that a client may send and that are dropped. With `options`, unknown parts of it are too.",
    )
    application_name_add_host: OnOff = setting(
        False,
        "Add the client's address and port to the `application_name` it starts with.",
    )
    disable_pqexec: OnOff = setting(
        False,
        "Refuse the simple query protocol, which carries several statements in one text.",
        changeable=False,
    )
