"""``tabular``: any shop's CSV, TSV, JSON-lines or Parquet files, told by a mapping.

``SHOPLOOM_SOURCE=tabular:shop.yaml`` lands what ``shop.yaml`` maps; the README beside this file says what it may hold.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.errors import DataError
from pipelines.sources import Source
from pipelines.sources.calendars import Partition, PartitionKind, partition_of
from pipelines.sources.tabular.engine import Engine
from pipelines.sources.tabular.mapping import Mapping
from pipelines.sources.tabular.memory import Contents, FileMemory
from pipelines.sources.tabular.reader import parse_mapping, read_mapping
from pipelines.stage_environment import cache_folder
from pipelines.tables import EVENTS, UNPLACED

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.sources.raw_files import RawFile
    from pipelines.sources.tabular.files import FoundFile

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
        self._asked: tuple[date | None, date | None] | None = None

    @cached_property
    def engine(self) -> Engine:
        """Reads the files at first use."""
        return Engine(self.mapping, self._hosts)

    def expect(self, start: date | None, end: date | None) -> None:
        """Read, of files that were read before, only those with events of these days."""
        first = partition_of(start, self.partition).first_day if start else None
        last = partition_of(end, self.partition).last_day if end else None
        self._asked = (first, last)

    @cached_property
    def _contents(self) -> dict[FoundFile, Contents]:
        """What each file of events holds: read now where it is new, changed or asked for, else as it is remembered.

        A file with rows that have no place is read each time, for these rows belong to every load.
        """
        engine, memory = self.engine, FileMemory(cache_folder("source_files"), self.mapping)
        files = dict.fromkeys(file for feed in self.mapping.of(EVENTS.name) for file in engine.found(feed))
        known = {file: told for file in files if (told := memory.get(file)) is not None}
        left = {file for file, told in known.items() if not (told.unplaced or self._is_asked(told))}
        engine.left = frozenset(left)
        engine.make(EVENTS.name, [file for file in files if file not in left])
        read = engine.contents()
        for file, told in read.items():
            if known.get(file) != told:
                memory.put(file, told)
        return {file: read.get(file) or known[file] for file in files}

    def _is_asked(self, told: Contents) -> bool:
        return self._asked is not None and told.touches(*self._asked)

    @cached_property
    def _days(self) -> list[date]:
        """The shop-local days with events, ascending."""
        return sorted({day for told in self._contents.values() for day in told.days})

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
                f"events: in the files that {self.mapping.path} names no row is left by where: that has a time",
                mend=f"shoploom source check {self.mapping.path} shows what it makes of them",
            )
        return self._days[0], self._days[-1]

    def has_events(self, partition: Partition) -> bool:
        """Whether any row lies in it: a day on which the shop was shut is no partition."""
        return partition.first_day in self._partitions

    def events(self, start: datetime, end: datetime) -> pa.Table:
        """Rows of ``start <= timestamp < end``, ordered by time, id and the file's own values."""
        zone = ZoneInfo(self.time_zone)
        days = start.astimezone(zone).date(), (end.astimezone(zone) - timedelta(microseconds=1)).date()
        files = [file for file, told in self._contents.items() if told.touches(*days)]
        if not self.engine.made(EVENTS.name).issuperset(files):
            files = list(self._contents)  # nobody said that these days would be asked for: read all, and only once
        low, high = (moment.astimezone(UTC).isoformat() for moment in (start, end))
        within = f"timestamp >= TIMESTAMPTZ '{low}' AND timestamp < TIMESTAMPTZ '{high}'"
        return self.engine.rows(EVENTS.name, within, files)

    def files(self, table: str, partition: Partition | None = None) -> tuple[RawFile, ...]:
        """The files that have rows of a partition, or of a table."""
        if table == EVENTS.name and partition is not None:
            days = partition.first_day, partition.last_day
            return tuple(told.raw for told in self._contents.values() if told.touches(*days))
        if table == UNPLACED.name:
            return tuple(told.raw for told in self._contents.values() if told.unplaced or told.refused)
        found = dict.fromkeys(file for feed in self.mapping.of(table) for file in self.engine.found(feed))
        return tuple(map(self.engine.hashed, found))

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
        return self.engine.unplaced(self._contents)


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
