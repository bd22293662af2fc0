"""Popularity: the same order for everybody, and what the other models need to know of an item's buyers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.models.base import MADE_AGAIN, Histories, Model, Serves, Training
from pipelines.models.files import read_model, write_model
from pipelines.models.histories import pairs_of

RECENT_DAYS = (7, 14, 28, 56, 91)
"""Windows of recent demand, in days before the moment a model is fitted at."""
MONTH_DAYS = 28
"""The window of recent demand by which a shortlist is filled, and in which a buyer counts as a newcomer."""

ARRAYS = ("buyers", "repeat_buyers", "recent", "newcomers")


class Popularity(Model):
    """Scores an item by its distinct buyers.

    Args:
        buyers: int32 [num_items], distinct users who bought the item.
        repeat_buyers: int32 [num_items], of these, users who bought it on two days or more (days are
            counted back from the moment of fitting).
        recent: float32 [num_items, len(RECENT_DAYS)], distinct buyers in each window of recent demand.
        newcomers: float32 [num_items], users who bought the item for the first time in the last month.
    """

    name: ClassVar[str] = "popularity"
    serves: ClassVar[Serves] = Serves(known_users=False, cold_users=True)

    def __init__(
        self,
        buyers: NDArray[np.int32],
        repeat_buyers: NDArray[np.int32],
        recent: NDArray[np.float32],
        newcomers: NDArray[np.float32],
    ) -> None:
        self.buyers = buyers
        self.repeat_buyers = repeat_buyers
        self.recent = recent
        self.newcomers = newcomers

    @property
    def last_month(self) -> NDArray[np.float32]:
        """float32 [num_items]: distinct buyers in the last month."""
        month: NDArray[np.float32] = self.recent[:, RECENT_DAYS.index(MONTH_DAYS)]
        return month

    @cached_property
    def ties(self) -> NDArray[np.float32]:
        """float32 [num_items]: see :func:`tie_breaker`."""
        return tie_breaker(self.buyers)

    @classmethod
    def fit(cls, training: Training, settings: Any = None) -> Self:
        """Count distinct buyers of every item."""
        return cls.of(training.histories)

    @classmethod
    def of(cls, histories: Histories) -> Self:
        """Count distinct buyers of every item."""
        pairs = pairs_of(histories)

        def buyers(bought: NDArray[np.int32]) -> NDArray[np.int32]:
            return np.bincount(bought, minlength=histories.num_items).astype(np.int32)

        recent = np.stack([buyers(pairs.items[pairs.last < window]) for window in RECENT_DAYS], axis=1)
        repeated, new = pairs.items[pairs.days >= 2], pairs.items[pairs.first < MONTH_DAYS]
        return cls(buyers(pairs.items), buyers(repeated), recent.astype(np.float32), buyers(new).astype(np.float32))

    def candidates(self, min_buyers: int) -> NDArray[np.int32]:
        """What may be recommended: :func:`candidates_of` of the counted buyers."""
        return candidates_of(self.buyers, min_buyers)

    def score(self, histories: Histories, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
        """Every user gets the same scores; see :meth:`Model.score`."""
        row = self.buyers[candidates].astype(np.float32)
        return np.tile(row, (histories.num_users, 1))

    def save(self, directory: Path) -> None:
        write_model(directory, self.name, {name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, directory: Path) -> Self:
        arrays, _ = read_model(directory, cls.name, ARRAYS)
        if arrays["recent"].shape[1:] != (len(RECENT_DAYS),):
            raise ModelError(f"{directory} counts buyers in other windows than this version", mend=MADE_AGAIN)
        return cls(*(arrays[name] for name in ARRAYS))


def candidates_of(buyers: NDArray[np.integer[Any]], min_buyers: int) -> NDArray[np.int32]:
    """int32 [num_candidates], ascending: ids of items with at least ``min_buyers`` distinct buyers.

    Of a shop too small for any to have as many, all that was bought.

    Args:
        buyers: integers [num_items], distinct buyers.
        min_buyers: at least 1.

    Raises:
        ModelError: nothing was bought, so nothing could be recommended.
    """
    enough = buyers >= min_buyers
    candidates = np.flatnonzero(enough if enough.any() else buyers > 0).astype(np.int32)
    if not len(candidates):
        raise ModelError("no item was bought", mend="land more with shoploom ingest")
    return candidates


def tie_breaker(buyers: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [num_items] in 0..1 (1 excluded): what orders items that a counting model holds equal."""
    return (buyers / (float(buyers.max(initial=0)) + 1.0)).astype(np.float32)
