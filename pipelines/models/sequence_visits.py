"""Histories as sequences of visits: what a causal network reads of them, in batches.

A visit is everything that a user bought at one moment, and is one token, so nothing inside a basket has an order and
nothing of a basket tells of the rest of it. Before the first visit stands a token for the start:

    token          start    visit 0   visit 1   ...   visit n-1
    predicts      visit 0   visit 1   visit 2   ...   what comes next
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories
from pipelines.models.histories import visits_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DAY_EDGES = (0.5, 1.5, 2.5, 4.5, 6.5, 7.5, 10.5, 14.5, 21.5, 28.5, 42.5, 61.0, 91.0, 121.0, 181.0, 365.0)
"""Edges of the bins of days between two visits."""
VISIT_EDGES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 48, 64)
"""Edges of the bins of visits between two visits."""
DAY_BINS, VISIT_BINS = len(DAY_EDGES) + 2, len(VISIT_EDGES) + 1
"""The last bin of days is for the start, which has no day."""
START = -1
"""The visit of the start token, and of what fills a row up."""


@dataclass(frozen=True)
class Visits:
    """Purchases grouped into visits, oldest first within a user.

    Args:
        events: int64 [num_visits + 1]; visit ``v`` owns events ``events[v]:events[v + 1]``.
        users: int64 [num_users + 1]; user ``u`` owns visits ``users[u]:users[u + 1]``.
        ages: float32 [num_visits], in days.
        gaps: int32 [num_visits], bin of the days since the user's visit before; the last bin for the first one.
    """

    events: NDArray[np.int64]
    users: NDArray[np.int64]
    ages: NDArray[np.float32]
    gaps: NDArray[np.int32]

    @classmethod
    def of(cls, histories: Histories) -> Visits:
        """Group what was bought at one moment."""
        visit, owners, ages = visits_of(histories)
        events = np.concatenate([[0], np.cumsum(np.bincount(visit, minlength=len(owners)))]).astype(np.int64)
        users = np.searchsorted(owners, np.arange(histories.num_users + 1)).astype(np.int64)
        gaps = np.full(len(owners), DAY_BINS - 1, np.int32)
        same = np.flatnonzero(owners[1:] == owners[:-1]) + 1
        gaps[same] = np.digitize(ages[same - 1] - ages[same], DAY_EDGES)
        return cls(events, users, ages, gaps)


@dataclass(frozen=True)
class Tokens:
    """What the network reads of some users.

    Args:
        visits: int64 [num_rows, length], :data:`START` at the start and where a row is filled up, which is at its end.
        gaps: int32 [num_rows, length], bin of the days since the visit before.
        days: int32 [num_rows, length, length], bin of the days from the second token's visit to the first's.
        apart: int32 [length, length], bin of the tokens between.
    """

    visits: NDArray[np.int64]
    gaps: NDArray[np.int32]
    days: NDArray[np.int32]
    apart: NDArray[np.int32]


def tokens_of(visits: Visits, low: NDArray[np.int64], high: NDArray[np.int64]) -> Tokens:
    """The start and visits ``low`` to ``high - 1``, a row each.

    Args:
        visits: of the users.
        low: int64 [num_rows].
        high: int64 [num_rows], >= ``low``.
    """
    length = int((high - low).max(initial=0)) + 1
    number = low[:, None] + np.arange(-1, length - 1)[None, :]
    real = (number >= low[:, None]) & (number < high[:, None])
    chosen = np.where(real, number, START)
    padded_ages, padded_gaps = np.append(visits.ages, np.float32(0)), np.append(visits.gaps, np.int32(DAY_BINS - 1))
    ages = padded_ages[chosen]
    days = np.digitize(ages[:, None, :] - ages[:, :, None], DAY_EDGES).astype(np.int32)
    days[~(real[:, :, None] & real[:, None, :])] = DAY_BINS - 1
    places = np.arange(length)
    apart = np.digitize(np.maximum(places[:, None] - places[None, :], 0), VISIT_EDGES).astype(np.int32)
    return Tokens(chosen, padded_gaps[chosen], days, apart)


def baskets(
    visits: Visits, tokens: Tokens, columns: NDArray[np.int32], size: int, kept: NDArray[np.bool_] | None = None
) -> csr_matrix[Any]:
    """The content of each token.

    Args:
        visits: of the users.
        tokens: see :func:`tokens_of`.
        columns: int32 [num_events], the column of each event; negative for one that has none.
        size: columns.
        kept: bool [num_events], events that count; all by default.

    Returns:
        Sparse float32 [num_rows * length, size]: each purchase of a visit of ``n`` counts ``1 / sqrt(n)``, so that a
        basket's vector is about as long as an item's.
    """
    from scipy.sparse import csr_matrix

    flat = tokens.visits.ravel()
    starts, counts = visits.events[flat], np.append(np.diff(visits.events), 0)[flat]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    events = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
    weights = np.repeat(1.0 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    found = columns[events]
    weights[found < 0] = 0
    if kept is not None:
        weights[~kept[events]] = 0
    matrix = csr_matrix((weights, np.maximum(found, 0), indptr), shape=(len(flat), size), dtype=np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def windows_of(visits: Visits, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut every user's visits into windows of ``length``, the last one at the end, the first one shorter.

    Returns:
        int64 [num_windows] twice: first visit and the one after the last.
    """
    counts = np.diff(visits.users)
    windows = -(-counts // length)
    number = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    high = np.repeat(visits.users[1:], windows) - number * length
    return np.maximum(high - length, np.repeat(visits.users[:-1], windows)), high


def first_purchases(histories: Histories) -> NDArray[np.bool_]:
    """bool [num_events]: whether the user had not bought the item at an earlier moment."""
    users = histories.users_of_events()
    order = np.lexsort((-histories.ages, histories.items, users))
    mine, bought, ages = users[order], histories.items[order], histories.ages[order]
    start = np.ones(len(order), bool)
    start[1:] = (mine[1:] != mine[:-1]) | (bought[1:] != bought[:-1])
    oldest = ages[np.maximum.accumulate(np.where(start, np.arange(len(order)), 0))]
    first = np.zeros(len(order), bool)
    first[order] = ages == oldest
    return first
