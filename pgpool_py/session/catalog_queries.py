"""The two query texts that read a database's catalogs, for PostgreSQL 12 to 18 and any user.

Each is one Query message of several statements, so that the settings end with it, whatever happens: names
and operators resolve in pg_catalog alone, no transaction is waited for as a serializable one may wait, and a lock
held by a migration (deparsing a view locks what it reads) fails the reading instead of holding it up.
"""

from __future__ import annotations

import re

from pgpool_py.session.settings import SET_AT_ONCE
from pgpool_py.session.spelling import asked

_SETTINGS = """\
set transaction isolation level read committed, not deferrable;
set local search_path = pg_catalog;
set local lock_timeout = '500ms';
set local statement_timeout = 0;
set local standard_conforming_strings = on;
"""

_MAY_SET_FROM = 15  # the version of PostgreSQL from which on GRANT SET ON PARAMETER exists


def major_version(server_version: bytes) -> int:
    """PostgreSQL's major version, of what it reports as server_version; 0 where that is something else."""
    major = re.match(rb"\d+", server_version)
    return int(major[0]) if major is not None else 0


def defaults_query(server_version: bytes) -> str:
    """What asks for rows (name, value, forbidden): what a session starts with, and whether its role may not set that.

    Names are as the server spells them; *server_version* as it reports it. The role itself, which no function lists, is none
    where ALTER ROLE does not say another.
    """
    if major_version(server_version) >= _MAY_SET_FROM:
        may_set = "pg_catalog.has_parameter_privilege(current_user, s.name, 'SET')"
    else:
        may_set = "(SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user)"
    return (
        f"{SET_AT_ONCE.decode()}SELECT s.name, {asked(b's.name').decode()},"
        f" CASE WHEN s.context OPERATOR(pg_catalog.=) 'superuser' THEN NOT {may_set} END"
        " FROM pg_catalog.pg_show_all_settings() s WHERE s.context OPERATOR(pg_catalog.=) ANY"
        " (ARRAY['user', 'superuser', 'backend', 'superuser-backend']::pg_catalog.text[])"
        " UNION ALL SELECT 'role', pg_catalog.current_setting('role'), NULL"
    )


# What a new server has of custom settings, which that function does not list: those of ALTER ROLE and ALTER DATABASE, and any of
# the names in the array that stands between the two halves.
CUSTOM_DEFAULTS_QUERY = (
    f"{SET_AT_ONCE.decode()}SELECT n, v FROM (SELECT n, {asked(b'n').decode()} v FROM"
    " (SELECT pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) n"
    " FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c"
    " UNION SELECT pg_catalog.unnest(ARRAY[",
    "]::pg_catalog.text[])) a WHERE pg_catalog.strpos(n, '.') OPERATOR(pg_catalog.>) 0) b WHERE v IS NOT NULL",
)

# Rows (kind, name, detail, text). `catalog.facts_from_rows` reads them:
#   builtin   name: all names of built-in functions that the catalogs do not prove harmless
#   function  detail: language|extension|volatility|custom settings|parameters, each a name and a type; text: the source
#   opaque    nothing can be known about name
#   type      detail: oid
#   unnamed   text: functions that run without being named
#   event     text: a function that runs with DDL, or checks what it says of foreign data
#   names     text: code, or quoted names, that name reaches; behind "=": functions of an aggregate, as its definition has them
#   relation  the same, where name is a relation's, or a domain's; valued: a type's, or a relation's for those of its columns
#   field     name: a function that can be written as a column of a row; single: one that can be written so behind other values
#   filled    text: the same, but only whoever changes rows of the table name reaches it
# A built-in function is proven harmless where SQL cannot call it (an argument of type internal) or where it
# is what a built-in operator, operator class or aggregate does.
FACTS_QUERY = (
    _SETTINGS
    + """\
select 'builtin', string_agg(distinct p.proname, ' '), '', ''
  from pg_proc p
 where p.oid < 16384 and 2281 <> all (p.proargtypes)
   and not exists (select from pg_operator o where o.oprcode = p.oid and o.oid < 16384)
   and not exists (select from pg_amproc a where a.amproc = p.oid and a.oid < 16384)
union all
select 'function', p.proname::text,
       case when l.oid >= 16384 then '?'
            when l.lanname = 'sql' and p.prosrc = '' then 'sqlbody' else l.lanname end
       || '|' || coalesce(e.extname, '') || '|' || p.provolatile::text || '|'
       || coalesce((select string_agg(split_part(v, '=', 1), ',') from unnest(p.proconfig) s(v)
                     where split_part(v, '=', 1) like '%.%'
                        or lower(split_part(v, '=', 1)) in ('seed', 'standard_conforming_strings')), '') || '|'
       || coalesce((select string_agg(concat(translate(n, ', |', '___'), ' ', format_type(t, null)), ',' order by i)
                      from unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes)
                           with ordinality a(n, t, m, i)
                     where l.lanname in ('sql', 'plpgsql') and (p.prosrc = '' or p.prosrc ~* 'execute|set_config')
                       and (coalesce(m, 'i') in ('i', 'b', 'v') or m = 'o' and p.prokind = 'p')), ''),
       case when l.lanname = 'c' then ''
            when p.prosrc = '' then pg_get_functiondef(p.oid) else p.prosrc end
  from pg_proc p join pg_language l on l.oid = p.prolang
  left join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
  left join pg_extension e on e.oid = d.refobjid
 where p.oid >= 16384 and p.prokind <> 'a'
union all
select 'names', p.proname::text, '', pg_get_expr(p.proargdefaults, 0)
  from pg_proc p where p.oid >= 16384 and p.proargdefaults is not null
union all
select distinct 'names', p.proname::text, '', quote_ident(t.typname)
  from pg_proc p
  cross join unnest(p.prorettype || coalesce(p.proallargtypes, '{}') || p.proargtypes::oid[]) u(oid)
  join pg_type t on t.oid = u.oid
 where p.oid >= 16384 and u.oid >= 16384
union all
select 'names', p.proname::text, '', concat_ws(' ', '= ' || quote_ident(f.proname), quote_ident(t.typname))
  from pg_aggregate a join pg_proc p on p.oid = a.aggfnoid
  cross join unnest(array[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                          a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[]) u(oid)
  join pg_proc f on f.oid = u.oid
  left join pg_type t on t.oid in (a.aggtranstype, a.aggmtranstype) and t.oid >= 16384
 where p.oid >= 16384
union all
select 'opaque', c.relname::text, '', ''
  from pg_class c left join pg_am m on m.oid = c.relam
 where c.oid >= 16384 and c.relpersistence <> 't'
   and (c.relkind = 'f' or c.relkind in ('r', 'm', 'p') and c.relam >= 16384)
union all
select 'relation', c.relname::text, '', pg_get_viewdef(c.oid)
  from pg_class c where c.oid >= 16384 and c.relkind in ('v', 'm') and c.relpersistence <> 't'
union all
select 'relation', c.relname::text, '', pg_get_statisticsobjdef(s.oid)
  from pg_statistic_ext s join pg_class c on c.oid = s.stxrelid
 where s.oid >= 16384 and c.relpersistence <> 't'
union all
select distinct case when t.oid is null then 'single' else 'field' end, p.proname::text, '', ''
  from pg_proc p
  left join pg_type t on t.oid in (p.proargtypes[0], p.provariadic)
        and (t.typcategory in ('C', 'P')
             or t.oid in (select casttarget from pg_cast where castsource >= 16384 and castcontext = 'i'))
 where p.oid >= 16384 and p.pronargs > 0 and p.pronargs - p.pronargdefaults <= 1
union all
select 'filled', c.relname::text, '', pg_get_ruledef(r.oid)
  from pg_rewrite r join pg_class c on c.oid = r.ev_class
 where r.oid >= 16384 and r.rulename <> '_RETURN' and c.relpersistence <> 't'
union all
select 'filled', c.relname::text, '', pg_get_triggerdef(t.oid)
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
 where t.oid >= 16384 and not t.tgisinternal and c.relpersistence <> 't'
union all
select 'filled', c.relname::text, '', pg_get_expr(d.adbin, d.adrelid)
  from pg_attrdef d join pg_class c on c.oid = d.adrelid
 where d.oid >= 16384 and c.relpersistence <> 't'
union all
select distinct 'filled', c.relname::text, '', 'nextval'
  from pg_attribute a join pg_class c on c.oid = a.attrelid
 where a.attidentity <> '' and c.oid >= 16384 and c.relpersistence <> 't'
union all
select 'relation', coalesce(c.relname, t.typname)::text, '', pg_get_constraintdef(k.oid)
  from pg_constraint k left join pg_class c on c.oid = k.conrelid left join pg_type t on t.oid = k.contypid
 where k.oid >= 16384 and k.contype in ('c', 'f') and c.relpersistence is distinct from 't'
union all
select 'relation', f.relname::text, '', quote_ident(c.relname)
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class f on f.oid = k.confrelid
 where k.oid >= 16384 and k.contype = 'f' and c.relpersistence <> 't'
union all
select 'relation', c.relname::text, '', pg_get_indexdef(i.indexrelid)
  from pg_index i join pg_class c on c.oid = i.indrelid
 where i.indexrelid >= 16384 and (i.indexprs is not null or i.indpred is not null) and c.relpersistence <> 't'
union all
select 'relation', c.relname::text, '',
       concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
  from pg_policy p join pg_class c on c.oid = p.polrelid where p.oid >= 16384
union all
select 'relation', c.relname::text, '', pg_get_partkeydef(p.partrelid)
  from pg_partitioned_table p join pg_class c on c.oid = p.partrelid where p.partexprs is not null
union all
select 'relation', x.relname::text, '', quote_ident(y.relname)
  from pg_inherits h join pg_class c on c.oid = h.inhrelid join pg_class p on p.oid = h.inhparent
  cross join lateral (values (c.relname, p.relname), (p.relname, c.relname)) v(a, b)
  cross join lateral (select v.a as relname) x cross join lateral (select v.b as relname) y
 where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't'
union all
select distinct 'valued', c.relname::text, '', quote_ident(t.typname)
  from pg_attribute a join pg_type t on t.oid = a.atttypid join pg_class c on c.oid = a.attrelid
 where a.atttypid >= 16384 and not a.attisdropped and c.relpersistence <> 't' and c.relkind <> 'i'
union all
select 'type', t.typname::text, t.oid::text, '' from pg_type t where t.oid >= 16384 and t.typtype <> 'p'
union all
select 'valued', t.typname::text, '', concat_ws(' ', quote_ident(e.typname), pg_get_expr(t.typdefaultbin, 0))
  from pg_type t
  left join (select rngtypid, rngsubtype from pg_range
             union select (to_jsonb(m) ->> 'rngmultitypid')::oid, rngsubtype from pg_range m) r on r.rngtypid = t.oid
  left join pg_type e on e.oid >= 16384 and e.oid in (t.typelem, t.typbasetype, r.rngsubtype)
 where t.oid >= 16384 and (e.oid is not null or t.typdefaultbin is not null)
union all
select distinct 'event', '', '', quote_ident(p.proname)
  from pg_event_trigger e join pg_proc p on p.oid = e.evtfoid where e.evtenabled <> 'D' and e.evtevent <> 'login'
union all
select distinct 'event', '', '', quote_ident(p.proname)
  from pg_foreign_data_wrapper w join pg_proc p on p.oid = w.fdwvalidator where p.oid >= 16384
union all
select distinct 'unnamed', '', '', quote_ident(p.proname)
  from (select oprcode::oid from pg_operator where oid >= 16384
        union select castfunc from pg_cast where oid >= 16384
        union select amproc::oid from pg_amproc where oid >= 16384
        union select unnest(array[rngcanonical, rngsubdiff]::oid[]) from pg_range where rngtypid >= 16384
        union select unnest(array[typinput, typoutput, typreceive, typsend, typmodin, typmodout]::oid[])
                from pg_type where oid >= 16384 and typtype = 'b' and typelem = 0) f(oid)
  join pg_proc p on p.oid = f.oid
"""
)


def _mixed(oid: str, other: str) -> str:
    """Return an expression, a hash of an oid and another number of 32 bits.

    hashint8 alone hashes the exclusive or of both halves, and oids and transactions count up together: a function dropped and
    another made would often be the same.
    """
    return f"hashint8((hashoid({oid})::int8 << 32) | ({other} & 4294967295))"


def _versions(catalog: str, rows: str = "") -> str:
    """Return an expression that changes when rows of *catalog* do: `r` is a row, xmin tells its version."""
    mixed = _mixed("r.oid", "r.xmin::text::int8")
    return f"(select concat_ws(':', count(*), sum({mixed})) from {catalog} r {rows})"


def _of_relations(column: str, rows: str = "") -> str:
    return f"left join pg_class c on c.oid = r.{column} where r.oid >= 16384 and {_LASTING} {rows}"


_LASTING = "c.relpersistence is distinct from 't'"
_OURS = "where r.oid >= 16384"

# One row: a text, equal as long as nothing changed that FACTS_QUERY reads; and how many seconds that took. Of pg_class only the
# columns that matter are read, as TRUNCATE and VACUUM change the rest; of pg_attribute only which have user types. It is all
# ASCII, and may be asked under any client's settings.
FINGERPRINT_QUERY = (
    _SETTINGS
    + "select concat_ws(' ', current_setting('server_version_num'),\n"
    + ",\n".join(
        [
            _versions("pg_proc", _OURS),
            _versions("pg_trigger", _of_relations("tgrelid", "and not r.tgisinternal")),
            _versions("pg_rewrite", _of_relations("ev_class")),
            _versions("pg_policy"),
            _versions("pg_attrdef", _of_relations("adrelid")),
            _versions("pg_constraint", _of_relations("conrelid", "and r.contype in ('c', 'f')")),
            _versions("pg_type", "where r.oid >= 16384 and r.typtype <> 'c' and r.typelem = 0"),
            _versions("pg_operator", _OURS),
            _versions("pg_cast", _OURS),
            _versions("pg_amproc", _OURS),
            _versions("pg_event_trigger"),
            _versions("pg_foreign_data_wrapper"),
            _versions("pg_statistic_ext"),
            _versions("pg_extension"),
            f"""\
(select concat_ws(':', count(*), sum({_mixed("inhrelid", "inhparent::int8")})) from pg_inherits),
(select concat_ws(':', count(*), sum({_mixed("c.oid", "v.hash::int8")}))
   from pg_class c cross join lateral (select hashtext(c.relname || c.relkind::text || c.relam::text)) v(hash)
  where c.oid >= 16384 and c.relkind <> 't' and c.relpersistence <> 't'),
(select concat_ws(':', count(*), sum({_mixed("objid", "(refobjid::int8 * 2048 + objsubid)")}))
   from pg_depend
  where refclassid = 'pg_type'::regclass and refobjid >= 16384 and classid = 'pg_class'::regclass))
""",
        ]
    )
    + ", extract(epoch from clock_timestamp() - statement_timestamp())"
)
