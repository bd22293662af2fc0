"""The monitor's decisions in MLflow: an experiment of its own, a run for each, its numbers and its plot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.registry.books import numbers
from pipelines.registry.store import connect, experiment_id, translated
from pipelines.registry.summary import read_artifact
from pipelines.settings import Settings

MONITOR = "monitor"
"""The experiment."""
DECISION_FILE = "decision.json"
_LONGEST = 5000


def record_decision(
    settings: Settings, decision: Mapping[str, Any], plot: Path | None, docs: Path | None = None
) -> str:
    """Log one decision.

    Args:
        settings: names the store.
        decision: ``data_version``, ``champion`` (a version or None), ``rule``, ``retrain``, ``why`` and ``windows``
            (oldest first: ``partition``, ``measures``, ``breached``).
        plot: a picture of the windows; None where there is none.
        docs: the first page of the load's Data Docs, for the tag ``data_docs``.

    Returns:
        The MLflow run's id.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from mlflow.entities import Metric

    client = connect(settings)
    experiment = experiment_id(settings, MONITOR)
    windows = decision["windows"]
    newest = windows[-1] if windows else {"partition": "", "measures": {}, "breached": []}
    tags = {
        "kind": "decision",
        "data_version": decision["data_version"],
        "champion": decision["champion"] or "",
        "rule": decision["rule"],
        "retrain": "true" if decision["retrain"] else "false",
        "why": decision["why"][:_LONGEST],
        "partition": newest["partition"],
        "mlflow.user": "shoploom",
        "mlflow.source.name": "dags/monitor.py",
    }
    if docs is not None:
        tags["data_docs"] = str(docs)
    now = int(time.time() * 1000)
    with translated(settings):
        name = newest["partition"] or decision["data_version"][:12]
        run: str = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        measured = numbers(newest["measures"]) | {
            "retrain": float(decision["retrain"]),
            "windows_breached": float(sum(bool(window["breached"]) for window in windows)),
        }
        client.log_batch(run, metrics=[Metric(name, value, now, 0) for name, value in measured.items()])
        client.log_dict(run, dict(decision), DECISION_FILE)
        if plot is not None:
            client.log_artifact(run, str(plot))
        client.set_terminated(run)
    return run


def last_decisions(settings: Settings, count: int) -> list[dict[str, Any]]:
    """The newest decisions, newest first, each as it was recorded, with ``when`` (milliseconds) and ``run``.

    Raises:
        RegistryError: MLflow does not answer, or a decision is damaged.
    """
    client = connect(settings)
    experiment = experiment_id(settings, MONITOR)
    with translated(settings):
        runs = client.search_runs(
            [experiment],
            "tags.kind = 'decision' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=count,
        )
        found = []
        for run in runs:
            document = read_artifact(client, run.info.run_id, DECISION_FILE)
            if document is not None:
                found.append({**document, "when": run.info.start_time, "run": run.info.run_id})
    return found
