"""Properties of partitions, contracts and the split that hold for any data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.frames import first_of_id
from expectations.row_cache import RowCache
from expectations.run import Validation
from expectations.shape import Raw
from pipelines.params import ValidateParams
from pipelines.sources.calendars import parse_partition, partition_of
from pipelines.stages.prepare import item_text, normalise
from pipelines.stages.validate import Shop, validate
from pipelines.tables import EVENTS, ITEMS

ZONES = st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia"])
DAYS = st.dates(date(2001, 1, 1), date(2037, 1, 1))
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


@given(DAYS, st.sampled_from(["week", "day"]), ZONES)
def test_partitions_tile_time_without_gap_or_overlap(day: date, kind: str, zone: str) -> None:
    partition = partition_of(day, kind)  # type: ignore[arg-type]
    following = partition_of(partition.last_day + timedelta(days=1), kind)  # type: ignore[arg-type]
    assert partition.ends(zone) == following.starts(zone)
    assert parse_partition(partition.name) == partition
    assert partition.name < following.name


event_rows = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.one_of(st.none(), st.sampled_from(["a", "b", "c", ""]), st.text(max_size=8)),
            "user_id": st.one_of(st.none(), st.sampled_from(["u", "v"])),
            "item_id": st.one_of(st.none(), st.sampled_from(["i", "j", "unknown"])),
            "event_type": st.sampled_from(["purchase", "view", "search", "stolen"]),
            "timestamp": st.one_of(st.none(), st.integers(-9, 9).map(lambda days: MONDAY + timedelta(days=days))),
            "quantity": st.one_of(st.none(), st.floats(-2, 200), st.just(float("nan"))),
            "price": st.one_of(st.none(), st.floats(-2, 20)),
            "query": st.one_of(st.none(), st.just("pasta")),
        }
    ),
    min_size=1,
    max_size=25,
)


def shop_of(rows: list[dict[str, object]]) -> Shop:
    nullable = pa.schema([field.with_nullable(True) for field in EVENTS.schema])
    table = pa.Table.from_pylist(rows, schema=nullable)
    items = pa.Table.from_pylist([{"item_id": "i", "title": "I"}, {"item_id": "j", "title": "J"}], schema=ITEMS.schema)
    return Shop(
        {"2024-W01": Raw(table, np.ones(len(rows), bool), (), "UTC")},
        {"2024-W01": "none"},
        Raw(items, np.ones(2, bool), (), "UTC"),
    )


@settings(max_examples=15, deadline=None)
@given(event_rows)
def test_validate_puts_every_row_on_one_side_and_gives_reasons(rows: list[dict[str, object]]) -> None:
    validated = validate(shop_of(rows), ValidateParams(), Validation(), RowCache(None), MONDAY + timedelta(days=99))
    part = validated.events["2024-W01"]
    assert part.accepted.num_rows + part.quarantined.num_rows == len(rows)
    assert all(part.quarantined["reasons"].to_pylist())
    assert sum(part.reasons.values()) == sum(map(len, part.quarantined["reasons"].to_pylist()))
    for row in part.accepted.to_pylist():
        assert row["event_id"]
        assert row["user_id"]
        assert row["event_type"] != "stolen"
        assert row["item_id"] in ("i", "j") or row["event_type"] == "search"
        assert row["quantity"] is None or 0 < row["quantity"] <= 100
        assert row["price"] is None or row["price"] > 0 or (row["event_type"] != "purchase" and row["price"] == 0)
        assert MONDAY <= row["timestamp"] < MONDAY + timedelta(days=7)
    ids = part.accepted["event_id"].to_pylist()
    assert len(set(ids)) == len(ids)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1))
def test_first_of_id_keeps_one_row_of_each_id_and_a_good_one_where_there_is_one(
    rows: list[tuple[str | None, bool]],
) -> None:
    ids, refused = [row[0] for row in rows], np.array([row[1] for row in rows])
    kept = first_of_id(pa.chunked_array([pa.array(ids, pa.string())]), refused)
    for value in {value for value in ids if value is not None}:
        chosen = [position for position in range(len(rows)) if ids[position] == value and kept[position]]
        assert len(chosen) == 1
        good = [position for position in range(len(rows)) if ids[position] == value and not refused[position]]
        assert chosen[0] == (good[0] if good else ids.index(value))
    assert all(kept[position] for position, value in enumerate(ids) if value is None)


@given(st.text())
def test_normalise_is_idempotent_on_plain_text(text: str) -> None:
    plain = text.replace("&", "").replace("<", "")
    once = normalise(plain)
    assert once == once.strip()
    assert "  " not in once
    if "&" not in once and "<" not in once:
        assert normalise(once) == once


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=5), st.integers(16, 60))
def test_item_text_is_never_longer_than_asked(title: str, parts: list[str], longest: int) -> None:
    assert len(item_text(title, parts, longest)) <= longest
