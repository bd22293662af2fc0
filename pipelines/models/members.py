"""The items of a group, found without a look at the whole catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Members:
    """Items by the group that each of them is of.

    Args:
        group_of_item: int32 [num_items], within 0..num_groups - 1.
        num_groups: how many there are.
    """

    def __init__(self, group_of_item: NDArray[np.int32], num_groups: int) -> None:
        self._items = np.argsort(group_of_item, kind="stable").astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(group_of_item, minlength=num_groups))])

    def of(self, groups: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The items of some groups, group by group, ascending in each.

        Args:
            groups: [num_wanted].

        Returns:
            int32 [num_found] items, and int64 [num_found], the place in ``groups`` of each one's.
        """
        sizes = self._starts[groups + 1] - self._starts[groups]
        rows = np.repeat(np.arange(len(groups)), sizes)
        starts = np.repeat(self._starts[groups] - np.cumsum(sizes) + sizes, sizes)
        return self._items[starts + np.arange(len(rows))], rows

    def mask(self, groups: NDArray[np.integer]) -> NDArray[np.bool_]:
        """bool [num_items]: items that are of one of these groups."""
        found = np.zeros(len(self._items), bool)
        found[self.of(groups)[0]] = True
        return found
