"""``validate``: what bad input does, row by row and table by table."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expectations.row_cache import RowCache
from expectations.run import Validation
from pipelines import out_of_core
from pipelines.artifacts import read_table, write_table
from pipelines.errors import DataError
from pipelines.params import ValidateParams
from pipelines.stages import validate as stage
from pipelines.stages.validate import Validated, read_shop, validate
from pipelines.tables import EVENTS, LANDED_IN, TABLES
from tests.tiny_shop import land_tiny_shop

ROOT = Path(__file__).parents[2]
PARTITION = "2024-W02"
EVENTS_FILE = f"events/{PARTITION}.parquet"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Edit = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("landed")
    land_tiny_shop(directory, date(2024, 1, 28))
    return directory


@pytest.fixture
def raw(landed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(landed, tmp_path / "raw"))


def run(raw: Path, cache: Path | None = None, params: ValidateParams | None = None) -> Validated:
    return validate(read_shop(raw), params or ValidateParams(), Validation(), RowCache(cache), NOW)


def rewrite(raw: Path, path: str, edit: Edit) -> None:
    table = read_table(raw / path)
    rows = table.to_pylist()
    edit(rows)
    nullable = pa.schema([field.with_nullable(True) for field in table.schema], metadata=table.schema.metadata)
    write_table(pa.Table.from_pylist(rows, schema=nullable), raw / path)


def setting(column: str, value: object) -> Edit:
    return lambda rows: rows[3].update({column: value})


BAD_EVENTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no id": ({"event_id": None}, ["event_id_is_present"]),
    "no user": ({"user_id": None}, ["user_id_is_present"]),
    "empty user": ({"user_id": ""}, ["user_id_is_an_id"]),
    "unknown type": ({"event_type": "stolen"}, ["event_type_is_known"]),
    "no time": ({"timestamp": None}, ["timestamp_is_present"]),
    "future": ({"timestamp": datetime(2031, 1, 1, tzinfo=UTC)}, ["timestamp_is_in_partition"]),
    "too early": ({"timestamp": datetime(2024, 1, 7, 22, 59, 59, tzinfo=UTC)}, ["timestamp_is_in_partition"]),
    "no item": ({"item_id": None}, ["item_is_present"]),
    "unknown item": ({"item_id": "item-99"}, ["item_is_known"]),
    "no quantity": ({"quantity": 0.0}, ["quantity_is_positive"]),
    "large quantity": ({"quantity": 101.0}, ["quantity_is_plausible"]),
    "infinite quantity": ({"quantity": float("inf")}, ["quantity_is_plausible", "numbers_are_finite"]),
    "negative price": ({"price": -1.0}, ["price_is_not_negative", "paid_price_is_positive"]),
    "free purchase": ({"price": 0.0}, ["paid_price_is_positive"]),
    "price not a number": ({"price": float("nan")}, ["numbers_are_finite"]),
    "three reasons": (
        {"quantity": -2.0, "price": 0.0, "item_id": "item-99"},
        ["quantity_is_positive", "paid_price_is_positive", "item_is_known"],
    ),
    "repeated id": ({"event_id": "kept"}, ["event_id_is_unique"]),
    "empty search": ({"event_type": "search", "query": None}, ["query_is_present"]),
}
GOOD_EVENTS: dict[str, dict[str, Any]] = {
    "first of its id": {"event_id": "kept"},
    "search": {"event_type": "search", "query": "pasta", "item_id": None, "price": None, "quantity": None},
    "free view": {"event_type": "view", "price": 0.0},
    "largest quantity": {"quantity": 100.0},
    "first moment": {"timestamp": datetime(2024, 1, 7, 23, 0, tzinfo=UTC)},
}


@pytest.fixture(scope="module")
def mixed(landed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Validated, int]:
    """A load in which every good and every bad event stands once, told by its session; and the partition's rows."""
    raw = Path(shutil.copytree(landed, tmp_path_factory.mktemp("mixed") / "raw"))
    changes = GOOD_EVENTS | {name: change for name, (change, _) in BAD_EVENTS.items()}

    def edit(rows: list[dict[str, Any]]) -> None:
        for row, (name, change) in zip(rows, changes.items(), strict=False):
            row.update(change, session_id=name)

    rewrite(raw, EVENTS_FILE, edit)
    return run(raw), read_table(raw / EVENTS_FILE).num_rows


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_validate_quarantines_a_bad_event_with_every_reason(mixed: tuple[Validated, int], name: str) -> None:
    part = mixed[0].events[PARTITION]
    found = dict(zip(part.quarantined["session_id"].to_pylist(), part.quarantined["reasons"].to_pylist(), strict=True))
    assert found[name] == BAD_EVENTS[name][1]
    assert name not in part.accepted["session_id"].to_pylist()


@pytest.mark.parametrize("name", GOOD_EVENTS)
def test_validate_accepts_a_good_event(mixed: tuple[Validated, int], name: str) -> None:
    assert mixed[0].events[PARTITION].accepted["session_id"].to_pylist().count(name) == 1


def test_validate_counts_what_it_quarantines(mixed: tuple[Validated, int]) -> None:
    validated, num_rows = mixed
    part = validated.events[PARTITION]
    assert sorted(part.quarantined["session_id"].to_pylist()) == sorted(BAD_EVENTS)
    assert all(suite.startswith(validated.suites["events"]) for suite in part.quarantined["suite"].to_pylist())
    assert part.accepted.num_rows == num_rows - len(BAD_EVENTS)
    assert part.accepted.schema.equals(EVENTS.schema)
    assert part.reasons == Counter(reason for _, reasons in BAD_EVENTS.values() for reason in reasons)
    assert validated.report()["tables"]["events"]["quarantined"] == len(BAD_EVENTS)
    assert not validated.findings.stops


def test_validate_keeps_the_good_copy_of_a_repeated_id(raw: Path) -> None:
    rows = read_table(raw / EVENTS_FILE).to_pylist()
    rewrite(raw, EVENTS_FILE, lambda rows: rows[0].update(price=-1.0) or rows[3].update(event_id=rows[0]["event_id"]))  # type: ignore[func-returns-value]
    part = run(raw).events[PARTITION]
    assert part.quarantined["item_id"].to_pylist() == [rows[0]["item_id"]]
    assert "event_id_is_unique" in part.quarantined["reasons"].to_pylist()[0]
    assert part.accepted["event_id"].to_pylist().count(rows[0]["event_id"]) == 1


def test_validate_keeps_the_row_of_an_id_that_was_landed_last(raw: Path) -> None:
    earlier = read_table(raw / "events/2024-W01.parquet").to_pylist()[0]["event_id"]
    rewrite(raw, EVENTS_FILE, setting("event_id", earlier))
    validated = run(raw)
    assert validated.events[PARTITION].reasons == {}
    assert validated.events["2024-W01"].reasons == {"event_id_is_unique": 1}
    path = raw / "events/2024-W01.parquet"
    rows = read_table(path)
    landed_in = pa.array(["2024-W04"] + [None] * (rows.num_rows - 1), pa.string())
    write_table(rows.append_column(LANDED_IN, landed_in), path)
    validated = run(raw)
    assert validated.events[PARTITION].reasons == {"event_id_is_unique": 1}
    assert validated.events["2024-W01"].reasons == {}
    assert not any("columns_are_known" in warning["check"] for warning in validated.findings.warnings)


def test_validate_finds_the_same_however_much_it_looks_at_at_once(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = read_table(raw / "events/2024-W01.parquet").to_pylist()[0]["event_id"]
    rewrite(raw, EVENTS_FILE, setting("event_id", earlier))
    rewrite(raw, "events/2024-W03.parquet", setting("quantity", -1.0))
    whole = run(raw)
    monkeypatch.setattr(out_of_core, "ROWS_AT_ONCE", 1)
    parts = run(raw)
    assert parts.report() == whole.report()
    assert sum(tally.quarantined for tally in parts.events.tallies.values()) == 2
    for name in whole.events:
        assert parts.events[name].accepted.equals(whole.events[name].accepted, check_metadata=True)
        assert parts.events[name].quarantined.equals(whole.events[name].quarantined, check_metadata=True)


def test_validate_takes_a_partition_of_late_rows_alone_whatever_its_volume(raw: Path) -> None:
    path = raw / EVENTS_FILE
    few = read_table(path).slice(0, 1)
    write_table(few, path)
    assert any("volume_is_possible" in stop for stop in run(raw).findings.stops)
    write_table(few.append_column(LANDED_IN, pa.array(["2024-W04"])), path)
    assert run(raw).findings.stops == []


@pytest.mark.parametrize(
    ("edit", "reasons"),
    [
        (lambda rows: rows[3].update(item_id=rows[0]["item_id"]), {"item_id_is_unique": 1}),
        (setting("item_id", ""), {"item_id_is_an_id": 1}),
        (setting("price", -0.01), {"price_is_not_negative": 1}),
        (setting("price", float("-inf")), {"price_is_not_negative": 1, "numbers_are_finite": 1}),
    ],
)
def test_validate_quarantines_a_bad_item_and_its_events(raw: Path, edit: Edit, reasons: dict[str, int]) -> None:
    lost = read_table(raw / "items/items.parquet").to_pylist()[3]["item_id"]
    rewrite(raw, "items/items.parquet", edit)
    validated = run(raw)
    assert validated.whole["items"].reasons == reasons
    assert lost not in validated.whole["items"].accepted["item_id"].to_pylist()
    for part in validated.events.values():
        assert lost not in part.accepted["item_id"].to_pylist()
        quarantined = zip(part.quarantined["item_id"].to_pylist(), part.quarantined["reasons"].to_pylist(), strict=True)
        assert all(reason == ["item_is_known"] for item, reason in quarantined if item == lost)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_validate_quarantines_a_title_that_is_not_utf8(raw: Path, kind: pa.DataType) -> None:
    path = raw / "items/items.parquet"
    table = read_table(path)
    titles = [title.encode() for title in table["title"].to_pylist()]
    titles[3] = b"Caf\xe9, 12 oz"
    column = pa.array(titles, pa.large_binary() if kind == pa.large_string() else pa.binary())
    pq.write_table(table.set_column(1, "title", column if kind == pa.binary() else column.view(kind)), path)
    validated = run(raw)
    assert validated.whole["items"].reasons == {"text_is_utf8": 1}
    assert validated.whole["items"].quarantined["title"].to_pylist() == ["Caf\ufffd, 12 oz"]


def test_validate_quarantines_a_category_that_is_not_utf8(raw: Path) -> None:
    path = raw / "items/items.parquet"
    table = read_table(path)
    paths = [[level.encode() for level in levels] for levels in table["category"].to_pylist()]
    paths[3][1] = b"Caf\xe9"
    broken = pa.array(paths, pa.list_(pa.binary()))
    column = pa.ListArray.from_arrays(broken.offsets, broken.values.view(pa.string()))
    pq.write_table(table.set_column(3, "category", column), path)
    assert run(raw).whole["items"].reasons == {"text_is_utf8": 1}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda offer: offer.update(ends=offer["starts"] - timedelta(days=1)), "ends_after_it_starts"),
        (lambda offer: offer.update(item_ids=["item-98", "item-99"]), "an_item_is_known"),
        (lambda offer: offer.update(item_ids=[]), "an_item_is_known"),
        (lambda offer: offer.update(kind=None), "kind_is_present"),
        (lambda offer: offer.update(budget=-5.0), "budget_is_not_negative"),
    ],
)
def test_validate_quarantines_a_bad_offer(raw: Path, edit: Callable[[dict[str, Any]], None], reason: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["item_ids"] = list(rows[0]["item_ids"])
        good = dict(rows[0])
        edit(rows[0])
        rows.extend({**good, "offer_id": f"good-{number}"} for number in range(9))

    rewrite(raw, "offers/offers.parquet", change)
    validated = run(raw)
    assert validated.whole["offers"].reasons == {reason: 1}
    assert validated.whole["offers"].accepted.num_rows == 9


@pytest.mark.parametrize("table", ["users", "offers", "judgements"])
def test_validate_takes_a_shop_without_an_optional_table(raw: Path, table: str) -> None:
    shutil.rmtree(raw / table)
    validated = run(raw)
    assert validated.report()["tables"][table]["rows"] == 0
    assert validated.whole[table].accepted.schema.equals(TABLES[table].schema)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": "user-00"}, "user_id_is_unique"),
        ({"user_id": ""}, "user_id_is_an_id"),
        ({"user_id": None}, "user_id_is_present"),
    ],
)
def test_validate_quarantines_a_bad_user(raw: Path, row: dict[str, Any], reason: str) -> None:
    good = [{"user_id": f"user-{number:02d}", "attributes": [("age", "19-24")]} for number in range(9)]
    rewrite(raw, "users/users.parquet", lambda rows: rows.extend([*good, row]))
    users = run(raw).whole["users"]
    assert users.reasons == {reason: 1}
    assert users.accepted.to_pylist() == good


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"grade": 5}, "grade_is_in_range"),
        ({"grade": None}, "grade_is_present"),
        ({"query": None}, "query_is_present"),
        ({"item_id": "item-99"}, "item_is_known"),
        ({"query": "tea 1"}, "pair_is_unique"),
    ],
)
def test_validate_quarantines_a_bad_judgement(raw: Path, row: dict[str, Any], reason: str) -> None:
    good = [{"query": f"tea {number}", "item_id": "item-00", "grade": number % 5} for number in range(9)]
    bad = {"query": "coffee", "item_id": "item-00", "grade": 1} | row
    rewrite(raw, "judgements/judgements.parquet", lambda rows: rows.extend([*good, bad]))
    judgements = run(raw).whole["judgements"]
    assert judgements.reasons == {reason: 1}
    assert judgements.accepted.to_pylist() == good


def change_table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def recast(column: str, kind: pa.DataType) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].cast(kind) if column in ("timestamp", "price") else pa.array([1] * len(table), kind)
        return table.set_column(table.schema.get_field_index(column), column, values)

    return change_table(change)


def renamed(table: pa.Table) -> pa.Table:
    return table.rename_columns(["prices" if name == "price" else name for name in table.column_names])


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        (
            EVENTS_FILE,
            change_table(lambda t: t.drop_columns("price")),
            "partition 2024-W02, column price: it is missing",
        ),
        (EVENTS_FILE, change_table(renamed), "column price: it is missing; the file has prices instead .*'prices'"),
        (
            EVENTS_FILE,
            recast("user_id", pa.int64()),
            "partition 2024-W02, column user_id: its type is int64, not string",
        ),
        (EVENTS_FILE, recast("price", pa.string()), "column price: its type is string, not double"),
        (EVENTS_FILE, recast("timestamp", pa.timestamp("us")), "column timestamp: its type is timestamp.us., not"),
        (EVENTS_FILE, change_table(lambda t: t.slice(0, 0)), "events: partition 2024-W02: the partition is empty"),
        (EVENTS_FILE, lambda p: p.write_bytes(p.read_bytes()[:-200]), "partition 2024-W02: .* not a readable Parquet"),
        (EVENTS_FILE, lambda p: p.write_bytes(b""), "events: partition 2024-W02: .* is not a readable Parquet"),
        (EVENTS_FILE, lambda p: p.rename(p.with_name("latest.parquet")), "'latest' is no partition"),
        (EVENTS_FILE, lambda p: p.rename(p.with_suffix(".csv")), "2024-W02.csv is no partition"),
        ("items/items.parquet", change_table(lambda t: t.drop_columns("title")), "items, column title: it is missing"),
        ("items/items.parquet", lambda p: p.unlink(), "items: .*items.parquet does not exist"),
        ("items/items.parquet", change_table(lambda t: t.slice(0, 0)), "items: the table is empty"),
        ("offers/offers.parquet", recast("kind", pa.int8()), "offers, column kind: its type is int8, not string"),
    ],
)
def test_validate_refuses_a_broken_file_and_names_it(
    raw: Path, path: str, damage: Callable[[Path], object], message: str
) -> None:
    damage(raw / path)
    with pytest.raises(DataError, match=message):
        run(raw)


def test_validate_refuses_a_page_with_flipped_bytes(raw: Path) -> None:
    path = raw / EVENTS_FILE
    damaged = bytearray(path.read_bytes())
    damaged[40:400] = bytes(360)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"events: partition 2024-W02"):
        run(raw)


def test_validate_takes_kindred_types_as_they_are(raw: Path) -> None:
    kinds = {"user_id": pa.large_string(), "channel": pa.dictionary(pa.int32(), pa.string()), "price": pa.float32()}
    table = pq.read_table(raw / EVENTS_FILE)
    for column, kind in kinds.items():
        table = table.set_column(table.schema.get_field_index(column), column, table[column].cast(kind))
    stamps = table["timestamp"].cast(pa.timestamp("ns", tz="Europe/Berlin"))
    pq.write_table(table.set_column(table.schema.get_field_index("timestamp"), "timestamp", stamps), raw / EVENTS_FILE)
    validated = run(raw)
    assert validated.events[PARTITION].accepted.schema.equals(EVENTS.schema)
    assert validated.report()["tables"]["events"]["quarantined"] == 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda rows: [row.update(price=-1.0) for row in rows[:60]],
            "rejected_share_is_small.*paid_price_is_positive 60",
        ),
        (lambda rows: rows.__delitem__(slice(1, None)), "partition 2024-W02: volume_is_possible"),
    ],
)
def test_validate_stops_a_load_with_a_bad_partition(raw: Path, edit: Edit, message: str) -> None:
    rewrite(raw, EVENTS_FILE, edit)
    stops = run(raw).findings.stops
    assert len(stops) == 1
    assert re.search(message, stops[0])
    assert "2024-W02" in stops[0]


def test_validate_stops_a_load_from_the_future(raw: Path) -> None:
    early = datetime(2024, 1, 20, tzinfo=UTC)
    validated = validate(read_shop(raw), ValidateParams(), Validation(), RowCache(None), early)
    assert [stop for stop in validated.findings.stops if "partition 2024-W04" in stop and "partition_is_past" in stop]


def small_week(raw: Path, before: dict[str, int | None]) -> Validated:
    """A load of week 4 alone, of five rows, beside what came before."""
    for name in ("2024-W01", PARTITION, "2024-W03"):
        (raw / f"events/{name}.parquet").unlink()
    rewrite(raw, "events/2024-W04.parquet", lambda rows: rows.__delitem__(slice(5, None)))
    return validate(read_shop(raw, before), ValidateParams(), Validation(), RowCache(None), NOW)


def test_validate_judges_a_load_of_one_partition_beside_those_before(raw: Path) -> None:
    validated = small_week(raw, {"2024-W01": 1000, PARTITION: None, "2024-W03": 1200, "2024-W04": 9})
    assert list(validated.report()["partitions"]) == ["2024-W04"]
    assert [re.sub(r".*found ", "", stop) for stop in validated.findings.stops] == ["0.005"]
    assert "partition 2024-W04: volume_is_possible" in validated.findings.stops[0]
    assert "no_partition_is_missing" not in {warning["check"] for warning in validated.findings.warnings}


def test_validate_warns_of_a_gap_after_the_partitions_before(raw: Path) -> None:
    validated = small_week(raw, {"2024-W01": None, PARTITION: None})
    assert not validated.findings.stops
    warned = {(warning["partition"], warning["check"]) for warning in validated.findings.warnings}
    assert warned - {("2024-W04", "newest_event_is_fresh")} == {("2024-W04", "no_partition_is_missing")}


def test_validate_warns_of_gaps_and_odd_volumes_and_unknown_columns(raw: Path) -> None:
    (raw / "events/2024-W03.parquet").unlink()
    rewrite(raw, EVENTS_FILE, lambda rows: rows.__delitem__(slice(20, None)))
    table = pq.read_table(raw / "items/items.parquet")
    pq.write_table(table.append_column("colour", pa.nulls(len(table), pa.string())), raw / "items/items.parquet")
    warnings = run(raw).findings.warnings
    assert {(w["table"], w["partition"], w["check"]) for w in warnings} >= {
        ("events", "2024-W04", "no_partition_is_missing"),
        ("events", PARTITION, "volume_is_usual"),
        ("items", None, "columns_are_known"),
    }


def test_validate_warns_of_unknown_columns_in_every_table(raw: Path) -> None:
    for path in (EVENTS_FILE, "items/items.parquet", "offers/offers.parquet"):
        table = pq.read_table(raw / path)
        pq.write_table(table.append_column("colour", pa.nulls(len(table), pa.string())), raw / path)
    warnings = run(raw).findings.warnings
    said = "columns that the contract does not have are left out: colour"
    assert {(w["table"], w["partition"], w["message"]) for w in warnings if w["check"] == "columns_are_known"} == {
        ("items", None, f"items: {said}"),
        ("offers", None, f"offers: {said}"),
        ("events", PARTITION, f"events: partition {PARTITION}: {said}"),
    }


def test_validate_warns_of_products_without_title_and_keeps_them(raw: Path) -> None:
    rewrite(raw, "items/items.parquet", lambda rows: [row.update(title=None) for row in rows[:3]])  # type: ignore[arg-type]
    validated = run(raw)
    assert validated.whole["items"].accepted.num_rows == 30
    assert [w["message"] for w in validated.findings.warnings if w["table"] == "items"] == [
        "items: column title: title_is_mostly_present: at least 99% of rows have a title; found 90.0%"
    ]


def test_validate_warns_of_offers_that_name_unknown_items_and_keeps_them(raw: Path) -> None:
    rewrite(raw, "offers/offers.parquet", lambda rows: rows[0].update(item_ids=["item-00", "item-99"]))
    validated = run(raw)
    assert validated.whole["offers"].accepted.num_rows == 1
    assert [(w["check"], w["message"][-10:]) for w in validated.findings.warnings if w["table"] == "offers"] == [
        ("items_are_mostly_known", "found 0.0%")
    ]


def test_read_shop_gives_weeks_and_days_oldest_first(raw: Path) -> None:
    shutil.copy(raw / "events/2024-W04.parquet", raw / "events/2024-01-29.parquet")
    assert list(read_shop(raw).events) == ["2024-W01", "2024-W02", "2024-W03", "2024-W04", "2024-01-29"]


def test_validate_names_the_digest_of_every_suite(mixed: tuple[Validated, int]) -> None:
    whole = {f"{table}{end}" for table in ("items", "users", "offers", "judgements") for end in ("", "_table")}
    assert mixed[0].suites.keys() == whole | {"events", "events_across_tables", "events_partitions"}


def test_validate_remembers_row_checks_and_gives_the_same_answer(raw: Path, tmp_path: Path) -> None:
    rewrite(raw, EVENTS_FILE, lambda rows: rows[3].update(quantity=-1.0, item_id="item-99"))
    fresh, first, again = run(raw), run(raw, tmp_path / "cache"), run(raw, tmp_path / "cache")
    kept = list((tmp_path / "cache").rglob("*.json"))
    assert len(kept) == 4
    for other in (first, again):
        assert other.report() == fresh.report()
        assert other.events[PARTITION].quarantined.equals(fresh.events[PARTITION].quarantined)
    for path in kept:
        path.write_text('{"num_rows": 1, "rows": {"quantity_is_positive": [99999]}}')
    assert run(raw, tmp_path / "cache").report() == fresh.report()


def test_validate_remembers_nothing_across_suites(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path / "cache")
    strict = run(raw, tmp_path / "cache", ValidateParams(max_quantity=2, max_rejected_share=1))
    assert strict.report()["tables"]["events"]["reasons"]["quantity_is_plausible"] > 0


@pytest.fixture
def worktree(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    raw.rename(tmp_path / "data/raw")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHOPLOOM_SIDE", str(tmp_path / "side"))
    monkeypatch.setattr("sys.argv", ["validate"])
    return tmp_path


def test_validate_writes_the_same_bytes_with_and_without_its_cache(
    worktree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(worktree / "data/raw", EVENTS_FILE, setting("price", -1.0))
    seen = []
    for no_cache in ("", "1", ""):
        monkeypatch.setenv("SHOPLOOM_NO_CACHE", no_cache)
        stage.main()
        written = [
            p for folder in ("accepted", "quarantine", "validate") for p in (worktree / "data" / folder).rglob("*")
        ]
        seen.append({str(p.relative_to(worktree)): p.read_bytes() for p in written if p.is_file()})
    assert seen[0] == seen[1] == seen[2]
    report = json.loads((worktree / "data/validate/report.json").read_text())
    assert report["partitions"][PARTITION]["reasons"] == {"price_is_not_negative": 1, "paid_price_is_positive": 1}
    pages = [page.read_text() for page in (worktree / "side/data_docs/validations/events").rglob("*.html")]
    assert pages
    assert all("quantity" in page for page in pages)


def test_validate_remembers_nothing_of_other_code(worktree: Path) -> None:
    rewrite(worktree / "data/raw", EVENTS_FILE, setting("price", 0.0))
    stage.main()
    report = worktree / "data/validate/report.json"
    assert json.loads(report.read_text())["partitions"][PARTITION]["reasons"] == {"paid_price_is_positive": 1}
    for package in ("expectations", "pipelines"):
        shutil.copytree(ROOT / package, worktree / package, ignore=shutil.ignore_patterns("__pycache__"))
    changed = worktree / "expectations/frames.py"
    text = changed.read_text()
    assert 'pc.equal(kinds, "purchase")' in text
    changed.write_text(text.replace('pc.equal(kinds, "purchase")', 'pc.equal(kinds, "gift")'))
    subprocess.run([sys.executable, "-m", "pipelines.stages.validate"], cwd=worktree, check=True, capture_output=True)
    assert json.loads(report.read_text())["partitions"][PARTITION]["reasons"] == {}


def test_validate_leaves_a_refused_landing_in_the_state_folder(worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOPLOOM_SIDE")
    rewrite(worktree / "data/raw", EVENTS_FILE, lambda rows: [row.update(price=-1.0) for row in rows[:60]])  # type: ignore[arg-type]
    monkeypatch.setattr("sys.argv", ["validate", "--landing", "data/raw"])
    with pytest.raises(DataError, match=re.escape(str(worktree / "home/side/validate/quarantine"))):
        stage.main()
    assert read_table(worktree / f"home/side/validate/quarantine/events/{PARTITION}.parquet").num_rows == 60
    assert not (worktree / ".shoploom").exists()


def test_validate_stops_and_writes_no_output_but_shows_the_rows(worktree: Path) -> None:
    rewrite(worktree / "data/raw", EVENTS_FILE, lambda rows: [row.update(price=-1.0) for row in rows[:60]])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"events: partition 2024-W02, column price: rejected_share_is_small"):
        stage.main()
    assert not (worktree / "data/accepted").exists()
    assert read_table(worktree / f"side/quarantine/events/{PARTITION}.parquet").num_rows == 60


def test_validate_checks_a_landing_and_writes_the_report_alone(worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["validate", "--landing", "data/raw", "--report", "landing.json"])
    stage.main()
    assert json.loads((worktree / "landing.json").read_text())["tables"]["items"]["accepted"] == 30
    assert not (worktree / "data/accepted").exists()


def test_validate_opens_no_connection(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    validation = Validation()
    validated = validate(read_shop(raw), ValidateParams(), validation, RowCache(None), NOW)
    assert validation.build_docs(tmp_path / "docs").is_file()
    assert np.sum([part.accepted.num_rows for part in validated.events.values()]) > 0
