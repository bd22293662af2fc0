"""The validation window: how good a model that was fitted before it would have been."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics.ranking import ndcg, rank_users
from pipelines.models.base import Histories, Model
from pipelines.models.histories import dense_columns, purchase_counts


def measure(
    model: Model, histories: Histories, candidates: NDArray[np.int32], purchases: NDArray[np.int64]
) -> dict[str, float]:
    """NDCG@10 over what was bought in a window, by the protocol of the design.

    Args:
        model: fitted before the window.
        histories: purchases before the window.
        candidates: int32 [num_candidates], ascending.
        purchases: int64, ascending: ``user * num_items + item`` of every purchase in the window.

    Returns:
        ``ndcg_at_10`` over all purchases and ``ndcg_at_10_new`` over products new to the user; 0 where no user
        has a relevant item.
    """
    every: list[NDArray[np.float64]] = []
    new: list[NDArray[np.float64]] = []
    for start, chunk in histories.chunks():
        scores = model.score(chunk, candidates)
        keys = (start + np.arange(chunk.num_users))[:, None] * histories.num_items + candidates[None, :]
        relevant = np.isin(keys, purchases, assume_unique=True)
        bought = dense_columns(purchase_counts(chunk), candidates) > 0
        every.append(ndcg(rank_users(scores, relevant, 10)))
        new.append(ndcg(rank_users(scores, relevant, 10, excluded=bought)))
    return {"ndcg_at_10": _mean(every), "ndcg_at_10_new": _mean(new)}


def _mean(parts: list[NDArray[np.float64]]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[~np.isnan(values)]
    return round(float(values.mean()), 6) if len(values) else 0.0
