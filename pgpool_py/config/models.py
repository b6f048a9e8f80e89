"""The settings of each section as models: [pgbouncer], and one entry of [databases], [users] or [peers].

Knows names, types, defaults and texts. Rules across settings are in checks.py, which level wins in config.py.
"""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.groups.authentication import Authentication
from pgpool_py.config.groups.listening import Listening, Process
from pgpool_py.config.groups.logs import Logs
from pgpool_py.config.groups.network import Dns, Network
from pgpool_py.config.groups.own import Own
from pgpool_py.config.groups.pooling import Handover, Pooling
from pgpool_py.config.groups.timeouts import ClientTimes, ServerTimes
from pgpool_py.config.groups.tls import ClientTls, ServerTls
from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import (
    DatabaseName,
    EntryCount,
    EntryPoolMode,
    EntrySeconds,
    EntrySessionPin,
    EntrySessionState,
    LoadBalance,
    LoadBalanceName,
    OptionalText,
    SecretText,
    ServerPort,
    SessionAttrs,
    SessionAttrsName,
    UserName,
)

GROUPS: tuple[type[Settings], ...] = (
    Listening, Process, Pooling, Handover, Authentication, ServerTimes, ClientTimes, Logs,
    ClientTls, ServerTls, Dns, Network, Own,
)  # fmt: skip


class PgBouncerSettings(
    Own, Network, Dns, ServerTls, ClientTls, Logs,
    ClientTimes, ServerTimes, Authentication, Handover, Pooling, Process, Listening,
):  # fmt: skip
    """The [pgbouncer] section, every setting under its own name."""

    section: ClassVar[str] = "pgbouncer"
    group: ClassVar[str] = ""


class DatabaseSettings(Settings):
    """One entry of [databases]. None is "not set here"; `name` is the entry's, or what a client asked `*`"
    " for."""

    section: ClassVar[str] = "databases"
    group: ClassVar[str] = "Entries of [databases]"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the list, one by one; none for the Unix socket in unix_socket_dir."""
        return tuple(host.strip() for host in (self.host or "").split(",") if host.strip())

    name: str = ""
    # Where the server is, and as whom.
    dbname: DatabaseName = setting(None, "Database on the server. Default: the entry's name.", recycles=True)
    host: OptionalText = setting(
        None,
        "Host name or address of the server, several separated by commas, or the directory of its Unix"
        " socket. Default:"
        " the Unix socket in `unix_socket_dir`.",
        recycles=True,
    )
    port: ServerPort = setting(5432, "Port of the server.", recycles=True)
    user: UserName = setting(
        None,
        "Log in to the server as this user, whoever the client is; there is then one pool.",
        recycles=True,
    )
    password: SecretText = setting(None, "Password of `user`. Default: the secret in `auth_file`.")
    load_balance_hosts: LoadBalanceName = setting(
        LoadBalance.ROUND_ROBIN,
        "With several hosts: each in turn, or `disable`, the first that answers. One that failed lately is tried last.",
        recycles=True,
    )
    target_session_attrs: SessionAttrsName = setting(
        SessionAttrs.ANY,
        "Which of several hosts may serve, by what it is at that moment, in libpq's words. While none is, clients wait (up to"
        " `query_wait_timeout`) and the hosts are asked again every second: a promotion is followed within seconds.",
        own=True,
        recycles=True,
    )
    # What a new server connection is told.
    application_name: OptionalText = setting(None, "`application_name` of a new server connection.")
    client_encoding: OptionalText = setting(None, "`client_encoding` of a new server connection.")
    datestyle: OptionalText = setting(None, "`DateStyle` of a new server connection.")
    timezone: OptionalText = setting(None, "`TimeZone` of a new server connection.")
    connect_query: OptionalText = setting(
        None,
        "Query to run on a new server connection; errors are logged and otherwise ignored. In transaction"
        " and statement mode it runs again after each full reset, which undoes it.",
        recycles=True,
    )
    # How its users are authenticated.
    auth_user: UserName = setting(None, "As in `[pgbouncer]`, for this database.")
    auth_query: OptionalText = setting(None, "As in `[pgbouncer]`, for this database.", recycles=True)
    auth_dbname: DatabaseName = setting(None, "As in `[pgbouncer]`, for this database.", recycles=True)
    # How it is pooled.
    pool_mode: EntryPoolMode = setting(None, "Pool mode of this database.")
    session_state: EntrySessionState = setting(None, "As in `[pgbouncer]`, for this database.", own=True)
    session_pin: EntrySessionPin = setting(None, "As in `[pgbouncer]`, for this database.", own=True)
    pool_size: EntryCount = setting(None, "Pool size of this database, instead of `default_pool_size`.")
    min_pool_size: EntryCount = setting(None, "As in `[pgbouncer]`, for this database.")
    reserve_pool_size: EntryCount = setting(None, "As in `[pgbouncer]`, for this database.", alias="reserve_pool")
    query_wait_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this database.")
    max_db_connections: EntryCount = setting(None, "As in `[pgbouncer]`, for this database.")
    max_db_client_connections: EntryCount = setting(None, "As in `[pgbouncer]`, for this database.")
    server_lifetime: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this database.")


class UserSettings(Settings):
    """One entry of [users]. None is "not set here"."""

    section: ClassVar[str] = "users"
    group: ClassVar[str] = "Entries of [users]"

    name: str = ""
    pool_mode: EntryPoolMode = setting(None, "Pool mode of this user's pools.")
    session_state: EntrySessionState = setting(None, "As in `[pgbouncer]`, for this user's pools.", own=True)
    session_pin: EntrySessionPin = setting(None, "As in `[pgbouncer]`, for this user's pools.", own=True)
    pool_size: EntryCount = setting(None, "Size of this user's pools.")
    reserve_pool_size: EntryCount = setting(None, "As in `[pgbouncer]`, for this user's pools.")
    max_user_connections: EntryCount = setting(None, "As in `[pgbouncer]`, for this user.")
    max_user_client_connections: EntryCount = setting(None, "As in `[pgbouncer]`, for this user.")
    query_wait_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this user.")
    query_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this user.")
    transaction_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this user.")
    idle_transaction_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this user.")
    client_idle_timeout: EntrySeconds = setting(None, "As in `[pgbouncer]`, for this user.")


class PeerSettings(Settings):
    """One entry of [peers]: a process that shares our address."""

    section: ClassVar[str] = "peers"
    group: ClassVar[str] = "Entries of [peers]"

    host: OptionalText = setting(None, "Host name, address or socket directory of the peer. Needed.")
    port: ServerPort = setting(6432, "Port of the peer.")
    pool_size: EntryCount = setting(None, "How many cancel requests may be on their way to it. Default: `default_pool_size`.")
