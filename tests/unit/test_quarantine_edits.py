"""Lists of quarantined rows that a person corrects, and stopped loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.artifacts import read_table, write_table
from pipelines.errors import DataError
from pipelines.orchestration.quarantine_edits import apply_edits, read_edits, to_edit
from pipelines.runs import gc
from pipelines.runs.load_docs import keep_docs, note_refused, refused_loads
from pipelines.settings import Settings
from tests.repositories import new_repository


def kept(twin: int = 0, **values: str) -> str:
    return json.dumps({"feed": "0", "row": values} | ({"twin": twin} if twin else {}))


ROWS = [
    ("ann", kept(qty="many", sku="P1")),
    ("bob", kept(qty="2", sku="P1")),
    ("ann", kept(qty="few", sku="P2")),
    ("bob", kept(2, qty="few", sku="P2")),
    ("ann", kept(qty="many", sku="P1")),
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    users, rows = zip(*ROWS, strict=True)
    table = pa.table({"user_id": list(users), "source_row": list(rows)})
    write_table(table, tmp_path / "raw/events/2024-W01.parquet")
    return tmp_path / "raw"


def listed(*places: int) -> list[dict[str, Any]]:
    about = {"table": "events", "partition": "2024-W01", "reasons": ["row_is_mapped"]}
    return to_edit({**about, "user_id": ROWS[place][0], "source_row": ROWS[place][1]} for place in places)


def applied(raw: Path, lines: list[dict[str, Any]]) -> int:
    path = raw.parent / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return apply_edits(path, read_edits(path), raw)


def test_edited_values_come_into_their_rows_and_no_other(raw: Path) -> None:
    first, again = listed(0, 4)
    assert first["values"] == {"qty": "many", "sku": "P1"}
    assert first["row"] == again["row"]
    first["values"]["qty"] = "3"
    again["values"] = {"sku": "P7"}
    assert applied(raw, [first, again]) == 2
    rows = read_table(raw / "events/2024-W01.parquet")["source_row"].to_pylist()
    assert [json.loads(row)["row"] for row in rows] == [
        {"qty": "3", "sku": "P1"}, {"qty": "2", "sku": "P1"}, {"qty": "few", "sku": "P2"}, {"qty": "few", "sku": "P2"},
        {"qty": "many", "sku": "P7"},
    ]  # fmt: skip


def test_a_list_that_nobody_changed_changes_nothing(raw: Path) -> None:
    before = (raw / "events/2024-W01.parquet").read_bytes()
    assert applied(raw, listed(0, 2, 3)) == 0
    assert (raw / "events/2024-W01.parquet").read_bytes() == before


def test_lines_that_are_no_rows_are_not_listed() -> None:
    line = json.dumps({"feed": "0", "file": "orders.csv", "line": 7, "error": "cast"})
    row = {"table": "unplaced", "partition": "", "user_id": None, "source_row": line, "reasons": ["event_has_a_time"]}
    assert to_edit([row, {**row, "source_row": None}]) == []


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        (
            0,
            lambda line: line["values"].update(qyt="1"),
            "rows.jsonl:1: the row has no column 'qyt'; did you mean 'qty'",
        ),
        (0, lambda line: line["values"].update(qty=2), "rows.jsonl:1: qty is 2\n  -> write texts"),
        (
            0,
            lambda line: line.update(row="0" * 16),
            "rows.jsonl:1: this row is not in events/2024-W01.parquet any more",
        ),
        (0, lambda line: line.update(partition="2031-W01"), "there is no events/2031-W01.parquet"),
        (0, lambda line: line.update(partition="../../x"), "is no partition"),
        (0, lambda line: line.update(table="../x"), "there is no table '../x'"),
        (0, lambda line: line.pop("values"), "rows.jsonl:1 is no line of that list: 'values'"),
        (0, lambda line: line["values"].update(qty="2"), "is alike another user's, before or after"),
        (2, lambda line: line["values"].update(qty="2"), "is alike another user's, before or after"),
    ],
)
def test_a_list_that_does_not_fit_is_one_error_with_its_line_and_writes_nothing(
    raw: Path, place: int, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    before = (raw / "events/2024-W01.parquet").read_bytes()
    (line,) = listed(place)
    change(line)
    with pytest.raises(DataError, match=said):
        applied(raw, [line])
    assert (raw / "events/2024-W01.parquet").read_bytes() == before


def test_stopped_loads_are_told_until_they_land_or_their_docs_are_collected(tmp_path: Path) -> None:
    new_repository(tmp_path / "shop", configured=True)
    settings = Settings(repository=tmp_path / "shop", SHOPLOOM_HOME=tmp_path / "home")
    for run in ("run-1", "run-2"):
        note_refused(settings, run, "corner", ["2024-W17"], "events: too few rows\n  -> look")
    assert {(one["run"], one["why"]) for one in refused_loads(settings)} == {
        ("run-1", "events: too few rows"), ("run-2", "events: too few rows"),
    }  # fmt: skip
    assert not (keep_docs(settings, "run-2", "c" * 40) / "refused.json").exists()
    (stopped,) = refused_loads(settings)
    folder = Path(stopped["docs"])
    assert folder in gc.plan(settings, 1, refused_seconds=0).folders
    assert folder not in gc.plan(settings, 1).folders
    gc.collect(settings, gc.plan(settings, 1, refused_seconds=0))
    assert refused_loads(settings) == []
