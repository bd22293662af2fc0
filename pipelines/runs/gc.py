"""What may go: old runs, worktrees and folders that nobody works in, and the objects that only they used.

Kept are the newest runs, the runs that are named (the champion's and its predecessor's), every data version, and
whatever is younger than a grace period, because a run in progress may be about to name it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError
from pipelines.runs import data_versions
from pipelines.runs.git import Git
from pipelines.runs.load_docs import old_refused
from pipelines.runs.locks import load_lock
from pipelines.runs.run_commits import IDS, RunCommit, list_runs, read_lock
from pipelines.runs.start import STARTS
from pipelines.runs.store import ObjectLostError, Store, remove
from pipelines.runs.worktrees import run_folder, worktree_path
from pipelines.settings import Settings

DAY = 24 * 3600


@dataclass(frozen=True)
class Garbage:
    """What :func:`collect` would remove.

    Args:
        runs: old runs.
        refs: refs that lead to them, by name, with the hash each holds.
        worktrees: folders under ``<home>/worktrees``.
        folders: of runs under ``<home>/runs``: their logs, and the landing of a refused ingest; and the Data Docs of
            refused loads.
        objects: files of the cache, of a remote that is a folder, and of the run cache.
        bytes: size of ``objects``; a file that is linked from a worktree takes its room until that goes too.
    """

    runs: tuple[RunCommit, ...]
    refs: dict[str, str]
    worktrees: tuple[Path, ...]
    folders: tuple[Path, ...]
    objects: tuple[Path, ...]
    bytes: int

    def lines(self) -> list[str]:
        """One line for each run, worktree and folder, and one for the objects."""
        named = [f"run {run.ref.rsplit('/', 1)[-1]}" for run in self.runs]
        named += [f"worktree {path}" for path in self.worktrees]
        named += [f"folder {path}" for path in self.folders]
        return [*named, f"{len(self.objects)} objects, {self.bytes / 1e6:.1f} MB"]


def plan(
    settings: Settings,
    keep: int,
    keep_runs: Collection[str] = (),
    grace_seconds: int = DAY,
    refused_seconds: int = 30 * DAY,
) -> Garbage:
    """List what may go, and touch nothing.

    Args:
        settings: the repository and the state folder.
        keep: how many of the newest runs stay; at least 1.
        keep_runs: refs or commits of runs that stay whatever their age.
        grace_seconds: what is younger stays.
        refused_seconds: Data Docs of refused loads that are younger stay.

    Raises:
        ConfigError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise ConfigError(f"keep is {keep}", mend="keep at least one run")
    git, runs, now = Git(settings.repository), list_runs(settings), time.time()
    kept = [run for place, run in enumerate(runs) if place < keep or {run.ref, run.commit} & set(keep_runs)]
    going = tuple(run for run in runs if run not in kept)
    old = now - grace_seconds
    worktrees, working = _worktrees(settings, runs, old)
    refs = {run.ref: run.commit for run in going}
    refs |= {ref: at for ref, at in git.refs(IDS).items() if at in refs.values()}
    needed = {run.start[:12] for run in kept} | {path.name.split("-")[0] for path in working}
    starts = git.refs(STARTS)
    refs |= {ref: at for ref, at in starts.items() if at[:12] not in needed and _made(git, ref) < old}
    pins = [run.commit for run in kept] + [at for ref, at in starts.items() if ref not in refs]
    used = _used(settings, git, kept, working, pins)
    objects = tuple(path for path in _objects(settings, used) if path.stat().st_mtime < old)
    folders = (*_folders(settings, kept, old), *old_refused(settings, now - refused_seconds))
    return Garbage(going, refs, worktrees, folders, objects, sum(path.stat().st_size for path in objects))


def collect(settings: Settings, garbage: Garbage) -> int:
    """Remove what :func:`plan` listed.

    Returns:
        The bytes of the objects removed.

    Raises:
        RunError: a ref was moved since; nothing more is removed then.
    """
    git = Git(settings.repository)
    for ref, at in garbage.refs.items():
        git.delete_ref(ref, at)
    for path in (*garbage.worktrees, *garbage.folders):
        remove(path)
    git.run("worktree", "prune")
    freed = 0
    for path in garbage.objects:
        freed += path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
    return freed


def _worktrees(settings: Settings, runs: list[RunCommit], old: float) -> tuple[tuple[Path, ...], list[Path]]:
    """The worktrees that may go (their run is finished, or nobody touched them lately), and the others."""
    finished = {worktree_path(settings, run.start, run.run_id) for run in runs}
    folder = settings.home / "worktrees"
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    going = tuple(path for path in found if path in finished or _touched(path) < old)
    return going, [path for path in found if path not in going]


def _folders(settings: Settings, kept: list[RunCommit], old: float) -> tuple[Path, ...]:
    """The run folders, of ingests and of runs that failed too, that no kept run wrote and nobody touched lately."""
    needed, top = {run_folder(settings, run.run_id) for run in kept}, settings.home / "runs"
    found = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    return tuple(
        path
        for path in found
        if path not in needed and max(inner.stat().st_mtime for inner in (path, *path.iterdir())) < old
    )


def _touched(worktree: Path) -> float:
    marks = (worktree, worktree / "dvc.lock", worktree / ".dvc" / "tmp" / "lock", worktree / "data")
    return max(path.stat().st_mtime for path in marks if path.exists())


def _made(git: Git, ref: str) -> float:
    """When a ref was last set, by its log; the commit's own date follows from its parents."""
    log = Path(git.text("rev-parse", "--path-format=absolute", "--git-path", f"logs/{ref}"))
    return log.stat().st_mtime if log.exists() else 0.0


def _used(settings: Settings, git: Git, kept: list[RunCommit], working: list[Path], pins: list[str]) -> set[str]:
    locks = [read_lock(settings, run) for run in kept]
    for path in working:
        lock = path / "dvc.lock"
        if lock.is_file():
            locks.append(load_lock(lock.read_bytes()))
    tops = {str(item["md5"]) for lock in locks for entry in lock.values() for item in _items(entry) if "md5" in item}
    versions = git.text("rev-list", data_versions.BRANCH, "--").split() if git.find(data_versions.BRANCH) else []
    for commit in dict.fromkeys([*versions, *pins]):
        tops |= set(data_versions.read_pointers(git, commit).values())
    store, used = Store(settings), set(tops)
    try:
        for md5 in tops:
            if md5.endswith(".dir"):
                try:
                    used |= {file.md5 for file in store.files(md5)}
                except ObjectLostError:
                    continue
    finally:
        store.close()
    return used


def _items(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [*entry.get("deps", []), *entry.get("outs", [])]


def _objects(settings: Settings, used: set[str]) -> Iterator[Path]:
    tops = [settings.home / "cache"]
    if "://" not in settings.remote:
        tops.append(Path(settings.remote))
    for top in tops:
        for path in (top / "files" / "md5").glob("??/*"):
            if path.parent.name + path.name not in used:
                yield path
        for path in (top / "runs").glob("??/*/*"):
            if not _whole(path, used):
                yield path


def _whole(entry: Path, used: set[str]) -> bool:
    """Whether all outputs of a run cache entry stay."""
    try:
        document = yaml.safe_load(entry.read_text(encoding="utf-8"))
        return all(str(out["md5"]) in used for out in document["outs"])
    except (yaml.YAMLError, KeyError, TypeError, OSError):
        return False
