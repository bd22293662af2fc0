"""Lineage the other way: from a partition to every table, run, model and promotion that it touched.

git gives all runs and their data versions, the index of changes what each of them holds of the partition. A partition
touches every output that a stage makes of its table, directly or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.errors import RunError, near_names
from pipelines.lineage.graph import REPORT, SPLIT, Missing, part_of
from pipelines.lineage.history import history as audit_history
from pipelines.lineage.reigns import Reign, reigns
from pipelines.registry.versions import RegisteredVersion, registered_versions
from pipelines.runs.data_history import Landed, content_of, data_history
from pipelines.runs.data_versions import RAW
from pipelines.runs.git import Git
from pipelines.runs.locks import LOCK, LockEntry, load_lock
from pipelines.runs.objects import read_objects
from pipelines.runs.raw_origins import raw_files_of
from pipelines.runs.run_commits import RunCommit, list_runs
from pipelines.settings import Settings
from pipelines.sources.raw_files import RawFile
from pipelines.tables import EVENTS

_MD5 = re.compile(rb"\bmd5: ([0-9a-f]{32})\n")


@dataclass(frozen=True)
class Content:
    """One content that a partition had: its md5, the data version that brought it, and the shop's own files that it was
    read from, None where the load did not note them."""

    md5: str
    landed: str
    time: int
    source: str
    files: tuple[RawFile, ...] | None


@dataclass(frozen=True)
class TouchedRun:
    """A finished run whose data version held the partition.

    Args:
        ref: the run's.
        commit: the run's.
        time: when it finished, in seconds since the epoch.
        data_commit: its data version.
        md5: what that version holds of the partition.
        part: history, validation or test; empty where the run's split is lost or the table is not split.
        accepted: rows of the partition that passed, None where the report is lost.
        quarantined: rows that did not.
        models: the versions that were registered from it.
    """

    ref: str
    commit: str
    time: int
    data_commit: str
    md5: str
    part: str
    accepted: int | None
    quarantined: int | None
    models: tuple[RegisteredVersion, ...]


@dataclass(frozen=True)
class PartitionLineage:
    """What a partition touched.

    Args:
        table: its table.
        name: its name.
        contents: what it held, oldest first.
        outputs: what the newest of the runs made of its table, directly or not: output -> stage.
        runs: that trained on, validated with or tested on it, newest first.
        reigns: when models of these runs were champion, as the audit log has it.
        missing: what could not be told.
    """

    table: str
    name: str
    contents: tuple[Content, ...]
    outputs: dict[str, str]
    runs: tuple[TouchedRun, ...]
    reigns: tuple[Reign, ...] = ()
    missing: tuple[Missing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def partition_lineage(settings: Settings, name: str) -> PartitionLineage:
    """Trace a partition forwards.

    Args:
        settings: the repository, the object store and the registry.
        name: of an event partition (``2017-W12``), or ``<table>/<name>``.

    Raises:
        RunError: no data version holds it; near names are suggested.
        RegistryError: MLflow does not answer.
    """
    table, _, partition = name.rpartition("/")
    table = table or EVENTS.name
    file = f"{table}/{partition}.parquet"
    runs = list_runs(settings)
    history = data_history(settings, {run.data_commit for run in runs})
    held = content_of(history, file)
    if not held:
        raise _unknown(history, table, partition)
    touched = [run for run in runs if run.data_commit in held]
    locks = Git(settings.repository).contents([f"{run.commit}:{LOCK}" for run in touched])
    models: dict[str, list[RegisteredVersion]] = {}
    for version in registered_versions(settings):
        models.setdefault(version.run_commit, []).append(version)
    named = {version.version for run in touched for version in models.get(run.commit, ())}
    documents, missing = _documents(settings, [content or b"" for content in locks]), list[Missing]()
    known = reigns(audit_history(settings, missing))
    return PartitionLineage(
        table=table,
        name=partition,
        contents=_contents(settings, history, file),
        outputs=outputs_of(load_lock(locks[0]) if locks and locks[0] else {}, f"{RAW}/{table}"),
        runs=tuple(
            _touched(run, held[run.data_commit], table, partition, found, models)
            for run, found in zip(touched, documents, strict=True)
        ),
        reigns=tuple(reign for reign in known if reign.version in named),
        missing=(*_missing(history, documents), *missing),
    )


def outputs_of(lock: Mapping[str, LockEntry], path: str) -> dict[str, str]:
    """Output -> stage, of all that a run made of ``path``, directly or not, in no particular order."""
    reached: dict[str, str] = {}
    paths = [path]
    while paths:
        at = paths.pop()
        for name, entry in lock.items():
            if any(_reads(str(dep["path"]), at) for dep in entry.get("deps", [])):
                fresh = [str(out["path"]) for out in entry.get("outs", []) if str(out["path"]) not in reached]
                reached |= dict.fromkeys(fresh, name)
                paths += fresh
    return reached


def _reads(dep: str, path: str) -> bool:
    return dep == path or dep.startswith(f"{path}/") or path.startswith(f"{dep}/")


def _contents(settings: Settings, history: Mapping[str, Landed], file: str) -> tuple[Content, ...]:
    brought = {commit: md5 for commit, landed in history.items() if (md5 := (landed.changed or {}).get(file))}
    files = raw_files_of(settings, history, ((file, commit) for commit in brought))
    return tuple(
        Content(md5, commit, history[commit].time, history[commit].subject, files[file, commit])
        for commit, md5 in brought.items()
    )


def _documents(settings: Settings, locks: list[bytes]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The split and the validation report of each run; empty where lost. Only their hashes are looked for in a lock."""
    named = [(_hash_of(lock, SPLIT), _hash_of(lock, REPORT)) for lock in locks]
    found = read_objects(settings, [md5 for pair in named for md5 in pair if md5])
    parsed = {md5: json.loads(content) for md5, content in found.items()}
    return [(parsed.get(split, {}), parsed.get(report, {})) for split, report in named]


def _hash_of(lock: bytes, path: str) -> str:
    """The md5 beside an output's path in a lock file, found without reading the whole of it."""
    named = lock.find(b"path: " + path.encode() + b"\n")
    if named < 0:
        return ""
    start, end = lock.rfind(b"\n    - ", 0, named), lock.find(b"\n    - ", named)
    match = _MD5.search(lock[start : end if end >= 0 else len(lock)])
    return match[1].decode() if match else ""


def _touched(
    run: RunCommit,
    md5: str,
    table: str,
    name: str,
    documents: tuple[Mapping[str, Any], Mapping[str, Any]],
    models: Mapping[str, list[RegisteredVersion]],
) -> TouchedRun:
    split, report = documents
    of_events = table == EVENTS.name
    row = (report.get("partitions" if of_events else "tables") or {}).get(name, {})
    return TouchedRun(
        ref=run.ref,
        commit=run.commit,
        time=run.time,
        data_commit=run.data_commit,
        md5=md5,
        part=part_of(split, name) if of_events else "",
        accepted=row.get("accepted"),
        quarantined=row.get("quarantined"),
        models=tuple(models.get(run.commit, ())),
    )


def _missing(history: Mapping[str, Landed], documents: Iterable[tuple[Any, Any]]) -> tuple[Missing, ...]:
    mend = "bring the remote back: it held what SHOPLOOM_REMOTE_URL names"
    lost = [commit[:12] for commit, landed in history.items() if landed.changed is None]
    found = []
    if lost:
        told = f"the lists of partitions of {len(lost)} data versions are lost ({lost[0]} the first): what they changed"
        found.append(Missing(f"{told} is not known", mend))
    gone = sum(1 for split, report in documents if not split or not report)
    if gone:
        found.append(Missing(f"the split or validation report of {gone} runs is lost: their part and rows", mend))
    return tuple(found)


def _unknown(history: Mapping[str, Landed], table: str, name: str) -> RunError:
    names = {
        file.removesuffix(".parquet").removeprefix(f"{EVENTS.name}/")
        for landed in history.values()
        for file in landed.changed or {}
    }
    asked = name if table == EVENTS.name else f"{table}/{name}"
    if not names:
        return RunError(f"no data version holds partition {asked!r}", mend="shoploom ingest lands the first")
    listed = sorted(file for file in names if "/" not in file)
    span = f"there are {listed[0]} to {listed[-1]}" if listed else f"there are {', '.join(sorted(names))}"
    return RunError(f"no data version holds partition {asked!r}", mend=near_names(asked, names) or span)
