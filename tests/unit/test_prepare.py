"""``prepare``: cleaning, numbering, texts and the split by time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines import out_of_core
from pipelines.artifacts import read_json, read_table, write_table
from pipelines.errors import DataError
from pipelines.params import PrepareParams, WindowParams
from pipelines.pseudonyms import KeyRing, key_of
from pipelines.sources import partitions
from pipelines.sources.calendars import zone_metadata
from pipelines.stages import prepare as stage
from pipelines.stages.prepare import (
    PREPARED_EVENTS,
    PREPARED_ITEMS,
    PREPARED_USERS,
    item_text,
    normalise,
    prepare,
    split_windows,
)
from pipelines.tables import EVENTS, ITEMS
from tests.tiny_shop import WEEKS, TinyShop, land_tiny_shop

SHOP = TinyShop()
WINDOW = WindowParams(test_partitions=3, validation_partitions=2)


@pytest.fixture(scope="module")
def events() -> dict[str, pa.Table]:
    zone = SHOP.time_zone
    return {p.name: SHOP.events(p.starts(zone), p.ends(zone)) for p in partitions(SHOP)}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_SIDE", str(tmp_path / "side"))


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` wrote."""

    items: pa.Table
    users: pa.Table
    history: pa.Table
    validation: pa.Table
    test: pa.Table
    split: dict[str, Any]


def run(events: dict[str, pa.Table], items: pa.Table | None = None, params: PrepareParams | None = None) -> Prepared:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for partition, rows in events.items():
            zoned = rows.replace_schema_metadata(zone_metadata(SHOP.time_zone))
            write_table(zoned, folder / "accepted/events" / f"{partition}.parquet")
        write_table(SHOP.items() if items is None else items, folder / "accepted/items.parquet")
        split = prepare(folder / "accepted", folder, WINDOW, params or PrepareParams())
        names = ("items", "users", "history", "validation", "test")
        return Prepared(*(read_table(folder / f"{name}.parquet") for name in names), split)


def with_rows(events: dict[str, pa.Table], partition: str, *changes: dict[str, object]) -> dict[str, pa.Table]:
    """``events`` with copies of one of its rows, changed, added to a partition."""
    rows = events[partition].to_pylist()
    added = [{**rows[0], "event_id": f"added-{number}", **change} for number, change in enumerate(changes)]
    return {**events, partition: pa.Table.from_pylist(rows + added, schema=EVENTS.schema)}


def test_prepare_keeps_no_future_event_when_split_by_time(events: dict[str, pa.Table]) -> None:
    prepared = run(events)
    split = prepared.split
    assert (split["first_validation_week"], split["first_test_week"]) == (WEEKS - 5, WEEKS - 3)
    bounds = (-np.inf, split["validation_starts"], split["test_starts"], split["test_ends"])
    for name, low, high in zip(("history", "validation", "test"), bounds, bounds[1:], strict=False):
        days = getattr(prepared, name)["days"].to_numpy()
        assert len(days) == split["rows"][name] > 0
        assert days.min() >= low
        assert days.max() < high
    assert sum(split["rows"].values()) == sum(part.num_rows for part in events.values())
    # 26 weeks from Monday 2024-01-01, midnight in Berlin; summer time when it ends.
    assert split["test_ends"] * 86_400 == datetime(2024, 6, 30, 22, tzinfo=UTC).timestamp()


def test_prepare_numbers_items_by_id_and_users_by_first_event(events: dict[str, pa.Table]) -> None:
    prepared = run(events)
    assert prepared.items.schema.equals(PREPARED_ITEMS)
    assert prepared.users.schema.equals(PREPARED_USERS)
    for table, number, text in ((prepared.items, "item", "item_id"), (prepared.users, "user", "user_id")):
        assert table[number].to_pylist() == list(range(table.num_rows))
        assert len(set(table[text].to_pylist())) == table.num_rows
    assert prepared.items["item_id"].to_pylist() == sorted(prepared.items["item_id"].to_pylist())
    every = [row for part in events.values() for row in part.to_pylist()]
    ordered = sorted(every, key=lambda row: (row["timestamp"], row["event_id"]))
    assert prepared.users["user_id"].to_pylist() == list(dict.fromkeys(row["user_id"] for row in ordered))
    for name in ("history", "validation", "test"):
        part = getattr(prepared, name)
        assert part.schema.equals(PREPARED_EVENTS)
        assert set(part["user"].to_pylist()) <= set(range(prepared.users.num_rows))
        assert set(part["item"].to_pylist()) <= set(range(prepared.items.num_rows))


def test_prepare_gives_an_event_its_own_user_item_and_day(events: dict[str, pa.Table]) -> None:
    prepared = run(events)
    users, items = prepared.users["user_id"].to_pylist(), prepared.items["item_id"].to_pylist()
    found = {
        (users[row["user"]], items[row["item"]], row["timestamp"], row["quantity"], row["week"])
        for name in ("history", "validation", "test")
        for row in getattr(prepared, name).to_pylist()
    }
    expected = {
        (row["user_id"], row["item_id"], row["timestamp"], row["quantity"], week)
        for week, part in enumerate(events.values())
        for row in part.to_pylist()
    }
    assert found == expected
    first = prepared.history.to_pylist()[0]
    assert first["days"] == first["timestamp"].timestamp() / 86_400


def test_prepare_does_not_depend_on_the_order_of_rows(events: dict[str, pa.Table]) -> None:
    shuffled = {
        name: part.take(np.random.default_rng(1).permutation(part.num_rows)) for name, part in reversed(events.items())
    }
    items = SHOP.items()
    one, two = run(events), run(shuffled, items.take(np.arange(items.num_rows)[::-1]))
    for name in ("items", "users", "history", "validation", "test"):
        assert getattr(one, name).equals(getattr(two, name)), name
    assert one.split == two.split


@pytest.mark.parametrize("rows_at_once", [1, 1000])
def test_prepare_gives_the_same_whatever_the_users_are_called_and_however_much_is_read_at_once(
    events: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(out_of_core, "ROWS_AT_ONCE", rows_at_once)
    dirty = with_rows(events, "2024-W03", *[{"session_id": None, "user_id": f"user-{user:02d}"} for user in range(9)])
    keys = (KeyRing((bytes(32),)), KeyRing((bytes(31) + b"1",)))
    plain, *hashed = (
        run({name: key(part) for name, part in dirty.items()})
        for key in (lambda part: part, *(ring.table for ring in keys))
    )
    for ring, other in zip(keys, hashed, strict=True):
        for name in ("items", "history", "validation", "test"):
            assert getattr(plain, name).equals(getattr(other, name)), name
        assert plain.split == other.split
        assert [ring.pseudonym(user) for user in plain.users["user_id"].to_pylist()] == other.users[
            "user_id"
        ].to_pylist()


def test_prepare_notes_the_key_of_the_users_and_refuses_several(worktree: Path) -> None:
    stage.main()
    ring = read_table(worktree / "data/accepted/events/2024-W03.parquet").schema
    assert key_of(read_table(worktree / "data/prepared/users.parquet").schema) == key_of(ring) != ""
    path = worktree / "data/accepted/events/2024-W03.parquet"
    write_table(KeyRing((bytes(32),)).table(read_table(path)), path)
    with pytest.raises(DataError, match=r"several user keys: .*\n  -> shoploom users rekey"):
        stage.main()


def test_prepare_leaves_out_unknown_items_and_other_kinds_of_event(events: dict[str, pa.Table]) -> None:
    dirty = with_rows(events, "2024-W03", {"item_id": "item-99"}, {"event_type": "view"}, {"item_id": None})
    assert run(dirty).history.equals(run(events).history)
    wide = run(dirty, params=PrepareParams(event_types=("purchase", "view")))
    assert wide.history.num_rows == run(events).history.num_rows + 1


def test_prepare_numbers_a_visit_without_session_by_user_and_week(events: dict[str, pa.Table]) -> None:
    no_session = {"session_id": None, "quantity": None}
    dirty = with_rows(events, "2024-W03", no_session, no_session, {**no_session, "user_id": "user-07"})
    before, history = run(events).history, run(dirty).history
    rows = history.filter(history["week"].to_numpy() == 2)
    assert rows.num_rows == before.filter(before["week"].to_numpy() == 2).num_rows + 3
    assert len(np.unique(history["session"].to_numpy())) == len(np.unique(before["session"].to_numpy())) + 2
    assert set(rows["quantity"].to_pylist()) <= {1.0, 2.0, 3.0}


def test_prepare_fills_a_missing_price_with_the_median_paid_in_history(events: dict[str, pa.Table]) -> None:
    items = SHOP.items().to_pylist()
    items[4]["price"] = 42.0
    late = with_rows(events, "2024-W26", {"item_id": "item-07", "price": 900.0})
    prices = run(late, pa.Table.from_pylist(items, schema=ITEMS.schema)).items["price"].to_pylist()
    assert prices[4] == 42.0
    assert prices[7] == pytest.approx(1.0 + 7 / 10)


def test_prepare_keeps_attributes_that_say_something_beside_the_size(events: dict[str, pa.Table]) -> None:
    items = SHOP.items().to_pylist()
    items[4]["attributes"] = [("package_size", "6 oz"), ("colour", " <b>red</b>\n"), ("origin", None), ("use", " ")]
    row = run(events, pa.Table.from_pylist(items, schema=ITEMS.schema)).items.to_pylist()[4]
    assert row["attributes"] == [("colour", "red")]
    assert row["size"] == "6 oz"


def test_prepare_refuses_a_window_without_history(events: dict[str, pa.Table]) -> None:
    with pytest.raises(DataError, match="5 partitions leave no history before 5 of validation and test"):
        split_windows(list(events)[:5], WINDOW, "UTC")
    empty = {name: part.slice(0, 0) if name >= "2024-W24" else part for name, part in events.items()}
    with pytest.raises(
        DataError, match="no accepted event of a known item lies in test, 2024-W24 to 2024-W26"
    ) as refused:
        run(empty)
    assert Path(refused.value.mend.removeprefix("look at ")).is_absolute()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (None, ""),
        ("  Dish\tsoap \n", "Dish soap"),
        ("Caf\u0065\u0301 \ufb01lter", "Café filter"),
        ("<b>Bold</b> &amp; bright", "Bold & bright"),
        ("5 < 7 oz", "5 < 7 oz"),
        ("zero\u200bwidth\x00", "zero width"),
    ],
)
def test_normalise_gives_one_plain_line(raw: str | None, clean: str) -> None:
    assert normalise(raw) == clean


def test_item_text_says_nothing_twice_and_ends_at_a_word() -> None:
    assert item_text("Spaghetti, 16 oz", ["Spaghetti", "Grocery", "Private", "16 oz", ""], 100) == (
        "spaghetti, 16 oz, grocery, private"
    )
    assert item_text("", ["Grocery"], 100) == "grocery"
    assert item_text("Laundry powder", ["Household"], 20) == "laundry powder"
    assert len(item_text("x" * 50, [], 20)) == 20


@pytest.fixture
def worktree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    land_tiny_shop(tmp_path / "data/accepted")
    shutil.move(tmp_path / "data/accepted/items/items.parquet", tmp_path / "data/accepted/items.parquet")
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prepare_refuses_partitions_of_several_time_zones_and_names_the_first_of_each(worktree: Path) -> None:
    for name, zone in (("2024-W03", "UTC"), ("2024-W07", "UTC"), ("2024-W05", "Asia/Tokyo")):
        path = worktree / f"data/accepted/events/{name}.parquet"
        write_table(read_table(path).replace_schema_metadata(zone_metadata(zone)), path)
    first = r"Europe/Berlin \(first in 2024-W01\), UTC \(first in 2024-W03\), Asia/Tokyo \(first in 2024-W05\)"
    with pytest.raises(DataError, match=rf"several time zones: {first}\n  -> shoploom ingest"):
        stage.main()


def test_prepare_names_a_damaged_partition(worktree: Path) -> None:
    path = worktree / "data/accepted/events/2024-W03.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"2024-W03.parquet is not a readable Parquet file"):
        stage.main()


def test_prepare_writes_the_same_bytes_twice(worktree: Path) -> None:
    seen = []
    for _ in range(2):
        stage.main()
        seen.append({path.name: path.read_bytes() for path in (worktree / "data/prepared").iterdir()})
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == [
        "history.parquet",
        "items.parquet",
        "split.json",
        "test.parquet",
        "users.parquet",
        "validation.parquet",
    ]
    split = read_json(worktree / "data/prepared/split.json")
    assert split["time_zone"] == "Europe/Berlin"
    assert read_table(worktree / "data/prepared/test.parquet")["week"].to_numpy().min() == split["first_test_week"]
