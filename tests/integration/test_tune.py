"""``shoploom tune`` on a tiny shop: real git, DVC, SQLite and MLflow; the stage only copies what is prepared."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.errors import ConfigError, RunError
from pipelines.orchestration.tune import tune_model
from pipelines.registry.store import connect, experiment_id
from pipelines.runs.run_commits import finish_run
from pipelines.runs.start import start_run
from tests.toy_pipeline import Shop, make_shop
from tests.unit.test_recommender_stages import write_shop

GRAPH = """\
stages:
  prepare:
    cmd: python prepare.py
    deps: [prepare.py, data/raw/events]
    outs: [data/prepared]
"""
PREPARE = """\
import os, shutil
shutil.copytree(os.path.join(os.environ["FLAGS"], "data", "prepared"), "data/prepared")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_home: Path) -> Shop:
    shop = make_shop(tmp_path, monkeypatch)
    shutil.copytree(mlflow_home, shop.settings.home)
    write_shop(shop.flags)
    (shop.flags / "data/prepared/test.parquet").write_bytes(b"the test window, which nobody may read")
    code = shop.settings.repository
    (code / "dvc.yaml").write_text(GRAPH)
    (code / "prepare.py").write_text(PREPARE)
    (code / "params.yaml").write_text(
        "window:\n  min_buyers: 2\nseed:\n  value: 7\ntrain_linear:\n  regularization: 3000.0\n"
    )
    return shop


def test_tune_needs_a_run_and_a_model(shop: Shop) -> None:
    with pytest.raises(RunError, match=r"no finished run.*\n  -> shoploom run"):
        tune_model(shop.settings, "linear", trials=2)
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        tune_model(shop.settings, "linaer", trials=2)
    with pytest.raises(ConfigError, match="'text' states nothing to tune"):
        tune_model(shop.settings, "text", trials=2)


def test_tune_books_every_trial_and_writes_the_winner_as_a_patch(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land(1)
    start = start_run(shop.settings, None)
    assert shop.stage(start, "prepare", "one")["error"] is None
    run = finish_run(shop.settings, start, shop.entries, "one")
    params = shop.settings.repository / "params.yaml"
    before = params.read_bytes()
    monkeypatch.chdir(shop.settings.repository)
    result = CliRunner().invoke(main, ["tune", "linear", "--trials", "8", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.output)
    assert outcome["best"] > outcome["before"]
    assert sum(outcome["trials"].values()) == 8
    assert params.read_bytes() == before
    assert not (shop.settings.home / "tune/linear/data/prepared/test.parquet").exists()

    client = connect(shop.settings)
    parent = client.get_run(outcome["mlflow_run"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["run_commit"] == run.commit
    children = client.search_runs(
        [experiment_id(shop.settings)], f"tags.mlflow.parentRunId = '{outcome['mlflow_run']}'"
    )
    assert sorted(child.info.run_name for child in children) == [f"trial {number}" for number in range(8)]
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}
    pruned = [child for child in children if child.data.tags["pruned"] == "true"]
    assert len(pruned) == outcome["trials"]["pruned"]
    finished = next(child for child in children if child.info.status == "FINISHED")
    assert [point.step for point in client.get_metric_history(finished.info.run_id, "ndcg_at_10")] == [25, 100]
    assert set(finished.data.params) == {"regularization", "power"}

    subprocess.run(["git", "apply", outcome["patch"]], cwd=shop.settings.repository, check=True)
    assert f"regularization: {outcome['parameters']['regularization']}" in params.read_text()

    again = CliRunner().invoke(main, ["tune", "linear", "--trials", "9"], catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert "on the validation window" in again.output
