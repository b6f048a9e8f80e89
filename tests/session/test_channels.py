"""Channel names in texts, the table of a listening connection, and the mailbox of a client."""

from __future__ import annotations

import pytest

from pgpool_py.session.channels import Listeners, Mailbox, channels_in, may_open_block


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        (b"LISTEN news", {b"news"}),
        (b"listen NEWS", {b"news"}),
        (b'LISTEN "News"', {b"News"}),
        (b'LISTEN"a ""b"""', {b'a "b"'}),
        (b"begin; listen a; select 1; LISTEN b;", {b"a", b"b"}),
        (b"listen -- really\n a", {b"a"}),
        (b"listen /* really */a", {b"a"}),
        (b"do $$ begin execute 'listen hidden'; end $$", {b"hidden"}),
        ("listen größe".encode(), {"größe".encode()}),
        (b"listen " + b"x" * 70, {b"x" * 63}),
        (b"listen " + "ä".encode() * 40, {"ä".encode() * 31}),
        (b"unlisten a", set()),
        (b"select listening, relisten from t", set()),
        (b"listen", set()),
    ],
)
def test_channels_are_found_in_text(text: bytes, channels: set[bytes]) -> None:
    """Names as PostgreSQL spells them: folded, unquoted, cut to 63 bytes."""
    assert channels_in(text) == channels


@pytest.mark.parametrize("text", [b"BEGIN", b"/* x */ begin read only", b"start transaction", b"select 1;Begin"])
def test_blocks_are_foreseen(text: bytes) -> None:
    assert may_open_block(text)


def test_other_texts_open_no_block() -> None:
    assert not may_open_block(b"select * from t where n = 1")


class TestListeners:
    def test_first_listener_makes_a_query(self) -> None:
        """The second listener of a channel costs nothing; the last one to go ends it."""
        table = Listeners[str]()
        table.add("a", b"news")
        assert table.pending
        assert not table.decided([b"news"])
        assert table.next_query() == b'LISTEN "news"'
        table.confirmed()
        table.add("b", b"news")
        assert table.decided([b"news"])
        assert table.next_query() == b""
        assert table.of(b"news") == ("a", "b")
        table.remove("a", b"news")
        assert not table.pending
        table.remove("b", b"news")
        assert table.next_query() == b'UNLISTEN "news"'
        table.confirmed()
        assert (len(table), table.heard, table.pending) == (0, set(), False)

    def test_listener_that_comes_back_in_time_keeps_the_channel(self) -> None:
        table = Listeners[str]()
        table.add("a", b"news")
        table.next_query()
        table.confirmed()
        table.remove("a", b"news")
        table.add("b", b"news")
        assert table.next_query() == b""
        assert table.heard == {b"news"}

    def test_listener_that_leaves_while_asking_ends_the_channel(self) -> None:
        """UNLISTEN follows the LISTEN that was under way."""
        table = Listeners[str]()
        table.add("a", b"news")
        table.next_query()
        table.remove("a", b"news")
        assert not table.pending
        table.confirmed()
        assert table.next_query() == b'UNLISTEN "news"'

    def test_names_are_quoted(self) -> None:
        table = Listeners[str]()
        table.add("a", b'a"; drop table t; --')
        assert table.next_query() == b'LISTEN "a""; drop table t; --"'

    def test_one_bad_name_does_not_hurt_the_others(self) -> None:
        """Refused together they are asked for one by one; only the bad one is given up."""
        table = Listeners[str]()
        table.add("a", b"good")
        table.add("b", b"\xff")
        assert table.next_query() == b'LISTEN "good"; LISTEN "\xff"'
        table.refused()
        while table.pending:
            if table.next_query() == b'LISTEN "\xff"':
                table.refused()
            else:
                table.confirmed()
        assert table.heard == {b"good"}
        assert table.decided([b"good", b"\xff"])
        assert table.of(b"\xff") == ()
        assert (table.refuses("a", [b"good"]), table.refuses("b", [b"\xff"])) == (False, True)

    def test_name_that_is_not_answered_yet_is_not_refused(self) -> None:
        table = Listeners[str]()
        table.add("a", b"news")
        assert not table.refuses("a", [b"news"])
        table.next_query()
        assert not table.refuses("a", [b"news"])


class TestMailbox:
    def test_letters_come_out_in_order(self) -> None:
        box = Mailbox(100)
        for channel, message in ((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"a", b"4")):
            box.put(channel, message)
        assert box.take({b"a", b"c"}) == b"134"
        assert not box
        assert box.size == 0

    def test_letters_of_a_channel_can_be_dropped(self) -> None:
        box = Mailbox(100)
        box.put(b"a", b"1")
        box.put(b"b", b"22")
        box.drop({b"a"})
        assert box.size == 2
        assert box.take({b"a", b"b"}) == b"22"

    def test_too_many_letters_are_not_kept(self) -> None:
        box = Mailbox(3)
        for _ in range(5):
            box.put(b"a", b"12")
        assert box.overflown
        assert (box.size, bool(box)) == (0, False)
