"""What is known of a database's code that makes commands, or names of settings, at run time (decision 18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Functions that run, or name settings by, some of their arguments: these, by their numbers from 0; none: any of them.
Given = Mapping[bytes, frozenset[int]]
Patterns = frozenset[tuple[bytes, bytes]]  # what stands before and behind an argument in a name


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """Names are in lower case, bits are of MADE.

    `makers`, `unread`  names that lead to DYNAMIC, and to UNREAD, code
    `given`             functions that run, or name settings by, what they are given; `patterns`: these names
    `everywhere`        what any text may do, by code that runs without being named
    `any_relation`      what a relation may do whose name nobody knows
    """

    makers: frozenset[bytes] = frozenset()
    unread: frozenset[bytes] = frozenset()
    given: Given = field(default_factory=dict)
    patterns: Patterns = frozenset()
    everywhere: int = 0
    any_relation: int = 0
