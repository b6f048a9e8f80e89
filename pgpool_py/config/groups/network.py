"""Settings of names, sockets and buffers."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Bytes, Count, File, Milliseconds, OnOff, Seconds, WholeSeconds


class Dns(Settings):
    """Looking up hosts."""

    group: ClassVar[str] = "DNS"

    dns_max_ttl: Seconds = setting(15.0, "How long an answer is used, whatever its own lifetime.")
    dns_nxdomain_ttl: Seconds = setting(15.0, "How long a failed lookup is remembered.")
    dns_zone_check_period: Seconds = setting(
        0.0,
        "How often to ask for the serial number of each zone, and to look its names up again, used or not, when that has changed:"
        " connections to addresses a name no longer has are replaced. A name without a zone is looked up each time. 0: never.",
    )
    resolv_conf: File = setting(
        "",
        "Resolver file (as /etc/resolv.conf) for the names of servers. Empty: names are looked up by the system's own resolver.",
        changeable=False,
    )


class Network(Settings):
    """Sockets and buffers."""

    group: ClassVar[str] = "Network"

    tcp_keepalive: OnOff = setting(True, "Have the kernel probe idle TCP connections.")
    tcp_keepidle: WholeSeconds = setting(0, "Idle time before the first probe. 0: the system's.")
    tcp_keepintvl: WholeSeconds = setting(0, "Time between probes. 0: the system's.")
    tcp_keepcnt: Count = setting(0, "How many probes may go unanswered. 0: the system's.")
    tcp_user_timeout: Milliseconds = setting(
        0, "How long sent data may stay unacknowledged before the connection is cut. 0: the system's."
    )
    tcp_defer_accept: OnOff = setting(
        True,
        "Let the kernel hold a connection back until its first data arrives, where it can.",
    )
    tcp_socket_buffer: Bytes = setting(0, "Size of the kernel's socket buffers. 0: the system's.")
    pkt_buf: Bytes = setting(
        4096,
        "Size of PgBouncer's packet buffers, of which it has one for each connection.",
        changeable=False,
        moot="all connections share one buffer",
    )
    max_packet_size: Bytes = setting(2147483647, "Largest single message that is let through.")
    sbuf_loopcnt: Count = setting(
        5,
        "How many buffers of one connection PgBouncer works on before the next one.",
        moot="every connection gets one buffer at a time",
    )
