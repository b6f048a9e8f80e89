"""The bits of a verdict: what a statement text may do to the session it runs in.

Bits only; how a text gets them is in `verdict`. Two groups: bits that make a server unfit for the next client
(`DIRTY`), and bits that only inform (the text ends a transaction, or reads what another client left).
"""

PLAIN = 0

# Dirty: the server may hold something of this client's session afterwards.
SETTINGS = 1 << 0  # SET, RESET, set_config, UPDATE pg_settings
STATEMENT = 1 << 1  # PREPARE, EXECUTE, DEALLOCATE
LISTEN = 1 << 2  # LISTEN, UNLISTEN
PIN = 1 << 3  # temporary objects, session advisory locks, WITH HOLD cursors: only this server can keep them
OPAQUE = 1 << 4  # runs, or may run, code that nobody has read: anything may have happened
CLEANUP = (
    1 << 5
)  # DISCARD, DEALLOCATE, RESET ALL, UNLISTEN, pg_advisory_unlock*: removes session state, ours too
DDL = 1 << 6  # changes the catalogs: what was read from them must be checked again
FUNCTION = 1 << 7  # the state is touched through a function call: the text alone does not tell its values
SEED = 1 << 8  # setseed() or the setting "seed": no reset clears it
LIBRARY = 1 << 9  # LOAD, temporary replication slots, replication origins: only closing the server clears it

DIRTY = SETTINGS | STATEMENT | LISTEN | PIN | OPAQUE | CLEANUP | DDL | FUNCTION | SEED | LIBRARY

# Informing: true for plain texts too.
TRANSACTION_END = (
    1 << 10
)  # could end a transaction: COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION, CALL, DO
TRANSACTION_EXIT_ONLY = 1 << 11  # one statement, of the kind an aborted transaction block accepts
TRANSACTION_LOCAL = 1 << 12  # SET LOCAL, SET TRANSACTION, SET CONSTRAINTS, transaction advisory locks
READS_SEQUENCE = 1 << 13  # reaches currval or lastval: DISCARD SEQUENCES first on another client's server
WRITES_SEQUENCE = 1 << 14  # reaches nextval or setval, by name or by changing rows of a table that FILLS
READS_STATEMENTS = 1 << 15  # reaches pg_prepared_statements
READS_CHANNELS = 1 << 16  # reaches pg_listening_channels()
READS_SETTINGS = 1 << 17  # reaches pg_settings, whose rule makes UPDATE a set_config
RELEASES = 1 << 18  # CLOSE, DROP, unlock: a pin may have ended
DYNAMIC = 1 << 19  # runs code that makes setting names at run time

EXECUTES = 1 << 20  # EXECUTE: does what the prepared statement of that name does
UNREAD = 1 << 21  # runs commands whose texts nobody has seen: what is made at run time, or comes from a table
GIVEN = 1 << 22  # runs the commands that it is given as arguments

# Not a verdict's: the server must be reset whatever a look at its catalogs would find.
RESET = 1 << 27

# Within a scan only.
FILLS = 1 << 23  # a table whose defaults or triggers reach nextval or setval: who changes its rows does
MODIFIES = 1 << 24  # changes rows: INSERT, UPDATE, MERGE, DELETE, COPY

# Nor this: a short idle_session_timeout is in force, which must end before the server is idle.
HASTY = 1 << 25

# Nor this: the server listens for its client, and must not for the next one.
CHANNELS = 1 << 28

# Nor this: the server has its client's prepared statements under the client's own names.
BARE = 1 << 26

# Nor this: a Query or a FunctionCall went out in the middle of a batch: PostgreSQL 18 fails the next statement, whatever it is.
UNSYNCED = 1 << 29

# What is noted of the transaction at hand, and what of that a look at the session settles.
NOTED = DIRTY | TRANSACTION_LOCAL | RELEASES
LOOKED = SETTINGS | STATEMENT | LISTEN | PIN | OPAQUE | DDL | RELEASES

# What may send a setting back to the session's start; what may make one deviate from the session's; what may leave objects that
# only one server has; what may change the catalogs; what no reset clears.
# (These and the next are here, since a C integer of one compiled module is no name for another.)
BACK = SETTINGS | TRANSACTION_LOCAL | CLEANUP
DEVIATING = SETTINGS | TRANSACTION_LOCAL | OPAQUE
OBJECTS = PIN | DDL | OPAQUE | STATEMENT | RELEASES
CHANGES = DDL | OPAQUE
UNSETTABLE = SEED | LIBRARY

READS = READS_SEQUENCE | READS_STATEMENTS | READS_CHANNELS

# What may read or write the values of currval and lastval; what may name statements, or show them; what of these two is not to
# meet, once it is bound, what others left.
READS_VALUES = READS_SEQUENCE | EXECUTES
WRITES_VALUES = WRITES_SEQUENCE | OPAQUE | EXECUTES | DDL  # DDL: a new column with a default fills itself
VALUES = READS_VALUES | WRITES_VALUES
NAMES_STATEMENTS = STATEMENT | OPAQUE | READS_STATEMENTS
MEETS_OTHERS = READS_SEQUENCE | NAMES_STATEMENTS

# What may make custom settings whose names stand in no text.
MADE = DYNAMIC | UNREAD

# The scan could not even tell where strings end: everything is possible.
UNSURE = OPAQUE | READS | TRANSACTION_END
# Code nobody has read can do, and see, anything.
UNKNOWN = OPAQUE | READS

NAMES = {
    value: name
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and value and value & (value - 1) == 0
}


def describe(verdict: int) -> str:
    """Return the names of the bits in *verdict*, for logs and test failures."""
    return "|".join(name for bit, name in NAMES.items() if verdict & bit) or "PLAIN"
