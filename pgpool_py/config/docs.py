"""Writes docs/configuration.md from the models: `python -m pgpool_py.config.docs [--check] [FILE]`.

Knows how the page looks; every fact on it comes from the models.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from pgpool_py.auth.secret import Secret
from pgpool_py.config.models import GROUPS, DatabaseSettings, PeerSettings, UserSettings
from pgpool_py.config.setting import Meta, Settings, aliases, meta_of, setting_fields
from pgpool_py.config.values import shape_of

PAGE = Path("docs/configuration.md")

_HEAD = """\
# Configuration

<!-- Written by `python -m pgpool_py.config.docs` from pgpool_py/config; change the models, not this page. -->

The pooler reads PgBouncer's configuration file. `pgpool_py --check pgbouncer.ini` names every fault in it,
with file, line and setting, and what was expected.

## The file

- Sections are `[pgbouncer]`, `[databases]`, `[users]` and `[peers]`. One of the last three goes on where it begins
  again; a second `[pgbouncer]` makes the first one forgotten, as in PgBouncer, which start-up warns of.
- A line is a comment when its first character that is not blank is `;` or `#`. Later in a line they belong
  to the value.
- `%include FILE` reads another file at that place; a relative name starts at the working directory.
- Names of databases and users that hold anything but letters, digits and `_.-*` go in double quotes, a
  double quote itself written twice. `*` among the databases serves every name that has no entry of its own;
  its `dbname` is then the name asked for.
- Entries of the last three sections are `key=value` pairs separated by blanks; a value with blanks goes in
  single quotes, a single quote itself written twice.
- Integers of `[pgbouncer]` may be decimal, hexadecimal (`0x1F`) or octal (`0777`), those of entries are
  decimal. On and off are 1 and 0. Times are seconds and may have a fraction.
- For pool_mode, pool_size, reserve_pool_size and query_wait_timeout the user's entry goes before the
  database's, and that before `[pgbouncer]`. An entry's value always counts: 0 in an entry means what 0
  means in `[pgbouncer]`, where PgBouncer takes some of them for "not set". -1, like leaving the key out, is
  "not set".
- What PgBouncer takes but garbles is refused: `pool_size=ten` (0 there), numbers below 0 or too large, ports
  beyond 65535. `unix_socket_mode=777` is decimal, as there, which start-up warns of.
- A file of users or rules that cannot be read, or has a bad line, does not keep the pooler from starting, as in
  PgBouncer: start-up warns, and who is not known is refused. A reload with it changes nothing.

`auth_file` has one `"user" "secret"` pair a line, a double quote inside written twice; the rest of the line
is ignored, and lines that begin with `;` are comments. A secret is a plain password, `md5` with a hash, or
a `SCRAM-SHA-256$` secret. A user may have several lines.

In the tables, *reload* says whether a reload changes the setting (otherwise the next start does), and *now*
whether this version acts on it. A setting that is not acted on is checked all the same, and start-up logs a
warning when it differs from its default; "moot" marks one that has no meaning here. Where leaving it out
would weaken security, the value is refused instead.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for model in GROUPS:
        parts.append(f"\n## [pgbouncer]: {model.group}\n\n{_main_table(model)}")
    for model in (DatabaseSettings, UserSettings, PeerSettings):
        parts.append(f"\n## {model.group}\n\n{_entry_table(model)}")
    return "".join(parts)


def _main_table(model: type[Settings]) -> str:
    rows = ["| setting | kind | default | reload | now | |", "| --- | --- | --- | --- | --- | --- |"]
    for name, info in setting_fields(model).items():
        meta = meta_of(model, name)
        rows.append(
            f"| `{name}` | {shape_of(info.metadata)} | {_default(info)} | {_yes(meta.changeable)} "
            f"| {_now(meta)} | {_description(info, meta)} |"
        )
    return "\n".join(rows) + "\n"


def _entry_table(model: type[Settings]) -> str:
    rows = ["| key | kind | default | now | |", "| --- | --- | --- | --- | --- |"]
    also = {name: alias for alias, name in aliases(model).items()}
    for name, info in setting_fields(model).items():
        meta = meta_of(model, name)
        names = f"`{name}`" + (f", `{also[name]}`" if name in also else "")
        rows.append(f"| {names} | {shape_of(info.metadata)} | {_default(info)} | {_now(meta)} | {_description(info, meta)} |")
    return "\n".join(rows) + "\n"


def _description(info: FieldInfo, meta: Meta) -> str:
    text = info.description or ""
    if meta.refused:
        text += " Refused by this version: " + ", ".join(f"`{word}`" for word in sorted(meta.refused)) + "."
    return text.replace("|", r"\|")


def _default(info: FieldInfo) -> str:
    text = default_text(info)
    return f"`{text}`" if text else ""


def default_text(info: FieldInfo) -> str:
    """A default as it would be written in the file."""
    return _written(info, info.default)


def value_text(model: type[Settings], name: str, value: Any) -> str:
    """A value of the setting *name* as it would be written in the file; of a secret only that there is one."""
    if isinstance(value, Secret):
        return "********" if value else ""
    return _written(setting_fields(model)[name], value)


def _written(info: FieldInfo, value: Any) -> str:
    if shape_of(info.metadata) == "file mode":
        return f"0{value:o}"
    return _text(value)


def _text(value: Any) -> str:
    if value is None or isinstance(value, Secret):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _now(meta: Meta) -> str:
    if meta.moot:
        return "moot"
    return "in part" if meta.refused and meta.effective else _yes(meta.effective)


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether the file is current."""
    names = [argument for argument in arguments if argument != "--check"]
    target = Path(names[0]) if names else PAGE
    if "--check" in arguments:
        current = target.is_file() and target.read_text(encoding="utf-8") == page()
        if not current:
            sys.stderr.write(f"{target} is out of date, run python -m pgpool_py.config.docs\n")
        return 0 if current else 1
    target.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
