"""The version, in one place."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("pgpool_py")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0+source"
