"""``shoploom run``, ``ingest`` and ``train``: a DAG to its end in one process, watched by a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipelines.errors import RegistryError
from pipelines.orchestration.airflow import DagOutcome, OneProcess
from pipelines.orchestration.ask import examples
from pipelines.orchestration.display import Display
from pipelines.settings import Settings


def run_all(settings: Settings, *, until: date | None = None, quiet: bool = False) -> dict[str, Any]:
    """Land what is new up to ``until``, train on it, gate and promote.

    Args:
        settings: places and addresses.
        until: last day to land; everything the source has by default.
        quiet: draw nothing.

    Returns:
        The summary of the run; see :mod:`pipelines.registry.summary`.

    Raises:
        StageError: a task failed; the message is the task's own.
    """
    ingest_range(settings, None, until, quiet=quiet)
    return train_latest(settings, quiet=quiet)


def ingest_range(settings: Settings, start: date | None, end: date | None, *, quiet: bool = False) -> dict[str, Any]:
    """Land the days from ``start`` to ``end`` and version them.

    Returns:
        What the task ``version`` returned: the data version and the partitions that changed.
    """
    conf = {name: day.isoformat() for name, day in (("from", start), ("to", end)) if day is not None}
    outcome = _watch(settings, "ingest", conf, "land, validate and version the data", quiet)
    returned = outcome.returned.get("version")
    return dict(returned) if isinstance(returned, Mapping) else {"result": returned}


def train_latest(settings: Settings, *, quiet: bool = False) -> dict[str, Any]:
    """Train on the newest data version, gate and promote.

    Returns:
        The summary of the run, with ``examples`` (a search, a user's recommendations) and ``look`` (where to go on).

    Raises:
        StageError: a task failed; the message is the task's own.
    """
    from pipelines.registry.summary import latest_summary

    _watch(settings, "train", {}, "train, evaluate, gate and promote", quiet)
    summary = latest_summary(settings)
    if summary is None:
        raise RegistryError("the run ended, but MLflow holds no summary of it", mend="shoploom doctor")
    if summary["champion"]:
        summary["examples"] = examples(settings)
    return summary | {"look": _where_to_look(settings, summary)}


def _where_to_look(settings: Settings, summary: Mapping[str, Any]) -> dict[str, str]:
    return {
        "search": 'shoploom search "frozen pizza"',
        "report": str(summary["run"]["report"]).removeprefix("file://"),
        "data docs": str(settings.home / "side" / "validate" / "data_docs" / "index.html"),
        "MLflow": f"shoploom up, then http://127.0.0.1:{settings.mlflow_port}",
        "lineage": f"git log --graph {summary['run']['run_commit'] or summary['run']['start_commit']}",
    }


def _watch(settings: Settings, dag_id: str, conf: Mapping[str, object], title: str, quiet: bool) -> DagOutcome:
    """Run one DAG, drawing its progress; raise when it failed."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    log = settings.home / "logs" / f"{stamp}-{dag_id}.log"
    progress = log.with_suffix(".progress")
    ran = OneProcess(dag_id, conf, log, settings, progress=progress)
    with ran as process, _drawn(title, progress, quiet) as display:
        while process.running(wait_seconds=0.25):
            display.update()
        outcome = process.wait()
    return outcome.raise_for_failure()


@contextmanager
def _drawn(title: str, progress: Path, quiet: bool) -> Iterator[Display]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=quiet)
    started = time.monotonic()
    with Display(title, progress, console) as display:
        yield display
    console.print(f"  [dim]{time.monotonic() - started:.0f} s[/]")
