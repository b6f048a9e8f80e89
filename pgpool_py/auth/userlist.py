"""userlist.txt: `"user" "secret"` line by line.

Knows the file's syntax and keeps every secret of a user in the order of the file. Does not verify anything
and does not know when the file is read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pgpool_py.auth.secret import Secret

MAX_USER_BYTES = 127
MAX_SECRET_BYTES = 65531

_QUOTED = r'"((?:[^"]|"")*)"'
# Between name and secret there may be anything but a quote, and must be something: `"a""b"` is one name with a quote in it.
_LINE = re.compile(rf'{_QUOTED}[^"]+{_QUOTED}')


class UserListError(Exception):
    """The file is at fault; `problems` has a line per reason, with file and line, never with a secret. `usable` is the rest."""

    def __init__(self, problems: list[str], usable: UserList) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.usable = usable


class UserList(Mapping[str, tuple[Secret, ...]]):
    """The secrets of each user. One user may have several (an old and a new password during a change)."""

    def __init__(self, secrets: Mapping[str, tuple[Secret, ...]] | None = None) -> None:
        self._secrets = dict(secrets or {})

    def __getitem__(self, user: str) -> tuple[Secret, ...]:
        return self._secrets[user]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"UserList({len(self)} users)"


def read_userlist(path: str | Path) -> UserList:
    """The users of the file at *path*. Raises OSError, or UserListError naming every bad line."""
    return parse_userlist(Path(path).read_bytes().decode("utf-8", "surrogateescape"), str(path))


def parse_userlist(text: str, name: str) -> UserList:
    """The users in *text*; *name* is the file's name for the error lines."""
    secrets: dict[str, tuple[Secret, ...]] = {}
    problems: list[str] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \t\r\v\f")
        if not line or line.startswith(";"):
            continue
        match = _LINE.match(line)
        # The line itself is never quoted in a message: a bad line most likely holds a secret.
        if match is None:
            problems.append(f'{name}:{number}: expected "user" "secret", both in double quotes')
            continue
        user, secret = (part.replace('""', '"') for part in match.groups())
        fault = _too_long("user name", user, MAX_USER_BYTES) or _too_long("secret", secret, MAX_SECRET_BYTES)
        if fault:
            problems.append(f"{name}:{number}: {fault}")
            continue
        secrets[user] = (*secrets.get(user, ()), Secret(secret))
    if problems:
        raise UserListError(problems, UserList(secrets))
    return UserList(secrets)


def _too_long(what: str, text: str, limit: int) -> str | None:
    size = len(text.encode("utf-8", "surrogateescape"))
    return f"{what}: expected at most {limit} bytes, got {size}" if size > limit else None
