"""Trials in the books: a parent run for a study, a child run for each trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pipelines.registry.store import connect, experiment_id, translated
from pipelines.settings import Settings
from pipelines.tuning import SHARES, Trial

_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def open_study(settings: Settings, study: str, tags: Mapping[str, str]) -> str:
    """Open the parent run of a study, or the one that an earlier call opened.

    Args:
        settings: names the store.
        study: its name.
        tags: facts about it: model, metric, data version.

    Returns:
        The MLflow run id.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client, experiment = connect(settings), experiment_id(settings)
    with translated(settings):
        found = client.search_runs([experiment], f"tags.study = '{study}'", max_results=1)
        if found:
            run_id: str = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
            return run_id
        about = {"kind": "study", "study": study, "mlflow.source.name": "shoploom tune", "mlflow.user": "shoploom"}
        created: str = client.create_run(experiment, tags={**about, **tags}, run_name=f"tune {study}").info.run_id
        return created


def log_trial(settings: Settings, parent: str, trial: Trial) -> None:
    """Log a trial as a child run: what was tried, what was measured at each share of the users, how it ended.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from mlflow.entities import Metric, Param

    client, experiment = connect(settings), experiment_id(settings)
    now = int(time.time() * 1000)
    tags = {
        "kind": "trial",
        "mlflow.parentRunId": parent,
        "mlflow.user": "shoploom",
        "pruned": str(trial.state == "pruned").lower(),
        **({"error": trial.error[:5000]} if trial.error else {}),
    }
    with translated(settings):
        started = now - int(1000 * trial.seconds)
        name = f"trial {trial.number}"
        run_id = client.create_run(experiment, start_time=started, tags=tags, run_name=name).info.run_id
        metrics = [
            Metric(metric, value, now, round(100 * share))
            for share, measures in zip(SHARES, trial.measures, strict=False)
            for metric, value in measures.items()
        ]
        client.log_batch(run_id, metrics=metrics, params=[Param(key, repr(v)) for key, v in trial.parameters.items()])
        client.set_terminated(run_id, _STATUS[trial.state], end_time=now)


def close_study(settings: Settings, parent: str, outcome: Mapping[str, Any], status: str = "FINISHED") -> None:
    """End a study's parent run with the best trial's parameters and metric as tags and metrics.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client = connect(settings)
    with translated(settings):
        for name, value in outcome.items():
            if isinstance(value, float):
                client.log_metric(parent, name, value)
            else:
                client.set_tag(parent, name, str(value))
        client.set_terminated(parent, status)
