"""Batches of users' visits: what the sequence model reads, what it is asked for, what that is told apart from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories, Texts
from pipelines.models.histories import pairs_of, purchase_counts
from pipelines.models.sequence_visits import Visits, baskets, first_purchases, tokens_of, windows_of

if TYPE_CHECKING:
    from pipelines.models.sequence import SequenceSettings

Arrays = dict[str, NDArray[Any]]
Windows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First visits, and those after the last ones."""


class Batches:
    """The visits of all users, in batches of windows.

    Args:
        histories: with at least one event.
        texts: of every item.
        settings: see :class:`pipelines.models.sequence.SequenceSettings`.
    """

    def __init__(self, histories: Histories, texts: Texts, settings: SequenceSettings) -> None:
        self.settings, self.items = settings, histories.items
        self.visits = Visits.of(histories)
        self.windows = _windows(self.visits, settings)
        self.sold, counts = np.unique(histories.items, return_counts=True)
        self.shares = counts / counts.sum()
        self.demand = demand_of(histories)
        asked = np.ones(len(self.items), bool) if settings.repeats else first_purchases(histories)
        self.asked = np.flatnonzero(asked)
        """The events that are asked for."""
        self.asked_starts = np.searchsorted(self.asked, self.visits.events)
        """Where those of each visit start."""
        bought = purchase_counts(histories).indices
        self.buyers = np.bincount(bought, minlength=histories.num_items)
        self.item_ids = np.flatnonzero(self.buyers >= min(settings.min_buyers, self.buyers.max())).astype(np.int32)
        self.columns = np.full(histories.num_items, -1, np.int32)
        self.columns[self.item_ids] = np.arange(len(self.item_ids))
        self.texts = (texts.embeddings - texts.embeddings.mean(axis=0)).astype(np.float32)
        self.text_index = texts.text_index
        self.event_ids, self.event_texts = self.columns[self.items], self.text_index[self.items]

    def batch(self, windows: Windows, generator: np.random.Generator) -> Arrays:
        """What the network reads of some windows, what it is asked for, and what that is told apart from."""
        (low, high), settings = windows, self.settings
        tokens = tokens_of(self.visits, low, high - 1)
        kept = generator.random(len(self.item_ids)) >= settings.id_dropout
        known = (self.event_ids >= 0) & kept[self.event_ids]
        ids = baskets(self.visits, tokens, self.event_ids, len(self.item_ids), known).tocoo()
        content = baskets(self.visits, tokens, self.event_texts, len(self.texts)) @ self.texts
        asked, wanted = self._targets(tokens.visits.shape, low, high, generator)
        others, weights = self._others(generator)
        outputs = {
            name: self._outputs(items, name, generator) for name, items in (("wanted", wanted), ("others", others))
        }
        return {
            "places": np.stack([ids.row, ids.col], axis=1).astype(np.int64),
            "weights": ids.data,
            "content": content,
            "gaps": tokens.gaps,
            "days": tokens.days,
            "apart": tokens.apart,
            "asked": asked,
            "asked_demand": self.demand[wanted][:, None],
            "others_demand": self.demand[others] - weights,
            "seed": generator.integers(0, 2**31 - 1, 2).astype(np.int32),
            **outputs["wanted"],
            **outputs["others"],
        }

    def _targets(
        self, shape: tuple[int, ...], low: NDArray[np.int64], high: NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens that are asked, and an item of the visits ahead of each."""
        rows, places = np.nonzero(np.arange(shape[1])[None, :] < (high - low)[:, None])
        visit = low[rows] + places
        last = np.minimum(visit + self.settings.ahead, self.ends_of(low)[rows])
        starts, sizes = self.asked_starts[visit], self.asked_starts[last] - self.asked_starts[visit]
        asked = np.repeat((rows * shape[1] + places)[sizes > 0], self.settings.targets)
        drawn = generator.random((len(visit), self.settings.targets))
        chosen = starts[:, None] + np.floor(drawn * sizes[:, None]).astype(np.int64)
        return asked.astype(np.int32), self.items[self.asked[chosen[sizes > 0].ravel()]]

    def ends_of(self, low: NDArray[np.int64]) -> NDArray[np.int64]:
        """One past the last visit of each window's user."""
        return self.visits.users[np.searchsorted(self.visits.users, low, side="right")]

    def _others(self, generator: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items to tell apart from, and what is taken from their scores because they are more or less often drawn."""
        count = self.settings.negatives
        if count >= len(self.sold):
            return self.sold, np.zeros(len(self.sold), np.float32)
        drawn = generator.choice(len(self.sold), count, p=self.shares)
        return self.sold[drawn], np.log(count * self.shares[drawn]).astype(np.float32)

    def _outputs(self, items: NDArray[np.int32], name: str, generator: np.random.Generator) -> Arrays:
        """Where the vectors of items are."""
        column = self.columns[items]
        kept = (column >= 0) & (generator.random(len(items)) >= self.settings.id_dropout)
        return {
            name: items,
            f"{name}_ids": np.maximum(column, 0),
            f"{name}_kept": kept.astype(np.float32)[:, None],
            f"{name}_texts": self.text_index[items],
        }


def _windows(visits: Visits, settings: SequenceSettings) -> list[Windows]:
    """Windows of about one length together, as many as have ``batch_size`` visits."""
    low, high = windows_of(visits, settings.visits)
    order = np.argsort(high - low, kind="stable")
    lengths, batches, start = (high - low)[order], [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[stop] * (stop + 1 - start) <= settings.batch_size:
            stop += 1
        batches.append((low[order[start:stop]], high[order[start:stop]]))
        start = stop
    return batches


def demand_of(histories: Histories, half_life_days: float = np.inf) -> NDArray[np.float32]:
    """float32 [num_items]: logarithm of each item's share of buyers, as if each had half a buyer more.

    Args:
        histories: with at least one event.
        half_life_days: days since a buyer's last purchase after which it counts half.
    """
    pairs = pairs_of(histories)
    worth = np.exp2(-pairs.last.astype(np.float64) / half_life_days)
    bought = np.bincount(pairs.items, worth, minlength=histories.num_items) + 0.5 * worth.mean()
    shares: NDArray[np.float32] = np.log(bought / bought.sum()).astype(np.float32)
    return shares
