"""Why an item was recommended, in words that hold for this user's own history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.matrix_factorization import MatrixFactorization, confidence
from pipelines.models.signals import Signals

MAX_REASONS = 2


def explain(
    signals: Signals, titles: Sequence[str], history: Histories, items: NDArray[np.int32]
) -> list[tuple[str, ...]]:
    """The top reasons for each item.

    An item that the user bought is explained by how often and when; a new one by the two purchases that add most to
    its factorization score, and else by its buyers.

    Args:
        signals: the fitted models; matrix factorization's score is taken apart, where it is chosen.
        titles: of every item.
        history: of one user.
        items: int32 [num_items], what was recommended.

    Source: Hu, Koren and Volinsky 2008, section 5 (a score as a sum over the user's purchases).
    """
    own, counts = np.unique(history.items, return_counts=True)
    factorization = signals.chosen.get(MatrixFactorization.name)
    because = [np.zeros(0, np.intp)] * len(items)
    if isinstance(factorization, MatrixFactorization):
        because = _contributions(factorization, own, counts.astype(np.float32), items)
    reasons: list[tuple[str, ...]] = []
    for row, item in enumerate(items):
        place = int(np.searchsorted(own, item))
        if place < len(own) and own[place] == item:
            last = float(history.ages[history.items == item].min())
            reasons.append((f"bought {_times(int(counts[place]))}, last {_ago(last)}",))
        else:
            named = [f"goes with {titles[other]}" for other in own[because[row]]]
            reasons.append(tuple(named) or (f"bought by {int(signals.popularity.buyers[item]):,} customers",))
    return reasons


def _contributions(
    factorization: MatrixFactorization,
    own: NDArray[np.int32],
    purchases: NDArray[np.float32],
    items: NDArray[np.int32],
) -> list[NDArray[np.intp]]:
    """For each item, the positions among ``own``, the user's distinct items, of those that add most, best first.

    Args:
        factorization: as fitted.
        own: int32 [num_own].
        purchases: float32 [num_own], how many there were of each.
        items: int32 [num_items].
    """
    if not len(own):
        return [np.zeros(0, np.intp) for _ in items]
    weights = confidence(purchases, factorization.alpha).astype(np.float64)
    vectors = factorization.item_vectors(own).astype(np.float64)
    left = factorization.gram.copy()
    left[np.diag_indices_from(left)] += factorization.regularization
    left += vectors.T @ (vectors * (weights - 1.0)[:, None])
    offered = factorization.item_vectors(items).astype(np.float64)
    parts = (offered @ np.linalg.solve(left, vectors.T)) * weights
    best = np.argsort(-parts, axis=1, kind="stable")[:, :MAX_REASONS]
    return [row[parts[place, row] > 0] for place, row in enumerate(best)]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _ago(days: float) -> str:
    whole = int(days)
    if whole < 1:
        return "within a day"
    return "a day ago" if whole == 1 else f"{whole} days ago"
