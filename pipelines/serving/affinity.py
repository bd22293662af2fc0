"""What goes with the items that a shopper looked at: bought in one basket with them, or like them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.neighbours import Neighbours

NOTHING = np.zeros(0, np.int32)
ALIKE, TOGETHER = "like {}", "bought with {}"


@dataclass(frozen=True)
class Affinity:
    """What goes with the session.

    Args:
        items: int32 [num_items], ascending.
        strength: float32 [num_items], within 0..1.
        because: the reason for each item, by dense id.
    """

    items: NDArray[np.int32]
    strength: NDArray[np.float32]
    because: dict[int, str]

    @classmethod
    def of(
        cls, about: Mapping[int, float], neighbours: Neighbours, titles: Sequence[str], chosen: Collection[int] = ()
    ) -> Affinity:
        """What goes with items, by how much each of them matters.

        Args:
            about: dense id to weight within 0..1.
            neighbours: of the package.
            titles: of every item.
            chosen: of these, the ones that nothing else is wanted instead of: what is like them does not go with them.
        """
        if not about:
            return cls(NOTHING, NOTHING.astype(np.float32), {})
        items, worths, said = [NOTHING], [np.zeros(0)], []
        for item, weight in about.items():
            title = titles[item]
            goes = [(neighbours.together(item), TOGETHER)]
            if item not in chosen:
                goes.append((neighbours.similar(item), ALIKE))
            for near, words in goes:
                if len(near.items):
                    items.append(near.items)
                    worths.append(weight * near.strength.astype(np.float64) / float(near.strength[0]))
                    said.append(words.format(title))
        together, worth = np.concatenate(items), np.concatenate(worths)
        # Of what goes with several items the strongest counts, of equal ones the first.
        order = np.lexsort((-worth, together))
        order = order[worth[order] > 0]
        order = order[np.diff(together[order], prepend=-1) > 0]
        reasons = np.repeat(np.arange(len(said)), [len(each) for each in items[1:]])[order].tolist()
        found = together[order]
        because = dict(zip(found.tolist(), map(said.__getitem__, reasons), strict=True))
        return cls(found, worth[order].astype(np.float32), because)
