"""Where an amount lies among those of its kind: 0 for the least, 1 for the most, equal ones at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PEERS = 12
"""Items with a known amount that a category must have for an amount to be high or low in it; else a wider counts."""


@dataclass(frozen=True)
class Ordered:
    """Amounts of items, and the items in their order.

    Args:
        amounts: float64 [num_items], NaN where unknown.
        order: int64 [num_known], items with a known amount, ascending by amount.
    """

    amounts: NDArray[np.float64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, amounts: NDArray[np.float64]) -> Ordered:
        known = np.flatnonzero(~np.isnan(amounts))
        return cls(amounts, known[np.argsort(amounts[known], kind="stable")])

    def shares(self, among: NDArray[np.bool_]) -> NDArray[np.float32]:
        """float32 [num_items]: each item's share among some; NaN for the others and where the amount is unknown.

        Args:
            among: bool [num_items].
        """
        found = np.full(len(self.amounts), np.nan, np.float32)
        items = self.order[among[self.order]]
        if len(items):
            found[items] = _places(self.amounts[items])
        return found

    def amount_at(self, among: NDArray[np.bool_], share: float) -> float | None:
        """The largest amount among some items whose share is no larger than this; None where none is known."""
        shares = self.shares(among)
        fitting = self.amounts[shares <= share]
        return float(fitting.max()) if len(fitting) else None


def _places(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(ascending)]]))
    middle = starts + (sizes - 1) / 2
    places: NDArray[np.float64] = np.repeat(middle, sizes) / max(len(ascending) - 1, 1)
    return places if len(ascending) > 1 else np.full(1, 0.5)


def own_shares(ordered: Ordered, levels: list[NDArray[np.int32]]) -> NDArray[np.float32]:
    """float32 [num_items]: each item's share in the narrowest category that has enough peers.

    Args:
        ordered: the amounts.
        levels: int32 [num_items] each, the category of every item from the widest level to the narrowest.
    """
    everything = np.zeros(len(ordered.amounts), np.int32)
    found = np.full(len(ordered.amounts), np.nan, np.float32)
    for groups in [everything, *levels]:
        items = ordered.order[np.argsort(groups[ordered.order], kind="stable")]
        bounds = np.flatnonzero(np.diff(groups[items])) + 1
        for members in np.split(items, bounds):
            if len(members) >= LEAST_PEERS or groups is everything:
                found[members] = _places(ordered.amounts[members]) if len(members) else 0
    return found
