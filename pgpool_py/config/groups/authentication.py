"""Settings of who may log in."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import AuthType, AuthTypeName, File, Iterations, SecretText, Text, TextList

DEFAULT_AUTH_QUERY = (
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
)


class Authentication(Settings):
    """Who may log in, and how it is proved."""

    group: ClassVar[str] = "Authentication"

    auth_type: AuthTypeName = setting(
        AuthType.MD5,
        "How a client proves who it is. `md5` uses SCRAM for a user whose stored secret is SCRAM. `trust`"
        " asks for no"
        " password but the user must be known; `any` does not even look at the name and needs databases with"
        " a forced"
        " `user`. `hba` leaves it to the rules of `auth_hba_file`. `cert` asks for a certificate with the user's"
        " name. `pam` and `ldap` have the password judged by"
        " another service, and need the extra of that name.",
    )
    auth_file: File = setting("", "File of users and secrets, read at start and at each reload.")
    auth_hba_file: File = setting("", "File of host-based rules in PostgreSQL's format, for `auth_type=hba`.")
    auth_ident_file: File = setting("", "File of user name maps for `map=` in the rules, for `auth_type=hba`.")
    auth_user: Text = setting("", "User that runs `auth_query` for names that are not in `auth_file`.")
    auth_query: Text = setting(DEFAULT_AUTH_QUERY, "Query that gives a user's name and secret.")
    auth_dbname: Text = setting("", "Database entry in which `auth_query` runs, if not the client's.")
    auth_ldap_options: SecretText = setting(
        None,
        "Options for `auth_type=ldap`, as in a line of `pg_hba.conf`. Not shown anywhere, as they may hold a password.",
    )
    scram_iterations: Iterations = setting(4096, "Iterations when a SCRAM secret is made from a plain password.")
    admin_users: TextList = setting((), "Users with full rights in the admin console.")
    stats_users: TextList = setting(
        (), "Users that may only look, in the admin console: every SHOW command but FDS and SETTINGS_DIFF."
    )
