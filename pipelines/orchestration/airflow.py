"""Airflow, configured by environment alone: no ``airflow.cfg`` is edited, no service needs to run.

On its own, shoploom runs a DAG to its end in one process on SQLite; with services up, or a PostgreSQL address set, the
same environment drives the scheduler, the DAG processor and the API server.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.errors import ServiceError, StageError
from pipelines.orchestration.processes import GRACE_SECONDS, stop_group
from pipelines.progress import PROGRESS_VARIABLE
from pipelines.settings import Settings, child_environment

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
DAGS_FOLDER = PACKAGE_ROOT / "dags"
PARALLEL_TASKS = 2
ADMIN = "admin"


@dataclass(frozen=True)
class DagOutcome:
    """How a DAG run ended.

    Args:
        dag_id: which DAG.
        run_id: Airflow's run id; empty when the run could not be made.
        state: ``"success"`` or ``"failed"``.
        tasks: the state of each task, in the order they ran.
        failed_task: the first task that failed.
        error: that task's own error text.
        returned: what each task returned (its XCom), by task.
        log: everything that Airflow and the libraries said.
    """

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, str] = field(default_factory=dict)
    failed_task: str | None = None
    error: str = ""
    returned: dict[str, Any] = field(default_factory=dict)
    log: Path = Path()

    def raise_for_failure(self) -> DagOutcome:
        """Return this, or raise what went wrong.

        Raises:
            StageError: the DAG run failed; the message is the failed task's own.
        """
        if self.state == "success":
            return self
        where = (
            f"task {self.failed_task!r} of {self.dag_id!r} failed" if self.failed_task else f"{self.dag_id!r} failed"
        )
        raise StageError(f"{where}: {self.error or 'no error text was left'}", mend=f"less {self.log}")


def airflow_home(settings: Settings) -> Path:
    """Airflow's own folder."""
    return settings.home / "airflow"


def password_file(settings: Settings) -> Path:
    """Where the password of Airflow's user ``admin`` is."""
    return airflow_home(settings) / "passwords.json"


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """The complete environment of a process that uses Airflow.

    Args:
        settings: places and addresses.
        extra: further variables.
    """
    home = airflow_home(settings)
    keys = _secret_keys(home)
    port = settings.airflow_port
    variables = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS_FOLDER),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLEL_TASKS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(settings)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}/",
        "AIRFLOW__API__SECRET_KEY": keys["api"],
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _metadata_database(settings),
        "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": _python_path(),
    }
    return child_environment(settings, **variables, **extra)


def migrate(settings: Settings) -> None:
    """Create or upgrade Airflow's database. Costs a few milliseconds when there is nothing to do.

    Raises:
        ServiceError: Airflow refused; the message holds its last words.
    """
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    stamp = home / "migrated.json"
    address = _metadata_database(settings)
    if _revision(address) is not None and _read_stamp(stamp) == _stamp(address):
        return
    create_databases(settings)
    ended = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=environment(settings), capture_output=True, text=True
    )
    if ended.returncode:
        raise ServiceError(
            f"Airflow could not prepare its database: {_last_lines(ended.stderr or ended.stdout)}",
            mend="shoploom doctor says which database that is",
        )
    stamp.write_text(json.dumps(_stamp(address)), encoding="utf-8")


def create_databases(settings: Settings) -> None:
    """Create the PostgreSQL databases of Airflow and MLflow where they are missing; without a PostgreSQL address do
    nothing.

    Raises:
        ServiceError: the server cannot be reached, or the user may not create databases.
    """
    if settings.database_url is None:
        return
    import psycopg2  # type: ignore[import-untyped]
    from psycopg2 import sql
    from sqlalchemy.engine import make_url

    for name in ("airflow", "mlflow"):
        url = make_url(settings.database(name))
        login = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
        try:
            with closing(psycopg2.connect(dbname="postgres", connect_timeout=10, **login)) as connection:
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


def run_dag_in_one_process(
    dag_id: str,
    conf: Mapping[str, object],
    log_file: Path,
    settings: Settings | None = None,
    *,
    progress: Path | None = None,
) -> DagOutcome:
    """Run a DAG to its end in a child process: no scheduler, no service.

    Args:
        dag_id: ``"ingest"`` or ``"train"``.
        conf: the run's parameters, checked against the DAG's schema.
        log_file: everything that Airflow and the libraries say is appended to it.
        settings: places and addresses; from the environment by default.
        progress: file that progress events are appended to (see :mod:`pipelines.progress`).

    Raises:
        ServiceError: Airflow's process ended without a result.
    """
    with OneProcess({dag_id: conf}, log_file, settings, progress=progress) as process:
        return process.wait()[0]


class OneProcess:
    """DAG runs in a child process, one after another up to the first that fails, to watch while they run.

    A context manager: leaving it stops the child and everything that the child started.

    Args:
        runs: parameters by DAG id, in the order to run.
        log_file: everything that Airflow and the libraries say is appended to it.
        settings: places and addresses; from the environment by default.
        progress: file that progress events are appended to.
    """

    def __init__(
        self,
        runs: Mapping[str, Mapping[str, object]],
        log_file: Path,
        settings: Settings | None = None,
        *,
        progress: Path | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._runs = [[dag_id, dict(conf)] for dag_id, conf in runs.items()]
        self._log = log_file
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._result = Path()
        self._lock: int | None = None

    def __enter__(self) -> OneProcess:
        _refuse_while_up(self._settings)
        self._lock = _only_one(self._settings)
        migrate(self._settings)
        close_abandoned(self._settings)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="outcome-", suffix=".json", dir=airflow_home(self._settings))
        os.close(handle)
        self._result = Path(name)
        extra = {PROGRESS_VARIABLE: str(self._progress)} if self._progress else {}
        command = [
            sys.executable,
            "-m",
            "pipelines.orchestration.one_process",
            json.dumps(self._runs),
            "--result",
            name,
        ]
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                command,
                env=environment(self._settings, **extra),
                cwd=self._settings.repository,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            # The child stops its running task's process group first, and needs the time for it.
            stop_group(self._process, grace_seconds=GRACE_SECONDS + 4)
        self._result.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)

    def running(self, wait_seconds: float) -> bool:
        """Whether the child still runs after at most ``wait_seconds``."""
        assert self._process is not None
        try:
            self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def wait(self) -> list[DagOutcome]:
        """Wait for the end.

        Returns:
            An outcome for each DAG that was run.

        Raises:
            ServiceError: the child ended without a result.
        """
        assert self._process is not None
        code = self._process.wait()
        text = self._result.read_text(encoding="utf-8")
        if not text:
            raise ServiceError(
                f"Airflow's process ended with status {code} and no result: "
                f"{_last_lines(self._log.read_text(encoding='utf-8', errors='replace'))}",
                mend=f"less {self._log}",
            )
        return [DagOutcome(**outcome, log=self._log) for outcome in json.loads(text)]


def _only_one(settings: Settings) -> int:
    """Hold the lock of the one-process runs; it goes with the descriptor, however this process ends.

    Raises:
        ServiceError: another one-process run is under way.
    """
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "one-process.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServiceError("another run is under way in this state folder", mend="wait until it ends") from None
    return descriptor


def _refuse_while_up(settings: Settings) -> None:
    """A scheduler on the same database would run the same tasks a second time."""
    from pipelines.orchestration.services import running

    if "scheduler" in running(settings):
        raise ServiceError(
            "Airflow's scheduler is up and would run the same tasks a second time",
            mend=f"trigger the DAG at http://127.0.0.1:{settings.airflow_port}, or: shoploom down",
        )


def close_abandoned(settings: Settings) -> int:
    """Mark as failed what a one-process run that was killed left behind as running; a scheduler would go on with it.

    Returns:
        How many DAG runs that were.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(_metadata_database(settings), poolclass=NullPool)
    abandoned = "state IN ('running', 'queued') AND triggered_by = 'TEST'"
    unfinished = "state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')"
    with engine.begin() as connection:
        connection.execute(
            text(
                f"UPDATE task_instance SET state = 'failed' WHERE ({unfinished}) AND EXISTS (SELECT 1 FROM dag_run "
                "WHERE dag_run.dag_id = task_instance.dag_id AND dag_run.run_id = task_instance.run_id "
                f"AND dag_run.{abandoned.replace('AND ', 'AND dag_run.')})"
            )
        )
        return connection.execute(text(f"UPDATE dag_run SET state = 'failed' WHERE {abandoned}")).rowcount


def _metadata_database(settings: Settings) -> str:
    if settings.database_url:
        return settings.database("airflow")
    return f"sqlite:///{airflow_home(settings) / 'airflow.db'}"


def _revision(address: str) -> str | None:
    """The schema revision of a metadata database; None when it has none."""
    if address.startswith("sqlite:///"):
        path = Path(address.removeprefix("sqlite:///"))
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
        login = address.replace("+psycopg2", "")
        with closing(psycopg2.connect(login, connect_timeout=10)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
    except psycopg2.Error:
        return None
    return str(row[0]) if row else None


def _stamp(address: str) -> dict[str, object]:
    return {"airflow": version("apache-airflow-core"), "revision": _revision(address)}


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _secret_keys(home: Path) -> dict[str, str]:
    """Keys that Airflow's processes share, made once, readable by this user alone."""
    path = home / "keys.json"
    if not path.exists():
        import base64

        home.mkdir(parents=True, exist_ok=True)
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keys = {"fernet": fernet, "api": secrets.token_hex(32), "jwt": secrets.token_hex(64)}
        write_private(path, json.dumps(keys))
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; a file that is there already stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _python_path() -> str:
    rest = os.environ.get("PYTHONPATH", "")
    return f"{PACKAGE_ROOT}{os.pathsep}{rest}" if rest else str(PACKAGE_ROOT)


def _last_lines(text: str, lines: int = 6) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
