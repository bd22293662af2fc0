"""``shoploom run``, ``ingest`` and ``train``: a DAG to its end in one process, watched by a person."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipelines.errors import RegistryError
from pipelines.orchestration.ask import examples
from pipelines.orchestration.dag_runs import DagOutcome, OneProcess
from pipelines.orchestration.display import Display
from pipelines.orchestration.summary import readable
from pipelines.settings import Settings

TITLES = {
    "ingest": "land, validate and version the data",
    "monitor": "measure drift, decide whether to train",
    "train": "train, evaluate, gate and promote",
}


def run_all(
    settings: Settings, *, until: date | None = None, models: str | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Land what is new up to ``until``; train on it, gate and promote where the monitor's rule says so.

    Args:
        settings: places and addresses.
        until: last day to land; everything the source has by default.
        models: see :func:`train_latest`.
        quiet: draw nothing.

    Returns:
        The summary of the run, with ``examples`` (a search, a user's recommendations), ``look`` (where to go on) and
        ``monitor`` (``retrain`` and ``why``).

    Raises:
        StageError: a task failed; the message is the task's own.
        ConfigError: ``models`` names what is no model.
    """
    outcomes = _watch(settings, {"ingest": _days(None, until), "monitor": {}, "train": _models(models)}, quiet)
    decision = outcomes[1].returned["decide"]
    return _summary(settings) | {"monitor": {name: decision[name] for name in ("retrain", "why")}}


def ingest_range(settings: Settings, start: date | None, end: date | None, *, quiet: bool = False) -> dict[str, Any]:
    """Land the days from ``start`` to ``end`` and version them.

    Returns:
        ``commit``, the data version, and ``changed``, the partitions that are new in it.
    """
    from pipelines.runs.data_versions import latest_data_version

    outcome = _watch(settings, {"ingest": _days(start, end)}, quiet)[0]
    if "version" in outcome.returned:
        return dict(outcome.returned["version"])
    latest = latest_data_version(settings)
    return {"commit": latest.commit if latest else None, "changed": []}


def train_latest(settings: Settings, *, models: str | None = None, quiet: bool = False) -> dict[str, Any]:
    """Train on the newest data version, gate and promote.

    Args:
        settings: places and addresses.
        models: ``all``, or names with commas: the models to train in this run; by default as ``params.yaml`` says.
        quiet: draw nothing.

    Returns:
        As :func:`run_all`.

    Raises:
        StageError: a task failed; the message is the task's own.
        ConfigError: ``models`` names what is no model.
    """
    _watch(settings, {"train": _models(models)}, quiet)
    return _summary(settings)


def _models(models: str | None) -> dict[str, str]:
    """The train DAG's parameters, checked before anything starts."""
    if models is None:
        return {}
    from pipelines.chosen import ALL, named_models

    return {"models": models if models == ALL else ",".join(named_models(models))}


def _days(start: date | None, end: date | None) -> dict[str, str]:
    return {name: day.isoformat() for name, day in (("from", start), ("to", end)) if day is not None}


def _summary(settings: Settings) -> dict[str, Any]:
    from pipelines.registry.summary import latest_summary

    summary = latest_summary(settings)
    if summary is None:
        raise RegistryError("the run ended, but MLflow holds no summary of it", mend="shoploom doctor")
    if summary["champion"]:
        summary["examples"] = examples(settings)
    return summary | {"look": _where_to_look(settings, summary)}


def _where_to_look(settings: Settings, summary: Mapping[str, Any]) -> dict[str, str]:
    from pipelines.runs.load_docs import docs_of

    query = summary["examples"]["search"]["query"] if summary.get("examples") else ""
    return ({"search": f"shoploom search {shlex.quote(query)}"} if query else {}) | {
        "report": readable(summary["run"]["report"]),
        "data docs": str(
            docs_of(settings, summary.get("data_version") or "")
            or settings.home / "side" / "validate" / "data_docs" / "index.html"
        ),
        "MLflow": f"shoploom up, then http://127.0.0.1:{settings.mlflow_port}",
        "lineage": f"git log --graph {summary['run']['run_commit'] or summary['run']['start_commit']}",
    }


def _watch(settings: Settings, runs: Mapping[str, Mapping[str, object]], quiet: bool) -> list[DagOutcome]:
    """Run DAGs, drawing their progress; raise when one failed."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    log = settings.home / "logs" / f"{stamp}-{'-'.join(runs)}.log"
    progress = log.with_suffix(".progress")
    driven = OneProcess(runs, log, settings, progress=progress, waiting=lambda: _say_waiting(quiet))
    with driven as process, _drawn(progress, quiet) as display:
        while process.running(wait_seconds=0.25):
            display.update()
        outcomes = process.wait()
    return [outcome.raise_for_failure() for outcome in outcomes]


def _say_waiting(quiet: bool) -> None:
    if not quiet:
        print("waiting for the run that is under way in this state folder", file=sys.stderr)


@contextmanager
def _drawn(progress: Path, quiet: bool) -> Iterator[Display]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=quiet)
    started = time.monotonic()
    with Display(progress, console, TITLES) as display:
        yield display
    console.print(f"  [dim]{time.monotonic() - started:.0f} s[/]")
