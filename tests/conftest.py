"""What is slow to make and the same for every test: made once a session, copied by whoever changes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.settings import Settings
from tests.processes import free_port


@pytest.fixture(scope="session")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with MLflow's database in it, and nothing in the database."""
    from pipelines.registry.store import connect

    home = tmp_path_factory.mktemp("mlflow") / "home"
    connect(Settings(SHOPLOOM_HOME=home))
    return home


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with Airflow's database in it, migrated, and no DAG in the database."""
    from pipelines.orchestration.databases import migrate

    home = tmp_path_factory.mktemp("airflow") / "home"
    migrate(Settings(SHOPLOOM_HOME=home))
    return home


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server from Debian's packages, on loopback; its database is yet to be made."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        message = "no PostgreSQL server here; on Debian: apt-get install postgresql"
        if os.environ.get("SHOPLOOM_TEST_SERVICES") == "required":
            pytest.fail(message)
        pytest.skip(message)
    binaries = found[-1].parent
    # initdb refuses root, and pytest's own folder is closed to other users.
    folder = Path("/tmp") / f"shoploom-postgresql-{os.getpid()}"
    folder.mkdir()
    as_server: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_server = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = free_port()

    def server(program: str, *arguments: str) -> None:
        command = [*as_server, str(binaries / program), "--pgdata", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    server("initdb", "--username", "shoploom", "--auth", "trust", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    server("pg_ctl", "start", "--wait", "--silent", "--log", str(folder / "log"), "--options", options)
    try:
        yield f"postgresql://shoploom@127.0.0.1:{port}/shoploom"
    finally:
        server("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate")
        shutil.rmtree(folder)
