"""Properties of loads: a partition does not depend on the order in which intervals were landed, nor on how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.calendars import parse_partition, zone_metadata
from pipelines.sources.late import by_partition, merge
from pipelines.tables import EVENTS, LANDED_IN

WEEKS = ("2024-W01", "2024-W02", "2024-W03")
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
LATE_DAYS = 10

rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from("abcdef")), st.one_of(st.none(), st.integers(-30, 30)), st.integers(0, 3)
    ),
    max_size=6,
)
feeds = st.fixed_dictionaries(dict.fromkeys(WEEKS, rows))


def table(interval: str, given_rows: list[tuple[str | None, int | None, int]]) -> pa.Table:
    """Events some days before or after an interval's first day."""
    first = datetime.combine(parse_partition(interval).first_day, datetime.min.time(), UTC)
    columns = [
        {
            "event_id": name,
            "user_id": "u",
            "item_id": "i",
            "event_type": "purchase",
            "timestamp": None if days is None else first + timedelta(days=days),
            "quantity": float(quantity),
        }
        for name, days, quantity in given_rows
    ]
    schema = pa.schema([field.with_nullable(True) for field in EVENTS.schema], metadata=zone_metadata("UTC"))
    return pa.Table.from_pylist(columns, schema=schema)


def load(state: dict[str, pa.Table], interval: str, came: pa.Table) -> None:
    """What landing and merging do with one interval."""
    for partition, part in by_partition(came, parse_partition(interval), "week", "UTC", LATE_DAYS):
        state[partition.name] = merge(partition.name, state.get(partition.name), part, [interval])


@given(feeds, st.permutations(WEEKS), st.permutations(WEEKS))
def test_partitions_are_the_same_in_whatever_order_and_however_often_intervals_are_landed(
    feed: dict[str, list[tuple[str | None, int | None, int]]], one: list[str], other: list[str]
) -> None:
    first: dict[str, pa.Table] = {}
    second: dict[str, pa.Table] = {}
    for interval in one:
        load(first, interval, table(interval, feed[interval]))
    for interval in (*other, *one, other[0]):
        load(second, interval, table(interval, feed[interval]))
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].equals(second[name], check_metadata=True), name


@given(feeds)
def test_every_row_lands_once_and_of_an_id_the_last_interval_wins(
    feed: dict[str, list[tuple[str | None, int | None, int]]],
) -> None:
    state: dict[str, pa.Table] = {}
    for interval in WEEKS:
        load(state, interval, table(interval, feed[interval]))
    for name, part in state.items():
        span = parse_partition(name)
        landed = part[LANDED_IN].to_pylist() if LANDED_IN in part.column_names else [None] * part.num_rows
        for row, interval in zip(part.to_pylist(), landed, strict=True):
            assert (row["event_id"], row["quantity"]) in {(r[0], float(r[2])) for r in feed[interval or name]}
            if interval:
                assert span.starts("UTC") <= row["timestamp"] < span.ends("UTC")
                assert interval > name
        ids = [(row["event_id"], interval or name) for row, interval in zip(part.to_pylist(), landed, strict=True)]
        for event_id in {one for one, _ in ids if one is not None}:
            assert len({interval for one, interval in ids if one == event_id}) == 1
    total = sum(part.num_rows for part in state.values())
    unnamed = sum(1 for given_rows in feed.values() for row in given_rows if row[0] is None)
    assert total >= unnamed
