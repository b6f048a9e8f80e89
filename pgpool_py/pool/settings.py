"""The settings that decide a pool's behaviour, already resolved for its database entry and user.

Names and units are PgBouncer's, times are float seconds. The object is mutable: a reload writes into it and
calls Pool.settings_changed. Where the values come from (entry, user, global) is not known here.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class PoolSettings:
    pool_size: int = 20  # 0 = unlimited
    min_pool_size: int = 0
    reserve_pool_size: int = 0
    reserve_pool_timeout: float = 5.0  # 0 = the reserve is not used
    pin_pool_size: int = 5  # servers that may be pinned, beside the pool's size
    hold_time: float = 60.0  # how long a server may be held
    query_wait_timeout: float = 120.0  # 0 = wait for ever
    query_timeout: float = 0.0  # here only for queries still in the queue
    server_lifetime: float = 3600.0  # 0 = use once
    server_idle_timeout: float = 600.0  # 0 = never
    server_login_retry: float = 15.0
    server_check_delay: float = 30.0  # 0 = check after each use
    server_check_query: bool = True  # whether there is one at all
    server_round_robin: bool = False
    patient: bool = False  # failing logins fail nobody: another server is expected to take over
    forced_user: bool = False  # the entry names its user: min_pool_size holds without clients, too
