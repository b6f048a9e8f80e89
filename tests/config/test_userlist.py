"""userlist.txt; compared with PgBouncer 1.18, which stops at the first bad line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgpool_py.auth.secret import Secret
from pgpool_py.auth.userlist import UserListError, parse_userlist, read_userlist


def secrets(text: str) -> dict[str, list[str]]:
    return {
        user: [secret.reveal() for secret in all_of] for user, all_of in parse_userlist(text, "u").items()
    }


def test_a_line_is_user_and_secret() -> None:
    assert secrets('"u" "p"\n  "v" \t "q"\r\n\n; "w" "r"\n') == {"u": ["p"], "v": ["q"]}


def test_the_rest_of_a_line_is_ignored() -> None:
    assert secrets('"u" "p" "" x\n"v" "q"x ; y\n') == {"u": ["p"], "v": ["q"]}


def test_anything_but_a_quote_may_stand_in_between() -> None:
    """[run] A comma, say, from a spreadsheet."""
    assert secrets('"u","p"\n"v" : "q"\n') == {"u": ["p"], "v": ["q"]}


def test_quotes_inside_are_doubled() -> None:
    assert secrets('"u""v" "p""q"""\n') == {'u"v': ['p"q"']}


def test_a_secret_may_be_empty() -> None:
    assert secrets('"u" ""\n') == {"u": [""]}


def test_a_user_may_have_several_secrets() -> None:
    assert secrets('"u" "new"\n"v" "x"\n"u" "old"\n') == {"u": ["new", "old"], "v": ["x"]}


def test_every_bad_line_is_named_without_its_secret() -> None:
    lines = [
        "u hunter2",
        '"u" hunter2',
        '"u"',
        "# c",
        '"u" "hunter2',
        '"u""hunter2"',
        '"a" "b"',
    ]
    with pytest.raises(UserListError) as caught:
        parse_userlist("\n".join(lines), "users.txt")
    expected = 'expected "user" "secret", both in double quotes'
    assert caught.value.problems == [f"users.txt:{number}: {expected}" for number in range(1, 7)]
    assert list(caught.value.usable) == ["a"]


def test_names_and_secrets_have_their_limits() -> None:
    assert secrets(f'"{"u" * 127}" "{"p" * 65531}"\n')
    with pytest.raises(UserListError) as caught:
        parse_userlist(f'"{"u" * 128}" "p"\n"u" "{"p" * 65532}"\n', "u")
    assert caught.value.problems == [
        "u:1: user name: expected at most 127 bytes, got 128",
        "u:2: secret: expected at most 65531 bytes, got 65532",
    ]


def test_other_encodings_survive(tmp_path: Path) -> None:
    (tmp_path / "u").write_bytes(b'"caf\xe9" "\xff"\n')
    (user,) = read_userlist(tmp_path / "u")
    assert user.encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("md5" + "0123456789abcdef" * 2, "md5"),
        ("md5" + "0123456789ABCDEF" * 2, "plain"),
        ("md5 is what I use", "plain"),
        ("SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5", "scram-sha-256"),
        ("", "plain"),
    ],
)
def test_a_secret_knows_its_kind(text: str, kind: str) -> None:
    assert Secret(text).kind == kind


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {[secret]} { ({'a': secret}) }"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert not hasattr(secret, "__dict__")
