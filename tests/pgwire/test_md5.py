"""md5 secrets and responses."""

from __future__ import annotations

import hashlib

import pytest

from pgwire import is_md5_secret, md5_matches, md5_response, md5_secret


def test_secret_is_what_postgresql_stores() -> None:
    assert md5_secret("app", "pencil") == "md5" + hashlib.md5(b"pencilapp").hexdigest()


def test_response_to_the_challenge_matches() -> None:
    secret = md5_secret("app", "pencil")
    inner = hashlib.md5(b"pencilapp").hexdigest().encode()
    expected = b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()
    assert md5_response(secret, b"salt") == expected
    assert md5_matches(secret, b"salt", expected)


@pytest.mark.parametrize("response", [b"", b"pencil", b"md5" + b"0" * 32, b"\xff" * 35])
def test_other_responses_do_not_match(response: bytes) -> None:
    assert not md5_matches(md5_secret("app", "pencil"), b"salt", response)


@pytest.mark.parametrize(
    "text", ["", "md5", "md5" + "0" * 31, "md5" + "G" * 32, "md5" + "0" * 33, "md5" + "0" * 32 + "\n"]
)
def test_other_texts_are_no_md5_secret(text: str) -> None:
    assert not is_md5_secret(text)
    with pytest.raises(ValueError, match="not an md5 secret"):
        md5_response(text, b"salt")
