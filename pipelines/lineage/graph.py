"""What a model was made of: from its version down to the loads.

    version ── run commit ─┬─ code commit ── lock digest
                           ├─ data commit ── tables ── partitions ── the load that brought each ── the shop's own files
                           └─ stages ── inputs and outputs by hash, parameters, seconds, machine

Everything is read from git objects, DVC's listings and the books. What is gone is named in ``missing``, with its mend;
the rest is shown all the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.errors import RunError, ShoploomError
from pipelines.registry.versions import RegisteredVersion, booked_stages, registered_version, verdict_of
from pipelines.runs.data_history import Landed, data_history, holdings
from pipelines.runs.git import Git, trailers
from pipelines.runs.locks import LOCK, LockEntry, load_lock
from pipelines.runs.objects import read_listing, read_object
from pipelines.runs.raw_origins import raw_files_of
from pipelines.runs.run_commits import RunCommit, list_runs, parse_run
from pipelines.settings import Settings
from pipelines.sources.raw_files import RawFile

REPORT = "data/validate/report.json"
SPLIT = "data/prepared/split.json"
REQUIREMENTS = "requirements.lock"
_PIN = re.compile(rb"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Missing:
    """Something that could not be shown.

    Args:
        what: it is, and why it is gone.
        mend: how to bring it back.
    """

    what: str
    mend: str


@dataclass(frozen=True)
class Object:
    """An input or output: its path, its hash, and the stage or ``.dvc`` file that made it (empty for an output)."""

    path: str
    md5: str
    made_by: str = ""


@dataclass(frozen=True)
class Stage:
    """A stage of a run, as its lock entry and the books have it.

    Args:
        name: in ``dvc.yaml``.
        command: what ran.
        inputs: data it read.
        code: how many files of code it depends on.
        code_digest: SHA-256 over their paths and hashes.
        outputs: what it put out.
        params: what it read of ``params.yaml``.
        booked: seconds, whether cached, who made it, the machine; empty where the books have none.
    """

    name: str
    command: str
    inputs: tuple[Object, ...]
    code: int
    code_digest: str
    outputs: tuple[Object, ...]
    params: dict[str, Any]
    booked: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """A file of a raw table in the data version.

    Args:
        table: its table.
        name: its partition, or the table's own name.
        md5: of its bytes.
        landed: the data commit that brought these bytes; empty where that is not known.
        source: what that commit says it landed.
        part: history, validation or test; empty for tables that are not split.
        accepted: rows that passed, None where the report does not say.
        quarantined: rows that did not.
        reasons: failing check -> rows.
        files: the shop's own files that its rows were read from; None where the load did not note them.
    """

    table: str
    name: str
    md5: str
    landed: str
    source: str
    part: str = ""
    accepted: int | None = None
    quarantined: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    files: tuple[RawFile, ...] | None = None


@dataclass(frozen=True)
class ModelLineage:
    """All that a version was made of; ``None`` and empty fields are explained in ``missing``."""

    version: RegisteredVersion
    verdict: dict[str, Any] | None
    run: RunCommit | None
    code: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]
    validation: dict[str, Any]
    stages: tuple[Stage, ...]
    partitions: tuple[Partition, ...]
    loads: tuple[dict[str, str], ...]
    missing: tuple[Missing, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def model_lineage(settings: Settings, version: str) -> ModelLineage:
    """Trace a version, by number or alias, down to the loads.

    Raises:
        RegistryError: MLflow does not answer or has no such version.
        RunError: git failed.
    """
    return version_lineage(settings, registered_version(settings, version))


def version_lineage(settings: Settings, version: RegisteredVersion) -> ModelLineage:
    """As :func:`model_lineage`, of a version that was looked up already."""
    git, missing = Git(settings.repository), list[Missing]()
    run = find_version_run(settings, version, missing)
    lock = _lock(git, run, missing)
    report = document(settings, lock, REPORT, missing)
    data_commit = run.data_commit if run else version.data_version
    history = data_history(settings, [data_commit] if data_commit else [])
    booked = booked_stages(settings, version) if version.mlflow_run else {}
    partitions = _partitions(settings, history, data_commit, report, document(settings, lock, SPLIT, missing), missing)
    return ModelLineage(
        version=version,
        verdict=verdict_of(settings, version) if version.mlflow_run else None,
        run=run,
        code=_code(git, run.code_commit if run else version.code_commit, missing),
        data=_data(history.get(data_commit), data_commit),
        environment=_environment(git, run),
        validation={name: report[name] for name in ("tables", "warnings", "suites") if name in report},
        stages=_stages(lock, {name: asdict(one) for name, one in booked.items()}),
        partitions=partitions,
        loads=_loads(history, partitions),
        missing=tuple(missing),
    )


def find_version_run(settings: Settings, version: RegisteredVersion, missing: list[Missing]) -> RunCommit | None:
    """The run that made a version; a note in ``missing`` where its ref, or the commit itself, is gone."""
    named = f"version {version.version}"
    if not version.run_commit:
        told = f"{named} names no run commit: it was registered by an older shoploom, or by hand"
        missing.append(Missing(told, "shoploom train registers a version that does"))
        return None
    for run in list_runs(settings):
        if run.commit == version.run_commit:
            return run
    mend = "git fetch REMOTE 'refs/shoploom/*:refs/shoploom/*' from a clone that has it"
    found = parse_run(settings, version.run_commit)
    if found is None:
        told = f"the run commit {version.run_commit[:12]} of {named} is gone, with its ref: only the registry is shown"
        missing.append(Missing(told, f"{mend}, or shoploom train"))
        return None
    told = f"the ref of run commit {version.run_commit[:12]} of {named} was deleted; git may drop the commit"
    missing.append(Missing(told, f"git update-ref refs/shoploom/runs/kept-{version.run_commit[:10]} {found.commit}"))
    return found


def _lock(git: Git, run: RunCommit | None, missing: list[Missing]) -> dict[str, LockEntry]:
    if run is None:
        return {}
    content = git.contents([f"{run.commit}:{LOCK}"])[0]
    if content is None:
        missing.append(Missing(f"run commit {run.commit[:12]} holds no {LOCK}", "shoploom train"))
        return {}
    return load_lock(content)


def out_md5(lock: Mapping[str, LockEntry], path: str) -> str:
    """The hash of an output, or the empty string."""
    outs = (out for entry in lock.values() for out in entry.get("outs", []))
    return next((str(out["md5"]) for out in outs if out["path"] == path), "")


def document(settings: Settings, lock: Mapping[str, LockEntry], path: str, missing: list[Missing]) -> dict[str, Any]:
    """A JSON output of a run; empty, with a note, where its bytes are gone."""
    md5 = out_md5(lock, path)
    if not md5:
        return {}
    try:
        found: dict[str, Any] = json.loads(read_object(settings, md5))
    except ShoploomError as error:
        missing.append(Missing(f"{path}: {error.message}", error.mend))
        return {}
    return found


def _code(git: Git, commit: str, missing: list[Missing]) -> dict[str, Any]:
    if not commit:
        return {}
    content = git.contents([commit])[0]
    if content is None:
        missing.append(Missing(f"the code commit {commit[:12]} is gone", "git fetch it from a clone that has it"))
        return {"commit": commit}
    header, _, message = content.decode(errors="replace").partition("\n\n")
    author = re.search(r"^author (.*) <.*> (\d+) [+-]\d{4}$", header, re.MULTILINE)
    return {
        "commit": commit,
        "subject": message.split("\n", 1)[0],
        "author": author[1] if author else "",
        "time": int(author[2]) if author else 0,
        "dirty": trailers(message).get("dirty") == "true",
    }


def _data(landed: Landed | None, commit: str) -> dict[str, Any]:
    if landed is None:
        return {"commit": commit} if commit else {}
    said = trailers(landed.message)
    tables = dict(landed.listings)
    return {
        "commit": landed.commit,
        "subject": landed.subject,
        "newest_event": landed.time,
        "user_key": said.get("user-key", ""),
        "tables": tables,
    }


def _environment(git: Git, run: RunCommit | None) -> dict[str, Any]:
    """The lock's digest and what it pins."""
    content = git.contents([f"{run.commit}:{REQUIREMENTS}"])[0] if run else None
    if content is None:
        return {}
    pins = {name.decode(): version.decode() for name, version in _PIN.findall(content)}
    return {"lock": REQUIREMENTS, "sha256": hashlib.sha256(content).hexdigest(), "libraries": pins}


def _stages(lock: Mapping[str, LockEntry], booked: Mapping[str, dict[str, Any]]) -> tuple[Stage, ...]:
    makers = _makers(lock)
    return tuple(_stage(name, lock[name], makers, booked.get(name, {})) for name in ordered_stages(lock))


def _makers(lock: Mapping[str, LockEntry]) -> dict[str, str]:
    """Output -> stage."""
    return {str(out["path"]): name for name, entry in lock.items() for out in entry.get("outs", [])}


def ordered_stages(lock: Mapping[str, LockEntry]) -> list[str]:
    """A run's stages, each after those whose outputs it reads."""
    makers, ordered = _makers(lock), list[str]()

    def visit(name: str) -> None:
        for dep in lock[name].get("deps", []):
            maker = _maker(str(dep["path"]), makers)
            if maker and maker != name and maker not in ordered:
                visit(maker)
        if name not in ordered:
            ordered.append(name)

    for name in lock:
        visit(name)
    return ordered


def _maker(path: str, makers: Mapping[str, str]) -> str:
    if path in makers:
        return makers[path]
    return next((stage for out, stage in makers.items() if path.startswith(f"{out}/")), "")


def _stage(name: str, entry: LockEntry, makers: Mapping[str, str], booked: dict[str, Any]) -> Stage:
    inputs, code = [], []
    for dep in entry.get("deps", []):
        path, md5 = str(dep["path"]), str(dep["md5"])
        if path.startswith("data/"):
            inputs.append(Object(path, md5, _maker(path, makers) or _pointer(path)))
        else:
            code.append(f"{md5}  {path}\n")
    return Stage(
        name=name,
        command=str(entry.get("cmd", "")),
        inputs=tuple(inputs),
        code=len(code),
        code_digest=hashlib.sha256("".join(sorted(code)).encode()).hexdigest(),
        outputs=tuple(Object(str(out["path"]), str(out["md5"])) for out in entry.get("outs", [])),
        params={key: value for values in (entry.get("params") or {}).values() for key, value in values.items()},
        booked=booked,
    )


def _pointer(path: str) -> str:
    """The ``.dvc`` file that tracks what no stage made: ``data/raw/<table>.dvc``, ``data/champion.dvc``."""
    parts = path.split("/")
    return "/".join(parts[: 3 if parts[1] == "raw" else 2]) + ".dvc"


def _partitions(
    settings: Settings,
    history: Mapping[str, Landed],
    commit: str,
    report: Mapping[str, Any],
    split: Mapping[str, Any],
    missing: list[Missing],
) -> tuple[Partition, ...]:
    landed = history.get(commit)
    if landed is None:
        if commit:
            told = f"the data version {commit[:12]} is gone from git: its partitions cannot be listed"
            missing.append(Missing(told, "git fetch REMOTE data/main:data/main from a clone that has it"))
        return ()
    brought, found = holdings(history, commit), []
    for table, listing in landed.listings.items():
        try:
            files = read_listing(settings, listing)
        except RunError as error:
            missing.append(Missing(f"{table}: the list of its partitions is lost: {error.message}", error.mend))
            continue
        for file, md5 in sorted(files.items()):
            by = brought.get(f"{table}/{file}", ("", ""))
            commit_of = by[1] if by[0] == md5 else ""
            found.append(_partition(table, file, md5, history.get(commit_of), report, split))
    names = [(f"{one.table}/{one.name}.parquet", one.landed) for one in found]
    raw = raw_files_of(settings, history, (name for name in names if name[1]))
    return tuple(replace(one, files=raw.get(name)) for one, name in zip(found, names, strict=True))


def _partition(
    table: str, file: str, md5: str, landed: Landed | None, report: Mapping[str, Any], split: Mapping[str, Any]
) -> Partition:
    name = file.removesuffix(".parquet")
    of_events = table == "events"
    counted = (report.get("partitions") if of_events else report.get("tables")) or {}
    row = counted.get(name, {})
    return Partition(
        table=table,
        name=name,
        md5=md5,
        landed=landed.commit if landed else "",
        source=landed.subject if landed else "",
        part=part_of(split, name) if of_events else "",
        accepted=row.get("accepted"),
        quarantined=row.get("quarantined"),
        reasons=dict(row.get("reasons") or {}),
    )


def part_of(split: Mapping[str, Any], name: str) -> str:
    """Whether an event partition is history, validation or test of a run; empty where its split does not say."""
    try:
        first, last = split["first_validation_partition"], split["first_test_partition"]
    except KeyError:
        return ""
    return "test" if name >= last else "validation" if name >= first else "history"


def _loads(history: Mapping[str, Landed], partitions: Iterable[Partition]) -> tuple[dict[str, str], ...]:
    """The loads that brought what the data version holds."""
    commits = dict.fromkeys(partition.landed for partition in partitions if partition.landed)
    return tuple({"landed": commit, "load": history[commit].subject} for commit in commits)
