"""A user's password as PAM judges it, under the service name `pgbouncer`, as PgBouncer asks. Blocks.

Knows the two steps: is it the password, and may the account be used now.
"""

from __future__ import annotations

from typing import Any

from pgpool_py.auth.outside import Outside

SERVICE = "pgbouncer"
_SILENT = 0x8000


def check_pam(user: str, password: bytes, address: str) -> None:
    """Return when PAM takes *password* for *user*; else raise Outside. *address* is for modules that look at it."""
    if not password:
        raise Outside("an empty password")
    import pamela  # an extra; the configuration has made sure of it

    # Kept in a variable: C calls it, and does not keep it alive.
    conversation = pamela.new_simple_password_conv((password,), "utf-8")
    try:
        handle = pamela.pam_start(SERVICE, user.encode("utf-8", "surrogateescape"), conversation)
    except pamela.PAMError as error:
        raise Outside(f"pam_start failed: {error}") from None
    result = -1
    try:
        handle.set_item(pamela.PAM_RHOST, address)
        result = _step(pamela, handle, "pam_authenticate", pamela.PAM_AUTHENTICATE(handle, _SILENT))
        result = _step(pamela, handle, "pam_acct_mgmt", pamela.PAM_ACCT_MGMT(handle, _SILENT))
    except pamela.PAMError as error:
        raise Outside(f"PAM failed: {error}") from None
    finally:
        pamela.PAM_END(handle, max(result, 0))


def _step(pamela: Any, handle: Any, name: str, result: int) -> int:
    if result:
        raise Outside(f"{name} failed: {pamela.pam_strerror(handle, result)}")
    return result
