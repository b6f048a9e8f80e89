"""The project's own image, built once for the run, and a network with PostgreSQL in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fixtures.build import ROOT
from tests.fixtures.docker import LABEL, LABELS, docker, docker_answers, prepare_testcontainers, remove_left_overs

if TYPE_CHECKING:
    from testcontainers.core.network import Network

IMAGE = "pgpool_py:test"
PASSWORD = "app"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Everything in this folder needs Docker, and takes a while."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.docker)
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image of this checkout; built from the cache where nothing has changed."""
    assert docker_answers()
    prepare_testcontainers()
    remove_left_overs()
    docker("build", "--label", f"{LABEL}=image", "-t", IMAGE, str(ROOT), timeout=900)
    yield IMAGE
    remove_left_overs()


@pytest.fixture(scope="session")
def network(image: str) -> Iterator["Network"]:
    """A network whose published ports are on loopback only."""
    from testcontainers.core.network import Network

    options = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    with Network(docker_network_kw={"options": options, "labels": LABELS}) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_container(network: "Network") -> Iterator[str]:
    """The name in the network of a PostgreSQL with database and user app."""
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer("postgres:17", username="app", password=PASSWORD, dbname="app", driver=None)
    container.with_network(network).with_network_aliases("postgres").with_kwargs(labels=LABELS)
    container.with_command("postgres -c fsync=off")
    with container:
        yield "postgres"
