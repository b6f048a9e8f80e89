"""CHECK AUTH: why a login would fail, or on what its success depends, in one line.

Goes the way of a login (frontend/login.py), step by step, with the same rules and the same secrets, and stops at the first that
would refuse. It asks no password, so what it says of one is whether it can fit at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pgpool_py.admin.commands import Right, right_of
from pgpool_py.app.authquery import NotTheUsers
from pgpool_py.auth.hba import HbaRule, Origin
from pgpool_py.auth.secret import Secret
from pgpool_py.config import ADMIN_DATABASE, DatabaseSettings
from pgpool_py.frontend.errors import LoginRefused
from pgpool_py.frontend.gate import Database, LoginRules
from pgpool_py.frontend.method import WITHOUT_SECRETS

if TYPE_CHECKING:
    from pgpool_py.app.desk import Desk
    from pgpool_py.app.gatehouse import Gatehouse

_OTHER_PROOF = {
    "trust": "no proof is asked",
    "peer": "the system user decides",
    "cert": "the client's certificate decides",
}
OK, REFUSED, DOUBTFUL = "ok", "refused", "doubtful"
Verdict = tuple[str, str]


class _Refused(Exception):
    """What refuses the login."""


async def check_auth(gate: Gatehouse, desk: Desk, user: str, database: str, address: str | None) -> Verdict:
    """The verdict on a login of *user* to *database*, from *address* ("local" is the Unix socket; None: from anywhere)."""
    entry = gate.find_database(database)
    try:
        method, rule = _method(gate, user, database, address)
        found = await _proof(gate, user, method, entry)
        if entry is None:
            raise _Refused(f"no such database: {database} (there is neither an entry nor *)")
        if database == ADMIN_DATABASE:
            return _console(desk, user, found + rule)
        if gate.broker.stopping:
            raise _Refused("the pooler is shutting down")
        settings = gate.broker.config.find_database(database)
        assert settings is not None
        _limits(gate, user, entry, settings, method)
    except _Refused as refusal:
        return REFUSED, str(refusal)
    if desk.orders.mode != "active" or desk.orders.is_paused(database):
        return DOUBTFUL, f"{found}{rule}; the database is paused: a new client may have to wait for RESUME"
    doubt = _server_side(gate, user, settings, method)
    return (DOUBTFUL, f"{found}{rule}; {doubt}") if doubt else (OK, found + rule)


def _method(gate: Gatehouse, user: str, database: str, address: str | None) -> tuple[str, str]:
    """The method that will be asked for, and where it is written."""
    rules = gate.rules
    over_tls = False
    if rules.auth_type != "hba":
        return rules.auth_type, f" (auth_type={rules.auth_type})"
    if address is None:
        fitting = [rule for rule in rules.hba.rules if _names_fit(rule, database, user)]
        rule = next((rule for rule in fitting if rule.method != "reject"), fitting[0] if fitting else None)
    else:
        rule, over_tls = _deciding_line(rules, database, user, None if address == "local" else address)
    if rule is None:
        where = "from any address" if address is None else f"from {address}"
        raise _Refused(f"no line of {rules.hba.name} is for this user and database {where}")
    if rule.method == "reject":
        raise _Refused(f"{rules.hba.name}:{rule.line} says reject")
    if rule.method == "peer" and address not in (None, "local"):
        raise _Refused(f"{rules.hba.name}:{rule.line} says peer, which needs a Unix socket")
    if rule.method == "cert" and (address == "local" or rules.tls.context is None):
        raise _Refused(f"{rules.hba.name}:{rule.line} says cert, which needs TLS")
    only = f", for {rule.kind} {rule.network or ''}".rstrip() if address is None else ", over TLS" if over_tls else ""
    return rule.method, f" ({rules.hba.name}:{rule.line}{only})"


def _deciding_line(rules: LoginRules, database: str, user: str, host: str | None) -> tuple[HbaRule | None, bool]:
    """The line for a client from there, and whether that is so over TLS only."""
    clear = rules.hba.find(Origin(database, user, host))
    if host is None or rules.tls.context is None:
        return clear, False
    secure = rules.hba.find(Origin(database, user, host, encrypted=True))
    if secure is clear:
        return clear, False
    refused = clear is None or clear.method == "reject" or rules.tls.required
    return (secure, True) if refused else (clear, False)


def _names_fit(rule: HbaRule, database: str, user: str) -> bool:
    names, users = rule.databases, rule.users
    wanted = names.all or database in names.names or (names.sameuser and database == user)
    return wanted and (users.all or user in users.names)


async def _proof(gate: Gatehouse, user: str, method: str, entry: Database | None) -> str:
    """What the client will have to prove, if it can be proved at all."""
    if method in WITHOUT_SECRETS:
        return "no proof is asked" if method == "any" else f"{method} decides"
    try:
        stored = await gate.secrets_of(user, entry, why=True)
    except NotTheUsers as what:
        raise _Refused(f"auth_query gave {what}, which makes nobody known") from None
    except LoginRefused as refusal:
        raise _Refused(f"{refusal.message} ({refusal.explanation})" if refusal.explanation else refusal.message) from None
    if stored is None:
        raise _Refused(_unknown(gate, entry))
    if method in _OTHER_PROOF:
        return _OTHER_PROOF[method]
    kinds = [Secret(secret).kind for secret in stored if secret]
    if not kinds:
        raise _Refused(f"no password is stored for this user{_of_query(gate, user)}")
    if method == "scram-sha-256" and set(kinds) == {"md5"}:
        raise _Refused("the stored secret is an md5 hash, and SCRAM needs a plain password or a SCRAM secret")
    asked = "scram-sha-256" if method == "md5" and kinds[0] == "scram-sha-256" else method
    return f"{asked} is asked, against {_listed(kinds)} in {_source(gate, user)}"


def _listed(kinds: Sequence[str]) -> str:
    names = {"plain": "a plain password", "md5": "an md5 hash", "scram-sha-256": "a SCRAM secret"}
    return " and ".join(names[kind] for kind in dict.fromkeys(kinds))


def _source(gate: Gatehouse, user: str) -> str:
    return "auth_file" if user in gate.broker.config.userlist else "what auth_query gave"


def _of_query(gate: Gatehouse, user: str) -> str:
    return "" if user in gate.broker.config.userlist else " (auth_query gave none: none is set, or it has expired)"


def _unknown(gate: Gatehouse, entry: Database | None) -> str:
    main = gate.broker.config.pgbouncer
    known = "auth_file does not have this user" if main.auth_file else "there is no auth_file"
    settings = gate.broker.config.find_database(entry.name) if entry is not None and not entry.is_console else None
    if not (main.auth_user or (settings is not None and settings.auth_user)):
        return f"{known}, and without auth_user nobody asks auth_query"
    return f"{known}, and auth_query did not find it"


def _console(desk: Desk, user: str, found: str) -> Verdict:
    right = right_of(desk.config, user, own_user=False)
    if right is None:
        return REFUSED, "the user is neither in admin_users nor in stats_users"
    return OK, f"{found}, as {'admin' if right is Right.ADMIN else 'a reader'}"


def _limits(gate: Gatehouse, user: str, entry: Database, settings: DatabaseSettings, method: str) -> None:
    counts = gate.counts
    if entry.disabled:
        raise _Refused(f'database "{entry.name}" is disabled')
    if method == "any" and settings.user is None:
        raise _Refused("auth_type=any needs a database entry with a forced user")
    if counts.total >= gate.rules.max_client_conn:
        raise _Refused(f"there are {counts.total} clients already (max_client_conn)")
    for limit, count, name in (
        (entry.max_client_connections, counts.by_database.get(entry.name, 0), "max_db_client_connections"),
        (gate.max_client_connections_of(user), counts.by_user.get(user, 0), "max_user_client_connections"),
    ):
        if 0 < limit <= count:
            raise _Refused(f"there are {count} clients already ({name})")


def _server_side(gate: Gatehouse, user: str, settings: DatabaseSettings, method: str) -> str:
    """Why the client may get in and then find no server, or nothing."""
    config = gate.broker.config
    server_user = settings.user or user
    for place in gate.broker.places.values():
        if place.pool.database == settings.name and place.user == server_user and place.pool.login_error:
            return f"logging in to the server fails: {place.pool.login_error}"
    if settings.password is not None:
        return ""
    stored = config.userlist.get(server_user, ())
    if stored and all(secret.kind == "scram-sha-256" for secret in stored):
        if settings.user is not None:
            return f"the secret of {server_user} is SCRAM, so a server that asks for a password needs password= in the entry"
        if method not in ("scram-sha-256", "md5", "plain"):
            return "the stored secret is SCRAM, so a server that asks for a password needs clients that prove the password"
    return ""
