"""pg_hba.conf: who may come from where, to which database, as whom, and how it is proved.

Knows the syntax that PgBouncer shares with PostgreSQL, and which line decides: the first that fits. A line that cannot be
used is left out and named in `problems`, as PgBouncer does. Does not carry out any method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal

from pgpool_py.auth.ident import IdentMap
from pgpool_py.auth.interfaces import Interface, local_interfaces
from pgpool_py.auth.ldap_options import LdapOptions, LdapOptionsError, parse_ldap_options
from pgpool_py.auth.tokens import BadLine, Word, Words

Network = IPv4Network | IPv6Network
Kind = Literal["local", "host", "hostssl", "hostnossl"]
KINDS: tuple[Kind, ...] = ("local", "host", "hostssl", "hostnossl")
# The file's word for a method -> that of auth_type.
METHODS = {
    "trust": "trust",
    "reject": "reject",
    "password": "plain",
    "plain": "plain",
    "md5": "md5",
    "scram-sha-256": "scram-sha-256",
    "cert": "cert",
    "peer": "peer",
    "ldap": "ldap",
}
_MAX_NAME_FILES = 10  # how deep @file may name another


@dataclass(frozen=True, slots=True)
class Names:
    """The database or user column."""

    names: frozenset[str] = frozenset()
    all: bool = False
    sameuser: bool = False
    replication: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a client comes from and what it asks for, as far as a line may ask about it."""

    database: str
    user: str
    address: str | None  # None over a Unix socket
    encrypted: bool = False
    replication: bool = False  # physical; logical replication names a database like anybody else


@dataclass(frozen=True, slots=True)
class HbaRule:
    """One line."""

    line: int
    kind: Kind
    databases: Names
    users: Names
    network: Network | Literal["all", "samehost", "samenet"] | None  # None for local
    method: str  # as in auth_type, or reject, or peer
    ident: IdentMap | None = None
    ldap: LdapOptions | None = None

    def fits(self, origin: Origin, interfaces: Callable[[], list[Interface]] = local_interfaces) -> bool:
        """Whether this line is about *origin*."""
        if (self.kind == "local") != (origin.address is None):
            return False
        if self.kind in ("hostssl", "hostnossl") and origin.encrypted != (self.kind == "hostssl"):
            return False
        return self._names_fit(origin) and (origin.address is None or self._address_fits(origin.address, interfaces))

    def _names_fit(self, origin: Origin) -> bool:
        databases, users = self.databases, self.users
        if not (users.all or origin.user in users.names):
            return False
        if origin.replication:
            # "all" does not mean replication, as in PostgreSQL.
            return databases.replication
        same = databases.sameuser and origin.database == origin.user
        return databases.all or same or origin.database in databases.names

    def _address_fits(self, text: str, interfaces: Callable[[], list[Interface]]) -> bool:
        if self.network == "all":
            return True
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if self.network == "samehost":
            return any(address == each.ip for each in interfaces())
        if self.network == "samenet":
            return any(address in each.network for each in interfaces())
        assert isinstance(self.network, IPv4Network | IPv6Network)
        return address in self.network


@dataclass(frozen=True, slots=True)
class Hba:
    """A whole file."""

    name: str = ""
    rules: tuple[HbaRule, ...] = ()
    problems: tuple[str, ...] = ()

    def find(self, origin: Origin) -> HbaRule | None:
        """The line that decides over *origin*: the first that fits."""
        return next((rule for rule in self.rules if rule.fits(origin)), None)


def read_hba(path: str | Path, maps: Mapping[str, IdentMap]) -> Hba:
    """The rules of the file at *path*. Raises OSError."""
    return parse_hba(Path(path).read_bytes().decode("utf-8", "surrogateescape"), str(path), maps)


def parse_hba(text: str, name: str, maps: Mapping[str, IdentMap]) -> Hba:
    """The rules in *text*; *name* is the file's name, and @files are looked for beside it."""
    rules: list[HbaRule] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = Words(line)
        try:
            if not words.at_end:
                rules.append(_rule(words, number, Path(name).parent, maps))
        except BadLine as bad:
            problems.append(f"{name}:{number}: {bad}; the line is ignored")
    return Hba(name, tuple(rules), tuple(problems))


def _rule(words: Words, line: int, folder: Path, maps: Mapping[str, IdentMap]) -> HbaRule:
    word = words.take("a type")
    kind = next((kind for kind in KINDS if word.is_keyword(kind)), None)
    if kind is None:
        raise BadLine(f'expected one of {", ".join(KINDS)}, got "{word.text}"')
    databases = _names(words, "a database", folder)
    users = _names(words, "a user", folder)
    network = None if kind == "local" else _network(words)
    word = words.take("a method")
    method = METHODS.get(word.text)
    if method is None:
        raise BadLine(f'expected one of {", ".join(METHODS)}, got "{word.text}"')
    # peer in a host line and cert in a host line are not left out: nobody passes them, and lines below must not be reached.
    ldap = None
    if method == "ldap":
        try:
            ldap = parse_ldap_options(words.rest())
        except LdapOptionsError as error:
            raise BadLine(str(error)) from None
    ident = _map(words, method, maps)
    return HbaRule(line, kind, databases, users, network, method, ident, ldap)


def _map(words: Words, method: str, maps: Mapping[str, IdentMap]) -> IdentMap | None:
    if words.at_end:
        return None
    word = words.take("map=name or the end of the line")
    key, equals, value = word.text.partition("=")
    if key != "map" or not equals:
        raise BadLine(f'expected map=name or the end of the line after {method}, got "{key}"')
    if method not in ("cert", "peer"):
        raise BadLine(f"map= goes with cert and peer, not with {method}")
    name = value or words.take("a name after map=").text
    if not words.at_end:
        raise BadLine("expected nothing after map=")
    if name not in maps:
        raise BadLine(f'auth_ident_file has no map "{name}"')
    return maps[name]


# --- names ---


def _names(words: Words, expected: str, folder: Path) -> Names:
    found: list[Word] = []
    found.extend(_listed(words, expected, folder, 0))
    of_databases = expected == "a database"
    for word in found:
        if word.quoted:
            continue
        if word.text.startswith("+"):
            raise BadLine(f'"{word.text}": groups are not known here')
        if of_databases and word.text in ("samerole", "samegroup"):
            raise BadLine(f'"{word.text}" is not supported')

    def has(keyword: str) -> bool:
        return any(word.is_keyword(keyword) for word in found)

    keywords = ("all", "sameuser", "replication") if of_databases else ("all",)
    return Names(
        frozenset(word.text for word in found if word.quoted or word.text not in keywords),
        all=has("all"),
        sameuser=of_databases and has("sameuser"),
        replication=of_databases and has("replication"),
    )


def _listed(words: Words, expected: str, folder: Path, depth: int) -> Iterator[Word]:
    while True:
        word = words.take(expected)
        if not word.quoted and word.text.startswith("@") and len(word.text) > 1:
            yield from _from_file(folder / word.text[1:], expected, depth + 1)
        else:
            yield word
        if not words.take_comma():
            return


def _from_file(path: Path, expected: str, depth: int) -> Iterator[Word]:
    if depth > _MAX_NAME_FILES:
        raise BadLine(f"@{path}: files that name files more than {_MAX_NAME_FILES} levels deep")
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise BadLine(f"cannot read {path}: {error.strerror}") from None
    for line in text.split("\n"):
        words = Words(line)
        while not words.at_end:
            yield from _listed(words, expected, path.parent, depth)


# --- addresses ---


def _network(words: Words) -> Network | Literal["all", "samehost", "samenet"]:
    word = words.take("an address")
    for keyword in ("all", "samehost", "samenet"):
        if word.is_keyword(keyword):
            return keyword
    base, slash, bits = word.text.partition("/")
    try:
        address: IPv4Address | IPv6Address = ip_address(base)
    except ValueError:
        raise BadLine(f'expected an IPv4 or IPv6 address, all, samehost or samenet, got "{base}"') from None
    length = _prefix(bits, address) if slash else _mask(words, address)
    network = ip_network(f"{address}/{length}", strict=False)
    if network.network_address != address:
        # Nobody's address would be equal to it, so the line would never fit.
        raise BadLine(f'the address has bits outside its mask, got "{address}/{length}", perhaps {network} is meant')
    return network


def _prefix(bits: str, address: IPv4Address | IPv6Address) -> int:
    if not bits.isascii() or not bits.isdecimal() or int(bits) > address.max_prefixlen:
        raise BadLine(f'expected a mask of 0 to {address.max_prefixlen} bits, got "{bits}"')
    return int(bits)


def _mask(words: Words, address: IPv4Address | IPv6Address) -> int:
    word = words.take("a mask after the address")
    try:
        mask = ip_address(word.text)
    except ValueError:
        raise BadLine(f'expected a mask after the address, got "{word.text}"') from None
    if mask.version != address.version:
        raise BadLine("address and mask are of different families")
    ones = f"{int(mask):0{mask.max_prefixlen}b}"
    if "01" in ones:
        raise BadLine(f'expected a mask of ones and then zeroes, got "{mask}"')
    return ones.count("1")
