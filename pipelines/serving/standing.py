"""Where items stand with one shopper: the ranker's own order, made once and kept, and made again after a purchase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.features import features
from pipelines.models.ranker import Ranker
from pipelines.models.signals import Shortlist, score_densely

Passing = Callable[[NDArray[np.int32]], NDArray[np.bool_]]
"""Of int32 [num_items] items, which pass: bool [num_items]."""
FIRST_READ = 256
"""Items of a standing that are made ready at first; twice as many each time that more are wanted."""
FEW_WANTED = 16
"""Up to so many items are sooner looked for one by one than the standing is sorted for them."""


@dataclass(frozen=True)
class Standing:
    """The shortlist of one shopper.

    Args:
        items: int32 [num_items], dense ids, best first, ties by id.
        scores: float32 [num_items], the blend's chance of a purchase, within 0..1.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, items: NDArray[np.int32], scores: NDArray[np.float32]) -> Standing:
        """Put scored items in order."""
        order = np.lexsort((items, -scores))
        return cls(items[order], scores[order])

    def in_order(self, passing: Passing | None = None) -> Iterator[tuple[int, float]]:
        """Items with their scores, best first; a whole catalogue is looked through no further than it is read.

        Args:
            passing: which items are wanted; None for all.
        """
        start, size = 0, FIRST_READ
        while start < len(self.items):
            items, scores = self.items[start : start + size], self.scores[start : start + size]
            if passing is not None:
                wanted = passing(items)
                items, scores = items[wanted], scores[wanted]
            yield from zip(items.tolist(), scores.tolist(), strict=True)
            start, size = start + size, 2 * size

    def scores_of(self, items: NDArray[np.int32], missing: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [num_wanted]: scores of int32 [num_wanted] items; ``missing`` where one is not on the shortlist."""
        if not len(self.items):
            return missing.astype(np.float32)
        if len(items) <= FEW_WANTED:
            same = items[:, None] == self.items
            rows = same.argmax(axis=1)
            return np.where(same[np.arange(len(items)), rows], self.scores[rows], missing).astype(
                np.float32, copy=False
            )
        order = np.argsort(self.items, kind="stable")
        place = np.searchsorted(self.items, items, sorter=order).clip(0, len(order) - 1)
        rows = order[place]
        found: NDArray[np.float32] = np.where(self.items[rows] == items, self.scores[rows], missing)
        return found.astype(np.float32, copy=False)


def standings(ranker: Ranker, histories: Histories, candidates: NDArray[np.int32]) -> Iterator[Standing]:
    """The standing of every user, exactly as :meth:`pipelines.models.ranker.Ranker.score` orders the candidates.

    Args:
        ranker: of the package.
        histories: a few users': all of them are scored at once.
        candidates: int32 [num_candidates], ascending dense ids.
    """
    rows, described = ranker.described(histories, candidates)
    chances = ranker.blend.predict(described)
    bounds = np.searchsorted(rows.users, np.arange(histories.num_users + 1))
    for low, high in pairwise(bounds):
        yield Standing.of(candidates[rows.positions[low:high]], chances[low:high])


def rescored(ranker: Ranker, history: Histories, items: NDArray[np.int32]) -> Standing:
    """The standing of one user among given items.

    It is exact where the items hold the best of every signal, because a signal's score is compared with the user's
    best: what the user bought, and the shortlist of the history before, do so but for what a purchase newly lifts.

    Args:
        ranker: of the package.
        history: of one user.
        items: int32 [num_items], ascending candidates.
    """
    return Standing.of(items, ranker.blend.predict(described_among(ranker, history, items)))


def described_among(ranker: Ranker, history: Histories, items: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [num_items, num_features]: what the blend sees of one user and each of these items.

    Args:
        ranker: of the package.
        history: of one user.
        items: int32 [num_items], ascending candidates, among which each signal's best is looked for.
    """
    scored = score_densely(ranker.signals, history, items)
    rows = Shortlist(np.zeros(len(items), np.int64), np.arange(len(items), dtype=np.int64))
    return features(ranker.signals, history, scored, rows)
