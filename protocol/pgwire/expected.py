"""What a server owes: the queue of expected replies of one connection.

Every message sent to a server that will be answered leaves an entry here; every message the server sends is held against
the entry at the head.  So three things are known exactly at any moment: whether anything is owed, whether the reply
at hand belongs to the client or to the pooler, and whether the server says something that does not add up.

Hot: called once per message in both directions, guarded by `benchmarks/compare.py`.

An entry's code is a request kind plus what to do with its replies:

    FORWARD   they go to the client
    SKIP      the pooler asked, the client does not know: they are swallowed
    FAKE      the server was not asked, the client waits for an answer: the caller makes one when its turn comes

The rules are those of the manual, 55.2 "Message Flow": a Query, a Sync and a FunctionCall are owed a ReadyForQuery;
after an error
in the extended protocol everything up to the next Sync is skipped by the server; a Sync that the server reads
in copy-in mode is owed nothing.  This module knows no statements and no sockets; a *note* is the caller's, and comes back when
its entry is answered or dropped.
"""

from enum import IntEnum

from pgwire.codes import Backend


class Owed(IntEnum):
    """The kinds of request that are owed a reply."""

    QUERY = 0
    PARSE = 1
    BIND = 2
    DESCRIBE = 3
    EXECUTE = 4
    CLOSE = 5
    SYNC = 6
    FUNCTION_CALL = 7


class Action(IntEnum):
    """What is done with the replies to a request; a code is a kind plus an action."""

    FORWARD = 0
    SKIP = 8
    FAKE = 16


class Reply(IntEnum):
    """What `Expected.answer` says of a message: pass it on, swallow it, or the server must be closed."""

    PASS = 0
    SWALLOW = 1
    WRONG = 2


# The same numbers once more as plain names: C integers in the compiled build.
QUERY = int(Owed.QUERY)
PARSE = int(Owed.PARSE)
BIND = int(Owed.BIND)
DESCRIBE = int(Owed.DESCRIBE)
EXECUTE = int(Owed.EXECUTE)
CLOSE = int(Owed.CLOSE)
SYNC = int(Owed.SYNC)
FUNCTION_CALL = int(Owed.FUNCTION_CALL)
FORWARD = int(Action.FORWARD)
SKIP = int(Action.SKIP)
FAKE = int(Action.FAKE)
PASS = int(Reply.PASS)
SWALLOW = int(Reply.SWALLOW)
WRONG = int(Reply.WRONG)
_ACTION = 24
_KIND = 7

DATA_ROW = int(Backend.DATA_ROW)
COMMAND_COMPLETE = int(Backend.COMMAND_COMPLETE)
READY_FOR_QUERY = int(Backend.READY_FOR_QUERY)
ROW_DESCRIPTION = int(Backend.ROW_DESCRIPTION)
BIND_COMPLETE = int(Backend.BIND_COMPLETE)
PARSE_COMPLETE = int(Backend.PARSE_COMPLETE)
CLOSE_COMPLETE = int(Backend.CLOSE_COMPLETE)
ERROR_RESPONSE = int(Backend.ERROR_RESPONSE)
NOTICE_RESPONSE = int(Backend.NOTICE_RESPONSE)
PARAMETER_STATUS = int(Backend.PARAMETER_STATUS)
NOTIFICATION_RESPONSE = int(Backend.NOTIFICATION_RESPONSE)
PARAMETER_DESCRIPTION = int(Backend.PARAMETER_DESCRIPTION)
NO_DATA = int(Backend.NO_DATA)
EMPTY_QUERY_RESPONSE = int(Backend.EMPTY_QUERY_RESPONSE)
PORTAL_SUSPENDED = int(Backend.PORTAL_SUSPENDED)
FUNCTION_CALL_RESPONSE = int(Backend.FUNCTION_CALL_RESPONSE)
COPY_IN_RESPONSE = int(Backend.COPY_IN_RESPONSE)
COPY_OUT_RESPONSE = int(Backend.COPY_OUT_RESPONSE)
COPY_DATA = int(Backend.COPY_DATA)
COPY_DONE = int(Backend.COPY_DONE)


class Expected:
    """The replies one server owes, oldest first.

    `failed`      an extended-protocol error was seen: the server skips up to the next Sync
    `copying_in`  the server reads copy data, and the client has not ended it
    `owed_ready`  how many ReadyForQuery are owed
    `suspect`     a copy failed that may have left one ReadyForQuery more than is known: the pooler must be the next to ask
    `fake_due`    the head is a FAKE entry: answer it and `pop`
    `marked`      the caller's mark on what has gone out since the last request that is owed a ReadyForQuery; the next one ends it
    `note`        the note of the entry that the last `answer` was about
    `dropped`     (code, note) of the entries that the last error made the server skip, oldest first; the caller takes them
    """

    def __init__(self) -> None:
        # The queue is what stands from _head up to _end; the slots outside it are free, their notes None, and used again.
        self._codes = bytearray(8)
        self._notes: list[object] = [None] * 8
        self._head = 0
        self._end = 0
        self._code = -1  # that of the entry at _head, -1 when there is none
        self.failed = False
        self.copying_in = False
        self._copy_syncs = 0
        self._ignored_syncs = 0
        self._served = False
        self.suspect = False
        self.owed_ready = 0
        self.fake_due = False
        self.marked = False
        self.dropped: list[tuple[int, object]] = []
        self.note: object = None

    def __repr__(self) -> str:
        actions = {FORWARD: "", SKIP: " skip", FAKE: " fake"}
        queue = ", ".join(Owed(c & _KIND).name + actions[c & _ACTION] for c in self._codes[self._head : self._end])
        return f"<Expected [{queue}]{' failed' if self.failed else ''}{' copying in' if self.copying_in else ''}>"

    def size(self) -> int:
        """How many entries are unanswered."""
        return self._end - self._head

    def head(self) -> int:
        """The code of the oldest entry, -1 when nothing is owed."""
        return self._code

    def head_note(self) -> object:
        """The note of the oldest entry; only when there is one."""
        return self._notes[self._head]

    def add(self, code: int, note: object) -> int:
        """Append an entry for a message that goes out now; 1 if it will be answered, 0 if the server ignores it."""
        kind = code & _KIND
        if self.failed:
            # The server reads on to a Sync and answers nothing before it.
            if kind != SYNC:
                self.dropped.append((code, note))
                return 0
        elif self.copying_in and kind == SYNC:
            self._copy_syncs += 1
            return 0
        if kind == QUERY or kind == SYNC or kind == FUNCTION_CALL:
            self.owed_ready += 1
            self.marked = False
            if kind == SYNC:
                self.failed = False
        elif code & _ACTION == FAKE and self._head == self._end:
            self.fake_due = True
        if self._head == self._end:
            self._code = code
        if self._end == len(self._codes):
            self._make_room()
        self._codes[self._end] = code
        if note is not None:
            self._notes[self._end] = note
        self._end += 1
        return 1

    def entry(self, i: int) -> tuple[int, object]:
        """(code, note) of the entry at *i*, counted from the oldest."""
        return self._codes[self._head + i], self._notes[self._head + i]

    def replace_note(self, i: int, note: object) -> None:
        """Give the entry at *i*, counted from the oldest, another note."""
        self._notes[self._head + i] = note

    def lacks_sync(self) -> bool:
        """Whether what went out last belongs to a batch whose Sync did not; of a server that is at work."""
        if self._head == self._end:
            return True
        kind = self._codes[self._end - 1] & _KIND
        return kind != SYNC and kind != QUERY and kind != FUNCTION_CALL

    def pop(self) -> object:
        """Take the oldest entry away; its note."""
        note = self._notes[self._head]
        self._advance()
        return note

    def _advance(self) -> None:
        if self._notes[self._head] is not None:
            self._notes[self._head] = None
        self._served = False
        self._head += 1
        if self._head == self._end:
            self._head = self._end = 0
            self._code = -1
            self.fake_due = False
        else:
            self._code = self._codes[self._head]
            self.fake_due = self._code & _ACTION == FAKE

    def answer(self, kind: int) -> int:
        """Hold a message of the server against the queue: PASS it on, SWALLOW it, or it is WRONG and the server must
        be closed."""
        code = self._code
        if kind == NOTIFICATION_RESPONSE:
            return PASS  # whatever is asked meanwhile
        if kind == NOTICE_RESPONSE or kind == PARAMETER_STATUS:
            return SWALLOW if code >= 0 and code & _ACTION == SKIP else PASS
        if code < 0:
            self.note = None
            return PASS if kind == ERROR_RESPONSE else WRONG
        action = code & _ACTION
        if action == FAKE:
            return WRONG
        request = code & _KIND
        note = self._notes[self._head]
        if note is not self.note:  # written only where it changes: compiled, each write counts references
            self.note = note
        result = SWALLOW if action == SKIP else PASS
        if kind == DATA_ROW:
            return result if request == QUERY or request == EXECUTE else WRONG
        if kind == READY_FOR_QUERY:
            # One that comes before its request was served belongs to something else.
            if request == SYNC or (self._served and (request == QUERY or request == FUNCTION_CALL)):
                self.owed_ready -= 1
                self.copying_in = False
                self._advance()
                return result
            return WRONG
        if kind == COMMAND_COMPLETE or kind == EMPTY_QUERY_RESPONSE:
            if request == QUERY:
                self._served = True
                self.copying_in = False
                self._copy_syncs = self._ignored_syncs = 0
                return result
            if request == EXECUTE:
                self.copying_in = False
                self._copy_syncs = self._ignored_syncs = 0
                self._advance()
                return result
            return WRONG
        if kind == ERROR_RESPONSE:
            return self._fail(code)
        if kind == ROW_DESCRIPTION:
            if request == DESCRIBE:
                self._advance()
                return result
            return result if request == QUERY else WRONG
        if kind == BIND_COMPLETE:
            ok = request == BIND
        elif kind == PARSE_COMPLETE:
            ok = request == PARSE
        elif kind == CLOSE_COMPLETE:
            ok = request == CLOSE
        elif kind == NO_DATA:
            ok = request == DESCRIBE
        elif kind == PORTAL_SUSPENDED:
            ok = request == EXECUTE
        elif kind == PARAMETER_DESCRIPTION:
            return result if request == DESCRIBE else WRONG
        elif kind == COPY_OUT_RESPONSE or kind == COPY_DATA or kind == COPY_DONE:
            return result if request == QUERY or request == EXECUTE else WRONG
        elif kind == FUNCTION_CALL_RESPONSE:
            self._served = True
            return result if request == FUNCTION_CALL else WRONG
        elif kind == COPY_IN_RESPONSE:
            return self._copy_in(request) if action == FORWARD else WRONG
        else:
            return WRONG
        if not ok:
            return WRONG
        self._advance()
        return result

    def _make_room(self) -> None:
        """Move the queue to the front, or make the row of slots longer."""
        codes = bytes(self._codes[self._head : self._end])
        notes = self._notes[self._head : self._end]
        size = max(8, 2 * len(codes))
        self._codes = bytearray(codes) + bytearray(size - len(codes))
        self._notes = notes + [None] * (size - len(notes))
        self._head = 0
        self._end = len(codes)

    def skip_pending(self, note: object) -> bool:
        """Turn every owed reply into a swallowed one carrying *note*; False if a FAKE one is among them."""
        for i in range(self._head, self._end):
            if self._codes[i] & _ACTION == FAKE:
                return False
            if self._codes[i] & _ACTION == FORWARD:
                self._codes[i] += SKIP
                self._notes[i] = note
                if i == self._head:
                    self._code += SKIP
        return True

    def copy_ended(self) -> None:
        """Note that CopyDone or CopyFail went out: a Sync sent from now on is answered."""
        self.copying_in = False

    def _fail(self, code: int) -> int:
        request = code & _KIND
        # A Sync sent during copy-in was ignored if the server read it before the error, else it is owed a
        # ReadyForQuery: unknowable.
        unknowable = self._copy_syncs > 0
        self._copy_syncs = 0
        if unknowable:
            return WRONG
        if self._ignored_syncs:
            self.suspect = True
        self._ignored_syncs = 0
        if request == QUERY or request == SYNC or request == FUNCTION_CALL:
            self._served = True
            self.copying_in = False
            return SWALLOW if code & _ACTION == SKIP else PASS
        # Extended protocol: skipped by the server up to the next Sync, this entry included.
        self.copying_in = False
        while self._head < self._end:
            code = self._codes[self._head]
            if code & _KIND == SYNC:
                break
            if code & _KIND == QUERY or code & _KIND == FUNCTION_CALL:
                self.owed_ready -= 1
            self.dropped.append((code, self.pop()))
        else:
            self.failed = True
        self.fake_due = False
        # Whose Sync ends it, his is the error.
        return SWALLOW if self._head < self._end and self._codes[self._head] & _ACTION == SKIP else PASS

    def _copy_in(self, request: int) -> int:
        if request != QUERY and request != EXECUTE:
            return WRONG
        # Syncs that went out behind it are read, and ignored, in copy mode. Anything else is read as a violation there.
        for i in range(self._head + 1, self._end):
            if self._codes[i] & _KIND != SYNC:
                return WRONG
            self._notes[i] = None
        self._ignored_syncs = self._end - self._head - 1
        self.owed_ready -= self._ignored_syncs
        self._end = self._head + 1
        self.copying_in = True
        self._copy_syncs = 0
        return PASS
