"""Data versions: the branch ``data/main`` of raw data, apart from the code's branches.

Its tree holds ``data/raw/<table>.dvc``, one per table, each tracking a directory of Parquet files, so DVC's directory
object lists every partition's hash; and ``data/sources.json``: the shop's own files that what this version changed was
read from. Landing adds or replaces the partitions landed, and nothing else is read.
The commit says under which key its users are known (:mod:`pipelines.pseudonyms`).

    python -m pipelines.runs.data_versions --landing DIRECTORY --message TEXT
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import DataError, RunError
from pipelines.pseudonyms import key_of
from pipelines.runs.git import NOTHING, Entry, Git, RefMovedError, trailers
from pipelines.runs.store import File, ObjectLostError, Store, file_md5
from pipelines.settings import Settings
from pipelines.sources import raw_files
from pipelines.tables import EVENTS, TABLES

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BRANCH = "refs/heads/data/main"
RAW = "data/raw"
SOURCES = f"data/{raw_files.SOURCES}"

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
        user_key: id of the key that its user ids are pseudonyms under; empty where they are raw.
    """

    commit: str
    listings: dict[str, str]
    date: int
    changed: tuple[str, ...] = field(default=())
    user_key: str = ""

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
            old = listed(store, listings, table) or {}
            names = new if TABLES[table].partitioned else old.keys() | new.keys()
            kept = set(new.values()) & set(old.values())
            lost = set() if store.available(kept) else set(store.missing(kept))
            differs = (name for name in sorted(names) if old.get(name) != new.get(name) or old[name] in lost)
            changed += [f"{table}/{name}" for name in differs]
    finally:
        store.close()
    return tuple(changed)


class PartitionMovedError(RunError):
    """Another load made a new version of a partition that this one was merged with: merge and validate again."""


@dataclass(frozen=True)
class Onto:
    """What a landing was made to be put on.

    Args:
        partitions: ``<table>/<file>`` of landed files -> md5 of the stored file that it was merged with, None where
            there was none; a partition that is another one by now is not overwritten.
        commit: the data version whose every user id the landing gives again under a new key; else empty.
    """

    partitions: Mapping[str, str | None] = field(default_factory=dict)
    commit: str = ""


def commit_landing(settings: Settings, landing: Path, message: str, onto: Onto | None = None) -> DataVersion:
    """Store and push the partitions of a landing directory and commit them on top of ``data/main``.

    Loads that end together all get in: whoever finds the branch moved builds on what is there now.

    Args:
        settings: the repository, the cache and the remote.
        landing: ``<table>/<file>.parquet`` for any tables of the contract. Partitioned tables get these files added
            or replaced; the others are replaced whole.
        message: the commit's first line.
        onto: what the landing was merged with, if anything.

    Returns:
        The new version; or the tip itself, with nothing in ``changed``, when the landing holds nothing new.

    Raises:
        DataError: the directory holds no table, or a name or link that does not belong, or user ids of another key than
            the data version's.
        PartitionMovedError: ``onto`` is not what is there now.
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
        load = _Load(files, message, date, user_key_of(landed), onto or Onto(), raw_files.read_origins(landing))
        for _ in range(_ATTEMPTS):
            try:
                return _append(git, store, load)
            except RefMovedError:
                continue
        raise RunError("data/main keeps moving while this landing is committed", mend="run the same ingest again")
    finally:
        store.close()


@dataclass(frozen=True)
class _Load:
    """Stored files of each table, ready to be committed; ``user_key`` is None where no table has user ids, ``origins``
    where the landing was made of what is stored."""

    files: dict[str, list[File]]
    message: str
    date: int
    user_key: str | None
    onto: Onto
    origins: raw_files.Origins | None


def newest_event(path: Path) -> int:
    """The newest timestamp of an events partition, from the file's own statistics, in seconds since the epoch."""
    described = _described(path).metadata
    newest = 0
    for group in range(described.num_row_groups):
        for column in range(described.num_columns):
            chunk = described.row_group(group).column(column)
            if chunk.path_in_schema == "timestamp" and chunk.statistics is not None and chunk.statistics.has_min_max:
                newest = max(newest, int(chunk.statistics.max.timestamp()))
    return newest


def user_key_of(landed: Mapping[str, Iterable[Path]]) -> str | None:
    """The one key that a landing's user ids were hashed with, empty where they are raw; None without such a table.

    Raises:
        DataError: there are several.
    """
    paths = [path for table, files in landed.items() if "user_id" in TABLES[table].schema.names for path in files]
    keys = {key_of(_described(path).schema_arrow) for path in paths}
    if len(keys) > 1:
        raise DataError("the landing holds user ids of several keys", mend="land it again: shoploom ingest")
    return keys.pop() if keys else None


def _described(path: Path) -> ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", mend="land it again") from error


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


def _append(git: Git, store: Store, load: _Load) -> DataVersion:
    tip = git.find(BRANCH)
    before = read_version(git, tip) if tip else DataVersion("", {}, 0)
    user_key = _key_after(before, load)
    entries = {entry.path: entry for entry in git.entries(tip)} if tip else {}
    listings, changed, pushed = dict(before.listings), [], []
    replaced: dict[str, str] = {}
    for table, landed in load.files.items():
        old = listed(store, listings, table)
        if old is None:
            _refuse_fewer(git, before.commit, table, len(landed))
            old = {}
        _refuse_moved(load.onto, table, landed, old)
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
        differing = [file for file in sorted(old.keys() | new.keys()) if old.get(file) != new.get(file)]
        changed += [f"{table}/{file}" for file in differing]
        replaced |= {f"{table}/{file}": old[file] for file in differing if file in old and file in new}
    store.push(pushed)
    if not changed and tip:
        return before
    date = max(load.date, before.date)
    text = f"{load.message.strip()}\n\nShoploom-Newest: {date}\n"
    text += f"Shoploom-User-Key: {user_key}\n" if user_key else ""
    origins = load.origins.of(changed) if load.origins is not None else raw_files.Origins(onto=replaced)
    entries[SOURCES] = Entry("100644", git.write_blob(origins.content()), SOURCES)
    stamp = max(date, git.date(tip) if tip else 0)
    commit = git.commit(git.write_tree([entries[path] for path in sorted(entries)]), [tip] if tip else [], text, stamp)
    git.update_ref(BRANCH, commit, tip or NOTHING)
    return DataVersion(commit, listings, date, tuple(changed), user_key)


def _key_after(before: DataVersion, load: _Load) -> str:
    """The key of the version that a load makes.

    Raises:
        PartitionMovedError: another load came between a data version and its copy under a new key.
        DataError: the landing's user ids are of another key than the version's.
    """
    if load.onto.commit:
        if load.onto.commit != before.commit:
            raise PartitionMovedError("another load came while the users were rekeyed", mend="shoploom users rekey")
        return load.user_key or ""
    has_users = any("user_id" in TABLES[table].schema.names for table in before.listings)
    if load.user_key is None or not has_users or load.user_key == before.user_key:
        return before.user_key if load.user_key is None else load.user_key
    raise DataError(
        f"data version {before.commit[:12]} knows users by {_named(before.user_key)}, this landing by "
        f"{_named(load.user_key)}",
        mend="shoploom ingest again"
        if before.user_key
        else "shoploom users rekey turns the raw ids of what was landed before into pseudonyms",
    )


def _named(key: str) -> str:
    return f"pseudonyms under key {key}" if key else "raw ids"


def _refuse_moved(onto: Onto, table: str, landed: list[File], old: Mapping[str, str]) -> None:
    for file in landed:
        name = f"{table}/{file.path}"
        if name in onto.partitions and old.get(file.path) not in (onto.partitions[name], file.md5):
            raise PartitionMovedError(f"another load changed {name} meanwhile", mend="run the same ingest again")


def listed(store: Store, listings: Mapping[str, str], table: str) -> dict[str, str] | None:
    """File name -> md5 of a table's files; none for a table that is not listed; None when the object store lost the
    list."""
    if table not in listings:
        return {}
    try:
        return {file.path: file.md5 for file in store.files(listings[table])}
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
    said = trailers(git.message(commit))
    newest = said.get("newest", "0")
    return DataVersion(commit, listings, int(newest) if newest.isdigit() else 0, user_key=said.get("user-key", ""))


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
    """Commit a landing directory; print the version as JSON, with ``moved``: why nothing was committed, or null."""
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="python -m pipelines.runs.data_versions", description=main.__doc__)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--message", required=True)
    parser.add_argument("--onto", type=Path, help="JSON: what the landing was merged with")
    given = parser.parse_args()
    onto = Onto(**json.loads(given.onto.read_text(encoding="utf-8"))) if given.onto else None
    try:
        made = commit_landing(Settings(), given.landing, given.message, onto).to_dict()
    except PartitionMovedError as error:
        print(json.dumps({"moved": error.message}))
    else:
        print(json.dumps({**made, "moved": None}))


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
