"""What the pooler cannot do yet, by the words that scripts have under `needs`.

Whoever builds one takes its line out; every script that needs nothing of this table any more must then pass.
LEAKING are those that strangers can see afterwards; where nothing of it is needed, nothing leaks, marked or not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import pytest

NOT_YET: dict[str, str] = {}
LEAKING: frozenset[str] = frozenset()


def marks(needs: Iterable[str], among: Container[str] = NOT_YET) -> list[pytest.MarkDecorator]:
    """The mark of a script that needs what is not built, or none."""
    reasons = [NOT_YET[need] for need in sorted(needs) if need in NOT_YET and need in among]
    return [pytest.mark.xfail(reason="; ".join(reasons), strict=True)] if reasons else []
