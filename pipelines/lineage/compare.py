"""What changed between two versions: code, data, parameters, libraries, stages, metrics.

Each part is told from the records of both; where a side's records or bytes are gone the part says so, and the others
are told all the same. A metric's difference is tested where both were scored on the same users in the same window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.errors import RunError
from pipelines.lineage.graph import Missing, ModelLineage, Partition, Stage, model_lineage
from pipelines.lineage.metric_changes import MetricChange, metric_changes
from pipelines.lineage.shifts import Shift, shift_of
from pipelines.runs.git import Git
from pipelines.settings import Settings


@dataclass(frozen=True)
class CodeChange:
    """Files between two code commits.

    Args:
        commits: that lead from one to the other; None where neither is an ancestor of the other.
        files: path -> lines added and taken away; None for what holds no lines.
    """

    commits: int | None
    files: dict[str, tuple[int, int] | None]


@dataclass(frozen=True)
class TableChange:
    """A table of the data version.

    Args:
        table: its name.
        added: partitions that only the newer has.
        changed: whose bytes differ.
        removed: that only the older has.
        rows: accepted before and after; None where a validation report does not say.
        quarantined: rows before and after.
        parts: partition -> history, validation or test, before and after, where that is another.
    """

    table: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    rows: tuple[int | None, int | None]
    quarantined: tuple[int | None, int | None]
    parts: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class StageChange:
    """A stage.

    Args:
        name: its name.
        change: added, removed, changed (its outputs are others) or same.
        because: what of it is another: code, command, parameters, inputs.
    """

    name: str
    change: str
    because: tuple[str, ...] = ()


Change = tuple[Any, Any]
"""Before and after; None where there is none."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one version to another; empty parts did not change, or are explained in ``missing``."""

    before: str
    after: str
    code_commits: tuple[str, str]
    data_commits: tuple[str, str]
    code: CodeChange | None
    data: tuple[TableChange, ...]
    shift: Shift | None
    params: dict[str, Change]
    libraries: dict[str, Change]
    stages: tuple[StageChange, ...]
    metrics: tuple[MetricChange, ...]
    missing: tuple[Missing, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_versions(settings: Settings, before: str, after: str) -> Comparison:
    """Compare two versions, by number or alias.

    Raises:
        RegistryError: MLflow does not answer, or has no such version; near names are suggested.
        RunError: git failed.
    """
    old, new = model_lineage(settings, before), model_lineage(settings, after)
    missing = [_of(side, gap) for side in (old, new) for gap in side.missing]
    code = _code(settings, old, new, missing)
    shift = shift_of(settings, old, new, missing)
    metrics = metric_changes(settings, old, new, missing)
    return Comparison(
        before=old.version.version,
        after=new.version.version,
        code_commits=(_commit(old.code), _commit(new.code)),
        data_commits=(_commit(old.data), _commit(new.data)),
        code=code,
        data=tuple(_tables(old, new)),
        shift=shift,
        params=_differing(_params(old), _params(new)) if old.stages and new.stages else {},
        libraries=_libraries(old, new, missing),
        stages=tuple(_stages(old, new)) if old.stages and new.stages else (),
        metrics=metrics,
        missing=tuple(dict.fromkeys(missing)),
    )


def _of(side: ModelLineage, gap: Missing) -> Missing:
    """A gap, with the version that has it in front."""
    named = f"version {side.version.version}"
    return gap if named in gap.what else replace(gap, what=f"{named}: {gap.what}")


def _commit(part: Mapping[str, Any]) -> str:
    return str(part.get("commit", ""))


def _code(settings: Settings, old: ModelLineage, new: ModelLineage, missing: list[Missing]) -> CodeChange | None:
    """Files between the code commits; None where one of them is not known."""
    first, second = _commit(old.code), _commit(new.code)
    if not first or not second:
        return None
    git = Git(settings.repository)
    try:
        changed = git.run("diff", "--numstat", "-z", "--no-renames", first, second, "--").decode(errors="replace")
        apart = git.text("rev-list", "--left-right", "--count", f"{first}...{second}").split()
    except RunError as error:
        told = f"which files differ between code {first[:12]} and {second[:12]}: {error.message}"
        missing.append(Missing(told, "git fetch the commit that is gone from a clone that has it"))
        return None
    files: dict[str, tuple[int, int] | None] = {}
    for record in filter(None, changed.split("\0")):
        plus, minus, path = record.split("\t", 2)
        files[path] = None if plus == "-" else (int(plus), int(minus))
    left, right = map(int, apart)
    return CodeChange(right if not left else left if not right else None, files)


def _tables(old: ModelLineage, new: ModelLineage) -> Iterable[TableChange]:
    """Each table that either has and both could be asked for."""
    sides = [_by_table(side.partitions) for side in (old, new)]
    known = [set((side.data.get("tables") or {}).keys()) for side in (old, new)]
    for table in sorted(known[0] | known[1]):
        before, after = (side.get(table, {}) for side in sides)
        if any(table in tables and not held for tables, held in zip(known, (before, after), strict=True)):
            continue  # its list is lost, which the lineage says
        both = before.keys() & after.keys()
        yield TableChange(
            table=table,
            added=tuple(sorted(after.keys() - before.keys())),
            changed=tuple(sorted(name for name in both if before[name].md5 != after[name].md5)),
            removed=tuple(sorted(before.keys() - after.keys())),
            rows=(_total(before.values(), "accepted"), _total(after.values(), "accepted")),
            quarantined=(_total(before.values(), "quarantined"), _total(after.values(), "quarantined")),
            parts={
                name: (before[name].part, after[name].part)
                for name in sorted(both)
                if before[name].part != after[name].part
            },
        )


def _by_table(partitions: Iterable[Partition]) -> dict[str, dict[str, Partition]]:
    found: dict[str, dict[str, Partition]] = {}
    for partition in partitions:
        found.setdefault(partition.table, {})[partition.name] = partition
    return found


def _total(partitions: Iterable[Partition], count: str) -> int | None:
    counts = [getattr(partition, count) for partition in partitions]
    return None if any(one is None for one in counts) else sum(counts)


def _params(side: ModelLineage) -> dict[str, Any]:
    """What any stage read of params.yaml."""
    return {name: value for stage in side.stages for name, value in stage.params.items()}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _libraries(old: ModelLineage, new: ModelLineage, missing: list[Missing]) -> dict[str, Change]:
    for side in (old, new):
        if side.run and not side.environment:
            told = f"version {side.version.version}: its run holds no lock file, so its libraries are not known"
            missing.append(Missing(told, "git fetch the run commit from a clone that has it"))
    if not old.environment or not new.environment:
        return {}
    return _differing(old.environment["libraries"], new.environment["libraries"])


def _stages(old: ModelLineage, new: ModelLineage) -> Iterable[StageChange]:
    before, after = ({stage.name: stage for stage in side.stages} for side in (old, new))
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            yield StageChange(name, "removed" if name in before else "added")
        else:
            yield _stage(before[name], after[name])


def _stage(old: Stage, new: Stage) -> StageChange:
    parts = {
        "command": (old.command, new.command),
        "code": (old.code_digest, new.code_digest),
        "parameters": (old.params, new.params),
        "inputs": ({one.path: one.md5 for one in old.inputs}, {one.path: one.md5 for one in new.inputs}),
    }
    because = tuple(name for name, (before, after) in parts.items() if before != after)
    same = {one.path: one.md5 for one in old.outputs} == {one.path: one.md5 for one in new.outputs}
    return StageChange(old.name, "same" if same else "changed", because)
