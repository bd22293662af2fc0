"""Ingest: one data interval of the source becomes part of a new data version: ``land -> validate -> version -> emit``.

Every week lands the week before. A manual run lands the days ``from`` .. ``to``, or all that the source has.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dags.operators import FunctionOperator, returned, run_module
from pipelines.artifacts import file_sha256, write_json
from pipelines.errors import ConfigError, RunError
from pipelines.orchestration.notify import task_failed
from pipelines.runs.worktrees import run_folder
from pipelines.settings import Settings
from pipelines.sources import Source, days_of, load_source

if TYPE_CHECKING:
    from airflow.sdk import Context

DATA = Asset("shoploom://data")
ATTEMPTS = 5
CRON = {"week": "0 0 * * 1", "day": "0 0 * * *"}
SOURCE = load_source(Settings().source)


def land(context: Context) -> dict[str, Any]:
    """Write the interval's raw partitions, as they come, beside the run's logs."""
    from pipelines.runs.user_keys import key_for_load

    settings = Settings()
    directory = run_folder(settings, context["run_id"]) / "landing"
    shutil.rmtree(directory, ignore_errors=True)
    arguments = ["--directory", str(directory), "--source", settings.source, "--user-key", key_for_load(settings)]
    for option, day in zip(("--from", "--to"), days_to_land(context, SOURCE), strict=True):
        arguments += [option, day.isoformat()] if day else []
    landed: dict[str, Any] = json.loads(run_module("pipelines.sources.landing", arguments, context))
    return {**landed, "directory": str(directory)}


def days_to_land(context: Context, source: Source) -> tuple[date | None, date | None]:
    """The first and last shop-local day of this run; None = the source's own.

    A scheduled run lands the days before its interval again, too, that the source says may still change; a backfill
    lands its interval alone.

    Raises:
        AirflowSkipException: the source has no events in the scheduled interval.
        ConfigError: ``from`` lies after ``to``.
    """
    asked = [context["params"][name] for name in ("from", "to")]
    if any(asked) or context["dag_run"].run_type == "manual":
        first, last = (date.fromisoformat(day) if day else None for day in asked)
        if first and last and first > last:
            raise ConfigError(f"from {first} lies after to {last}", mend="swap them")
        return first, last
    start, end = context["data_interval_start"], context["data_interval_end"]
    if start is None or end is None:
        return None, None
    known = source.span()
    first, last = days_of(source, start, end, again=context["dag_run"].run_type == "scheduled")
    if first > known[1] or last < known[0]:
        raise AirflowSkipException(f"{source.name} has events from {known[0]} to {known[1]}, none in {first} to {last}")
    return first, last


def validate(context: Context) -> dict[str, Any]:
    """Refuse what the tables' contract stops, before any of it is versioned.

    What came is first put together with the partitions that it touches. Rows are judged by themselves, the partitions
    beside those that the data version holds already. Of two loads of one interval, one waits here.
    """
    from pipelines.runs.data_versions import changes_of
    from pipelines.runs.loads import held

    settings = Settings()
    landed = returned(context, "land")
    with held(settings, landed["partitions"]):
        merged = _merge(context)
        if not changes_of(settings, merged):
            _forget(context)
            raise AirflowSkipException("nothing new: these very partitions are in the data version already")
        return _check(context)


def _merge(context: Context) -> Path:
    """Put the landing together with the partitions that it touches; notes what they were in ``onto.json``."""
    from dataclasses import asdict

    from pipelines.runs.loads import Load, merge_load

    settings = Settings()
    folder = run_folder(settings, context["run_id"])
    onto = merge_load(settings, Load.from_landing(returned(context, "land")), folder / "merged")
    write_json(asdict(onto), folder / "onto.json")
    return folder / "merged"


def _check(context: Context) -> dict[str, Any]:
    """Hold what was merged to the contract; the Data Docs of a load that is refused stay under its run's name."""
    from pipelines.lineage.audit import record
    from pipelines.runs.accepted import accepted_history, partitions_before
    from pipelines.runs.load_docs import REPORT, load_docs, note_refused

    settings = Settings()
    folder = run_folder(settings, context["run_id"])
    before, report, history = (folder / f"{name}.json" for name in ("partitions-before", "landing-report", "history"))
    accepted = accepted_history(settings)
    write_json(partitions_before(accepted), before)
    write_json(accepted, history)
    arguments = ["--landing", str(folder / "merged"), "--before", str(before), "--history", str(history)]
    docs = load_docs(settings, folder.name)
    landed = returned(context, "land")
    subject = _load_name(landed)
    try:
        run_module("pipelines.stages.validate", [*arguments, "--docs", str(docs), "--report", str(report)], context)
    except AirflowException as refused:
        note_refused(settings, folder.name, landed["source"], landed["partitions"], str(refused))
        record(settings, "refusal", subject, run=context["run_id"], why=str(refused), docs=str(docs))
        raise
    shutil.copy(report, docs / REPORT)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    counted = {
        name: {key: int(table.get(key, 0)) for key in ("accepted", "quarantined")}
        for name, table in found["tables"].items()
    }
    record(settings, "validate", subject, run=context["run_id"], report=file_sha256(report), rows=counted)
    return {"report": str(report), "tables": found["tables"], "warnings": found.get("warnings", [])}


def _load_name(landed: Mapping[str, Any]) -> str:
    """What a load is called: its source and the partitions that were asked for."""
    return f"load {landed['source']} {landed['partitions'][0]} to {landed['partitions'][-1]}"


def _forget(context: Context) -> None:
    """Remove what a load that ended well leaves."""
    for name in ("landing", "merged"):
        shutil.rmtree(run_folder(Settings(), context["run_id"]) / name, ignore_errors=True)


def version(context: Context) -> dict[str, Any]:
    """Commit the landing to the data branch; the same content gives the version that is there already.

    The Data Docs of the load are kept under the version's name.
    """
    from pipelines.lineage.audit import record
    from pipelines.runs.load_docs import keep_docs
    from pipelines.runs.loads import held

    settings, landed = Settings(), returned(context, "land")
    partitions = landed["partitions"]
    folder = run_folder(settings, context["run_id"])
    arguments = ["--landing", str(folder / "merged"), "--onto", str(folder / "onto.json")]
    arguments += ["--message", f"Land {landed['source']} {partitions[0]} to {partitions[-1]}"]
    with held(settings, partitions):
        for _ in range(ATTEMPTS):
            made: dict[str, Any] = json.loads(run_module("pipelines.runs.data_versions", arguments, context))
            if not made["moved"]:
                break
            # Another load changed a partition that this one touches, by a late event for instance.
            _merge(context)
            _check(context)
        else:
            raise RunError(made["moved"], mend="run the same ingest again")
    docs = keep_docs(settings, folder.name, made["commit"])
    facts = {"load": _load_name(landed), "changed": len(made["changed"]), "rows": landed["rows"]}
    record(settings, "land", f"data {made['commit']}", run=context["run_id"], **facts)
    _forget(context)
    return {"commit": made["commit"], "changed": made["changed"], "docs": str(docs)}


def emit(context: Context) -> str:
    """Tell the monitor DAG."""
    made = returned(context, "version")
    if not made["changed"]:
        raise AirflowSkipException("nothing new: another load brought the same meanwhile")
    context["outlet_events"][DATA].extra = {"commit": made["commit"]}
    return str(made["commit"])


with DAG(
    dag_id="ingest",
    schedule=CronDataIntervalTimetable(CRON[SOURCE.partition], timezone=SOURCE.time_zone),
    start_date=datetime(2017, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    description="Land one data interval, hold it to the contract, and make it a data version.",
    doc_md=__doc__,
    default_args={"on_failure_callback": task_failed},
    params={
        name: Param(None, type=["null", "string"], format="date", description=description)
        for name, description in (("from", "First shop-local day."), ("to", "Last shop-local day, inclusive."))
    },
    tags=["shoploom"],
) as dag:
    tasks = [FunctionOperator(function=function) for function in (land, validate, version)]
    tasks[0] >> tasks[1] >> tasks[2] >> FunctionOperator(function=emit, outlets=[DATA])
