"""Among which items those like one are looked for, where a catalogue is too large to compare it with all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.models.near_items import NearItems
from pipelines.models.recommender import Recommender


class Around:
    """Finds what may be like an item, by its text and by its shoppers.

    Args:
        model: the package's parts.
        near_items: finds what the same shoppers like.
    """

    def __init__(self, model: Recommender, near_items: NearItems) -> None:
        self._finder = model.finder
        self._near_items = near_items
        index = model.finder.text_index
        order = np.argsort(-model.buyers, kind="stable")
        _, first = np.unique(index[order], return_index=True)
        self._most_bought: NDArray[np.int32] = order[first].astype(np.int32)
        """int32 [num_texts]: of each text the item that most bought, ties by id."""

    def of(self, item: int, texts: int, liked: int) -> NDArray[np.int32]:
        """int32, none twice: of each text nearest in meaning the most bought item, and what the item's shoppers like.

        Args:
            item: dense id.
            texts: how many.
            liked: how many that its shoppers like; 0 where behaviour is not compared.
        """
        finder = self._finder
        nearest = finder.near.nearest(finder.embeddings[finder.text_index[item]], texts)
        alike = self._most_bought[nearest]
        return np.union1d(alike, self._near_items.like(item, liked)).astype(np.int32) if liked else alike
