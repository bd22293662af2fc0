"""Rows told apart: accepted or quarantined, and what was found beside the rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from expectations.contract import Check
from expectations.shape import Raw
from pipelines.pseudonyms import key_metadata
from pipelines.sources.calendars import zone_metadata
from pipelines.tables import SOURCE_ROW, TABLES, UNMAPPED, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reasons = dict[str, "NDArray[np.int64]"]
"""For each check that some rows fail, their positions."""


@dataclass(frozen=True)
class Tally:
    """How many rows of a table or partition were accepted, and why others were not.

    Args:
        accepted: rows.
        quarantined: rows.
        reasons: rows that fail each check; a row may fail several.
    """

    accepted: int
    quarantined: int
    reasons: dict[str, int]

    @classmethod
    def of(cls, reasons: Reasons, num_rows: int) -> Tally:
        """Of positions by check."""
        refused = int(mask_of(reasons.values(), num_rows).sum())
        return cls(num_rows - refused, refused, {check: len(rows) for check, rows in reasons.items()})

    @property
    def num_rows(self) -> int:
        """Accepted and quarantined."""
        return self.accepted + self.quarantined

    @property
    def rejected_share(self) -> float:
        """Quarantined rows over all rows; 0 where there are none."""
        return self.quarantined / max(self.num_rows, 1)

    def summary(self) -> dict[str, Any]:
        """Counts, for the report."""
        return {
            "rows": self.num_rows,
            "accepted": self.accepted,
            "quarantined": self.quarantined,
            "reasons": self.reasons,
        }


@dataclass(frozen=True)
class Sorted:
    """A table's rows, told apart.

    Args:
        accepted: in the table's schema.
        quarantined: the raw columns, ``reasons`` (list of check names), ``suite`` (digest of the suites), and what the
            source kept beside the row (``source_row``, ``unmapped``).
        reasons: rows that fail each check; a row may fail several.
    """

    accepted: pa.Table
    quarantined: pa.Table
    reasons: dict[str, int]

    @property
    def tally(self) -> Tally:
        """Its counts."""
        return Tally(self.accepted.num_rows, self.quarantined.num_rows, self.reasons)


@dataclass
class Findings:
    """What tables and partitions were found to be, beside their rows."""

    warnings: list[dict[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def note(self, check: Check, table: str, found: str, column: str = "", partition: str = "") -> None:
        """Record a failed check of severity ``warn`` or ``stop``; ``column`` is the one to look at, if any."""
        column = column or (check.column if check.column in TABLES[table].schema.names else "")
        said = f"{check.name}: {check.meaning}; found {found}"
        if check.severity == "stop":
            self.stops.append(f"{_place(table, partition, column)} {said}")
        else:
            self.warn(check.name, table, said, column, partition)

    def warn(self, check: str, table: str, said: str, column: str = "", partition: str = "") -> None:
        """Record a warning; ``said`` follows the place in its message."""
        message = f"{_place(table, partition, column)} {said}"
        self.warnings.append({"table": table, "partition": partition or None, "check": check, "message": message})


def _place(table: str, partition: str, column: str) -> str:
    """``events: partition 2017-W48, column price:``, without the parts that are empty."""
    parts = [f"{kind} {name}" for kind, name in (("partition", partition), ("column", column)) if name]
    return f"{table}: {', '.join(parts)}:" if parts else f"{table}:"


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
    for beside in (SOURCE_ROW, UNMAPPED):
        if beside.name not in table.schema.names:
            kept = raw.kept[beside.name] if raw.kept is not None else pa.nulls(raw.rows.num_rows, beside.type)
            quarantined = quarantined.append_column(beside, kept.take(pa.array(positions)))
    metadata = zone_metadata(raw.time_zone) | key_metadata(raw.user_key)
    accepted = raw.rows.filter(pa.array(~refused)).cast(table.schema)
    counts = {check: len(rows) for check, rows in reasons.items()}
    return Sorted(accepted.replace_schema_metadata(metadata), quarantined.replace_schema_metadata(metadata), counts)


def cut(reasons: Reasons, sizes: dict[str, int]) -> dict[str, Reasons]:
    """Give every partition its part of positions in the batch of all; ``sizes`` has their rows, in that order."""
    parts: dict[str, Reasons] = {}
    start = 0
    for name, size in sizes.items():
        parts[name] = {}
        for check, rows in reasons.items():
            low, high = np.searchsorted(rows, (start, start + size))
            if high > low:
                parts[name][check] = rows[low:high] - start
        start += size
    return parts


def mask_of(positions: Iterable[NDArray[np.int64]], size: int) -> NDArray[np.bool_]:
    """bool [size]: True where any of the lists of positions says so."""
    mask = np.zeros(size, bool)
    for rows in positions:
        mask[rows] = True
    return mask
