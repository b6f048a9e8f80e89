"""Connection URIs, quoted as libpq reads them."""

from urllib.parse import quote


def connection_uri(host: str, port: int, database: str, user: str, password: str | None) -> str:
    """A URI that psql and every driver takes."""
    secret = f":{quote(password, safe='')}" if password is not None else ""
    return f"postgresql://{quote(user, safe='')}{secret}@{host}:{port}/{quote(database, safe='')}"
