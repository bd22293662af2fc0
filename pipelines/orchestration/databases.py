"""Airflow's and MLflow's databases: made, upgraded, and cleared of runs that were killed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from pipelines.artifacts import write_json
from pipelines.errors import ServiceError
from pipelines.orchestration.airflow import airflow_home, environment, metadata_database
from pipelines.orchestration.processes import last_lines
from pipelines.postgresql import dial
from pipelines.settings import Settings, sqlite_file


def migrate(settings: Settings) -> None:
    """Create or upgrade Airflow's database. Costs a few milliseconds when there is nothing to do.

    Raises:
        ServiceError: Airflow refused; the message holds its last words.
    """
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    stamp = home / "migrated.json"
    address = metadata_database(settings)
    revision = _revision(address)
    if revision is not None and _read_stamp(stamp) == _stamp(revision):
        return
    create_databases(settings)
    ended = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=environment(settings), capture_output=True, text=True
    )
    if ended.returncode:
        raise ServiceError(
            f"Airflow could not prepare its database: {last_lines(ended.stderr or ended.stdout)}",
            mend="shoploom doctor says which database that is",
        )
    write_json(_stamp(_revision(address)), stamp)


def create_databases(settings: Settings) -> None:
    """Create the PostgreSQL databases of Airflow and MLflow where they are missing; without a PostgreSQL address do
    nothing.

    Raises:
        ServiceError: the server cannot be reached, or the user may not create databases.
    """
    if settings.database_url is None:
        return
    import psycopg2
    from psycopg2 import sql
    from sqlalchemy.engine import make_url

    for name in ("airflow", "mlflow"):
        address = settings.database(name)
        url = make_url(address)
        try:
            with closing(dial(address, "postgres")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (url.database,))
                    if cursor.fetchone() is None:
                        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(url.database))))
        except psycopg2.Error as error:
            raise ServiceError(
                f"the PostgreSQL database {url.database!r} at {url.host}:{url.port or 5432} cannot be made: {error}",
                mend="check SHOPLOOM_DATABASE_URL, and that its user has CREATEDB",
            ) from error


def close_abandoned(settings: Settings) -> int:
    """Mark as failed what a one-process run that was killed left behind as running; a scheduler would go on with it.

    Returns:
        How many DAG runs that were.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(metadata_database(settings), poolclass=NullPool)
    abandoned = "state IN ('running', 'queued') AND triggered_by = 'TEST'"
    unfinished = "state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')"
    with engine.begin() as connection:
        connection.execute(
            text(
                f"UPDATE task_instance SET state = 'failed' WHERE ({unfinished}) "
                f"AND (dag_id, run_id) IN (SELECT dag_id, run_id FROM dag_run WHERE {abandoned})"
            )
        )
        return connection.execute(text(f"UPDATE dag_run SET state = 'failed' WHERE {abandoned}")).rowcount


def _revision(address: str) -> str | None:
    """The schema revision of a metadata database; None when it has none."""
    path = sqlite_file(address)
    if path is not None:
        if not path.is_file():
            return None
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.Error:
            return None
        return str(row[0]) if row else None
    import psycopg2

    try:
        with closing(dial(address)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
    except psycopg2.Error:
        return None
    return str(row[0]) if row else None


def _stamp(revision: str | None) -> dict[str, object]:
    return {"airflow": version("apache-airflow-core"), "revision": revision}


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
