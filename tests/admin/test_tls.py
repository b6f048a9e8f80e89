"""The console over TLS, and what it says of encrypted connections."""

from __future__ import annotations

import psycopg

from pgpool_py.testing.process import child_account, private_directory, remove_tree
from tests.admin.conftest import ADMIN, Start
from tests.system import stack
from tests.tls.pki import Authority


def test_the_console_speaks_tls(start_pooler: Start) -> None:
    """Long answers and cancelling too; SHOW CLIENTS names version and cipher of whoever uses TLS, and nothing of others."""
    folder = private_directory("console-tls-", child_account())
    try:
        identity = Authority(folder).issue("localhost", addresses=["127.0.0.1"])
        files = {"client_tls_key_file": identity.key, "client_tls_cert_file": identity.cert}
        pooler = start_pooler({"client_tls_sslmode": "allow", **files})
        uri = pooler.uri("pgbouncer", ADMIN).replace("sslmode=disable", "sslmode=require")
        with pooler.connect("one", application_name="clear"), psycopg.connect(uri, autocommit=True) as console:
            app = pooler.uri("two", stack.OWNER).replace("sslmode=disable", "sslmode=require&application_name=tls")
            with psycopg.connect(app):
                assert len(console.execute("SHOW CONFIG").fetchall()) > 100
                rows = {row[18]: row[17] for row in console.execute("SHOW CLIENTS").fetchall() if row[2] != "pgbouncer"}
                own = [row[17] for row in console.execute("SHOW CLIENTS").fetchall() if row[2] == "pgbouncer"]
        assert rows["clear"] == ""
        assert str(rows["tls"]).startswith("TLSv1.") and str(own[0]).startswith("TLSv1.")
    finally:
        remove_tree(folder)
