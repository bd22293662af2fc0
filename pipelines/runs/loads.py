"""A load on its way into ``data/main``: merged with the partitions that it touches, and with no other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipelines.artifacts import atomic_directory, parquet_file, read_table, write_table
from pipelines.runs.data_versions import Onto, latest_data_version, listed
from pipelines.runs.store import Store
from pipelines.runs.worktrees import locked
from pipelines.settings import Settings
from pipelines.sources.calendars import parse_partition
from pipelines.sources.late import merge
from pipelines.sources.raw_files import SOURCES, read_origins, write_origins
from pipelines.tables import EVENTS, LANDED_IN


@dataclass(frozen=True)
class Load:
    """What was landed.

    Args:
        directory: as :func:`pipelines.sources.landing.land` wrote it.
        intervals: names of the partitions that were asked for.
        late_days: how long before an interval the events lie that came late in it, at most.
    """

    directory: Path
    intervals: tuple[str, ...]
    late_days: int = 0

    @classmethod
    def from_landing(cls, landed: dict[str, Any]) -> Load:
        """From a landing's own account of itself, with ``directory``."""
        return cls(Path(landed["directory"]), tuple(landed["partitions"]), int(landed.get("late_days", 0)))

    def touches(self, partition: str) -> bool:
        """Whether a partition may hold rows that one of the intervals brought."""
        day = parse_partition(partition).last_day
        firsts = [parse_partition(interval).first_day for interval in self.intervals]
        return partition in self.intervals or any(
            first - timedelta(days=self.late_days) <= day < first for first in firsts
        )


@contextmanager
def held(settings: Settings, partitions: Iterable[str]) -> Iterator[None]:
    """Wait until no other load of these intervals is merged or committed on this host, and keep others waiting."""
    with ExitStack() as stack:
        for partition in sorted(partitions):
            stack.enter_context(locked(settings.home / "locks" / f"load-{partition}.lock"))
        yield


def merge_load(settings: Settings, load: Load, merged: Path) -> Onto:
    """Write what the touched partitions will be once the load is in; only those of them that hold rows of other
    intervals are read.

    Args:
        settings: the repository and the object store.
        load: what was landed; its directory stays as it is.
        merged: gets the landing's files, each partition merged with what the newest data version has of it.

    Returns:
        What the partitions were merged with.

    The origins that lie beside the landed tables name, for a partition that keeps rows of before, that content too.
    """
    stored = _stored(settings, load)
    landed = {path.stem: path for path in (load.directory / EVENTS.name).glob("*.parquet")}
    onto = {
        f"{EVENTS.name}/{name}.parquet": stored[name][0] if name in stored else None for name in {**landed, **stored}
    }
    kept: dict[str, str] = {}
    with atomic_directory(merged) as folder:
        shutil.copytree(load.directory, folder, dirs_exist_ok=True, copy_function=_link)
        for name, (md5, path) in stored.items():
            if name in landed and (path is None or _is_all_brought_again(path, name, load)):
                continue
            assert path is not None
            before = read_table(path)
            rows = merge(
                name, before, read_table(landed[name]) if name in landed else before.slice(0, 0), load.intervals
            )
            if name in landed or rows.num_rows < before.num_rows:
                write_table(rows, folder / EVENTS.name / f"{name}.parquet")
                kept[f"{EVENTS.name}/{name}.parquet"] = md5
        origins = read_origins(load.directory)
        if origins is not None:
            (folder / SOURCES).unlink()
            write_origins(replace(origins, onto=kept), folder)
    return Onto(onto)


def _stored(settings: Settings, load: Load) -> dict[str, tuple[str, Path | None]]:
    """Of the partitions that the load touches, their md5 and cached file, None where the object store lost it."""
    tip = latest_data_version(settings)
    if tip is None:
        return {}
    landed = {path.stem for path in (load.directory / EVENTS.name).glob("*.parquet")}
    found: dict[str, tuple[str, Path | None]] = {}
    store = Store(settings)
    try:
        for file, md5 in (listed(store, tip.listings, EVENTS.name) or {}).items():
            name = file.removesuffix(".parquet")
            if name not in landed and not load.touches(name):
                continue
            path = store.cache_path(md5) if store.available([md5]) else None
            if name in landed or (path is not None and LANDED_IN in parquet_file(path).schema_arrow.names):
                found[name] = (md5, path)
    finally:
        store.close()
    return found


def _is_all_brought_again(path: Path, name: str, load: Load) -> bool:
    return name in load.intervals and LANDED_IN not in parquet_file(path).schema_arrow.names


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
