"""A schema with traps in it, texts that reach them, and texts that ordinary applications send."""

# One statement text a line.
# ruff: noqa: E501

SCHEMA = """
create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84));
create table pgbench_branches (bid int primary key, bbalance int, filler char(88));
create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84));
create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
create type mood as enum ('sad', 'ok');
create domain email as text check (value ~ '@');
create table customers (id serial primary key, name text not null default '', email email, country char(2),
  mood mood, created_at timestamptz default now(), tags text[], data jsonb default '{}', temp numeric);
create table orders (id bigserial primary key, customer_id int references customers on delete cascade,
  total numeric(10,2) check (total >= 0), status text, seed int, hold bool, created_at timestamptz default now(),
  updated_at timestamptz);
create index on orders (lower(status)) where total > 0;
create index on customers using gin (to_tsvector('english', name));
create view open_orders as select o.*, c.name from orders o join customers c on c.id = o.customer_id
  where o.status = 'open' and o.created_at > now() - interval '7 days';
create function touch() returns trigger language plpgsql as $$
begin
  new.updated_at = now();
  if new.total is null then new.total := 0; else new.seed := coalesce(new.seed, 0); end if;
  return new;
end $$;
create trigger touch before update on orders for each row execute function touch();
create function total_of(c customers) returns numeric language sql stable as
  $$ select coalesce(sum(total), 0) from orders where customer_id = c.id $$;
create function recent(n int default 10, since timestamptz default now()) returns setof orders language plpgsql stable as $$
declare
  r orders%rowtype;
  i int := 0;
begin
  <<outer>>
  for r in select * from orders where created_at < since order by id loop
    i := i + 1;
    exit outer when i > n;
    update customers set name = case when i > 1 then name else upper(name) end where id = r.customer_id;
    return next r;
  end loop;
exception when others then
  raise notice 'lost %', sqlerrm using errcode = '22012';
end $$;
create function atomic(a int) returns int language sql begin atomic select a + 1; end;
create procedure archive() language plpgsql as $$ begin delete from orders where total = 0; commit; end $$;
create function textlarger_of(text, text) returns text language sql immutable strict as
  $$ select case when length($1) > length($2) then $1 else $2 end $$;
create aggregate longest(text) (sfunc = textlarger_of, stype = text);

-- Traps. leak() is one; everything else reaches it, each in its own way.
create function leak() returns text language plpgsql as $$ begin return set_config('app.leak', 'x', false); end $$;
create function leak_int() returns int language sql as $$ select length(public.leak()) $$;
create function leak_row(t pgbench_history) returns text language sql as $$ select public.leak() $$;
create function hidden(text) returns void language plpgsql as $$ begin execute $1; end $$;
create function hidden_set() returns void language plpgsql as $$ begin SET work_mem = '1MB'; end $$;
create function hidden_case(a int) returns void language plpgsql as $$
begin if a > 0 then set work_mem = '1MB'; end if; end $$;
create function hidden_temp() returns void language plpgsql as $$ begin create temp table if not exists z (a int); end $$;
create function hidden_listen() returns void language sql as $$ listen c; $$;
create function hidden_prepare() returns void language sql as $$ prepare p as select 1 $$;
create function hidden_lock(int) returns void language sql as $$ select pg_advisory_lock($1) $$;
create function hidden_default(a text default public.leak()) returns text language sql as $$ select a $$;
create function hidden_view() returns void language plpgsql as $$
begin UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'; end $$;
create function hidden_placeholder() returns int language sql set app.fn = '1' as $$ select 1 $$;
create function "We""ird ( name"() returns text language sql as $$ select public.leak() $$;
create function internal_one(text, text, bool) returns text language internal as 'set_config_by_name';
create procedure leaking() language sql as $$ select public.leak() $$;
create aggregate leaking_agg(text, bool) (sfunc = set_config, stype = text);
create view leaking_view as select public.leak() as a;
create view builtin_view as select set_config('app.leak', 'x', false) as a;
create view second_view as select 1 as b from builtin_view;
create view settings_view as select name, setting from pg_settings;
create view lazy_view as select id from customers where false and public.leak_int() > 0;
create function hidden_atomic() returns text language sql begin atomic select public.leak(); end;
create function hidden_label() returns void language plpgsql as $$ begin <<close>> loop set work_mem = '1MB'; exit; end loop; end $$;
create view instead as select 1 as a;
create function trigger_set() returns trigger language plpgsql as $$ begin set work_mem = '1MB'; return new; end $$;
create trigger t instead of insert on instead for each row execute function trigger_set();
create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
create foreign table far (a int) server nowhere;
create table ruled (a int);
create rule r as on insert to ruled do also select public.leak();
create table triggered (a int);
create function trigger_leak() returns trigger language plpgsql as $$ begin perform public.leak(); return new; end $$;
create trigger t before insert on triggered for each row execute function trigger_leak();
create table conditioned (a int);
create trigger t before insert on conditioned for each row when (public.leak_int() > 0) execute function touch();
create table defaulted (a int, b text default public.leak());
create table checked (a int check (public.leak_int() > a));
create table policed (a int);
create policy p on policed using (public.leak_int() > a);
create domain leaking_domain as int check (public.leak_int() > value);
create domain second_domain as leaking_domain;
create table domained (a second_domain);
create type composed as (a leaking_domain);
create table nested (a int, b composed[]);
create function immutable_leak(int) returns int language sql immutable as $$ select public.leak_int() $$;
create table indexed (a int);
create index on indexed (public.immutable_leak(a));
create table inner_parent (a int primary key);
create table inner_child (a int references inner_parent on delete cascade);
create trigger t after delete on inner_child for each row execute function trigger_leak();
create table partitioned (a int) partition by range (a);
create table partition_one partition of partitioned for values from (0) to (10);
create trigger t before insert on partition_one for each row execute function trigger_leak();
create table last_seen (a bigint default lastval());
"""

# Each touches the session, could, or cannot be told from one that does.
NASTY = r"""
SET work_mem = '1MB'
set session work_mem to '1MB'
SeT/**/TIME ZONE 'UTC'
/* comment */ set a.b = 1
/* nested /* comment */ */ SET a.b = 1
-- comment
SET ROLE postgres
RESET work_mem
RESET ALL
SET SESSION AUTHORIZATION DEFAULT
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
SET LOCAL app.tenant = 'x'
SET LOCAL "app.tenant" = 'x'
SET LOCAL "app" . tenant = 'x'
SET transaction.x = 1
SET constraints.x = 1
SET local.x = 1
SET seed = 0.5
SET LOCAL seed = 0.5
DISCARD ALL
DISCARD TEMP
LISTEN c
UNLISTEN *
PREPARE p AS SELECT 1
PREPARE transaction AS SELECT 1
EXECUTE p
DEALLOCATE ALL
DO $$ begin end $$
LOAD 'auto_explain'
CREATE TEMP TABLE z (a int)
CREATE TABLE pg_temp.z (a int)
SELECT 1 INTO TEMP z
SELECT * INTO z2 FROM orders
WITH a AS (SELECT 1) SELECT * INTO z2 FROM a
DECLARE c CURSOR WITH HOLD FOR SELECT 1
DECLARE c SCROLL CURSOR WITH/**/HOLD FOR SELECT 1
SELECT set_config('work_mem', '1MB', false)
SELECT SET_CONFIG('work_mem', '1MB', false)
SELECT pg_catalog.set_config('work_mem', '1MB', false)
SELECT "set_config"('work_mem', '1MB', false)
SELECT pg_catalog."set_config" ('work_mem', '1MB', false)
SELECT set_config /* x */ ('work_mem', '1MB', false)
SELECT U&"\0073et_config"('work_mem', '1MB', false)
SELECT u&"!0073et_config" UESCAPE '!' ('work_mem', '1MB', false)
SELECT 'a\', set_config('work_mem', '1MB', false), '
SELECT 1; SELECT set_config('work_mem', '1MB', false)
SELECT ';' ; SET work_mem = '1MB'
SELECT $$;$$; SET work_mem = '1MB'
SELECT $a$ $b$ $a$, set_config('work_mem', '1MB', false), $a$ $a$
SELECT 1e'\'', set_config('work_mem', '1MB', false) --'
SELECT E'\'', set_config('work_mem', '1MB', false) --'
SELECT E'a''', set_config('work_mem', '1MB', false), E'b'
SELECT 1 FROM (SELECT set_config('work_mem', '1MB', false)) x
WITH x AS (SELECT set_config('work_mem', '1MB', false)) SELECT * FROM x
EXPLAIN ANALYZE SELECT set_config('work_mem', '1MB', false)
EXPLAIN (ANALYZE, VERBOSE off) SELECT set_config('work_mem', '1MB', false)
EXPLAIN ANALYZE EXECUTE p
EXPLAIN ANALYZE CREATE TABLE z AS SELECT 1
EXPLAIN (ANALYZE) (SELECT 1)
COPY (SELECT set_config('work_mem', '1MB', false)) TO STDOUT
DECLARE c CURSOR FOR SELECT set_config('work_mem', '1MB', false)
UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'
UPDATE "pg_settings" SET setting = '1MB'
WITH x AS (UPDATE pg_catalog.pg_settings SET setting = '1MB' RETURNING 1) SELECT * FROM x
UPDATE settings_view SET setting = '1MB'
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock_shared($1, $2)
SELECT pg_advisory_unlock_all()
SELECT setseed(0.5)
SELECT query_to_xml('select set_config(''a.b'', ''c'', false)', true, true, '')
SELECT query_to_xml_and_xmlschema('select 1', true, true, '')
SELECT table_to_xml('leaking_view', true, true, '')
SELECT schema_to_xml('public', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT * FROM ts_stat('select leak()::tsvector')
SELECT ts_rewrite('a'::tsquery, 'select leak()::tsquery, leak()::tsquery')
SELECT pg_input_is_valid('1', 'leaking_domain')
SELECT domain_in('1', 1, -1)
SELECT array_in('{1}', 1, -1)
SELECT record_in('(1)', 1, -1)
SELECT pg_create_logical_replication_slot('a', 'b', true)
SELECT pg_replication_origin_session_setup('a')
SELECT dblink_connect('a', 'dbname=x')
SELECT leak()
SELECT public.LEAK ()
SELECT "leak"()
SELECT leak_int() + 1
SELECT t.leak_row FROM pgbench_history t
SELECT (t).leak_row FROM pgbench_history t
SELECT hidden('set work_mem = 1')
SELECT hidden_set()
SELECT hidden_case(1)
SELECT hidden_temp()
SELECT hidden_listen()
SELECT hidden_prepare()
SELECT hidden_lock(1)
SELECT hidden_default()
SELECT hidden_view()
SELECT hidden_placeholder()
SELECT "We""ird ( name"()
SELECT internal_one('a', 'b', false)
SELECT leaking_agg('a', false)
CALL leaking()
SELECT * FROM leaking_view
SELECT * FROM builtin_view
SELECT * FROM second_view
TABLE second_view
SELECT * FROM lazy_view
SELECT hidden_atomic()
SELECT hidden_label()
INSERT INTO instead VALUES (1)
SELECT * FROM far
INSERT INTO ruled VALUES (1)
INSERT INTO triggered VALUES (1)
INSERT INTO public . "triggered" VALUES (1)
MERGE INTO triggered t USING orders o ON false WHEN NOT MATCHED THEN INSERT VALUES (1)
COPY triggered FROM STDIN
INSERT INTO conditioned VALUES (1)
INSERT INTO defaulted VALUES (1)
INSERT INTO checked VALUES (1)
SELECT * FROM policed
SELECT 1::leaking_domain
SELECT CAST($1 AS second_domain)
SELECT second_domain '1'
INSERT INTO domained VALUES (1)
SELECT '(1)'::composed
SELECT '{}'::_composed
SELECT jsonb_populate_record(null::composed, '{"a": 1}')
SELECT * FROM json_to_record('{"a": 1}') AS x(a leaking_domain)
INSERT INTO nested VALUES (1)
INSERT INTO indexed VALUES (1)
DELETE FROM inner_parent
INSERT INTO partitioned VALUES (1)
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'
CREATE VIEW v AS SELECT 1
ALTER ROLE postgres SET work_mem = '1MB'
VACUUM
ANALYZE orders
CHECKPOINT
NONSENSE 1
SELECT 'unterminated
SELECT "unterminated
SELECT $a$ unterminated
SELECT 1 /* unterminated
SELECT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa()
"""

# Each leaves nothing, and each runs on the schema above.
ORDINARY = r"""
SELECT abalance FROM pgbench_accounts WHERE aid = 4711;
BEGIN; UPDATE pgbench_accounts SET abalance = abalance + -5 WHERE aid = 1; END;
UPDATE pgbench_tellers SET tbalance = tbalance + 10 WHERE tid = 1
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP)
select count(*) from pgbench_branches
truncate pgbench_history
SELECT 1
SELECT 'it''s', 'C:\temp', '{"a": "b\n"}', E'tab\t', $$dollar 'quoted'$$, $x$y$x$
SELECT -1.5e10, .5, 1., 10 / 2, 7 % 3, 2 ^ 3, 1::int, '1'::regclass::oid IS NULL WHERE false
SELECT c.id, c.name, count(o.id) AS n, sum(o.total) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.country IN ('DE', 'FR') AND o.created_at > now() - interval '7 days' GROUP BY c.id HAVING count(*) > 1 ORDER BY 2 DESC NULLS LAST LIMIT 10 OFFSET 5
SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY created_at DESC), lag(total) OVER w FROM orders WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
SELECT data->>'a', data @> '{"b": 1}', data #> '{a,b}', jsonb_set(data, '{a}', '1'), jsonb_build_object('x', id) FROM customers WHERE data ? 'a' OR data ?| array['b', 'c']
SELECT jsonb_agg(to_jsonb(c) - 'id'), array_agg(DISTINCT name ORDER BY name), string_agg(name, ',') FILTER (WHERE id > 0) FROM customers c
SELECT CAST(id AS text), id::varchar(10), extract(epoch FROM created_at), date_trunc('day', created_at AT TIME ZONE 'UTC') FROM orders
SELECT coalesce(name, 'x'), nullif(country, 'DE'), greatest(id, 2), CASE WHEN id > 1 THEN 'a' ELSE 'b' END FROM customers
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t
WITH moved AS (DELETE FROM orders WHERE total = 1 RETURNING *) INSERT INTO orders (customer_id, total) SELECT customer_id, total FROM moved
SELECT * FROM customers, LATERAL (SELECT * FROM orders o WHERE o.customer_id = customers.id LIMIT 3) x
SELECT * FROM generate_series(1, 3) AS g(i), unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(v, n)
SELECT "customers"."id", "customers"."name" FROM "customers" WHERE "customers"."name" LIKE 'a%' ESCAPE '!' ORDER BY "customers"."id" ASC LIMIT 21
SELECT temp, hold, seed FROM customers, orders
select pg_catalog.version()
show standard_conforming_strings
SHOW TRANSACTION ISOLATION LEVEL
SELECT * FROM open_orders WHERE name ILIKE '%x%'
SELECT c.total_of, total_of(c) FROM customers c
SELECT * FROM recent(5)
SELECT longest(name) FROM customers
INSERT INTO customers (name, email) VALUES ('a', 'a@b') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id
INSERT INTO orders DEFAULT VALUES RETURNING "orders"."id"
UPDATE "orders" SET "total" = 5, "status" = 'open' WHERE "orders"."id" = 1
DELETE FROM customers USING orders WHERE orders.customer_id = customers.id AND orders.total < 0
SELECT EXISTS (SELECT 1 FROM orders WHERE seed IS DISTINCT FROM 3) AS x
SELECT * FROM orders WHERE id = 1 FOR UPDATE SKIP LOCKED
SELECT anon_1.n FROM (SELECT count(*) AS n FROM orders) AS anon_1
SELECT to_tsvector('english', name) @@ plainto_tsquery('x'), ts_headline(name, to_tsquery('x')) FROM customers
SELECT 'ok'::mood, 'a@b'::email
SELECT nextval('orders_id_seq'), gen_random_uuid(), random(), clock_timestamp(), md5('x'), pg_sleep(0)
SELECT regexp_replace('a', '(.)', '\1\1'), substring('abc' FROM 1 FOR 2), trim(BOTH 'x' FROM 'xax'), position('a' IN 'ba')
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), obj_description(c.oid) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE pg_catalog.pg_table_is_visible(c.oid) AND c.relkind = ANY (ARRAY['r', 'p'])
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'
SELECT name, setting FROM pg_settings WHERE name = 'work_mem'
SELECT pid, state, query FROM pg_stat_activity; SELECT * FROM pg_locks
SELECT current_setting('work_mem'), current_user, session_user, current_database(), pg_backend_pid()
EXPLAIN SELECT * FROM orders
EXPLAIN ANALYZE VERBOSE SELECT 1
EXPLAIN (ANALYZE, FORMAT JSON) UPDATE orders SET total = 1
VALUES (1, 'a'), (2, 'b')
TABLE orders
(SELECT 1) UNION ALL (SELECT 2) EXCEPT SELECT 3
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SAVEPOINT a; RELEASE SAVEPOINT a; SAVEPOINT b; ROLLBACK TO SAVEPOINT b; ROLLBACK
START TRANSACTION; SET LOCAL work_mem = '1MB'; SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; COMMIT AND CHAIN; ABORT
BEGIN; SET LOCAL search_path TO "$user", public; SELECT pg_advisory_xact_lock(1); LOCK TABLE orders; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM orders; FETCH 10 FROM c; MOVE c; CLOSE c; COMMIT
BEGIN; DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1; COMMIT
NOTIFY c, 'x'; SELECT pg_notify('c', 'y')
CALL archive()
SELECT atomic(1)
SELECT /* it's */ 1 -- it's
SELECT lo_creat(-1), txid_current(), pg_is_in_recovery()
MERGE INTO orders o USING customers c ON o.customer_id = c.id WHEN MATCHED THEN UPDATE SET total = 1 WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (c.id)
"""


def texts(block: str) -> list[str]:
    """One text a line; a comment's line belongs to the line after it."""
    lines = block.strip().replace("-- comment\n", "-- comment\r").split("\n")
    return [line.replace("\r", "\n") for line in lines]
