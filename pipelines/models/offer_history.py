"""From a history of offers and purchases to what was known of each user when an offer was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.models.propensity import Known

if TYPE_CHECKING:
    import pandas as pd

FIRST_DAYS = 28.0
"""Less of a history says too little of what a user buys."""


def known_at(
    purchases: pd.DataFrame, sent: pd.DataFrame, offers: pd.DataFrame, first: pd.Timestamp
) -> tuple[Known, NDArray[np.bool_], NDArray[np.float64]]:
    """What was known of each pair of a history when the offer was given: at the offer's start, of what was before it.

    Args:
        purchases: ``user_id``, ``item_id``, ``timestamp``.
        sent: ``user_id``, ``offer_id``, ``redeemed``.
        offers: ``offer_id``, ``item_ids``, ``starts``.
        first: since when purchases are known; offers within ``FIRST_DAYS`` of it are left out.

    Returns:
        What was known, bool [num_pairs] whether it was redeemed, float64 [num_pairs] days from ``first`` to its start.

    Raises:
        DataError: no offer is left.
    """
    import pandas as pd

    day = pd.Timedelta(days=1)
    bought = purchases[["user_id", "item_id"]].assign(day=(purchases["timestamp"] - first) / day)
    terms = offers[["offer_id", "item_ids"]].assign(start=(offers["starts"] - first) / day)
    terms["items"] = terms["item_ids"].map(len)
    pairs = sent.merge(terms[["offer_id", "start", "items"]], on="offer_id")
    parts = []
    for start, given in pairs.groupby("start"):
        if float(str(start)) < FIRST_DAYS:
            continue
        users = given["user_id"].unique()
        before = bought[(bought["day"] < start) & bought["user_id"].isin(users)]
        items = terms.loc[terms["start"] == start, ["offer_id", "item_ids"]].explode("item_ids")
        counted = before.groupby(["user_id", "item_id"], observed=True)["day"].agg(["size", "max"]).reset_index()
        of_offer = counted.merge(items, left_on="item_id", right_on="item_ids")
        summed = of_offer.groupby(["user_id", "offer_id"], observed=True).agg(
            lines=("size", "sum"), last=("max", "max")
        )
        part = given.merge(summed.reset_index(), how="left", on=["user_id", "offer_id"])
        earlier = pairs[(pairs["start"] < start) & pairs["user_id"].isin(users)].groupby("user_id")["redeemed"]
        part["all_lines"] = part["user_id"].map(before.groupby("user_id", observed=True).size())
        part["given_before"] = part["user_id"].map(earlier.size())
        part["redeemed_before"] = part["user_id"].map(earlier.sum())
        parts.append(part)
    if not parts:
        raise DataError("no offer was sent after the first four weeks of purchases", mend="give a longer history")
    rows = pd.concat(parts)

    def column(values: Sequence[float] | pd.Series[float]) -> NDArray[np.float64]:
        return np.nan_to_num(np.asarray(values, np.float64))

    starts = column(rows["start"])
    last = np.where(rows["last"].isna(), np.inf, starts - column(rows["last"]))
    known = Known(
        column(rows["lines"]),
        last,
        column(rows["all_lines"]),
        starts,
        column(rows["given_before"]),
        column(rows["redeemed_before"]),
        column(rows["items"]),
    )
    return known, rows["redeemed"].to_numpy(bool), starts
