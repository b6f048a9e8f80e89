"""The queue of expected replies against a model of a server (replyserver.py), in any order of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pgwire.codes import Backend
from pgwire.expected import Action, Expected, Owed, Reply
from tests.pgwire.replyserver import OUTCOMES, Answer, ReplyServer, Request

FUNCTION_CALL = Owed.FUNCTION_CALL
SKIP, FAKE = Action.SKIP, Action.FAKE
PASS, SWALLOW, WRONG = Reply.PASS, Reply.SWALLOW, Reply.WRONG
ERROR, READY, COMPLETE = Backend.ERROR_RESPONSE, Backend.READY_FOR_QUERY, Backend.COMMAND_COMPLETE
ROWS = Backend.ROW_DESCRIPTION
PARSED, BOUND, CLOSED = Backend.PARSE_COMPLETE, Backend.BIND_COMPLETE, Backend.CLOSE_COMPLETE
SAID_ANY_TIME = (Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE)

# The reply with which a request is answered, if no error ends it.
LAST_REPLIES = {
    "Query": {READY},
    "Sync": {READY},
    "FunctionCall": {READY},
    "Parse": {PARSED},
    "Bind": {BOUND},
    "Close": {CLOSED},
    "Describe": {ROWS, Backend.NO_DATA},
    "Execute": {COMPLETE, Backend.PORTAL_SUSPENDED, Backend.EMPTY_QUERY_RESPONSE},
}


class Pipeline(RuleBasedStateMachine):
    """A client that keeps to the protocol, a pooler with requests of its own, a server, and any timing between them.

    Checked at each step: every reply is held to be about the request that it is about, what is the client's reaches the client,
    and never is less owed than will come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expected = Expected()
        self.server = ReplyServer()
        self.number = 0
        self.actions: dict[int, Action] = {}
        self.copy: int | None = None  # the number of a copy request whose end has not gone out
        self.copies: set[int] = set()  # copy requests whose end has not come back
        self.syncs_in_copy = 0
        self.answered: list[int] = []  # each request once, when its last reply came or its fake was given
        self.dropped: list[int] = []
        self.ignored: set[int] = set()
        self.closed = False

    def send(self, kind: str, outcome: str, action: Action = Action.FORWARD) -> None:
        self.number += 1
        request = Request(self.number, kind, outcome)
        self.actions[self.number] = action
        code = Owed[{"FunctionCall": "FUNCTION_CALL"}.get(kind, kind.upper())] + action
        if kind == "Sync" and self.copy is not None:
            self.ignored.add(self.number)
            if self.expected.copying_in:
                self.syncs_in_copy += 1
        if outcome == "copy in" and not self.expected.failed:
            self.copy = self.number
            self.copies.add(self.number)
        self.expected.add(code, self.number)
        if action != FAKE:
            self.server.wire.append(request)
        self.give_fakes()

    def give_fakes(self) -> None:
        while self.expected.fake_due:
            number = self.expected.head_note()
            assert isinstance(number, int)
            assert self.actions[number] == FAKE
            assert self.expected.pop() == number
            self.answered.append(number)
        for _, number in self.expected.dropped:
            assert isinstance(number, int)
            self.dropped.append(number)
            self.copies.discard(number)
            if number == self.copy:
                self.copy = None
        self.expected.dropped = []

    open = precondition(lambda self: not self.closed)
    free = precondition(lambda self: not self.closed and self.copy is None)

    @free
    @rule(outcome=st.sampled_from((*OUTCOMES["Query"], "copy in")))
    def client_sends_query(self, outcome: str) -> None:
        self.send("Query", outcome)

    @free
    @rule(outcome=st.sampled_from(OUTCOMES["Query"]).filter(lambda outcome: not outcome.startswith("copy")))
    def pooler_sends_query(self, outcome: str) -> None:
        self.send("Query", outcome, Action.SKIP)

    @free
    @rule(kind=st.sampled_from(("Parse", "Bind", "Describe", "Execute", "Close", "FunctionCall")), data=st.data())
    def client_sends_request(self, kind: str, data: st.DataObject) -> None:
        self.send(kind, data.draw(st.sampled_from(OUTCOMES[kind])))

    @free
    @rule(kind=st.sampled_from(("Parse", "Close")), data=st.data())
    def pooler_sends_request(self, kind: str, data: st.DataObject) -> None:
        self.send(kind, data.draw(st.sampled_from(OUTCOMES[kind])), Action.SKIP)

    @free
    @rule(kind=st.sampled_from(("Parse", "Close")))
    def pooler_answers_itself(self, kind: str) -> None:
        self.send(kind, "done", Action.FAKE)

    @free
    @rule()
    def client_sends_copy(self) -> None:
        self.send("Execute", "copy in")

    @open
    @rule(outcome=st.sampled_from(OUTCOMES["Sync"]))
    def client_sends_sync(self, outcome: str) -> None:
        self.send("Sync", "done" if self.copy is not None else outcome)

    @open
    @rule(outcome=st.sampled_from(("done", "done", "error")))
    def client_sends_copy_data(self, outcome: str) -> None:
        """In its turn, ahead of it, or left over from a copy that failed."""
        self.server.wire.append(Request(0, "CopyData", outcome))

    @open
    @precondition(lambda self: self.expected.copying_in or self.expected.failed or not self.expected.size())
    @rule(request=st.sampled_from((Request(0, "CopyDone"), Request(0, "CopyDone", "error"), Request(0, "CopyFail"))))
    def client_ends_copy(self, request: Request) -> None:
        """Only once the server's answer to the copy is known: the relay holds the message until then."""
        self.server.wire.append(request)
        if self.expected.copying_in:
            self.expected.copy_ended()
            self.copy = None

    @open
    @precondition(lambda self: self.server.wire)
    @rule()
    def server_reads(self) -> None:
        self.server.read()

    @open
    @rule(kind=st.sampled_from(SAID_ANY_TIME))
    def server_gives_notice(self, kind: Backend) -> None:
        """Comes ahead of everything unread, so it is about what is owed now."""
        head = self.expected.head()
        swallowed = head >= 0 and head & (SKIP | FAKE) == SKIP and kind != Backend.NOTIFICATION_RESPONSE
        assert self.expected.answer(kind) == (SWALLOW if swallowed else PASS)

    @precondition(lambda self: self.closed)
    @rule()
    def nothing_more_happens(self) -> None:
        """The server was closed, or is about to be reset; hypothesis wants a way on."""

    @open
    @precondition(lambda self: self.server.replies)
    @rule()
    def pooler_reads(self) -> None:
        self.take(self.server.replies.popleft())

    def take(self, answer: Answer) -> None:
        kind, request = answer.kind, answer.request
        ends_copy = kind in (ERROR, COMPLETE) and request.outcome == "copy in"
        result = self.expected.answer(kind)
        if kind == ERROR and ends_copy and self.syncs_in_copy:
            assert result == WRONG
            self.closed = True
            return
        if self.expected.suspect:
            # The reset that follows meets what may still come.
            assert kind == ERROR and ends_copy and self.ignored
            self.closed = True
            return
        if ends_copy:
            self.syncs_in_copy = 0
            self.copies.discard(request.number)
            if request.number == self.copy:
                self.copy = None
        assert self.expected.note == request.number, f"{kind!r} of {request} was taken for an answer to {self.expected.note}"
        skip = self.actions[request.number] == SKIP
        fails_batch = kind == ERROR and request.kind not in ("Query", "Sync", "FunctionCall")
        assert result == (SWALLOW if skip and not fails_batch else PASS)
        if kind in LAST_REPLIES[request.kind]:
            self.answered.append(request.number)
        self.give_fakes()

    @invariant()
    def no_less_is_owed_than_will_come(self) -> None:
        if self.closed or self.copy is not None or self.server.copy is not None:
            return
        server = ReplyServer()
        server.wire, server.replies = self.server.wire.copy(), self.server.replies.copy()
        server.skipping = self.server.skipping
        server.read_all()
        if server.copy is None:
            coming = sum(answer.kind == READY for answer in server.replies)
            # How a copy ends decides about the Syncs sent with it; until then its own entry keeps the server.
            assert self.copies or self.expected.owed_ready >= coming, "a server would be handed on with a reply still to come"
            assert self.expected.size() or not server.replies

    def teardown(self) -> None:
        """Everything read: nothing is owed, and each request was answered, in order, or dropped."""
        while not self.closed and (self.server.wire or self.server.replies):
            if self.server.wire:
                self.server.read()
            else:
                self.take(self.server.replies.popleft())
        if self.closed or self.server.copy is not None:
            return
        assert (self.expected.size(), self.expected.owed_ready) == (0, 0), self.expected
        assert self.expected.failed == self.server.skipping
        assert self.answered == sorted(set(self.answered))
        assert not set(self.answered) & set(self.dropped)
        told = set(self.answered) | set(self.dropped) | self.ignored
        assert told == set(range(1, self.number + 1))


Pipeline.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
TestPipeline = Pipeline.TestCase
