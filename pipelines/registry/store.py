"""MLflow's stores: which database and artifact root, opened once a process, nothing reported home.

Nothing here touches MLflow's global state (active run, active experiment), so tasks of one process cannot meet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.errors import RegistryError
from pipelines.settings import NO_TELEMETRY, Settings, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "shoploom"
"""The experiment that holds every run."""
MODEL = "shoploom"
"""The registered model."""
CHAMPION = "champion"
"""Alias of the version that is served."""
PREVIOUS = "previous"
"""Alias of the version that was champion before it."""

_clients: dict[str, Any] = {}


def connect(settings: Settings) -> MlflowClient:
    """Open the tracking store and the registry of ``settings``, creating the embedded database where it is missing.

    Raises:
        RegistryError: the database or server does not answer; the message names its address without a password.
    """
    address = settings.tracking
    if address in _clients and not _vanished(address):
        client: MlflowClient = _clients[address]
        return client
    _prepare_environment()
    embedded = sqlite_file(address)
    if embedded is not None:
        embedded.parent.mkdir(parents=True, exist_ok=True)
    _refuse_silent(address)
    with translated(settings):
        import mlflow

        mlflow.set_tracking_uri(address)
        mlflow.set_registry_uri(address)
        client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
        client.get_experiment_by_name(EXPERIMENT)
    _clients[address] = client
    return client


def experiment_id(settings: Settings, name: str = EXPERIMENT) -> str:
    """The id of an experiment, made with the artifact root of ``settings`` on first use."""
    client = connect(settings)
    with translated(settings):
        found = client.get_experiment_by_name(name)
        if found is None:
            return _create_experiment(client, settings, name)
        identifier: str = found.experiment_id
        return identifier


def public_address(address: str) -> str:
    """``address`` with any password left out, fit for messages."""
    parts = urlsplit(address)
    if not parts.password:
        return address
    return address.replace(f":{parts.password}@", ":***@", 1)


@contextmanager
def translated(settings: Settings) -> Iterator[None]:
    """Turn MLflow's and the database's errors into a RegistryError that names the store.

    Raises:
        RegistryError: whatever MLflow or the database raised inside.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        address = public_address(settings.tracking)
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise RegistryError(
            f"MLflow at {address}: {reason}", mend="shoploom doctor says what does not answer"
        ) from error


def existing(client: MlflowClient, version: str) -> Any:
    """The registered version ``version``.

    Raises:
        RegistryError: there is no such version; the message lists those that are.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(MODEL, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = sorted((int(v.version) for v in client.search_model_versions(f"name='{MODEL}'")), reverse=True)[:10]
        listed = f"there are {', '.join(map(str, known))}" if known else "shoploom run registers the first"
        raise RegistryError(f"model {MODEL} has no version {version!r}", mend=listed) from None


def at_alias(client: MlflowClient, alias: str) -> Any | None:
    """The version that ``alias`` points at, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(MODEL, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _prepare_environment() -> None:
    """Switch telemetry and prompts of MLflow off for this process; must come before MLflow is imported."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def _create_experiment(client: MlflowClient, settings: Settings, name: str) -> str:
    from mlflow.exceptions import MlflowException

    server_decides = settings.tracking_url is not None and settings.artifacts_url is None
    root = None if server_decides else settings.artifacts
    try:
        created: str = client.create_experiment(name, artifact_location=root)
        return created
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = client.get_experiment_by_name(name)
        assert found is not None
        identifier: str = found.experiment_id
        return identifier


def _refuse_silent(address: str) -> None:
    """Knock before MLflow does: it would try a port where nobody listens for minutes.

    Raises:
        RegistryError: no connection within five seconds, or no address that one could be made to.
    """
    import socket

    parts = urlsplit(address)
    if not parts.hostname:
        return
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 5432)
    except ValueError as error:
        raise RegistryError(
            f"MLflow at {public_address(address)}: {error}", mend="export SHOPLOOM_TRACKING_URL=http://host:port"
        ) from error
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise RegistryError(
            f"MLflow at {public_address(address)} does not answer: {reason}",
            mend="shoploom up starts it; shoploom doctor says which address is set",
        ) from error


def _vanished(address: str) -> bool:
    """Whether an embedded database was removed since it was opened."""
    embedded = sqlite_file(address)
    return embedded is not None and not embedded.exists()
