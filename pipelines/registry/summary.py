"""What a run came to: the document behind ``shoploom status --json``, kept as the run's ``summary.json``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import read_json
from pipelines.errors import DataError, RegistryError
from pipelines.registry.books import stage_runs
from pipelines.registry.gate_verdict import VERDICT_FILE, VERDICT_PAGE
from pipelines.registry.promotion import champion, previous_champion
from pipelines.registry.store import connect, experiment_id, translated
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

SUMMARY_FILE = "summary.json"
MODEL_METRICS = ("ndcg_at_10", "ndcg_at_10_new", "recall_at_10", "map_at_10", "coverage_at_10")


def summarise(settings: Settings, parent_run_id: str, **facts: Any) -> dict[str, Any]:
    """Gather a run's summary from the books and keep it there.

    Args:
        settings: names the store.
        parent_run_id: of a run whose stages are booked.
        facts: further top-level entries, for instance ``promoted=True``.

    Returns:
        ``data_version``, ``run`` (DAG run id, MLflow run id, run commit, model version, report, verdict), ``champion``
        (version, run_commit, digest, data_version, previous) or None, ``gate`` (the verdict) or None, ``rows``
        (accepted, quarantined, tables), ``stages`` (name -> seconds, cached, made_by), ``models`` (name -> kind and
        the five metrics), and ``facts``. Everything is JSON.

    Raises:
        RegistryError: MLflow does not answer or does not know the run.
    """
    client = connect(settings)
    stages = stage_runs(settings, parent_run_id)
    with translated(settings):
        parent = client.get_run(parent_run_id)
        tags = parent.data.tags
        summary: dict[str, Any] = {
            "data_version": tags.get("data_version") or None,
            "run": {
                "dag_run_id": tags.get("dag_run_id"),
                "mlflow_run_id": parent_run_id,
                "run_commit": tags.get("run_commit") or None,
                "start_commit": tags.get("start_commit") or None,
                "code_dirty": tags.get("dirty") == "true",
                "model_version": tags.get("model_version") or None,
                "report": f"{parent.info.artifact_uri}/report.html",
                "verdict": f"{parent.info.artifact_uri}/{VERDICT_PAGE}",
            },
            "champion": champion_entry(settings),
            "gate": read_artifact(client, parent_run_id, VERDICT_FILE),
            "rows": _rows(_metrics_of(client, stages.get("validate"), "report.json")),
            "stages": {name: _stage(run.data.tags) for name, run in stages.items()},
            "models": _models(_metrics_of(client, stages.get("evaluate"), "metrics.json")),
            **facts,
        }
        client.log_dict(parent_run_id, summary, SUMMARY_FILE)
        client.set_tag(parent_run_id, "summary", "true")
    return summary


def latest_summary(settings: Settings) -> dict[str, Any] | None:
    """The summary of the last run that has one, with the champion as it is now; None before the first run.

    Raises:
        RegistryError: MLflow does not answer, or the summary is lost or damaged.
    """
    client = connect(settings)
    experiment = experiment_id(settings)
    with translated(settings):
        runs = client.search_runs(
            [experiment],
            "tags.kind = 'run' and tags.summary = 'true'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        summary = read_artifact(client, runs[0].info.run_id, SUMMARY_FILE) if runs else None
    if not runs:
        return None
    if summary is None:
        raise RegistryError(
            f"the summary of run {runs[0].info.run_id} is not among its artifacts in {runs[0].info.artifact_uri}",
            mend="bring the artifacts back, or make new ones: shoploom run",
        )
    return {**summary, "champion": champion_entry(settings)}


def champion_entry(settings: Settings) -> dict[str, Any] | None:
    """The champion as the summary spells it, or None."""
    holder = champion(settings)
    if holder is None:
        return None
    earlier = previous_champion(settings)
    return {
        "version": holder.version,
        "run_commit": holder.run or None,
        "digest": holder.digest,
        "data_version": holder.data_version or None,
        "previous": earlier.version if earlier else None,
        "override": holder.override or None,
    }


def _stage(tags: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"seconds": float(tags.get("seconds", 0.0)), "cached": tags.get("cached") == "true"}
    if entry["cached"]:
        entry["made_by"] = tags.get("made_by")
    return entry


def _rows(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Accepted and quarantined rows, in all and by table."""
    tables = (report or {}).get("tables") or {}
    counted = {
        name: {key: int(table.get(key, 0)) for key in ("accepted", "quarantined")} for name, table in tables.items()
    }
    return {
        "accepted": sum(table["accepted"] for table in counted.values()),
        "quarantined": sum(table["quarantined"] for table in counted.values()),
        "tables": counted,
    }


def _models(metrics: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Kind and headline metrics of every model and baseline."""
    models = (metrics or {}).get("models") or {}
    return {
        name: {"kind": row.get("kind"), **{metric: row.get(metric) for metric in MODEL_METRICS}}
        for name, row in models.items()
    }


def _metrics_of(client: MlflowClient, run: Any | None, name: str) -> Any | None:
    """A stage's metrics document, as it was booked."""
    return None if run is None else read_artifact(client, run.info.run_id, f"metrics/{name}")


def read_artifact(client: MlflowClient, run_id: str, path: str) -> Any | None:
    """A JSON artifact of a run, or None when the run has none of that name.

    Raises:
        RegistryError: it is not JSON.
    """
    folder, _, _ = path.rpartition("/")
    if path not in {found.path for found in client.list_artifacts(run_id, folder or None)}:
        return None
    with tempfile.TemporaryDirectory() as destination:
        fetched = Path(client.download_artifacts(run_id, path, destination))
        try:
            return read_json(fetched)
        except DataError as error:
            raise damaged(path, run_id, error) from error


def damaged(path: str, run_id: str, error: DataError) -> RegistryError:
    """The error to raise for an artifact of a run that is not JSON."""
    return RegistryError(
        f"artifact {path} of run {run_id} is damaged: {error.__cause__}",
        mend="bring the artifact back, or make a new one: shoploom run",
    )
