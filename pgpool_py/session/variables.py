"""What PL/pgSQL code assigns to its variables, by their names, wherever that stands (manual 43.3 and 43.5).

Blocks are not told apart: all variables of one name are one, which has whatever any of them has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgpool_py.session.code import Code
from pgpool_py.session.lexemes import Token

_DECLARED = frozenset((b"default", b"=", b":", b"not", b"collate"))  # what ends the type of a declaration
_ASSIGNS = frozenset((b":", b"=", b"[", b"."))  # what may follow the target of an assignment
_BEGINS = frozenset((b";", b"then", b"else", b"loop", b"begin", b"declare"))  # what a statement follows
NUMBER = [b"integer"]


@dataclass(slots=True)
class Variable:
    """All that is assigned to the variables of one name; `foreign`: other things are, too.

    `types`  the words of the type of each; empty where that is not declared
    """

    assigned: list[list[Token]] = field(default_factory=list)
    types: list[list[bytes]] = field(default_factory=list)
    foreign: bool = False


def variables(code: Code) -> dict[bytes, Variable]:
    """The variables of the code. TooMuchError"""
    found = _Finder(code)
    found.find()
    return found.variables


class _Finder:
    """Goes through the code once."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.variables: dict[bytes, Variable] = {}

    def find(self) -> None:
        """Every statement, and every word that names targets."""
        declaring = False
        begins = True
        for at, word in enumerate(self.code.words):
            if word == b"declare":
                declaring, begins = True, True
                continue
            if word == b"begin":
                declaring = False
            if begins and self.name(at) and word not in (b"begin", b"end"):
                self.read_statement(at, declaring)
            if word in (b"into", b"for", b"foreach"):
                self.read_targets(at + 1, word == b"for")
            elif word in (b"call", b"diagnostics", b"fetch", b"alias"):
                for i in range(at + 1, at + 1 + len(self.code.expression(at + 1))):
                    self.variable(i).foreign = True
                if word == b"alias":
                    self.variable(at - 1).foreign = True
            elif word == b"cursor":
                for i in range(at + 2, at + 2 + len(self.code.bracket(at + 1) or ())):
                    self.variable(i).foreign = True  # its arguments
            begins = word in _BEGINS

    def name(self, at: int) -> bytes:
        """The name that stands *at*, or the number of an argument; empty if neither does."""
        code = self.code
        return code.name(at) or (code.tokens[at][1] if at < len(code.tokens) and code.tokens[at][0] == "param" else b"")

    def variable(self, at: int) -> Variable:
        """The one whose name stands *at*."""
        return self.variables.setdefault(self.name(at), Variable())

    def read_statement(self, at: int, declaring: bool) -> None:
        """A declaration, or what may be an assignment, begins *at*."""
        if not declaring and self.code.word(at + 1) not in _ASSIGNS:
            return
        variable = self.variable(at)
        rest = self.code.expression(at + 1, whole=True)
        values = [value.lower() for _, value in rest]
        if declaring:
            type_ = [value for value in values if value != b"constant"]
            end = next((i for i, value in enumerate(type_) if value in _DECLARED), len(type_))
            variable.types.append(type_[:end])
            for i, value in enumerate(values):
                if value in (b"default", b"=", b":"):
                    variable.assigned.append(rest[i + 2 if value == b":" else i + 1 :])
                    break
        elif values[:2] == [b":", b"="]:
            variable.assigned.append(rest[2:])
        elif values[:1] == [b"="]:
            variable.assigned.append(rest[1:])
        elif values[:1] in ([b"["], [b"."]):
            variable.foreign = True  # part of it; or what stands there is a block's name, and the variable's follows
            self.variable(at + 2).foreign = True

    def read_targets(self, at: int, is_for: bool) -> None:
        """The variables behind INTO, FOR or FOREACH."""
        code = self.code
        if is_for and self.is_loop_of_numbers(at):
            self.variable(at).types.append(NUMBER)
            return
        while self.name(at):
            if code.word(at) != b"strict":
                self.variable(at).foreign = True
                at += 1
                while code.word(at) == b".":
                    self.variable(at + 1).foreign = True
                    at += 2
                if code.word(at) != b",":
                    return
            at += 1

    def is_loop_of_numbers(self, at: int) -> bool:
        """Whether a FOR that goes on *at* has two dots before its LOOP."""
        code = self.code
        end = next((i for i in range(at, len(code.words)) if code.words[i] in (b"loop", b";")), len(code.words))
        code.spend(end - at)
        for i in range(at, end):
            kind, value = code.tokens[i]
            if (kind == "number" and b".." in value) or (value == b"." and code.word(i + 1) == b"." and kind == "other"):
                return True
        return False
