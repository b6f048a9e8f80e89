"""Known beginnings: a scanner that has seen many texts judges each as one that has seen none."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from pgpool_py.session import functions
from pgpool_py.session.scan import Scanner
from tests.session.corpus import NASTY, ORDINARY, texts

# Wherever a literal may begin, and where only something that looks like one does.
PLACES = re.compile(r"(?=['0-9])")
OFTEN = 20  # more than the scan needs to remember a beginning
TEXTS = [text for text in texts(NASTY) + texts(ORDINARY) if PLACES.search(text)]
LITERALS = ["1", "'x'", "''", "'it''s'", "1.5e3", "1e", "1a", "'x\\'", "'", "0x1f", "'a' 'b'", "5; COMMIT", "'x'; SET a = 1"]
ENDS = ["", " ", "a", "E", "N", "U&", "u & ", "a.", ".", "-", "- ", "/", "*", "$", "$1 ", '"', '"a" ', "(", ",", "=", "=(", ">= "]
HEADS = ["SELECT a, b, c FROM orders WHERE x", "INSERT INTO orders AS o VALUES ", "SELECT a, b FROM t /* x */", "-- a comment\n("]
TAILS = ["", " LIMIT 1", ") INTO TEMP t", ", set_config('a', 'b', false)", "; DISCARD ALL", " /* ", " -- x"]


def cut(text: str) -> str:
    """The text up to its first literal, long enough to be remembered."""
    return PLACES.split(text, maxsplit=1)[0].replace(" ", " " * 8, 1)


def test_corpus_is_judged_alike_at_every_time() -> None:
    """Three rounds over all texts with one scanner; the second and third meet what the first has left."""
    for informed in (True, False):
        seasoned = Scanner(functions.KINDS, informed)
        for _ in range(3):
            for text in TEXTS:
                data = text.encode()
                assert seasoned.scan(data) == Scanner(functions.KINDS, informed).scan(data), text
                for _ in range(OFTEN):
                    seasoned.scan(data)


@settings(max_examples=1000, deadline=None)
@given(
    head=st.sampled_from(TEXTS).map(cut) | st.sampled_from(HEADS),
    end=st.sampled_from(ENDS),
    literals=st.tuples(st.sampled_from(LITERALS), st.sampled_from(LITERALS + ENDS)),
    tails=st.tuples(st.sampled_from(TAILS), st.sampled_from(TAILS)),
    informed=st.booleans(),
)
def test_same_beginning_another_literal(
    head: str, end: str, literals: tuple[str, str], tails: tuple[str, str], informed: bool
) -> None:
    """What was learned from one text holds for every other that begins like it, whatever stands between."""
    first, second = ((head + end + literal + tail).encode() for literal, tail in zip(literals, tails, strict=True))
    # Of the same length, or they are looked for in different places.
    length = max(len(first), len(second))
    first, second = first.ljust(length), second.ljust(length)
    seasoned = Scanner(functions.KINDS, informed)
    for _ in range(OFTEN):
        seasoned.scan(first)
    assert seasoned.scan(second) == Scanner(functions.KINDS, informed).scan(second)
