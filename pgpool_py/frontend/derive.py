"""SCRAM secrets made from plain passwords, kept because making one takes milliseconds.

Knows how long it takes and that the loop must not wait for it. Does not know users.
"""

from __future__ import annotations

import asyncio

from pgwire import ScramKeys, ScramSecret

MAX_KEPT = 10_000

_kept: dict[tuple[str, bytes, int], ScramSecret] = {}


async def stored_form(password: str, salt: bytes, iterations: int) -> ScramSecret:
    """The secret a server would store for *password*; derived once, then remembered for a while."""
    wanted = (password, salt, iterations)
    if (known := _kept.get(wanted)) is not None:
        return known
    secret = await asyncio.to_thread(ScramSecret.derive, password, iterations, salt)
    while len(_kept) >= MAX_KEPT:
        del _kept[next(iter(_kept))]
    _kept[wanted] = secret
    return secret


async def keys_of(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of what a client sent: never remembered, or anybody could fill the memory."""
    return await asyncio.to_thread(ScramKeys.derive, password, salt, iterations)
