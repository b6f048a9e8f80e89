"""`docker compose up` as the README says it, with either program."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from pgpool_py.testing import free_port
from tests.fixtures.build import ROOT
from tests.fixtures.docker import docker
from tests.fixtures.processes import until

PROJECT = f"pgpool_py-test-{os.getpid()}"


def states() -> list[str]:
    """The health of every service of the stack."""
    shown = docker("ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}").stdout.split()
    found = json.loads(docker("inspect", *shown).stdout) if shown else []
    return [container["State"]["Health"]["Status"] for container in found]


def compose_command() -> list[str] | None:
    """Compose 2 is a plugin of docker, 1.29 a program of its own."""
    if docker("compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


@pytest.fixture(scope="module")
def port(image: str) -> Iterator[int]:
    """The port of a healthy stack. *image* is built first: the stack's own build then comes from the cache."""
    command = compose_command()
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is here")
    port = free_port()
    project = ["-p", PROJECT, "-f", str(ROOT / "docker-compose.yml")]

    def compose(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *project, *arguments],
            env={**os.environ, "PGPOOL_PY_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        compose("up", "-d", "--build")
        until(lambda: states() == ["healthy", "healthy"], timeout=60)
        yield port
    finally:
        compose("down", "-v")


def test_published_port_answers(port: int) -> None:
    with psycopg.connect(f"postgresql://app:app@127.0.0.1:{port}/app") as connection:
        assert connection.execute("SELECT 42").fetchone() == (42,)


def test_port_is_on_loopback_only(port: int) -> None:
    listening = docker("ps", "--filter", f"publish={port}", "--format", "{{.Ports}}").stdout
    assert f"127.0.0.1:{port}->" in listening
    assert "0.0.0.0" not in listening
