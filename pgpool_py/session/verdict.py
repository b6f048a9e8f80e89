"""The verdict on a statement text: proven not to touch session state, or what it may touch.

The answer is a set of bits of `flags`. `verdict & DIRTY == 0` is the proof: the text, run on a server of
the database that the facts describe, leaves nothing in the session. The proof holds for the session as the
pooler keeps it: a server whose owner has temporary objects (PIN) is dirty until it is reset, whatever its
later texts say, because a temporary view is in no facts.

How it is proven: the scan finds every name in the text, quoted or not, and the keyword of each statement;
names that lead to anything but plain code are in the facts; a keyword that is not known to be harmless is
opaque. What the facts do not cover is a function created after they were read: `catalog` says how that is
noticed.

What the caller must add, because no text shows it: FunctionCall messages (`call_verdict`), parameter types
given by oid in Parse (`parameters_verdict`), and that a prepared statement carries the verdict of its text
to every transaction that executes it, judged anew when the facts change.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgpool_py.session import flags, functions
from pgpool_py.session.catalog import DatabaseFacts
from pgpool_py.session.code_facts import CodeFacts
from pgpool_py.session.flags import DIRTY, PLAIN
from pgpool_py.session.scan import Scanner

__all__ = ["DIRTY", "PLAIN", "call_verdict", "classify", "flags", "parameters_verdict"]

# Without facts: any name and any operator may be somebody's function, which may run anything, and any DDL runs an event trigger.
UNINFORMED = Scanner(functions.KINDS, False, flags.UNKNOWN, CodeFacts(everywhere=flags.UNREAD), flags.UNKNOWN)
# While the facts are in doubt, of a database that had no event triggers.
IN_DOUBT = Scanner(functions.KINDS, False, upkeep=flags.UNKNOWN)

_FIRST_USER_OID = 16384


def classify(text: bytes, facts: DatabaseFacts | None) -> int:
    """Return what *text*, of a Query or a Parse without its closing zero byte, may do to the session."""
    if facts is None:
        return UNINFORMED.scan(text)
    return facts.scanner.scan(text)


def parameters_verdict(types: Iterable[int], facts: DatabaseFacts | None) -> int:
    """Return the verdict on parameter types by oid: a domain's checks run when a value of it is bound."""
    for oid in types:
        if oid >= _FIRST_USER_OID and (facts is None or oid not in facts.plain_types):
            return flags.UNKNOWN | flags.UNREAD
    return PLAIN


def call_verdict(function: int) -> int:
    """Return the verdict on a FunctionCall message: plain for libpq's large object calls only."""
    return PLAIN if function in functions.PLAIN_CALLS else flags.UNKNOWN | flags.UNREAD
