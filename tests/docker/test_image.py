"""The image: the compiled pooler is process 1, not root, healthy, and stops as Docker asks it to."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.docker.conftest import PASSWORD
from tests.fixtures.docker import LABELS, docker
from tests.fixtures.processes import until

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

INI = """\
[databases]
app = host=postgres port=5432 dbname=app
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /etc/pgpool_py/userlist.txt
default_pool_size = 2
pool_mode = transaction
"""


@pytest.fixture
def pooler(
    image: str, network: "Network", postgres_container: str, tmp_path: Path
) -> Iterator["DockerContainer"]:
    """The pooler's container, listening."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    for name, text in (("pgbouncer.ini", INI), ("userlist.txt", f'"app" "{PASSWORD}"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    container = DockerContainer(image).with_network(network).with_kwargs(labels=LABELS)
    container.with_exposed_ports(6432).with_volume_mapping(str(folder), "/etc/pgpool_py", "ro")
    container.waiting_for(LogMessageWaitStrategy("process up"))
    with container:
        yield container


def dsn(pooler: "DockerContainer", password: str = PASSWORD) -> str:
    return f"postgresql://app:{password}@127.0.0.1:{pooler.get_exposed_port(6432)}/app"


def identity(pooler: "DockerContainer") -> str:
    wrapped = pooler.get_wrapped_container()
    assert wrapped is not None and wrapped.id is not None
    return str(wrapped.id)


def inspect(pooler: "DockerContainer", field: str) -> str:
    return docker("inspect", "-f", f"{{{{{field}}}}}", identity(pooler)).stdout.strip()


def test_query_reaches_postgres_by_name(pooler: "DockerContainer") -> None:
    with psycopg.connect(dsn(pooler)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)


def test_wrong_password_is_refused(pooler: "DockerContainer") -> None:
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        psycopg.connect(dsn(pooler, "wrong"))


def test_container_becomes_healthy(pooler: "DockerContainer") -> None:
    until(lambda: inspect(pooler, ".State.Health.Status") == "healthy", timeout=30)


def test_pooler_is_process_one(pooler: "DockerContainer") -> None:
    command = docker("exec", identity(pooler), "cat", "/proc/1/cmdline").stdout.split("\0")
    assert command[-2] == "/etc/pgpool_py/pgbouncer.ini"
    assert command[-3].endswith("/bin/pgpool_py")


def test_pooler_is_not_root(pooler: "DockerContainer") -> None:
    assert docker("exec", identity(pooler), "id", "-u").stdout.strip() == "10001"


def test_stop_is_quick_and_clean(pooler: "DockerContainer") -> None:
    """With an idle client connected, SIGINT ends it within two seconds."""
    with psycopg.connect(dsn(pooler), autocommit=True) as client:
        client.execute("SELECT 1")
        before = time.monotonic()
        docker("stop", "-t", "10", identity(pooler))
        took = time.monotonic() - before
    assert took < 2
    assert inspect(pooler, ".State.ExitCode") == "0"
    assert "got SIGINT" in docker("logs", identity(pooler)).stderr


def test_stop_lets_a_transaction_end(pooler: "DockerContainer") -> None:
    with psycopg.connect(dsn(pooler)) as client:
        client.execute("SELECT 1")
        docker("kill", "-s", "INT", identity(pooler))
        assert client.execute("SELECT 2").fetchone() == (2,)
        client.commit()
    until(lambda: inspect(pooler, ".State.Status") == "exited")
    assert inspect(pooler, ".State.ExitCode") == "0"


def test_image_holds_the_compiled_build(image: str) -> None:
    said = docker("run", "--rm", "--network", "none", image, "--version").stdout
    assert "\nbuild: compiled" in said


def test_root_is_refused(image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "pgbouncer.ini").write_text("[databases]\n* = host=postgres\n[pgbouncer]\n")
    mount = f"{tmp_path}:/etc/pgpool_py:ro"
    done = docker("run", "--rm", "--network", "none", "--user", "0", "-v", mount, image, check=False)
    assert done.returncode == 1
    assert "should not run as root" in done.stderr


def test_missing_configuration_is_named(image: str) -> None:
    done = docker("run", "--rm", "--network", "none", image, check=False)
    assert done.returncode == 1
    assert "/etc/pgpool_py/pgbouncer.ini" in done.stderr
