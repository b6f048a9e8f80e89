"""What a client's message comes to, for those who tell messages apart and those who understand them.

Not a hot module: the hot ones take these over as C integers of their own.
"""

from __future__ import annotations

# It went out, or will; it is kept, and the rest of the input with it; its end is needed first.
SENT, KEPT, INCOMPLETE = range(3)
HOLD = 32768  # messages whose content matters are kept until complete up to this size; larger ones stream through
