"""Plain baselines for items that nobody bought yet: how popular their category is, with everybody or with the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics.trial import Scorer
from pipelines.models.base import Histories

EVERYBODYS, OWN = "category_popularity", "own_category"
"""Everybody's purchases of the item's category; the user's own, ties by everybody's."""


def category_codes(categories: Sequence[str | None]) -> NDArray[np.int32]:
    """int32 [num_items]: a number for each category, in the order of names; those without one share a number."""
    return np.unique([category or "" for category in categories], return_inverse=True)[1].astype(np.int32)


def category_scorers(codes: NDArray[np.int32], everybody: Histories, users: Histories, items: Any) -> dict[str, Scorer]:
    """The two baselines on a trial.

    Args:
        codes: int32 [num_items], see :func:`category_codes`.
        everybody: all purchases before the window.
        users: those of the trial's users, in its order.
        items: int32 [num_candidates], the cold items.
    """
    size = int(codes.max(initial=0)) + 1
    popularity = np.bincount(codes[everybody.items], minlength=size).astype(np.float32)
    ties = popularity / (popularity.max(initial=0) + np.float32(1))

    def everybodys(start: int, stop: int) -> NDArray[np.float32]:
        return np.tile(popularity[codes[items]], (stop - start, 1))

    def own(start: int, stop: int) -> NDArray[np.float32]:
        chunk = users.take(start, stop)
        keys = chunk.users_of_events().astype(np.int64) * size + codes[chunk.items]
        counts = np.bincount(keys, minlength=(stop - start) * size).reshape(stop - start, size).astype(np.float32)
        scores: NDArray[np.float32] = (counts + ties)[:, codes[items]]
        return scores

    return {EVERYBODYS: everybodys, OWN: own}


def times_baseline(models: Mapping[str, Mapping[str, float | None]], metric: str) -> dict[str, float | None]:
    """Each model's metric as a multiple of the better baseline's; None where that is zero or unknown."""
    plain = max((models[name][metric] or 0.0 for name in (EVERYBODYS, OWN) if name in models), default=0.0)
    return {name: round((row[metric] or 0.0) / plain, 3) if plain else None for name, row in models.items()}
