"""Data versions: the branch ``data/main`` of raw data, apart from the code's branches.

Its tree holds ``data/raw/<table>.dvc`` alone, one per table, each tracking a directory of Parquet files, so DVC's
directory object lists every partition's hash. Landing adds or replaces the partitions landed, and nothing else is read.

    python -m pipelines.runs.data_versions --landing DIRECTORY --message TEXT
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, RunError
from pipelines.runs.git import NOTHING, Entry, Git, RefMovedError, trailers
from pipelines.runs.store import File, ObjectLostError, Store, file_md5
from pipelines.settings import Settings
from pipelines.tables import EVENTS, TABLES

BRANCH = "refs/heads/data/main"
RAW = "data/raw"

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,99}\.parquet")
_ATTEMPTS = 5


@dataclass(frozen=True)
class DataVersion:
    """A commit of ``data/main``.

    Args:
        commit: its hash.
        listings: table -> md5 of its directory listing, ending in ``.dir``.
        changed: ``<table>/<file>`` of what this landing added or replaced; empty when it changed nothing.
        date: newest event of all versions so far, in seconds since the epoch.
    """

    commit: str
    listings: dict[str, str]
    date: int
    changed: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def latest_data_version(settings: Settings) -> DataVersion | None:
    """The tip of ``data/main``, or None before the first landing."""
    git = Git(settings.repository)
    tip = git.find(BRANCH)
    return read_version(git, tip) if tip else None


def partition_hashes(settings: Settings, version: DataVersion) -> dict[str, dict[str, str]]:
    """Table -> file name -> md5, for every partition of a data version."""
    store = Store(settings)
    try:
        return {
            table: {file.path: file.md5 for file in store.files(listing)} for table, listing in version.listings.items()
        }
    finally:
        store.close()


def changes_of(settings: Settings, landing: Path) -> tuple[str, ...]:
    """``<table>/<file>`` of what a landing directory would add, replace, remove, or bring back where the object store
    lost it; empty when all of it is there.

    Args:
        settings: the repository and the cache.
        landing: as for :func:`commit_landing`.

    Raises:
        DataError: the directory holds no table, or a name or link that does not belong.
    """
    landed = {table: {path.name: file_md5(path) for path in sorted(paths)} for table, paths in _landed(landing).items()}
    tip = latest_data_version(settings)
    listings = tip.listings if tip else {}
    changed: list[str] = []
    store = Store(settings)
    try:
        for table, new in landed.items():
            old = (_stored(store, listings[table]) or {}) if table in listings else {}
            names = new if TABLES[table].partitioned else old.keys() | new.keys()
            kept = set(new.values()) & set(old.values())
            lost = set() if store.available(kept) else set(store.missing(kept))
            differs = (name for name in sorted(names) if old.get(name) != new.get(name) or old[name] in lost)
            changed += [f"{table}/{name}" for name in differs]
    finally:
        store.close()
    return tuple(changed)


def commit_landing(settings: Settings, landing: Path, message: str) -> DataVersion:
    """Store and push the partitions of a landing directory and commit them on top of ``data/main``.

    Args:
        settings: the repository, the cache and the remote.
        landing: ``<table>/<file>.parquet`` for any tables of the contract. Partitioned tables get these files added
            or replaced; the others are replaced whole.
        message: the commit's first line.

    Returns:
        The new version; or the tip itself, with nothing in ``changed``, when the landing holds nothing new.

    Raises:
        DataError: the directory holds no table, or a name or link that does not belong.
        RunError: git or the object store failed, the branch is checked out, or the object store lost the tip's list of
            partitions and the landing has fewer; the branch is then as it was.
    """
    git = Git(settings.repository)
    landed = _landed(landing)
    if BRANCH in git.checked_out():
        raise RunError("data/main is checked out; a landing would change it under you", mend="git switch main")
    store = Store(settings)
    try:
        files = {
            table: [File(path.name, store.add_file(path)) for path in sorted(paths)] for table, paths in landed.items()
        }
        date = max((newest_event(path) for path in landed.get(EVENTS.name, [])), default=0)
        for _ in range(_ATTEMPTS):
            try:
                return _append(git, store, files, message, date)
            except RefMovedError:
                continue
        raise RunError("data/main keeps moving while this landing is committed", mend="run the same ingest again")
    finally:
        store.close()


def newest_event(path: Path) -> int:
    """The newest timestamp of an events partition, from the file's own statistics, in seconds since the epoch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        described = pq.ParquetFile(path).metadata
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", mend="land it again") from error
    newest = 0
    for group in range(described.num_row_groups):
        for column in range(described.num_columns):
            chunk = described.row_group(group).column(column)
            if chunk.path_in_schema == "timestamp" and chunk.statistics is not None and chunk.statistics.has_min_max:
                newest = max(newest, int(chunk.statistics.max.timestamp()))
    return newest


def _landed(landing: Path) -> dict[str, list[Path]]:
    tables: dict[str, list[Path]] = {}
    for folder in sorted(landing.iterdir()) if landing.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        if folder.name not in TABLES or folder.is_symlink():
            raise DataError(f"{folder} is not a table of the contract", mend=f"one of {', '.join(TABLES)}")
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for path in files:
            if path.is_symlink() or not path.is_file() or not _FILE.fullmatch(path.name):
                raise DataError(
                    f"{path} is not a Parquet file with a plain name", mend="name partitions like 2017-W48.parquet"
                )
        if files:
            tables[folder.name] = files
    if not tables:
        raise DataError(f"{landing} holds nothing to commit", mend="land it first: shoploom ingest")
    return tables


def _append(git: Git, store: Store, files: dict[str, list[File]], message: str, date: int) -> DataVersion:
    tip = git.find(BRANCH)
    before = read_version(git, tip) if tip else DataVersion("", {}, 0)
    entries = {entry.path: entry for entry in git.entries(tip)} if tip else {}
    listings, changed, pushed = dict(before.listings), [], []
    for table, landed in files.items():
        old = _stored(store, listings[table]) if table in listings else {}
        if old is None:
            _refuse_fewer(git, before.commit, table, len(landed))
            old = {}
        new = {**(old if TABLES[table].partitioned else {}), **{file.path: file.md5 for file in landed}}
        pushed += [file.md5 for file in landed]
        if new == old:
            continue
        listing = store.add_directory(File(file, md5) for file, md5 in sorted(new.items()))
        pushed.append(listing)
        if listing == listings.get(table):
            continue
        listings[table], path = listing, f"{RAW}/{table}.dvc"
        entries[path] = Entry("100644", git.write_blob(pointer(table, listing, len(new))), path)
        changed += [f"{table}/{file}" for file in sorted(old.keys() | new.keys()) if old.get(file) != new.get(file)]
    store.push(pushed)
    if not changed and tip:
        return before
    date = max(date, before.date)
    text = f"{message.strip()}\n\nShoploom-Newest: {date}\n"
    stamp = max(date, git.date(tip) if tip else 0)
    commit = git.commit(git.write_tree([entries[path] for path in sorted(entries)]), [tip] if tip else [], text, stamp)
    git.update_ref(BRANCH, commit, tip or NOTHING)
    return DataVersion(commit, listings, date, tuple(changed))


def _stored(store: Store, listing: str) -> dict[str, str] | None:
    """File name -> md5 of a table's listing; None when the object store lost it."""
    try:
        return {file.path: file.md5 for file in store.files(listing)}
    except ObjectLostError:
        return None


def _refuse_fewer(git: Git, tip: str, table: str, landed: int) -> None:
    """Without the list of what there was, a landing takes its place only if it is as large."""
    import yaml

    document = yaml.safe_load(git.read(tip, f"{RAW}/{table}.dvc") or b"")
    there_were = int(document["outs"][0].get("nfiles") or 0)
    if landed < there_were:
        raise RunError(
            f"{table}: the object store lost the list of the {there_were} partitions of data version {tip[:12]}, and "
            f"this landing has {landed}",
            mend="bring the remote back, or land all of it again: shoploom ingest",
        )


def pointer(name: str, listing: str, count: int) -> bytes:
    """The ``.dvc`` file that tracks directory ``name`` beside it."""
    return f"outs:\n- md5: {listing}\n  nfiles: {count}\n  hash: md5\n  path: {name}\n".encode()


def read_version(git: Git, commit: str) -> DataVersion:
    """The data version that a commit of ``data/main`` holds."""
    pointers = read_pointers(git, commit)
    listings = {Path(path).name: md5 for path, md5 in pointers.items() if path.startswith(f"{RAW}/")}
    newest = trailers(git.message(commit)).get("newest", "0")
    return DataVersion(commit, listings, int(newest) if newest.isdigit() else 0)


def read_pointers(git: Git, commit: str) -> dict[str, str]:
    """Path -> md5 of what the ``.dvc`` files below ``data/`` track in a data version, start or run commit."""
    import yaml

    found = {}
    for entry in git.entries(commit):
        if entry.path.startswith("data/") and entry.path.endswith(".dvc"):
            document = yaml.safe_load(git.run("cat-file", "blob", entry.blob))
            found[entry.path.removesuffix(".dvc")] = str(document["outs"][0]["md5"])
    return found


def main() -> None:
    """Commit a landing directory; print the version as JSON."""
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="python -m pipelines.runs.data_versions", description=main.__doc__)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--message", required=True)
    given = parser.parse_args()
    print(json.dumps(commit_landing(Settings(), given.landing, given.message).to_dict()))


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
