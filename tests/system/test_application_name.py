"""What servers and operators see of a client's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack
from tests.system.rawclient import RawClient


@pytest.mark.skipif(stack.NONE, reason="needs a pooler")
def test_application_name_tells_the_host(start_pooler: Callable[..., stack.Pooler]) -> None:
    """application_name_add_host: PostgreSQL's own views say which machine a query came from, within its 63 bytes."""
    pooler = start_pooler({"application_name_add_host": 1})
    for given, name in (("web", "web"), ("", "app"), ("x" * 80, "x" * 63)):
        with pooler.connect("app", application_name=given) as client:
            suffix = " - {}:{}".format(*client.sock.getsockname())
            assert client.ask("show application_name") == name[: 63 - len(suffix)] + suffix
            assert client.parameters["application_name"] == client.ask("show application_name")
            client.query("set application_name = 'own'")
            assert client.ask("show application_name") == "own"


def test_name_in_any_encoding_is_taken(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """libpq sends what the program is called, in whatever letters; PostgreSQL makes them printable."""
    name = b"Buchf\xfchrung \x83\x65".decode("utf-8", "surrogateescape")
    with direct(application_name=name) as expected, pooler.connect("app", application_name=name, work_mem="5MB") as client:
        assert client.ask("show application_name") == expected.ask("show application_name")
