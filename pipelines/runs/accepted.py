"""What a data version holds, by hash: for whoever compares a load with it and fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import parquet_file
from pipelines.errors import DataError
from pipelines.runs.data_versions import latest_data_version, listed, read_version
from pipelines.runs.git import Git
from pipelines.runs.store import Store
from pipelines.settings import Settings
from pipelines.tables import EVENTS, ITEMS


def accepted_history(settings: Settings, commit: str = "") -> dict[str, Any]:
    """A data version, for :class:`expectations.comparison.Accepted`.

    Args:
        settings: the repository and the cache.
        commit: of ``data/main``; its tip by default.

    Returns:
        ``commit``; ``events``: the MD5 of each partition's raw file; ``items``: of the catalogue's; ``paths``: where
        this machine's cache holds such a file. Empty before the first landing; without a table whose list the object
        store lost.
    """
    tip = read_version(Git(settings.repository), commit) if commit else latest_data_version(settings)
    if tip is None:
        return {"commit": "", "events": {}, "items": "", "paths": {}}
    store = Store(settings)
    try:
        events = listed(store, tip.listings, EVENTS.name) or {}
        items = next(iter((listed(store, tip.listings, ITEMS.name) or {}).values()), "")
        places = {md5: store.cache_path(md5) for md5 in {*events.values(), items} - {""}}
    finally:
        store.close()
    partitions = {name.removesuffix(".parquet"): md5 for name, md5 in events.items()}
    paths = {md5: str(path) for md5, path in places.items() if path.is_file()}
    return {"commit": tip.commit, "events": partitions, "items": items, "paths": paths}


def partitions_before(history: Mapping[str, Any]) -> dict[str, int | None]:
    """The event partitions of a data version with their rows, None where this machine's cache lacks the file.

    Args:
        history: of :func:`accepted_history`.
    """
    return {name: _num_rows(history["paths"].get(md5)) for name, md5 in history["events"].items()}


def _num_rows(path: str | None) -> int | None:
    try:
        return None if path is None else int(parquet_file(Path(path)).metadata.num_rows)
    except DataError:
        return None
