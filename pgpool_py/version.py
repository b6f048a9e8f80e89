"""The version, in one place: ours, and that of PgBouncer whose behaviour we offer."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("pgpool_py")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0+source"

PGBOUNCER = "1.25.2"
# The first line of --version and SHOW VERSION. Monitoring looks for "PgBouncer" and takes the first number for its version.
VERSION_LINE = f"PgBouncer {PGBOUNCER} (pgpool_py {VERSION})"
