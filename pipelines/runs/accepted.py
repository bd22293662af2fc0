"""What a data version holds, by hash: for whoever compares a load with it and fetches nothing."""

from __future__ import annotations

from typing import Any

from pipelines.runs.data_versions import latest_data_version, partition_hashes, read_version
from pipelines.runs.git import Git
from pipelines.runs.store import ObjectLostError, Store
from pipelines.settings import Settings
from pipelines.tables import EVENTS, ITEMS


def accepted_history(settings: Settings, commit: str = "") -> dict[str, Any]:
    """A data version, for :class:`expectations.comparison.Accepted`.

    Args:
        settings: the repository and the cache.
        commit: of ``data/main``; its tip by default.

    Returns:
        ``commit``; ``events``: the MD5 of each partition's raw file; ``items``: of the catalogue's; ``paths``: where
        this machine's cache holds such a file. Empty before the first landing, and where the object store lost its
        lists.
    """
    nothing: dict[str, Any] = {"commit": "", "events": {}, "items": "", "paths": {}}
    tip = read_version(Git(settings.repository), commit) if commit else latest_data_version(settings)
    if tip is None:
        return nothing
    try:
        hashes = partition_hashes(settings, tip)
    except ObjectLostError:
        return nothing
    partitions = {name.removesuffix(".parquet"): md5 for name, md5 in hashes.get(EVENTS.name, {}).items()}
    items = next(iter(hashes.get(ITEMS.name, {}).values()), "")
    store = Store(settings)
    try:
        places = {md5: store.cache_path(md5) for md5 in {*partitions.values(), items} - {""}}
    finally:
        store.close()
    paths = {md5: str(path) for md5, path in places.items() if path.is_file()}
    return {"commit": tip.commit, "events": partitions, "items": items, "paths": paths}
