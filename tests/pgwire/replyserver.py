"""A small model of how PostgreSQL answers: messages are read one by one, replies are appended in order.

It knows the manual's "Message Flow" and nothing of `pgwire.expected`, which is tested against it. How a request turns out is
decided by whoever sends it, as a word in `Request.outcome`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pgwire.codes import Backend

_QUERY_REPLIES: dict[str, tuple[Backend, ...]] = {
    "rows": (Backend.ROW_DESCRIPTION, Backend.DATA_ROW, Backend.DATA_ROW, Backend.COMMAND_COMPLETE),
    "command": (Backend.COMMAND_COMPLETE,),
    "two commands": (Backend.COMMAND_COMPLETE, Backend.ROW_DESCRIPTION, Backend.DATA_ROW, Backend.COMMAND_COMPLETE),
    "nothing": (Backend.EMPTY_QUERY_RESPONSE,),
    "copy out": (Backend.COPY_OUT_RESPONSE, Backend.COPY_DATA, Backend.COPY_DONE, Backend.COMMAND_COMPLETE),
    "error": (Backend.ERROR_RESPONSE,),
    "late error": (Backend.COMMAND_COMPLETE, Backend.ROW_DESCRIPTION, Backend.DATA_ROW, Backend.ERROR_RESPONSE),
}
_REPLIES: dict[str, dict[str, tuple[Backend, ...]]] = {
    "Parse": {"done": (Backend.PARSE_COMPLETE,), "error": (Backend.ERROR_RESPONSE,)},
    "Bind": {"done": (Backend.BIND_COMPLETE,), "error": (Backend.ERROR_RESPONSE,)},
    "Close": {"done": (Backend.CLOSE_COMPLETE,)},
    "Describe": {
        "statement": (Backend.PARAMETER_DESCRIPTION, Backend.ROW_DESCRIPTION),
        "statement without rows": (Backend.PARAMETER_DESCRIPTION, Backend.NO_DATA),
        "portal": (Backend.ROW_DESCRIPTION,),
        "portal without rows": (Backend.NO_DATA,),
        "error": (Backend.ERROR_RESPONSE,),
    },
    "Execute": {
        "rows": (Backend.DATA_ROW, Backend.COMMAND_COMPLETE),
        "suspended": (Backend.DATA_ROW, Backend.PORTAL_SUSPENDED),
        "nothing": (Backend.EMPTY_QUERY_RESPONSE,),
        "copy out": (Backend.COPY_OUT_RESPONSE, Backend.COPY_DATA, Backend.COPY_DONE, Backend.COMMAND_COMPLETE),
        "error": (Backend.ERROR_RESPONSE,),
        "late error": (Backend.DATA_ROW, Backend.ERROR_RESPONSE),
    },
    "Sync": {"done": (), "error": (Backend.ERROR_RESPONSE,)},  # a deferred constraint fails at commit
    "FunctionCall": {"done": (Backend.FUNCTION_CALL_RESPONSE,), "error": (Backend.ERROR_RESPONSE,)},
    "Query": _QUERY_REPLIES,
}
OUTCOMES = {kind: tuple(replies) for kind, replies in _REPLIES.items()}
READY_AFTER = frozenset({"Query", "Sync", "FunctionCall"})


@dataclass(frozen=True)
class Request:
    """A message on its way to the server; copy messages are requests too, though nobody owes them a reply."""

    number: int
    kind: str
    outcome: str = "done"


@dataclass(frozen=True)
class Answer:
    """A message of the server and the request it is about."""

    kind: Backend
    request: Request


class ReplyServer:
    """Reads `wire`, writes `replies`."""

    def __init__(self) -> None:
        self.wire: deque[Request] = deque()
        self.replies: deque[Answer] = deque()
        self.skipping = False
        self.copy: Request | None = None

    def read(self) -> None:
        """Read one message and answer it."""
        message = self.wire.popleft()
        if self.skipping and message.kind != "Sync":
            return
        if self.copy is not None:
            self._read_in_copy(self.copy, message)
        elif message.kind in ("CopyData", "CopyDone", "CopyFail"):
            pass  # left over from a copy that failed
        elif message.outcome == "copy in":
            self.replies.append(Answer(Backend.COPY_IN_RESPONSE, message))
            self.copy = message
        else:
            self.skipping = False
            self._answer(message, *_REPLIES[message.kind][message.outcome])

    def read_all(self) -> None:
        while self.wire:
            self.read()

    def _read_in_copy(self, copy: Request, message: Request) -> None:
        if message.kind == "Sync":
            return
        assert message.kind in ("CopyData", "CopyDone", "CopyFail"), "the model's client keeps to the protocol"
        if message.kind == "CopyFail" or message.outcome == "error":
            self.copy = None
            self._answer(copy, Backend.ERROR_RESPONSE)
        elif message.kind == "CopyDone":
            self.copy = None
            self._answer(copy, Backend.COMMAND_COMPLETE)

    def _answer(self, request: Request, *kinds: Backend) -> None:
        self.replies.extend(Answer(kind, request) for kind in kinds)
        if request.kind in READY_AFTER:
            self.replies.append(Answer(Backend.READY_FOR_QUERY, request))
        elif kinds[-1] == Backend.ERROR_RESPONSE:
            self.skipping = True
