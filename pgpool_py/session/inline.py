"""Commands of the pooler's own in the middle of a client's batch: part of the client's transaction, and unseen by the client.

In the extended protocol, since a Query would end the batch's implicit transaction (manual, 55.2.3); statement and portal have
a name of their own, so that the client's without a name stay.

A server, here, is anything with `context` and `expected`.
"""

from __future__ import annotations

from typing import Any

from pgwire.expected import Action, Owed
from pgwire.wire import frame

PARSE_SKIP, BIND_SKIP = int(Owed.PARSE + Action.SKIP), int(Owed.BIND + Action.SKIP)
EXECUTE_SKIP, CLOSE_SKIP = int(Owed.EXECUTE + Action.SKIP), int(Owed.CLOSE + Action.SKIP)


def command(server: Any, text: bytes, note: object = None) -> bytes:
    """The messages that run one statement; *note* comes back with its rows."""
    name = server.context.new_name()
    stage = []
    for code, kind, body, about in (
        (PARSE_SKIP, b"P", name + b"\0" + text + b"\0\0\0", None),
        (BIND_SKIP, b"B", name + b"\0" + name + b"\0\0\0\0\0\0\0", None),
        (EXECUTE_SKIP, b"E", name + b"\0\0\0\0\0", note),
        (CLOSE_SKIP, b"C", b"P" + name + b"\0", None),
        (CLOSE_SKIP, b"C", b"S" + name + b"\0", None),
    ):
        if server.expected.add(code, about):
            stage.append(frame(kind[0], body))
    return b"".join(stage)
