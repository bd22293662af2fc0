"""What goes with the items that a shopper looked at: bought in one basket with them, or like them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.neighbours import Neighbours

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
        best: dict[int, tuple[float, str]] = {}
        for item, weight in about.items():
            title = titles[item]
            found = [(neighbours.together(item), TOGETHER)]
            if item not in chosen:
                found.append((neighbours.similar(item), ALIKE))
            for near, words in found:
                top = float(near.strength[0]) if len(near.strength) else 1.0
                for other, strength in zip(near.items.tolist(), near.strength.tolist(), strict=True):
                    worth = weight * strength / top
                    if worth > best.get(other, (0.0, ""))[0]:
                        best[other] = worth, words.format(title)
        items = np.array(sorted(best), np.int32)
        strength = np.array([best[item][0] for item in items.tolist()], np.float32)
        return cls(items, strength, {item: because for item, (_, because) in best.items()})
