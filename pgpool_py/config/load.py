"""From files to a `Config`, or to a ConfigError that names every fault.

Knows the order of the work: read the ini, sort its values by section, let the models judge them, check the
rules across settings, read the user list. The rules themselves are elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pgpool_py.auth.hba import Hba, read_hba
from pgpool_py.auth.ident import IdentFile, read_ident
from pgpool_py.auth.ldap_options import LdapOptionsError, parse_ldap_options
from pgpool_py.auth.userlist import UserList, UserListError, read_userlist
from pgpool_py.config.checks import check, doubts
from pgpool_py.config.config import ADMIN_DATABASE, Config
from pgpool_py.config.errors import ConfigError, Origin, Problem, quoted
from pgpool_py.config.ini import ConnectionStringError, IniFile, Value, parse_connection_string, read_ini
from pgpool_py.config.models import DatabaseSettings, PeerSettings, PgBouncerSettings, UserSettings
from pgpool_py.config.setting import Settings, aliases, meta_of, setting_fields
from pgpool_py.config.values import MAX_NAME_BYTES, MAX_USER_BYTES, AuthType, c_integer

SECTIONS = ("pgbouncer", "databases", "users", "peers")
# Never shown in a message, whatever is wrong with them.
_SECRET_KEYS = frozenset({"password", "auth_ldap_options"})

S = TypeVar("S", bound=Settings)


def load(path: str | Path, *, starting: bool = False) -> Config:
    """The configuration at *path* with its includes and its user list. Raises ConfigError naming every fault.

    With *starting*, what is wrong with the files of users and rules is a warning: PgBouncer starts without them, too, and
    whoever is not in them is refused.
    """
    ini = read_ini(path)
    loader = _Loader(ini)
    config = loader.config(str(path))
    return _finished(config, [*ini.problems, *loader.problems], starting=starting)


def change_setting(config: Config, name: str, text: str) -> Config:
    """*config* with one setting of [pgbouncer] changed as if the file said so. Raises ConfigError when it cannot be."""
    if name not in setting_fields(PgBouncerSettings):
        raise ConfigError([f"{name}: unknown setting" + _did_you_mean(PgBouncerSettings, name)])
    if not meta_of(PgBouncerSettings, name).changeable:
        raise ConfigError([f"{name}: only a restart changes it"])
    values = {each: getattr(config.pgbouncer, each) for each in setting_fields(PgBouncerSettings)}
    try:
        main = PgBouncerSettings.model_validate({**values, name: text})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = str(fault.get("ctx", {}).get("error", fault["msg"]))
        shown = "" if name in _SECRET_KEYS else f", got {quoted(text)}"
        raise ConfigError([f"{name}: {reason}{shown}"]) from None
    origins = {**config.origins, ("pgbouncer", name): Origin("SET", 0)}
    return _finished(config.model_copy(update={"pgbouncer": main, "origins": origins, "warnings": ()}), [])


def _finished(config: Config, problems: list[Problem], *, starting: bool = False) -> Config:
    """*config* with the files it names, or ConfigError with *problems* and what else is wrong."""
    of_files: list[Problem] = []
    config = _with_ldap(_with_hba(config, of_files), problems)
    problems += check(config)
    userlist, userlist_faults = _userlist(config, of_files)
    warnings = [*config.warnings, *map(str, doubts(config))]
    if starting:
        warnings += [*map(str, of_files), *userlist_faults]
        of_files, userlist_faults = [], []
    problems += of_files
    if problems or userlist_faults:
        _in_order_of_the_file(problems)
        raise ConfigError([*(str(problem) for problem in problems), *userlist_faults])
    return config.model_copy(update={"userlist": userlist, "warnings": tuple(warnings)})


def _userlist(config: Config, problems: list[Problem]) -> tuple[UserList, list[str]]:
    """The users of `auth_file` and its faults; a file that cannot be read is the fault of the line that"
    " names it."""
    path = config.pgbouncer.auth_file
    try:
        return (read_userlist(path) if path else UserList()), []
    except OSError as error:
        problems.append(_unreadable(config, "auth_file", error))
    except UserListError as error:
        return error.usable, error.problems
    return UserList(), []


def _with_hba(config: Config, problems: list[Problem]) -> Config:
    """*config* with the rules of `auth_hba_file` and the maps of `auth_ident_file`, which only auth_type=hba reads."""
    main = config.pgbouncer
    if main.auth_type is not AuthType.HBA:
        return config
    if not main.auth_hba_file:
        origin = config.origins.get(("pgbouncer", "auth_type"), Origin(config.path, 0))
        problems.append(Problem(origin, 'needs auth_hba_file when it is "hba"', "pgbouncer", ("auth_type",)))
    idents, hba = IdentFile({}), Hba()
    try:
        if main.auth_ident_file:
            idents = read_ident(main.auth_ident_file)
    except OSError as error:
        problems.append(_unreadable(config, "auth_ident_file", error))
    try:
        if main.auth_hba_file:
            hba = read_hba(main.auth_hba_file, idents.maps)
    except OSError as error:
        problems.append(_unreadable(config, "auth_hba_file", error))
    return config.model_copy(update={"hba": hba, "warnings": (*config.warnings, *idents.problems, *hba.problems)})


def _with_ldap(config: Config, problems: list[Problem]) -> Config:
    """*config* with what `auth_ldap_options` says, which only auth_type=ldap reads."""
    main = config.pgbouncer
    if main.auth_type is not AuthType.LDAP:
        return config
    try:
        text = main.auth_ldap_options.reveal() if main.auth_ldap_options else ""
        return config.model_copy(update={"ldap": parse_ldap_options(text)})
    except LdapOptionsError as error:
        key = "auth_ldap_options"
        origin = config.origins.get(("pgbouncer", key)) or config.origins.get(("pgbouncer", "auth_type"), Origin(config.path, 0))
        problems.append(Problem(origin, str(error), "pgbouncer", (key,)))
        return config


def _unreadable(config: Config, key: str, error: OSError) -> Problem:
    origin = config.origins.get(("pgbouncer", key), Origin(config.path, 0))
    text = f"cannot read {quoted(getattr(config.pgbouncer, key))}: {error.strerror}"
    return Problem(origin, text, "pgbouncer", (key,))


class _Loader:
    """Builds the models and keeps on after a fault: a value that was refused is left at its default."""

    def __init__(self, ini: IniFile) -> None:
        self.ini = ini
        self.problems: list[Problem] = []
        self.origins: dict[tuple[str, str], Origin] = {}

    def config(self, path: str) -> Config:
        self.check_sections(path)
        return Config(
            path=path,
            pgbouncer=self.main_section(),
            databases=self.databases(),
            users=self.users(),
            peers=self.peers(),
            warnings=tuple(map(str, self.ini.warnings)),
            origins=self.origins,
        )

    def check_sections(self, path: str) -> None:
        for name, origin in self.ini.sections.items():
            if name not in SECTIONS:
                expected = "expected one of " + ", ".join(f"[{section}]" for section in SECTIONS)
                self.problems.append(Problem(origin, f"{expected}, got {quoted('[' + name + ']')}"))
        # Said only when the file was read: a file that is not there misses everything.
        if "pgbouncer" not in self.ini.sections and not self.ini.problems:
            self.problems.append(Problem(Origin(path, 0), "expected a [pgbouncer] section"))

    def values(self, section: str) -> Iterable[Value]:
        for value in self.ini.values:
            if value.section == section:
                self.origins[section, value.key] = value.origin
                yield value

    def main_section(self) -> PgBouncerSettings:
        last = {value.key: value for value in self.values("pgbouncer")}
        names = aliases(PgBouncerSettings)
        self.origins |= {("pgbouncer", names[key]): value.origin for key, value in last.items() if key in names}
        where = {key: (value.origin, (key,)) for key, value in last.items()}
        return self.build(PgBouncerSettings, {key: value.text for key, value in last.items()}, where)

    def databases(self) -> dict[str, DatabaseSettings]:
        found: dict[str, DatabaseSettings] = {}
        for value in self.values("databases"):
            if value.key == ADMIN_DATABASE:
                self.fault(value, 'the name "pgbouncer" is reserved for the admin console')
            elif self.name_fits(value, MAX_NAME_BYTES):
                found[value.key] = self.entry(DatabaseSettings, value).model_copy(update={"name": value.key})
        return found

    def users(self) -> dict[str, UserSettings]:
        return {
            value.key: self.entry(UserSettings, value).model_copy(update={"name": value.key})
            for value in self.values("users")
            if self.name_fits(value, MAX_USER_BYTES)
        }

    def peers(self) -> dict[int, PeerSettings]:
        found: dict[int, PeerSettings] = {}
        for value in self.values("peers"):
            try:
                number = c_integer(value.key)
            except ValueError:
                number = 0
            if not 1 <= number <= 16383:
                self.fault(value, f"expected a peer id from 1 to 16383, got {quoted(value.key)}")
                continue
            found[number] = self.entry(PeerSettings, value)
            if found[number].host is None:
                self.fault(value, "expected a host")
        return found

    def entry(self, model: type[S], value: Value) -> S:
        """The model of one entry, from its connection string."""
        pairs: dict[str, str] = {}
        after_password = False
        try:
            for key, text in parse_connection_string(value.text):
                if key not in setting_fields(model) and after_password:
                    self.fault(value, "unknown setting after password (quote a password that has blanks in it)")
                    continue
                after_password = after_password or key == "password"
                pairs[key] = text
        except ConnectionStringError as error:
            self.fault(value, str(error))
        return self.build(model, pairs, {key: (value.origin, (value.key, key)) for key in pairs})

    def build(self, model: type[S], raw: Mapping[str, str], where: Mapping[str, tuple[Origin, tuple[str, ...]]]) -> S:
        """*model* of the values that it accepts; each that it does not becomes a problem."""
        names = aliases(model)
        known: dict[str, str] = {}
        written_as: dict[str, str] = {}
        for key, text in raw.items():
            name = names.get(key, key)
            if name in setting_fields(model):
                known[name] = text
                written_as[name] = key
            else:
                self.problems.append(_problem(model, where[key], "unknown setting" + _did_you_mean(model, key)))
        while True:
            try:
                return model.model_validate(known)
            except ValidationError as error:
                # Not chained to anything: pydantic's text quotes the values, and one may be a secret.
                for fault in error.errors(include_url=False):
                    name = str(fault["loc"][0])
                    reason = str(fault.get("ctx", {}).get("error", fault["msg"]))
                    got = "" if name in _SECRET_KEYS else f", got {quoted(known[name])}"
                    self.problems.append(_problem(model, where[written_as[name]], reason + got))
                    del known[name]

    def name_fits(self, value: Value, limit: int) -> bool:
        size = len(value.key.encode("utf-8", "surrogateescape"))
        if size > limit:
            self.fault(value, f"expected a name of at most {limit} bytes, got {size}")
        return size <= limit

    def fault(self, value: Value, text: str) -> None:
        self.problems.append(Problem(value.origin, text, value.section, (value.key,)))


def _problem(model: type[Settings], where: tuple[Origin, tuple[str, ...]], text: str) -> Problem:
    origin, path = where
    return Problem(origin, text, model.section, path)


def _did_you_mean(model: type[Settings], key: str) -> str:
    close = difflib.get_close_matches(key.lower(), setting_fields(model), n=1, cutoff=0.75)
    return f', did you mean "{close[0]}"?' if close else ""


def _in_order_of_the_file(problems: list[Problem]) -> None:
    """Sort by line within each file; files stay in the order in which they were first named."""
    files: dict[str, int] = {}
    for problem in problems:
        files.setdefault(problem.origin.file, len(files))
    problems.sort(key=lambda problem: (files[problem.origin.file], problem.origin.line))
