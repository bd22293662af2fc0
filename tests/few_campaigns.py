"""The default source with few of its households: a source of real campaigns that is quick to fit on.

``SHOPLOOM_SOURCE=tests.few_campaigns:FOLDER``, where :func:`write_few` wrote FOLDER.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts import read_table, write_table
from pipelines.sources.complete_journey import CompleteJourney
from pipelines.sources.complete_journey import source as whole

HOUSEHOLDS = 250


def source(folder: str) -> CompleteJourney:
    return CompleteJourney(Path(folder))


def write_few(folder: Path) -> None:
    """Copy the wheel's tables with every sixth of the households that got a campaign."""
    data = whole().folder
    sent = pc.unique(read_table(data / "campaigns.parquet")["household_id"]).sort()
    chosen = sent.take(pa.array(range(0, len(sent), len(sent) // HOUSEHOLDS)))
    for name in ("transactions", "campaigns", "coupon_redemptions", "coupons", "campaign_descriptions"):
        rows = read_table(data / f"{name}.parquet")
        if "household_id" in rows.column_names:
            rows = rows.filter(pc.is_in(rows["household_id"], chosen))
        write_table(rows, folder / f"{name}.parquet")
