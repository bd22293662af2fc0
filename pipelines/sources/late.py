"""Late events and corrections: which partition they land in, and how a partition takes them.

A raw partition of events holds what came of its own interval and, later, of others: ``landed_in`` names the interval
that brought a row, and is absent where that is the partition's own. A partition is a function of what each interval
brought, so it does not depend on the order in which loads ended:

* the rows of its own interval come first, then those of later ones, each as the source gave them;
* of rows with one event id, those of the latest interval stay: a correction takes the place of what it corrects;
* an interval that is landed again takes back what it brought before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.sources.calendars import Partition, PartitionKind, midnight, parse_partition, partition_of
from pipelines.tables import EVENTS, LANDED_IN, TIMESTAMP

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def by_partition(
    rows: pa.Table, interval: Partition, kind: PartitionKind, time_zone: str, late_days: int
) -> Iterator[tuple[Partition, pa.Table]]:
    """Give every row of an interval its partition: its own where the time is plausible, else the interval's.

    Args:
        rows: what came of the interval, with a column ``timestamp``.
        interval: what was asked of the source.
        kind: of the shop's partitions.
        time_zone: the shop's.
        late_days: days before the interval within which an event may have happened; one from earlier, from after the
            interval or of no time stays in the interval's partition, where the contract rejects it.

    Yields:
        Partitions and their rows, in the order of the rows; late ones with ``landed_in``. The interval's own comes
        first, empty where all came late.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    starts = interval.starts(time_zone)
    earliest = midnight(interval.first_day - timedelta(days=late_days), time_zone)
    times = rows["timestamp"]
    before = pc.less(times, pa.scalar(starts, TIMESTAMP))
    late = pc.fill_null(pc.and_(before, pc.greater_equal(times, pa.scalar(earliest, TIMESTAMP))), False)
    if not late_days or not pc.any(late).as_py():
        yield interval, rows
        return
    yield interval, rows.filter(pc.invert(late))
    came_late = rows.filter(late)
    zone = ZoneInfo(time_zone)
    days = [moment.astimezone(zone).date() for moment in came_late["timestamp"].to_pylist()]
    names = pa.array([partition_of(day, kind).name for day in days])
    for name in sorted(set(names.to_pylist())):
        part = came_late.filter(pc.equal(names, name))
        yield parse_partition(name), part.append_column(LANDED_IN, pa.repeat(interval.name, part.num_rows))


def merge(partition: str, stored: pa.Table | None, landed: pa.Table, intervals: Collection[str]) -> pa.Table:
    """A partition with what a load brings.

    Args:
        partition: its name.
        stored: its rows up to now, as this gave them; None where there are none.
        landed: rows that the load brings for it.
        intervals: names of all intervals that the load landed: what they brought before goes.

    Returns:
        The rows, with ``landed_in`` where one came in another interval than the partition's own.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [_with_interval(landed)]
    if stored is not None:
        before = _with_interval(stored)
        brought_again = pc.is_in(pc.fill_null(before[LANDED_IN], partition), pa.array(sorted(intervals), pa.string()))
        parts.append(before.filter(pc.invert(brought_again)))
    rows = _together([part for part in parts if part.num_rows] or parts[:1])
    names = pc.fill_null(rows[LANDED_IN], partition)
    order = {name: parse_partition(name).first_day.toordinal() for name in pc.unique(names).to_pylist()}
    rank = np.array([order[name] for name in names.to_pylist()], np.int64)
    chosen = np.argsort(rank, kind="stable")
    chosen = chosen[_latest(rows["event_id"], rank)[chosen]]
    rows = rows.take(pa.array(chosen)).combine_chunks()
    if rows[LANDED_IN].null_count == rows.num_rows:
        rows = rows.drop_columns([LANDED_IN])
    return rows.replace_schema_metadata(landed.schema.metadata)


def _with_interval(rows: pa.Table) -> pa.Table:
    import pyarrow as pa

    return rows if LANDED_IN in rows.column_names else rows.append_column(LANDED_IN, pa.nulls(len(rows), pa.string()))


def _together(parts: list[pa.Table]) -> pa.Table:
    """One table, its columns in the contract's order, whichever part comes first."""
    import pyarrow as pa

    rows = pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="permissive")
    others = sorted({*rows.column_names} - {*EVENTS.schema.names, LANDED_IN})
    return rows.select([name for name in (*EVENTS.schema.names, *others, LANDED_IN) if name in rows.column_names])


def _latest(ids: pa.ChunkedArray, rank: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [num_rows]: whether no row of the same id came in a later interval; a null repeats nothing."""
    import numpy as np
    import pyarrow.compute as pc

    codes = pc.fill_null(ids.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    last = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
    known = codes >= 0
    np.maximum.at(last, codes[known], rank[known])
    latest = np.ones(len(codes), bool)
    latest[known] = rank[known] == last[codes[known]]
    return latest
