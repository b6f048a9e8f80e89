"""Why the console does not do what it was asked. Almost all are PgBouncer's sentences, under its SQLSTATE."""

from __future__ import annotations

PROTOCOL_VIOLATION = "08P01"  # what PgBouncer says of everything


class Refused(Exception):
    """The command is answered with this error; the connection lives on."""

    def __init__(self, message: str, sqlstate: str = PROTOCOL_VIOLATION, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint


def no_such_database(name: str) -> Refused:
    return Refused(f"no such database: {name}")


def invalid_command(text: str) -> Refused:
    return Refused(f"invalid command '{text}', use SHOW HELP;")


def admin_needed() -> Refused:
    return Refused("admin access needed")
