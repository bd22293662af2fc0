"""Ranking metrics at k over a matrix of scores: binary gain, ties by id.

The protocol (design, section 4): an item is relevant or not; the ideal ranking holds min(k, relevant) relevant
items; a user without a relevant item has no value (NaN) and is left out of means; equal scores are ordered by
dense id, the smaller first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankedUsers:
    """What a ranking gave each user.

    Args:
        top: int32 [num_users, k], columns of the score matrix, best first; -1 where fewer than k items could be
            offered.
        hits: bool [num_users, k], whether the item at that place is relevant.
        relevant: int64 [num_users], number of relevant items.
    """

    top: NDArray[np.int32]
    hits: NDArray[np.bool_]
    relevant: NDArray[np.int64]


def top_k(scores: NDArray[np.float32], k: int, excluded: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """The best k columns of every row.

    Args:
        scores: float32 [num_users, num_items]; columns are in order of dense id. -inf ranks last.
        k: places to fill; k >= 1.
        excluded: bool [num_users, num_items], items that a user is not offered.

    Returns:
        int32 [num_users, k], best first, ties by column; -1 where no item is left.

    Raises:
        DataError: a score is NaN; the message names the row.
    """
    if k < 1:
        raise DataError(f"k must be 1 or more; it is {k}")
    num_users, num_items = scores.shape
    kept = min(k, num_items)
    top = np.full((num_users, k), -1, np.int32)
    if kept == 0 or num_users == 0:
        return top
    offered = scores if excluded is None else np.where(excluded, np.float32(-np.inf), scores)
    bound = _lower_bound(offered, kept)
    missing = np.isnan(bound)
    if missing.any():
        raise DataError(f"scores of row {int(np.argmax(missing))} hold NaN")
    worth = offered >= bound[:, None]
    if excluded is not None:
        worth &= ~excluded
    if np.count_nonzero(worth) > 64 * kept * num_users:
        tied = worth & (offered == bound[:, None])
        worth &= ~tied | (np.cumsum(tied, axis=1, dtype=np.int32) <= kept)
    rows, columns = np.divmod(np.flatnonzero(worth), num_items)
    order = np.lexsort((columns, -offered[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    top[rows[place < k], place[place < k]] = columns[place < k]
    return top


def _lower_bound(scores: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """A score that at least ``kept`` columns of each row reach: the ``kept``-th largest maximum of blocks of columns.

    Few columns beside the best ones reach it, so the full sort is spared.

    Returns:
        float32 [num_users], NaN for a row that holds NaN.
    """
    num_users, num_items = scores.shape
    width = max(1, num_items // (32 * kept))
    whole = num_items // width * width
    maxima = scores[:, :whole].reshape(num_users, -1, width).max(axis=2)
    bound: NDArray[np.float32] = np.partition(maxima, maxima.shape[1] - kept, axis=1)[:, maxima.shape[1] - kept]
    holds_nan = np.isnan(maxima).any(axis=1) | np.isnan(scores[:, whole:]).any(axis=1)
    return np.where(holds_nan, np.float32(np.nan), bound)


def rank_users(
    scores: NDArray[np.float32],
    relevant: NDArray[np.bool_],
    k: int,
    excluded: NDArray[np.bool_] | None = None,
) -> RankedUsers:
    """Rank every user's items and look which of the first k are relevant.

    Args:
        scores: float32 [num_users, num_items].
        relevant: bool [num_users, num_items].
        k: places to fill.
        excluded: bool [num_users, num_items]: left out of what is offered and of what is relevant.
    """
    if excluded is not None:
        relevant = relevant & ~excluded
    top = top_k(scores, k, excluded)
    hits = np.take_along_axis(relevant, np.maximum(top, 0), axis=1) & (top >= 0)
    return RankedUsers(top, hits, relevant.sum(axis=1, dtype=np.int64))


def recall(ranked: RankedUsers) -> Floats:
    """Share of a user's relevant items among the first k: float64 [num_users], NaN without a relevant item."""
    return _divide(ranked.hits.sum(axis=1), ranked.relevant)


def ndcg(ranked: RankedUsers) -> Floats:
    r"""Normalised discounted cumulative gain: float64 [num_users], NaN without a relevant item.

    .. math:: \frac{\sum_{i \le k} rel_i / \log_2(i + 1)}{\sum_{i \le \min(k, R)} 1 / \log_2(i + 1)}

    Source: Järvelin and Kekäläinen 2002, with binary gain.
    """
    discounts = 1.0 / np.log2(np.arange(2, ranked.hits.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    possible = np.minimum(ranked.relevant, ranked.hits.shape[1])
    return _divide((ranked.hits * discounts).sum(axis=1), ideal[possible])


def average_precision(ranked: RankedUsers) -> Floats:
    """Mean of the precisions at each hit, over min(k, relevant): float64 [num_users], NaN without a relevant item.

    Its mean over users is MAP at k.
    """
    places = np.arange(1, ranked.hits.shape[1] + 1)
    precisions = np.cumsum(ranked.hits, axis=1) / places
    possible = np.minimum(ranked.relevant, ranked.hits.shape[1])
    return _divide((precisions * ranked.hits).sum(axis=1), possible)


def coverage(top: NDArray[np.int32], num_items: int) -> float:
    """Share of the items that appear in at least one user's first k.

    Args:
        top: int32 [num_users, k] as from :func:`top_k`; -1 is no item.
        num_items: items that could have been offered; >= 1.
    """
    return len(np.unique(top[top >= 0])) / num_items


def shown_to_one(top: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many items each user alone has among the first k: what coverage loses without this user.

    Args:
        top: int32 [num_users, k] as from :func:`top_k`; -1 is no item.

    Returns:
        int64 [num_users].
    """
    users, places = np.nonzero(top >= 0)
    items = top[users, places]
    times = np.bincount(items, minlength=1)
    return np.bincount(users[times[items] == 1], minlength=len(top))


def mean(values: Floats) -> float | None:
    """Mean over the users that have a value; ``None`` when none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """Element-wise ratio, NaN where the denominator is zero."""
    bottom = denominator.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Floats = np.where(bottom > 0, numerator.astype(np.float64) / bottom, np.nan)
    return ratio
