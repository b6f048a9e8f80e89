"""The ini file as PgBouncer reads it; what is marked [run] was tried on PgBouncer 1.18."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgpool_py.config.errors import Origin
from pgpool_py.config.ini import parse_connection_string

from .conftest import Load, Problems


def test_comments_only_at_the_first_character(loaded: Load) -> None:
    config = loaded("; one\n  # two\n[pgbouncer] ; three\n\nauth_query = select 1; -- # kept\n")
    assert config.pgbouncer.auth_query == "select 1; -- # kept"


def test_the_last_of_equal_keys_counts(loaded: Load) -> None:
    config = loaded("[pgbouncer]\nlisten_port=1\nlisten_port=2\n[databases]\na = host=h\na = host=g host=i\n")
    assert config.pgbouncer.listen_port == 2
    assert config.databases["a"].host == "i"
    assert config.origins["pgbouncer", "listen_port"] == Origin("pgbouncer.ini", 3)


def test_windows_line_ends_are_blanks(loaded: Load) -> None:
    assert loaded("[pgbouncer]\r\npool_mode = transaction\r\n").pgbouncer.pool_mode == "transaction"


def test_an_entry_may_follow_its_section_name(loaded: Load) -> None:
    assert loaded("[pgbouncer]\n[databases] x = host=h\n").databases["x"].host == "h"


def test_names_in_double_quotes_hold_anything(loaded: Load) -> None:
    config = loaded('[pgbouncer]\n[databases]\n"a ""b"" ü" = dbname=x\nb-c.d = \n"*" = port=1\n')
    assert list(config.databases) == ['a "b" ü', "b-c.d", "*"]


def test_included_lines_take_the_place_of_include(loaded: Load) -> None:
    config = loaded(
        "[pgbouncer]\n%include more.ini\nlisten_port = 7\n[databases]\n %include dbs.ini \nc = host=c\n",
        more__ini="listen_port = 5\nverbose = 2\n",
        dbs__ini="a = host=a\n[databases]\nb = host=b\n",
    )
    assert (config.pgbouncer.listen_port, config.pgbouncer.verbose) == (7, 2)
    assert list(config.databases) == ["a", "b", "c"]
    assert config.origins["pgbouncer", "verbose"] == Origin("more.ini", 2)


def test_the_section_of_an_included_file_goes_on(problems: Problems) -> None:
    """[run] What follows %include belongs to the section the included file ended in."""
    text = "[pgbouncer]\n[databases]\n%include users.ini\nb = host=h\n"
    assert problems(text, users__ini="[users]\na = pool_mode=session\n") == [
        "pgbouncer.ini:4: [users] b: host: unknown setting"
    ]


def test_endless_inclusion_is_named(problems: Problems) -> None:
    assert problems("[pgbouncer]\n%include pgbouncer.ini\n")[-1] == (
        "pgbouncer.ini:2: %include: more than 10 levels deep"
    )


def test_every_fault_of_the_syntax_is_named(problems: Problems) -> None:
    text = "\n".join(
        (
            "a = 1",
            "[pgbouncer]",
            "pool_mode session",
            "[oops",
            "%include none.ini",
            "%include",
            "= 1",
            '"" = 1',
            "ü = 1",
            "[databases]",
            "[other]",
            "whatever = 1",
        )
    )
    assert problems(text) == [
        'pgbouncer.ini:1: "a": expected a section such as [pgbouncer] before the first setting',
        "pgbouncer.ini:3: expected key = value",
        'pgbouncer.ini:4: expected "]" after the section name',
        'pgbouncer.ini:5: %include: cannot read "none.ini": No such file or directory',
        "pgbouncer.ini:6: %include: expected a file name",
        "pgbouncer.ini:7: expected key = value",
        "pgbouncer.ini:8: expected a name before '='",
        "pgbouncer.ini:9: expected a name of letters, digits and _.-* (anything else in double quotes),"
        ' got "ü"',
        'pgbouncer.ini:11: expected one of [pgbouncer], [databases], [users], [peers], got "[other]"',
    ]


def test_a_second_main_section_begins_anew(loaded: Load) -> None:
    """[run] PgBouncer forgets the first one's settings, and says nothing; here that is a warning."""
    text = "[pgbouncer]\nverbose = 2\nstats_period = 5\n%include more.ini\npool_mode = statement\n"
    config = loaded(text, more__ini="[pgbouncer]\nverbose = 1\n")
    main = config.pgbouncer
    assert (main.verbose, main.stats_period, main.pool_mode) == (1, 60, "statement")
    assert config.warnings == (
        "more.ini:1: [pgbouncer]: begins again, and what was set in it from pgbouncer.ini:1 on is forgotten, as in PgBouncer",
    )


def test_lists_go_on_where_they_begin_again(loaded: Load) -> None:
    """[run] So fragments can be put one behind the other."""
    config = loaded("[pgbouncer]\n[databases]\na = host=h\n[users]\nu = pool_size=1\n[databases]\nb = host=h\n[users]\nv =\n")
    assert (list(config.databases), list(config.users), config.warnings) == (["a", "b"], ["u", "v"], ())


def test_the_main_section_is_needed(problems: Problems) -> None:
    assert problems("[databases]\n") == ["pgbouncer.ini: expected a [pgbouncer] section"]


def test_connection_strings_quote_with_single_quotes() -> None:
    """[run] Blanks around the equals sign are allowed."""
    text = "host = h  port='5' password='it''s = ; #'\tdbname=a'b"
    expected = [("host", "h"), ("port", "5"), ("password", "it's = ; #"), ("dbname", "a'b")]
    assert list(parse_connection_string(text)) == expected


def test_broken_connection_strings_name_the_column(problems: Problems) -> None:
    text = "[pgbouncer]\n[databases]\na = hosth\nb = host=''\n"
    text += "c = host='h\nd = host='h'port=5\ne = port=5 ; x\nf = host=\n"
    pairs = "expected key=value pairs separated by blanks, the fault is at column"
    blanks = "(a value with blanks goes in single quotes)"
    assert problems(text) == [
        f"pgbouncer.ini:3: [databases] a: {pairs} 1 {blanks}",
        "pgbouncer.ini:4: [databases] b: expected a value at column 7",
        "pgbouncer.ini:5: [databases] c: expected a value at column 7",
        "pgbouncer.ini:6: [databases] d: expected a value at column 7",
        f"pgbouncer.ini:7: [databases] e: {pairs} 7 {blanks}",
        "pgbouncer.ini:8: [databases] f: expected a value at column 6",
    ]


@given(st.lists(st.tuples(st.from_regex(r"[a-z_]+", fullmatch=True), st.text(min_size=1)), max_size=5))
def test_quoted_pairs_come_back_as_written(pairs: list[tuple[str, str]]) -> None:
    doubled = [(key, value.replace("'", "''")) for key, value in pairs]
    assert list(parse_connection_string(" ".join(f"{key}='{value}'" for key, value in doubled))) == pairs
