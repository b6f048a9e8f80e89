"""What is wrong with a configuration, said once for every place. Knows the wording, not the rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where, in what, and what was expected. Prints as one line."""

    origin: Origin
    text: str
    section: str = ""
    path: tuple[str, ...] = ()
    """From the section inwards: the database or user, then the key."""

    def __str__(self) -> str:
        parts = [f"{self.origin}:"]
        if self.section:
            parts.append(f"[{self.section}]")
        parts += [f"{step}:" for step in self.path]
        return " ".join([*parts, self.text])


class ConfigError(Exception):
    """The configuration is refused. `problems` holds every fault found, one line each, in the order of the"
    " file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def quoted(value: object) -> str:
    """*value* as an error message shows it: double quotes, control characters escaped, cut at a readable"
    " length."""
    text = str(value)
    if len(text) > 80:
        text = text[:77] + "..."
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + '"'
