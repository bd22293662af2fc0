"""Run one stage of a run in its worktree: a process of its own, DVC imported and opened once.

    python -m pipelines.runs.stage_runner REQUEST.json RESULT.json

1. The worktree is made or found, and refused if its ``dvc.yaml`` is not the one that the DAG was rendered from.
2. The hashes of the stage's inputs come from the upstream lock entries, the ``.dvc`` files and the code itself. If
   DVC's run cache knows them, the outputs are linked from the cache, checked, and the stage is *cached*.
3. Otherwise each input is brought to the worktree by its hash and rehashed, whatever its mode: a file that is not what
   its hash says stops the run. The command runs in this process's group, so killing the group leaves no orphan.
4. The outputs go to the cache, the run cache and the remote, in this order; the lock entry is returned.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.artifacts import atomic_file, file_sha256, read_json, write_json
from pipelines.errors import RunError, ShoploomError, near_names
from pipelines.runs import run_cache
from pipelines.runs.commands import run_commands
from pipelines.runs.inputs import CORRECT, bring, resolve
from pipelines.runs.locks import LOCK, LockEntry, dump_lock, load_lock
from pipelines.runs.store import Store, remove, translated
from pipelines.runs.worktrees import changed_files, prepare_worktree
from pipelines.settings import Settings
from pipelines.stage_environment import caches_are_off


@dataclass(frozen=True)
class StageRequest:
    """What a task hands to the runner.

    Args:
        stage: its name in ``dvc.yaml``.
        start: the start commit.
        run_id: Airflow's run id.
        graph_sha256: SHA-256 of the ``dvc.yaml`` that the DAG was rendered from.
        upstream: stage -> lock entry, at least of the stages that put out this one's inputs.
    """

    stage: str
    start: str
    run_id: str
    graph_sha256: str
    upstream: dict[str, LockEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """What the runner hands back.

    Args:
        stage: its name.
        lock_entry: what DVC recorded; None when the stage failed.
        cached: whether the outputs came from DVC's run cache, and the command did not run.
        seconds: the command's own time; 0 when cached.
        error: the stage's own text, or the runner's; None when all went well.
    """

    stage: str
    lock_entry: LockEntry | None
    cached: bool
    seconds: float
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_stage(settings: Settings, request: StageRequest) -> StageResult:
    """Run one stage, or find its outputs.

    Raises:
        RunError: an input is missing, lost or corrupted, or the worktree is not the start commit.
        StageError: the command failed or left an output out; the message is its own.
    """
    worktree = prepare_worktree(settings, request.start, request.run_id)
    _refuse_other_graph(worktree, request)
    store = Store(settings, worktree)
    os.chdir(worktree)
    try:
        with store.repo.lock:
            (worktree / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
            stage = _load(store, worktree, request)
            inputs = resolve(store, worktree, stage, request.upstream)
            key = run_cache.key(stage)
            entry = _restore(store, stage, key) if not caches_are_off() else None
            if entry is None:
                _refuse_changed_code(worktree)
                for needed in inputs:
                    bring(store, needed)
                _clear_outputs(stage)
        seconds, cached = 0.0, entry is not None
        if entry is None:
            seconds = run_commands(settings, stage, worktree)
            with store.repo.lock:
                entry = _save(store, stage, key)
        if not cached or not run_cache.in_remote(store, key):
            store.push(_objects(store, entry))
            run_cache.push(store, key)
        with store.repo.lock:
            _write_lock(worktree, {**request.upstream, request.stage: entry})
        return StageResult(request.stage, entry, cached, round(seconds, 3))
    finally:
        store.close()


def answer(settings: Settings, request: StageRequest) -> StageResult:
    """As :func:`run_stage`, with whatever it raises told in the result.

    The traceback of what nobody raised on purpose goes to standard error, which is the stage's log.
    """
    try:
        return run_stage(settings, request)
    except ShoploomError as error:
        shown = str(error)
    except Exception as error:
        traceback.print_exc()
        shown = f"{type(error).__name__}: {error}"
    return StageResult(request.stage, None, False, 0.0, shown)


def _refuse_other_graph(worktree: Path, request: StageRequest) -> None:
    graph = worktree / "dvc.yaml"
    if not graph.is_file():
        _refuse_changed_code(worktree)
        raise RunError(
            f"start commit {request.start[:12]} holds no dvc.yaml",
            mend="git add dvc.yaml && git commit && shoploom run",
        )
    found = file_sha256(graph)
    if found != request.graph_sha256:
        raise RunError(
            f"dvc.yaml of start commit {request.start[:12]} is not the one that this DAG was rendered from"
            f" ({found[:12]}, not {request.graph_sha256[:12]})",
            mend="trigger the train DAG again: Airflow renders it anew from the current dvc.yaml",
        )


def _refuse_changed_code(worktree: Path) -> None:
    changed = changed_files(worktree)
    if changed:
        raise RunError(
            f"{changed[0]} in {worktree} is not what the start commit holds",
            mend=f"git -C {worktree} checkout -- . && shoploom run",
        )


def _load(store: Store, worktree: Path, request: StageRequest) -> Any:
    from dvc.dvcfile import load_file
    from dvc.stage.exceptions import StageNotFound

    _write_lock(worktree, request.upstream)
    with translated(f"read stage {request.stage} of dvc.yaml", CORRECT):
        stages = load_file(store.repo, str(worktree / "dvc.yaml")).stages
        try:
            return stages[request.stage]
        except StageNotFound:
            near = near_names(request.stage, list(stages))
            raise RunError(f"dvc.yaml has no stage {request.stage!r}", mend=near) from None


def _restore(store: Store, stage: Any, key: str) -> LockEntry | None:
    entry = run_cache.find(store, key)
    if entry is None or not store.available(out["md5"] for out in entry["outs"]):
        return None
    contents = {str(out["path"]): store.files(str(out["md5"])) for out in entry["outs"]}
    if not store.available(file.md5 for files in contents.values() for file in files):
        return None
    _clear_outputs(stage)
    for out in entry["outs"]:
        path = store.root / out["path"]
        if out["md5"].endswith(".dir"):
            path.mkdir(parents=True, exist_ok=True)
        for file in contents[str(out["path"])]:
            shown = f"{out['path']}/{file.path}".rstrip("/")
            store.link_file(file.md5, path / file.path, f"stage {stage.name}", shown)
    return entry


def _clear_outputs(stage: Any) -> None:
    """Remove a stage's outputs and what a killed attempt left beside them under temporary names."""
    for out in stage.outs:
        path = Path(out.fs_path)
        remove(path)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            remove(left)


def _save(store: Store, stage: Any, key: str) -> LockEntry:
    with translated(f"save the outputs of stage {stage.name}"):
        stage.save_outs()
        stage.commit()
        return run_cache.save(store, stage, key)


def _objects(store: Store, entry: LockEntry) -> list[str]:
    hashes = [str(out["md5"]) for out in entry["outs"]]
    return [*(file.md5 for md5 in hashes for file in store.files(md5)), *hashes]


def _write_lock(worktree: Path, entries: Mapping[str, LockEntry]) -> None:
    """Merge lock entries into the worktree's ``dvc.lock``; the caller holds the worktree's lock."""
    path = worktree / LOCK
    before = load_lock(path.read_bytes()) if path.is_file() else {}
    merged = {**before, **entries}
    if merged == before:
        return
    with atomic_file(path) as temporary:
        temporary.write_bytes(dump_lock(merged))


def main(arguments: list[str] | None = None) -> int:
    """Read a request, run its stage, write the result; exit status 1 when it holds an error."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m pipelines.runs.stage_runner", description=main.__doc__)
    parser.add_argument("request", type=Path)
    parser.add_argument("result", type=Path)
    given = parser.parse_args(arguments)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    result_path = given.result.resolve()
    result_path.unlink(missing_ok=True)
    result = answer(Settings(), StageRequest(**read_json(given.request)))
    write_json(result.to_dict(), result_path)
    if result.error:
        print(result.error, file=sys.stderr)
    return 1 if result.error else 0


if __name__ == "__main__":
    sys.exit(main())
