"""A stage's inputs: what hash each must have, from whom, and the same bytes in the worktree, rehashed.

A lock entry or a ``.dvc`` file gives the hash of what was made or landed; the rest is code of the start commit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import RunError
from pipelines.runs.git import Git
from pipelines.runs.store import File, Store, file_md5, remove, translated

if TYPE_CHECKING:
    from dvc.dependency import Dependency

CORRECT = "correct deps and params in dvc.yaml, or params.yaml"
"""The mend where DVC refuses what a stage is declared to read."""


@dataclass(frozen=True)
class Input:
    """An input that lies in the object store.

    Args:
        path: relative to the worktree.
        md5: of the file or, ending in ``.dir``, of the directory listing.
        producer: ``stage prepare`` or ``data/raw/events.dvc``, for messages.
    """

    path: str
    md5: str
    producer: str


def resolve(store: Store, worktree: Path, stage: Any, upstream: Mapping[str, dict[str, Any]]) -> list[Input]:
    """Give each of a stage's DVC dependencies its hash, without needing its bytes.

    Args:
        store: the object store, opened on the worktree.
        worktree: the run's worktree.
        stage: DVC's stage; its dependencies' hashes are filled in.
        upstream: stage -> lock entry.

    Returns:
        Those that the object store holds.

    Raises:
        RunError: nobody gives an input's hash; the message names the stage that should.
    """
    from dvc.dependency import ParamsDependency

    committed = [entry.path for entry in Git(worktree).entries("HEAD")]
    known = _known(worktree, committed, upstream)
    inputs = []
    for dep in stage.deps:
        found = None if isinstance(dep, ParamsDependency) else _find(store, dep.def_path, known)
        if found is not None:
            inputs.append(found)
            _fill(dep, found.md5, known.get(dep.def_path, ({}, ""))[0])
            continue
        if not isinstance(dep, ParamsDependency) and not _committed(dep.def_path, committed):
            raise _nobody(worktree, stage.name, dep.def_path)
        with translated(f"hash {dep.def_path}, an input of stage {stage.name}", CORRECT):
            _forget_bytecode(worktree / dep.def_path)
            dep.save()
    return inputs


def bring(store: Store, needed: Input) -> None:
    """Make the worktree hold exactly an input's bytes: rehash what is there, link from the cache what is not right.

    Raises:
        RunError: the cached content is not what its hash says, or is lost; the message names the file and its producer.
    """
    top = store.root / needed.path
    files = store.files(needed.md5)
    paths = {top / file.path: file for file in files}
    _remove_others(top, paths, directory=needed.md5.endswith(".dir"))
    wrong = [path for path, right in zip(paths, _parallel(_is_right, paths.items()), strict=True) if not right]
    try:
        store.pull(paths[path].md5 for path in wrong)
    except RunError as error:
        raise type(error)(f"{needed.path} (made by {needed.producer}): {error.message}", mend=error.mend) from error
    for path in wrong:
        file = paths[path]
        store.link_file(file.md5, path, needed.producer, f"{needed.path}/{file.path}".rstrip("/"))
    _remember(store, paths)


def _forget_bytecode(folder: Path) -> None:
    """Remove what Python left in a folder of code: it is no part of the start commit."""
    if folder.is_dir():
        for left in list(folder.rglob("__pycache__")):
            remove(left)


def _parallel(check: Any, items: Any) -> list[bool]:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(check, items))


def _is_right(item: tuple[Path, File]) -> bool:
    path, file = item
    return path.is_file() and not path.is_symlink() and file_md5(path) == file.md5


def _remove_others(top: Path, paths: Mapping[Path, File], *, directory: bool) -> None:
    if top.is_symlink() or (top.exists() and top.is_dir() != directory):
        remove(top)
    if directory:
        for path in list(top.rglob("*")) if top.is_dir() else []:
            if path not in paths and (path.is_symlink() or not path.is_dir()):
                path.unlink()
        top.mkdir(parents=True, exist_ok=True)


def _remember(store: Store, paths: Mapping[Path, File]) -> None:
    """Tell DVC's state what was just hashed, so that it does not hash the same bytes again."""
    from dvc_data.hashfile.hash_info import HashInfo

    with translated("note the hashes of inputs"):
        noted = [(str(path), HashInfo("md5", file.md5), None) for path, file in paths.items()]
        store.repo.state.save_many(noted, store.repo.fs)


def _committed(path: str, committed: list[str]) -> bool:
    """Whether a path is code: what else lies there was left by a stage that failed."""
    return any(known == path or known.startswith(f"{path}/") for known in committed)


def _known(
    worktree: Path, committed: list[str], upstream: Mapping[str, dict[str, Any]]
) -> dict[str, tuple[dict[str, Any], str]]:
    """Path -> its lock entry's or ``.dvc`` file's record, and who gives it."""
    import yaml

    known: dict[str, tuple[dict[str, Any], str]] = {}
    for path in committed:
        if path.endswith(".dvc") and path.startswith("data/"):
            document = yaml.safe_load((worktree / path).read_text(encoding="utf-8"))
            for out in document["outs"]:
                known[(Path(path).parent / str(out["path"])).as_posix()] = (out, path)
    for stage, recorded in upstream.items():
        for out in recorded.get("outs", []):
            known[str(out["path"])] = (out, f"stage {stage}")
    return known


def _find(store: Store, path: str, known: Mapping[str, tuple[dict[str, Any], str]]) -> Input | None:
    if path in known:
        record, producer = known[path]
        return Input(path, str(record["md5"]), producer)
    for owner, (record, producer) in known.items():
        if not path.startswith(f"{owner}/"):
            continue
        below = path.removeprefix(f"{owner}/")
        files = store.files(str(record["md5"]))
        for file in files:
            if file.path == below:
                return Input(path, file.md5, producer)
        inside = [File(f.path.removeprefix(f"{below}/"), f.md5) for f in files if f.path.startswith(f"{below}/")]
        if not inside:
            raise RunError(f"{owner} of {producer} holds no {below}", mend="list the output itself in deps")
        return Input(path, store.add_directory(inside), producer)
    return None


def _fill(dep: Dependency, md5: str, record: Mapping[str, Any]) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    dep.hash_info = HashInfo("md5", md5)
    directory = md5.endswith(".dir")
    dep.meta = Meta(size=record.get("size"), nfiles=record.get("nfiles"), isdir=directory)


def _nobody(worktree: Path, stage: str, path: str) -> RunError:
    import yaml

    declared = yaml.safe_load((worktree / "dvc.yaml").read_text(encoding="utf-8")).get("stages") or {}
    for name, described in declared.items():
        for kind in ("outs", "metrics", "plots"):
            for out in described.get(kind) or []:
                given = next(iter(out)) if isinstance(out, dict) else str(out)
                if path == given or path.startswith(f"{given}/"):
                    return RunError(
                        f"{path}, an input of stage {stage}, is made by stage {name}, whose lock entry was not passed",
                        mend=f"run stage {name} first: shoploom run",
                    )
    if path.startswith("data/raw/"):
        table = path.split("/")[2]
        return RunError(
            f"{path}, an input of stage {stage}, is not in the data version",
            mend=f"land {table} first: shoploom ingest",
        )
    return RunError(
        f"{path}, an input of stage {stage}, is neither in the start commit nor made by a stage",
        mend="commit it, or correct deps in dvc.yaml",
    )
