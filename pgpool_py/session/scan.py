"""The word scan: one pass over a statement text that finds its statements, leading keywords and known words.

Hot: it runs for each Query, and once for each statement of the extended protocol; `benchmarks/compare.py` guards it.
C types are in scan.pxd; this file is the only source, and also runs interpreted.

It knows the lexical rules of PostgreSQL 12 to 18 and which keyword may begin what. It knows nothing of the
database except the `words` it is given: a word, quoted or not, that is not among them means nothing to it.

Safe by construction: where the lexical rules depend on a setting or an encoding that is not known here
(backslashes in plain strings, trailing bytes of client-only encodings), or differ between versions, the
answer is UNSURE. Every byte above 0x7f is part of a word, as in PostgreSQL: the second bytes of the
client-only encodings (SJIS, BIG5, GBK ...) are never a quote, a dollar, a comment sign or a semicolon, so
they cannot move a boundary; only the backslash among them could.

Texts that do not repeat mostly differ in their literals only. So the beginning of a text up to its first literal is remembered
with what was known there; a text that begins alike is scanned from there on (docs/decisions/0016-known-beginnings.md).
"""

from __future__ import annotations

from pgpool_py.session import flags
from pgpool_py.session._begins import begins
from pgpool_py.session.code_facts import CodeFacts

# What the text is. In PLpgSQL a statement also begins after THEN, ELSE, LOOP and BEGIN; NAMES is an
# expression or a definition whose keywords do not matter.
SQL, PLPGSQL, NAMES = 0, 1, 2

_SQL = SQL
_PLPGSQL = PLPGSQL
_NAMES = NAMES

# Kinds of characters.
(
    _OTHER, _WORD, _DIGIT, _SPACE, _QUOTE, _DOUBLE, _DASH, _SLASH, _DOLLAR,
    _SEMICOLON, _OPERATOR, _OPEN, _CLOSE, _DOT, _BAD,
) = range(15)  # fmt: skip


def _kinds() -> bytes:
    kinds = bytearray([_BAD] * 32 + [_OTHER] * 96 + [_WORD] * 128)
    for chars, kind in (
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", _WORD),
        (b"0123456789", _DIGIT),
        (b" \t\n\r\f\v", _SPACE),
        (b"'", _QUOTE),
        (b'"', _DOUBLE),
        (b"-", _DASH),
        (b"/", _SLASH),
        (b"$", _DOLLAR),
        (b";", _SEMICOLON),
        (b"+*<>=~!@#%^&|`?", _OPERATOR),
        (b"(", _OPEN),
        (b")", _CLOSE),
        (b".", _DOT),
        (b"\\{}\x7f", _BAD),
    ):
        for char in chars:
            kinds[char] = kind
    return bytes(kinds)


# Under two names each: compiled, the second is a pointer into the first.
_KIND_BYTES = _kinds()
_KINDS = _KIND_BYTES
_FOLD_BYTES = bytes(c + 32 if 65 <= c <= 90 else c for c in range(256))
_FOLD = _FOLD_BYTES
# The folded character where it may go on a word, else 0.
_PART_BYTES = bytes(_FOLD_BYTES[c] if _KIND_BYTES[c] in (_WORD, _DIGIT, _DOLLAR) else 0 for c in range(256))
_PART = _PART_BYTES

# Keywords: in a word's code they stand above its flags (_SHIFT).
_SHIFT = 24
_MASK = (1 << _SHIFT) - 1
(
    _K_NONE,
    _K_QUERY,
    _K_SELECT,
    _K_TABLE,
    _K_INSERT,
    _K_UPDATE,
    _K_MODIFY,
    _K_PLAIN,
    _K_BEGIN,
    _K_START,
    _K_COMMIT,
    _K_END,
    _K_ROLLBACK,
    _K_PREPARE,
    _K_EXECUTE,
    _K_DEALLOCATE,
    _K_SET,
    _K_RESET,
    _K_DISCARD,
    _K_LISTEN,
    _K_UNLISTEN,
    _K_DECLARE,
    _K_CLOSE,
    _K_EXPLAIN,
    _K_ANALYZE,
    _K_VERBOSE,
    _K_DDL,
    _K_CREATE,
    _K_ALTER,
    _K_DROP,
    _K_LOAD,
    _K_CALL,
    _K_DO,
    _K_INTO,
    _K_TEMP,
    _K_HOLD,
    _K_WITHOUT,
    _K_LOCAL,
    _K_TRANSACTION,
    _K_CONSTRAINTS,
    _K_SEED,
    _K_TO,
    _K_PREPARED,
    _K_ALL,
    _K_LITERAL,
    _K_PL,
    _K_STARTER,
    _K_OTHER,
    _K_UNKNOWN,
    _K_OPENS,  # no word, but a bracket
) = range(50)

_KEYWORDS: dict[int, str] = {
    _K_QUERY: "with truncate lock",
    _K_SELECT: "select values",
    _K_TABLE: "table materialized",
    _K_INSERT: "insert merge",
    _K_UPDATE: "update",
    _K_MODIFY: "delete copy",
    _K_PLAIN: "savepoint release show fetch move notify",
    _K_BEGIN: "begin",
    _K_START: "start",
    _K_COMMIT: "commit",
    _K_END: "end",
    _K_ROLLBACK: "rollback abort",
    _K_PREPARE: "prepare",
    _K_EXECUTE: "execute",
    _K_DEALLOCATE: "deallocate",
    _K_SET: "set",
    _K_RESET: "reset",
    _K_DISCARD: "discard",
    _K_LISTEN: "listen",
    _K_UNLISTEN: "unlisten",
    _K_DECLARE: "declare",
    _K_CLOSE: "close",
    _K_EXPLAIN: "explain",
    _K_ANALYZE: "analyze analyse",
    _K_VERBOSE: "verbose",
    _K_DDL: "grant revoke comment security import reassign",
    _K_CREATE: "create",
    _K_ALTER: "alter refresh reindex cluster vacuum",  # what may run code that is there already
    _K_DROP: "drop",
    _K_LOAD: "load",
    _K_CALL: "call",
    _K_DO: "do",
    _K_INTO: "into",
    _K_TEMP: "temp temporary",
    _K_HOLD: "hold",
    _K_WITHOUT: "without",
    _K_LOCAL: "local",
    _K_TRANSACTION: "transaction",
    _K_CONSTRAINTS: "constraints",
    _K_SEED: "seed",
    _K_TO: "to",
    _K_PREPARED: "prepared",
    _K_ALL: "all",
    _K_LITERAL: "null true false as",
    # PLpgSQL: what may begin a statement there beside the above, and after which words one begins.
    _K_PL: "if elsif elseif case when while for foreach exit continue return raise assert perform get open",
    _K_STARTER: "then else loop exception",
    # Commands that are never plain; listed because after THEN or ELSE in PLpgSQL an unknown word is an
    # expression.
    _K_OTHER: "checkpoint",
}
KEYWORDS: dict[bytes, int] = {
    word.encode(): keyword << _SHIFT for keyword, words in _KEYWORDS.items() for word in words.split()
}

_OPAQUE = flags.UNKNOWN
_UNSURE = flags.UNSURE
_SETTINGS = flags.SETTINGS
_STATEMENT = flags.STATEMENT
_EXECUTES = flags.EXECUTES
_LISTEN = flags.LISTEN
_PIN = flags.PIN
_CLEANUP = flags.CLEANUP
_DDL = flags.DDL
_SEEDS = flags.SEED
_LIBRARY = flags.LIBRARY
_ENDS = flags.TRANSACTION_END
_EXIT = flags.TRANSACTION_EXIT_ONLY
_XACT = flags.TRANSACTION_LOCAL
_READS_SETTINGS = flags.READS_SETTINGS
_RELEASES = flags.RELEASES
_FILLS = flags.FILLS
_MODIFIES = flags.MODIFIES
_WRITES = flags.WRITES_SEQUENCE

_NO_CODE = CodeFacts()

_MIX = 0x9E3779B97F4A7C15
_ALL = 0xFFFFFFFFFFFFFFFF
_LONGEST = 63  # NAMEDATALEN - 1: PostgreSQL cuts longer names, so they may mean any name with that beginning

# What a statement contains, beside its first two words.
_HAS_INTO = 1
_HAS_TEMP = 2
_HAS_HOLD = 4
_HAS_TO = 8
_HAS_PREPARED = 16
_HAS_CUSTOM = 32  # a dot, or a quoted name where SET LOCAL has its setting's name
_HAS_UNKNOWN = 64  # a name or an operator, where nothing is known of the database
_HAS_UPDATE = 128
_HAS_SEED = 256
_HAS_ALL = 512
_HAS_MODIFY = 8192  # INSERT, MERGE, DELETE or COPY
_HAS_EARLY_DOT = 1024  # a dot behind the second word: SET transaction.x sets a placeholder
_HAS_TABLE = 2048
_HAS_TOP_SELECT = 16384  # one in no brackets
_HAS_SELECT = 4096  # a query, or TABLE once more: CREATE TABLE ... AS


_BEGINNINGS = 256
_SHORTEST_BEGINNING = 24
_LONGEST_BEGINNING = 2000
_SELDOM = 8  # one in so many unknown beginnings is remembered: what comes once shall cost nothing


class Beginning:
    """A text up to its first literal, and what the scan knows there: its own variables of the same names."""

    def __init__(
        self, text: bytes, lead: int, second: int, words: int, has: int, depth: int, previous: int
    ) -> None:
        self.text = text
        self.lead = lead
        self.second = second
        self.words = words
        self.has = has
        self.depth = depth
        self.previous = previous


class Scanner:
    """Answers for one state of knowledge: `words` maps names to flags; `informed`: they cover a database; `ddl`: what DDL does
    besides, by event triggers; `upkeep`: what looking after relations that are not named may do, by code of their indexes;
    `code`: for those who read closely what is not plain (`reach`)."""

    def __init__(
        self, words: dict[bytes, int], informed: bool, ddl: int = 0, code: CodeFacts = _NO_CODE, upkeep: int = 0
    ) -> None:
        self.informed = informed
        self.ddl = ddl
        self.upkeep = upkeep
        self.code = code
        self.words = dict(KEYWORDS)
        for word, bits in words.items():
            self.words[word] = self.words.get(word, 0) | bits
        # A name outside ASCII is compared with nothing, as its bytes depend on the client's encoding: it may be any of them.
        self.nonascii = 0
        for word, bits in words.items():
            if not word.isascii():
                self.nonascii |= bits & _MASK | _OPAQUE if bits & flags.DIRTY else bits & _MASK
        self.filter_mask, self.filter = _filter(self.words)
        self.mask, self.index, self.entries = _tables(self.words)
        self.beginnings: list[Beginning | None] = [None] * _BEGINNINGS
        self.unknown = 0

    def scan(self, text: bytes, mode: int = 0, found: set[bytes] | None = None) -> int:
        """Return the flags of *text*; with *found*, also add every name in it to that set."""
        return self.look(text, len(text), mode, found)

    def look(self, data: bytes, size: int, mode: int, found: set[bytes] | None) -> int:
        """As `scan`; compiled, the text is where *data* points to."""
        maybe = self.filter
        maybe_mask = self.filter_mask
        informed = self.informed
        nonascii = self.nonascii
        kinds = _KINDS
        fold = _FOLD
        part = _PART
        i = 0
        result = 0
        statements = 0
        # Of the statement being read.
        lead = _K_NONE
        second = _K_NONE
        words = 0
        has = 0
        depth = 0
        # The keyword just before, when nothing else came between.
        previous = _K_NONE
        declaring = mode == _PLPGSQL
        lenient = False
        labelling = False
        slot = -1
        if mode == _SQL and found is None and size > _SHORTEST_BEGINNING + 8:
            slot = _slot(data, size)
            known = self.beginnings[slot]
            if known is not None and _resumes(data, size, known.text):
                i = len(known.text)
                lead = known.lead
                second = known.second
                words = known.words
                has = known.has
                depth = known.depth
                previous = known.previous
                slot = -1
            else:
                self.unknown += 1
                if self.unknown < _SELDOM:
                    slot = -1
                else:
                    self.unknown = 0

        while i < size:
            c = data[i]
            kind = kinds[c]
            if kind == _SPACE:
                i += 1
                continue

            if kind == _WORD:
                start = i
                last = 0
                while i < size:
                    c = data[i]
                    if not part[c]:
                        break
                    last = last << 8 | part[c]
                    i += 1
                if i - start > _LONGEST:
                    return result | _UNSURE
                if i < size:
                    if c == 39 and i - start == 1:
                        c = fold[data[start]]
                        if c == 101:  # E'...'
                            i = _escape_string(data, i + 1, size)
                            if i < 0:
                                return result | _UNSURE
                            previous = _K_NONE
                            continue
                    elif (
                        c == 38
                        and i - start == 1
                        and fold[data[start]] == 117
                        and i + 1 < size
                        and data[i + 1] in (34, 39)
                    ):  # U&"..." and U&'...'
                        return result | _UNSURE
                if nonascii and not _is_ascii(data, start, i):
                    result |= nonascii
                if found is not None:
                    found.add(data[start:i].lower())
                code = 0
                h = (((last ^ (i - start)) * _MIX) & _ALL) >> 40
                if maybe[(h >> 3) & maybe_mask] & (1 << (h & 7)):
                    code = self.code_of(data, start, i - start, h)
                if code == 0 and words > 0 and informed and not labelling and (lead != _K_EXPLAIN or depth):
                    # Nearly every word of nearly every text: a name that means nothing.
                    words += 1
                    previous = _K_NONE
                    continue
                words += 1
                keyword = code >> 24
                result |= code & 0xFFFFFF
                if not informed and words > 1 and keyword != _K_LITERAL:
                    has |= _HAS_UNKNOWN

                if labelling:
                    # The name in <<name>>, whatever else it means, is no statement's first word.
                    labelling = False
                    lead = _K_PL
                    words = 0
                    previous = _K_NONE
                    continue

                leads = words == 1
                if lead == _K_EXPLAIN and depth == 0:
                    leads = keyword != _K_ANALYZE and keyword != _K_VERBOSE
                if leads:
                    lead = keyword
                    if keyword == _K_UPDATE:
                        has |= _HAS_UPDATE
                    elif mode == _PLPGSQL:
                        if keyword == _K_DECLARE:
                            declaring = True
                            words = 0
                        elif keyword == _K_BEGIN:
                            declaring = False
                            lenient = False
                            words = 0
                        elif keyword == _K_STARTER:
                            lenient = True
                            words = 0
                        elif keyword == _K_EXECUTE:
                            result |= _OPAQUE
                        elif keyword < _K_QUERY or keyword in _CONTEXTUAL:
                            # A variable, a declaration, an expression after CASE ... THEN; or a command not
                            # known here.
                            lead = _K_PL
                            if not declaring and not lenient and not _is_assigned(data, i, size):
                                result |= _OPAQUE
                    elif keyword == _K_NONE:
                        lead = _K_UNKNOWN
                elif keyword != _K_NONE:
                    if words == 2:
                        second = keyword
                    if keyword == _K_INTO:
                        if previous != _K_INSERT or lead == _K_SELECT:
                            has |= _HAS_INTO
                    elif keyword in (_K_INSERT, _K_MODIFY):
                        has |= _HAS_MODIFY
                        if lead == _K_QUERY and previous != _K_OPENS and (depth or has & _HAS_TOP_SELECT):
                            # Behind WITH no statement begins here: it is the label of a column, and INTO makes a table.
                            keyword = _K_NONE
                    elif keyword == _K_UPDATE:
                        has |= _HAS_UPDATE
                    elif keyword == _K_TEMP:
                        has |= _HAS_TEMP
                    elif keyword == _K_HOLD:
                        if previous != _K_WITHOUT:
                            has |= _HAS_HOLD
                    elif keyword == _K_TO:
                        has |= _HAS_TO
                    elif keyword == _K_PREPARED:
                        has |= _HAS_PREPARED
                    elif keyword == _K_SEED:
                        has |= _HAS_SEED
                    elif keyword == _K_ALL:
                        has |= _HAS_ALL
                    elif keyword == _K_SELECT:
                        has |= _HAS_SELECT if depth else _HAS_SELECT | _HAS_TOP_SELECT
                    elif keyword == _K_TABLE:
                        has |= _HAS_TABLE | _HAS_SELECT if has & _HAS_TABLE else _HAS_TABLE
                    elif keyword == _K_EXECUTE and mode == _SQL:
                        result |= _STATEMENT | _EXECUTES  # CREATE TABLE ... AS EXECUTE
                    elif mode == _PLPGSQL:
                        if keyword == _K_EXECUTE:
                            result |= _OPAQUE
                        elif keyword in (_K_STARTER, _K_BEGIN):
                            result |= self.judge(lead, second, words, has, mode, result)
                            lead = second = _K_NONE
                            words = has = 0
                            lenient = keyword == _K_STARTER
                            declaring = False
                previous = keyword
                continue

            i += 1
            if slot >= 0 and kind in (_QUOTE, _DIGIT):
                if result == 0 and statements == 0 and _may_end(data, i - 1):
                    self.beginnings[slot] = Beginning(data[: i - 1], lead, second, words, has, depth, previous)
                slot = -1
            if kind == _QUOTE:
                i = _plain_string(data, i, size)
                if i < 0:
                    return result | _UNSURE
            elif kind == _DOUBLE:
                start = i
                last = 0
                doubled = False
                while True:
                    if i >= size:
                        return result | _UNSURE
                    c = data[i]
                    if c == 34:
                        if i + 1 < size and data[i + 1] == 34:
                            doubled = True
                            i += 1
                        else:
                            break
                    last = last << 8 | c
                    i += 1
                if i - start > _LONGEST:
                    return result | _UNSURE
                if nonascii and not _is_ascii(data, start, i):
                    result |= nonascii
                if found is not None:
                    found.add(data[start:i].replace(b'""', b'"'))
                h = (((last ^ (i - start)) * _MIX) & _ALL) >> 40
                if doubled:
                    result |= self.words.get(data[start:i].replace(b'""', b'"'), 0) & 0xFFFFFF
                elif maybe[(h >> 3) & maybe_mask] & (1 << (h & 7)):
                    result |= self.words.get(data[start:i], 0) & 0xFFFFFF
                if not informed:
                    has |= _HAS_UNKNOWN
                if words == 0:
                    if mode == _SQL:
                        lead = _K_UNKNOWN
                    elif mode == _PLPGSQL:
                        lead = _K_PL
                if words == 2 and lead == _K_SET:
                    has |= _HAS_CUSTOM
                if labelling:
                    labelling = False
                else:
                    words += 1
                i += 1
            elif kind in (_DASH, _SLASH):
                if i < size and kind == _DASH and data[i] == 45:
                    while i < size and data[i] != 10 and data[i] != 13:
                        i += 1
                    continue
                if i < size and kind == _SLASH and data[i] == 42:
                    i = _comment(data, i + 1, size)
                    if i < 0:
                        return result | _UNSURE
                    continue
                if not informed:
                    has |= _HAS_UNKNOWN
            elif kind == _SEMICOLON:
                if words or lead:
                    statements += 1
                    result |= self.judge(lead, second, words, has, mode, result)
                lead = second = _K_NONE
                words = has = depth = 0
                lenient = False
            elif kind == _DIGIT:
                i = _number(data, i, size)
                if i < 0:
                    return result | _UNSURE
            elif kind == _DOLLAR:
                if i < size and kinds[data[i]] == _DIGIT:
                    i = _parameter(data, i, size)
                else:
                    i = _dollar_string(data, i, size)
                if i < 0:
                    return result | _UNSURE
            elif kind == _OPEN:
                depth += 1
                previous = _K_OPENS
                continue
            elif kind == _CLOSE:
                depth -= 1
            elif kind == _DOT:
                if i < size and kinds[data[i]] == _DIGIT:
                    i = _number(data, i, size)
                    if i < 0:
                        return result | _UNSURE
                elif words == 3:
                    has |= _HAS_CUSTOM
                elif words <= 2:
                    has |= _HAS_CUSTOM | _HAS_EARLY_DOT
            elif kind == _OPERATOR:
                if mode == _PLPGSQL and words == 0 and c == 60 and i < size and data[i] == 60:
                    labelling = True
                if not informed:
                    has |= _HAS_UNKNOWN
            elif kind == _BAD:
                return result | _UNSURE
            previous = _K_NONE

        if words or lead:
            statements += 1
            result |= self.judge(lead, second, words, has, mode, result)
        if statements != 1:
            result &= ~_EXIT
            if result & _DDL and mode == _SQL:
                result |= _OPAQUE  # the others may run what the one just made
        if result & _FILLS and result & _MODIFIES:
            result |= _WRITES
        return result & ~(_FILLS | _MODIFIES)

    def code_of(self, data: bytes, start: int, length: int, h: int) -> int:
        """Return the code of an unquoted word whose hash is *h*; 0 when it is not known."""
        index = self.index
        entries = self.entries
        fold = _FOLD
        slot = h & self.mask
        while True:
            at = slot * 4
            at = index[at] | index[at + 1] << 8 | index[at + 2] << 16 | index[at + 3] << 24
            if at == 0:
                return 0
            if entries[at] == length:
                k = 0
                while k < length and fold[data[start + k]] == entries[at + 5 + k]:
                    k += 1
                if k == length:
                    return entries[at + 1] | entries[at + 2] << 8 | entries[at + 3] << 16 | entries[at + 4] << 24
            slot = (slot + 1) & self.mask

    def judge(self, lead: int, second: int, words: int, has: int, mode: int, result: int) -> int:
        """Return the flags one whole statement adds, by its leading keyword."""
        bits = 0
        if has & _HAS_UPDATE and result & _READS_SETTINGS:
            bits = _SETTINGS | _OPAQUE
        if mode == _NAMES:
            return bits
        if lead in (_K_INSERT, _K_UPDATE, _K_MODIFY) or has & (_HAS_UPDATE | _HAS_MODIFY):
            bits |= _MODIFIES
        if lead in (_K_QUERY, _K_SELECT, _K_TABLE, _K_INSERT, _K_UPDATE, _K_MODIFY):
            if has & _HAS_UNKNOWN:
                bits |= _OPAQUE
            if has & _HAS_INTO and mode == _SQL:  # SELECT INTO
                bits |= _DDL | self.ddl
                if has & _HAS_TEMP:
                    bits |= _PIN
            return bits
        if lead in (_K_BEGIN, _K_PLAIN):
            return bits
        if lead in (_K_PL, _K_STARTER):
            return bits if mode == _PLPGSQL else bits | _OPAQUE
        if lead in (_K_COMMIT, _K_END):
            if mode == _PLPGSQL:
                return bits
            # What has been prepared may have changed the catalogs.
            return bits | _DDL | self.ddl if has & _HAS_PREPARED else bits | _ENDS | _EXIT
        if lead == _K_ROLLBACK:
            if has & _HAS_PREPARED:
                return bits
            return bits | _EXIT if has & _HAS_TO else bits | _ENDS | _EXIT
        if lead == _K_START:
            return bits if second == _K_TRANSACTION else bits | _OPAQUE
        if lead == _K_SET:
            return bits | self.judge_set(second, has)
        if lead == _K_DECLARE:
            if has & _HAS_UNKNOWN:
                bits |= _OPAQUE
            return bits | _PIN if has & _HAS_HOLD else bits
        if lead == _K_CLOSE:
            return bits | _RELEASES
        if lead == _K_CALL:
            return bits | _ENDS | _OPAQUE if has & _HAS_UNKNOWN else bits | _ENDS
        if lead == _K_PREPARE:
            if second == _K_TRANSACTION:
                # "PREPARE transaction AS ..." prepares a statement of that name.
                return bits | _ENDS | _EXIT if words == 2 else bits | _ENDS | _STATEMENT | _OPAQUE
            return bits | _STATEMENT
        if lead == _K_EXECUTE:
            return bits | _STATEMENT | _EXECUTES | _OPAQUE if has & _HAS_UNKNOWN else bits | _STATEMENT | _EXECUTES
        if lead == _K_DEALLOCATE:
            return bits | _STATEMENT | _CLEANUP
        if lead == _K_RESET:
            if has & _HAS_SEED:
                bits |= _SEEDS
            return bits | _SETTINGS | _CLEANUP if has & _HAS_ALL else bits | _SETTINGS
        if lead == _K_DISCARD:
            return bits | _CLEANUP | _RELEASES
        if lead == _K_LISTEN:
            return bits | _LISTEN
        if lead == _K_UNLISTEN:
            return bits | _LISTEN | _CLEANUP
        if lead in (_K_DDL, _K_CREATE, _K_ALTER, _K_DROP, _K_ANALYZE):
            if has & _HAS_TEMP:
                bits |= _PIN
            if lead == _K_DROP:
                bits |= _RELEASES
            if has & _HAS_UNKNOWN and (lead in (_K_ALTER, _K_ANALYZE) or (has & _HAS_TABLE and has & _HAS_SELECT)):
                bits |= _OPAQUE
            if lead in (_K_ALTER, _K_ANALYZE):
                bits |= self.upkeep
            return bits | _DDL | self.ddl
        if lead == _K_LOAD:
            return bits | _LIBRARY | _OPAQUE
        if lead == _K_DO:
            return bits | _OPAQUE | _ENDS
        return bits | _OPAQUE

    def judge_set(self, second: int, has: int) -> int:
        """Return the flags of a SET: harmless if it ends with its transaction (placeholders do not)."""
        if has & _HAS_SEED:
            return _SETTINGS | _SEEDS
        if (second in (_K_TRANSACTION, _K_CONSTRAINTS)) and not has & _HAS_EARLY_DOT:
            return _XACT
        if second == _K_LOCAL and not has & _HAS_CUSTOM:
            return _XACT
        return _SETTINGS


# Keywords that mean nothing at the head of a PLpgSQL statement: there they are variables.
_CONTEXTUAL = frozenset(
    (
        _K_VERBOSE,
        _K_INTO,
        _K_TEMP,
        _K_HOLD,
        _K_WITHOUT,
        _K_LOCAL,
        _K_TRANSACTION,
        _K_CONSTRAINTS,
        _K_SEED,
        _K_TO,
        _K_PREPARED,
        _K_ALL,
        _K_LITERAL,
    )
)


def _hash(word: bytes) -> int:
    """A word's hash, of its last eight bytes and its length: the scan makes it in passing, one shift for each byte."""
    return (((int.from_bytes(word, "big") & _ALL ^ len(word)) * _MIX) & _ALL) >> 40


def _filter(words: dict[bytes, int]) -> tuple[int, bytes]:
    """A row of bits that are set for the hashes of these words, and the mask of its bytes; small, to stay in the cache."""
    size = 512
    while size < 4 * len(words):
        size *= 2
    bits = bytearray(size)
    for word in words:
        h = _hash(word)
        bits[(h >> 3) & (size - 1)] |= 1 << (h & 7)
    return size - 1, bytes(bits)


def _tables(words: dict[bytes, int]) -> tuple[int, bytes, bytes]:
    """The words as an open hash table without objects: the mask of its slots, the slots (4 bytes each), and the entries they
    point to: length, code (4 bytes), word."""
    size = 256
    while size < 2 * len(words):
        size *= 2
    index = bytearray(4 * size)
    entries = bytearray(1)  # 0 is an empty slot
    for word, code in words.items():
        if len(word) > _LONGEST:
            continue  # a text with such a word is UNSURE anyway
        slot = _hash(word) & (size - 1)
        while any(index[4 * slot : 4 * slot + 4]):
            slot = (slot + 1) & (size - 1)
        index[4 * slot : 4 * slot + 4] = len(entries).to_bytes(4, "little")
        entries += bytes([len(word)]) + code.to_bytes(4, "little") + word
    return size - 1, bytes(index), bytes(entries)


def _eight(data: bytes, i: int) -> int:
    """Eight bytes as one number."""
    high = data[i + 7]
    high = high << 8 | data[i + 6]
    high = high << 8 | data[i + 5]
    high = high << 8 | data[i + 4]
    high = high << 8 | data[i + 3]
    high = high << 8 | data[i + 2]
    high = high << 8 | data[i + 1]
    return high << 8 | data[i]


def _slot(data: bytes, size: int) -> int:
    """Where a text's beginning is remembered: by its length and two samples, which mostly lie before the literals."""
    return (((_eight(data, 8) ^ size) * _MIX ^ _eight(data, size >> 2)) * _MIX & _ALL) >> 56


def _may_end(data: bytes, end: int) -> bool:
    """Say whether a beginning may end there: long enough, and whatever literal follows, all before it means the same.

    That is not so behind a word, which may go on (N'...', U&'...'), nor behind a dot or an operator.
    """
    return _SHORTEST_BEGINNING <= end <= _LONGEST_BEGINNING and data[end - 1] in (32, 40, 44, 61)  # space ( , =


def _resumes(data: bytes, size: int, known: bytes) -> bool:
    """Say whether the text begins like *known*, and with a literal behind that."""
    length = len(known)
    if length >= size or (_KINDS[data[length]] != _QUOTE and _KINDS[data[length]] != _DIGIT):
        return False
    return begins(data, known)


def _is_ascii(data: bytes, i: int, end: int) -> bool:
    """Say whether all bytes from *i* up to *end* are ASCII."""
    while i < end:
        if data[i] >= 0x80:
            return False
        i += 1
    return True


def _plain_string(data: bytes, i: int, size: int) -> int:
    """Return the end of the '...' string that is open at *i*, or -1 if settings decide where it ends."""
    while i < size:
        c = data[i]
        if c == 39:
            if i + 1 < size and data[i + 1] == 39:
                i += 2
                continue
            return i + 1
        if c == 92 and i + 1 < size and data[i + 1] == 39:
            # With standard_conforming_strings off, or in the continuation of an E'' string, this quote does
            # not end it.
            return -1
        i += 1
    return -1


def _escape_string(data: bytes, i: int, size: int) -> int:
    """Return the end of the E'...' string whose content begins at *i*, or -1."""
    while i < size:
        c = data[i]
        if c == 39:
            if i + 1 < size and data[i + 1] == 39:
                i += 2
                continue
            return i + 1
        if c == 92:
            # After a byte above 0x7f it may be the second half of a character.
            if data[i - 1] >= 0x80:
                return -1
            i += 2
        else:
            i += 1
    return -1


def _comment(data: bytes, i: int, size: int) -> int:
    """Return the end of the comment whose content begins at *i* (they nest), or -1."""
    depth = 1
    while i + 1 < size:
        c = data[i]
        if c == 42 and data[i + 1] == 47:
            depth -= 1
            i += 2
            if depth == 0:
                return i
        elif c == 47 and data[i + 1] == 42:
            depth += 1
            i += 2
        else:
            i += 1
    return -1


def _number(data: bytes, i: int, size: int) -> int:
    """Return the end of the number that goes on at *i*, or -1 when a word follows (versions differ)."""
    while i < size and (48 <= data[i] <= 57 or data[i] == 46):  # digits and a dot
        i += 1
    if i + 1 < size and _FOLD[data[i]] == 101:
        j = i + 1
        if data[j] == 43 or data[j] == 45:
            j += 1
        if j < size and _KINDS[data[j]] == _DIGIT:
            i = j
            while i < size and _KINDS[data[i]] == _DIGIT:
                i += 1
    if i < size and _KINDS[data[i]] == _WORD:
        return -1
    return i


def _parameter(data: bytes, i: int, size: int) -> int:
    """Return the end of the $n whose digits begin at *i*, or -1 when a word follows it at once."""
    while i < size and _KINDS[data[i]] == _DIGIT:
        i += 1
    if i < size and _KINDS[data[i]] == _WORD:
        return -1
    return i


def _dollar_string(data: bytes, i: int, size: int) -> int:
    """Return the end of the $tag$...$tag$ string whose tag begins at *i*, or -1."""
    start = i - 1
    while i < size and (_KINDS[data[i]] == _WORD or (_KINDS[data[i]] == _DIGIT and i > start + 1)):
        i += 1
    if i >= size or data[i] != 36:
        return -1
    length = i + 1 - start
    i += 1
    while i + length <= size:
        if data[i] == 36:
            k = 1
            while k < length and data[i + k] == data[start + k]:
                k += 1
            if k == length:
                return i + length
        i += 1
    return -1


def _is_assigned(data: bytes, i: int, size: int) -> bool:
    """Say whether the word before *i* is the target of a PLpgSQL assignment."""
    while i < size and _KINDS[data[i]] == _SPACE:
        i += 1
    return i < size and data[i] in b":=.["
