"""What is scored of a shopper once and kept: the standing of the items worth ranking, and the history behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.reasons import explain
from pipelines.models.recommender import Recommender
from pipelines.models.text import TextSimilarity
from pipelines.serving.kept import Kept
from pipelines.serving.neighbours import Neighbours
from pipelines.serving.shopper import Shopper
from pipelines.serving.standing import Standing, rescored, standings

KEPT_SHOPPERS = 50_000
FIRST = 10
"""Items of a standing that are likely shown: why is found ahead too."""
USERS_AT_ONCE = 8
"""Users scored at once in the background: more would hold requests up."""


@dataclass(frozen=True)
class Prepared:
    """What is kept of a shopper.

    Args:
        history: purchases up to now.
        standing: among the items worth ranking.
        reasons: words that were found for items, by dense id.
        taste: the profile of the purchases, once it was asked for.
    """

    history: Histories
    standing: Standing
    reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)
    taste: list[NDArray[np.float32]] = field(default_factory=list)

    def profile(self, texts: TextSimilarity) -> NDArray[np.float32]:
        """float32 [embedding_size]: what the shopper's purchases are about, found when it is first asked for."""
        if not self.taste:
            self.taste.append(texts.profiles(self.history)[0])
        return self.taste[0]


class Preparing:
    """Scores shoppers when they are first asked for, or before.

    Args:
        recommender: the package's parts.
        neighbours: of its items.
    """

    def __init__(self, recommender: Recommender, neighbours: Neighbours) -> None:
        self._recommender = recommender
        self._neighbours = neighbours
        self._near_items = recommender.near_items
        self._histories = recommender.catalogue.histories
        self._kept: Kept[tuple[object, ...], Prepared] = Kept(KEPT_SHOPPERS)
        self._nobody = Histories.nobody(recommender.catalogue.num_items)

    def holds(self, shopper: Shopper) -> bool:
        """Whether a shopper was scored, with everything that they bought since."""
        return _key(shopper) in self._kept

    def of(self, shopper: Shopper) -> Prepared:
        """Score what is worth ranking for a shopper; kept until what they bought changes."""
        kept = self._kept.get(_key(shopper))
        if kept is not None:
            return kept
        user, ranker = shopper.user, self._recommender.ranker
        before = self._nobody if user is None else self._histories.take(user, user + 1)
        if shopper.purchases:
            plain = self.of(Shopper(user))
            bought = np.array([deed.item for deed in shopper.purchases], np.int32)
            near = [self._neighbours.together(int(item)).items for item in np.unique(bought)]
            history = shopper.history(before)
            worth = [] if self._near_items is None else [self._near_items.of(history)]
            items = np.unique(np.concatenate([plain.standing.items, bought, *near, *worth])).astype(np.int32)
            prepared = Prepared(history, rescored(ranker, history, self._recommender.allowed(items)))
        else:
            (standing,) = standings(ranker, before, self._worth(before))
            prepared = Prepared(before, standing)
        self._kept.put(_key(shopper), prepared)
        return prepared

    def told(self, prepared: Prepared, items: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
        """Words of what a shopper bought that speak for each of some items and maybe others, by dense id; kept."""
        missing = [item for item in items if item not in prepared.reasons]
        if missing:
            model = self._recommender
            found = explain(model.ranker.signals, model.catalogue.titles, prepared.history, np.array(missing, np.int32))
            prepared.reasons.update(zip(missing, found, strict=True))
        return prepared.reasons

    def _worth(self, history: Histories) -> NDArray[np.int32]:
        """int32, ascending: the candidates that are scored for one user."""
        return self._recommender.candidates if self._near_items is None else self._near_items.of(history)

    def warm(self, going_on: Callable[[], bool], most: int = KEPT_SHOPPERS // 2) -> int:
        """Score known users ahead, a few at a time, and find why for what comes first, until all are or ``going_on``
        says no; returns how many are."""
        histories, done = self._histories, 0
        self._first_told(self.of(Shopper()))
        if self._near_items is not None:
            while done < min(histories.num_users, most) and going_on():
                self._first_told(self.of(Shopper(done)))
                done += 1
            return done
        for start in range(0, min(histories.num_users, most), USERS_AT_ONCE):
            if not going_on():
                break
            chunk = histories.take(start, min(start + USERS_AT_ONCE, histories.num_users))
            for user, standing in enumerate(
                standings(self._recommender.ranker, chunk, self._recommender.candidates), start=start
            ):
                prepared = Prepared(histories.take(user, user + 1), standing)
                self._first_told(prepared)
                self._kept.put(_key(Shopper(user)), prepared)
                done += 1
        return done

    def _first_told(self, prepared: Prepared) -> None:
        self.told(prepared, prepared.standing.items[:FIRST].tolist())


def _key(shopper: Shopper) -> tuple[object, ...]:
    return (shopper.user, shopper.purchases)
