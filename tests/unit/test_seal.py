"""The seal stage on events of three weeks: which of them are under the root."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.artifacts import write_json, write_table
from pipelines.errors import DataError
from pipelines.merkle import Tree
from pipelines.params import SealParams
from pipelines.stages.seal import LEAVES, LEVELS, main, seal, training_partitions
from pipelines.tables import EVENTS

ROOT = Path(__file__).parents[2]


def write_events(path: Path, week: int) -> None:
    """Four events: two that count, one of another type, one of an item that is not known."""
    kinds = [("a", "milk", "purchase"), ("b", "milk", "purchase"), ("c", "milk", "view"), ("d", "gone", "purchase")]
    moment = datetime.fromisocalendar(2017, week, 2).replace(tzinfo=UTC)
    rows = [
        {"event_id": f"{week}-{name}", "user_id": "u", "item_id": item, "event_type": kind, "timestamp": moment}
        for name, item, kind in kinds
    ]
    write_table(pa.Table.from_pylist(rows, schema=EVENTS.schema), path / f"2017-W{week:02}.parquet")


def test_seal_holds_the_events_that_are_trained_on_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPLOOM_SIDE", str(tmp_path / "side"))
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    events, items = Path("data/accepted/events"), Path("data/prepared/items.parquet")
    for week in (1, 2, 3):
        write_events(events, week)
    write_table(pa.table({"item_id": ["milk", "bread"]}), items)
    chosen = training_partitions(events, "2017-W03")
    sealed = seal(chosen, items, Path("tree"), ("purchase",), SealParams(skipped_levels=0))
    assert (sealed["count"], sealed["first_partition"], sealed["last_partition"]) == (4, "2017-W01", "2017-W02")
    with Tree(Path("tree") / LEAVES, Path("tree") / LEVELS, 0) as tree:
        trained = {f"{week}-{name}" for week in (1, 2, 3) for name in "abcd" if tree.prove(f"{week}-{name}").present}
        assert trained == {"1-a", "1-b", "2-a", "2-b"}
        assert tree.root == sealed["root"]
    rows = {"history": 2, "validation": 2, "test": 2}
    write_json({"first_test_partition": "2017-W03", "rows": rows}, Path("data/prepared/split.json"))
    main()
    assert Path("data/seal/seal.json").is_file()
    write_json({"first_test_partition": "2017-W03", "rows": {**rows, "history": 3}}, Path("data/prepared/split.json"))
    with pytest.raises(DataError, match="5 events are trained on, but 4 were sealed"):
        main()
