"""Ranking for more than the chance of a purchase: less of what everybody buys, less of the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def debiased(scores: NDArray[np.float32], buyers: NDArray[np.int32], strength: float) -> NDArray[np.float32]:
    """Weigh chances by inverse propensity: an item's is its buyers to the power of ``strength``.

    Source: Steck 2011, "Item popularity and recommendation accuracy", with a chance in place of a rating.

    Args:
        scores: float32 [..., num_candidates]; chances, or below 0 outside the shortlist, where they stay as they are.
        buyers: int32 [num_candidates], distinct buyers.
        strength: 0 leaves the order as it is, 1 divides by the number of buyers.
    """
    if strength == 0:
        return scores
    weight = (1.0 + buyers.astype(np.float32)) ** np.float32(-strength)
    return np.where(scores > 0, scores * weight, scores).astype(np.float32)


def diversified(
    scores: NDArray[np.float32], vectors: NDArray[np.float32], k: int, strength: float
) -> NDArray[np.int64]:
    """Order a pool by maximal marginal relevance.

    Each place goes to the item with the most ``(1 - strength) * relevance - strength * similarity``: relevance is the
    score as a share of the pool's best, similarity the largest cosine with an item that was placed before.

    Source: Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking".

    Args:
        scores: float32 [pool], descending and above 0.
        vectors: float32 [pool, size], L2-normalised.
        k: places to fill; k >= 1.
        strength: 0 keeps the order, 1 looks at similarity alone.

    Returns:
        int64 [min(k, pool)]: rows of the pool, best first, ties by row.
    """
    count = min(k, len(scores))
    if strength == 0 or count == 0:
        return np.arange(count)
    relevance = (1.0 - strength) * scores / scores[0]
    nearest = np.zeros(len(scores), np.float32)
    placed = np.zeros(len(scores), bool)
    order = np.empty(count, np.int64)
    for place in range(count):
        worth = np.where(placed, -np.inf, relevance - strength * nearest)
        order[place] = best = int(np.argmax(worth))
        placed[best] = True
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return order
