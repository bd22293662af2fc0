"""Histories as sparse matrices, and the vectors of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.base import Histories

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def weighted(histories: Histories, weights: NDArray[np.float32]) -> csr_matrix[Any]:
    """Sum a weight per event over each user's events of an item.

    Args:
        histories: whose rows.
        weights: float32 [num_events].

    Returns:
        Sparse float32 [num_users, num_items] with sorted column ids.
    """
    from scipy.sparse import csr_matrix

    shape = (histories.num_users, histories.num_items)
    matrix = csr_matrix((weights, histories.items, histories.indptr), shape=shape, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    return matrix


def purchase_counts(histories: Histories) -> csr_matrix[Any]:
    """Sparse float32 [num_users, num_items]: how many times each user bought each item."""
    return weighted(histories, np.ones(len(histories.items), np.float32))


def decayed_counts(histories: Histories, weekly_decay: float) -> csr_matrix[Any]:
    """Sparse float32 [num_users, num_items]: purchases, each worth ``weekly_decay ** weeks of age``."""
    return weighted(histories, np.float32(weekly_decay) ** (histories.ages / np.float32(7)))


def look_up(ids: NDArray[np.int32], wanted: NDArray[np.integer[Any]]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find ids among ascending ones.

    Args:
        ids: int32 [num_ids], ascending; at least one unless nothing is wanted.
        wanted: int [num_wanted].

    Returns:
        int [num_wanted], the row of each; bool [num_wanted], whether it is there: of one that is not, the row is of
        another.
    """
    rows = np.searchsorted(ids, wanted).clip(0, max(len(ids) - 1, 0))
    return rows, ids[rows] == wanted


def dense_columns(matrix: csr_matrix[Any], candidates: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [num_users, num_candidates]: the candidates' columns of a matrix that holds no entry twice.

    Ascending candidates are looked up by what the matrix holds, which costs the same however wide it is.
    """
    if len(candidates) and (np.diff(candidates) > 0).all():
        place, known = look_up(candidates, matrix.indices)
        found = np.flatnonzero(known)
        columns: NDArray[np.float32] = np.zeros((matrix.shape[0], len(candidates)), np.float32)
        columns[np.searchsorted(matrix.indptr, found, side="right") - 1, place[found]] = matrix.data[found]
        return columns
    picked: NDArray[np.float32] = matrix[:, candidates].toarray().astype(np.float32, copy=False)
    return picked


def vectors_of_items(
    items: NDArray[np.int32], item_ids: NDArray[np.int32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Look items up among those that have a vector.

    Args:
        items: int32 [num_wanted].
        item_ids: int32 [num_vectors], ascending.
        vectors: float32 [num_vectors, size].

    Returns:
        float32 [num_wanted, size]; zero for an item without a vector.
    """
    row, known = look_up(item_ids, items)
    found: NDArray[np.float32] = vectors.take(row, axis=0)
    if not known.all():
        found[~known] = 0
    return found


def visits_of(histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Group events into visits: the purchases of one user at one moment.

    Returns:
        int64 [num_events], the visit of each event, ascending, oldest first within a user; int32 [num_visits], the
        user of each visit; float32 [num_visits], its age in days.
    """
    users = histories.users_of_events()
    first = np.ones(len(users), bool)
    first[1:] = (users[1:] != users[:-1]) | (histories.ages[1:] != histories.ages[:-1])
    return np.cumsum(first) - 1, users[first], histories.ages[first]


def visits_since(histories: Histories) -> NDArray[np.float32]:
    """float32 [num_events]: how many later visits the user made after each event's; 0 for the last visit's."""
    visits, owners, _ = visits_of(histories)
    last = np.cumsum(np.bincount(owners, minlength=histories.num_users)) - 1
    since: NDArray[np.float32] = (last[histories.users_of_events()] - visits).astype(np.float32)
    return since


def strongest_of_rows(matrix: csr_matrix[Any], kept: int) -> csr_matrix[Any]:
    """The ``kept`` largest entries of every row by absolute value.

    Args:
        matrix: sparse float32 [num_rows, num_columns].
        kept: entries kept of a row, at most; >= 1.

    Returns:
        Sparse float32 of the same shape, with sorted column ids.
    """
    from scipy.sparse import csr_matrix

    lengths = np.diff(matrix.indptr)
    chosen = np.ones(matrix.nnz, bool)
    for row in np.flatnonzero(lengths > kept):
        low, high = matrix.indptr[row : row + 2]
        weakest = np.argpartition(np.abs(matrix.data[low:high]), high - low - kept)[: high - low - kept]
        chosen[low + weakest] = False
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, kept))])
    strongest = csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
    strongest.sort_indices()
    return strongest


@dataclass(frozen=True)
class Pairs:
    """What a user's history says of one item, a row per (user, item) bought; sorted by user, then item.

    Args:
        users: int32 [num_pairs].
        items: int32 [num_pairs].
        counts: float32 [num_pairs], purchases.
        days: float32 [num_pairs], distinct days with a purchase.
        last: float32 [num_pairs], age in days of the last purchase.
        first: float32 [num_pairs], age in days of the first purchase.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    counts: NDArray[np.float32]
    days: NDArray[np.float32]
    last: NDArray[np.float32]
    first: NDArray[np.float32]

    @property
    def gap(self) -> NDArray[np.float32]:
        """float32 [num_pairs]: mean days between purchases; 0 where the item was bought on one day only."""
        mean = (self.first - self.last) / np.maximum(self.days - np.float32(1), np.float32(1))
        gap: NDArray[np.float32] = np.where(self.days > 1, mean, np.float32(0)).astype(np.float32)
        return gap


def pairs_of(histories: Histories) -> Pairs:
    """Reduce every user's events to one row per item."""
    users = histories.users_of_events()
    keys = users.astype(np.int64) * histories.num_items + histories.items
    # A user's events are oldest first: turned round, a stable sort leaves each pair's youngest first.
    order = len(keys) - 1 - np.argsort(keys[::-1], kind="stable")
    keys, users, items, ages = keys[order], users[order], histories.items[order], histories.ages[order]
    new_pair = np.ones(len(users), bool)
    new_pair[1:] = keys[1:] != keys[:-1]
    whole_days = np.floor(ages)
    new_day = new_pair.copy()
    new_day[1:] |= whole_days[1:] != whole_days[:-1]
    starts = np.flatnonzero(new_pair)
    ends = np.append(starts[1:], len(users)).astype(np.int64)
    days = np.add.reduceat(new_day, starts, dtype=np.float32) if len(starts) else np.zeros(0, np.float32)
    counts = (ends - starts).astype(np.float32)
    return Pairs(users[starts], items[starts], counts, days, ages[starts], ages[ends - 1] if len(starts) else ages)
