"""Which method a client is asked for: that of auth_type, or of the line of the HBA file that fits it.

Decides only; authenticate.py carries the methods out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgpool_py.auth.hba import HbaRule, Origin

from .errors import LoginRejected, NoHbaEntry
from .gate import LoginRules, Peer
from .startup import StartupRequest

# Methods for which nothing stored is looked at, so nobody's secret is looked for.
WITHOUT_SECRETS = frozenset({"any", "pam", "ldap"})


@dataclass(frozen=True, slots=True)
class Method:
    """A method by auth_type's name for it (or "peer"), and the line that asked for it."""

    name: str
    rule: HbaRule | None = None


def choose_method(rules: LoginRules, request: StartupRequest, peer: Peer, *, encrypted: bool) -> Method:
    """The method for this client, or the refusal that a line, or the lack of one, asks for."""
    if rules.auth_type != "hba":
        return Method(rules.auth_type)
    address = None if peer.host == "unix" else peer.host
    origin = Origin(request.database, request.user, address, encrypted, request.replication == "physical")
    rule = rules.hba.find(origin)
    if rule is None:
        raise NoHbaEntry(origin)
    if rule.method == "reject":
        raise LoginRejected(rules.hba.name, rule.line)
    return Method(rule.method, rule)
