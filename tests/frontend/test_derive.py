"""SCRAM secrets derived from plain passwords are kept, within bounds."""

from __future__ import annotations

import asyncio

import pytest

from pgpool_py.frontend import derive
from pgwire import ScramSecret


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive, "_kept", {})
    monkeypatch.setattr(derive, "MAX_KEPT", 2)


def test_stored_password_is_derived_once() -> None:
    async def twice() -> tuple[ScramSecret, ScramSecret]:
        return await derive.stored_form("p", b"salt", 10), await derive.stored_form("p", b"salt", 10)

    first, second = asyncio.run(twice())
    assert first is second
    assert first == ScramSecret.derive("p", 10, b"salt")


def test_oldest_is_forgotten_first() -> None:
    async def three() -> None:
        for password in "abc":
            await derive.stored_form(password, b"salt", 10)

    asyncio.run(three())
    assert [password for password, _, _ in derive._kept] == ["b", "c"]


def test_password_of_a_client_is_not_kept() -> None:
    asyncio.run(derive.keys_of(b"p", b"salt", 10))
    assert derive._kept == {}
