"""Partitions of events: days, or ISO weeks, in the shop's own time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.errors import DataError, near_names

if TYPE_CHECKING:
    import pyarrow as pa

PartitionKind = Literal["week", "day"]

TIME_ZONE_KEY = b"shoploom.time_zone"
"""Parquet schema metadata of a landed partition: the shop's time zone; UTC where it is absent."""

_WEEK = re.compile(r"(\d{4})-W(\d{2})")


@dataclass(frozen=True)
class Partition:
    """A span of shop-local days.

    Args:
        first_day: its first day.
        days: 7 or 1.
    """

    first_day: date
    days: int

    @property
    def name(self) -> str:
        """``2017-W48`` for a week, ``2017-12-03`` for a day; names sort as their times do."""
        if self.days == 1:
            return self.first_day.isoformat()
        year, week, _ = self.first_day.isocalendar()
        return f"{year}-W{week:02d}"

    @property
    def last_day(self) -> date:
        return self.first_day + timedelta(days=self.days - 1)

    def starts(self, time_zone: str) -> datetime:
        """Its first moment, in UTC."""
        return midnight(self.first_day, time_zone)

    def ends(self, time_zone: str) -> datetime:
        """The first moment after it, in UTC."""
        return midnight(self.first_day + timedelta(days=self.days), time_zone)


def partition_of(day: date, kind: PartitionKind) -> Partition:
    """The partition that holds a shop-local day."""
    if kind == "day":
        return Partition(day, 1)
    return Partition(day - timedelta(days=day.weekday()), 7)


def parse_partition(name: str) -> Partition:
    """Read a partition's name.

    Raises:
        DataError: the name is not the one that :attr:`Partition.name` gives a week or a day.
    """
    partition = _read(name)
    if partition is None or partition.name != name:
        raise DataError(
            f"events: {name!r} is no partition", mend="name the file as a week, 2017-W48, or a day, 2017-12-03"
        )
    return partition


def _read(name: str) -> Partition | None:
    try:
        if matched := _WEEK.fullmatch(name):
            return Partition(date.fromisocalendar(int(matched[1]), int(matched[2]), 1), 7)
        return Partition(date.fromisoformat(name), 1)
    except ValueError:
        return None


def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name.

    Raises:
        DataError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from zoneinfo import available_timezones

        near = near_names(name, available_timezones())
        raise DataError(f"there is no time zone {name!r}", mend=near or "name it as IANA does: Europe/Berlin") from None


def time_zone_of(schema: pa.Schema) -> str:
    """The shop's time zone, as a landed partition's schema says; UTC where it says nothing."""
    return str((schema.metadata or {}).get(TIME_ZONE_KEY, b"UTC").decode())


def zone_metadata(time_zone: str) -> dict[bytes, bytes]:
    """The schema metadata from which :func:`time_zone_of` reads ``time_zone``."""
    return {TIME_ZONE_KEY: time_zone.encode()}


def midnight(day: date, time_zone: str) -> datetime:
    """The first moment of a shop-local day, in UTC."""
    return datetime.combine(day, time(), zone(time_zone)).astimezone(UTC)
