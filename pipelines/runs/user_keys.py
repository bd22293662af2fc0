"""The key ring and the data versions: which key a load must use, and turning to a new one.

python -m pipelines.runs.user_keys    does what ``shoploom users rekey`` does
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifacts import read_table, write_table
from pipelines.errors import ConfigError, RunError
from pipelines.pseudonyms import KeyRing, open_ring, read_ring, ring_path, write_ring
from pipelines.runs.data_versions import DataVersion, Onto, PartitionMovedError, commit_landing, latest_data_version
from pipelines.runs.store import Store
from pipelines.runs.worktrees import locked
from pipelines.settings import Settings
from pipelines.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

_ATTEMPTS = 3


@dataclass(frozen=True)
class Rekeyed:
    """What :func:`rekey` did.

    Args:
        commit: the new data version.
        key: id of the key that its users are known under.
        partitions: files that were written again.
    """

    commit: str
    key: str
    partitions: int


def key_for_load(settings: Settings) -> str:
    """The id of the key that a load must hash users with: the newest data version's, else the ring's newest.

    Raises:
        ConfigError: the data version's key is not here, or it has raw ids from before there were keys.
    """
    tip = latest_data_version(settings)
    if tip is None or not _has_users(tip):
        return open_ring(settings.home).ids[-1]
    if not tip.user_key:
        raise ConfigError(
            f"data version {tip.commit[:12]} was landed with raw user ids", mend="shoploom users rekey hashes them"
        )
    _ring(settings, tip).through(tip.user_key)
    return tip.user_key


def rekey(settings: Settings) -> Rekeyed:
    """Make a data version in which every user is known by a pseudonym under a new key.

    No raw id is needed: the new pseudonym is the HMAC of the old one. Older versions stay as they are, and models that
    were trained on them are still asked by raw id, through the part of the ring that they were made with.

    Raises:
        ConfigError: the data version's key is not on the ring here.
        RunError: there is no data version with users yet, or loads keep coming between.
    """
    with locked(ring_path(settings.home).with_name(".rekey.lock")):
        for _ in range(_ATTEMPTS):
            tip = latest_data_version(settings)
            if tip is None or not _has_users(tip):
                raise RunError("there is no data version with users yet", mend="shoploom ingest")
            try:
                return _rekey(settings, tip)
            except PartitionMovedError:
                continue
    raise RunError("loads keep coming while the users are rekeyed", mend="run it again when no load is under way")


def _rekey(settings: Settings, tip: DataVersion) -> Rekeyed:
    ring = _ring(settings, tip) if tip.user_key else open_ring(settings.home)
    if tip.user_key == ring.ids[-1]:
        # The ring is written before the version that needs it; a rekey that died between is taken up here.
        ring = ring.rotated()
        write_ring(ring, settings.home)
    new = ring.after(tip.user_key)
    with _scratch(settings) as folder:
        hashes = {}
        for table, name, md5, path in _files(settings, tip):
            write_table(new.table(_as_landed(read_table(path), TABLES[table].schema)), folder / table / name)
            hashes[f"{table}/{name}"] = md5
        message = f"Know users by pseudonyms under key {ring.ids[-1]}"
        made = commit_landing(settings, folder, message, Onto(hashes, tip.commit))
    return Rekeyed(made.commit, made.user_key, len(hashes))


def _files(settings: Settings, tip: DataVersion) -> Iterator[tuple[str, str, str, Path]]:
    """Table, name, md5 and cached path of every stored file with user ids."""
    store = Store(settings)
    try:
        for table in (name for name in tip.listings if "user_id" in TABLES[name].schema.names):
            for file in store.files(tip.listings[table]):
                store.pull([file.md5])
                yield table, file.path, file.md5, store.cache_path(file.md5)
    finally:
        store.close()


def _as_landed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Spell types as landing does: Parquet gives the inside of a map other names, which writing it again would keep."""
    import pyarrow as pa

    fields = [schema.field(found.name) if found in schema else found for found in rows.schema]
    return rows.cast(pa.schema(fields, metadata=rows.schema.metadata))


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rekey-", dir=settings.home) as folder:
        yield Path(folder)


def _ring(settings: Settings, tip: DataVersion) -> KeyRing:
    ring = read_ring(settings.home)
    if ring is None:
        raise ConfigError(
            f"data version {tip.commit[:12]} knows users by pseudonyms under key {tip.user_key}, and there is no key "
            f"ring {ring_path(settings.home)}",
            mend="copy it from the machine that landed the data, or name its state folder by SHOPLOOM_HOME",
        )
    ring.through(tip.user_key)
    return ring


def _has_users(version: DataVersion) -> bool:
    return any("user_id" in TABLES[table].schema.names for table in version.listings)


def main() -> None:
    """Turn to a new key; print the version as JSON."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(rekey(Settings()))))


if __name__ == "__main__":
    from pipelines.stages import run_main

    run_main(main)
