"""Airflow, configured by environment alone: no ``airflow.cfg`` is edited, no service needs to run.

On its own, shoploom runs a DAG to its end in one process and its forks, on SQLite; with services up, or a PostgreSQL
address set, the same environment drives the scheduler, the DAG processor and the API server.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from pipelines.errors import ServiceError
from pipelines.orchestration import airflow_database
from pipelines.settings import Settings, child_environment

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
DAGS_FOLDER = PACKAGE_ROOT / "dags"
PARALLEL_TASKS = 2
ADMIN = "admin"


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
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_database(settings),
        "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
        # A fresh API server takes longer than the default five seconds over its first answer when all cores are busy.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "PYTHONPATH": _python_path(),
    }
    if not settings.database_url:
        patient = f"{airflow_database.__name__}.CONNECT_ARGS"
        variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS"] = patient
        variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC"] = patient
    return child_environment(settings, **variables, **extra)


def metadata_database(settings: Settings) -> str:
    """The SQLAlchemy address of Airflow's own database."""
    if settings.database_url:
        return settings.database("airflow")
    return f"sqlite:///{airflow_home(settings) / 'airflow.db'}"


def _secret_keys(home: Path) -> dict[str, str]:
    """Keys that Airflow's processes share, made once, readable by this user alone."""
    path = home / "keys.json"
    if not path.exists():
        import base64

        home.mkdir(parents=True, exist_ok=True)
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keys = {"fernet": fernet, "api": secrets.token_hex(32), "jwt": secrets.token_hex(64)}
        write_private(path, json.dumps(keys))
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(found[name]) for name in ("fernet", "api", "jwt")}
    except (ValueError, KeyError, TypeError):
        raise ServiceError(f"{path} does not hold Airflow's keys", mend=f"shoploom down; rm {path}") from None


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
