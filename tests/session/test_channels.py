"""Channel names in texts, the table of a listening connection, and the mailbox of a client."""

from __future__ import annotations

import pytest

from pgpool_py.session.channels import Listeners, Mailbox, listen_text, may_listen, may_open_block


@pytest.mark.parametrize(
    "text",
    [b"LISTEN news", b'listen"News"', b"begin; listen a", b"listen -- really\n a", b"do $$ begin execute 'listen a'; end $$"],
)
def test_listen_is_foreseen(text: bytes) -> None:
    assert may_listen(text)


@pytest.mark.parametrize("text", [b"unlisten a", b"select listening, relisten from t", b"select listen$1", "élisten a".encode()])
def test_other_texts_do_not_listen(text: bytes) -> None:
    assert not may_listen(text)


def test_names_outside_ascii_are_said_in_ascii_where_they_are_spelled_otherwise() -> None:
    names = [b"a", "größe".encode()]
    assert listen_text(names) == b'LISTEN "a"; LISTEN "' + names[1] + b'"'
    text = listen_text(names, as_spelled=False)
    assert text.startswith(b'LISTEN "a"; DO ')
    assert text.isascii()
    assert names[1].hex().encode() in text


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

    def test_first_letter_says_whether_it_is_spelled(self) -> None:
        box, brought = Mailbox(100), Mailbox(100)
        box.put(b"x", b"not wanted")
        box.put(b"a", b"1")
        brought.put(b"b", b"2")
        assert box.first({b"a"}) == (False, b"1")
        box.mark()
        box.merge(brought, {b"a", b"b"}, {b"b"})
        assert box.first({b"a"}) == (False, b"1")
        box.drop_first()
        assert box.first({b"a"}) == (True, b"2")
        box.drop_first()
        assert (box.first({b"a"}), box.size) == (None, 0)

    @pytest.mark.parametrize("heard", [[], [b"4"], [b"2", b"4"], [b"1", b"2", b"4"], [b"told", b"1", b"2", b"4"]])
    def test_two_sources_are_one_in_the_order_of_commits(self, heard: list[bytes]) -> None:
        """However long the client's own server heard what both hear, and whatever the client has been told already."""
        box, brought = Mailbox(100), Mailbox(100)
        both = [(b"old", b"1"), (b"gone", b"0"), (b"new", b"early"), (b"old", b"2"), (b"new", b"3"), (b"old", b"4")]
        for channel, message in both:
            box.put(channel, message)
        box.mark()
        box.put(b"new", b"5")
        for message in (b"told", b"1", b"2", b"3", b"4"):
            if message in heard or message == b"3":
                brought.put(b"new" if message == b"3" else b"old", message)
        box.merge(brought, {b"old", b"new"}, {b"new"})
        told = box.take({b"old", b"new"})
        # Without any of the others the place of what is new is not known; it is at the end.
        assert told == (b"12345" if heard else b"12435")
        assert not brought

    def test_names_outside_ascii_are_told_apart(self) -> None:
        old, new = "größer".encode(), "größe".encode()
        box, brought = Mailbox(100), Mailbox(100)
        box.put(old, b"1")
        box.mark()
        brought.put(old, b"1")
        brought.put(new, b"2")
        box.merge(brought, {old, new}, {new})
        assert box.take({old, new}) == b"12"

    @pytest.mark.parametrize("known", [False, True])
    def test_names_in_another_encoding_are_told_apart(self, known: bool) -> None:
        """Channels' names as the client's server spells them; of what is not known rather twice than not at all."""
        old, new = "größer".encode(), "größe".encode()
        theirs = {name.decode().encode("latin-1"): name for name in (old, new)}
        box, brought = Mailbox(100), Mailbox(100)
        box.put(old, b"1")
        box.mark()
        for spelling, message in zip(theirs, (b"1", b"2"), strict=True):
            brought.put(spelling, message)
        box.merge(brought, {old, new}, {new}, theirs if known else {})
        assert box.take({old, new}) == (b"12" if known else b"112")

    def test_too_many_letters_are_not_kept(self) -> None:
        box = Mailbox(3)
        for _ in range(5):
            box.put(b"a", b"12")
        assert box.overflown
        assert (box.size, bool(box)) == (0, False)
