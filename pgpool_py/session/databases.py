"""What texts do to whole databases.

Off the hot path: asked only for DDL.
"""

from __future__ import annotations

import re

# What PostgreSQL does with a database only while nobody is connected to it (manual 23.5).
_DATABASE = rb"(\"(?:[^\"]|\"\")(?:[^\"]|\"\"|)*+\"|'[^']++'|[\w$\x80-\xff]++)"
_ALONE = re.compile(
    rb"\b(?:drop\s++database\s++(?:if\s++exists\s++)?" + _DATABASE
    + rb"|alter\s++database\s++" + _DATABASE + rb"\s++(?:rename|set\s++tablespace)\b"
    + rb"|template\s*+=?\s*+" + _DATABASE + rb")",
    re.IGNORECASE,
)  # fmt: skip


_CREATE = re.compile(rb"\bcreate\s++database\b", re.IGNORECASE)
_TEMPLATE = re.compile(rb"\btemplate\b", re.IGNORECASE)


def left_alone(text: bytes) -> set[str]:
    """The databases that *text* can change only while nobody else is connected to them."""
    if b"database" not in text.lower():
        return set()
    found = [next(filter(None, match.groups())) for match in _ALONE.finditer(text)]
    names = [name[1:-1].replace(b'""', b'"') if name[:1] in (b'"', b"'") else name.lower() for name in found]
    if _CREATE.search(text) is not None and _TEMPLATE.search(text) is None:
        names.append(b"template1")
    return {name.decode(errors="replace") for name in names}
