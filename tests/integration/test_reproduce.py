"""A model made again on a toy pipeline: the same bytes, other bytes, a stage that fails, data that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import RunError
from pipelines.lineage.differences import difference
from pipelines.lineage.reproduce import Reproduction, reproduce, summary
from pipelines.runs.start import STARTS
from pipelines.runs.store import remove
from tests.lineage_shop import make_lineage_shop, register_run, train
from tests.toy_pipeline import Shop


@pytest.fixture
def shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return make_lineage_shop(tmp_path, mlflow_home, monkeypatch)


def again(shop: Shop, version: str) -> tuple[Reproduction, list[str]]:
    said: list[str] = []
    return reproduce(shop.settings, version, said.append), said


def test_reproduce_says_bit_identical_or_which_stage_differs_first_and_leaves_nothing(shop: Shop) -> None:
    shop.land(1, 2, 3)
    run = train(shop, "r1")
    version = register_run(shop, run, "r1")
    for name, commit in shop.git.refs(STARTS).items():
        shop.git.delete_ref(name, commit)
    before = {path: path.stat().st_mtime_ns for path in (shop.settings.home / "cache").rglob("*") if path.is_file()}

    found, said = again(shop, version)
    assert found.identical, found
    assert "bit-identical: 7 outputs of 2 stages" in summary(found)
    assert [line.split(":")[0] for line in said] == ["environment", "sizes", "total"]
    assert found.machine["cores"]

    (shop.flags / "salt").write_text("7")
    found, _ = again(shop, version)
    assert found.first_difference is not None
    assert (found.first_difference.name, found.stages[1].same, found.stages[1].inherited) == ("sizes", False, True)
    assert "differs first in stage sizes: data/sizes: salt.txt: 1 of 1 bytes" in summary(found)

    (shop.flags / "fail").touch()
    found, _ = again(shop, version)
    assert "could not be made again: stage sizes: events/2017-W01: no purchases" in summary(found)
    assert not found.identical
    after = {path: path.stat().st_mtime_ns for path in (shop.settings.home / "cache").rglob("*") if path.is_file()}
    assert after == before
    assert list((shop.settings.home / "reproduce").iterdir()) == []


def test_reproduce_names_what_is_gone_and_how_to_mend_it(shop: Shop) -> None:
    shop.land(1, 2, 3)
    version = register_run(shop, train(shop, "r1"), "r1")
    with pytest.raises(RunError, match="older shoploom"):
        again(shop, register_run(shop, None))
    (shop.settings.repository / "requirements.lock").write_text("numpy==1.0.0\n")
    shop.git.run("add", "--all")
    commit = shop.git.commit(shop.git.text("write-tree"), [shop.git.resolve("main")], "Pin another", 1_500_000_002)
    shop.git.run("update-ref", "refs/heads/main", commit)
    other = register_run(shop, train(shop, "r2"), "r2")
    with pytest.raises(RunError, match=r"numpy 1\.0\.0 \(here .*no infra/setup\.sh"):
        again(shop, other)
    for place in ("cache", "remote"):
        remove(shop.settings.home / place)
    with pytest.raises(
        RunError, match=r"data/champion.*cannot be brought back|data/raw/events.*cannot be brought back"
    ):
        again(shop, version)


def test_difference_says_by_how_much(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    from pipelines.artifacts import write_arrays, write_json, write_table

    old, new = tmp_path / "old", tmp_path / "new"
    write_json({"a": 1.0, "b": {"c": 2.0}}, old)
    write_json({"a": 1.0, "b": {"c": 2.5}}, new)
    assert difference(old, new, "metrics.json") == "1 of 2 values, b/c most, by 0.5"
    write_table(pa.table({"x": [1.0, 2.0], "y": ["a", "b"]}), old)
    write_table(pa.table({"x": [1.0, 2.25], "y": ["a", "b"]}), new)
    assert difference(old, new, "t.parquet") == "x in 1 of 2 rows, by 0.25 at most"
    write_table(pa.table({"x": [1.0], "y": ["a"]}), new)
    assert difference(old, new, "t.parquet") == "1 rows, where there were 2"
    write_arrays({"w": np.zeros(4, np.float32)}, old)
    write_arrays({"w": np.array([0, 0, 0, 2], np.float32)}, new)
    assert difference(old, new, "m.safetensors") == "w in 25.00% of its values, by 2 at most"
    assert difference(old, new, "m.json").endswith("bytes")
