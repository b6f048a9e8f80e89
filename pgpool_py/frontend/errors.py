"""Why a client is not let in: each refusal with its SQLSTATE and its sentence.

The sentences are PgBouncer's, which clients and operators match on; the SQLSTATEs say more than PgBouncer's
08P01 where PostgreSQL has a code for the case. Knows nothing of how a refusal is sent or logged.
"""

from __future__ import annotations

from pgpool_py.auth.hba import Origin


class LoginRefused(Exception):
    """The client is told *message* under *sqlstate* and closed. *explanation* is for the log only."""

    sqlstate = "08P01"  # protocol_violation: what PgBouncer says of everything

    def __init__(self, message: str, sqlstate: str = "", explanation: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate or self.sqlstate
        self.explanation = explanation


class ClientGone(Exception):
    """The client left during its login: there is nobody to tell."""

    def __init__(self, reason: str = "client unexpected eof") -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyClients(LoginRefused):
    sqlstate = "53300"  # too_many_connections

    def __init__(self) -> None:
        super().__init__("no more connections allowed (max_client_conn)")


class TooManyDatabaseClients(LoginRefused):
    sqlstate = "53300"

    def __init__(self) -> None:
        super().__init__("client connections exceeded (max_db_client_connections)")


class TooManyUserClients(LoginRefused):
    sqlstate = "53300"

    def __init__(self) -> None:
        super().__init__("client connections exceeded (max_user_client_connections)")


class EncryptionRequired(LoginRefused):
    sqlstate = "28000"  # invalid_authorization_specification, as for a hostssl line that is missed

    def __init__(self) -> None:
        super().__init__("SSL required")


class NoUserName(LoginRefused):
    sqlstate = "28000"  # invalid_authorization_specification

    def __init__(self) -> None:
        super().__init__("no username supplied")


class ConsoleNotAllowed(LoginRefused):
    sqlstate = "42501"  # insufficient_privilege

    def __init__(self) -> None:
        super().__init__("not allowed", explanation="neither in admin_users nor in stats_users")


class UserNameTooLong(LoginRefused):
    sqlstate = "28000"

    def __init__(self) -> None:
        super().__init__("username too long")


class NoSuchDatabase(LoginRefused):
    sqlstate = "3D000"  # invalid_catalog_name

    def __init__(self, name: str) -> None:
        super().__init__(f"no such database: {name}")


class DatabaseDisabled(LoginRefused):
    sqlstate = "55000"  # object_not_in_prerequisite_state, as for datallowconn = false

    def __init__(self, name: str) -> None:
        super().__init__(f'database "{name}" is disabled')


class WrongPassword(LoginRefused):
    """The base of what is a guess that failed, as far as anybody can tell."""

    sqlstate = "28P01"  # invalid_password


class PasswordFailed(WrongPassword):
    def __init__(self, explanation: str = "") -> None:
        super().__init__("password authentication failed", explanation=explanation)


class SaslFailed(WrongPassword):
    def __init__(self, explanation: str = "") -> None:
        super().__init__("SASL authentication failed", explanation=explanation)


class OutsideFailed(WrongPassword):
    """PAM or the directory did not take the password."""

    def __init__(self, service: str, explanation: str) -> None:
        super().__init__(f"{service} authentication failed", explanation=explanation)


class TrustFailed(LoginRefused):
    sqlstate = "28000"

    def __init__(self) -> None:
        super().__init__('"trust" authentication failed', explanation="no such user")


class NoHbaEntry(LoginRefused):
    """In PostgreSQL's words, since the file is PostgreSQL's too."""

    sqlstate = "28000"

    def __init__(self, origin: Origin) -> None:
        where = f'host "{origin.address or "[local]"}"'
        encryption = "SSL encryption" if origin.encrypted else "no encryption"
        if origin.replication:
            text = f'replication connection from {where}, user "{origin.user}", {encryption}'
        else:
            text = f'{where}, user "{origin.user}", database "{origin.database}", {encryption}'
        super().__init__(f"no pg_hba.conf entry for {text}")


class LoginRejected(LoginRefused):
    sqlstate = "28000"

    def __init__(self, file: str, line: int) -> None:
        super().__init__("login rejected", explanation=f"{file}:{line} says reject")


class PeerFailed(LoginRefused):
    sqlstate = "28000"

    def __init__(self, explanation: str) -> None:
        super().__init__("unix socket login rejected", explanation=explanation)


class CertificateFailed(LoginRefused):
    sqlstate = "28000"

    def __init__(self, explanation: str) -> None:
        super().__init__("certificate authentication failed", explanation=explanation)


class UserNotForced(LoginRefused):
    """auth_type=any takes whoever comes, so the database entry must say which user the server sees."""

    sqlstate = "F0000"  # config_file_error

    def __init__(self) -> None:
        super().__init__("bouncer config error", explanation="auth_type=any requires forced user")


class InvalidReplication(LoginRefused):
    sqlstate = "22023"  # invalid_parameter_value

    def __init__(self, value: str) -> None:
        super().__init__(f'invalid value for parameter "replication": "{value}"')


class UnsupportedParameter(LoginRefused):
    def __init__(self, name: str, *, in_options: bool = False) -> None:
        super().__init__(f"unsupported startup parameter{' in options' if in_options else ''}: {name}")


class UnsupportedOptions(LoginRefused):
    def __init__(self) -> None:
        super().__init__(
            "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
        )


class LoginTimeout(LoginRefused):
    def __init__(self, *, server_down: bool = False) -> None:
        super().__init__("client_login_timeout (server down)" if server_down else "client_login_timeout")


class PoolerStopping(LoginRefused):
    sqlstate = "57P01"  # admin_shutdown

    def __init__(self) -> None:
        super().__init__("pooler is shutting down")
