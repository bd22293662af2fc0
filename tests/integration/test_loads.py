"""Loads beside each other: late events and corrections reach the partition of their time, all that ends gets in."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from pipelines.artifacts import read_table
from pipelines.errors import DataError, RunError
from pipelines.runs.data_history import data_history
from pipelines.runs.data_versions import (
    DataVersion,
    Onto,
    PartitionMovedError,
    changes_of,
    commit_landing,
    latest_data_version,
    partition_hashes,
)
from pipelines.runs.git import Git
from pipelines.runs.loads import Load, held, merge_load
from pipelines.runs.raw_origins import raw_files_of
from pipelines.runs.store import Store
from pipelines.settings import Settings
from pipelines.sources import Source
from pipelines.sources.calendars import Partition
from pipelines.sources.landing import land
from pipelines.sources.raw_files import RawFile
from pipelines.tables import EVENTS, ITEMS, LANDED_IN
from tests.repositories import new_repository
from tests.tiny_shop import KEYS

FIRST_DAY = date(2024, 1, 1)
Row = tuple[str, int, float]
"""Event id, day after the shop's first, quantity."""


@dataclass
class Feed(Source):
    """A feed of days: what came in each week, whatever its time."""

    name: ClassVar[str] = "feed"
    time_zone: ClassVar[str] = "UTC"
    partition = "week"
    late_days = 14

    weeks: dict[int, list[Row]] = field(default_factory=dict)
    num_weeks: int = 12

    def span(self) -> tuple[date, date]:
        return FIRST_DAY, FIRST_DAY + timedelta(days=7 * self.num_weeks - 1)

    def events(self, start: datetime, end: datetime) -> pa.Table:
        week = (start.date() - FIRST_DAY).days // 7 + 1
        rows = [
            {
                "event_id": event_id,
                "user_id": f"user of {event_id}",
                "item_id": "i",
                "event_type": "purchase",
                "timestamp": datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=day),
                "quantity": quantity,
                "price": 1.0,
            }
            for event_id, day, quantity in self.weeks.get(week, [(f"only {week}", 7 * week - 4, 1.0)])
        ]
        return pa.Table.from_pylist(rows, schema=EVENTS.schema)

    def items(self) -> pa.Table:
        return pa.Table.from_pylist([{"item_id": "i", "title": "I"}], schema=ITEMS.schema)

    def files(self, table: str, partition: Partition | None = None) -> tuple[RawFile, ...]:
        return (RawFile(f"{partition.name if partition else table}.csv", 1, "a" * 64),)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_repository(tmp_path / "code", home=tmp_path / "home")


def landed(feed: Feed, week: int, folder: Path) -> Load:
    monday = FIRST_DAY + timedelta(days=7 * (week - 1))
    shutil.rmtree(folder, ignore_errors=True)
    told = land(feed, monday, monday + timedelta(days=6), folder, KEYS)
    return Load(folder, told.partitions, told.late_days)


def put(settings: Settings, feed: Feed, week: int, scratch: Path) -> DataVersion:
    """Land, merge and commit one week."""
    load = landed(feed, week, scratch / f"landing-{week}")
    onto = merge_load(settings, load, scratch / f"merged-{week}")
    return commit_landing(settings, scratch / f"merged-{week}", f"Land week {week}", onto)


def stored(settings: Settings, version: DataVersion | None = None) -> dict[str, list[tuple[str, float, str | None]]]:
    """Event id, quantity and the interval that brought it, of each partition of a version."""
    version = version or latest_data_version(settings)
    assert version is not None
    store, found = Store(settings), {}
    try:
        for file in store.files(version.listings["events"]):
            rows = read_table(store.cache_path(file.md5))
            intervals = rows[LANDED_IN].to_pylist() if LANDED_IN in rows.column_names else [None] * rows.num_rows
            names = zip(rows["event_id"].to_pylist(), rows["quantity"].to_pylist(), intervals, strict=True)
            found[file.path.removesuffix(".parquet")] = list(names)
        return found
    finally:
        store.close()


def test_late_events_and_corrections_make_a_new_version_of_the_partition_of_their_time(
    settings: Settings, tmp_path: Path
) -> None:
    feed = Feed({1: [("a", 1, 1.0), ("b", 2, 1.0)], 2: [("c", 8, 1.0), ("late", 3, 1.0), ("b", 2, 5.0)]})
    first = put(settings, feed, 1, tmp_path)
    second = put(settings, feed, 2, tmp_path)
    assert stored(settings) == {
        "2024-W01": [("a", 1.0, None), ("late", 1.0, "2024-W02"), ("b", 5.0, "2024-W02")],
        "2024-W02": [("c", 1.0, None)],
    }
    assert {name for name in second.changed if name.startswith("events/")} == {
        "events/2024-W01.parquet",
        "events/2024-W02.parquet",
    }
    assert stored(settings, first) == {"2024-W01": [("a", 1.0, None), ("b", 1.0, None)]}, "the older one is lost"
    for week in (1, 2, 1):
        assert put(settings, feed, week, tmp_path).commit == second.commit, "an interval landed again made a version"


def test_a_data_version_tells_the_raw_files_behind_each_partition(settings: Settings, tmp_path: Path) -> None:
    feed = Feed({1: [("a", 1, 1.0)], 2: [("b", 8, 1.0), ("late", 3, 1.0)], 3: [("c", 15, 1.0), ("later", 3, 1.0)]})
    versions = [put(settings, feed, week, tmp_path) for week in (1, 2, 3)]
    history = data_history(settings)
    names = [("events/2024-W01.parquet", version.commit) for version in versions]
    found = raw_files_of(settings, history, [*names, ("items/items.parquet", versions[0].commit)])
    told = [[raw.path.removeprefix("2024-").removesuffix(".csv") for raw in files or ()] for files in found.values()]
    assert told == [["W01"], ["W01", "W02"], ["W01", "W02", "W03"], ["items"]]
    assert put(settings, feed, 2, tmp_path).commit == versions[2].commit
    by_hand = tmp_path / "by hand"
    shutil.copytree(tmp_path / "landing-1" / "events", by_hand / "events")
    made = commit_landing(settings, by_hand, "Put a partition back", Onto())
    assert made.changed == ("events/2024-W01.parquet",)
    assert raw_files_of(settings, data_history(settings), [(names[0][0], made.commit)]) == {
        (names[0][0], made.commit): found[names[2]]
    }, "what is made of stored content came from its files"


def test_an_interval_landed_again_takes_back_what_it_brought_elsewhere(settings: Settings, tmp_path: Path) -> None:
    feed = Feed({1: [("a", 1, 1.0)], 2: [("b", 8, 1.0), ("late", 3, 1.0)]})
    put(settings, feed, 1, tmp_path)
    put(settings, feed, 2, tmp_path)
    feed.weeks[2] = [("b", 8, 1.0), ("late", 9, 1.0)]
    put(settings, feed, 2, tmp_path)
    assert stored(settings) == {"2024-W01": [("a", 1.0, None)], "2024-W02": [("b", 1.0, None), ("late", 1.0, None)]}


def test_events_that_come_too_late_or_too_early_stay_where_they_came(settings: Settings, tmp_path: Path) -> None:
    feed = Feed({4: [("a", 22, 1.0), ("too late", 1, 1.0), ("too early", 40, 1.0)]})
    put(settings, feed, 4, tmp_path)
    assert stored(settings) == {"2024-W04": [("a", 1.0, None), ("too late", 1.0, None), ("too early", 1.0, None)]}


def test_loads_of_different_intervals_that_end_together_all_land(settings: Settings, tmp_path: Path) -> None:
    weeks = range(1, 9)
    loads = {week: landed(Feed(), week, tmp_path / f"landing-{week}") for week in weeks}
    together = threading.Barrier(4)

    def commit(week: int) -> str:
        onto = merge_load(settings, loads[week], tmp_path / f"merged-{week}")
        together.wait()
        return commit_landing(settings, tmp_path / f"merged-{week}", f"Land week {week}", onto).commit

    with ThreadPoolExecutor(4) as pool:
        commits = list(pool.map(commit, weeks))
    assert stored(settings).keys() == {f"2024-W{week:02d}" for week in weeks}
    assert len(set(commits)) == 8
    tip = latest_data_version(settings)
    assert tip is not None
    assert len(Git(settings.repository).text("rev-list", tip.commit).split()) == 8


def test_a_load_that_lost_the_race_for_a_partition_is_merged_again(settings: Settings, tmp_path: Path) -> None:
    feed = Feed({1: [("a", 1, 1.0)], 2: [("b", 8, 1.0), ("from 2", 3, 1.0)], 3: [("c", 15, 1.0), ("from 3", 4, 1.0)]})
    put(settings, feed, 1, tmp_path)
    load = landed(feed, 3, tmp_path / "landing-3")
    onto = merge_load(settings, load, tmp_path / "merged-3")
    put(settings, feed, 2, tmp_path)
    before = latest_data_version(settings)
    with pytest.raises(PartitionMovedError, match=r"another load changed events/2024-W01.parquet meanwhile"):
        commit_landing(settings, tmp_path / "merged-3", "Land week 3", onto)
    assert latest_data_version(settings) == before
    put(settings, feed, 3, tmp_path)
    assert stored(settings)["2024-W01"] == [
        ("a", 1.0, None),
        ("from 2", 1.0, "2024-W02"),
        ("from 3", 1.0, "2024-W03"),
    ]


def test_of_two_loads_of_one_interval_one_waits(settings: Settings) -> None:
    entered, order = threading.Event(), []

    def second() -> None:
        entered.wait()
        with held(settings, ["2024-W01", "2024-W02"]):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with held(settings, ["2024-W02"]):
        entered.set()
        with held(settings, ["2024-W03"]):
            time.sleep(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_load_that_dies_half_way_leaves_no_partial_version(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, Feed(), 1, tmp_path)
    before = latest_data_version(settings)
    load = landed(Feed(), 2, tmp_path / "landing-2")
    onto = merge_load(settings, load, tmp_path / "merged-2")
    for place in ("push", "add_directory"):
        with monkeypatch.context() as patch:
            patch.setattr(Store, place, _dies)
            with pytest.raises(RuntimeError, match="the machine went away"):
                commit_landing(settings, tmp_path / "merged-2", "Land week 2", onto)
        assert latest_data_version(settings) == before
    assert commit_landing(settings, tmp_path / "merged-2", "Land week 2", onto).changed
    assert changes_of(settings, tmp_path / "merged-2") == ()


def _dies(*_: object) -> None:
    raise RuntimeError("the machine went away")


def test_every_accepted_partition_stays_in_some_version(settings: Settings, tmp_path: Path) -> None:
    feed = Feed()
    for quantity in (1.0, 2.0, 3.0):
        feed.weeks[1] = [("a", 1, quantity)]
        put(settings, feed, 1, tmp_path)
    tip = latest_data_version(settings)
    assert tip is not None
    git = Git(settings.repository)
    from pipelines.runs.data_versions import read_version

    versions = [read_version(git, commit) for commit in git.text("rev-list", tip.commit).split()]
    assert [stored(settings, version)["2024-W01"] for version in versions] == [
        [("a", quantity, None)] for quantity in (3.0, 2.0, 1.0)
    ]
    hashes = [partition_hashes(settings, version)["events"]["2024-W01.parquet"] for version in versions]
    assert len(set(hashes)) == 3


def test_a_damaged_landing_is_refused(settings: Settings, tmp_path: Path) -> None:
    put(settings, Feed(), 1, tmp_path)
    load = landed(Feed(), 2, tmp_path / "landing-2")
    path = tmp_path / "landing-2/events/2024-W02.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    onto = merge_load(settings, load, tmp_path / "merged-2")
    with pytest.raises(DataError, match=r"2024-W02.parquet is not a readable Parquet file"):
        commit_landing(settings, tmp_path / "merged-2", "Land week 2", onto)
    with pytest.raises(RunError, match="data/main is checked out"):
        subprocess.run(["git", "-C", str(settings.repository), "checkout", "-q", "data/main"], check=True)
        commit_landing(settings, tmp_path / "merged-2", "Land week 2", Onto())
