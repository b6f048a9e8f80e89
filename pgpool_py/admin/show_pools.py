"""SHOW POOLS, DATABASES, USERS, LISTS, PEERS, PEER_POOLS, STATE, MEM, DNS_*: what there is, counted.

The console's own database and pool are listed too, as in PgBouncer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pgpool_py.admin.table import Row, columns
from pgpool_py.admin.world import Place, World
from pgpool_py.config import ADMIN_DATABASE, FALLBACK, DatabaseSettings
from pgpool_py.relay.client import Client
from pgpool_py.relay.server import Server

ADMIN_POOL_SIZE = 2
ADMIN_MODE = "statement"

POOLS = columns(
    "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i sv_active_cancel:i"
    " sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode load_balance_hosts"
)


def pools(world: World) -> Iterator[Row]:
    now = world.clock()
    # auth_query has pools of its own; exporters want one row for each database and user.
    rows: dict[tuple[str, str], list[Place]] = {}
    for place in world.places:
        rows.setdefault((place.pool.database, place.user), []).append(place)
    for (database, user), places in sorted(rows.items()):
        together = [place.pool for place in places]
        waiting = sum(isinstance(each, Client) for pool in together for each in pool.waiting)
        tunnels = sum(tunnel.place in places for tunnel in world.tunnels)
        longest = int(max(pool.max_wait(now) for pool in together) * 1e6)
        yield (
            database,
            user,
            sum(len(pool.clients) for pool in together) - waiting + tunnels,
            waiting,
            sum(world.cancels(pool) for pool in together),
            sum(world.cancels_due(pool) for pool in together),
            sum(len(pool.active) for pool in together) + tunnels,
            sum(server.cancels for pool in together for server in pool.servers() if isinstance(server, Server)),
            sum(len(pool.being_canceled) for pool in together),
            sum(len(pool.idle) + len(pool.surplus) for pool in together),
            sum(len(pool.used) for pool in together),
            sum(len(pool.tested) for pool in together),
            sum(pool.connecting for pool in together),
            longest // 1_000_000,
            longest % 1_000_000,
            places[0].mode.value,
            _balance(places[0].entry),
        )
    yield (ADMIN_DATABASE, ADMIN_DATABASE, len(world.consoles), *[0] * 12, ADMIN_MODE, None)


def _balance(entry: DatabaseSettings) -> str | None:
    return entry.load_balance_hosts.value if entry.host and "," in entry.host else None


DATABASES = columns(
    "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i pool_mode"
    " load_balance_hosts max_connections:i current_connections:i max_client_connections:i current_client_connections:i"
    " paused:i disabled:i"
)


def database_entries(world: World) -> dict[str, DatabaseSettings]:
    """Every database there is: the entries, and those made from "*" for somebody who asked."""
    made = {place.entry.name: place.entry for place in world.places}
    entries = {name: world.config.find_database(name) for name in world.config.databases if name != FALLBACK}
    return {**made, **{name: entry for name, entry in entries.items() if entry is not None}}


def databases(world: World) -> Iterator[Row]:
    config, orders, clients = world.config, world.orders, world.counts.by_database
    servers: dict[str, int] = {}
    for place in world.places:
        servers[place.pool.database] = servers.get(place.pool.database, 0) + place.pool.server_count()
    for name, entry in sorted(database_entries(world).items()):
        yield (
            name,
            entry.host,
            entry.port,
            entry.dbname or name,
            entry.user,
            config.pool_size(entry, ""),
            config.min_pool_size(entry),
            config.reserve_pool_size(entry, ""),
            int(config.server_lifetime(entry)),
            entry.pool_mode.value if entry.pool_mode is not None else None,
            _balance(entry),
            config.max_db_connections(entry),
            servers.get(name, 0),
            int(config.effective(entry, None, "max_db_client_connections")),
            clients.get(name, 0),
            orders.is_paused(name),
            orders.is_disabled(name),
        )
    lifetime = int(config.pgbouncer.server_lifetime)
    port = config.pgbouncer.listen_port
    head = (ADMIN_DATABASE, None, port, ADMIN_DATABASE, ADMIN_DATABASE, ADMIN_POOL_SIZE, 0, 0, lifetime, ADMIN_MODE, None)
    yield (*head, 0, 0, 0, len(world.consoles), 0, 0)


USERS = columns(
    "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i max_user_client_connections:i"
    " current_client_connections:i"
)


def users(world: World) -> Iterator[Row]:
    config, clients = world.config, world.counts.by_user
    servers: dict[str, int] = {}
    for place in world.places:
        servers[place.user] = servers.get(place.user, 0) + place.pool.server_count()
    for name in sorted(user_names(world)):
        entry = config.users.get(name)
        yield (
            name,
            _padded(entry.pool_size if entry else None),
            _padded(entry.reserve_pool_size if entry else None),
            entry.pool_mode.value if entry and entry.pool_mode is not None else None,
            config.max_user_connections(name),
            servers.get(name, 0),
            int(config.effective(None, name, "max_user_client_connections")),
            clients.get(name, 0),
        )


def user_names(world: World) -> set[str]:
    """Every user that is known: from the files, as a forced user, or by having been here."""
    known = {*world.config.userlist, *world.config.users, ADMIN_DATABASE, *world.counts.by_user}
    return known | {place.user for place in world.places}


def _padded(number: int | None) -> str:
    """How PgBouncer writes these two: as text, right-aligned, empty where there is none."""
    return "" if number is None else f"{number:9d}"


PEERS = columns("peer_id:i host port:i pool_size:i")


def peers(world: World) -> Iterator[Row]:
    main = world.config.pgbouncer
    for number, entry in sorted(world.config.peers.items()):
        size = main.default_pool_size if entry.pool_size is None else entry.pool_size
        yield (number, entry.host, entry.port, size)


PEER_POOLS = columns("peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i")


def peer_pools(world: World) -> Iterator[Row]:
    for number in sorted(world.config.peers):
        if number != world.config.pgbouncer.peer_id:
            yield (number, 0, 0, 0, 0)


LISTS = columns("list items:i")


def lists(world: World) -> Iterator[Row]:
    servers = sum(place.pool.server_count() for place in world.places)
    yield ("databases", len(database_entries(world)) + 1)
    yield ("users", len(user_names(world)))
    yield ("peers", len(world.config.peers))
    yield ("pools", len(world.places) + 1)
    yield ("peer_pools", sum(1 for _ in peer_pools(world)))
    yield ("free_clients", 0)  # nothing is allocated ahead
    yield ("used_clients", len(world.clients) + len(world.consoles) + len(world.logins))
    yield ("login_clients", len(world.logins))
    yield ("free_servers", 0)
    yield ("used_servers", servers)
    yield ("dns_names", sum(1 for _ in world.dns_hosts()))
    yield ("dns_zones", sum(1 for _ in world.dns_zones()))
    yield ("dns_queries", world.dns_queries)
    yield ("dns_pending", 0)  # a question is asked at once


STATE = columns("key value")


def state(world: World) -> Iterator[Row]:
    for mode in ("active", "paused", "suspended"):
        yield (mode, "yes" if world.orders.mode == mode else "no")


MEM = columns("name size:i used:i free:i memtotal:i")


def mem(world: World) -> Iterator[Row]:
    """Objects that there may be many of. Nothing is allocated ahead, so nothing is ever free."""
    servers = [server for place in world.places for server in place.pool.servers()]
    for name, objects in (
        ("pool_cache", [place.pool for place in world.places]),
        ("server_cache", servers),
        ("client_cache", list(world.clients)),
    ):
        size = sys.getsizeof(objects[0]) if objects else 0
        yield (name, size, len(objects), 0, size * len(objects))


DNS_HOSTS = columns("hostname ttl:q addrs")
DNS_ZONES = columns("zonename serial:q count:i")


def dns_hosts(world: World) -> Iterator[Row]:
    return iter(world.dns_hosts())


def dns_zones(world: World) -> Iterator[Row]:
    return iter(world.dns_zones())

