"""Draws docs/protocol-states.md from the tables: `python -m pgwire.draw > docs/protocol-states.md`.

Knows the tables of state.py and the notation of Mermaid. The login and the session are two pictures,
because one would show nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from .codes import Answer, Auth, Backend, Packet
from .state import BACKEND_SENDS, FRONTEND_SENDS, BackendInput, FrontendInput, Owed, State

_Edge = tuple[State, State, str]

_HEAD = """\
# Protocol states

Drawn from the tables in [state.py](../protocol/pgwire/state.py) by `python -m pgwire.draw`; do not edit. A
test fails when this file is stale.

A connection is in one state, the same for both ends. `F` marks what the frontend says, `B` what the backend
says. Whatever has no arrow is a violation by the one who says it.
"""


def render() -> str:
    """The whole file."""
    edges = [*_edges("F", FRONTEND_SENDS), *_edges("B", BACKEND_SENDS)]
    session = {State.READY, State.BUSY, State.COPY_IN, State.COPY_OUT, State.COPY_BOTH}
    login = [edge for edge in edges if edge[0] not in session]
    later = [edge for edge in edges if edge[0] in session]
    return "\n".join(
        [
            _HEAD,
            "## From the first byte to ReadyForQuery\n",
            _picture(State.START, _without_errors(login)),
            "An ErrorResponse closes each of these states. A NoticeResponse after startup changes none.\n",
            "## The session\n",
            _picture(State.READY, later),
            "## The states\n",
            _states(),
            "## Every transition\n",
            _table(edges),
        ]
    )


def _edges(
    side: str, table: Mapping[tuple[State, FrontendInput], State] | Mapping[tuple[State, BackendInput], State]
) -> Iterable[_Edge]:
    for (start, what), end in table.items():
        yield start, end, f"{side} {_name(what)}"


def _name(what: FrontendInput | BackendInput) -> str:
    if isinstance(what, Packet | Owed):
        return str(what.value)
    if isinstance(what, Answer):
        return f"encryption {what.value}"
    if isinstance(what, Auth):
        return f"Authentication {what.name}"
    return what.name


def _without_errors(edges: list[_Edge]) -> list[_Edge]:
    always = (f"B {Backend.ERROR_RESPONSE.name}", f"B {Backend.NOTICE_RESPONSE.name}")
    return [edge for edge in edges if edge[2] not in always]


def _picture(start: State, edges: list[_Edge]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start.name}"]
    for (tail, head), labels in _grouped(edges).items():
        lines.append(f"    {tail.name} --> {head.name}: {'<br>'.join(labels)}")
    return "\n".join([*lines, "```", ""])


def _states() -> str:
    rows = [f"| {state.name} | {state.value} |" for state in State]
    return "\n".join(["| state | meaning |", "| --- | --- |", *rows, ""])


def _table(edges: list[_Edge]) -> str:
    rows = [
        f"| {tail.name} | {', '.join(labels)} | {head.name} |"
        for (tail, head), labels in _grouped(edges).items()
    ]
    return "\n".join(["| state | what is said | next state |", "| --- | --- | --- |", *rows, ""])


def _grouped(edges: list[_Edge]) -> dict[tuple[State, State], list[str]]:
    order = list(State)
    grouped: dict[tuple[State, State], list[str]] = {}
    for tail, head, label in sorted(
        edges, key=lambda edge: order.index(edge[0])
    ):  # stable: the tables' own order
        grouped.setdefault((tail, head), []).append(label)
    return grouped


if __name__ == "__main__":
    sys.stdout.write(render())
