"""What servers and operators see of a client's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import stack, wire
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


@pytest.mark.skipif(stack.NONE, reason="needs a pooler")
def test_host_stands_behind_any_letters(start_pooler: Callable[..., stack.Pooler], direct: Callable[..., RawClient]) -> None:
    """PostgreSQL shows such letters as numbers, and counts the bytes before it does."""
    pooler = start_pooler({"application_name_add_host": 1})
    with pooler.connect("app", application_name="\u00e4" * 60) as client:
        suffix = " - {}:{}".format(*client.sock.getsockname())
        with direct(application_name="\u00e4" * ((63 - len(suffix)) // 2) + suffix) as expected:
            assert client.ask("show application_name") == expected.ask("show application_name")
            assert client.parameters["application_name"] == expected.parameters["application_name"]


def test_name_in_any_encoding_is_taken(pooler: stack.Pooler, direct: Callable[..., RawClient]) -> None:
    """libpq sends what the program is called, in whatever letters; PostgreSQL makes them printable."""
    name = b"Buchf\xfchrung \x83\x65".decode("utf-8", "surrogateescape")
    with direct(application_name=name) as expected, pooler.connect("app", application_name=name, work_mem="5MB") as client:
        assert client.ask("show application_name") == expected.ask("show application_name")


NAMES = ["\u00e4" * 14 + "abc", "a" + "\u00e4" * 40, "\x01\u65e5\u672c" * 8]


@pytest.mark.skipif(stack.IS_PEER, reason="others cut it")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["startup", "startup, for all", "SET", "DISCARD ALL"])
def test_name_of_long_letters_is_kept_whole(pooler: stack.Pooler, direct: Callable[..., RawClient], name: str, way: str) -> None:
    """From PostgreSQL 16 on what is shown of such a name may be longer than a name, and cannot be set as it is shown."""
    given = {} if way == "SET" else {"application_name": name}
    if way == "startup, for all":
        given["work_mem"] = "5MB"
    text = {"SET": f"set application_name = '{name}'", "DISCARD ALL": "discard all"}.get(way, "select 1")
    with direct(**given) as expected, pooler.connect("one", **given) as client, pooler.connect("one") as other:
        for each in (expected, client):
            assert wire.errors(each.query(text)) == []
        for _ in range(2):
            assert client.ask("show application_name") == expected.ask("show application_name")
            assert client.parameters["application_name"] == expected.parameters["application_name"]
            assert other.ask("show application_name") == ""
