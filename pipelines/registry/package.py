"""Register a package: an MLflow model made from code, explicit requirements, one version per digest."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import RegistryError
from pipelines.registry.digests import package_digest, plain_files
from pipelines.registry.promotion import PACKAGE_PATH
from pipelines.registry.store import MODEL, connect, experiment_id, translated
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVING_REQUIREMENTS = (
    "bm25s",
    "faiss-cpu",
    "lightgbm",
    "mlflow",
    "numpy",
    "openvino",
    "pandas",
    "pyarrow",
    "rapidfuzz",
    "safetensors",
    "scipy",
    "tokenizers",
)
"""The distributions that the served model imports; their versions come from requirements.lock."""

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill", ".pt", ".pth")


@dataclass(frozen=True)
class RunInfo:
    """Where a package comes from.

    Args:
        parent_run_id: the run in the books.
        run_commit: of the finished run.
        data_version: the data commit.
        code_commit: the code commit.
    """

    parent_run_id: str
    run_commit: str
    data_version: str
    code_commit: str = ""


@dataclass(frozen=True)
class Version:
    """A version of the registered model.

    Args:
        version: its number, as MLflow spells it.
        digest: of its package.
        created: False when a version with the same package was there already.
    """

    version: str
    digest: str
    created: bool


def register(settings: Settings, package_dir: Path, evaluate_dir: Path, run_info: RunInfo) -> Version:
    """Register the package of a run, or find the version that already holds these very bytes.

    Args:
        settings: names the registry.
        package_dir: the ``package`` stage's output.
        evaluate_dir: the ``evaluate`` stage's output; its headline metrics become tags of the version.
        run_info: where the package comes from.

    Raises:
        RegistryError: MLflow does not answer, the package is missing, holds a link or a pickle, or the lock lacks a
            distribution that serving needs.
    """
    digest = package_digest(package_dir)
    refuse_pickles(plain_files(package_dir))
    client = connect(settings)
    with translated(settings):
        found = _version_of(client, digest)
        if found is not None:
            client.set_tag(run_info.parent_run_id, "model_version", found)
            return Version(found, digest, created=False)
        model_id = _log_model(settings, client, package_dir, run_info)
        _ensure_registered_model(client)
        tags = {"package_digest": digest, **_run_tags(run_info), **_metric_tags(evaluate_dir)}
        version = client.create_model_version(
            MODEL, source=f"models:/{model_id}", run_id=run_info.parent_run_id, tags=tags, model_id=model_id
        )
        client.set_tag(run_info.parent_run_id, "model_version", str(version.version))
    return Version(str(version.version), digest, created=True)


def locked_versions(lock: Path, names: Iterable[str]) -> list[str]:
    """Pinned requirements of just these distributions.

    Args:
        lock: ``requirements.lock``, as pip and uv write it; lines for another Python or platform are passed over.
        names: distributions, in their normalised names.

    Returns:
        ``["numpy==2.4.6", ...]`` in the order of ``names``.

    Raises:
        RegistryError: the lock is missing or pins no version of one of them.
    """
    from packaging.markers import Marker
    from packaging.utils import canonicalize_name

    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RegistryError(f"{lock} does not exist", mend="git checkout -- requirements.lock") from None
    pinned = {
        canonicalize_name(name): version
        for name, version, marker in re.findall(
            r"^([\w.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", text, flags=re.MULTILINE
        )
        if not marker or Marker(marker.strip()).evaluate()
    }
    missing = [name for name in names if canonicalize_name(name) not in pinned]
    if missing:
        raise RegistryError(f"{lock} pins no version of {', '.join(missing)}", mend="make lock")
    return [f"{name}=={pinned[canonicalize_name(name)]}" for name in names]


def refuse_pickles(files: Iterable[Path]) -> None:
    """Check names and first bytes of files.

    Raises:
        RegistryError: one is a pickle; it is named.
    """
    for file in files:
        with file.open("rb") as content:
            head = content.read(2)
        if file.suffix in PICKLE_SUFFIXES or (head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")):
            raise RegistryError(f"{file} is a pickle, which can carry code", mend="save safetensors, JSON or Parquet")


def model_signature() -> Any:
    """The signature of the registered model."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "task"),
                ColSpec(DataType.string, "user_id", required=False),
                ColSpec(DataType.string, "query", required=False),
                ColSpec(DataType.long, "k", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.long, "position"),
                ColSpec(DataType.string, "item_id"),
                ColSpec(DataType.string, "title"),
                ColSpec(DataType.double, "score"),
            ]
        ),
    )


def _log_model(settings: Settings, client: MlflowClient, package_dir: Path, run_info: RunInfo) -> str:
    """Save the model and log it under the run; returns the logged model's id."""
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from pipelines.registry.code_closure import copy_closure

    requirements = locked_versions(settings.repository / "requirements.lock", SERVING_REQUIREMENTS)
    logged = client.create_logged_model(
        experiment_id(settings), name=MODEL, source_run_id=run_info.parent_run_id, tags=_run_tags(run_info)
    )
    try:
        with tempfile.TemporaryDirectory(prefix="shoploom-register-") as folder:
            code = copy_closure(MODEL_CODE, MODEL_CODE.parents[2], Path(folder) / "code")
            package = Path(folder) / Path(PACKAGE_PATH).name
            shutil.copytree(package_dir, package, copy_function=_link)
            saved = Path(folder) / "model"
            mlflow.pyfunc.save_model(
                path=str(saved),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    run_id=run_info.parent_run_id,
                    model_id=logged.model_id,
                ),
                python_model=str(MODEL_CODE),
                artifacts={package.name: str(package)},
                code_paths=[str(code)],
                pip_requirements=requirements,
                signature=model_signature(),
                input_example=_input_example(),
            )
            client.log_model_artifacts(logged.model_id, str(saved))
        client.finalize_logged_model(logged.model_id, "READY")
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.log_outputs(run_info.parent_run_id, [LoggedModelOutput(logged.model_id, step=0)])
    identifier: str = logged.model_id
    return identifier


def _link(source: str, destination: str) -> None:
    """A second name for a file that is only read; a copy where the file system has no hard links."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def _input_example() -> Any:
    """A request; none names a user, because nothing here knows a user's own id."""
    import pandas as pd

    return pd.DataFrame([{"task": "search", "user_id": None, "query": "dark chocolate", "k": 5}])


def _version_of(client: MlflowClient, digest: str) -> str | None:
    """The first version that holds a package with this digest."""
    found = client.search_model_versions(f"name = '{MODEL}' and tags.package_digest = '{digest}'")
    return str(min(found, key=lambda version: int(version.version)).version) if found else None


def _ensure_registered_model(client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL, description="shoploom's search and recommendation model")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _run_tags(run_info: RunInfo) -> dict[str, str]:
    return {
        "run_commit": run_info.run_commit,
        "data_version": run_info.data_version,
        "code_commit": run_info.code_commit,
    }


def _metric_tags(evaluate_dir: Path) -> dict[str, str]:
    """The candidate's headline metrics, so that versions can be compared in a listing."""
    from pipelines.artifacts import read_json
    from pipelines.registry.gate_verdict import CANDIDATE

    row = read_json(evaluate_dir / "metrics.json").get("models", {}).get(CANDIDATE, {})
    return {name: f"{value:.6f}" for name, value in row.items() if isinstance(value, float)}
