"""Every order of the protocol's messages up to a length, compared with PostgreSQL itself."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest

from tests.system import differential, stack, wire
from tests.system.rawclient import RawClient

Scripts = list[tuple[int, bytes]]

# Q Query, P Parse, B Bind, D Describe, E Execute, H Flush, S Sync, C Close: the alphabet of the extended protocol.
LETTERS = "QPBDEHSC"
# X a Parse that fails, Z a Query that fails, T begin, R rollback.
MORE_LETTERS = LETTERS + "XZTR"


def message(letter: str, name: str, number: int, place: int) -> bytes:
    """One message; what can carry a marker carries the script's number and its place."""
    mark = f"{number}.{place}"
    return {
        "Q": wire.query(f"select 'q{mark}'"),
        "P": wire.parse(name, f"select 'p{mark}', $1::text"),
        "B": wire.bind("", name, [f"b{mark}".encode()]),
        "D": wire.describe_statement(name) if place % 2 else wire.describe_portal(""),
        "E": wire.execute(),
        "H": wire.flush(),
        "S": wire.sync(),
        "C": wire.close_statement(name),
        "X": wire.parse(f"x{name}", "selec syntax error"),
        "Z": wire.query("select 1/0"),
        "T": wire.query("begin"),
        "R": wire.query("rollback"),
    }[letter]


def script(letters: str, number: int, named: bool) -> bytes:
    """The messages of *letters*; what they prepare is closed before the next script begins."""
    name = f"s{number}" if named else ""
    body = b"".join(message(letter, name, number, place) for place, letter in enumerate(letters))
    tidy = wire.sync() + wire.close_statement(name) + wire.close_statement(f"x{name}")
    return body + tidy + (wire.sync() + wire.query("rollback") if set(letters) & set("TR") else b"")


def all_scripts(length: int, named: bool, letters: str = LETTERS) -> Scripts:
    words = itertools.product(letters, repeat=length)
    return [(number, script("".join(word), number, named)) for number, word in enumerate(words)]


def some_scripts(letters: str, length: int, count: int, named: bool, seed: int) -> Scripts:
    generator = random.Random(seed)
    return [(number, script("".join(generator.choices(letters, k=length)), number, named)) for number in range(count)]


@pytest.fixture
def judge(direct: Callable[..., RawClient]) -> Iterator[RawClient]:
    with direct() as client:
        yield client


def agree(judge: RawClient, pooler: stack.Pooler, scripts: Scripts, *, cut: int | None = None, at_once: int = 1) -> None:
    right = differential.play(judge, scripts, at_once=50)
    with pooler.connect("one") as client:
        generator = None if cut is None else random.Random(cut)
        ours = differential.play(client, scripts, generator, at_once)
    assert differential.differences(right, ours)[:5] == []


no_prepared = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test has no protocol-level prepared statements")


@no_prepared
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_orders_agree(judge: RawClient, pooler: stack.Pooler, length: int, named: bool) -> None:
    """All orders up to three messages, each script sent alone."""
    agree(judge, pooler, all_scripts(length, named))


@no_prepared
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_orders_of_four_agree(judge: RawClient, pooler: stack.Pooler, named: bool) -> None:
    """All 4096 orders of four messages, twenty scripts in one write."""
    agree(judge, pooler, all_scripts(4, named), at_once=20)


@no_prepared
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_some_orders_of_five_agree(judge: RawClient, pooler: stack.Pooler, named: bool) -> None:
    """A sample of longer orders, with errors and transactions among them."""
    for length, seed in ((5, 1), (6, 2), (9, 3)):
        agree(judge, pooler, some_scripts(MORE_LETTERS, length, 800, named, seed), at_once=10)


@no_prepared
@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_orders_of_five_agree(judge: RawClient, pooler: stack.Pooler, named: bool) -> None:
    """All 32,768 orders of five messages, and all 20,736 of four with errors and transactions among them."""
    agree(judge, pooler, all_scripts(5, named), at_once=20)
    agree(judge, pooler, all_scripts(4, named, MORE_LETTERS), at_once=20)


@no_prepared
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_orders_cut_anywhere_agree(judge: RawClient, pooler: stack.Pooler, named: bool) -> None:
    """Requests that arrive in pieces are answered as if they had come whole."""
    agree(judge, pooler, some_scripts(MORE_LETTERS, 5, 400, named, 4), cut=5, at_once=5)


@no_prepared
@pytest.mark.parametrize("bound", [1, 2])
def test_orders_agree_at_tiny_lru(judge: RawClient, start_pooler: Callable[..., stack.Pooler], bound: int) -> None:
    """The same with one or two statements kept on a server: evictions are invisible."""
    pooler = start_pooler({"max_prepared_statements": bound})
    agree(judge, pooler, some_scripts("PPBDECSXQ", 7, 600, True, 6), at_once=7)


def test_simple_queries_agree(judge: RawClient, pooler: stack.Pooler) -> None:
    """Queries with several statements, errors, transactions and notices."""
    stories = [
        ["", ";", "/* only */", "select 1", "select 1; select 2", "values (1), (2), (3)"],
        ["begin; select 1; commit", "begin", "select 1/0", "select 1", "commit", "select 2"],
        ["select 1; select 1/0; select 2", "commit", "savepoint x", "rollback; rollback", "begin; begin"],
        ["begin", "savepoint x", "select 1/0", "rollback to x", "select 'back'", "release x", "commit"],
        ["begin; select 1/0", "select 3", "rollback and chain", "select 4", "commit and chain", "select 5"],
        ["do $$ begin raise notice 'n'; end $$", "select null::text, '', 'x'", "explain (costs off) select 1"],
        ["select * from no_such_table", "selec", "show server_encoding", "select '\u00e4\u00f6'", "\u00e4"],
        ["create temp table t (n int) on commit drop; insert into t values (1); select count(*) from t"],
        ["begin; set local work_mem = '1MB'", "show work_mem", "commit", "show work_mem"],
        ["begin read only", "create table never (n int)", "commit", "begin isolation level serializable", "end"],
    ]
    scripts = [(number, b"".join(wire.query(text) for text in [*texts, "rollback"])) for number, texts in enumerate(stories)]
    right = differential.play(judge, scripts)
    with pooler.connect("one") as client:
        assert differential.differences(right, differential.play(client, scripts)) == []


def test_random_binds_agree(judge: RawClient, pooler: stack.Pooler) -> None:
    """Values of all sizes, nulls and wrong ones, as parameters of unnamed statements."""
    generator = random.Random(7)
    scripts = []
    for number in range(300):
        value = generator.choice([None, b"", b"x" * generator.randrange(70_000), b"12", b"not a number", b"\xff\xfe"])
        kind = generator.choice([wire.TEXT, wire.INT4])
        statement = "select $1, md5($1)" if kind == wire.TEXT else "select $1"
        scripts.append((number, wire.parse("", statement, [kind]) + wire.bind("", "", [value]) + wire.execute()))
    right = differential.play(judge, scripts)
    with pooler.connect("one") as client:
        cut = differential.play(client, scripts, random.Random(8) if not stack.IS_PEER else None)
        assert differential.differences(right, cut) == []
