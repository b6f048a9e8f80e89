"""A user's password as a directory judges it: by a bind as that user. Blocks.

Knows the two ways to a user's entry, by a pattern or by a search, and that a directory takes an empty password for "nobody".
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgpool_py.auth.ldap_options import LdapOptions
from pgpool_py.auth.outside import Outside

CONNECT_SECONDS = 3  # as in PgBouncer
ANSWER_SECONDS = 10
# Characters with a meaning in filters and names: nobody's name has them, and escaping is easily got wrong.
_UNWANTED = frozenset("*()\\/\0")
_UNWANTED_IN_NAMES = _UNWANTED | frozenset(',+"<>;=')


def check_ldap(options: LdapOptions, user: str, password: bytes) -> None:
    """Return when the directory takes *password* for *user*; else raise Outside."""
    if not password or b"\0" in password:
        raise Outside("an empty password")
    from ldap3.core.exceptions import LDAPException  # an extra; the configuration has made sure of it

    unwanted = _UNWANTED if options.base is not None else _UNWANTED_IN_NAMES
    if unwanted.intersection(user) or not user.isprintable():
        raise Outside("invalid character in user name for LDAP authentication")
    try:
        name = _name_of(options, user)
        with _connection(options, name, password.decode("utf-8", "surrogateescape")) as connection:
            if not connection.bind():
                raise Outside(f"LDAP login failed for {name}: {_said(connection)}")
    except (LDAPException, OSError, UnicodeError) as error:
        raise Outside(f"LDAP: {type(error).__name__}: {error}") from None


def _name_of(options: LdapOptions, user: str) -> str:
    """The distinguished name under which *user* is known."""
    if options.base is None:
        return f"{options.prefix}{user}{options.suffix}"
    import ldap3

    scopes = {"base": ldap3.BASE, "one": ldap3.LEVEL, "sub": ldap3.SUBTREE}
    search_filter = options.search_filter.replace("$username", user) or f"({options.search_attribute}={user})"
    if not search_filter.startswith("("):
        search_filter = f"({search_filter})"
    with _connection(options, options.bind_dn, options.bind_password) as connection:
        if not connection.bind():
            raise Outside(f"could not perform initial LDAP bind for ldapbinddn: {_said(connection)}")
        connection.search(options.base, search_filter, scopes[options.scope], attributes=["1.1"], size_limit=2)
        found = [entry["dn"] for entry in connection.response or () if entry["type"] == "searchResEntry"]
        if len(found) != 1:
            what = f"LDAP user does not exist ({_said(connection)})" if not found else "LDAP user is not unique"
            raise Outside(what)
        return str(found[0])


@contextmanager
def _connection(options: LdapOptions, name: str, password: str) -> Iterator[Any]:
    """A connection to the first server that answers; binding is the caller's, as ldap3's own "with" hides its outcome."""
    connection = _open(options, name, password)
    try:
        yield connection
    finally:
        _close(connection)


def _close(connection: Any) -> None:
    try:
        connection.unbind()
    except Exception:
        pass  # it is only closed


def _open(options: LdapOptions, name: str, password: str) -> Any:
    import ldap3
    from ldap3.core.exceptions import LDAPException

    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED)
    failure: Exception | None = None
    for host in options.servers:
        host, _, port = host.partition(":") if host.count(":") == 1 else (host, "", "")
        server = ldap3.Server(
            host,
            port=int(port) if port.isdecimal() else options.port,
            use_ssl=options.scheme == "ldaps",
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=CONNECT_SECONDS,
        )
        connection = ldap3.Connection(
            server,
            user=name or None,
            password=password or None,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            receive_timeout=ANSWER_SECONDS,
            check_names=False,
        )
        try:
            connection.open()
            # Not only by an exception: without this the password would go out in clear text.
            if options.start_tls and not (connection.start_tls() and connection.tls_started):
                raise Outside(f"LDAP: StartTLS failed: {connection.last_error or _said(connection)}")
            return connection
        except (LDAPException, OSError, Outside) as error:
            failure = error
            _close(connection)
    assert failure is not None
    raise failure


def _said(connection: Any) -> str:
    result = connection.result or {}
    return str(result.get("description", "no answer"))
