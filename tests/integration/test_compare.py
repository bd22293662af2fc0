"""What changed between two versions, on a real repository, store and registry, and where a side lost something."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from rich.console import Console

from pipelines.cli import main
from pipelines.errors import RegistryError
from pipelines.lineage.compare import Comparison, compare_versions
from pipelines.lineage.compare_display import draw_comparison
from pipelines.lineage.graph import model_lineage, out_md5
from pipelines.lineage.metric_changes import METRICS, PER_USER
from pipelines.runs import data_versions
from pipelines.runs.run_commits import RunCommit, finish_run, read_lock
from pipelines.runs.start import start_run
from pipelines.runs.store import remove
from pipelines.tables import EVENTS, ITEMS
from tests.lineage_shop import make_lineage_shop, register_run
from tests.toy_pipeline import Shop, write_week

EVALUATE = """\
import json, pathlib
import numpy, pyarrow, pyarrow.parquet
said = json.loads(pathlib.Path("scored.json").read_text())
where = pathlib.Path("data/evaluate")
where.mkdir(parents=True)
users = [f"u{number}" for number in range(80)]
base = numpy.random.default_rng(1).uniform(0.2, 0.6, len(users))
values = {name: base + gain for name, gain in said["gains"].items()}
document = {
    "protocol": {"test_starts": said["window"], "test_ends": said["window"] + 7},
    "champion": {"version": said["champion"]},
    "models": {name: {"kind": "model", "ndcg_at_10": float(row.mean())} for name, row in values.items()},
}
(where / "metrics.json").write_text(json.dumps(document))
columns = {
    "user_id": users * len(values),
    "model": [name for name in values for _ in users],
    "ndcg_at_10": numpy.concatenate(list(values.values())),
}
pyarrow.parquet.write_table(pyarrow.table(columns), where / "per_user.parquet")
"""
STAGE = """\
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, scored.json, data/total.txt]
    outs: [data/evaluate/per_user.parquet]
    metrics: [data/evaluate/metrics.json]
"""


@pytest.fixture
def shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = make_lineage_shop(tmp_path, mlflow_home, monkeypatch)
    code = shop.settings.repository
    write(shop, "Evaluate", {"dvc.yaml": (code / "dvc.yaml").read_text() + STAGE, "evaluate.py": EVALUATE})
    return shop


def write(shop: Shop, message: str, files: dict[str, str]) -> None:
    """A commit of changed code."""
    for name, text in files.items():
        (shop.settings.repository / name).write_text(text)
    shop.git.run("add", "--all")
    commit = shop.git.commit(shop.git.text("write-tree"), [shop.git.resolve("main")], message, 1_500_000_002)
    shop.git.run("update-ref", "refs/heads/main", commit)


def land(shop: Shop, *weeks: int, price: float = 2.0) -> None:
    """Weeks of four purchases of two items, and the catalogue."""
    for old in shop.landing.glob("*/*"):
        old.unlink()
    for week in weeks:
        write_week(shop.landing, week, 40)
        path = shop.landing / "events" / f"2017-W{week:02}.parquet"
        table = pq.read_table(path)
        given = {"price": [price * (1 + place % 5) for place in range(40)], "quantity": [1.0] * 40}
        given["item_id"] = ["milk", "tea"] * 20
        for name, values in given.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
        pq.write_table(table.cast(EVENTS.schema), path)
    columns: dict[str, Any] = {name: [None, None] for name in ITEMS.schema.names}
    columns |= {"item_id": ["milk", "tea"], "title": ["Milk", "Tea"], "category": [["Dairy"], ["Drinks"]]}
    (shop.landing / "items").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=ITEMS.schema), shop.landing / "items" / "items.parquet")
    data_versions.commit_landing(shop.settings, shop.landing, f"Land weeks {weeks}")


def version(shop: Shop, gains: dict[str, float], window: int = 1, champion: str | None = None) -> str:
    """Train, scored as told, and register."""
    scored = {"gains": gains, "window": window, "champion": champion}
    write(shop, "Score", {"scored.json": json.dumps(scored)})
    start, shop.entries = start_run(shop.settings, None), {}
    run_id = f"run-{start.commit[:8]}"
    for stage in ("sizes", "total", "evaluate"):
        assert shop.stage(start, stage, run_id)["error"] is None
    return register_run(shop, finish_run(shop.settings, start, shop.entries, run_id), run_id)


def compared(shop: Shop, before: str, after: str) -> Comparison:
    return compare_versions(shop.settings, before, after)


def drawn(found: Comparison) -> str:
    stream = io.StringIO()
    draw_comparison(found, Console(file=stream, width=200))
    return stream.getvalue()


def test_comparison_names_what_changed_of_code_data_parameters_libraries_and_metrics(shop: Shop) -> None:
    land(shop, 1, 2, 3)
    first = version(shop, {"rank": 0.0})
    land(shop, 3, 4, price=20.0)
    code = shop.settings.repository
    changed = {
        "sizes.py": (code / "sizes.py").read_text() + "# one line\n",
        "params.yaml": "factor: 3\n",
        "requirements.lock": "numpy==2.4.7 \\\n    --hash=sha256:0\nkeras==3.15 \\\n    --hash=sha256:1\n",
    }
    write(shop, "Count by three", changed)
    second = version(shop, {"rank": 0.02, "champion": 0.0}, champion=first)
    found = compared(shop, first, second)

    assert found.code is not None
    assert (found.code.commits, found.code.files["sizes.py"]) == (2, (1, 0))
    assert set(found.code.files) == {*changed, "scored.json"}
    events = next(table for table in found.data if table.table == "events")
    assert (events.added, events.changed, events.removed) == (("2017-W04",), ("2017-W03",), ())
    assert events.rows == (9, 12)
    assert events.parts["2017-W03"] == ("test", "validation")
    assert next(table for table in found.data if table.table == "items").changed == ()
    assert found.shift is not None
    assert found.shift.events == (120, 160)
    assert found.shift.whole["price_drift"] > 0.25
    assert found.shift.whole["category_drift"] == found.shift.whole["quantity_drift"] == 0
    assert set(found.shift.partitions) == {"2017-W03", "2017-W04"}
    assert found.shift.partitions["2017-W04"]["new_user_share"] == 0
    assert found.params == {"factor": (2, 3)}
    assert found.libraries == {"keras": (None, "3.15"), "numpy": ("2.4.6", "2.4.7")}
    stages = {stage.name: stage for stage in found.stages}
    assert stages["sizes"].change == "changed"
    assert set(stages["sizes"].because) == {"code", "parameters", "inputs"}
    assert found.missing == ()
    said = drawn(found)
    for told in ("another code, data, parameters, libraries", "factor  2 -> 3", "9 -> 12 rows accepted", "PSI"):
        assert told in said
    assert json.loads(json.dumps(found.to_dict()))["params"] == {"factor": [2, 3]}


def test_metrics_are_tested_on_the_same_users_and_not_where_the_windows_differ(shop: Shop) -> None:
    land(shop, 1, 2, 3)
    first = version(shop, {"rank": 0.0})
    beside = version(shop, {"rank": 0.02, "champion": 0.0}, champion=first)
    same_window = version(shop, {"rank": -0.03})
    other_window = version(shop, {"rank": 0.5}, window=8)

    (metric,) = compared(shop, first, beside).metrics
    assert metric.effect == pytest.approx(0.02)
    assert (metric.users, metric.how) == (80, f"version {first} was scored in the newer run")
    assert metric.p_value is not None
    assert metric.p_value < 0.001
    (metric,) = compared(shop, beside, same_window).metrics
    assert metric.effect == pytest.approx(-0.05)
    assert metric.how == "each in its own run"
    (metric,) = compared(shop, same_window, other_window).metrics
    assert (metric.effect, "another test window" in metric.how) == (None, True)
    assert metric.after is not None
    assert "another test window" in drawn(compared(shop, same_window, other_window))
    nothing = compared(shop, first, first)
    assert (nothing.code and nothing.code.files, nothing.params, nothing.shift) == ({}, {}, None)
    assert "nothing that is known of differs" in drawn(nothing)


def test_comparison_says_what_cannot_be_told_and_tells_the_rest(shop: Shop) -> None:
    land(shop, 1, 2, 3)
    first = version(shop, {"rank": 0.0})
    land(shop, 3, price=9.0)
    second = version(shop, {"rank": 0.02, "champion": 0.0}, champion=first)
    older = register_run(shop, None)

    found = compared(shop, older, second)
    assert (found.code, found.params, found.stages) == (None, {}, ())
    assert (found.metrics[0].before, found.metrics[0].effect) == (None, None)
    assert any("older shoploom" in gap.what for gap in found.missing)

    lock = read_lock(shop.settings, run_of(shop, second))
    for path, lost in ((PER_USER, "metrics differ by chance"), (METRICS, METRICS)):
        for place in ("cache", "remote"):
            for file in (shop.settings.home / place).rglob(out_md5(lock, path)[2:]):
                file.unlink()
        found = compared(shop, first, second)
        assert any(lost in gap.what for gap in found.missing), found.missing
        assert found.shift is not None
    assert found.metrics == ()

    remove(shop.settings.home / "profiles")
    raw = next(one for one in object_files(shop, second) if one[0] == "2017-W03.parquet")[1]
    for place in ("cache", "remote"):
        for file in (shop.settings.home / place).rglob(raw[2:]):
            file.unlink()
    found = compared(shop, first, second)
    assert any("the distribution of 2017-W03 is not known" in gap.what for gap in found.missing)
    asked = ["diff", f"model:{first}", f"model:{second}"]
    ended = CliRunner().invoke(main, asked, env={"SHOPLOOM_REPOSITORY": str(shop.settings.repository)})
    assert (ended.exit_code, "what is shown is not whole" in ended.stderr) == (1, True)
    assert f"version {first} -> version {second}" in ended.stdout
    with pytest.raises(RegistryError, match="no version '9'"):
        compared(shop, first, "9")


def run_of(shop: Shop, number: str) -> RunCommit:
    run = model_lineage(shop.settings, number).run
    assert run is not None
    return run


def object_files(shop: Shop, number: str) -> list[tuple[str, str]]:
    """Name and md5 of the event partitions of a version."""
    return [(f"{one.name}.parquet", one.md5) for one in model_lineage(shop.settings, number).partitions]
