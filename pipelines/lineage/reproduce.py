"""Make a model again and compare: a clean worktree of its run, its own environment, no cache, every output by hash.

All of it happens in a state folder of its own, under ``<home>/reproduce``, with an object store of its own that starts
with nothing but the run's raw data. So no cache can answer, and nothing that is made here can reach the books.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.artifacts import file_sha256, read_json, write_json
from pipelines.errors import RunError, ShoploomError
from pipelines.lineage.differences import difference
from pipelines.lineage.environments import python_for
from pipelines.lineage.graph import REQUIREMENTS, Missing, find_version_run, ordered_stages
from pipelines.machine import describe_machine
from pipelines.registry.versions import booked_stages, registered_version
from pipelines.runs.data_versions import read_pointers
from pipelines.runs.git import Git
from pipelines.runs.locks import LOCK, LockEntry
from pipelines.runs.objects import object_path, read_listing
from pipelines.runs.run_commits import RunCommit, read_lock
from pipelines.runs.store import Store
from pipelines.runs.worktrees import prepare_worktree
from pipelines.settings import Settings, child_environment
from pipelines.stage_environment import NO_CACHE_VARIABLE

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Output:
    """An output made again: both hashes, and by how much the bytes differ (empty where they are the same)."""

    path: str
    recorded: str
    found: str
    difference: str = ""


@dataclass(frozen=True)
class StageAgain:
    """A stage that was run again.

    Args:
        name: its name.
        seconds: it took.
        outputs: all of them.
        inherited: whether an input was different already, so that a difference says nothing about this stage.
    """

    name: str
    seconds: float
    outputs: tuple[Output, ...]
    inherited: bool = False

    @property
    def same(self) -> bool:
        """Whether every output has its recorded hash."""
        return all(output.recorded == output.found for output in self.outputs)


@dataclass(frozen=True)
class Reproduction:
    """What came of making a version again.

    Args:
        version: of the model.
        run_commit: that was run again.
        environment: which one it ran in.
        recorded_machine: what the books say the run ran on; empty where they say nothing.
        machine: this one.
        stages: in the order they ran.
        failed: what a stage said that failed; empty.
        kept: where all of it lies; empty where it was removed.
    """

    version: str
    run_commit: str
    environment: str
    recorded_machine: dict[str, str]
    machine: dict[str, str]
    stages: tuple[StageAgain, ...]
    failed: str = ""
    kept: str = field(default="")

    @property
    def first_difference(self) -> StageAgain | None:
        """The first stage that put out other bytes."""
        return next((stage for stage in self.stages if not stage.same), None)

    @property
    def identical(self) -> bool:
        """Whether every stage ran and every output has its recorded hash."""
        return not self.failed and self.first_difference is None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first_difference
        return {"identical": self.identical, "first_difference": first.name if first else None, **asdict(self)}


def reproduce(settings: Settings, version: str, tell: Tell, *, keep: bool = False) -> Reproduction:
    """Run a version's run again, without any cache, and compare every output's hash.

    Args:
        settings: the repository, the object store and the registry; only read.
        version: number or alias.
        tell: hears of every stage that ended.
        keep: leave what was made where it is.

    Raises:
        RegistryError: there is no such version.
        RunError: its run or its raw data is gone, or its environment cannot be made.
    """
    registered, gaps = registered_version(settings, version), list[Missing]()
    run = find_version_run(settings, registered, gaps)
    if run is None:
        raise RunError(gaps[0].what, mend=gaps[0].mend)
    lock = read_lock(settings, run)
    folder = settings.home / "reproduce" / f"{run.commit[:12]}-{time.time_ns() // 1_000_000}"
    places: dict[str, Any] = {
        "repository": settings.repository,
        "SHOPLOOM_HOME": folder,
        "remote_url": str(folder / "remote"),
    }
    apart = Settings(**places)
    start = _start_commit(settings, run)
    run_id = f"reproduce-{run.commit[:12]}"
    try:
        _bring_raw_data(settings, apart, start)
        worktree = prepare_worktree(apart, start, run_id)
        python, environment = python_for(settings, worktree, worktree / REQUIREMENTS)
        tell(f"environment: {environment}")
        again = _Again(settings, apart, worktree, python, start, run_id, lock)
        stages, failed = again.run(tell)
    finally:
        if not keep:
            _discard(settings, folder)
    machines = [booked.machine for booked in booked_stages(settings, registered).values() if booked.machine]
    recorded = machines[0] if machines else {}
    kept = str(folder) if keep else ""
    here = describe_machine()
    return Reproduction(registered.version, run.commit, environment, recorded, here, stages, failed, kept)


@dataclass(frozen=True)
class _Again:
    """A run on its way: where it is made, and what it is to give."""

    settings: Settings
    apart: Settings
    worktree: Path
    python: Path
    start: str
    run_id: str
    lock: dict[str, LockEntry]

    def run(self, tell: Tell) -> tuple[tuple[StageAgain, ...], str]:
        """Every stage after those it reads from; ends with what a stage says that fails."""
        done: dict[str, LockEntry] = {}
        stages: list[StageAgain] = []
        changed: set[str] = set()
        for name in ordered_stages(self.lock):
            result = self._stage(name, done)
            if result["error"]:
                return tuple(stages), f"stage {name}: {result['error']}"
            done[name] = result["lock_entry"]
            inherited = any(_touches(str(dep["path"]), changed) for dep in self.lock[name].get("deps", []))
            stage = StageAgain(name, float(result["seconds"]), self._compare(name, done[name]), inherited)
            changed |= {output.path for output in stage.outputs if output.recorded != output.found}
            stages.append(stage)
            tell(told(stage))
        return tuple(stages), ""

    def _stage(self, name: str, done: Mapping[str, LockEntry]) -> dict[str, Any]:
        """Run one stage by the run's own runner."""
        requests = self.apart.home / "requests"
        asked, answered, log = (requests / f"{name}.{end}" for end in ("request.json", "result.json", "log"))
        request = {
            "stage": name,
            "start": self.start,
            "run_id": self.run_id,
            "graph_sha256": file_sha256(self.worktree / "dvc.yaml"),
            "upstream": dict(done),
        }
        write_json(request, asked)
        apart = {NO_CACHE_VARIABLE: "1", "SHOPLOOM_REMOTE_URL": self.apart.remote}
        environment = child_environment(self.apart, **apart)
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment['PATH']}"
        command = [str(self.python), "-m", "pipelines.runs.stage_runner", str(asked), str(answered)]
        with log.open("wb") as stream:
            subprocess.run(command, cwd=self.worktree, env=environment, stdout=stream, stderr=stream, check=False)
        if not answered.is_file():
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return {"error": lines[-1] if lines else "its runner ended and said nothing"}
        result: dict[str, Any] = read_json(answered)
        return result

    def _compare(self, name: str, entry: LockEntry) -> tuple[Output, ...]:
        found = {str(out["path"]): str(out["md5"]) for out in entry.get("outs", [])}
        recorded = {str(out["path"]): str(out["md5"]) for out in self.lock[name].get("outs", [])}
        outputs = []
        for path in {**recorded, **found}:
            old, new = recorded.get(path, ""), found.get(path, "")
            outputs.append(Output(path, old, new, "" if old == new else self._difference(path, old, new)))
        return tuple(outputs)

    def _difference(self, path: str, old: str, new: str) -> str:
        if not old or not new:
            return "was not put out by the run" if not old else "is not put out any more"
        try:
            before, after = read_listing(self.settings, old), read_listing(self.apart, new)
            files = sorted(file for file in before.keys() | after.keys() if before.get(file) != after.get(file))
            told = []
            for file in files[:5]:
                a, b = before.get(file), after.get(file)
                how = (
                    "there only once"
                    if a is None or b is None
                    else difference(object_path(self.settings, a), object_path(self.apart, b), file or path)
                )
                told.append(f"{file}: {how}" if file else how)
            return "; ".join(told) + (f"; and {len(files) - 5} files more" if len(files) > 5 else "")
        except ShoploomError as error:
            return f"by how much is not known: {error.message}"


def told(stage: StageAgain) -> str:
    """A line about a stage that was run again."""
    if stage.same:
        return f"{stage.name}: {len(stage.outputs)} outputs, bit-identical, {stage.seconds:.1f} s"
    first = next(output for output in stage.outputs if output.recorded != output.found)
    why = " (an input differed already)" if stage.inherited else ""
    return f"{stage.name}: {first.path} differs{why}: {first.difference}"


def _touches(path: str, changed: set[str]) -> bool:
    return any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in changed)


def _start_commit(settings: Settings, run: RunCommit) -> str:
    """The run's start commit; made again from the run commit where ``gc`` took it."""
    git = Git(settings.repository)
    if git.contents([run.start])[0] is not None:
        return run.start
    entries = [entry for entry in git.entries(run.commit) if entry.path != LOCK]
    return git.commit(git.write_tree(entries), [run.code_commit, run.data_commit], "Start again", run.time)


def _bring_raw_data(settings: Settings, apart: Settings, start: str) -> None:
    """Link the raw data, and the pinned champion, into the object store apart; they are rehashed when they are read."""
    pointers = read_pointers(Git(settings.repository), start)
    store = Store(settings)
    try:
        for path, md5 in pointers.items():
            try:
                files = store.files(md5)
                store.pull(file.md5 for file in files)
            except RunError as error:
                raise RunError(
                    f"{path}, which the run read, cannot be brought back: {error.message}",
                    mend=f"{error.mend}; shoploom lineage still shows what the run was made of",
                ) from error
            for each in {md5, *(file.md5 for file in files)}:
                source = store.cache_path(each)
                target = apart.home / source.relative_to(settings.home)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    _link(source, target)
    finally:
        store.close()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _discard(settings: Settings, folder: Path) -> None:
    """Remove what was made here; git forgets its worktree."""
    shutil.rmtree(folder, ignore_errors=True)
    Git(settings.repository).run("worktree", "prune")


def summary(found: Reproduction) -> str:
    """The verdict in one sentence."""
    if found.failed:
        return f"version {found.version} could not be made again: {found.failed}"
    first = found.first_difference
    if first is None:
        outputs = sum(len(stage.outputs) for stage in found.stages)
        return f"version {found.version} is bit-identical: {outputs} outputs of {len(found.stages)} stages"
    output = next(output for output in first.outputs if output.recorded != output.found)
    return f"version {found.version} differs first in stage {first.name}: {output.path}: {output.difference}"
