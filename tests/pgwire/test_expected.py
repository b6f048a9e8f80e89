"""The queue of expected replies, by example."""

from __future__ import annotations

import pytest

from pgwire.codes import Backend
from pgwire.expected import Action, Expected, Owed, Reply

QUERY, PARSE, BIND, DESCRIBE = Owed.QUERY, Owed.PARSE, Owed.BIND, Owed.DESCRIBE
EXECUTE, CLOSE, SYNC, FUNCTION_CALL = Owed.EXECUTE, Owed.CLOSE, Owed.SYNC, Owed.FUNCTION_CALL
SKIP, FAKE = Action.SKIP, Action.FAKE
PASS, SWALLOW, WRONG = Reply.PASS, Reply.SWALLOW, Reply.WRONG

ERROR, READY, COMPLETE = Backend.ERROR_RESPONSE, Backend.READY_FOR_QUERY, Backend.COMMAND_COMPLETE
ROW, ROWS, COPY_IN = Backend.DATA_ROW, Backend.ROW_DESCRIPTION, Backend.COPY_IN_RESPONSE
PARSED, BOUND, CLOSED = Backend.PARSE_COMPLETE, Backend.BIND_COMPLETE, Backend.CLOSE_COMPLETE
SAID_ANY_TIME = (Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE)


@pytest.fixture
def expected() -> Expected:
    """Nothing owed yet."""
    return Expected()


def sent(expected: Expected, *codes: int) -> list[int]:
    """Send requests; the note of each is its code. What `add` says of them."""
    return [expected.add(code, code) for code in codes]


def answers(expected: Expected, *kinds: int) -> list[int]:
    """What becomes of each message."""
    return [expected.answer(kind) for kind in kinds]


def failed_codes(expected: Expected) -> list[int]:
    """What the caller is told was skipped, taken as the caller takes it."""
    dropped, expected.dropped = expected.dropped, []
    return [code for code, _ in dropped]


# --- the two flows ---


def test_simple_query_owes_one_ready(expected: Expected) -> None:
    assert sent(expected, QUERY) == [1]
    assert expected.owed_ready == 1
    assert answers(expected, ROWS, ROW, ROW, COMPLETE, COMPLETE) == [PASS] * 5
    assert expected.size() == 1, "a Query may hold several statements: only ReadyForQuery ends it"
    assert answers(expected, READY) == [PASS]
    assert (expected.size(), expected.owed_ready) == (0, 0)


def test_failed_query_is_still_owed_ready(expected: Expected) -> None:
    sent(expected, QUERY, QUERY)
    assert answers(expected, ERROR, READY) == [PASS, PASS]
    assert (expected.size(), expected.failed, expected.dropped) == (1, False, [])


def test_batch_is_answered_in_order(expected: Expected) -> None:
    sent(expected, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC)
    assert repr(expected) == "<Expected [PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC]>"
    assert answers(expected, PARSED, BOUND, ROWS, ROW, COMPLETE, CLOSED, READY) == [PASS] * 7
    assert repr(expected) == "<Expected []>"


def test_described_statement_takes_two_messages(expected: Expected) -> None:
    sent(expected, DESCRIBE, DESCRIBE, SYNC)
    assert answers(expected, Backend.PARAMETER_DESCRIPTION, Backend.NO_DATA) == [PASS, PASS]
    assert answers(expected, Backend.PARAMETER_DESCRIPTION, ROWS, READY) == [PASS, PASS, PASS]


def test_suspended_portal_ends_its_execute(expected: Expected) -> None:
    sent(expected, EXECUTE, EXECUTE, SYNC)
    assert answers(expected, ROW, Backend.PORTAL_SUSPENDED, ROW, COMPLETE, READY) == [PASS] * 5


def test_function_call_is_owed_ready(expected: Expected) -> None:
    sent(expected, FUNCTION_CALL)
    assert answers(expected, Backend.FUNCTION_CALL_RESPONSE, READY) == [PASS, PASS]


def test_long_pipeline_forgets_what_was_answered(expected: Expected) -> None:
    """Far beyond the point where answered entries are cut off the front."""
    for number in range(2000):
        expected.add(BIND, number)
    for number in range(2000):
        assert expected.head_note() == number
        assert expected.answer(BOUND) == PASS
        assert expected.note == number
        assert expected.size() == 1999 - number


# --- errors in the extended protocol ---


def test_error_skips_to_the_next_sync(expected: Expected) -> None:
    sent(expected, PARSE, BIND, EXECUTE, SYNC, PARSE, SYNC)
    assert answers(expected, PARSED, ERROR) == [PASS, PASS]
    assert failed_codes(expected) == [BIND, EXECUTE]
    assert answers(expected, READY, PARSED, READY) == [PASS] * 3


def test_query_in_the_skip_is_owed_nothing(expected: Expected) -> None:
    sent(expected, PARSE, QUERY, FUNCTION_CALL, SYNC)
    assert expected.owed_ready == 3
    answers(expected, ERROR)
    assert failed_codes(expected) == [PARSE, QUERY, FUNCTION_CALL]
    assert expected.owed_ready == 1
    assert answers(expected, READY) == [PASS]


def test_requests_before_the_sync_are_ignored(expected: Expected) -> None:
    """The error came first, the rest of the batch goes out afterwards."""
    sent(expected, PARSE)
    answers(expected, ERROR)
    assert expected.failed
    assert failed_codes(expected) == [PARSE]
    assert sent(expected, BIND, QUERY, PARSE + FAKE) == [0, 0, 0]
    assert failed_codes(expected) == [BIND, QUERY, PARSE + FAKE]
    assert (expected.owed_ready, expected.fake_due) == (0, False)
    assert sent(expected, SYNC) == [1]
    assert not expected.failed
    assert answers(expected, READY) == [PASS]


def test_sync_itself_may_fail(expected: Expected) -> None:
    """A deferred constraint is checked at commit: the error and the ReadyForQuery are both the Sync's."""
    sent(expected, EXECUTE, SYNC, BIND)
    assert answers(expected, COMPLETE, ERROR, READY, BOUND) == [PASS] * 4
    assert not expected.failed


# --- the pooler's own requests ---


def test_own_query_is_swallowed(expected: Expected) -> None:
    sent(expected, QUERY + SKIP, QUERY)
    assert answers(expected, ROWS, ROW, COMPLETE, READY) == [SWALLOW] * 4
    assert answers(expected, COMPLETE, READY) == [PASS, PASS]


def test_failed_own_query_is_swallowed(expected: Expected) -> None:
    sent(expected, QUERY + SKIP)
    assert answers(expected, ERROR, READY) == [SWALLOW, SWALLOW]
    assert expected.note == QUERY + SKIP


def test_failed_own_parse_fails_the_batch(expected: Expected) -> None:
    """The client's batch rests on it, so the client is told."""
    sent(expected, PARSE + SKIP, BIND, EXECUTE, SYNC)
    assert answers(expected, ERROR, READY) == [PASS, PASS]
    assert failed_codes(expected) == [PARSE + SKIP, BIND, EXECUTE]


def test_notification_belongs_to_no_request(expected: Expected) -> None:
    """Whatever is asked meanwhile: none of the pooler's own questions brings one."""
    sent(expected, QUERY + SKIP, QUERY)
    assert expected.answer(Backend.NOTIFICATION_RESPONSE) == PASS


@pytest.mark.parametrize("kind", [Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS])
def test_notices_belong_to_the_request_at_hand(expected: Expected, kind: Backend) -> None:
    assert expected.answer(kind) == PASS, "nothing owed: a notice to whoever holds the server"
    sent(expected, QUERY + SKIP, QUERY)
    assert answers(expected, kind, COMPLETE, kind, READY) == [SWALLOW] * 4
    assert answers(expected, kind, COMPLETE, kind, READY) == [PASS] * 4


def test_pending_replies_can_be_swallowed(expected: Expected) -> None:
    """What was sent behind settings that could not be put in force is refused, and nobody hears of it."""
    sent(expected, QUERY + SKIP, QUERY, SYNC)
    assert expected.skip_pending("refused")
    assert answers(expected, ERROR, READY, ERROR, READY) == [SWALLOW] * 4
    assert expected.note == "refused"
    assert answers(expected, READY) == [SWALLOW]
    sent(expected, BIND, PARSE + FAKE)
    assert not expected.skip_pending("refused"), "somebody waits for an answer that only the pooler can give"


# --- answers without a question ---


def test_fake_is_due_at_once_when_nothing_is_owed(expected: Expected) -> None:
    sent(expected, PARSE + FAKE)
    assert expected.fake_due
    assert expected.pop() == PARSE + FAKE
    assert (expected.fake_due, expected.size()) == (False, 0)


def test_fake_waits_for_its_turn(expected: Expected) -> None:
    sent(expected, BIND, PARSE + FAKE, CLOSE + FAKE, EXECUTE, SYNC)
    assert not expected.fake_due
    answers(expected, BOUND)
    assert expected.fake_due
    assert expected.answer(COMPLETE) == WRONG, "the caller answers first"
    expected.pop()
    assert expected.fake_due
    expected.pop()
    assert not expected.fake_due
    assert answers(expected, COMPLETE, READY) == [PASS, PASS]


def test_fake_behind_an_error_is_dropped(expected: Expected) -> None:
    sent(expected, BIND, PARSE + FAKE, SYNC)
    answers(expected, ERROR)
    assert not expected.fake_due
    assert failed_codes(expected) == [BIND, PARSE + FAKE]
    assert answers(expected, READY) == [PASS]


# --- COPY FROM STDIN ---


@pytest.mark.parametrize("syncs", [0, 1, 3])
def test_sync_ahead_of_copy_data_is_ignored(expected: Expected, syncs: int) -> None:
    """libpq sends Sync right behind the Execute; a server that reads it in copy-in mode gives nothing for it."""
    sent(expected, BIND, EXECUTE, *[SYNC] * syncs)
    assert answers(expected, BOUND, COPY_IN) == [PASS, PASS]
    assert (expected.copying_in, expected.owed_ready) == (True, 0)
    expected.copy_ended()
    assert sent(expected, SYNC) == [1]
    assert answers(expected, COMPLETE, READY) == [PASS, PASS]


def test_sync_inside_copy_data_is_ignored(expected: Expected) -> None:
    sent(expected, EXECUTE)
    answers(expected, COPY_IN)
    assert sent(expected, SYNC, SYNC) == [0, 0]
    expected.copy_ended()
    sent(expected, SYNC)
    assert answers(expected, COMPLETE, READY) == [PASS, PASS]


def test_sync_after_a_failed_copy_is_answered(expected: Expected) -> None:
    sent(expected, EXECUTE)
    answers(expected, COPY_IN)
    expected.copy_ended()
    sent(expected, SYNC)
    assert answers(expected, ERROR, READY) == [PASS, PASS]
    assert not expected.copying_in


def test_copy_of_a_query_ends_with_ready(expected: Expected) -> None:
    sent(expected, QUERY)
    assert answers(expected, COPY_IN) == [PASS]
    assert expected.copying_in
    expected.copy_ended()
    assert answers(expected, COMPLETE, READY) == [PASS, PASS]
    sent(expected, QUERY)
    assert answers(expected, COPY_IN, ERROR, READY) == [PASS, PASS, PASS]
    assert not expected.copying_in


@pytest.mark.parametrize("request_kind", [QUERY, EXECUTE])
def test_unknowable_sync_closes_the_server(expected: Expected, request_kind: Owed) -> None:
    """Was the Sync read before the error, and ignored, or after it? Whoever guesses hands on a server that still talks."""
    sent(expected, request_kind)
    answers(expected, COPY_IN)
    sent(expected, SYNC)
    assert expected.answer(ERROR) == WRONG


@pytest.mark.parametrize("request_kind", [QUERY, EXECUTE])
@pytest.mark.parametrize("behind", [PARSE, BIND, QUERY, CLOSE + FAKE])
def test_only_syncs_may_follow_a_copy(expected: Expected, request_kind: Owed, behind: int) -> None:
    sent(expected, request_kind, behind)
    assert expected.answer(COPY_IN) == WRONG


@pytest.mark.parametrize("request_kind", [QUERY, EXECUTE])
def test_failed_copy_behind_a_sync_is_suspect(expected: Expected, request_kind: Owed) -> None:
    """A copy may fail before it reads anything, so a Sync sent ahead of the data is perhaps answered after all."""
    sent(expected, request_kind, SYNC)
    assert answers(expected, COPY_IN, ERROR) == [PASS, PASS]
    assert expected.suspect


def test_stray_ready_is_never_anothers(expected: Expected) -> None:
    """The one ReadyForQuery too many meets the next request unserved, whoever sent it."""
    sent(expected, EXECUTE, SYNC)
    answers(expected, COPY_IN)
    expected.copy_ended()
    sent(expected, SYNC)
    assert answers(expected, ERROR, READY) == [PASS, PASS]
    assert expected.size() == 0
    sent(expected, QUERY)
    assert expected.answer(READY) == WRONG


@pytest.mark.parametrize("request_kind", [QUERY, EXECUTE])
def test_finished_copy_behind_a_sync_is_clean(expected: Expected, request_kind: Owed) -> None:
    sent(expected, request_kind, SYNC)
    answers(expected, COPY_IN)
    expected.copy_ended()
    answers(expected, COMPLETE)
    sent(expected, SYNC)
    assert answers(expected, *[READY] * expected.owed_ready) == [PASS] * (2 if request_kind == QUERY else 1)
    assert (expected.size(), expected.suspect) == (0, False)


def test_own_copy_is_wrong(expected: Expected) -> None:
    sent(expected, QUERY + SKIP)
    assert expected.answer(COPY_IN) == WRONG


# --- what does not add up ---


@pytest.mark.parametrize("kind", [k for k in Backend if k not in SAID_ANY_TIME])
def test_unasked_message_is_wrong(expected: Expected, kind: Backend) -> None:
    """But for an error: that is how a server says good-bye."""
    assert expected.answer(kind) == (PASS if kind == ERROR else WRONG)


ANSWERS = {
    QUERY: {ROWS, ROW, COMPLETE, ERROR, COPY_IN, Backend.EMPTY_QUERY_RESPONSE, Backend.COPY_OUT_RESPONSE,
            Backend.COPY_DATA, Backend.COPY_DONE},
    PARSE: {PARSED, ERROR},
    BIND: {BOUND, ERROR},
    DESCRIBE: {Backend.PARAMETER_DESCRIPTION, ROWS, Backend.NO_DATA, ERROR},
    EXECUTE: {ROW, COMPLETE, ERROR, COPY_IN, Backend.EMPTY_QUERY_RESPONSE, Backend.PORTAL_SUSPENDED,
              Backend.COPY_OUT_RESPONSE, Backend.COPY_DATA, Backend.COPY_DONE},
    CLOSE: {CLOSED, ERROR},
    SYNC: {ERROR},
    FUNCTION_CALL: {Backend.FUNCTION_CALL_RESPONSE, ERROR},
}  # fmt: skip


@pytest.mark.parametrize("owed", list(Owed))
def test_each_request_has_its_own_answers(owed: Owed) -> None:
    """Any other message at the head of the queue closes the server; ReadyForQuery has its own tests."""
    for kind in set(Backend) - {READY}:
        expected = Expected()
        expected.add(owed, None)
        allowed = kind in ANSWERS[owed] or kind in SAID_ANY_TIME
        assert expected.answer(kind) == (PASS if allowed else WRONG), (owed, kind)


@pytest.mark.parametrize("owed", [QUERY, QUERY + SKIP, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, FUNCTION_CALL])
def test_ready_before_its_request_was_served_is_wrong(expected: Expected, owed: int) -> None:
    sent(expected, owed)
    assert expected.answer(READY) == WRONG


def test_ready_needs_its_own_service(expected: Expected) -> None:
    sent(expected, QUERY, QUERY)
    assert answers(expected, COMPLETE, READY, READY) == [PASS, PASS, WRONG]


# --- notes ---


def test_notes_of_all_that_is_owed() -> None:
    """Counted from the oldest; a note can be put in another's place."""
    expected = Expected()
    first, second, third = object(), object(), object()
    for code, note in ((Owed.PARSE, first), (Owed.SYNC, None), (Owed.PARSE, second), (Owed.BIND, third)):
        expected.add(int(code), note)
    expected.answer(int(Backend.PARSE_COMPLETE))
    expected.replace_note(1, first)
    owed = [expected.entry(i) for i in range(expected.size())]
    assert owed == [(Owed.SYNC, None), (Owed.PARSE, first), (Owed.BIND, third)]


@pytest.mark.parametrize("last", [SYNC, QUERY, QUERY + SKIP, FUNCTION_CALL])
def test_a_mark_lasts_to_the_end_of_its_batch(expected: Expected, last: int) -> None:
    """Whatever of the batch, or of what was before, is answered meanwhile."""
    sent(expected, QUERY, PARSE)
    expected.marked = True
    sent(expected, BIND, EXECUTE)
    answers(expected, COMPLETE, READY, PARSED)
    assert expected.marked
    sent(expected, last)
    assert not expected.marked


def test_a_batch_lacks_its_sync_until_that_was_sent() -> None:
    """Also when all that went out is answered already, and when a request of its own stands before it."""
    expected = Expected()
    expected.add(int(Owed.QUERY), None)
    assert not expected.lacks_sync()
    expected.add(int(Owed.PARSE), None)
    assert expected.lacks_sync()
    for kind in (Backend.COMMAND_COMPLETE, Backend.READY_FOR_QUERY, Backend.PARSE_COMPLETE):
        expected.answer(int(kind))
    assert expected.size() == 0
    assert expected.lacks_sync()
    expected.add(int(Owed.SYNC), None)
    assert not expected.lacks_sync()
