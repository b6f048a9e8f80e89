"""The sockets the pooler listens on: opened by its settings or given by systemd; and how many descriptors it may have.

Knows which settings say where. How a socket is opened is frontend/addresses.py's.
"""

from __future__ import annotations

import resource
import socket

from pgpool_py.app.systemd import passed_sockets
from pgpool_py.config import Config
from pgpool_py.frontend.addresses import ListenError, open_tcp, open_unix, remove_unix
from pgpool_py.observe.log import Log


def open_ports(config: Config) -> tuple[list[socket.socket], bool]:
    """Listening sockets as the settings ask for them, and True; those of socket activation, if there are any, and False."""
    if given := passed_sockets():
        return given, False
    main = config.pgbouncer
    sockets = open_tcp(
        main.listen_addr,
        main.listen_port,
        backlog=main.listen_backlog,
        reuse_port=main.so_reuseport,
        defer_accept=main.tcp_defer_accept,
    )
    try:
        if main.unix_socket_dir:
            sockets.append(
                open_unix(
                    main.unix_socket_dir,
                    main.listen_port,
                    mode=main.unix_socket_mode,
                    group=main.unix_socket_group,
                    backlog=main.listen_backlog,
                )
            )
        if not sockets:
            raise ListenError("nowhere to listen: listen_addr and unix_socket_dir are empty, and systemd passed no socket")
    except ListenError:
        for sock in sockets:
            sock.close()
        raise
    return sockets, True


def remove_ports(config: Config) -> None:
    """Take the name of our Unix socket away."""
    main = config.pgbouncer
    if main.unix_socket_dir:
        remove_unix(main.unix_socket_dir, main.listen_port)


def raise_descriptor_limit(config: Config, log: Log) -> None:
    """Use all the descriptors the system allows, and say so if they will not do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = config.pgbouncer.max_client_conn + 100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning(f"max_client_conn needs about {wanted} descriptors, the system allows {hard} (ulimit -n)")


def port_name(sock: socket.socket) -> str:
    """A listening socket in the log."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return "unix:" + (name if isinstance(name, str) else name.decode(errors="replace").replace("\0", "@", 1))
