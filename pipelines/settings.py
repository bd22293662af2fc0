"""Where things are, from the environment (``SHOPLOOM_*``). What was *chosen* is in params.yaml."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.errors import ConfigError


def _repository_root() -> Path:
    """The nearest folder, from here upwards, that holds ``dvc.yaml``; else the one this package lies in."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    return Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Places and addresses.

    Each field is read from the environment variable ``SHOPLOOM_<FIELD>``.
    """

    model_config = SettingsConfigDict(env_prefix="SHOPLOOM_", extra="ignore", frozen=True, env_ignore_empty=True)

    repository: Path = Field(default_factory=_repository_root)
    """The git repository whose ``dvc.yaml`` is run."""
    state_folder: Path | None = Field(default=None, validation_alias="SHOPLOOM_HOME")
    """All state that is not source (``SHOPLOOM_HOME``); ``.shoploom`` in the repository by default."""
    source: str = "complete_journey"
    """The source that the ingest DAG lands: a module in ``pipelines/sources``, or any by its dotted path; after a colon
    what it is given (``tabular:shop.yaml``), a path from the repository."""
    source_hosts: str = ""
    """Addresses that a mapping may read from, separated by commas: ``https://files.shop.example,s3://bucket``."""
    database_url: SecretStr | None = None
    """``postgresql://user:password@host:port/database``: Airflow and MLflow each use a database beside it."""
    remote_url: str | None = None
    """The DVC remote; a folder in the state folder by default."""
    artifacts_url: str | None = None
    """Where MLflow keeps artifacts; a folder in the state folder by default."""
    tracking_url: str | None = None
    """An MLflow server to use in place of the embedded database."""
    root_fingerprint: str | None = None
    """SHA-256 of the root key that signs the policy of approvers, as whoever checks knows it by other means."""
    notify_command: str | None = None
    """A program (and its arguments) run when a task fails; the failure comes as JSON on its standard input."""
    notify_webhook: str | None = None
    """An http(s) address that the failure is posted to as JSON."""
    airflow_port: int = Field(default=8080, ge=1, le=65535)
    """Of Airflow's API and UI on loopback, under ``shoploom up``."""
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    """Of the MLflow server on loopback, under ``shoploom up``."""
    serve_port: int = Field(default=8000, ge=1, le=65535)
    """Where ``shoploom serve`` answers, on loopback unless told otherwise."""
    state_url: SecretStr | None = None
    """What the server remembers, ``postgresql://...``; a SQLite file in the state folder by default."""
    answers_days: int = Field(default=30, ge=0, le=36_500)
    """Days that the server remembers which model answered which request; 0 keeps no such record."""
    conversations_days: int = Field(default=30, ge=1, le=36_500)
    """Days after its last turn that the server remembers a conversation."""
    rules: Path | None = None
    """A YAML file with the shop's rules for what is shown: exclude, pin, boost, caps, room for the new."""

    @cached_property
    def home(self) -> Path:
        """The state folder, absolute."""
        return (self.state_folder or self.repository / ".shoploom").expanduser().resolve()

    @cached_property
    def remote(self) -> str:
        """The DVC remote's address."""
        return self.remote_url or str(self.home / "remote")

    @property
    def serving_state(self) -> str:
        """The address of the server's state."""
        return (
            self.state_url.get_secret_value() if self.state_url else f"sqlite:///{self.home / 'serving' / 'state.db'}"
        )

    @cached_property
    def artifacts(self) -> str:
        """MLflow's artifact root."""
        return self.artifacts_url or (self.home / "mlflow" / "artifacts").as_uri()

    @property
    def tracking(self) -> str:
        """MLflow's tracking address: a server, PostgreSQL, or SQLite in the state folder."""
        if self.tracking_url:
            return self.tracking_url
        if self.database_url:
            return self.database("mlflow")
        return f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    def database(self, name: str) -> str:
        """The SQLAlchemy address of one of the databases beside ``database_url``: ``<database>_<name>``.

        Raises:
            ConfigError: no PostgreSQL address is set.
        """
        if self.database_url is None:
            raise ConfigError("no database is set", mend="export SHOPLOOM_DATABASE_URL=postgresql://...")
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(self.database_url.get_secret_value())
        except (ArgumentError, ValueError):
            raise ConfigError(
                "SHOPLOOM_DATABASE_URL is not an address",
                mend="unset it to use SQLite, or set postgresql://user:password@host:port/database",
            ) from None
        if url.get_backend_name() != "postgresql":
            raise ConfigError(
                f"SHOPLOOM_DATABASE_URL names {url.get_backend_name()!r}; only PostgreSQL is supported",
                mend="unset it to use SQLite, or set postgresql://user:password@host:port/database",
            )
        url = url.set(drivername="postgresql+psycopg2", database=f"{url.database or 'shoploom'}_{name}")
        return url.render_as_string(hide_password=False)


def sqlite_file(address: str) -> Path | None:
    """The file that an SQLAlchemy address of SQLite names; None for any other address."""
    prefix = "sqlite:///"
    return Path(address.removeprefix(prefix)) if address.startswith(prefix) else None


def child_environment(settings: Settings, **extra: str) -> dict[str, str]:
    """The environment for a process that shoploom starts: this Python first on the path, no telemetry."""
    environment = dict(os.environ)
    environment.update(NO_TELEMETRY)
    # Threads that spin at OpenMP barriers make two busy processes on two cores five times slower, not two.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["SHOPLOOM_HOME"] = str(settings.home)
    environment["SHOPLOOM_REPOSITORY"] = str(settings.repository)
    if settings.tracking_url:
        environment["SHOPLOOM_TRACKING_URL"] = settings.tracking_url
    if settings.state_url:
        environment["SHOPLOOM_STATE_URL"] = settings.state_url.get_secret_value()
    environment.update(extra)
    return environment


NO_TELEMETRY = {
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
"""Switches that keep every dependency from calling home; a test that refuses outbound sockets holds them."""
