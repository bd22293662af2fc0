"""Airflow and MLflow on a real PostgreSQL server, from Debian's packages, started for the tests on loopback."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.errors import ServiceError
from pipelines.orchestration.dag_runs import run_dag_in_one_process
from pipelines.orchestration.databases import create_databases
from pipelines.orchestration.doctor import examine
from pipelines.postgresql import dial
from pipelines.registry.books import RunStart, close_run, open_run
from pipelines.settings import Settings
from tests.integration.test_registry_books import agree_on_records

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    clone = tmp_path_factory.mktemp("postgresql") / "shoploom"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    return Settings(repository=clone, database_url=postgresql, SHOPLOOM_HOME=clone / ".shoploom")


def test_ingest_runs_on_postgresql(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_SOURCE", "tests.tiny_shop")
    conf = {"from": "2024-01-01", "to": "2024-01-07"}
    outcome = run_dag_in_one_process("ingest", conf, tmp_path / "ingest.log", settings).raise_for_failure()

    assert outcome.state == "success"
    assert not (settings.home / "airflow" / "airflow.db").exists()
    assert _rows(settings.database("airflow"), "select count(*) from dag_run where state = 'success'") == 1


def test_books_are_kept_on_postgresql(settings: Settings) -> None:
    run = open_run(settings, RunStart("manual__2017-01-09", "a" * 40, "b" * 40, "c" * 40, False))
    close_run(settings, run)

    assert not (settings.home / "mlflow" / "mlflow.db").exists()
    assert _rows(settings.database("mlflow"), "select count(*) from runs where status = 'FINISHED'") == 1


def test_records_are_read_on_postgresql(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agree_on_records(settings, tmp_path, monkeypatch)


def test_doctor_says_which_database(settings: Settings) -> None:
    findings = {finding["name"]: finding for finding in examine(settings)}
    assert findings["database"]["state"] == "fine"
    assert findings["database"]["detail"].startswith("PostgreSQL 1")


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_dial_asks_for_all_that_the_address_says(postgresql: str, driver: str) -> None:
    asked = postgresql.replace("postgresql", driver) + "?options=-c%20statement_timeout%3D1234&application_name=a+b"
    with closing(dial(asked, "postgres")) as connection, connection.cursor() as cursor:
        said = []
        for setting in ("statement_timeout", "application_name"):
            cursor.execute(f"SHOW {setting}")
            said.append(cursor.fetchone()[0])
        cursor.execute("SELECT current_database()")
        assert [*said, cursor.fetchone()[0]] == ["1234ms", "a b", "postgres"]


def test_encryption_that_the_address_asks_for_is_not_dropped(postgresql: str, tmp_path: Path) -> None:
    strict = Settings(repository=ROOT, database_url=f"{postgresql}?sslmode=require", SHOPLOOM_HOME=tmp_path)
    with pytest.raises(ServiceError, match="server does not support SSL"):
        create_databases(strict)
    findings = {finding["name"]: finding for finding in examine(strict)}
    assert findings["database"]["state"] == "broken"
    assert "SSL" in findings["database"]["detail"]


def _rows(address: str, query: str) -> int:
    from sqlalchemy import create_engine, text

    with create_engine(address).connect() as connection:
        return int(connection.execute(text(query)).scalar_one())
