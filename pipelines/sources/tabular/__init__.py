"""``tabular``: any shop's CSV, TSV, JSON-lines or Parquet files, told by a mapping.

``SHOPLOOM_SOURCE=tabular:shop.yaml`` lands what ``shop.yaml`` maps; the README beside this file says what it may hold.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import DataError
from pipelines.sources import Source
from pipelines.sources.calendars import Partition, PartitionKind, partition_of
from pipelines.sources.tabular.engine import Engine
from pipelines.sources.tabular.mapping import Mapping
from pipelines.sources.tabular.reader import parse_mapping, read_mapping

if TYPE_CHECKING:
    import pyarrow as pa

SETTING = "name its mapping, a path from the repository: export SHOPLOOM_SOURCE=tabular:shop.yaml"


class Tabular(Source):
    """A shop's files, by a mapping.

    Args:
        mapping: of the files.
        hosts: addresses that it may read from.
    """

    def __init__(self, mapping: Mapping, hosts: tuple[str, ...] = ()) -> None:
        self.mapping = mapping
        self.name = mapping.shop
        self.time_zone = mapping.time_zone
        self.partition: PartitionKind = mapping.partition
        self.again_days = mapping.late_days
        self._hosts = hosts

    @cached_property
    def engine(self) -> Engine:
        """Reads the files at first use."""
        return Engine(self.mapping, self._hosts)

    @cached_property
    def _days(self) -> list[date]:
        """The shop-local days with events, ascending."""
        self.engine.make("events")
        zone = self.time_zone.replace("'", "''")
        day = f"(timestamp AT TIME ZONE '{zone}')::DATE"
        query = f"SELECT DISTINCT {day} AS day FROM events_mapped WHERE timestamp IS NOT NULL"
        return sorted(day for (day,) in self.engine.connection.execute(query).fetchall())

    @cached_property
    def _partitions(self) -> set[date]:
        return {partition_of(day, self.partition).first_day for day in self._days}

    def span(self) -> tuple[date, date]:
        """The first and the last shop-local day with events.

        Raises:
            DataError: no row of the files has a time that the mapping can read.
        """
        if not self._days:
            raise DataError(
                f"events: no row of the files that {self.mapping.path} names has a time that it can read",
                mend=f"shoploom source check {self.mapping.path} shows what will not map",
            )
        return self._days[0], self._days[-1]

    def has_events(self, partition: Partition) -> bool:
        """Whether any row lies in it: a day on which the shop was shut is no partition."""
        return partition.first_day in self._partitions

    def events(self, start: datetime, end: datetime) -> pa.Table:
        """Rows of ``start <= timestamp < end``, ordered by time, id and the file's own values."""
        low, high = (moment.astimezone(UTC).isoformat() for moment in (start, end))
        return self.engine.rows("events", f"timestamp >= TIMESTAMPTZ '{low}' AND timestamp < TIMESTAMPTZ '{high}'")

    def items(self) -> pa.Table:
        """The catalogue, ordered by id."""
        return self.engine.rows("items")

    def offers(self) -> pa.Table:
        """Coupons and campaigns, ordered by id."""
        return self.engine.rows("offers")

    def users(self) -> pa.Table:
        """What is known of the users, ordered by id."""
        return self.engine.rows("users")

    def judgements(self) -> pa.Table:
        """Graded pairs, ordered by query and item."""
        return self.engine.rows("judgements")

    def unplaced(self) -> pa.Table:
        """Rows without a time that can be read, and lines that are no rows."""
        return self.engine.unplaced()


def source(setting: str) -> Tabular:
    """The source that a mapping tells of.

    Args:
        setting: path of the mapping, from the repository.

    Raises:
        ConfigError: the mapping is missing or wrong.
    """
    from pipelines.settings import Settings

    settings = Settings()
    return Tabular(read_mapping(settings.repository / Path(setting).expanduser()), allowed_hosts(settings.source_hosts))


def from_mapping(text: str, path: Path) -> Tabular:
    """The source of files whose layout is known: ``path`` is where a mapping of them would lie."""
    return Tabular(parse_mapping(text, path))


def allowed_hosts(listed: str) -> tuple[str, ...]:
    """The addresses of ``SHOPLOOM_SOURCE_HOSTS``."""
    return tuple(part.strip().rstrip("/") for part in listed.split(",") if part.strip())
