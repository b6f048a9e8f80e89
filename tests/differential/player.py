"""One side of a comparison: the clients of a script, on connections of their own or behind the pooler.

What a step was answered becomes lines of text, in which only what a client can hold against the pooler is left:
not where in PostgreSQL's source an error was raised, not process ids, not numbers that PostgreSQL counts up.
A ParameterStatus may come sooner or later: after each step it is what the client has been told in all that counts.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterable

from tests.differential.looking import LOOK
from tests.differential.script import Script, Step, startup_parameters
from tests.system import wire
from tests.system.rawclient import WAYS_OUT, RawClient, ServerError
from tests.system.stack import wait_a_bit
from tests.system.wire import Message

Connect = Callable[..., RawClient]
Answer = list[str]

_SOURCE_PLACE = "FLR"
_COUNTED = re.compile(r"\bpg(_toast)?_temp_\d+")
PATIENCE = 10.0
MOMENT = 100  # microseconds between two segments


class Player:
    """Plays steps, and remembers who is connected."""

    def __init__(self, connect: Connect, patience: float = PATIENCE) -> None:
        self.connect = connect
        self.patience = patience
        self.clients: dict[str, RawClient] = {}
        self.pids: dict[int, str] = {}
        self.heard: dict[str, int] = {}
        self.status: dict[str, str] = {}  # the last ReadyForQuery of each client

    def play(self, step: Step) -> Answer:
        """What the step was answered."""
        if step.verb == "!":
            return self._come_or_go(step)
        client = self.clients.get(step.client)
        if client is None:
            self._come(step.client, {})
            client = self.clients[step.client]
        try:
            lines = self._say(client, step)
        except (OSError, EOFError) as error:
            return [f"lost: {error!r}"]
        return [*lines, *self.told(client)]

    def _say(self, client: RawClient, step: Step) -> Answer:
        if step.verb == "?":
            wanted, sql = step.rest.split(" <- ", 1)
            return [eventually(client, sql, wanted, self.patience)]
        if step.verb == "+":
            return self._hear(step.client, client, int(step.rest or "1"))
        if step.verb == "@":
            return self.shown(exchange(client, wire.query(LOOK), step.client, self.status))
        if step.cut:
            client.send(step.messages[: step.cut])
            wait_a_bit(MOMENT)
        return self.shown(exchange(client, step.messages[step.cut :], step.client, self.status, step.requests))

    # Coming and going

    def _come_or_go(self, step: Step) -> Answer:
        word, _, rest = step.rest.partition(" ")
        if word == "connect":
            return self._come(step.client, startup_parameters(rest))
        client = self.clients.get(step.client)
        if client is None:
            return ["nobody there"]
        if word == "cancel":
            client.cancel()
            return []
        del self.clients[step.client]
        self.status.pop(step.client, None)
        WAYS_OUT[word](client)
        return []

    def _come(self, name: str, parameters: dict[str, str]) -> Answer:
        try:
            client = self.connect(**parameters)
        except ServerError as error:
            return self.shown([error.message])
        self.clients[name] = client
        self.pids[client.pid] = name
        self.heard[name] = 0
        self.status[name] = "I"
        return self.told(client)

    def close(self) -> None:
        for client in self.clients.values():
            client.leave()
        self.clients.clear()

    # What was heard

    def _hear(self, name: str, client: RawClient, count: int) -> Answer:
        """Notifications since the last time, once there are *count* of them."""
        first = self.heard[name]
        client.sock.settimeout(self.patience)
        while len(client.notifications) < first + count:
            client.receive()
        # An answered question: whatever is too much has come before it.
        client.query("")
        self.heard[name] = len(client.notifications)
        return [self.notification(body) for body in client.notifications[first:]]

    def notification(self, body: bytes) -> str:
        (pid,) = struct.unpack_from("!I", body)
        channel, payload = body[4:].split(b"\0")[:2]
        return f"A {channel.decode()} {payload.decode()!r} from {self.pids.get(pid, 'nobody here')}"

    def told(self, client: RawClient) -> Answer:
        return [f"S {name}={value}" for name, value in sorted(client.parameters.items())]

    def shown(self, messages: Iterable[Message]) -> Answer:
        """Messages as lines; notifications come when they come and are heard with `+`."""
        lines = []
        for message in messages:
            if message.kind not in "SKA":
                lines.append(_COUNTED.sub("pg_temp_N", readable(message)))
        return lines


def exchange(client: RawClient, messages: bytes, name: str, status: dict[str, str], requests: int = 1) -> list[Message]:
    """Send, and read up to the last ReadyForQuery, or to the end of the connection."""
    client.send(messages)
    seen: list[Message] = []
    while requests:
        try:
            seen.append(client.receive())
        except (EOFError, ConnectionResetError):
            return [*seen, Message("!", b"connection closed")]
        if seen[-1].kind == "G" and wire.copy_done() not in messages:
            client.send(wire.copy_done())
        requests -= seen[-1].kind == "Z"
    status[name] = seen[-1].body.decode()
    return seen


def eventually(client: RawClient, sql: str, wanted: str, patience: float) -> str:
    """The answer to *sql*, asked until it is *wanted*; or the last one."""
    deadline = time.monotonic() + patience
    while True:
        reply = client.query(sql)
        answer = " ".join(wire.errors(reply)) or str((wire.values(reply)[0] or b"null").decode())
        if answer == wanted or time.monotonic() > deadline:
            return f"? {answer}"
        time.sleep(0.005)


def readable(message: Message) -> str:
    """All of a message that two right answers have in common."""
    if message.kind in "EN":
        fields = {key: value for key, value in message.fields.items() if key not in _SOURCE_PLACE}
        return f"{message.kind} " + " ".join(f"{key}={value!r}" for key, value in sorted(fields.items()))
    if message.kind == "D":
        return f"D {message.columns}"
    if message.kind == "T":
        return f"T {columns(message.body)}"
    return f"{message.kind} {message.body!r}"


def columns(body: bytes) -> list[str]:
    """A RowDescription without the table's oid, which counts up."""
    (count,), at, found = struct.unpack_from("!H", body), 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        _, column, type_oid, size, modifier, form = struct.unpack_from("!IHIhiH", body, end + 1)
        kind = "row" if type_oid >= 16384 else type_oid
        found.append(f"{body[at:end].decode(errors='replace')}:{column}:{kind}:{size}:{modifier}:{form}")
        at = end + 19
    return found


def differences(script: Script, right: list[Answer], ours: list[Answer]) -> list[str]:
    """The first step that was answered differently, with the lines that differ; empty when there is none."""
    for at, (step, expected, got) in enumerate(zip(script.steps, right, ours, strict=True)):
        if expected != got:
            lines = [f"{script.name}, pool of {script.pool}, step {at + 1} of {len(script.steps)}"]
            lines += [f"   {'>>' if step is here else '  '} {here}" for here in script.steps[: at + 1]]
            return lines + difference(expected, got)
    return []


def difference(expected: Answer, got: Answer) -> list[str]:
    """Lines of one that the other does not have."""
    missing = [f"direct: {line}" for line in expected if line not in got]
    extra = [f"pooler: {line}" for line in got if line not in expected]
    return missing + extra or [f"direct, in this order: {expected}", f"pooler, in this order: {got}"]
