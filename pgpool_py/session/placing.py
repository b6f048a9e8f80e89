"""A statement parsed on a server unseen by its client, with the meaning that it has for that one, whatever is in force there.

The text is read under the settings of its Parse, set for that and taken back: by their values where what is in force is known
(a detour), by a savepoint where a block has changed it to who knows what (an excursion), else by asking first (`must_ask`).

A server, here, is anything with `context`, `expected`, `status`, `in_force`, `changed`, `here` and `defaults`.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.session.inline import command
from pgpool_py.session.look import is_custom
from pgpool_py.session.notes import IN_FORCE
from pgpool_py.session.settings import AS_OF_SESSION, OF_A_TRANSACTION, detour, excursion
from pgpool_py.session.spelling import answered, asked
from pgpool_py.session.statement_texts import read_later
from pgpool_py.session.statements import Statement
from pgwire import DataRow
from pgwire.codes import Frontend
from pgwire.expected import Action, Owed
from pgwire.wire import frame

PARSE = int(Owed.PARSE)
SKIP = int(Action.SKIP)
FAILED, IN_BLOCK = ord("E"), ord("T")

# Asked within the transaction in which a statement is parsed: all settings that are in force. The first row says that it was
# answered.
_SETTINGS_IN_FORCE = (
    b"SELECT '', '' UNION ALL SELECT s.name, " + asked(b"s.name") + b" FROM pg_catalog.pg_show_all_settings() s"
    b" WHERE s.source OPERATOR(pg_catalog.=) 'session'"
)


def must_ask(server: Any, statement: Statement) -> bool:
    """Whether the server must be asked what is in force before *statement* is parsed there, in a transaction that deviates."""
    if server.here is not None or server.status == FAILED or server.expected.failed:
        return False
    return not _has_savepoints(server) and not read_later(statement.body)


def ask(server: Any, statement: Statement | None) -> bytes:
    """The messages that ask for all settings in force, custom ones aside: for *statement*, parsed just now, or for the server."""
    return command(server, _SETTINGS_IN_FORCE, (IN_FORCE, None, statement, {}))


def told(server: Any, note: tuple[int, None, Statement | None, dict[bytes, bytes]], row: bytes) -> None:
    """A row that answers the question which left *note*. Raises PeerViolation or ValueError if it is none."""
    _, _, statement, values = note
    name, value = DataRow.decode(row).values
    if name and name not in OF_A_TRANSACTION and not is_custom(name):
        values[name] = answered(value) or b""
    settings = server.context.table.get(values)
    if statement is None:
        server.here = settings
    else:
        statement.settings = settings.meaning


def parse_there(
    server: Any, statement: Statement, there: bytes, deviation: int, note: object, stage: list[bytes], savepoint: bytes = b""
) -> None:
    """Parse *statement* under the name *there*; *deviation*: how the settings in force differ from the session's; *savepoint*:
    the name of one that was made for this, and is rolled back to afterwards.

    Where they do, and the server was neither asked nor can make a savepoint, the text is read under those of the moment.
    """
    ahead: list[bytes] = []
    behind: list[bytes] = []
    turn = None
    if read_later(statement.body):
        pass
    elif server.here is not None:
        turn = detour(server.here, statement.settings, server.defaults)
    elif deviation == AS_OF_SESSION:
        if statement.settings is not server.in_force.meaning:
            turn = detour(server.in_force, statement.settings, server.defaults)
    elif (savepoint and server.changed is not None) or _has_savepoints(server):
        text = excursion(server.in_force, server.changed, statement.settings, server.defaults)
        if text is not None:
            ahead.append(text)
            if not savepoint:
                name = savepoint_name(server)
                ahead.insert(0, set_savepoint(name))
                behind.extend(undo_savepoint(name))
    if turn is not None:
        ahead.append(turn[0])
        behind.append(turn[1])
    for text in ahead:
        stage.append(command(server, text))
    server.expected.add(PARSE + SKIP, note)
    stage.append(parse_message(there, statement.body))
    for text in behind:
        stage.append(command(server, text))


def savepoint_name(server: Any) -> bytes:
    """A name that no client's savepoint has, quoted."""
    name: bytes = b'"' + server.context.new_name() + b'"'
    return name


def set_savepoint(name: bytes) -> bytes:
    """The statement that makes it."""
    return b"SAVEPOINT " + name


def undo_savepoint(name: bytes) -> tuple[bytes, bytes]:
    """The statements that take back what was done since, and leave nothing of it; what was parsed stays parsed."""
    return b"ROLLBACK TO SAVEPOINT " + name, b"RELEASE SAVEPOINT " + name


def parse_message(name: bytes, body: bytes) -> bytes:
    """A Parse; *body* is what follows the name."""
    return frame(Frontend.PARSE, name + b"\0" + body)


def _has_savepoints(server: Any) -> bool:
    """Whether a block is open for certain, and which settings it has changed is known."""
    return server.changed is not None and server.status == IN_BLOCK and not server.expected.size()
