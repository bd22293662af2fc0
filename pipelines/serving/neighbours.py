"""Which items go with an item: alike in text and behaviour, or bought in one basket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.fused import Fused
from pipelines.models.histories import visits_of
from pipelines.models.signals import Signals
from pipelines.serving.around import Around
from pipelines.serving.kept import Kept

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FEW_BASKETS = 3.0
"""Baskets that are added to an item's own before two items' share is believed."""
STANDARD_ERRORS = np.float32(0.9)
"""Taken off the number of baskets that two items share, so that one alone, which says little, comes last."""
WIDE = 4
"""Times the neighbours wanted: how many are looked at, of which one of each text is kept."""
REMEMBERED = 20_000
"""Items whose neighbours are kept."""


@dataclass(frozen=True)
class Near:
    """Items near to another.

    Args:
        items: int32 [num_near], dense ids, nearest first, ties by id; without the item itself.
        strength: float32 [num_near], within 0..1.
    """

    items: NDArray[np.int32]
    strength: NDArray[np.float32]


class Neighbours:
    """Neighbours of any item, found when they are first asked for.

    Args:
        signals: the fitted models.
        histories: every known user's purchases; those of one day are a basket.
        around: among which items those like one are looked for; None for all.
        count: neighbours kept of an item, at most.
    """

    def __init__(
        self,
        signals: Signals,
        histories: Histories,
        around: Around | None = None,
        count: int = 100,
    ) -> None:
        self._count = count
        self._around = around
        self._buyers = signals.popularity.buyers
        self._texts = signals.texts
        fused = signals.chosen.get(Fused.name)
        self._behaviour = fused.vectors if isinstance(fused, Fused) else None
        if around is None and self._behaviour is not None:
            self._behaviour = _unit(self._behaviour)
        self._baskets, self._bought_in = _baskets(histories)
        self._sizes = np.diff(self._bought_in.indptr)
        self._kept: Kept[tuple[str, int], Near] = Kept(REMEMBERED)

    def holds(self, item: int) -> bool:
        """Whether an item's neighbours were found before."""
        return ("similar", item) in self._kept and ("together", item) in self._kept

    def similar(self, item: int) -> Near:
        """Alike: the mean cosine of text and of behaviour; one item of each other text, the most bought."""
        return self._once("similar", item, self._similar)

    def together(self, item: int) -> Near:
        """Bought in one basket: the cosine of the two items' baskets, low where one is in few or both share few."""
        return self._once("together", item, self._together)

    def _once(self, kind: str, item: int, find: Callable[[int], Near]) -> Near:
        kept = self._kept.get((kind, item))
        if kept is None:
            kept = find(item)
            self._kept.put((kind, item), kept)
        return kept

    def _similar(self, item: int) -> Near:
        if self._around is not None:
            liked = 0 if self._behaviour is None else self._count
            return self._similar_among(item, self._around.of(item, WIDE * self._count, liked))
        text = self._texts.embeddings @ self._texts.embeddings[self._texts.text_index[item]]
        likeness = text[self._texts.text_index]
        if self._behaviour is not None:
            likeness = (likeness + self._behaviour @ self._behaviour[item]) / np.float32(2)
        likeness[self._texts.text_index == self._texts.text_index[item]] = -1.0
        wide = min(WIDE * self._count, len(likeness) - 1)
        if wide < 1:
            return Near(np.zeros(0, np.int32), np.zeros(0, np.float32))
        nearest = np.argpartition(-likeness, wide)[:wide].astype(np.int32)
        return self._one_of_each_text(nearest, likeness[nearest])

    def _similar_among(self, item: int, items: NDArray[np.int32]) -> Near:
        """The same among int32 [num_items] items, which are compared with one alone."""
        index, embeddings = self._texts.text_index, self._texts.embeddings
        items = items[index[items] != index[item]]
        likeness = embeddings[index[items]] @ embeddings[index[item]]
        if self._behaviour is not None:
            behaviour = _unit(self._behaviour[items]) @ _unit(self._behaviour[[item]])[0]
            likeness = (likeness + behaviour) / np.float32(2)
        return self._one_of_each_text(items, likeness)

    def _one_of_each_text(self, items: NDArray[np.int32], likeness: NDArray[np.float32]) -> Near:
        order = np.lexsort((items, -self._buyers[items]))
        _, first = np.unique(self._texts.text_index[items[order]], return_index=True)
        return self._best(items[order[first]], likeness[order[first]])

    def _together(self, item: int) -> Near:
        rows = self._bought_in.indices[self._bought_in.indptr[item] : self._bought_in.indptr[item + 1]]
        mates = self._baskets[rows].indices
        others, shared = np.unique(mates, return_counts=True)
        shared = shared[others != item].astype(np.float32)
        others = others[others != item].astype(np.int32)
        surely = shared - STANDARD_ERRORS * np.sqrt(shared)
        strength = surely / np.sqrt((self._sizes[item] + FEW_BASKETS) * (self._sizes[others] + FEW_BASKETS))
        return self._best(others, strength.astype(np.float32))

    def _best(self, items: NDArray[np.int32], strength: NDArray[np.float32]) -> Near:
        order = np.lexsort((items, -strength))[: self._count]
        kept = order[strength[order] > 0]
        return Near(items[kept], np.minimum(strength[kept], np.float32(1)))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-9))
    return unit


def _baskets(histories: Histories) -> tuple[csr_matrix[Any], csr_matrix[Any]]:
    """Sparse int8 [num_baskets, num_items], what was in each basket; and the same by item."""
    from scipy.sparse import csr_matrix

    visits, owners, _ = visits_of(replace(histories, ages=np.floor(histories.ages)))
    shape = (len(owners), histories.num_items)
    baskets = csr_matrix((np.ones(len(visits), np.int8), (visits, histories.items)), shape=shape)
    baskets.sum_duplicates()
    return baskets, baskets.T.tocsr()
