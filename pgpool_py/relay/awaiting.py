"""What a client has kept the rest of its input for: the values of `awaiting`, 0 for nothing.

Not a hot module: the hot ones take these over as C integers of their own.
"""

from __future__ import annotations

ANSWERS = 1  # whether the server wants copy data whose end has come already, or how all that went out ends
READY = 2  # how the requests before end, which decides whether the next can succeed
CHANNELS = 3  # the listening connection
KNOWLEDGE = 4  # what must be known of settings, or of columns, to place a statement
CLEARING = 5  # whether what ends prepared statements was carried out
END = 6  # how what went out ends, since it says no more itself
