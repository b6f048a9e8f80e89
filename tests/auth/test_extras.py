"""PAM and LDAP where their packages are not installed: the process says what to install, at start and at a reload."""

from __future__ import annotations

import os
import re

import psycopg
import pytest

from pgpool_py.testing.pooler import PoolerError, own_environment
from tests.auth.conftest import WriteFile
from tests.conftest import StartPooler
from tests.fixtures.real_postgres import Database

ABSENT = {"pam": "pamela", "ldap": "ldap3"}


@pytest.mark.parametrize("method", ABSENT)
def test_a_method_without_its_package_is_refused(
    start_pooler: StartPooler, database: Database, write_file: WriteFile, method: str
) -> None:
    """A reload keeps the old method; a start with it fails. Importing fails as where there is no such package."""
    package = ABSENT[method]
    absent = write_file(f"{package}.py", f"raise ModuleNotFoundError(\"No module named '{package}'\")\n")
    paths = [str(absent.parent), own_environment().get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    said = re.escape(f"needs the package {package}: pip install 'pgpool_py[{method}]' (No module named '{package}')")
    pooler = start_pooler(databases={"app": database.line}, users={database.user: database.password}, env=env)
    wanted = {"auth_type": method, "auth_ldap_options": "ldapserver=127.0.0.1 ldapprefix=x"}
    pooler.settings |= wanted
    pooler.reload()
    pooler.wait_for_log(f"auth_type: .*{said}")
    pooler.wait_for_log("RELOAD failed")
    with psycopg.connect(pooler.dsn("app", database.user)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(PoolerError, match=said):
        start_pooler(wanted, databases={"app": database.line}, users={}, env=env)
