"""Rows told apart: accepted or quarantined, and what was found beside the rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from expectations.contract import Check
from expectations.shape import Raw
from pipelines.sources.calendars import TIME_ZONE_KEY
from pipelines.tables import TABLES, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reasons = dict[str, "NDArray[np.int64]"]
"""For each check that some rows fail, their positions."""


@dataclass(frozen=True)
class Sorted:
    """A table's rows, told apart.

    Args:
        accepted: in the table's schema.
        quarantined: the raw columns, ``reasons`` (list of check names) and ``suite`` (digest of the suites).
        reasons: rows that fail each check; a row may fail several.
    """

    accepted: pa.Table
    quarantined: pa.Table
    reasons: dict[str, int]

    def summary(self) -> dict[str, Any]:
        """Counts, for the report."""
        accepted, quarantined = self.accepted.num_rows, self.quarantined.num_rows
        return {
            "rows": accepted + quarantined,
            "accepted": accepted,
            "quarantined": quarantined,
            "reasons": self.reasons,
        }


@dataclass
class Findings:
    """What tables and partitions were found to be, beside their rows."""

    warnings: list[dict[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def note(self, check: Check, table: str, found: str, column: str = "", partition: str = "") -> None:
        """Record a failed check of severity ``warn`` or ``stop``; ``column`` is the one to look at, if any."""
        partly = f" partition {partition}" if partition else ""
        column = column or (check.column if check.column in TABLES[table].schema.names else "")
        place = f"{table}:{partly}{',' if partly and column else ''}{f' column {column}' if column else ''}"
        place = place if place.endswith(":") else f"{place}:"
        message = f"{place} {check.name}: {check.meaning}; found {found}"
        if check.severity == "stop":
            self.stops.append(message)
        else:
            self.warnings.append(
                {"table": table, "partition": partition or None, "check": check.name, "message": message}
            )


def sort_rows(raw: Raw, table: Table, reasons: Reasons, suite: str) -> Sorted:
    """Part the rows; a quarantined row carries every reason, in the suite's order."""
    refused = mask_of(reasons.values(), raw.rows.num_rows)
    positions = np.flatnonzero(refused)
    names = np.array(list(reasons), dtype=object)
    failed = np.zeros((len(positions), len(reasons)), bool)
    for number, rows in enumerate(reasons.values()):
        failed[np.searchsorted(positions, rows), number] = True
    quarantined = raw.rows.take(pa.array(positions))
    quarantined = quarantined.append_column(
        "reasons", pa.array([list(names[row]) for row in failed], pa.list_(pa.string()))
    )
    quarantined = quarantined.append_column("suite", pa.array([suite] * len(positions), pa.string()))
    metadata = {TIME_ZONE_KEY: raw.time_zone.encode()}
    accepted = raw.rows.filter(pa.array(~refused)).cast(table.schema)
    counts = {check: len(rows) for check, rows in reasons.items()}
    return Sorted(accepted.replace_schema_metadata(metadata), quarantined.replace_schema_metadata(metadata), counts)


def mask_of(positions: Iterable[NDArray[np.int64]], size: int) -> NDArray[np.bool_]:
    """bool [size]: True where any of the lists of positions says so."""
    mask = np.zeros(size, bool)
    for rows in positions:
        mask[rows] = True
    return mask
