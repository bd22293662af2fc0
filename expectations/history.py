"""The contract between a load and what was accepted before it: volume, empty fields, mix, prices, users, hours.

Each question of :mod:`expectations.distances` and :mod:`expectations.catalogues` gives one number. A load is unusual
where the number lies above its limit in ``params.yaml`` and above what the partitions before show among themselves
(their median and ``spread`` times their scaled median absolute deviation). Days are held against the same weekday;
daily partitions against those of the same weekday where there are enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from expectations.catalogues import CATALOGUE_MEASURES, CatalogueProfile
from expectations.contract import Check, Contract, between
from expectations.distances import MEASURES, Distance, distances
from expectations.profiles import Profile
from pipelines.params import DistributionParams
from pipelines.sources.calendars import parse_partition

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "row_count": ("timestamp", "rows"),
    "day_volume": ("timestamp", "rows of each day, beside the same weekday's,"),
    "nulls": ("event_id", "empty fields of each column"),
    "values": ("event_type", "the mix of event types and channels"),
    "categories": ("item_id", "the mix of categories"),
    "new_categories": ("item_id", "events of categories that were never sold"),
    "prices": ("price", "prices"),
    "price_level": ("price", "the middle price of the same items"),
    "item_prices": ("price", "items at half or twice their price"),
    "quantities": ("quantity", "quantities"),
    "hours": ("timestamp", "the hours of the day"),
    "busiest_user": ("user_id", "the events of the busiest user"),
    "users": ("user_id", "the number of users"),
    "new_users": ("user_id", "users that were not there"),
    "new_items": ("item_id", "items that were not sold"),
    "replayed": ("event_id", "events that an earlier partition has"),
    "repeated": ("event_id", "events that say what another says"),
    "items_gone": ("item_id", "items that are gone"),
    "items_retitled": ("title", "items of another title"),
    "items_recategorised": ("category", "items of another category"),
    "item_nulls": ("title", "empty fields of each column"),
    "garbled_titles": ("title", "texts whose letters were damaged"),
    "title_length": ("title", "the length of titles"),
    "item_categories": ("category", "the mix of categories"),
}
"""The column that a question is about, and what it asks, in words."""

AMONG = 6
"""Of the partitions before, the newest that are held against the others, to see what the history shows of itself."""


@dataclass(frozen=True)
class Compared:
    """One answer and its limit.

    Args:
        distance: what was found.
        usual: up to where nobody wonders.
    """

    distance: Distance
    usual: float

    @property
    def surprise(self) -> float:
        """1 at the limit."""
        return self.distance.value / self.usual

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"value": round(self.distance.value, 6), "usual": round(self.usual, 6), "found": self.distance.where}

    def said(self) -> str:
        """For the report."""
        where = f"{self.distance.where} " if self.distance.where else ""
        return f"{where}({self.distance.value:.3g}; usual is up to {self.usual:.3g})"


def partitions(params: DistributionParams) -> Contract:
    """What holds for a partition beside those before it."""
    return Contract("events_history", "events", tuple(_checks(MEASURES, params)))


def catalogue(params: DistributionParams) -> Contract:
    """What holds for a catalogue beside the one before it."""
    return Contract("items_history", "items", tuple(_checks(CATALOGUE_MEASURES, params)))


def _checks(names: Iterable[str], params: DistributionParams) -> Iterable[Check]:
    for name in names:
        column, words = NAMES[name]
        warn, stop = params.limit(name)
        if stop is not None:
            meaning = f"{words} are possible: at most {stop / warn:.3g} times what is usual"
            yield between(f"{name}_is_possible", column, meaning, "stop", name, max_value=stop / warn)
        yield between(f"{name}_is_usual", column, f"{words} are as usual", "warn", name, max_value=1.0)


def reference(partition: str, known: Iterable[str], window: int, least: int) -> list[str]:
    """Which partitions one is compared with: the nearest before it.

    Args:
        partition: the one to judge.
        known: all that there are; it may be among them.
        window: how many at most.
        least: of days, so many must be of the same weekday, or all days are taken.

    Returns:
        Names, oldest first; empty where there are fewer than ``least``.
    """
    span = parse_partition(partition)
    before = {name: other for name in known if (other := parse_partition(name)).first_day < span.first_day}
    if span.days == 1:
        alike = {name: day for name, day in before.items() if day.first_day.weekday() == span.first_day.weekday()}
        before = alike if len(alike) >= least else before
    chosen = sorted(before)[-window:]
    return chosen if len(chosen) >= least else []


def compare(found: Profile, before: Sequence[Profile], params: DistributionParams) -> dict[str, Compared]:
    """Every question about a partition, beside the partitions before it."""
    closed = frozenset(params.closed_days)
    own = distances(found, before, closed)
    among = [
        {
            name: distance.value
            for name, distance in distances(one, [*before[:number], *before[number + 1 :]], closed).items()
        }
        for number, one in enumerate(before)
        if number >= len(before) - AMONG and len(before) > 1
    ]
    return {
        name: Compared(distance, _usual([each[name] for each in among], params.limit(name)[0], params.spread))
        for name, distance in own.items()
    }


def compare_catalogues(
    found: CatalogueProfile, before: CatalogueProfile, params: DistributionParams
) -> dict[str, Compared]:
    """Every question about a catalogue, beside the one before it."""
    return {
        name: Compared(measure(found, before), params.limit(name)[0]) for name, measure in CATALOGUE_MEASURES.items()
    }


def _usual(among: Sequence[float], floor: float, spread: float) -> float:
    """What the history shows of itself, and ``floor`` at least."""
    if len(among) < 3:
        return floor
    median = float(np.median(among))
    return max(floor, median + spread * 1.4826 * float(np.median(np.abs(np.array(among) - median))))


def frame_of(answers: Mapping[str, Mapping[str, Compared]]) -> pd.DataFrame:
    """One row for each part: how surprising each answer is."""
    import pandas as pd

    return pd.DataFrame([{name: one.surprise for name, one in part.items()} for part in answers.values()])


def file_md5(path: Path) -> str:
    """A file's MD5: the name that DVC gives its content."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
