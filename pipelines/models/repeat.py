"""Models of buying again: a user's own counts, the same with decay, and the timing between purchases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.models.base import Histories, Model, Serves, Span, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import Pairs, decayed_counts, dense_columns, pairs_of, purchase_counts
from pipelines.models.popularity import Popularity, tie_breaker
from pipelines.params import Section

DAY_EDGES = (2, 3, 4, 6, 9, 14)
"""Edges of the bins of distinct purchase days."""
AGE_EDGES = (4.0, 8.0, 15.0, 22.0, 32.0, 46.0, 61.0, 91.0, 121.0, 181.0, 271.0)
"""Edges of the bins of days since the last purchase."""
RATIO_EDGES = (0.5, 1.0, 1.5, 2.5, 4.0)
"""Edges of the bins of days since the last purchase over the mean gap; one bin more where there is no gap."""


class OwnCounts(Model):
    """Scores an item by how many times the user bought it; ties, and users without events, go by buyers.

    Args:
        buyers: int32 [num_items], distinct buyers.
    """

    name: ClassVar[str] = "own_counts"
    serves: ClassVar[Serves] = Serves(cold_users=True)

    def __init__(self, buyers: NDArray[np.int32]) -> None:
        self.buyers = buyers

    @classmethod
    def fit(cls, training: Training, settings: Any = None) -> Self:
        """Count distinct buyers, which order ties."""
        return cls(Popularity.of(training.histories).buyers)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        return dense_columns(purchase_counts(histories), candidates) + tie_breaker(self.buyers)[candidates]

    def save(self, directory: Path) -> None:
        write_model(directory, self.name, {"buyers": self.buyers})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, _ = read_model(directory, cls.name, ("buyers",))
        return cls(arrays["buyers"])


class DecayedCounts(Model):
    """Scores an item by the user's purchases, older ones worth less; ties go by buyers.

    Args:
        buyers: int32 [num_items], distinct buyers.
        weekly_decay: worth of a purchase a week old; in (0, 1].
    """

    name: ClassVar[str] = "decayed_counts"
    serves: ClassVar[Serves] = Serves(cold_users=True)

    def __init__(self, buyers: NDArray[np.int32], weekly_decay: float = 0.95) -> None:
        self.buyers = buyers
        self.weekly_decay = weekly_decay

    @classmethod
    def fit(cls, training: Training, settings: Any = None) -> Self:
        """Count distinct buyers, which order ties."""
        return cls(Popularity.of(training.histories).buyers)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        counts = dense_columns(decayed_counts(histories, self.weekly_decay), candidates)
        return counts + np.float32(1e-3) * tie_breaker(self.buyers)[candidates]

    def save(self, directory: Path) -> None:
        write_model(directory, self.name, {"buyers": self.buyers}, {"weekly_decay": self.weekly_decay})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, settings = read_model(directory, cls.name, ("buyers",), ("weekly_decay",))
        return cls(arrays["buyers"], float(settings["weekly_decay"]))


class RepeatSettings(Section):
    """Buying again (section ``train_repeat``)."""

    horizon_days: float = Field(default=14.0, gt=0)
    """How far ahead the chance looks."""
    windows: int = Field(default=16, ge=1, le=200)
    """Windows of that length, one before the other, that it is counted over."""
    strength: float = Field(default=10.0, ge=0)
    """Expected repeat purchases that an item's own factor is shrunk by."""


class RepeatTiming(Model):
    """Scores an item by the chance that the user buys it again soon.

    The chance is a table over (distinct purchase days, days since the last, that over the mean gap), times how
    much more often than the table says this item is bought again. Items never bought by the user, and users
    without events, go by buyers.

    Args:
        table: float32 [num_day_bins, num_age_bins, num_ratio_bins], chance of a purchase within the horizon.
        lift: float32 [num_items], the item's own factor, shrunk towards 1.
        buyers: int32 [num_items], distinct buyers.
    """

    name: ClassVar[str] = "repeat"
    serves: ClassVar[Serves] = Serves(cold_users=True)
    stage: ClassVar[str | None] = "train_repeat"
    because: ClassVar[str] = "how often and when you bought it"
    dense: ClassVar[bool] = False
    Settings: ClassVar[type[Section]] = RepeatSettings
    spans: ClassVar[Mapping[str, Span]] = {"horizon_days": Span(7.0, 84.0), "strength": Span(1.0, 100.0, log=True)}

    def __init__(self, table: NDArray[np.float32], lift: NDArray[np.float32], buyers: NDArray[np.int32]) -> None:
        self.table = table
        self.lift = lift
        self.buyers = buyers

    @classmethod
    def fit(cls, training: Training, settings: RepeatSettings) -> Self:
        """Learn from the histories themselves: what was known before each window and what was bought in it."""
        histories, strength, size = training.histories, settings.strength, training.histories.num_items
        windows = windows_of(histories, settings.horizon_days, settings.windows)
        shape = (len(DAY_EDGES) + 1, len(AGE_EDGES) + 1, len(RATIO_EDGES) + 2)
        cell = np.concatenate([np.ravel_multi_index(_bins(pairs), shape) for pairs, _ in windows])
        items = np.concatenate([pairs.items for pairs, _ in windows])
        again = np.concatenate([bought for _, bought in windows]).astype(np.float64)
        total = np.bincount(cell, minlength=np.prod(shape))
        prior = (again.sum() + 1.0) / (len(again) + 10.0)
        table = (np.bincount(cell, again, minlength=np.prod(shape)) + 20.0 * prior) / (total + 20.0)
        expected = np.bincount(items, table[cell], minlength=size)
        happened = np.bincount(items, again, minlength=size)
        lift = (happened + strength) / (expected + strength)
        buyers = Popularity.of(histories).buyers
        return cls(table.reshape(shape).astype(np.float32), lift.astype(np.float32), buyers)

    def chances(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32 [num_pairs]: the score of every item that a user bought, before ties are broken."""
        chances: NDArray[np.float32] = self.table[_bins(pairs)] * self.lift[pairs.items]
        return chances

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """See :meth:`Model.score`."""
        from scipy.sparse import csr_matrix

        pairs = pairs_of(histories)
        shape = (histories.num_users, histories.num_items)
        chances = csr_matrix((self.chances(pairs), (pairs.users, pairs.items)), shape=shape, dtype=np.float32)
        return dense_columns(chances, candidates) + np.float32(1e-4) * tie_breaker(self.buyers)[candidates]

    def save(self, directory: Path) -> None:
        write_model(directory, self.name, {"table": self.table, "lift": self.lift, "buyers": self.buyers})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, _ = read_model(directory, cls.name, ("table", "lift", "buyers"))
        return cls(arrays["table"], arrays["lift"], arrays["buyers"])


def _bins(pairs: Pairs) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    gap = pairs.gap
    ratio = np.digitize(pairs.last / np.maximum(gap, 0.5), RATIO_EDGES)
    return (
        np.digitize(pairs.days, DAY_EDGES),
        np.digitize(pairs.last, AGE_EDGES),
        np.where(pairs.days > 1, ratio, len(RATIO_EDGES) + 1),
    )


def windows_of(histories: Histories, days: float, count: int) -> list[tuple[Pairs, NDArray[np.bool_]]]:
    """For each window of ``days``, the latest first, the pairs known at its start and which were bought in it.

    The first window is always there; of the others, those with purchases before them.
    """
    windows: list[tuple[Pairs, NDArray[np.bool_]]] = []
    for window in range(count):
        until = _older_than(histories, window * days)
        pairs = pairs_of(_older_than(until, days))
        if window and not len(pairs.users):
            break
        inside = until.ages < days
        keys = until.users_of_events()[inside].astype(np.int64) * until.num_items + until.items[inside]
        windows.append((pairs, np.isin(pairs.users.astype(np.int64) * until.num_items + pairs.items, keys)))
    return windows


def _older_than(histories: Histories, days: float) -> Histories:
    """The histories as they were ``days`` ago."""
    keep = histories.ages >= days
    indptr = np.concatenate([[0], np.cumsum(keep)])[histories.indptr].astype(np.int64)
    return Histories(
        indptr=indptr,
        items=histories.items[keep],
        ages=histories.ages[keep] - np.float32(days),
        quantities=histories.quantities[keep],
        num_items=histories.num_items,
    )
