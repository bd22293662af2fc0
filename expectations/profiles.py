"""What a partition of events looks like, in some 60 kB: enough to compare loads and never to read one again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.sketches import LogHistogram, Sample, hashes_of, mixed, pack, unpack
from pipelines.artifacts import write_json
from pipelines.sources.calendars import time_zone_of
from pipelines.tables import EVENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from expectations.catalogues import CatalogueProfile

FORMAT = 1
"""Raised when a profile of the same rows would come out another."""
CATEGORICAL = ("event_type", "channel")
"""Columns of few distinct texts, counted one by one."""
NUMERIC = ("price", "quantity")
MOST_VALUES = 60
"""Distinct values counted by name; the rest is counted together."""
OTHERS = "(others)"
NOWHERE = "(no category)"


@dataclass(frozen=True)
class Profile:
    """A partition's accepted events.

    Args:
        partition: its name.
        rows: events.
        days: events of each shop-local day with any.
        hours: int64 [24], events of each shop-local hour.
        nulls: empty fields of each column.
        values: events of each value of the columns ``CATEGORICAL``.
        categories: events of each first category of their items, as the catalogue then had it.
        numbers: of the columns ``NUMERIC``.
        users: who.
        items: what.
        item_prices: float32 [len(items.hashes)], median logarithm of the price paid for each item of the sample; NaN
            where none was.
        ids: event ids.
        contents: who, what, for how much, at what time of the day: the same feed under another date is the same.
        repeated: share of events that say exactly what another says, under another id.
        busiest: events of the user with the most.
    """

    partition: str
    rows: int
    days: Mapping[str, int]
    hours: NDArray[np.int64]
    nulls: Mapping[str, int]
    values: Mapping[str, Mapping[str, int]]
    categories: Mapping[str, int]
    numbers: Mapping[str, LogHistogram]
    users: Sample
    items: Sample
    item_prices: NDArray[np.float32]
    ids: Sample
    contents: Sample
    repeated: float
    busiest: int

    def to_json(self) -> dict[str, Any]:
        samples = {name: getattr(self, name).to_json() for name in ("users", "items", "ids", "contents")}
        plain = {name: getattr(self, name) for name in ("partition", "rows", "repeated", "busiest")}
        counts = {name: dict(getattr(self, name)) for name in ("days", "nulls", "categories")}
        return {
            "format": FORMAT,
            **plain,
            **counts,
            **samples,
            "hours": self.hours.tolist(),
            "values": {column: dict(values) for column, values in self.values.items()},
            "numbers": {column: histogram.to_json() for column, histogram in self.numbers.items()},
            "item_prices": pack(self.item_prices),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError, KeyError or TypeError: it is none, or of another format.
        """
        if kept["format"] != FORMAT:
            raise ValueError("another format")
        samples = {name: Sample.from_json(kept[name]) for name in ("users", "items", "ids", "contents")}
        plain = ("partition", "rows", "repeated", "busiest", "days", "nulls", "categories", "values")
        parts: dict[str, Any] = {name: kept[name] for name in plain} | samples
        return cls(
            **parts,
            hours=np.asarray(kept["hours"], np.int64),
            numbers={column: LogHistogram.from_json(part) for column, part in kept["numbers"].items()},
            item_prices=unpack(kept["item_prices"], np.float32),
        )


class Categories:
    """The first category of every item of a catalogue.

    Args:
        items: the columns ``item_id`` and ``category``.
    """

    def __init__(self, items: pa.Table) -> None:
        category = items["category"].combine_chunks()
        has = pc.greater(pc.fill_null(pc.list_value_length(category), 0), 0)
        first = np.full(items.num_rows, NOWHERE, object)
        filled = pc.list_element(category.filter(has), 0).fill_null(NOWHERE) if items.num_rows else pa.array([])
        first[has.to_numpy(zero_copy_only=False)] = filled.to_numpy(zero_copy_only=False)
        self._ids = items["item_id"].combine_chunks()
        names, self._codes = np.unique(first.astype(str), return_inverse=True)
        self._names = [*names.tolist(), NOWHERE]

    def count(self, item_ids: pa.ChunkedArray) -> dict[str, int]:
        """Events of each category, given the items of some events; an event without an item is not counted."""
        named = item_ids.drop_null().combine_chunks()
        rows = pc.index_in(named, self._ids).fill_null(-1).to_numpy()
        codes = np.append(self._codes, len(self._names) - 1)[rows]
        counts: dict[str, int] = {}
        for name, count in zip(self._names, np.bincount(codes, minlength=len(self._names)), strict=True):
            if count:
                counts[name] = counts.get(name, 0) + int(count)
        return counts


def profile_of(partition: str, events: pa.Table, categories: Categories) -> Profile:
    """Profile a partition.

    Args:
        partition: its name.
        events: its accepted rows, in the events schema, the time zone in the schema's metadata.
        categories: of the catalogue that came with it.
    """
    zone = time_zone_of(events.schema)
    local = pc.local_timestamp(events["timestamp"].cast(pa.timestamp("us", zone)))
    moments = local.cast(pa.int64()).to_numpy()
    users, items = hashes_of(events["user_id"]), hashes_of(events["item_id"])
    numbers = {column: events[column].to_numpy() for column in NUMERIC}
    amounts = [np.nan_to_num(numbers[column], nan=-1.0).view(np.uint64) for column in NUMERIC]
    of_day, whole = (moment.astype(np.uint64) for moment in (moments % 86_400_000_000, moments))
    said = mixed(users, items, *amounts)
    chosen = Sample.of(items[items != 0])
    return Profile(
        partition=partition,
        rows=events.num_rows,
        days=_days(moments),
        hours=np.bincount(moments // 3_600_000_000 % 24, minlength=24).astype(np.int64),
        nulls={column: events[column].null_count for column in EVENTS.schema.names},
        values={column: _counts(events[column]) for column in CATEGORICAL},
        categories=categories.count(events["item_id"]),
        numbers={column: LogHistogram.of(values) for column, values in numbers.items()},
        users=Sample.of(users),
        items=chosen,
        item_prices=_item_prices(chosen, items, numbers["price"]),
        ids=Sample.of(hashes_of(events["event_id"])),
        contents=Sample.of(mixed(said, of_day)),
        repeated=1.0 - len(np.unique(mixed(said, whole))) / max(events.num_rows, 1),
        busiest=int(np.unique(users, return_counts=True)[1].max()) if len(users) else 0,
    )


def _days(moments: NDArray[np.int64]) -> dict[str, int]:
    days, counts = np.unique(moments // 86_400_000_000, return_counts=True)
    return {str(np.datetime64(int(day), "D")): int(count) for day, count in zip(days, counts, strict=True)}


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Events of each value, the most frequent by name."""
    found = {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(column.drop_null()).to_pylist()}
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in ordered[MOST_VALUES:])
    return dict(ordered[:MOST_VALUES]) | ({OTHERS: rest} if rest else {})


def _item_prices(chosen: Sample, items: NDArray[np.uint64], prices: NDArray[np.float64]) -> NDArray[np.float32]:
    """Median log price of each sampled item: float32 [len(chosen.hashes)]."""
    size = len(chosen.hashes)
    medians = np.full(size, np.nan, np.float32)
    if not size:
        return medians
    places = np.minimum(np.searchsorted(chosen.hashes, items), size - 1)
    priced = (chosen.hashes[places] == items) & np.isfinite(prices) & (prices > 0)
    places, logs = places[priced], np.log(prices[priced])
    order = np.lexsort((logs, places))
    places, logs = places[order], logs[order]
    sold, starts, counts = np.unique(places, return_index=True, return_counts=True)
    medians[sold] = (logs[starts + (counts - 1) // 2] + logs[starts + counts // 2]) / 2
    return medians


class ProfileCache:
    """Profiles by the MD5 of the raw partition they were made of, as DVC names it.

    Args:
        folder: where they lie; None = nothing is remembered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, partition: str, md5: str) -> Profile | None:
        """The remembered profile; None where there is none or it cannot be read."""
        if self._folder is None:
            return None
        try:
            kept = json.loads(self._path(self._folder, partition, md5).read_text(encoding="utf-8"))
            return Profile.from_json(kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, md5: str, profile: Profile) -> None:
        """Remember a profile."""
        if self._folder is not None:
            write_json(profile.to_json(), self._path(self._folder, profile.partition, md5))

    def get_catalogue(self, md5: str) -> CatalogueProfile | None:
        """The remembered profile of a catalogue; None where there is none or it cannot be read."""
        from expectations.catalogues import CatalogueProfile

        if self._folder is None:
            return None
        try:
            kept = json.loads(self._path(self._folder, "items", md5).read_text(encoding="utf-8"))
            return CatalogueProfile.from_json(kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put_catalogue(self, md5: str, profile: CatalogueProfile) -> None:
        """Remember the profile of a catalogue."""
        if self._folder is not None:
            write_json(profile.to_json(), self._path(self._folder, "items", md5))

    @staticmethod
    def _path(folder: Path, partition: str, md5: str) -> Path:
        return folder / f"{partition}-{md5}-{FORMAT}.json"
