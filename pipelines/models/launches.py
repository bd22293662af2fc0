"""Launches: items first bought within the last weeks, and what may be known of an item before its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories

NEIGHBOURS = (5, 25, 100)
"""Items on either side, in the order of the catalogue, that count as neighbours."""


@dataclass(frozen=True)
class Launches:
    """The purchases up to some moment, and those of the items launched after it.

    Args:
        before: read at that moment.
        cold: int32, ascending: items that nobody had bought by then.
        users: int32 [num_pairs].
        items: int32 [num_pairs]: cold items that the users then bought, each pair once.
    """

    before: Histories
    cold: NDArray[np.int32]
    users: NDArray[np.int32]
    items: NDArray[np.int32]


def split_launches(histories: Histories, days: float) -> Launches:
    """Hide the last days of the histories."""
    users = histories.users_of_events()
    early = histories.ages >= days
    before = Histories.from_events(
        users[early],
        histories.items[early],
        -histories.ages[early].astype(np.float64),
        histories.quantities[early],
        num_users=histories.num_users,
        num_items=histories.num_items,
        as_of=-days,
    )
    cold = np.bincount(before.items, minlength=histories.num_items) == 0
    launched = ~early & cold[histories.items]
    keys = np.unique(users[launched].astype(np.int64) * histories.num_items + histories.items[launched])
    pairs = np.divmod(keys, histories.num_items)
    return Launches(before, np.flatnonzero(cold).astype(np.int32), *(part.astype(np.int32) for part in pairs))


def appeal_features(histories: Histories, groups: NDArray[np.int32], days: float) -> NDArray[np.float32]:
    """Describe every item by its groups and its neighbours in the catalogue, never by its own purchases.

    Args:
        histories: everybody's purchases.
        groups: int32 [num_kinds, num_items].
        days: over which launches are counted; a third of it too.

    Returns:
        float32 [num_items, num_features], finite.
    """
    demand = _Demand.of(histories, days)
    columns = [column for codes in groups for column in _of_groups(demand, codes)]
    columns += [column for reach in NEIGHBOURS for column in _of_neighbours(demand, reach)]
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Demand:
    """Of every item: buyers in all, and of late; whether it is cold, and was at the start of either period.

    Args:
        buyers: float64 [num_items].
        week: float64 [num_items], distinct buyers of the last 7 days.
        month: float64 [num_items], of the last 28.
        quarter: float64 [num_items], of the last 84.
        was_cold: two of float64 [num_items]: 1 for what nobody had bought before the last ``days / 3``, or ``days``.
        cold: float64 [num_items]: 1 for what nobody bought.
    """

    buyers: NDArray[np.float64]
    week: NDArray[np.float64]
    month: NDArray[np.float64]
    quarter: NDArray[np.float64]
    was_cold: tuple[NDArray[np.float64], NDArray[np.float64]]
    cold: NDArray[np.float64]

    @classmethod
    def of(cls, histories: Histories, days: float) -> _Demand:
        users, size = histories.users_of_events().astype(np.int64), histories.num_items

        def buyers(within: float) -> NDArray[np.float64]:
            late = histories.ages <= within
            pairs = np.unique(users[late] * size + histories.items[late])
            return np.bincount(pairs % size, minlength=size).astype(np.float64)

        first = np.zeros(size)
        np.maximum.at(first, histories.items, histories.ages.astype(np.float64))
        everybody = buyers(np.inf)
        was_cold = tuple(((everybody == 0) | (first <= within)).astype(np.float64) for within in (days / 3, days))
        cold = (everybody == 0).astype(np.float64)
        return cls(everybody, buyers(7.0), buyers(28.0), buyers(84.0), (was_cold[0], was_cold[1]), cold)


def _of_groups(demand: _Demand, codes: NDArray[np.int32]) -> list[NDArray[np.float64]]:
    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(codes, values)[codes], np.float64)

    size = total(np.ones(len(codes)))
    columns = [
        np.log1p(size),
        total(demand.cold) / size,
        np.log1p(total(demand.buyers)),
        np.log1p(total(demand.week)),
        np.log1p(total(demand.month)),
        np.log1p(total(demand.month)) - np.log1p(total(demand.quarter)),
    ]
    for was_cold in demand.was_cold:
        cold_then, launched = total(was_cold), was_cold * (1.0 - demand.cold)
        columns += [total(launched) / (cold_then + 3.0), _rate(total(launched * demand.buyers), cold_then)]
    return columns


def _of_neighbours(demand: _Demand, reach: int) -> list[NDArray[np.float64]]:
    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over each item and ``reach`` items on either side."""
        sums = np.concatenate([[0.0], np.cumsum(values)])
        places = np.arange(len(values))
        until, start = np.minimum(places + reach + 1, len(values)), np.maximum(places - reach, 0)
        return np.asarray(sums[until] - sums[start], np.float64)

    columns = [np.log1p(total(demand.month)), total(demand.cold) / total(np.ones(len(demand.cold)))]
    return columns + [
        _rate(total(was_cold * (1.0 - demand.cold) * demand.buyers), total(was_cold)) for was_cold in demand.was_cold
    ]


def _rate(buyers: NDArray[np.float64], items: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the buyers that an item found, smoothed."""
    return np.log((buyers + 0.02) / (items + 1.0))
