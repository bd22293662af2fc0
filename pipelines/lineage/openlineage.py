"""Lineage as OpenLineage events: stages as jobs, what they read and wrote as datasets, with version and data quality.

A dataset's namespace is the object store's address, its name a path of the repository, and its version the MD5 by which
DVC knows the bytes. The validate stage's report gives the data-quality facets of what it read. The same datasets go out
through Airflow's OpenLineage provider while a run runs (:meth:`dags.operators.DvcStageOperator`), and from the records
of a version by ``shoploom lineage model:7 --openlineage FILE|URL``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from pipelines.errors import ConfigError, RunError
from pipelines.lineage.graph import ModelLineage, Stage
from pipelines.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

JOBS = "shoploom"
"""Namespace of the jobs."""
RAW = "data/raw/"
KEY_VARIABLE = "OPENLINEAGE_API_KEY"
SECONDS_TO_ANSWER = 10.0

Found = tuple[str, str]
"""A path and its MD5."""


def datasets(
    settings: Settings, read: Iterable[Found], wrote: Iterable[Found], report: Mapping[str, Any]
) -> tuple[list[InputDataset], list[OutputDataset]]:
    """What a stage read and wrote.

    Args:
        settings: names the object store.
        read: its inputs; code is left out.
        wrote: its outputs.
        report: of the validate stage, where this is it: tables -> accepted, quarantined, reasons. Else empty.
    """
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    place, tables = namespace(settings.remote), report.get("tables") or {}
    inputs = [
        InputDataset(place, path, facets=_version(md5), inputFacets=_quality(tables.get(path.removeprefix(RAW)), path))
        for path, md5 in read
        if path.startswith("data/")
    ]
    return inputs, [OutputDataset(place, path, facets=_version(md5)) for path, md5 in wrote]


def stage_datasets(settings: Settings, entry: Mapping[str, Any]) -> tuple[list[InputDataset], list[OutputDataset]]:
    """What a stage read and wrote, by its lock entry; quality where it put out a validation report.

    Raises:
        RunError: the report is lost.
    """
    import json

    from pipelines.lineage.graph import REPORT
    from pipelines.runs.objects import read_object

    read, wrote = (
        [(str(one["path"]), str(one.get("md5", ""))) for one in entry.get(part) or []] for part in ("deps", "outs")
    )
    report = dict(wrote).get(REPORT)
    return datasets(settings, read, wrote, json.loads(read_object(settings, report)) if report else {})


def events_of(settings: Settings, lineage: ModelLineage) -> list[RunEvent]:
    """Start and end of every stage of a version's run, then of the run, whose output is the version.

    The books hold how long a stage took and not when it began: all end with the run.

    Raises:
        RunError: the version's run is gone.
    """
    from openlineage.client.event_v2 import OutputDataset

    run = lineage.run
    if run is None:
        gap = lineage.missing[0]
        raise RunError(f"there is no run to tell of: {gap.what}", mend=gap.mend)
    facets = {"parent": _parent(run.commit)}
    events: list[RunEvent] = []
    for stage in lineage.stages:
        found = datasets(
            settings,
            [(one.path, one.md5) for one in stage.inputs],
            [(one.path, one.md5) for one in stage.outputs],
            lineage.validation if stage.name == "validate" else {},
        )
        events += _pair(lineage, stage.name, _seconds(stage), found, facets)
    tables = [(f"{RAW}{table}", md5) for table, md5 in (lineage.data.get("tables") or {}).items()]
    inputs, _ = datasets(settings, tables, (), lineage.validation)
    version = lineage.version
    model = OutputDataset(JOBS, f"model/{version.version}", facets=_version(version.digest))
    longest = sum(_seconds(stage) for stage in lineage.stages)
    return [*events, *_pair(lineage, "", longest, (inputs, [model]), {})]


def send(events: Iterable[RunEvent], target: str) -> int:
    """Write events to a file, a JSON object a line, or post them to an OpenLineage server.

    Args:
        events: in order.
        target: a file, or an http(s) address; a key for it comes from ``OPENLINEAGE_API_KEY``.

    Returns:
        How many.

    Raises:
        ConfigError: the address is none.
        RunError: the server does not take them.
    """
    given = list(events)
    if "://" not in target:
        _write(given, Path(target))
        return len(given)
    if not target.startswith(("http://", "https://")):
        raise ConfigError(
            f"{target!r} is no address of an OpenLineage server", mend="give http(s)://host:port, or a file"
        )
    transport = _transport(target)
    for sent, event in enumerate(given):
        try:
            transport.emit(event)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"{target} took {sent} of {len(given)} events: {reason}",
                mend=f"see that it answers; a key comes from {KEY_VARIABLE}; what it has may be sent again",
            ) from error
    return len(given)


def namespace(address: str) -> str:
    """An object store's address as a dataset's namespace, without what names its user."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if not parts.scheme:
        return f"file://{Path(address).absolute()}"
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}".rstrip("/")


def producer() -> str:
    """Who tells."""
    from importlib.metadata import version

    return f"urn:shoploom:{version('shoploom')}"


def run_id(commit: str, stage: str = "") -> str:
    """The id of a stage's run, or of the whole: the same whenever and wherever it is told."""
    return str(uuid5(NAMESPACE_URL, f"urn:shoploom:run:{commit}:{stage}"))


def _pair(
    lineage: ModelLineage,
    stage: str,
    seconds: float,
    found: tuple[list[InputDataset], list[OutputDataset]],
    facets: Mapping[str, Any],
) -> list[RunEvent]:
    """The events that begin and end a run of a job."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.generated.job_type_job import JobTypeJobFacet
    from openlineage.client.generated.source_code_location_job import SourceCodeLocationJobFacet

    assert lineage.run is not None
    code = lineage.run.code_commit
    kind = JobTypeJobFacet("BATCH", "SHOPLOOM", "STAGE" if stage else "RUN", producer=producer())
    where = SourceCodeLocationJobFacet("git", f"git:{code}", path="dvc.yaml", version=code, producer=producer())
    job = Job(JOBS, f"train.{stage}" if stage else "train", facets={"jobType": kind, "sourceCodeLocation": where})
    run = Run(run_id(lineage.run.commit, stage), facets=dict(facets))
    ended = float(lineage.run.time)
    inputs, outputs = found
    begun, done = (
        RunEvent(
            eventTime=datetime.fromtimestamp(moment, UTC).isoformat(),
            eventType=state,
            run=run,
            job=job,
            inputs=inputs,
            outputs=outputs if state is RunState.COMPLETE else [],
            producer=producer(),
        )
        for state, moment in ((RunState.START, ended - seconds), (RunState.COMPLETE, ended))
    )
    return [begun, done]


def _seconds(stage: Stage) -> float:
    return float(stage.booked.get("seconds", 0.0))


def _parent(commit: str) -> Any:
    from openlineage.client.generated.parent_run import Job, ParentRunFacet, Run

    return ParentRunFacet(Run(run_id(commit)), Job(JOBS, "train"), producer=producer())


def _version(md5: str) -> dict[str, Any]:
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    return {"version": DatasetVersionDatasetFacet(md5, producer=producer())} if md5 else {}


def _quality(table: Mapping[str, Any] | None, path: str) -> dict[str, Any]:
    """Rows, and the checks that rows failed, of a raw table."""
    from openlineage.client.generated.data_quality_assertions_dataset import (
        Assertion,
        DataQualityAssertionsDatasetFacet,
    )
    from openlineage.client.generated.data_quality_metrics_input_dataset import DataQualityMetricsInputDatasetFacet

    if not table or not path.startswith(RAW):
        return {}
    accepted, refused = int(table.get("accepted", 0)), int(table.get("quarantined", 0))
    assertions = [
        Assertion(check, False, severity="warn", expected="0", actual=str(count))
        for check, count in sorted((table.get("reasons") or {}).items())
    ]
    assertions.append(Assertion("rows_are_accepted", not refused, severity="warn", expected="0", actual=str(refused)))
    return {
        "dataQualityAssertions": DataQualityAssertionsDatasetFacet(assertions, producer=producer()),
        "dataQualityMetrics": DataQualityMetricsInputDatasetFacet({}, rowCount=accepted + refused, producer=producer()),
    }


def _write(events: Iterable[RunEvent], file: Path) -> None:
    from openlineage.client.serde import Serde

    from pipelines.artifacts import atomic_file

    with atomic_file(file) as temporary:
        temporary.write_text("".join(f"{Serde.to_json(event)}\n" for event in events), encoding="utf-8")


def _transport(address: str) -> Any:
    """The client's own, which tries again where that helps."""
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    key = os.environ.get(KEY_VARIABLE)
    given: dict[str, Any] = {"auth": ApiKeyTokenProvider({"apiKey": key})} if key else {}
    return HttpTransport(HttpConfig(url=address, timeout=SECONDS_TO_ANSWER, **given))
