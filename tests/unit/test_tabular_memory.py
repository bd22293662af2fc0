"""Which files a load reads: the new, the changed, and those that hold what is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.sources import partitions
from pipelines.sources.landing import land
from pipelines.sources.raw_files import RawFile, read_origins
from pipelines.sources.tabular import Tabular, memory
from pipelines.sources.tabular.engine import Engine
from pipelines.sources.tabular.files import FoundFile
from pipelines.sources.tabular.reader import read_mapping
from tests.tiny_shop import KEYS

MAPPING = """\
time_zone: Europe/Berlin
events:
  files: orders/*.csv
  fields: {event_id: id, user_id: user, item_id: item, event_type: {constant: view}, timestamp: time}
items:
  files: items.csv
  fields: {item_id: item}
"""
MONDAYS = (date(2024, 1, 1), date(2024, 1, 8), date(2024, 1, 15))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file a week, read once."""
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(memory, "SETTLED_SECONDS", 0.0)
    (tmp_path / "orders").mkdir()
    for number, monday in enumerate(MONDAYS):
        write_week(tmp_path, number, f"{number},ann,P1,{monday} 10:00")
    (tmp_path / "items.csv").write_text("item\nP1\n")
    (tmp_path / "shop.yaml").write_text(MAPPING)
    assert read_of(tmp_path, None) == {0, 1, 2}
    return tmp_path


def write_week(folder: Path, number: int, *lines: str) -> None:
    (folder / "orders" / f"{number}.csv").write_text("\n".join(["id,user,item,time", *lines]) + "\n")


def source_of(folder: Path) -> Tabular:
    return Tabular(read_mapping(folder / "shop.yaml"))


def read_of(folder: Path, monday: date | None) -> set[int]:
    """Land a week, or all, and give the numbers of the files that were read for it."""
    source = source_of(folder)
    days = (monday, date.fromordinal(monday.toordinal() + 6)) if monday else (None, None)
    land(source, *days, folder / "landing", KEYS)
    return {int(file.path.stem) for file in source.engine.made("events")}


def test_a_load_reads_the_files_of_its_days_and_no_other(shop: Path) -> None:
    assert read_of(shop, MONDAYS[1]) == {1}
    assert read_of(shop, None) == {0, 1, 2}
    source = source_of(shop)
    assert source.span() == (MONDAYS[0], MONDAYS[2])
    assert source.engine.made("events") == frozenset(), "the calendar alone needs no file"


def test_a_new_or_changed_file_is_read_whatever_its_days(shop: Path) -> None:
    write_week(shop, 3, "3,bob,P1,2024-01-22 10:00")
    assert read_of(shop, MONDAYS[1]) == {1, 3}
    before = (shop / "orders/0.csv").stat()
    text = (shop / "orders/0.csv").read_text()
    (shop / "orders/0.csv").write_text(text.replace("2024-01-01", "2024-01-09"))
    os.utime(shop / "orders/0.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (shop / "orders/0.csv").stat().st_size == before.st_size
    assert read_of(shop, MONDAYS[1]) == {0, 1}, "the same size and time of change hid another content"
    assert [partition.name for partition in partitions(source_of(shop))] == ["2024-W02", "2024-W03", "2024-W04"]


def test_another_mapping_reads_all_again(shop: Path) -> None:
    (shop / "shop.yaml").write_text(MAPPING.replace("Europe/Berlin", "America/New_York"))
    assert read_of(shop, MONDAYS[1]) == {0, 1, 2}


def test_nothing_is_remembered_where_it_is_not_wanted_or_would_be_wrong(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("SHOPLOOM_NO_CACHE", "1")
        assert read_of(shop, MONDAYS[1]) == {0, 1, 2}
    (shop / "shop.yaml").write_text(MAPPING.replace("  files: orders", "  once: true\n  files: orders"))
    for _ in range(2):
        assert read_of(shop, MONDAYS[1]) == {0, 1, 2}, "one row an id of all files: each counts"
    monkeypatch.setattr(memory, "SETTLED_SECONDS", 3600.0)
    (shop / "shop.yaml").write_text(MAPPING.replace("constant: view", "constant: cart"))
    for _ in range(2):
        assert read_of(shop, MONDAYS[1]) == {0, 1, 2}, "a file that was just written may be written again"


def test_rows_without_a_time_and_damaged_lines_are_in_every_load(shop: Path) -> None:
    write_week(shop, 0, "0,ann,P1,2024-01-01 10:00", "9,ann,P1,someday")
    write_week(shop, 2, "2,ann,P1,2024-01-15 10:00", "8,ann,P1")
    read_of(shop, None)
    assert read_of(shop, MONDAYS[1]) == {0, 1}, "rows are not kept, so their file is read; where a line lies is"
    source = source_of(shop)
    assert len(partitions(source, MONDAYS[1], date(2024, 1, 14))) == 1
    lost = source.unplaced().to_pylist()
    assert [row["unmapped"] for row in lost] == [["timestamp"], ["line"]]
    assert json.loads(lost[1]["source_row"]) == {
        "feed": "0", "file": "2.csv", "line": 3, "error": "missing columns",
    }  # fmt: skip


def test_days_that_nobody_said_would_be_asked_for_are_there_too(shop: Path) -> None:
    source = source_of(shop)
    source.span()
    for number, monday in enumerate(MONDAYS):
        (partition,) = partitions(source_of(shop), monday, date.fromordinal(monday.toordinal() + 6))
        rows = source.events(partition.starts("Europe/Berlin"), partition.ends("Europe/Berlin"))
        assert rows["event_id"].to_pylist() == [str(number)]


def test_nothing_of_a_row_is_remembered(shop: Path) -> None:
    write_week(shop, 0, "0,secret,P1,2024-01-01 10:00", "9,secret,P1,secret day", "8,secret")
    read_of(shop, None)
    kept = [path.read_text() for path in (shop / "home" / "source_files").rglob("*.json")]
    assert len(kept) == 3
    assert not any("secret" in text or "P1" in text for text in kept)


def test_a_file_that_changes_while_it_is_read_is_refused(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_week(shop, 1, "1,ann,P1,2024-01-08 11:00")
    made = Engine._refused

    def written_meanwhile(*arguments: object) -> object:
        with (shop / "orders/1.csv").open("a") as file:
            file.write("5,ann,P1,2024-01-08 12:00\n")
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_refused", written_meanwhile)
    with pytest.raises(
        DataError, match=r"orders/1.csv was changed while it was read\n  -> write it under another name"
    ):
        source_of(shop).span()


def test_a_landing_names_the_files_that_each_partition_came_from(shop: Path) -> None:
    write_week(shop, 0, "0,ann,P1,2024-01-01 10:00", "7,ann,P1,2024-01-09 10:00")
    source = source_of(shop)
    land(source, MONDAYS[1], None, shop / "landing", KEYS)
    origins = read_origins(shop / "landing")
    assert origins is not None
    assert {name: [raw.path for raw in files] for name, files in origins.files.items()} == {
        "events/2024-W02.parquet": ["orders/0.csv", "orders/1.csv"],
        "events/2024-W03.parquet": ["orders/2.csv"],
        "items/items.parquet": ["items.csv"],
        **{f"{table}/{table}.parquet": [] for table in ("users", "offers", "judgements", "unplaced")},
    }
    assert origins.files["items/items.parquet"][0] == RawFile.of(shop / "items.csv", "items.csv")
    assert origins.files["events/2024-W03.parquet"][0] == RawFile.of(shop / "orders/2.csv", "orders/2.csv")


def test_a_fetched_copy_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(MAPPING)
    kept = memory.FileMemory(tmp_path / "memory", read_mapping(tmp_path / "shop.yaml"))
    for name, content, known in (("a", "one", False), ("b", "one", True), ("c", "two", False)):
        (tmp_path / name).write_text(content)
        file = FoundFile.at(tmp_path / name, "orders.csv", "https://shop.example/orders.csv", lasting=False)
        assert (kept.get(file) is not None) == known
        kept.put(file, memory.Contents(RawFile.of(tmp_path / name, file.given), (MONDAYS[0],), 0, ()))


def test_what_a_killed_load_left_is_removed_by_the_next_and_a_living_one_keeps_its_own(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command = (
        "import sys, time; from pipelines.sources.tabular import Tabular; "
        "from pipelines.sources.tabular.reader import read_mapping; from pathlib import Path; "
        "source = Tabular(read_mapping(Path(sys.argv[1]))); source.span(); print(source.engine.scratch, flush=True); "
        "time.sleep(600)"
    )
    mapping = next(shop.glob("*.yaml"))
    with subprocess.Popen(
        [sys.executable, "-c", command, str(mapping)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=Path(__file__).parents[2],
    ) as load:  # fmt: skip
        assert load.stdout is not None
        scratch = Path(load.stdout.readline().strip())
        try:
            assert scratch.parent == tmp_path
            os.utime(scratch, (0, 0))
            Engine(read_mapping(mapping)).close()
            assert scratch.is_dir()
        finally:
            load.kill()
    os.utime(scratch, (0, 0))
    Engine(read_mapping(mapping)).close()
    assert not scratch.exists()
    assert list(tmp_path.glob("shoploom-source-*")) == []
