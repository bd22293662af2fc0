"""Sources: one module for each kind of raw data, turned into the tables of :mod:`pipelines.tables`.

A source is a module here with a function ``source()``, or any importable module named by its dotted path. What follows
a colon is its own setting: ``tabular:shop.yaml``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.errors import ConfigError, near_names
from pipelines.sources.calendars import Partition, PartitionKind, partition_of
from pipelines.tables import JUDGEMENTS, OFFERS, UNPLACED, USERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from expectations.contract import Check
    from pipelines.sources.raw_files import RawFile

_NOT_SOURCES = {"calendars", "campaigns", "landing", "late", "raw_files"}


class Source(ABC):
    """Where a shop's raw data comes from."""

    name: str
    time_zone: str
    """The shop's own, an IANA name: partitions turn at its midnight."""
    partition: PartitionKind
    late_days: int = 0
    """Days after its time within which an event may still come, in a later interval; 0 where none does."""

    again_days: int = 0
    """Days before its interval that a scheduled load lands again, of a source that gives all events of a time, whenever
    they came; 0 where nothing comes late or is corrected."""

    def expect(self, start: date | None, end: date | None) -> None:  # noqa: B027
        """Hear, before anything else is asked, which shop-local days a load will ask for (None: from the first, to the
        last): a source that can tells by it what it need not read. By default nothing comes of it.
        """

    @abstractmethod
    def span(self) -> tuple[date, date]:
        """The first and the last shop-local day with events."""

    @abstractmethod
    def events(self, start: datetime, end: datetime) -> pa.Table:
        """What came of an interval: the events of ``start <= timestamp < end`` (aware datetimes), ordered by time, in
        the events schema. Where the feed brings late ones and corrections, those that came in the interval too, with a
        time up to ``late_days`` before it; each lands in the partition of its own time.
        """

    @abstractmethod
    def items(self) -> pa.Table:
        """The whole catalogue, in the items schema."""

    def offers(self) -> pa.Table:
        """All coupons and campaigns, in the offers schema; empty where the shop has none."""
        return OFFERS.schema.empty_table()

    def users(self) -> pa.Table:
        """What is known of the users, in the users schema; empty where nothing is."""
        return USERS.schema.empty_table()

    def judgements(self) -> pa.Table:
        """Graded pairs of query and item, in the judgements schema; empty where nobody judged."""
        return JUDGEMENTS.schema.empty_table()

    def unplaced(self) -> pa.Table:
        """What would be events but for a time that cannot be read, in the schema of ``unplaced``."""
        return UNPLACED.schema.empty_table()

    def has_events(self, partition: Partition) -> bool:
        """Whether a partition of the span is to be landed; a source that knows of gaps leaves them out."""
        return True

    def files(self, table: str, partition: Partition | None = None) -> Sequence[RawFile]:
        """The shop's own files that the rows of a table, or what came of a partition's interval, were read from.

        They are asked for once the rows were, and end in the lineage. None by default: the source reads no files.
        """
        return ()

    def checks(self) -> Mapping[str, tuple[Check, ...]]:
        """The source's own checks, by table, beside those of ``expectations``; none by default.

        They look at one column each and use the expectations that ``expectations.contract.OWN_EXPECTATIONS`` names.
        Landing writes them into the files, so that these rows are held to them wherever they are validated.
        """
        return {}


def source_names() -> list[str]:
    """The sources that come with shoploom."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_SOURCES)


def load_source(name: str) -> Source:
    """Find a source by name.

    Args:
        name: one of :func:`source_names`, or a dotted module path; after a colon, what ``source()`` is given.

    Raises:
        ConfigError: there is no such source, its module has no ``source()``, or that takes no setting, or wants one.
    """
    name, _, setting = name.partition(":")
    known = source_names()
    if name not in known and "." not in name:
        raise ConfigError(
            f"there is no source {name!r}", mend=near_names(name, known) or f"the sources are {', '.join(known)}"
        )
    path = name if "." in name else f"{__name__}.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the source {name!r} cannot be imported: {error}",
            mend=near_names(name, known) or f"put it on PYTHONPATH, or name one of {', '.join(known)}",
        ) from error
    factory = getattr(module, "source", None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function source()", mend="define source() -> Source there")
    takes = len(inspect.signature(factory).parameters)
    if bool(setting) != bool(takes):
        wants = "wants a setting" if takes else "takes no setting"
        said = f"export SHOPLOOM_SOURCE={name}{':shop.yaml' if takes else ''}"
        raise ConfigError(f"the source {name!r} {wants}", mend=getattr(module, "SETTING", "") or said)
    made = factory(setting) if takes else factory()
    if not isinstance(made, Source):
        raise ConfigError(f"{path}.source() gives {type(made).__name__}", mend="return a pipelines.sources.Source")
    return made


def partitions(source: Source, start: date | None = None, end: date | None = None) -> list[Partition]:
    """The partitions to land for a span of shop-local days.

    A partition is landed whole or not at all: the one that holds ``start`` is in, the one that ``end`` would cut
    short is out (unless the source itself ends there).

    Args:
        source: whose calendar and span.
        start: first day; None = the source's first.
        end: last day, inclusive; None = the source's last.

    Raises:
        ConfigError: no partition lies in the span.
    """
    source.expect(start, end)
    first, last = source.span()
    low, high = max(start or first, first), min(end or last, last)
    found: list[Partition] = []
    partition = partition_of(low, source.partition)
    while partition.first_day <= high:
        if (partition.last_day <= high or high == last) and source.has_events(partition):
            found.append(partition)
        partition = partition_of(partition.last_day + timedelta(days=1), source.partition)
    if not found:
        raise ConfigError(
            f"{source.name} has no whole {source.partition} from {start or first} to {end or last}",
            mend=f"its events lie between {first} and {last}",
        )
    return found


def days_of(source: Source, start: datetime, end: datetime, *, again: bool) -> tuple[date, date]:
    """The first and the last shop-local day of an interval.

    Args:
        source: whose calendar.
        start: the interval's first moment, aware.
        end: the moment after its last, aware.
        again: whether the days before it that may still change are landed, too.
    """
    zone = ZoneInfo(source.time_zone)
    first, last = start.astimezone(zone).date(), (end.astimezone(zone) - timedelta(microseconds=1)).date()
    return first - timedelta(days=source.again_days if again else 0), last
