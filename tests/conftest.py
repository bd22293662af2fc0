"""What is slow to make and the same for every test: made once a session, copied by whoever changes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipelines.settings import Settings
from tests.demanded import lacking
from tests.postgresql_server import postgresql_is_installed, postgresql_server

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("seeking", derandomize=False)
settings.load_profile("repeatable")


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
    """The address of a PostgreSQL server, whose database is yet to be made."""
    if not postgresql_is_installed():
        lacking("PostgreSQL server", "postgresql")
    with postgresql_server(durable=False) as address:
        yield address
