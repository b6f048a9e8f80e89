"""What a request about statements notes in the queue of expected replies, for when it is answered or skipped.

A note is (kind, client's name, statement, more); that of a request which was made to fail is (REFUSAL, None, SQLSTATE, message).
"""

from __future__ import annotations

UNNAMED = 0  # of the statement without a name; more: (the client's before, the server's before), as two items
PARSED = 1  # the client's Parse; more: (that of this name before, the columns and types told of it), None: there was none
FAKED = 2  # the same, answered by the pooler: the server has it
PLACED = 3  # the pooler's own Parse; more: the name there
CLOSED = 4  # the client's Close; more: the name that it had on a bare server, the columns and types told of it
EVICTED = 5  # the pooler's own Close; more: the name there
REPEATED = 6  # a use of what the server has
COLUMNS = 7  # the pooler's own Describe, of what is to be used as a statement of the client; more: its name for that
IN_FORCE = 8  # the question for the settings in force, of a statement just parsed, or None: of one to come; more: those told
REFUSAL = 9
DEALLOCATED = 10  # the Execute of a DEALLOCATE
TYPES = 11  # the client's Describe of the statement without a name

COLUMNS_CHANGED = "cached plan must not change result type"
MISLED = (REFUSAL, None, "0A000", COLUMNS_CHANGED)  # of what PostgreSQL would refuse on a direct connection for that
