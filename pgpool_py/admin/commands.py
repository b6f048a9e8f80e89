"""Everything that may be said on the console, in two tables: what follows SHOW, and the commands.

Each row says who may use it; what is not in a table is refused, whoever asks (CVE-2026-6667: KILL_CLIENT had no such row). STATS
is everybody who was let in; ADMIN is `admin_users` and the pooler's own system user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from pgpool_py.admin import show_config, show_own, show_pools, show_sockets, show_stats
from pgpool_py.admin.errors import Refused, admin_needed, invalid_command
from pgpool_py.admin.grammar import Statement
from pgpool_py.admin.table import JSON_COLUMNS, Columns, Row, Table, columns
from pgpool_py.admin.world import Wait, World
from pgpool_py.config import AuthType, Config
from pgpool_py.version import VERSION_LINE


class Right(IntEnum):
    """Who is at the console; each may do what the one before may."""

    STATS = 1
    ADMIN = 2


def right_of(config: Config, user: str, own_user: bool) -> Right | None:
    """What *user* may do on the console; None: not even enter."""
    main = config.pgbouncer
    if own_user or user in main.admin_users:
        return Right.ADMIN
    # Under auth_type=any nobody has proved a name, so the most that a name gives is a look.
    if user in main.stats_users or main.auth_type is AuthType.ANY:
        return Right.STATS
    return None


@dataclass(frozen=True, slots=True)
class Notice:
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command answers: its tag, perhaps a table, notices, or that it takes time."""

    tag: str
    table: Table | None = None
    as_json: bool = False
    notices: tuple[Notice, ...] = ()
    wait: Wait | None = None
    hangs: bool = False  # nothing is answered: the process ends


# --- SHOW ---


@dataclass(frozen=True, slots=True)
class Show:
    """One table. *rows* gets the words that follow the name, between none and *most* of them."""

    columns: Columns
    rows: Callable[..., Iterable[Row]]
    right: Right = Right.STATS
    least: int = 0
    most: int = 0


def _version(world: World) -> Iterable[Row]:
    yield (VERSION_LINE,)


SHOWS: dict[str, Show] = {
    "active_sockets": Show(show_sockets.ACTIVE_SOCKETS, show_sockets.active_sockets),
    "clients": Show(show_sockets.CLIENTS, show_sockets.clients),
    "config": Show(show_config.CONFIG, show_config.config),
    "databases": Show(show_pools.DATABASES, show_pools.databases),
    "dns_hosts": Show(show_pools.DNS_HOSTS, show_pools.dns_hosts),
    "dns_zones": Show(show_pools.DNS_ZONES, show_pools.dns_zones),
    "fds": Show(show_sockets.FDS, show_sockets.fds, Right.ADMIN),
    "lists": Show(show_pools.LISTS, show_pools.lists),
    "mem": Show(show_pools.MEM, show_pools.mem),
    "peer_pools": Show(show_pools.PEER_POOLS, show_pools.peer_pools),
    "peers": Show(show_pools.PEERS, show_pools.peers),
    "pools": Show(show_pools.POOLS, show_pools.pools),
    "servers": Show(show_sockets.SERVERS, show_sockets.servers),
    "sockets": Show(show_sockets.SOCKETS, show_sockets.sockets),
    "state": Show(show_pools.STATE, show_pools.state),
    "stats": Show(show_stats.STATS, show_stats.stats),
    "stats_averages": Show(show_stats.STATS_AVERAGES, show_stats.stats_averages),
    "stats_totals": Show(show_stats.STATS_TOTALS, show_stats.stats_totals),
    "totals": Show(show_stats.TOTALS, show_stats.totals),
    "users": Show(show_pools.USERS, show_pools.users),
    "version": Show(columns("version"), _version),
    # beyond PgBouncer
    "config full": Show(show_config.CONFIG_FULL, show_config.config_full),
    "pins": Show(show_own.PINS, show_own.pins),
    "settings_diff": Show(show_own.SETTINGS_DIFF, show_own.settings_diff, Right.ADMIN, least=1, most=1),
    "top": Show(show_own.TOP, show_own.top),
}

# Drivers ask for these without need, and set them.
FAKE_SETTINGS = {
    "client_encoding": "UTF-8",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "datestyle": "ISO",
    "timezone": "GMT",
    "extra_float_digits": "2",
}
# Set by drivers at their start; PgBouncer refuses these, which ends the login there.
_IGNORED_SETTINGS = frozenset({"application_name", "search_path", "statement_timeout"})

HELP = """
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW PEERS|PEER_POOLS
\tSHOW FDS|SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW DNS_HOSTS|DNS_ZONES
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW CONFIG FULL|PINS|TOP|SETTINGS_DIFF <client_id>
\tSHOW ... AS JSON
\tCHECK AUTH <user> <db> [<address>|local]
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tSUSPEND
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]"""


def _find_show(statement: Statement) -> tuple[Show, tuple[str, ...]]:
    """The table that is asked for, and the words behind its name."""
    words = statement.arguments
    for length in (2, 1):
        show = SHOWS.get(" ".join(words[:length]).lower()) if len(words) >= length else None
        if show is not None:
            rest = words[length:]
            if not show.least <= len(rest) <= show.most:
                break
            return show, rest
    raise invalid_command(statement.text)


def _show(world: World, statement: Statement, right: Right) -> Result:
    name = " ".join(statement.arguments).lower()
    if name == "help":
        return Result("SHOW", notices=(Notice("Console usage", HELP),))
    if (fake := _fake(name)) is not None:
        return Result("SHOW", Table(columns(name.split()[-1]), [(fake,)]), statement.as_json)
    show, rest = _find_show(statement)
    if right < show.right:
        raise admin_needed()
    notices = tuple(Notice(line) for line in show_config.pending_lines(world)) if name.startswith("config") else ()
    return Result("SHOW", Table(show.columns, show.rows(world, *rest)), statement.as_json, notices)


def _fake(name: str) -> str | None:
    if name == "transaction isolation level":
        return FAKE_SETTINGS["default_transaction_isolation"]
    return FAKE_SETTINGS.get(name)


# --- commands ---


@dataclass(frozen=True, slots=True)
class Command:
    """One command with at least *least* and at most *most* arguments."""

    run: Callable[[World, Statement, Right], Result | Awaitable[Result]]
    right: Right = Right.ADMIN
    least: int = 0
    most: int = 0
    columns: Columns | None = None


def _order(method: str, *, logged: bool = True) -> Callable[[World, Statement, Right], Result]:
    """A command that is one order, with its optional database."""

    def run(world: World, statement: Statement, right: Right) -> Result:
        target = statement.arguments[0] if statement.arguments else None
        shown = f" '{target}'" if target is not None else ""
        world.log(f"{statement.verb.upper()}{shown} command issued")
        given = () if target is None and method in ("suspend", "reload") else (target,)
        wait = getattr(world.orders, method)(*given)
        return Result(statement.verb.upper(), wait=wait if isinstance(wait, Wait) else None)

    return run


def _for_database(method: str) -> Callable[[World, Statement, Right], Result]:
    """The same where a database must be named."""
    order = _order(method)

    def run(world: World, statement: Statement, right: Right) -> Result:
        if not statement.arguments:
            raise Refused("a database is required")
        return order(world, statement, right)

    return run


def _kill_client(world: World, statement: Statement, right: Right) -> Result:
    number = statement.arguments[0] if statement.arguments else ""
    if not number.isdecimal():
        raise Refused("invalid client pointer supplied", hint="the id of SHOW CLIENTS is wanted")
    world.orders.kill_client(int(number))
    return Result("KILL_CLIENT")


def _shutdown(world: World, statement: Statement, right: Right) -> Result:
    mode = statement.arguments[0].lower() if statement.arguments else ""
    if mode not in ("", "wait_for_servers", "wait_for_clients"):
        raise invalid_command(statement.text)
    world.log(f"SHUTDOWN{' ' + mode.upper() if mode else ''} command issued")
    world.orders.shutdown(mode)
    return Result("SHUTDOWN", hangs=not mode)


def _set(world: World, statement: Statement, right: Right) -> Result:
    key, value = statement.arguments[0], statement.value
    if key.lower() in FAKE_SETTINGS or key.lower() in _IGNORED_SETTINGS:
        return Result("SET", notices=(Notice("SET ignored"),))
    if right < Right.ADMIN:
        raise admin_needed()
    world.orders.set(key, value)
    return Result(f"SET {key}={value}")


CHECK_COLUMNS = columns("user database result explanation")


async def _check(world: World, statement: Statement, right: Right) -> Result:
    what, user, database, *address = statement.arguments
    if what.lower() != "auth":
        raise invalid_command(statement.text)
    result, explanation = await world.check_auth(user, database, address[0] if address else None)
    return Result("CHECK", Table(CHECK_COLUMNS, [(user, database, result, explanation)]), statement.as_json)


def _transaction(world: World, statement: Statement, right: Right) -> Result:
    tag = {"start": "START TRANSACTION", "abort": "ROLLBACK", "end": "COMMIT"}.get(statement.verb, statement.verb.upper())
    return Result(tag, notices=(Notice(f"{tag} ignored"),))


COMMANDS: dict[str, Command] = {
    "disable": Command(_for_database("disable"), most=1),
    "enable": Command(_for_database("enable"), most=1),
    "kill": Command(_order("kill"), most=1),
    "kill_client": Command(_kill_client, most=1),
    "pause": Command(_order("pause"), most=1),
    "reconnect": Command(_order("reconnect"), most=1),
    "reload": Command(_order("reload")),
    "resume": Command(_order("resume"), most=1),
    "set": Command(_set, Right.STATS, least=1, most=1),  # a driver's own settings are ignored for everybody
    "show": Command(_show, Right.STATS, least=1, most=3),
    "shutdown": Command(_shutdown, most=1),
    "suspend": Command(_order("suspend")),
    "wait_close": Command(_order("wait_close"), most=1),
    # beyond PgBouncer
    "check": Command(_check, least=3, most=4, columns=CHECK_COLUMNS),
    # Drivers wrap what they say in transactions. There are none here; see console.py for what they are told.
    "begin": Command(_transaction, Right.STATS, most=15),
    "start": Command(_transaction, Right.STATS, most=15),
    "commit": Command(_transaction, Right.STATS, most=3),
    "end": Command(_transaction, Right.STATS, most=3),
    "rollback": Command(_transaction, Right.STATS, most=3),
    "abort": Command(_transaction, Right.STATS, most=3),
}


def find(statement: Statement) -> Command:
    """The command of a statement; Refused when there is none."""
    command = COMMANDS.get(statement.verb)
    if command is None or not command.least <= len(statement.arguments) <= command.most:
        raise invalid_command(statement.text)
    return command


def run(world: World, statement: Statement, right: Right) -> Result | Awaitable[Result]:
    """Do what the statement says, for somebody with *right*; what has to be awaited may take time."""
    command = find(statement)
    if right < command.right:
        raise admin_needed()
    return command.run(world, statement, right)


def columns_of(statement: Statement) -> Columns | None:
    """The columns the statement will answer with, None for none; nothing is done yet."""
    command = find(statement)
    if statement.verb != "show":
        found = command.columns
    else:
        name = " ".join(statement.arguments).lower()
        if name == "help":
            return None
        found = columns(name.split()[-1]) if _fake(name) is not None else _find_show(statement)[0].columns
    return JSON_COLUMNS if found is not None and statement.as_json else found
