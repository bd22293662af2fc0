"""What MLflow's database has of versions and runs, read by SQL: importing MLflow takes longer than all of a lineage.

Only the schema of the pinned MLflow is read. Where there is another one, no database yet, or a server in front of it,
there are no records, and MLflow's client is asked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import RegistryError
from pipelines.registry.store import EXPERIMENT, MODEL, public_address
from pipelines.settings import Settings, sqlite_file

if TYPE_CHECKING:
    from pipelines.registry.versions import RegisteredVersion

SCHEMA = "dc11669786a5"
"""The revision of MLflow's tables that the statements below are of."""
_OURS = "name = ? AND workspace = 'default'"
_STAGE_TAGS = """
SELECT runs.run_uuid, tags."key", tags.value FROM runs
JOIN experiments ON experiments.experiment_id = runs.experiment_id AND experiments.name = ?
JOIN tags AS parent ON parent.run_uuid = runs.run_uuid AND parent."key" = 'mlflow.parentRunId' AND parent.value = ?
JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind."key" = 'kind' AND kind.value = 'stage'
JOIN tags ON tags.run_uuid = runs.run_uuid
WHERE runs.lifecycle_stage = 'active' AND runs.status = 'FINISHED' ORDER BY runs.start_time, runs.run_uuid
"""


@dataclass(frozen=True)
class Records:
    """An open database.

    Args:
        select: gives all rows of a statement with ``?`` for what is given beside it.
    """

    select: Callable[..., list[tuple[Any, ...]]]

    def versions(self) -> list[RegisteredVersion]:
        """Every version of the registered model, oldest first."""
        from pipelines.registry.versions import version_of

        tags: dict[int, dict[str, str]] = {}
        for number, key, value in self.select(
            f'SELECT version, "key", value FROM model_version_tags WHERE {_OURS}', MODEL
        ):
            tags.setdefault(number, {})[key] = value
        aliases: dict[int, list[str]] = {}
        for number, alias in self.select(f"SELECT version, alias FROM registered_model_aliases WHERE {_OURS}", MODEL):
            aliases.setdefault(number, []).append(alias)
        rows = self.select(
            f"SELECT version, creation_time, run_id FROM model_versions WHERE {_OURS} "
            "AND (current_stage IS NULL OR current_stage <> 'Deleted_Internal') ORDER BY version",
            MODEL,
        )
        return [
            version_of(str(number), created, run, tags.get(number, {}), aliases.get(number, ()))
            for number, created, run in rows
        ]

    def stage_tags(self, parent_run_id: str) -> dict[str, dict[str, str]]:
        """Stage -> tags of its latest finished run under a parent, as :func:`pipelines.registry.books.stage_runs`."""
        tags: dict[str, dict[str, str]] = {}
        for run, key, value in self.select(_STAGE_TAGS, EXPERIMENT, parent_run_id):
            tags.setdefault(run, {})[key] = value
        return {of["stage"]: of for of in tags.values()}

    def artifact(self, run_id: str, name: str) -> Path | None:
        """Where an artifact of a run lies, or would, on this machine; None where the run's lie elsewhere."""
        found = self.select("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run_id)
        address = urlsplit(str(found[0][0])) if found else None
        if address is None or address.scheme not in ("", "file"):
            return None
        return Path(unquote(address.path)) / name


@contextmanager
def records(settings: Settings) -> Iterator[Records | None]:
    """MLflow's database, opened to be read alone; None where MLflow's client has to be asked.

    Raises:
        RegistryError: the database does not answer, or is damaged.
    """
    address = settings.tracking
    file = sqlite_file(address)
    if address.startswith(("http://", "https://")) or (file is not None and not file.is_file()):
        yield None
        return
    errors = (sqlite3.Error,) if file is not None else _postgresql_errors()
    try:
        with closing(_open(address, file)) as connection:
            known = Records(_selecting(connection, "?" if file is not None else "%s"))
            yield known if _schema(known, errors) == SCHEMA else None
    except errors as error:
        raise RegistryError(
            f"MLflow at {public_address(address)}: {' '.join(str(error).split())[:400]}",
            mend="shoploom doctor says what does not answer",
        ) from error


def _open(address: str, file: Path | None) -> Any:
    if file is not None:
        return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=20)
    from pipelines.postgresql import dial

    connection = dial(address)
    connection.set_session(readonly=True, autocommit=True)
    return connection


def _postgresql_errors() -> tuple[type[Exception], ...]:
    import psycopg2

    return (psycopg2.Error,)


def _selecting(connection: Any, mark: str) -> Callable[..., list[tuple[Any, ...]]]:
    def select(statement: str, *given: str) -> list[tuple[Any, ...]]:
        with closing(connection.cursor()) as cursor:
            cursor.execute(statement.replace("?", mark), given)
            return [tuple(row) for row in cursor.fetchall()]

    return select


def _schema(known: Records, errors: tuple[type[Exception], ...]) -> str:
    """The revision of the tables; empty where there are none yet."""
    try:
        found = known.select("SELECT version_num FROM alembic_version")
    except errors as error:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise
        return ""
    return str(found[0][0]) if len(found) == 1 else ""
