"""The books: one parent run per DAG run, one child run per stage, everything under the hash it has in DVC.

train 2017-12-31  (parent: start commit, code, data, verdict, summary.json)
├── validate      params · metrics · plots · lock.json · inputs with DVC hashes
├── train_x       the same, and the curves of its training: a metric a step, and a picture
├── embed         cached=true, made_by=<the run that made it>
└── ...
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.artifacts import read_json
from pipelines.errors import RegistryError
from pipelines.machine import describe_machine
from pipelines.registry.store import connect, experiment_id, translated
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

_MOST_METRICS = 300
"""Numbers logged per stage; what lies deeper is in the metrics file, which is an artifact."""
_LONGEST_VALUE = 5000
_DIGEST_WIDTH = 36


@dataclass(frozen=True)
class RunStart:
    """What a training run starts from.

    Args:
        dag_run_id: Airflow's id of the run; the same id opens the same parent run again.
        start_commit: the merge of code and data.
        code_commit: its first parent.
        data_commit: its second parent, the data version.
        dirty: whether the code parent is a snapshot of an unclean tree.
    """

    dag_run_id: str
    start_commit: str
    code_commit: str = ""
    data_commit: str = ""
    dirty: bool = False


def open_run(settings: Settings, start: RunStart) -> str:
    """Open the parent run of a DAG run, or find the one that an earlier attempt opened.

    Returns:
        The MLflow run id.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client = connect(settings)
    experiment = experiment_id(settings)
    with translated(settings):
        opened = client.search_runs([experiment], f"tags.dag_run_id = '{_quoted(start.dag_run_id)}'", max_results=1)
        if opened:
            found: str = opened[0].info.run_id
            client.update_run(found, status="RUNNING")
            return found
        tags = {
            "kind": "run",
            "dag_run_id": start.dag_run_id,
            "start_commit": start.start_commit,
            "code_commit": start.code_commit,
            "data_version": start.data_commit,
            "dirty": _flag(start.dirty),
            "mlflow.source.git.commit": start.code_commit or start.start_commit,
            "mlflow.source.name": "dvc.yaml",
            "mlflow.user": "shoploom",
        }
        run = client.create_run(experiment, tags=tags, run_name=start.dag_run_id)
        created: str = run.info.run_id
        return created


def book_stage(settings: Settings, parent_run_id: str, stage: str, result: Mapping[str, Any], worktree: Path) -> str:
    """Log one finished stage as a child run.

    Args:
        settings: names the store.
        parent_run_id: from :func:`open_run`.
        stage: its name in ``dvc.yaml``.
        result: what the stage runner wrote: ``lock_entry`` (deps, params and outs with hashes), ``cached``,
            ``seconds``, and ``error`` of a stage that failed (logged as a failed run).
        worktree: where the stage ran; its declared metrics and plots are read there.

    Returns:
        The child run's id; booking the same result again returns the same run.

    Raises:
        RegistryError: MLflow does not answer, or there is no such parent run.
        DataError: a metrics file of the stage is not JSON; the child run is closed as failed.
    """
    from pipelines.registry.curves import log_curves

    client = connect(settings)
    experiment = experiment_id(settings)
    lock = dict(result.get("lock_entry") or {})
    failed = bool(result.get("error"))
    cached = bool(result.get("cached")) and not failed
    outputs = output_hash(stage, lock)
    with translated(settings):
        again = None if failed else _booked(client, experiment, parent_run_id, stage, outputs)
        if again:
            return again
        tags = {
            "kind": "stage",
            "stage": stage,
            "mlflow.parentRunId": parent_run_id,
            "mlflow.source.name": str(lock.get("cmd", stage)),
            "mlflow.user": "shoploom",
            "cached": _flag(cached),
            "seconds": f"{float(result.get('seconds') or 0.0):.3f}",
            **{f"machine.{name}": value for name, value in describe_machine().items()},
        }
        if not failed:
            tags["output_hash"] = outputs
        if cached:
            tags["made_by"] = maker(client, experiment, stage, outputs)
        if failed:
            tags["error"] = str(result["error"])[:_LONGEST_VALUE]
        ended = int(time.time() * 1000)
        started = ended - int(1000 * float(result.get("seconds") or 0.0))
        run_id: str = client.create_run(experiment, start_time=started, tags=tags, run_name=stage).info.run_id
        try:
            _log_contents(client, run_id, stage, lock, worktree)
            if not cached:
                log_curves(client, run_id, settings.home / "side" / stage)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FAILED" if failed else "FINISHED", end_time=ended)
    return run_id


def close_run(settings: Settings, parent_run_id: str, status: Status = "FINISHED", **tags: str) -> None:
    """End the parent run.

    Args:
        settings: names the store.
        parent_run_id: from :func:`open_run`.
        status: how it ended.
        tags: further facts, for instance ``run_commit``.

    Raises:
        RegistryError: MLflow does not answer, or there is no such run.
    """
    client = connect(settings)
    with translated(settings):
        for name, value in tags.items():
            client.set_tag(parent_run_id, name, value)
        client.set_terminated(parent_run_id, status)


def tag_run(settings: Settings, run_id: str, **tags: str) -> None:
    """Set tags on a run, for instance ``run_commit`` once it is known."""
    client = connect(settings)
    with translated(settings):
        for name, value in tags.items():
            client.set_tag(run_id, name, value)


def stage_runs(settings: Settings, parent_run_id: str) -> dict[str, Any]:
    """The latest finished child run of every stage of a parent, as MLflow ``Run`` objects by stage name."""
    client = connect(settings)
    experiment = experiment_id(settings)
    with translated(settings):
        runs = client.search_runs(
            [experiment],
            f"tags.mlflow.parentRunId = '{_quoted(parent_run_id)}' and tags.kind = 'stage'",
            order_by=["attributes.start_time ASC"],
        )
    return {run.data.tags["stage"]: run for run in runs if run.info.status == "FINISHED"}


def output_hash(stage: str, lock_entry: Mapping[str, Any]) -> str:
    """SHA-256 over a stage's outputs, as its lock entry names them: equal outputs, equal hash."""
    outputs = sorted((out["path"], _dvc_hash(out)) for out in lock_entry.get("outs") or [])
    return hashlib.sha256(json.dumps([stage, outputs]).encode()).hexdigest()


def maker(client: MlflowClient, experiment: str, stage: str, outputs: str) -> str:
    """The id of the run that computed these outputs, or ``unknown`` when it is not in these books."""
    found = client.search_runs(
        [experiment],
        f"tags.stage = '{_quoted(stage)}' and tags.output_hash = '{outputs}' and tags.cached = 'false'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return found[0].info.run_id if found else "unknown"


def flatten(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of nested JSON as ``("models/rank/ndcg_at_10", 0.48)``; lists keep their index."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}/{index}")
    else:
        yield prefix, value


def numbers(document: object) -> dict[str, float]:
    """The finite numbers of a metrics document, shallowest first, at most 300, under names that MLflow accepts."""
    leaves = [
        (name, float(value))
        for name, value in flatten(document)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    ]
    leaves.sort(key=lambda leaf: (leaf[0].count("/"), leaf[0]))
    return {_metric_name(name): value for name, value in leaves[:_MOST_METRICS]}


def _booked(client: MlflowClient, experiment: str, parent: str, stage: str, outputs: str) -> str | None:
    """The child run that an earlier attempt booked for the same outputs."""
    found = client.search_runs(
        [experiment],
        f"tags.mlflow.parentRunId = '{_quoted(parent)}' and tags.stage = '{_quoted(stage)}' "
        f"and tags.output_hash = '{outputs}' and attributes.status = 'FINISHED'",
        max_results=1,
    )
    return found[0].info.run_id if found else None


def _log_contents(client: MlflowClient, run_id: str, stage: str, lock: Mapping[str, Any], worktree: Path) -> None:
    """Params, metrics, inputs and artifacts of one stage."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    declared = _declaration(worktree, stage)
    metrics: dict[str, float] = {}
    for path in _existing(worktree, declared, "metrics", (".json",)):
        metrics |= numbers(read_json(path))
        client.log_artifact(run_id, str(path), "metrics")
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        params=[Param(name, value) for name, value in _params(lock)],
    )
    inputs = _inputs(lock)
    if inputs:
        _log_inputs(client, run_id, inputs)
    for path in _existing(worktree, declared, "plots", (".png", ".svg", ".html")):
        client.log_artifact(run_id, str(path), "plots")
    client.log_dict(run_id, {"stage": stage, **lock}, "lock.json")


def _log_inputs(client: MlflowClient, run_id: str, inputs: list[Any]) -> None:
    """Log dataset inputs; of parallel stages that are first to read the same data, the later must insert again."""
    from mlflow.exceptions import MlflowException

    for attempt in range(3):
        try:
            client.log_inputs(run_id, inputs)
            return
        except MlflowException:
            if attempt == 2:
                raise


def _params(lock: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The stage's params as its lock entry pins them: what it really read."""
    pinned: dict[str, str] = {}
    for values in (lock.get("params") or {}).values():
        for name, value in flatten(values):
            text = value if isinstance(value, str) else json.dumps(value)
            pinned[_metric_name(name.replace("/", "."))] = text[:_LONGEST_VALUE]
    return sorted(pinned.items())


def _inputs(lock: Mapping[str, Any]) -> list[Any]:
    """The stage's data dependencies as MLflow dataset inputs; the digest is DVC's hash."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for dep in lock.get("deps") or []:
        if not str(dep["path"]).startswith("data/"):
            continue
        dataset = Dataset(
            name=str(dep["path"]),
            digest=_dvc_hash(dep)[:_DIGEST_WIDTH],
            source_type="dvc",
            source=json.dumps({"path": dep["path"], "hash": dep.get("hash", "md5"), "digest": _dvc_hash(dep)}),
            profile=json.dumps({name: dep[name] for name in ("size", "nfiles") if name in dep}),
        )
        found.append(DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "input")]))
    return found


def _dvc_hash(entry: Mapping[str, Any]) -> str:
    """The content hash of a ``deps`` or ``outs`` entry."""
    return str(entry.get(str(entry.get("hash", "md5"))) or entry.get("md5") or entry.get("etag") or "")


def _declaration(worktree: Path, stage: str) -> Mapping[str, Any]:
    """The stage's entry in the worktree's ``dvc.yaml``, or an empty one where there is none."""
    import yaml

    try:
        document = yaml.safe_load((worktree / "dvc.yaml").read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    declared: Mapping[str, Any] = (document.get("stages") or {}).get(stage) or {}
    return declared


def _existing(worktree: Path, declared: Mapping[str, Any], key: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files declared under ``key`` that are there; folders give their files of these suffixes."""
    found: list[Path] = []
    for entry in declared.get(key) or []:
        path = worktree / (next(iter(entry)) if isinstance(entry, Mapping) else str(entry))
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in candidates if file.is_file() and file.suffix in suffixes]
    return found


def _metric_name(name: str) -> str:
    """``name`` with what MLflow refuses replaced by an underscore."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)[:250]


def _quoted(value: str) -> str:
    """``value`` for use inside single quotes of an MLflow filter.

    Raises:
        RegistryError: it holds a quote, which the filter language cannot carry.
    """
    if "'" in value or "\\" in value:
        raise RegistryError(f"{value!r} cannot be looked up", mend="use an id without quotes or backslashes")
    return value


def _flag(value: bool) -> str:
    return "true" if value else "false"
