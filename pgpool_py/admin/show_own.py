"""What PgBouncer does not show: SHOW PINS, SHOW TOP, SHOW SETTINGS_DIFF.

Of clients that are connected now; what those did that have left is in SHOW STATS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgpool_py.admin.errors import Refused
from pgpool_py.admin.show_sockets import application_name, pointer
from pgpool_py.admin.table import Row, columns
from pgpool_py.admin.world import World
from pgpool_py.pool.states import ClientState
from pgpool_py.relay.client import Client

PINS = columns("id:i database user application_name reason age:i ptr link")


def pins(world: World) -> Iterator[Row]:
    """Clients that keep their server between transactions, and why."""
    now = world.clock()
    for client in list(world.clients):
        if client.closed:
            continue
        for reason, since in world.pins(client):
            who = (client.number, client.database.name, client.user, application_name(client))
            yield (*who, reason, int(now - since), pointer(client), pointer(client.server))


TOP = columns(
    "application_name database user clients:i holding:i waiting:i longest_hold_us:q longest_wait_us:q hold_time_us:q"
    " wait_time_us:q transactions:q queries:q"
)


@dataclass(slots=True)
class _Usage:
    clients: int = 0
    holding: int = 0
    waiting: int = 0
    longest_hold: float = 0.0
    longest_wait: float = 0.0
    hold_time: float = 0.0
    wait_time: float = 0.0
    transactions: int = 0
    queries: int = 0


def top(world: World) -> Iterator[Row]:
    """Who holds servers and who waits for them, by application; who held longest in all comes first."""
    now = world.clock()
    usage: dict[tuple[str, str, str], _Usage] = {}
    for client in list(world.clients):
        key = (application_name(client), client.database.name, client.user)
        _add(usage.setdefault(key, _Usage()), client, now)
    for key, use in sorted(usage.items(), key=lambda item: -item[1].hold_time):
        times = (use.longest_hold, use.longest_wait, use.hold_time, use.wait_time)
        yield (*key, use.clients, use.holding, use.waiting, *[int(time * 1e6) for time in times], use.transactions, use.queries)


def _add(use: _Usage, client: Client, now: float) -> None:
    use.clients += 1
    use.transactions += client.transaction_count
    use.queries += client.query_count
    use.hold_time += client.transaction_time
    use.wait_time += client.wait_time
    if client.server is not None:
        use.holding += 1
        held = now - client.transaction_start if client.transaction_start else 0.0
        use.hold_time += held
        use.longest_hold = max(use.longest_hold, held)
    elif client.state is ClientState.WAITING:
        use.waiting += 1
        waited = now - client.wait_start
        use.wait_time += waited
        use.longest_wait = max(use.longest_wait, waited)


SETTINGS_DIFF = columns("name client startup server")


def settings_diff(world: World, number: str) -> Iterator[Row]:
    """What one client has set: its value now, at its start, and on the server it holds, if any."""
    client = find_client(world, number)
    now, start = client.settings.values, client.startup.values
    there = client.server.in_force.values if client.server is not None else {}
    for name in sorted({*now, *start, *there}):
        yield (_text(name), _value(now.get(name)), _value(start.get(name)), _value(there.get(name)))


def find_client(world: World, number: str) -> Client:
    """The client with that id, of SHOW CLIENTS."""
    if not number.isdecimal():
        raise Refused("invalid client pointer supplied", hint="the id of SHOW CLIENTS is wanted")
    found = next((client for client in world.clients if client.number == int(number)), None)
    if found is None:
        raise Refused("client not found")
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _value(value: bytes | None) -> str | None:
    return None if value is None else _text(value)
