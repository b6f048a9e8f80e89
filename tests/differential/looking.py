"""What PostgreSQL itself knows of a session: all that one client may leave to the next, as rows of text.

Asked in a script (`a@`), the answer of a pooled client must be that of a direct one: its own settings, exactly, and
nothing of anybody else. Asked by strangers after a script, the answer must be that of a new session.
"""

from __future__ import annotations

# Custom settings that scripts use: no catalog lists them.
PLACEHOLDERS = ("app.tenant", "app.x", "app.y", "app.z", "myapp.user_id")

# What differs between two right sessions: nothing that a client has set.
_NOT_ITS_OWN = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")

LOOK = (
    (
        f"""
select 'setting' as kind, name, setting as value from pg_settings
  where setting is distinct from boot_val and name <> all ('{{{",".join(_NOT_ITS_OWN)}}}')
union all select 'user', current_user::text, session_user::text
union all select 'temp', relname::text, relkind::text from pg_class where relnamespace = pg_my_temp_schema() and relkind <> 'i'
union all select 'temp', proname::text, 'function' from pg_proc where pronamespace = pg_my_temp_schema()
union all select 'statement', name, statement from pg_prepared_statements
union all select 'channel', c, '' from pg_listening_channels() c
union all select 'cursor', name, statement from pg_cursors where is_holdable
union all select 'lock', concat_ws(',', classid, objid, objsubid), mode from pg_locks
  where locktype = 'advisory' and pid = pg_backend_pid()
union all select 'placeholder', n, current_setting(n, true) from unnest('{{{",".join(PLACEHOLDERS)}}}'::text[]) n
order by 1, 2, 3
"""
    )
    .replace("\n", " ")
    .strip()
)

# The same from within a function: not what a text could be shown, but what is there.
LOOK_INSIDE = "select * from looked_inside()"
CREATE_LOOK_INSIDE = (
    f"create function looked_inside() returns table (kind text, name text, value text) language sql as $$ {LOOK} $$"
)
