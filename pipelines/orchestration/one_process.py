"""``python -m pipelines.orchestration.one_process RUNS --result FILE``: DAG runs, one after another, in one process.

Started by :func:`pipelines.orchestration.dag_runs.OneProcess`, which sets Airflow's environment. Tasks that are ready
run at once (:mod:`pipelines.orchestration.forked_tasks`); their starts and ends become progress events, so that whoever
started it can draw them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import write_json
from pipelines.errors import ConfigError, ShoploomError, near_names
from pipelines.orchestration.airflow import DAGS_FOLDER
from pipelines.orchestration.task_listener import task_listener
from pipelines.progress import DAG_VARIABLE

DAG_IDS = ("ingest", "monitor", "train")


def run(dag_id: str, conf: dict[str, object]) -> dict[str, object]:
    """Run one DAG.

    Returns:
        The fields of :class:`pipelines.orchestration.dag_runs.DagOutcome`, but for the log.
    """
    from airflow.sdk.exceptions import ParamValidationError

    from pipelines.orchestration.forked_tasks import returned_by

    os.environ[DAG_VARIABLE] = dag_id
    listener = task_listener()
    listener.forget()
    try:
        dag = importlib.import_module(f"dags.{dag_id}").dag
        dag_run = dag.test(run_conf=conf, use_executor=True)
    except ParamValidationError as error:
        return _not_begun(dag_id, str(error).splitlines()[0])
    except ShoploomError as error:
        return _not_begun(dag_id, str(error))
    _forget_queued_events(dag_id)
    instances = sorted(dag_run.get_task_instances(), key=lambda one: (one.start_date is None, one.start_date))
    return {
        "dag_id": dag_id,
        "run_id": dag_run.run_id,
        "state": _name(dag_run.state),
        "tasks": {one.task_id: _name(one.state) for one in instances},
        "failed_task": listener.failed_task,
        "error": listener.error,
        "returned": returned_by(dag_id, dag_run.run_id),
    }


def _not_begun(dag_id: str, error: str) -> dict[str, object]:
    """The outcome of a run that could not be made: its parameters, or the DAG's own file, are refused."""
    return {"dag_id": dag_id, "run_id": "", "state": "failed", "error": error}


def _name(state: object) -> str:
    """Airflow hands out states as enumeration members and, fresh from the database, as strings."""
    return str(getattr(state, "value", state) or "none")


def _forget_queued_events(dag_id: str) -> None:
    """Asset events that this run has answered must not start another when a scheduler comes up."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(AssetDagRunQueue).where(AssetDagRunQueue.target_dag_id == dag_id))


def run_all(runs: list[tuple[str, dict[str, object]]]) -> list[dict[str, object]]:
    """Run DAGs in order, up to the first that fails, or to a monitor that says not to train.

    Raises:
        ConfigError: a DAG id is unknown.
    """
    for dag_id, _ in runs:
        if dag_id not in DAG_IDS:
            raise ConfigError(
                f"there is no DAG {dag_id!r} in {DAGS_FOLDER}",
                mend=near_names(dag_id, DAG_IDS) or f"DAGs: {', '.join(DAG_IDS)}",
            )
    outcomes: list[dict[str, object]] = []
    for dag_id, conf in runs:
        outcomes.append(run(dag_id, conf))
        if outcomes[-1]["state"] != "success" or _is_enough(outcomes[-1]):
            break
    return outcomes


def _is_enough(outcome: Mapping[str, Any]) -> bool:
    """Whether a DAG run decided that what follows it is not wanted."""
    decision = outcome.get("returned", {}).get("decide") or {}
    return decision.get("retrain") is False


def main() -> None:
    """Run from the command line; exit status 1 when a DAG run failed."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.orchestration.one_process", description=__doc__)
    parser.add_argument(
        "runs", type=json.loads, help='DAG ids and their parameters, as JSON: [["ingest", {}], ["train", {}]]'
    )
    parser.add_argument("--result", type=Path, required=True, help="write the outcomes here, as JSON")
    chosen = parser.parse_args()
    outcomes = run_all([(str(dag_id), dict(conf)) for dag_id, conf in chosen.runs])
    write_json(outcomes, chosen.result)
    sys.exit(0 if outcomes[-1]["state"] == "success" else 1)


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
