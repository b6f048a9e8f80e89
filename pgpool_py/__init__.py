"""pgpool_py: a connection pooler for the PostgreSQL wire protocol."""

from pgpool_py import build

build.choose()
