"""What is read of a text is read in one go: no client can hold up the others with one that is made for it."""

from __future__ import annotations

import math
import time

import pytest

from pgpool_py.relay import noting, requesting
from pgpool_py.session import channels, code_facts, commands, effects, flags, mentions, reach, statement_texts

LONG = {
    "a word": b"do $$ begin perform '" + b"x" * 30_000 + b"'; end $$",
    "a word that a dot ends": b"do 'x" + b"x" * 30_000 + b".'",
    "dots and digits": b"do '" + b"x.1" * 10_000 + b"'",
    "dollars": b"do '" + b"x$" * 15_000 + b"'",
    "comments behind a name": b"do 'set_config" + b"/**/" * 7_000 + b"x'",
    "open comments": b"do '" + b"set_config/*" * 2_500 + b"'",
    "quotes": b"do 'set_config(" + b"'" * 30_000,
    "tags that nothing ends": b"set work_mem = 1; " + b" ".join(b"$t%d$" % n for n in range(4_000)),
    "a local name": b"set local " + b"a" * 30_000 + b"; select 1",
    "spaces": b"deallocate x" + b" " * 30_000 + b"y",
    "comments behind listen": b"listen " + b"/**/" * 7_000 + b"1",
    "sets and comments": b"do '" + b"set/**/" * 4_000 + b"'",
    "sets and lines": b"do '" + b"set --" * 5_000 + b"'",
    "sets and open comments": b"do '" + b"set /*" * 5_000 + b"'",
    "sets and quotes": b"do '" + b'set "' * 6_000 + b"'",
    "a quoted name": b"do 'set " + b'"' * 30_000,
    "a long name": b"do 'set a" + b".a" * 15_000 + b"'",
    "parts": b"do '" + b"set a." * 5_000 + b"'",
    "starts": b"start " * 5_000,
    "data behind comments": b"/**/" * 1_000 + b"x",
    "commands of one variable": b"do $$ begin " + b"execute x; " * 2_700 + b"end $$",
    "commands in each other": b"do $$ declare a text := 'x'; begin "
    + b"a := a || a || format('%s', a); execute a; " * 600
    + b"end $$",
    "variables that double": b"do $$ declare v0 text := 'x'; "
    + b"".join(b"v%d text := v%d || v%d; " % (n + 1, n, n) for n in range(1_000))
    + b"begin execute v1000; end $$",
    "brackets": b"do $$ begin execute " + b"(" * 15_000 + b")" * 15_000 + b"; end $$",
    "casts": b"do $$ begin execute x" + b"::text" * 5_000 + b"; end $$",
    "cases": b"do $$ begin execute " + b"case when a then b else " * 1_300 + b"; end $$",
    "conditions": b"do $$ begin execute a; x := " + b"then a = b else " * 1_900 + b"; end $$",
    "loops": b"do $$ begin execute a; " + b"for x in " * 3_500 + b" end $$",
    "marks": b"do $$ begin execute '" + b"\xc3\xa4" * 15_000 + b"'; end $$",
    "calls of marks": b"do $$ begin execute '" + b"\xc3\xa4(" * 10_000 + b"'; end $$",
    "literals": b"do $$ begin execute " + b"'x' " * 8_000 + b"; end $$",
    "what is run": b"select run(" * 2_900,
    "texts in texts": b"select run('" + b"execute ''x'' run(" * 1_600 + b"')",
    "settings": b"do $$ begin " + b"perform set_config(a, b, c) from t; " * 800 + b"end $$",
    "settings of one statement": b"do $$ begin " + b"perform set_config(a, b, true), " * 900 + b" end $$",
    "settings without an end": b"do $$ begin " + b"set_config(" * 2_700 + b" end $$",
    "empty lines": b"do $$ begin " + b"\n" * 60_000 + b" null; end $$",
    "loads": b"do $$ begin " + b"load /* " * 3_700 + b"; end $$",
    "extensions": b"do $$ begin " + b";create /*" * 3_000 + b"; end $$",
    "times": b"select " + b"'x now', " * 3_500,
    "quotes in quotes": b"select run(" + b"'" * 15_000 + b" execute " + b"'" * 15_000 + b")",
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_text_holds_up_the_others(text: bytes) -> None:
    """What is read of a long text takes no more than a hundred times or so what reading plain words of that length takes."""

    def taken(text: bytes) -> float:
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            effects.effects(text, flags.UNKNOWN)
            effects.effects(text, flags.SETTINGS)
            mentions.amid_data(text, frozenset(), frozenset())
            reach.reach(text, (text,), code_facts.Given({b"run": frozenset()}))
            reach.completions(((b"app.", b""),), text, ())
            commands.commands(text)
            effects.local_names(text, flags.TRANSACTION_LOCAL)
            statement_texts.deallocated_name(text + b"\0")
            statement_texts.read_later(text + b"\0")
            statement_texts.is_of_the_moment(text + b"\0")
            mentions.outlives_reset(text)
            mentions.runs_a_file(text)
            statement_texts.names_statements(flags.OPAQUE, text)
            statement_texts.names_statements(flags.STATEMENT | flags.CLEANUP, text)
            channels.may_listen(text)
            channels.may_open_block(text)
            requesting.MOVES_DATA.match(text[:4096])
            noting.SETS.search(text)
            best = min(best, time.perf_counter() - start)
        return best

    assert taken(text) < 120 * taken(b"select word, " * (len(text) // 13))
