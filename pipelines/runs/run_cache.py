"""DVC's run cache, one stage at a time: command, inputs and parameters -> the outputs they gave.

The key is DVC's own (``dvc.stage.cache``), so `dvc repro` and shoploom share entries; entries of one key are looked
for in the remote only when the cache has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.artifacts import atomic_file
from pipelines.runs.locks import LockEntry, plain
from pipelines.runs.store import Store, translated


def key(stage: Any) -> str:
    """The run cache key of a stage whose dependencies have their hashes."""
    from dvc.stage.cache import _get_cache_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    with translated(f"describe stage {stage.name}"):
        return str(_get_cache_hash(to_single_stage_lockfile(stage), key=True))


def find(store: Store, key: str) -> LockEntry | None:
    """The newest lock entry under a key, brought from the remote if need be; a damaged one counts as none."""
    cache = store.repo.stage_cache
    folder = Path(cache._get_cache_dir(key))
    with translated("read the run cache"):
        if not _values(folder):
            _copy(store, key, to_remote=False)
        for value in _values(folder):
            entry = cache._load_cache(key, value)
            if entry and all("md5" in out for out in entry.get("outs", [])):
                return plain(entry)
    return None


def save(store: Store, stage: Any, key: str) -> LockEntry:
    """Keep what a stage has just put out; its outputs are in the cache already.

    Returns:
        Its lock entry.
    """
    from dvc.stage.cache import _get_cache_hash
    from dvc.stage.serialize import to_single_stage_lockfile
    from dvc.utils.serialize import dump_yaml

    cache = store.repo.stage_cache
    recorded = to_single_stage_lockfile(stage)
    for out in cache._uncached_outs(stage, recorded):
        out.commit()
    path = Path(cache._get_cache_path(key, _get_cache_hash(recorded)))
    entry = plain(recorded)
    with atomic_file(path) as temporary:
        dump_yaml(str(temporary), entry)
    return entry


def in_remote(store: Store, key: str) -> bool:
    """Whether the remote has any entry under a key."""
    with translated("ask the remote"):
        remote = store.repo.cloud.get_remote_odb(command="push --run-cache", hash_name="md5-dos2unix")
        return bool(remote.fs.exists(_folder(remote, key)))


def push(store: Store, key: str) -> None:
    """Send the entries of a key to the remote; push their outputs first."""
    with translated("push the run cache"):
        _copy(store, key, to_remote=True)


def _copy(store: Store, key: str, *, to_remote: bool) -> None:
    from dvc_objects.fs import generic, localfs

    remote = store.repo.cloud.get_remote_odb(command="run cache", hash_name="md5-dos2unix")
    here, there = store.repo.stage_cache._get_cache_dir(key), _folder(remote, key)
    source_fs, source, target_fs, target = localfs, here, remote.fs, there
    if not to_remote:
        source_fs, source, target_fs, target = remote.fs, there, localfs, here
    if not source_fs.exists(source):
        return
    for path in source_fs.find(source):
        name = source_fs.name(path)
        if not name.startswith("."):
            generic.copy(source_fs, path, target_fs, target_fs.join(target, name))


def _folder(remote: Any, key: str) -> str:
    return str(remote.fs.join(remote.path, "runs", key[:2], key))


def _values(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return [path.name for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)]
