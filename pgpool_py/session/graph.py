"""What a database's code mentions, as a graph of names: what one name does spreads to all that mention it.

Rows of the catalogs make it (`catalog`); here is what each kind of code has by itself, and how that is passed on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from pgpool_py.session import flags, functions
from pgpool_py.session.code_facts import NONE_GIVEN, Given
from pgpool_py.session.commands import NOTHING_MADE, Commands, commands
from pgpool_py.session.lexemes import NONASCII, folded, words_of, words_of_name
from pgpool_py.session.made_texts import FIELD, RELATION
from pgpool_py.session.mentions import assigned, hides_names, hides_set_names, outlives_reset, runs_a_file
from pgpool_py.session.reach import completions, reach
from pgpool_py.session.scan import NAMES, PLPGSQL, SQL, Scanner

# What a name passes on to the names that mention it.
PASSED_ON = (
    flags.DIRTY
    | flags.MADE
    | flags.READS
    | flags.READS_SETTINGS
    | flags.WRITES_SEQUENCE
    | flags.FILLS
    | flags.TRANSACTION_LOCAL
)
_MODIFYING = frozenset((b"insert", b"merge", b"update", b"delete", b"copy"))
ANY_ARGUMENT: frozenset[int] = frozenset()
# The functions that PostgreSQL makes with a range type (manual 8.17.6).
_OF_RANGE_TYPES = frozenset(
    b"range_constructor2 range_constructor3 multirange_constructor0 multirange_constructor1 multirange_constructor2".split()
)


class Function:
    """A user function: its row of FACTS_QUERY, and what it runs that is made at run time."""

    def __init__(self, name: bytes, detail: bytes, text: bytes) -> None:
        language, extension, volatility, settings, parameters = detail.split(b"|", 4)
        self.name = name
        self.text = text
        self.language = language.decode(errors="replace")
        self.extension = extension.decode(errors="replace")
        self.volatility = volatility.decode(errors="replace")
        self.settings = settings
        self.parameters = parameters
        self.commands: Commands = NOTHING_MADE
        self.bits = 0
        self.given = ANY_ARGUMENT

    def read(self, own: frozenset[bytes]) -> None:
        """What it runs, and sets; *own* are names of functions that hide built-in ones."""
        if self.language in ("sql", "sqlbody", "plpgsql"):
            typed = [parameter.partition(b" ") for parameter in self.parameters.split(b",")] if self.parameters else []
            parameters = [(name, type_) for name, _, type_ in typed]
            self.commands = commands(self.text, parameters, own, is_sql=self.language != "plpgsql")
            self.bits = self.commands.bits | (flags.DYNAMIC if hides_set_names(self.text) else 0)
            self.given = self.commands.given
        elif self.extension in functions.RUNNING_EXTENSIONS:
            self.bits = functions.RUNNING.get(self.name, 0)
        elif self.language == "internal":
            self.bits = flags.DYNAMIC if b"set_config" in self.text else 0
        elif self.language != "c" and functions.RUNS_SQL.search(self.text) is not None:
            self.bits = flags.DYNAMIC if hides_names(self.text) else flags.UNREAD
        self.bits |= _beyond(self.text)


_NOBODY: set[bytes] = set()


class Mentions:
    """Who mentions what: by its name, in what is read as code; by all words of its name, in strings that may be run."""

    def __init__(self) -> None:
        self.names: dict[bytes, set[bytes]] = defaultdict(set)
        self.words: dict[bytes, set[bytes]] = defaultdict(set)

    def add(self, name: bytes, names: Collection[bytes], words: Collection[bytes]) -> None:
        """*name* has these in its code."""
        for each, by in ((names, self.names), (words, self.words)):
            for word in each:
                by[word].add(name)
                if not word.isascii():
                    self.names[NONASCII].add(name)
        if words:
            self.words[b""].add(name)

    def of(self, name: bytes) -> set[bytes]:
        """Who mentions *name*."""
        having = [self.words.get(word, _NOBODY) for word in words_of_name(name) or (b"",)]
        return self.names.get(name, _NOBODY) | set.intersection(*having)


class Graph:
    """Names, the flags they have by themselves, and the names their code mentions.

    All names outside ASCII are one node to those who mention any (NONASCII): how they fold depends on the encoding. All relations
    are one to code that names one at run time (RELATION), and so are all functions that can be written as a column (FIELD).
    """

    def __init__(self) -> None:
        self.bits: dict[bytes, int] = defaultdict(int)
        self.mentioned_by = Mentions()
        self.filled_by = Mentions()  # the same, where only changes of rows run the code
        self.modifying: set[bytes] = set()  # whose code changes rows
        self.updating: set[bytes] = set()  # whose code has an UPDATE, which may be one of pg_settings
        self.given = NONE_GIVEN
        self.patterns: set[tuple[bytes, bytes]] = set()  # of names of settings that functions complete with what they are given
        self.named: list[tuple[bytes, frozenset[bytes]]] = []  # settings that code makes by names that it puts together
        self.relations: set[bytes] = set()
        self.may_be: dict[bytes, set[bytes]] = {RELATION: set(), FIELD: set()}  # the names of each, where code names any
        self.unknown: dict[bytes, int] = {}  # what using any of these may do of MADE, after `spread`
        self.nonascii: set[bytes] = set()

    def add(self, name: bytes, bits: int) -> None:
        self.bits[name] |= bits
        if not name.isascii():
            self.nonascii.add(name)

    def mention(self, name: bytes, text: bytes, mode: int = NAMES, *, filled: bool = False) -> None:
        """Take in that *name* runs the code in *text*; *filled*: when rows of that table change."""
        names: set[bytes] = set()
        handed: set[bytes] = set()  # words within what it hands over, and others
        mentions = self.filled_by if filled else self.mentioned_by
        bits = READER.scan(text, mode, names) & PASSED_ON
        words = words_of(text)
        bits |= _beyond(text)
        if self.given.are_among(words):
            reached = reach(text, (), self.given, is_code=True)
            bits |= reached.bits
            for each in reached.unknown:
                mentions.names[each].add(name)
            named = completions(self.patterns, text, ())
            if named is None:
                bits |= flags.UNREAD
            self.named.append((name, assigned(text) | (named or frozenset())))
            handed = words.union(reached.words)
        if b"update" in names or b"update" in handed:
            self.updating.add(name)
        if filled:
            bits = _filled(bits)
        elif not names.isdisjoint(_MODIFYING) or not handed.isdisjoint(_MODIFYING):
            self.modifying.add(name)
        self.add(name, bits | flags.UNKNOWN if bits & flags.DIRTY else bits)
        mentions.add(name, names, handed)

    def mention_any(self, name: bytes, unknown: Iterable[bytes]) -> None:
        """Take in that *name* uses what nobody knows the name of: RELATION, FIELD."""
        for each in unknown:
            self.mentioned_by.names[each].add(name)

    def know(self, functions: Sequence[Function], builtin: Sequence[bytes]) -> None:
        """What user functions do with their arguments, and those *builtin* that run any of them: before anything is taken in that
        may call them."""
        given = dict.fromkeys(builtin, ANY_ARGUMENT)
        namers: set[bytes] = set()
        for function in functions:
            self.patterns |= function.commands.patterns
            self.named.append((function.name, function.commands.settings))
            if function.bits & flags.GIVEN:
                name = folded(function.name)
                before = given.get(name, function.given)
                given[name] = before | function.given if before and function.given else ANY_ARGUMENT
                if function.commands.patterns:
                    namers.add(name)
        self.given = Given(given, namers)

    def add_code(self, kind: bytes, name: bytes, text: bytes, own: frozenset[bytes]) -> None:
        """Take in code that is no function's body, by the kind of its row; *own* as in `commands`."""
        if kind in (b"field", b"single"):
            self.may_be[FIELD].add(name)
        if kind not in (b"names", b"single"):
            self.may_be[RELATION].add(name)
        if kind in (b"relation", b"filled"):
            self.relations.add(name)
        if not text:
            return
        self.mention(name, text, filled=kind == b"filled")
        made = commands(text, (), own, is_sql=True)
        self.named.append((name, made.settings))
        if made.bits:
            self.add(name, made.bits & flags.MADE | flags.UNKNOWN)

    def add_function(self, function: Function) -> None:
        """Take in a user function."""
        name, text = function.name, function.text
        self.add(name, function.bits | flags.UNKNOWN if function.bits else 0)
        if function.settings:
            # A SET clause ends with the call, but a placeholder stays defined, and a seed stays set.
            self.add(name, flags.SETTINGS | flags.UNKNOWN)
            if not function.settings.isascii() or b"standard_conforming_strings" in function.settings.lower():
                self.add(name, flags.UNREAD)
        self.mentioned_by.add(name, (), function.commands.words)
        self.mention_any(name, function.commands.unknown)
        if function.language == "plpgsql":
            self.mention(name, text, PLPGSQL)
        elif function.language == "sql":
            self.mention(name, text, SQL)
        elif function.language == "sqlbody":  # BEGIN ATOMIC: nothing but queries is allowed there
            self.mention(name, text)
        elif not _is_known(function):
            self.add(name, flags.UNKNOWN)

    def spread(self) -> dict[bytes, int]:
        """Return every name with flags, after passing them on to all that mention it, directly or not."""
        for name in self.nonascii:
            for mentions in (self.mentioned_by, self.filled_by):
                mentions.names[name] |= mentions.names[NONASCII]
        todo = [name for name, bits in self.bits.items() if bits]
        while todo:
            name = todo.pop()
            bits = self.bits[name] & PASSED_ON
            if bits & flags.DIRTY:
                bits |= flags.UNKNOWN
            for others, passed in ((self.mentioned_by.of(name), bits), (self.filled_by.of(name), _filled(bits))):
                for other in others:
                    more = passed | flags.WRITES_SEQUENCE if passed & flags.FILLS and other in self.modifying else passed
                    if passed & flags.READS_SETTINGS and other in self.updating:
                        more |= flags.SETTINGS | flags.UNKNOWN
                    if more & ~self.bits[other]:
                        self.bits[other] |= more
                        todo.append(other)
            made = bits & flags.MADE | (flags.UNREAD if self.bits[name] & flags.GIVEN else 0)
            for each, names in self.may_be.items():
                if made & ~self.bits[each] and name in names:
                    self.bits[each] |= made | flags.UNKNOWN
                    todo.append(each)
        self.unknown = {each: self.bits.pop(each, 0) & flags.MADE for each in self.may_be}
        return {name: bits for name, bits in self.bits.items() if bits}


def _filled(bits: int) -> int:
    """What reaching *bits* by changing the rows of a table means for that table."""
    return bits & ~flags.WRITES_SEQUENCE | flags.FILLS if bits & flags.WRITES_SEQUENCE else bits


def _beyond(text: bytes) -> int:
    """What the strings in *text*, if it runs them, do beyond what is read in them."""
    return (flags.LIBRARY if outlives_reset(text) else 0) | (flags.UNREAD if runs_a_file(text) else 0)


# Reads bodies before the facts are known: names are collected, so only keywords and KINDS answer.
READER = Scanner(functions.KINDS, True)


def _is_known(function: Function) -> bool:
    """Say whether a function in C (or internal) computes and nothing else."""
    if function.language == "internal" and function.text in _OF_RANGE_TYPES:
        return True  # what a type of its arguments runs is named by them
    if function.language not in ("c", "internal") or not function.extension or function.name in functions.EXTENSION_DENIED:
        return False
    if function.name in functions.EXTENSION_PLAIN:
        return True
    return function.extension in functions.EXTENSIONS and function.volatility in ("i", "s")
