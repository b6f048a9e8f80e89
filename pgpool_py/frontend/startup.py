"""The startup packet's parameters, read as PostgreSQL's backend reads them.

Turns them into user, database and settings. Knows which parameters are the pooler's own business; what a
setting means, and whether a server will accept its value, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgwire.codes import PROTOCOL_OPTION_PREFIX

from .errors import InvalidReplication, NoUserName, UnsupportedOptions, UnsupportedParameter, UserNameTooLong
from .gate import LoginRules

# What PostgreSQL's parse_bool takes for "yes" and "no" in the parameter "replication".
_TRUE = frozenset({"1", "t", "tr", "tru", "true", "y", "ye", "yes", "on"})
_FALSE = frozenset({"0", "f", "fa", "fal", "fals", "false", "n", "no", "of", "off"})
MAX_USER_BYTES = 127  # as in PgBouncer
_SPACE = " \t\n\v\f\r"


@dataclass(frozen=True, slots=True)
class StartupRequest:
    """Who wants in, where to, and with which settings."""

    user: str
    database: str
    settings: dict[str, str]  # names in lower case; a parameter of the packet wins over one in options
    replication: str = ""  # "physical", "logical", or nothing


def read_startup(parameters: Mapping[str, str], rules: LoginRules) -> StartupRequest:
    """The request in *parameters*, or the refusal that *rules* ask for."""
    user = parameters.get("user", "")
    if not user:
        raise NoUserName
    if len(user.encode("utf-8", "surrogateescape")) > MAX_USER_BYTES:
        raise UserNameTooLong
    replication = _replication(parameters.get("replication", "off"))
    settings = dict(_option_settings(parameters.get("options", ""), rules))
    settings.update(_packet_settings(parameters, rules))
    return StartupRequest(user, parameters.get("database", "") or user, settings, replication)


def _replication(value: str) -> str:
    """Which kind of replication the parameter asks for."""
    lowered = value.lower()
    if lowered == "database":
        return "logical"
    if lowered in _TRUE:
        return "physical"
    if lowered in _FALSE:
        return ""
    raise InvalidReplication(value)


def _packet_settings(parameters: Mapping[str, str], rules: LoginRules) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if name in ("user", "database", "options", "replication") or name.startswith(PROTOCOL_OPTION_PREFIX):
            continue
        lowered = name.lower()
        if rules.accepts_parameter(lowered):
            yield lowered, value
        elif lowered not in rules.ignore_startup_parameters:
            raise UnsupportedParameter(name)


def _option_settings(options: str, rules: LoginRules) -> Iterator[tuple[str, str]]:
    for name, value in parse_options(options):
        lowered = name.lower()
        if rules.accepts_parameter(lowered):
            yield lowered, value
        elif not rules.ignore_startup_parameters.intersection((lowered, "options")):
            raise UnsupportedParameter(name, in_options=True)


def parse_options(options: str) -> Iterator[tuple[str, str]]:
    """The settings in *options*: '-c a=b', '-ca=b' and '--a=b'; dashes in a name stand for underscores."""
    words = split_options(options)
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            raise UnsupportedOptions
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise UnsupportedOptions
        yield name.replace("-", "_"), value


def split_options(options: str) -> Iterator[str]:
    """The words of *options* as pg_split_opts() splits them: at white space, a backslash protects."""
    word: list[str] = []
    started = False
    characters = iter(options)
    for character in characters:
        if character in _SPACE:
            if started:
                yield "".join(word)
                word, started = [], False
            continue
        started = True
        # A backslash at the very end stands for nothing, as in PostgreSQL.
        word.append(next(characters, "") if character == "\\" else character)
    if started:
        yield "".join(word)
