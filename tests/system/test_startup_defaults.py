"""A client's startup values are where its RESET and DISCARD ALL lead, however its messages reach the pooler."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
from tests.system.rawclient import RawClient

pytestmark = pytest.mark.skipif(stack.IS_PEER, reason="the executable under test does not keep settings")

PIPELINE = [
    wire.query("set work_mem = '6MB'"),
    wire.query("reset work_mem"),
    wire.query("show work_mem"),
    wire.query("set application_name = 'changed'; set work_mem = '7MB'"),
    wire.query("discard all"),
    wire.query("show work_mem"),
    wire.run("set application_name = 'changed'"),
    wire.parse("", "reset all") + wire.bind("p", "") + wire.execute("p") + wire.run("show application_name"),
    wire.run("discard all"),
    wire.query("select current_setting('work_mem') || current_setting('application_name')"),
]
SHOWN = [b"5MB", b"5MB", b"mine", b"5MBmine"]


def connect(pooler: stack.Pooler) -> RawClient:
    return pooler.connect("one", work_mem="5MB", application_name="mine")


def test_pipeline_finds_own_start(pooler: stack.Pooler) -> None:
    """What is sent behind RESET and DISCARD ALL, without waiting, finds the client's startup values in force."""
    with pooler.connect("one") as other, connect(pooler) as client:
        for sent in (b"".join(PIPELINE), b"".join(PIPELINE[4:])):
            other.ask("select 1")
            client.send(sent)
            replies = client.until("Z", len([m for m in wire.split(bytearray(sent)) if m.kind in "QS"]))
            assert wire.errors(replies) == []
            assert wire.values(replies) == SHOWN[-wire.kinds(replies).count("D") :]
            assert [m.body for m in replies if m.kind == "C"].count(b"RESET\0") == (2 if sent == b"".join(PIPELINE) else 1)
            assert client.parameters["application_name"] == "mine"
        assert other.ask("show work_mem") != "5MB"


def test_pipeline_in_pieces(pooler: stack.Pooler) -> None:
    """The same when the bytes come in pieces of any size."""
    whole = b"".join(PIPELINE)
    for size in (1, 7, 61):
        with pooler.connect("one") as other, connect(pooler) as client:
            other.ask("select 1")
            for at in range(0, len(whole), size):
                client.send(whole[at : at + size])
            assert wire.values(client.until("Z", len(PIPELINE))) == SHOWN


def test_leaving_behind_discard_all(pooler: stack.Pooler) -> None:
    """A client that says DISCARD ALL and goes leaves nothing behind, and no server is lost."""
    for last in (wire.terminate(), wire.query("select 1") + wire.terminate(), b""):
        client = connect(pooler)
        client.send(wire.query("set work_mem = '6MB'"), wire.query("discard all"), last)
        if not last:
            client.half_close()
        client.until("Z", 2)
        client.sock.close()
        with pooler.connect("one") as other:
            assert other.ask("show work_mem") == "4MB"


def test_error_position_is_in_own_text(pooler: stack.Pooler) -> None:
    """The position of an error behind a RESET counts in what the client sent."""
    with connect(pooler) as client:
        error = next(m for m in client.query("reset work_mem; select nosuch") if m.kind == "E")
        assert error.fields["P"] == "24"


def test_discard_all_in_a_failed_batch(pooler: stack.Pooler) -> None:
    """A Query that the server skips, for an error before it and no Sync between, is waited for by nobody."""
    with connect(pooler) as client:
        client.send(wire.parse("", "select 1/0") + wire.bind("", "") + wire.execute() + wire.flush())
        client.until("E")
        client.send(wire.query("discard all") + wire.sync() + wire.query("show work_mem"))
        assert wire.values(client.until("Z", 2)) == [b"5MB"]


AS_ANOTHER = [
    ["set role story_other", "set work_mem = '6MB'", "reset all"],
    ["set role story_other; reset all"],
    ["begin", "set local role story_other", "reset all", "commit"],
    ["begin", "set role story_other; savepoint s", "reset all", "rollback to s", "commit"],
    ["begin", "set role story_other", "reset all", "rollback"],
    ["set role story_other; reset log_min_messages"],
    ["reset all; set transaction isolation level serializable"],
    ["begin; reset all; set transaction isolation level serializable; commit"],
    ["select set_config('role', 'story_other', false); reset all"],
]


@pytest.mark.parametrize("way", ["Query", "batch"])
@pytest.mark.parametrize("texts", AS_ANOTHER, ids="; ".join)
def test_reset_all_in_another_role(pooler: stack.Pooler, direct: Callable[..., RawClient], texts: list[str], way: str) -> None:
    """It takes no right to it, and leads back also to what the role at hand may not set."""
    given = {"options": "-c log_min_messages=error -c session_replication_role=local", "work_mem": "5MB"}
    look = "select concat_ws(' ', current_user, current_setting('log_min_messages'), current_setting('work_mem'))"
    if way == "batch":
        texts = [text for text in "; ".join(texts).split("; ") if not text.startswith("set transaction")]
    with direct(stack.ADMIN, **given) as expected, pooler.connect("one", stack.ADMIN, **given) as client:
        with pooler.connect("one", stack.ADMIN) as other:
            for text in texts:
                replies = [each.exchange(wire.query(text) if way == "Query" else wire.run(text)) for each in (expected, client)]
                assert wire.errors(replies[1]) == wire.errors(replies[0])
                assert wire.kinds(replies[1]) == wire.kinds(replies[0])
                assert client.ask(look) == expected.ask(look)
            assert other.ask(look) == "postgres warning 4MB"
            assert client.ask(look) == expected.ask(look)


NO_QUERY_YET = [
    ([], ["begin", "reset all", "set transaction isolation level serializable", "commit"]),
    ([], ["begin; set work_mem = '6MB'", "reset all", "reset all", "set transaction isolation level serializable", "commit"]),
    ([], ["begin", "savepoint s", "reset all", "rollback to s", "set transaction isolation level serializable", "rollback"]),
    (["set role story_other"], ["begin", "reset all", "set transaction isolation level serializable", "commit"]),
    (["set role story_other"], ["begin; set work_mem = '6MB'", "reset all", "rollback"]),
    (["set session authorization story_other"], ["begin", "reset all", "set transaction deferrable", "commit"]),
    (["set session authorization story_owner", "set role story_other"], ["reset all", "begin; reset all; rollback"]),
    (["set role story_other"], ["reset all; set transaction deferrable"]),
    ([], ["begin", "set session authorization story_other", "reset all", "commit"]),
    ([], ["begin", "set local session authorization story_other; reset all", "commit"]),
    (["set role story_other"], ["begin", "set local session authorization story_other; reset all", "commit"]),
    (["set session authorization story_owner; set role story_other"], ["begin; set role none; reset all", "commit"]),
    ([], ["begin", "set session authorization story_other; savepoint s", "reset all", "rollback to s", "rollback"]),
    ([], ["set session authorization story_owner; set role story_other; reset all"]),
]


@pytest.mark.parametrize("way", ["Query", "batch"])
@pytest.mark.parametrize(("before", "texts"), NO_QUERY_YET, ids=lambda texts: "; ".join(texts))
def test_reset_all_is_no_query(
    pooler: stack.Pooler, direct: Callable[..., RawClient], before: list[str], texts: list[str], way: str
) -> None:
    """Behind it a transaction's isolation level can be set as on a direct connection, whatever role was in force before."""
    given = {"options": "-c log_min_messages=error -c session_replication_role=local", "work_mem": "5MB"}
    look = "select concat_ws(' ', session_user, current_user, current_setting('log_min_messages'), current_setting('work_mem'))"
    if way == "batch":
        texts = "; ".join(texts).split("; ")
        if texts[0] != "begin":
            texts = ["begin", *texts, "commit"]
    with direct(stack.ADMIN, **given) as expected, pooler.connect("one", stack.ADMIN, **given) as client:
        with pooler.connect("one", stack.ADMIN) as other:
            for text in before:
                assert wire.kinds(client.query(text)) == wire.kinds(expected.query(text))
            assert other.ask(look) == "postgres postgres warning 4MB"
            for text in texts:
                replies = [each.exchange(wire.query(text) if way == "Query" else wire.run(text)) for each in (expected, client)]
                assert wire.errors(replies[1]) == wire.errors(replies[0])
                assert wire.kinds(replies[1]) == wire.kinds(replies[0])
            assert client.ask(look) == expected.ask(look)
            assert other.ask(look) == "postgres postgres warning 4MB"
            assert client.ask(look) == expected.ask(look)
