"""A few households that a model knows, as examples for whoever tries the server: by pseudonym, told apart by taste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.models.base import Histories
from pipelines.serving.shelf import Codes

LOOKED_AT = 20_000
"""Users among whom the examples are sought."""
TOLD = 3
"""Categories that are told of each."""


@dataclass(frozen=True)
class Household:
    """A user whom the model knows.

    Args:
        account: pseudonym under the newest key.
        purchases: that the model knows of.
        categories: bought more often than others buy them, the most unlike others first.
    """

    account: str
    purchases: int
    categories: tuple[str, ...]


def unlike(histories: Histories, kinds: Codes, accounts: Mapping[str, int], count: int = 6) -> list[Household]:
    """Households that each stand for another taste, among those with many purchases.

    Args:
        histories: of all users.
        kinds: what kind each item is of.
        accounts: row of every user, by pseudonym.
        count: how many, at most.
    """
    from scipy.sparse import coo_matrix

    users = min(histories.num_users, LOOKED_AT)
    if not users or not kinds.values:
        return []
    known = histories.take(0, users)
    purchases = np.diff(known.indptr)
    rows, codes = np.repeat(np.arange(users), purchases), kinds.codes[known.items]
    told = codes >= 0
    shape = (users, len(kinds.values))
    counts = coo_matrix((np.ones(int(told.sum())), (rows[told], codes[told])), shape=shape).tocsr()
    everyones = np.asarray(counts.sum(axis=0)).ravel() / max(1.0, counts.sum())
    found = counts.tocoo()
    more = found.data / purchases[found.row] - everyones[found.col]
    order = np.lexsort((found.col, found.row, -more))
    many = purchases >= np.median(purchases)
    chosen: dict[int, list[str]] = {}
    taken: set[int] = set()
    for user, kind in zip(found.row[order].tolist(), found.col[order].tolist(), strict=True):
        if user in chosen:
            if len(chosen[user]) < TOLD:
                chosen[user].append(kinds.values[kind])
        elif len(chosen) < count and many[user] and kind not in taken:
            chosen[user] = [kinds.values[kind]]
            taken.add(kind)
    names = {row: account for account, row in accounts.items() if row in chosen}
    return [
        Household(names[user], int(purchases[user]), tuple(categories))
        for user, categories in chosen.items()
        if user in names
    ]
