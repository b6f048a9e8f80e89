"""What users import in their own tests: a throw-away PostgreSQL and a running pooler.

    from pgpool_py.testing import PostgresServer, running_pooler

    with PostgresServer() as server, running_pooler(
        databases={"app": f"host={server.host} port={server.port} dbname=postgres"},
        users={"postgres": server.password},
    ) as pooler:
        psycopg.connect(pooler.dsn("app", "postgres"))

Both are stopped whatever way the test process ends, `kill -9` included. Nothing here is used by the pooler
itself.
"""

from pgpool_py.testing.binaries import embedded_bin_dir, local_bin_dirs
from pgpool_py.testing.pooler import Pooler, PoolerError, running_pooler
from pgpool_py.testing.postgres import PostgresError, PostgresServer
from pgpool_py.testing.process import free_port

__all__ = [
    "Pooler",
    "PoolerError",
    "PostgresError",
    "PostgresServer",
    "embedded_bin_dir",
    "free_port",
    "local_bin_dirs",
    "running_pooler",
]
