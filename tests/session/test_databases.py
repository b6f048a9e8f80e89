"""Texts about whole databases."""

from __future__ import annotations

import pytest

from pgpool_py.session.databases import left_alone


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"DROP DATABASE Test_main", {"test_main"}),
        (b'drop database if exists "Test ""1"""', {'Test "1"'}),
        (b"create database copied with owner me template = 'Main'", {"Main"}),
        (b"create database copied template main", {"main"}),
        (b"alter database a rename to b; drop database c", {"a", "c"}),
        (b"alter database a set tablespace fast", {"a"}),
        (b"alter database a set work_mem = '7MB'", set()),
        (b"create database plain", {"template1"}),
        (b"create table template (n int)", set()),
    ],
)
def test_databases_that_must_be_left_alone(text: bytes, names: set[str]) -> None:
    """Those that PostgreSQL lets nobody else be connected to meanwhile."""
    assert left_alone(text) == names
