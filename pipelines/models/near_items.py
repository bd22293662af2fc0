"""The items worth scoring for a shopper where a catalogue is too large to score all of it.

Every signal is asked about the same items: what the shopper bought, the candidates whose vectors in matrix
factorization have the largest inner product with theirs (found by :mod:`pipelines.models.nearest`), and the most bought
ones. The shortlist of :func:`pipelines.models.signals.shortlist` is then made of these as it would be of all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.histories import look_up
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.nearest import GRAPH_FILE, Nearest
from pipelines.models.ranker import Ranker
from pipelines.models.signals import most

SPARE = 2
"""Times the items that each signal puts on a shortlist: how many are looked for, so that other signals find theirs."""
POPULAR = 2_000
"""Most bought items of all time and of the last month among which a shopper's are looked for."""


class NearItems:
    """Finds what is worth scoring. Made by :meth:`fit` or :meth:`load`.

    Args:
        model: whose vectors the graph is of.
        near: finds rows among the candidates.
        candidates: int32 [num_candidates], ascending dense ids.
        ranker: whose shortlist is wanted.
    """

    def __init__(
        self, model: MatrixFactorization, near: Nearest, candidates: NDArray[np.int32], ranker: Ranker
    ) -> None:
        self._model = model
        self._near = near
        self._candidates = candidates
        self._new = ranker.per_signal
        popularity = ranker.signals.popularity
        count = max(POPULAR, 2 * self._new)
        self._popular = [
            candidates[most(part[candidates], count)] for part in (popularity.buyers, popularity.last_month)
        ]

    @classmethod
    def fit(cls, ranker: Ranker, exact_items: int) -> Self | None:
        """Build the graph; None where there are ``exact_items`` candidates or fewer, or no matrix factorization."""
        model = ranker.signals.chosen.get(MatrixFactorization.name)
        candidates = ranker.signals.popularity.candidates(ranker.min_buyers)
        if not isinstance(model, MatrixFactorization) or len(candidates) <= exact_items:
            return None
        return cls(model, Nearest.fit(_vectors(model, candidates), exact_items), candidates, ranker)

    def save(self, directory: Path) -> None:
        """Write the graph into ``directory``."""
        self._near.save(directory)

    @classmethod
    def load(cls, directory: Path, ranker: Ranker, candidates: NDArray[np.int32]) -> Self | None:
        """Read the graph; None where there is none.

        Raises:
            ModelError: the file holds no graph of these candidates.
        """
        model = ranker.signals.chosen.get(MatrixFactorization.name)
        if not isinstance(model, MatrixFactorization) or not (directory / GRAPH_FILE).is_file():
            return None
        return cls(model, Nearest.load(directory, _vectors(model, candidates)), candidates, ranker)

    def of(self, history: Histories) -> NDArray[np.int32]:
        """int32, ascending: the candidates worth scoring for one user.

        Args:
            history: of one user.
        """
        own = np.unique(history.items).astype(np.int32)
        wanted = SPARE * self._new + len(own)
        parts = [own[look_up(self._candidates, own)[1]], *(self._first_new(popular, own) for popular in self._popular)]
        vector = self._model.fold_in(history)[0]
        if vector.any():
            parts.append(self._candidates[self._near.nearest(vector, wanted)])
        return np.unique(np.concatenate(parts)).astype(np.int32)

    def like(self, item: int, count: int) -> NDArray[np.int32]:
        """int32 [at most count], ascending: candidates that the same shoppers like most; none where nobody bought the
        item."""
        vector = self._model.item_vectors(np.array([item], np.int32))[0]
        if not vector.any():
            return np.zeros(0, np.int32)
        return self._candidates[self._near.nearest(vector, count)]

    def _first_new(self, popular: NDArray[np.int32], own: NDArray[np.int32]) -> NDArray[np.int32]:
        """The most popular that are not the user's own, as many as a signal puts on a shortlist."""
        among = popular[: self._new + len(own)]
        new: NDArray[np.int32] = (among[~look_up(own, among)[1]] if len(own) else among)[: self._new]
        return new


def _vectors(model: MatrixFactorization, candidates: NDArray[np.int32]) -> NDArray[np.float32]:
    """The candidates' vectors; the model's own where it has no others."""
    return model.vectors if np.array_equal(model.item_ids, candidates) else model.item_vectors(candidates)
