"""How a text is compared where it lies. Two forms: this one for the interpreter, `_begins.pyx` for the compiled build, where the
text is a pointer and nothing is copied.

Hot: once for each Query that begins like one before; `benchmarks/compare.py` guards it.
"""


def begins(data: bytes, known: bytes) -> bool:
    """Whether *data*, which is at least as long, begins with *known*."""
    return data.startswith(known)
