"""The parameters of the startup packet, read as PostgreSQL reads them."""

from __future__ import annotations

import pytest

from pgpool_py.frontend.errors import InvalidReplication, LoginRefused, NoUserName
from pgpool_py.frontend.gate import LoginRules
from pgpool_py.frontend.startup import parse_options, read_startup, split_options

OPEN = LoginRules()
STRICT = LoginRules(startup_parameters=frozenset({"application_name", "datestyle"}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", []),
        ("   ", []),
        ("-c a=b", ["-c", "a=b"]),
        ("  -c\ta=b \n", ["-c", "a=b"]),
        (r"-c a=b\ c", ["-c", "a=b c"]),
        (r"-c a=\\", ["-c", "a=\\"]),
        (r"-c a=b\\ -c c=d", ["-c", "a=b\\", "-c", "c=d"]),
        (r"\ ", [" "]),
        ("a\\", ["a"]),
        ("\\", [""]),
        (r"-c a='x y'", ["-c", "a='x", "y'"]),  # quotes mean nothing here
    ],
)
def test_options_split_as_in_postgresql(options: str, words: list[str]) -> None:
    assert list(split_options(options)) == words


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-c a=b", [("a", "b")]),
        ("-ca=b", [("a", "b")]),
        ("--a=b", [("a", "b")]),
        ("--search-path=x", [("search_path", "x")]),
        ("-c search-path=x-y", [("search_path", "x-y")]),
        ("-c a=b=c --d=", [("a", "b=c"), ("d", "")]),
        (r"-c search_path=a,\ b -c x=1", [("search_path", "a, b"), ("x", "1")]),
    ],
)
def test_options_become_settings(options: str, settings: list[tuple[str, str]]) -> None:
    assert list(parse_options(options)) == settings


@pytest.mark.parametrize("options", ["-d 5", "foo", "-c", "-c a", "--a", "-c =b", "--", "-", "-c a=b c"])
def test_other_options_are_refused(options: str) -> None:
    with pytest.raises(LoginRefused, match="only '-c config=val' and '--config=val' are allowed"):
        list(parse_options(options))


def test_packet_parameter_beats_options() -> None:
    request = read_startup({"user": "u", "options": "-c DateStyle=german", "DateStyle": "ISO"}, OPEN)
    assert request.settings == {"datestyle": "ISO"}


def test_database_defaults_to_user() -> None:
    assert read_startup({"user": "u"}, OPEN).database == "u"
    assert read_startup({"user": "u", "database": ""}, OPEN).database == "u"


@pytest.mark.parametrize("parameters", [{}, {"user": ""}, {"database": "app"}])
def test_missing_user_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(NoUserName):
        read_startup(parameters, OPEN)


def test_unknown_parameter_is_named() -> None:
    with pytest.raises(LoginRefused, match=r"^unsupported startup parameter: Extra_Float_Digits$"):
        read_startup({"user": "u", "Extra_Float_Digits": "1"}, STRICT)
    with pytest.raises(LoginRefused, match=r"^unsupported startup parameter in options: geqo$"):
        read_startup({"user": "u", "options": "-c geqo=on"}, STRICT)


def test_ignored_parameters_are_dropped() -> None:
    rules = LoginRules(
        startup_parameters=frozenset({"datestyle"}), ignore_startup_parameters=frozenset({"options", "geqo"})
    )
    request = read_startup({"user": "u", "geqo": "1", "options": "-c x=y -c datestyle=ISO"}, rules)
    assert request.settings == {"datestyle": "ISO"}


def test_protocol_options_are_no_settings() -> None:
    assert read_startup({"user": "u", "_pq_.test": "1"}, STRICT).settings == {}


@pytest.mark.parametrize(
    ("value", "kind"),
    [("true", "physical"), ("on", "physical"), ("YES", "physical"), ("1", "physical"), ("database", "logical"), ("off", "")],
)
def test_replication_has_two_kinds(value: str, kind: str) -> None:
    request = read_startup({"user": "u", "replication": value}, OPEN)
    assert (request.replication, request.settings) == (kind, {})


@pytest.mark.parametrize("value", ["nonsense", ""])
def test_nonsense_is_no_replication(value: str) -> None:
    with pytest.raises(InvalidReplication, match='invalid value for parameter "replication": "'):
        read_startup({"user": "u", "replication": value}, OPEN)


@pytest.mark.parametrize("value", ["false", "off", "no", "0", "OFF"])
def test_no_replication_is_no_setting(value: str) -> None:
    assert read_startup({"user": "u", "replication": value}, OPEN).settings == {}
