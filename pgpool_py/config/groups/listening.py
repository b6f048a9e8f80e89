"""Settings of the process and of where it listens."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Count, File, FileMode, OnOff, PeerId, Port, Seconds, Text, TextList


class Listening(Settings):
    """Where clients connect to."""

    group: ClassVar[str] = "Listening"

    listen_addr: TextList = setting(
        (),
        "Addresses or host names to listen on for TCP, separated by commas; `*` is every address. Empty:"
        " only the Unix"
        " socket is served.",
        changeable=False,
    )
    listen_port: Port = setting(
        6432, "TCP port to listen on. It also names the Unix socket, `.s.PGSQL.<port>`.", changeable=False
    )
    listen_backlog: Count = setting(128, "How many connections the kernel may hold before they are accepted.", changeable=False)
    so_reuseport: OnOff = setting(False, "Let several processes listen on the same TCP address and port.", changeable=False)
    unix_socket_dir: File = setting(
        "/tmp",
        "Directory of the Unix socket to listen on, also used for servers without a host. A leading `@`"
        " makes an"
        " abstract socket. Empty: no Unix socket.",
        changeable=False,
    )
    unix_socket_mode: FileMode = setting(
        0o777,
        "File mode of the Unix socket. Write it with a leading 0: it is then read as octal.",
        changeable=False,
    )
    unix_socket_group: Text = setting("", "Group that owns the Unix socket.", changeable=False)
    peer_id: PeerId = setting(
        0,
        "The number of this process among the `[peers]` that share one address, 1 to 16383. It becomes part"
        " of the"
        " cancel keys. 0: no peers.",
    )


class Process(Settings):
    """The process itself."""

    group: ClassVar[str] = "Process"

    user: Text = setting("", "Unix user to become after start, when started by root.", changeable=False)
    pidfile: File = setting(
        "",
        "File that holds the process id while running. Needed by `--daemon`.",
        changeable=False,
    )
    conffile: File = setting(
        "",
        "Configuration file to read at the next reload, if not the one given at start.",
    )
    job_name: Text = setting(
        "pgbouncer",
        "Name of the Windows service.",
        changeable=False,
        alias="service_name",
        moot="it names a Windows service",
    )
    suspend_timeout: Seconds = setting(
        10.0, "How long to wait for buffers to be flushed in SUSPEND or an online restart."
    )
