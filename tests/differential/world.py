"""Where scripts run: two databases that are equal to the byte, one for direct clients and one behind the pooler."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgpool_py.testing import Pooler, PostgresServer
from tests.differential.looking import CREATE_LOOK_INSIDE, LOOK_INSIDE
from tests.differential.player import Answer, Connect, Player, difference, differences
from tests.differential.script import Script
from tests.system import wire
from tests.system.rawclient import Address, RawClient
from tests.system.stack import wait_until

OWNER, OTHER, BOSS, ADMIN = "diff_owner", "diff_other", "diff_boss", "postgres"
TEMPLATE, DIRECT, POOLED, RESTORED = "diff_template", "diff_direct", "diff_pooled", "diff_restored"
JANITOR = {"application_name": "janitor"}
POOLS = {"one": 1, "two": 2}
HBA = ["host all all 127.0.0.1/32 trust"]
SETTINGS: dict[str, object] = {
    "auth_type": "trust",
    "pool_mode": "transaction",
    "max_client_conn": 200,
    "server_tls_sslmode": "disable",
    "query_wait_timeout": 20,
    "log_stats": 0,
    "log_connections": 0,
    "log_disconnections": 0,
}

ROLES = (
    f"create role {OWNER} login",
    f"create role {OTHER} login",
    f"create role {BOSS} superuser noinherit",
    f"grant {OTHER}, {BOSS} to {OWNER}",
    f"create database {TEMPLATE} owner {OWNER}",
)
SCHEMA = (
    "create table plain (id int primary key, note text)",
    "create table counted (id serial primary key, note text)",
    "create table tenants (tenant text, note text)",
    "insert into tenants values ('one', 'of one'), ('two', 'of two'), ('', 'of nobody')",
    "alter table tenants enable row level security",
    "alter table tenants force row level security",
    "create policy own on tenants using (tenant = current_setting('app.tenant', true))",
    "create schema other_place",
    "create table other_place.plain (id int primary key, note text)",
    # Code that runs any text, and code that can be read.
    "create function run(sql text) returns text language plpgsql as $$ begin execute sql; return 'ran'; end $$",
    "create procedure run_it(sql text) language plpgsql as $$ begin execute sql; end $$",
    "create function set_memory(v text) returns text language sql as $$ select set_config('work_mem', v, false) $$",
    "create function set_tenant(v text) returns text language sql as $$ select set_config('app.tenant', v, false) $$",
    "create function local_memory() returns text language sql set work_mem = '9MB' as $$ select current_setting('work_mem') $$",
    "create view memory_setter as select set_config('work_mem', '7MB', false) as memory",
    "create function lock_it(k bigint) returns void language sql as $$ select pg_advisory_lock(k) $$",
    "create table triggered (id int, note text)",
    "create function on_insert() returns trigger language plpgsql as "
    "$$ begin perform set_config('work_mem', '7MB', false); return new; end $$",
    "create trigger setter before insert on triggered for each row execute function on_insert()",
    # Sequences that an insert calls: a serial column's above, an identity column's, a trigger's; and from within functions.
    "create table identified (id int generated always as identity, note text)",
    "create table stamped (id int, note text)",
    "create sequence stamped_id_seq owned by stamped.id",
    "create function stamp() returns trigger language plpgsql as "
    "$$ begin new.id := nextval('stamped_id_seq'); return new; end $$",
    "create trigger stamper before insert on stamped for each row execute function stamp()",
    "create function counted_here() returns int language sql as $$ insert into counted (note) values ('f') returning id $$",
    "create function counted_last() returns bigint language sql as $$ select lastval() $$",
    CREATE_LOOK_INSIDE,
    f"grant all on all tables in schema public to {OTHER}",
    f"grant usage on schema other_place to {OTHER}",
)
_TABLES = ("plain", "counted", "triggered", "identified", "stamped")


@dataclass(frozen=True)
class Outcome:
    """What became of one script."""

    differences: list[str]
    left_behind: list[str]


@dataclass(repr=False)
class World:
    """The server, the pooler, and a superuser who looks on."""

    server: PostgresServer
    pooler: Pooler
    outcomes: dict[Script, Outcome] = field(default_factory=dict)
    resident: dict[tuple[str, str], list[RawClient]] = field(default_factory=dict)  # who looks on, by pool and user
    new_sessions: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admin = RawClient(self.address, "postgres", ADMIN)
        self.janitors = [RawClient(self.address, name, ADMIN, parameters=JANITOR) for name in (DIRECT, POOLED)]

    def close(self) -> None:
        """Let everybody go: the pooler waits for its clients."""
        for clients in (self.janitors, [self.admin], *self.resident.values()):
            for client in clients:
                client.leave()

    @property
    def address(self) -> Address:
        return Address(self.server.host, self.server.port)

    def direct(self, user: str = OWNER, **parameters: str) -> RawClient:
        return RawClient(self.address, DIRECT, user, parameters=parameters)

    def pooled(self, pool: str) -> Connect:
        """Connect to the pooler, to its database with that many servers."""

        def connect(user: str = OWNER, **parameters: str) -> RawClient:
            return RawClient(Address(self.pooler.host, self.pooler.port), pool, user, parameters=parameters)

        return connect

    def uri(self, pool: str = "", database: str = DIRECT) -> str:
        """For drivers: through the pooler, or past it."""
        port = self.pooler.port if pool else self.server.port
        return f"postgresql://{OWNER}@127.0.0.1:{port}/{pool or database}?sslmode=disable"

    # A script

    def outcome(self, script: Script, patience: float) -> Outcome:
        """Run *script* on both sides, once for all tests that ask."""
        if script not in self.outcomes:
            self.outcomes[script] = self.run(script, patience)
        return self.outcomes[script]

    def run(self, script: Script, patience: float) -> Outcome:
        """The script on direct connections, then through the pooler; then strangers look at every server."""
        self.make_equal(str(script))
        right = self.play(script, self.direct, patience)
        ours = self.play(script, self.pooled(script.pool), patience)
        found = differences(script, right, ours)
        left = self.strangers(script)
        if found or left:
            self.start_anew()
        return Outcome(found, left)

    def play(self, script: Script, connect: Connect, patience: float) -> list[Answer]:
        player = Player(connect, patience)
        try:
            return [player.play(step) for step in script.steps]
        finally:
            player.close()

    def make_equal(self, text: str) -> None:
        """Empty the tables that *text* has to do with, on both sides."""
        names = [name for name in _TABLES if name in text]
        if names:
            for janitor in self.janitors:
                reply = janitor.query(f"truncate {', '.join(names)} restart identity")
                assert wire.errors(reply) == []

    def strangers(self, script: Script) -> list[str]:
        """What others find, on each server of the pool, that a new session would not have."""
        self.wait_quiet()
        found: list[str] = []
        words = [word for step in script.steps if step.verb == "!" for word in step.rest.split()]
        for user in sorted({OWNER, *(word[5:] for word in words if word.startswith("user="))}):
            expected = self.new_session(user)
            for look in [self.look_inside(client) for client in self.residents(script.pool, user)]:
                found += difference(expected, look) if look != expected else []
            for client in self.residents(script.pool, user):
                client.query("rollback")
        return found

    def residents(self, pool: str, user: str) -> list[RawClient]:
        """Clients that never set anything, as many as the pool has servers."""
        if (pool, user) not in self.resident:
            self.resident[pool, user] = [self.pooled(pool)(user) for _ in range(POOLS[pool])]
        return self.resident[pool, user]

    def new_session(self, user: str) -> Answer:
        """What a session of its own finds."""
        if user not in self.new_sessions:
            with self.direct(user) as newcomer:
                self.new_sessions[user] = self.look_inside(newcomer)
        return self.new_sessions[user]

    def look_inside(self, client: RawClient) -> Answer:
        """What a function sees of the session, in a transaction that stays open."""
        player = Player(self.direct, 0)
        reply = client.query("begin") + client.query(LOOK_INSIDE)
        heard, client.notifications = client.notifications, []
        return player.shown(reply) + player.told(client) + [f"A {body!r}" for body in heard]

    def wait_quiet(self) -> None:
        """Until no server of the pooler runs anything or is in a transaction."""
        sql = f"select count(*) from pg_stat_activity where datname = '{POOLED}' and state <> 'idle'"
        wait_until(lambda: self.admin.ask(sql) == "0", "servers are idle")

    def start_anew(self, database: str = POOLED) -> None:
        """After a failure: the next script finds servers that nobody has used."""
        for clients in self.resident.values():
            for client in clients:
                client.leave()
        self.resident.clear()
        which = f"datname = '{database}' and application_name <> 'janitor'"
        self.admin.query(f"select pg_terminate_backend(pid) from pg_stat_activity where {which}")
        wait_until(lambda: self.admin.ask(f"select count(*) from pg_stat_activity where {which}") == "0", "servers are gone")
