"""Every kind of session state, in every way in and with every way out, as scripts.

A row says how a kind is made and unmade and what shows it; what that shows is PostgreSQL's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.differential.script import Script, script


@dataclass(frozen=True)
class Kind:
    """One kind of session state."""

    name: str
    make: str
    undo: str
    looks: tuple[str, ...]  # each shows it, to its owner or to others
    needs: str = ""
    odd: str = ""  # the same with comments, other case, other words
    bound: str = ""  # the same with bound parameters
    static: str = ""  # the same from a function or view that can be read
    pins: bool = False
    nested: bool = True  # may be made by PL/pgSQL
    ways: dict[str, str] = field(default_factory=dict)  # further ways in, by name

    @property
    def pool(self) -> str:
        return "two" if self.pins else "one"

    def ways_in(self) -> Iterator[tuple[str, str, str]]:
        """Name, step and what it needs beyond the kind itself."""
        yield "simple", f": {self.make}", ""
        yield "extended", f"> {self.make}", ""
        yield "among others", f": select 1; {self.make}; select 2", ""
        if self.odd:
            yield "odd", f": {self.odd}", ""
            yield "odd extended", f"> {self.odd}", ""
        if self.bound:
            yield "bound", f"> {self.bound}", ""
        if self.static:
            yield "static function", f": {self.static}", "functions"
        if self.nested:
            yield "dynamic function", f": select run($run${self.make}$run$)", "opaque"
            yield "bound function", f"> select run($1) <- {self.make.replace(', ', ',')}", "opaque"
            yield "procedure", f": call run_it($run${self.make}$run$)", "opaque"
            yield "do", f": do $do$ begin execute $run${self.make}$run$; end $do$", "opaque"
        for name, step in self.ways.items():
            yield name, step, ""


MEMORY, TENANT = "show work_mem", "select current_setting('app.tenant', true)"
WHO = "select current_user, session_user"
KEY = "select pg_try_advisory_xact_lock(4711)"
LOCKS = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"

THOROUGH = ("simple", "extended", "do")  # ways in that are tried with every way out

KINDS = [
    Kind(
        "reported",
        "set application_name = 'mine'",
        "reset application_name",
        ("show application_name",),
        odd="/* select */ SeT -- x\n SESSION Application_Name /* a /* b */ */ TO 'mine'",
        bound="select set_config($1, $2, false) <- application_name, mine",
        ways={
            "set_config": ": select set_config('application_name', 'mine', false)",
            "pg_settings": ": update pg_settings set setting = 'mine' where name = 'application_name'",
        },
    ),
    Kind(
        "datestyle",
        "set datestyle = 'German, DMY'",
        "set datestyle to default",
        ("show datestyle", "select date '1.2.2003'"),
        odd="SET DateStyle /* , */ TO german, dmy",
        bound="select set_config('DateStyle', $1, false) <- german",
        ways={"names": ": set time zone 'Asia/Tokyo'", "characters": ": set names 'LATIN1'"},
    ),
    Kind(
        "unreported",
        "set work_mem = '7MB'",
        "reset work_mem",
        (MEMORY,),
        needs="settings",
        odd="/* select */ SeT -- x\n SESSION Work_Mem /* a /* b */ */ = 7168",
        bound="select set_config($1, $2, false) <- work_mem, 7MB",
        static="select set_memory('7MB')",
        ways={
            "set_config": ": select set_config('work_mem', '7MB', false)",
            "qualified": ": select PG_CATALOG.\"set_config\"('work_mem', $$7MB$$, not true)",
            "common table": ": with x as materialized (select set_config('work_mem', '7MB', false)) select * from x",
            "view": ": select * from memory_setter",
            "trigger": ": insert into triggered values (1, 'x')",
            "pg_settings": ": update pg_settings set setting = '7168' where name = 'work_mem'",
            "prepared": "> [-s1] ;; [s1] set work_mem = '7MB'",
        },
    ),
    Kind(
        "search_path",
        "set search_path = other_place, public",
        "reset search_path",
        ("show search_path", "select 'plain'::regclass::oid = 'other_place.plain'::regclass::oid"),
        needs="settings",
        odd='SET search_path /**/ TO "other_place", public',
        bound="select set_config('search_path', $1, false) <- other_place",
        ways={"schema": ": set schema 'other_place'"},
    ),
    Kind(
        "timeout",
        "set statement_timeout = '31s'",
        "set statement_timeout to default",
        ("show statement_timeout",),
        needs="settings",
        odd="set SESSION\tstatement_timeout=31000",
    ),
    Kind(
        "characteristics",
        "set session characteristics as transaction isolation level serializable, read only, deferrable",
        "reset all",
        (
            "show default_transaction_isolation",
            "show transaction_isolation",
            "show default_transaction_read_only",
            "show transaction_read_only",
            "show default_transaction_deferrable",
        ),
        needs="settings",
        odd="Set /* */ SESSION  CHARACTERISTICS as TRANSACTION isolation level SERIALIZABLE",
    ),
    Kind(
        "custom",
        "set app.tenant = 'one'",
        "set app.tenant = ''",
        (TENANT, "select note from tenants"),
        needs="settings, placeholders",
        odd='/**/SET\n"app".Tenant TO one',
        bound="select set_config($1, $2, false) <- app.tenant, one",
        static="select set_tenant('one')",
        ways={"set_config": ": select set_config('app.tenant', 'one', false)"},
    ),
    Kind(
        "role",
        "set role diff_other",
        "reset role",
        (WHO, "show role", "show is_superuser"),
        needs="role",
        odd='Set /**/ Session ROLE "diff_other"',
        bound="select set_config('role', $1, false) <- diff_other",
        ways={"set_config": ": select set_config('role', 'diff_other', false)"},
    ),
    Kind(
        "authorization",
        "set session authorization diff_other",
        "reset session authorization",
        (WHO, "show session_authorization", "show is_superuser"),
        needs="authorization",
        odd="SET Session  /* */ Authorization 'diff_other'",
    ),
    Kind(
        "sql statement",
        "prepare plan as select 'planned'",
        "deallocate plan",
        ("execute plan", "select name, statement, from_sql from pg_prepared_statements"),
        needs="sql_prepare",
        odd="Prepare /* x */ Plan As Select 'planned'",
    ),
    Kind(
        "typed sql statement",
        "prepare plan (int, text) as select $1 + 1, $2 || 'x'",
        "deallocate prepare plan",
        ("execute plan (1, 'a')", "select name, parameter_types from pg_prepared_statements"),
        needs="sql_prepare",
        nested=False,
    ),
    Kind(
        "channel",
        "listen news",
        "unlisten news",
        ("select * from pg_listening_channels()",),
        needs="listen",
        odd='LISTEN /**/ "news"',
    ),
    Kind(
        "temporary table",
        "create temp table scratch as select 'mine' as word",
        "drop table if exists scratch",
        ("select word from scratch", "select to_regclass('pg_temp.scratch') is not null"),
        needs="temp",
        pins=True,
        odd="Create\tLOCAL /**/ Temporary table scratch(word) AS values ('mine')",
        ways={
            "into": ": select 'mine' as word into temp scratch",
            "schema": ": create table pg_temp.scratch as select 'mine' as word",
            "view": ": create temp view scratch as select 'mine' as word",
        },
    ),
    Kind(
        "advisory lock",
        "select pg_advisory_lock(4711)",
        "select pg_advisory_unlock_all()",
        (KEY, LOCKS),
        needs="locks",
        pins=True,
        odd='select\n PG_CATALOG."pg_advisory_lock" /* x */ (4000 + 711)',
        bound="select pg_advisory_lock($1) <- 4711",
        static="select lock_it(4711)",
        ways={
            "try": ": select pg_try_advisory_lock(4711)",
            "twice": ": select pg_advisory_lock(4711), pg_advisory_lock_shared(4711)",
            "shared": ": select pg_advisory_lock_shared(4711)",
            "conditional": ": select case when random() >= 0 then pg_advisory_lock(4711) end",
        },
    ),
    Kind(
        "held cursor",
        "declare held cursor with hold for select generate_series(1, 100)",
        "close all",
        ("fetch 2 from held", "select name, is_holdable from pg_cursors"),
        needs="hold",
        pins=True,
        odd='DECLARE "held" no scroll /* */ Cursor WITH  HOLD for select generate_series(1, 100)',
    ),
    # Of one transaction: nothing is to stay.
    Kind(
        "local",
        "set local work_mem = '7MB'",
        "select 1",
        (MEMORY,),
        odd="Set /* */ LOCAL work_mem TO 7168",
        bound="select set_config($1, $2, true) <- work_mem, 7MB",
        ways={"set_config": ": select set_config('work_mem', '7MB', true)"},
    ),
    Kind(
        "local custom",
        "set local app.tenant = 'one'",
        "select 1",
        (TENANT, "select note from tenants"),
        needs="settings, placeholders",
        odd='SET LOCAL "app"."tenant" = one',
        bound="select set_config($1, $2, true) <- app.tenant, one",
        nested=False,
    ),
    Kind(
        "transaction lock",
        "select pg_advisory_xact_lock(4711)",
        "select 1",
        (KEY, LOCKS),
        pins=True,  # two clients in transactions at a time
        bound="select pg_advisory_xact_lock($1) <- 4711",
        nested=False,
    ),
    Kind(
        "plain cursor",
        "declare passing cursor for select generate_series(1, 100)",
        "close all",
        ("fetch 2 from passing", "select name, is_holdable from pg_cursors"),
        nested=False,
    ),
    Kind(
        "passing table",
        "create temp table scratch on commit drop as select 'mine' as word",
        "drop table if exists scratch",
        ("select to_regclass('pg_temp.scratch') is not null",),
    ),
]


def scripts() -> list[Script]:
    """All of them."""
    return [made for kind in KINDS for made in (*_kept(kind), *_left(kind), *_gone(kind))]


def _kept(kind: Kind) -> Iterator[Script]:
    """The owner makes it in one way and ends transactions in all ways; others use its server in between."""
    both = [f"{client}: {look}" for look in kind.looks for client in "ba"]
    user = ["a! connect user=postgres", "b! connect user=postgres"] if kind.name == "authorization" else []
    for name, make, needs in kind.ways_in():
        undone = [*both, f"a: {kind.undo}"]
        lines = [*user, f"a{make}", *both, "a@", "b@", f"a: {kind.undo}", *both]
        lines += ["a: begin", f"a{make}", *(f"a: {look}" for look in kind.looks), "a: commit", *undone]
        lines += ["a: begin", f"a{make}", "a: rollback", *undone]
        if name in THOROUGH:
            lines += ["a: begin", f"a{make}", "a: select 1/0", "a: commit", *undone]
            lines += ["a: begin; savepoint here", f"a{make}", "a: rollback to here; commit", *undone]
            lines += ["a: begin; savepoint here", f"a{make}", "a: release here", "a: commit", *undone]
            lines += ["b@", "a@"]
        yield script(f"{kind.name}, {name}", *lines, needs=f"{kind.needs}, {needs}", pool=kind.pool)


def _others_look(kind: Kind) -> list[str]:
    """What others do after the owner has gone; a lock it had is free a moment later, on direct connections too."""
    return [f"b? t <- {KEY}" if look == KEY else f"b: {look}" for look in kind.looks]


def _gone(kind: Kind) -> Iterator[Script]:
    """The owner makes it in one way after the other, and goes each time; outside of a transaction, and within."""
    user = ["a! connect user=postgres"] if kind.name == "authorization" else []
    needs = ",".join({"placeholders"} & set(kind.needs.split(", ")))
    for state, begin in (("", []), (" in transaction", ["a: begin"])):
        lines = ["b! connect user=postgres"] if user else []
        for number, (_, make, _) in enumerate(kind.ways_in()):
            way = ("Terminate", "RST", "FIN")[number % 3]
            lines += [*user, *begin, f"a{make}", f"a! {way}", *_others_look(kind)]
        yield script(f"{kind.name}, all ways in, gone{state}", *lines, "b@", needs=needs)


def _left(kind: Kind) -> Iterator[Script]:
    """The owner goes, in every way, and another client comes to its server; nothing needs to be kept for that."""
    user = ["a! connect user=postgres", "b! connect user=postgres"] if kind.name == "authorization" else []
    needs = ",".join({"placeholders"} & set(kind.needs.split(", ")))
    looks = _others_look(kind)
    states = {
        "": [f"a: {kind.make}"],
        " in transaction": ["a: begin", f"a: {kind.make}"],
        " in failed transaction": ["a: begin", f"a: {kind.make}", "a: select 1/0"],
    }
    for way in ("Terminate", "FIN", "RST"):
        for state, lines in states.items():
            yield script(f"{kind.name}, {way}{state}", *user, *lines, f"a! {way}", *looks, "b@", needs=needs)
