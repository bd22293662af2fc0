"""The books on a real MLflow store: SQLite in a temporary folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DataError, RegistryError
from pipelines.registry import books
from pipelines.registry.gate_verdict import VERDICT_FILE
from pipelines.registry.records import records
from pipelines.registry.store import CHAMPION, MODEL, connect, experiment_id
from pipelines.registry.versions import booked_stages, registered_versions, verdict_of
from pipelines.settings import Settings

DVC_DIRECTORY_HASH = "0123456789abcdef0123456789abcdef.dir"


@pytest.fixture(scope="module")
def settings(mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(SHOPLOOM_HOME=shutil.copytree(mlflow_home, tmp_path_factory.mktemp("books") / "home"))


@pytest.fixture(scope="module")
def worktree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("worktree")
    (tree / "data" / "fit" / "plots").mkdir(parents=True)
    (tree / "dvc.yaml").write_text(
        "stages:\n  fit:\n    cmd: python fit.py\n    metrics: [data/fit/metrics.json: {cache: false}]\n"
        "    plots: [data/fit/loss.png]\n"
    )
    (tree / "data/fit/metrics.json").write_text(json.dumps({"loss": 0.5, "by": {"week": [1, 2]}, "name": "x"}))
    (tree / "data/fit/loss.png").write_bytes(b"\x89PNG\r\n")
    return tree


def result(cached: bool, out: str = "a" * 32) -> dict[str, Any]:
    return {
        "stage": "fit",
        "cached": cached,
        "seconds": 2.5,
        "error": None,
        "lock_entry": {
            "cmd": "python fit.py",
            "deps": [
                {"path": "data/prepared", "hash": "md5", "md5": DVC_DIRECTORY_HASH, "size": 10, "nfiles": 2},
                {"path": "pipelines/stages/fit.py", "hash": "md5", "md5": "b" * 32, "size": 3},
            ],
            "params": {"params.yaml": {"fit": {"factors": 64, "loss": "bpr"}, "seed.value": 7}},
            "outs": [{"path": "data/fit/model", "hash": "md5", "md5": out, "size": 3}],
        },
    }


def test_open_run_finds_the_run_of_an_earlier_attempt(settings: Settings) -> None:
    start = books.RunStart("manual__2017-12-03T00:00:00+00:00", "c" * 40, data_commit="d" * 40, dirty=True)
    first = books.open_run(settings, start)
    books.close_run(settings, first, "FAILED")
    assert books.open_run(settings, start) == first
    run = connect(settings).get_run(first)
    assert run.info.status == "RUNNING"
    assert run.data.tags["data_version"] == "d" * 40
    assert run.data.tags["dirty"] == "true"


def test_book_stage_logs_params_metrics_plots_lock_and_inputs(settings: Settings, worktree: Path) -> None:
    parent = books.open_run(settings, books.RunStart("one", "c" * 40))
    run_id = books.book_stage(settings, parent, "fit", result(cached=False, out="1" * 32), worktree)
    client = connect(settings)
    run = client.get_run(run_id)
    assert run.data.params == {"fit.factors": "64", "fit.loss": "bpr", "seed.value": "7"}
    assert run.data.metrics == {"loss": 0.5, "by/week/0": 1.0, "by/week/1": 2.0}
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.info.end_time - run.info.start_time == 2500
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("data/prepared", DVC_DIRECTORY_HASH)
    assert [file.path for file in client.list_artifacts(run_id, "plots")] == ["plots/loss.png"]
    lock = json.loads(Path(client.download_artifacts(run_id, "lock.json")).read_text())
    assert lock == {"stage": "fit", **result(cached=False, out="1" * 32)["lock_entry"]}


def test_book_stage_logs_the_curves_of_a_training_that_ran_and_not_of_one_that_was_cached(
    settings: Settings, worktree: Path
) -> None:
    side = settings.home / "side" / "fit"
    for folder, losses in (("validation", (0.9, 0.5)), ("final", (0.8, 0.4))):
        (side / folder).mkdir(parents=True)
        lines = [json.dumps({"epoch": float(epoch), "loss": loss}) for epoch, loss in enumerate(losses, start=1)]
        (side / folder / "curves.jsonl").write_text("\n".join(lines) + "\n")
    try:
        parent = books.open_run(settings, books.RunStart("curves", "c" * 40))
        ran = books.book_stage(settings, parent, "fit", result(cached=False, out="5" * 32), worktree)
        cached = books.book_stage(settings, parent, "fit", result(cached=True, out="6" * 32), worktree)
    finally:
        shutil.rmtree(side)
    client = connect(settings)
    history = client.get_metric_history(ran, "validation/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.9), (2, 0.5)]
    assert client.get_run(ran).data.metrics["final/loss"] == 0.4
    assert "plots/curves.png" in [file.path for file in client.list_artifacts(ran, "plots")]
    assert "validation/loss" not in client.get_run(cached).data.metrics


def test_book_stage_points_a_cached_stage_at_the_run_that_made_it(settings: Settings, worktree: Path) -> None:
    first = books.open_run(settings, books.RunStart("made", "c" * 40))
    second = books.open_run(settings, books.RunStart("reused", "c" * 40))
    made = books.book_stage(settings, first, "fit", result(cached=False, out="2" * 32), worktree)
    reused = books.book_stage(settings, second, "fit", result(cached=True, out="2" * 32), worktree)
    other = books.book_stage(settings, second, "fit", result(cached=True, out="3" * 32), worktree)
    tags = connect(settings).get_run(reused).data.tags
    assert (tags["cached"], tags["made_by"]) == ("true", made)
    assert connect(settings).get_run(other).data.tags["made_by"] == "unknown"


def test_book_stage_returns_the_same_run_when_booked_again(settings: Settings, worktree: Path) -> None:
    parent = books.open_run(settings, books.RunStart("again", "c" * 40))
    first = books.book_stage(settings, parent, "fit", result(cached=False), worktree)
    assert books.book_stage(settings, parent, "fit", result(cached=True), worktree) == first
    assert set(books.stage_runs(settings, parent)) == {"fit"}


def test_book_stage_keeps_the_error_of_a_failed_stage(settings: Settings, tmp_path: Path) -> None:
    parent = books.open_run(settings, books.RunStart("failed", "c" * 40))
    failed = {"stage": "fit", "seconds": 1.0, "cached": False, "error": "events: column 'price' is missing"}
    run = connect(settings).get_run(books.book_stage(settings, parent, "fit", failed, tmp_path))
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "events: column 'price' is missing"
    assert books.stage_runs(settings, parent) == {}


def test_book_stage_closes_the_run_of_a_stage_whose_metrics_are_damaged(settings: Settings, tmp_path: Path) -> None:
    parent = books.open_run(settings, books.RunStart("damaged", "c" * 40))
    (tmp_path / "dvc.yaml").write_text("stages:\n  fit:\n    cmd: x\n    metrics: [metrics.json]\n")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is not .*JSON"):
        books.book_stage(settings, parent, "fit", result(cached=False, out="4" * 32), tmp_path)
    children = connect(settings).search_runs(
        [experiment_id(settings)], f"tags.mlflow.parentRunId = '{parent}'", max_results=10
    )
    assert [child.info.status for child in children] == ["FAILED"]
    (tmp_path / "metrics.json").write_text("{}")
    again = books.book_stage(settings, parent, "fit", result(cached=False, out="4" * 32), tmp_path)
    assert books.stage_runs(settings, parent)["fit"].info.run_id == again


def test_connect_names_the_address_without_the_password_when_nothing_answers(tmp_path: Path) -> None:
    settings = Settings(SHOPLOOM_HOME=tmp_path, database_url="postgresql://shop:hidden@127.0.0.1:1/shoploom")
    with pytest.raises(RegistryError) as caught:
        connect(settings)
    assert "hidden" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


def test_experiment_keeps_artifacts_in_the_state_folder(settings: Settings) -> None:
    experiment = connect(settings).get_experiment(experiment_id(settings))
    assert experiment.artifact_location == (settings.home / "mlflow" / "artifacts").as_uri()


def test_records_tell_by_sql_what_mlflow_tells_by_its_client(
    settings: Settings, worktree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agree_on_records(settings, worktree, monkeypatch)


def agree_on_records(settings: Settings, worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, their stages and verdicts, read by SQL and by MLflow's client, on a database of the pinned MLflow."""
    client = connect(settings)
    client.create_registered_model(MODEL)
    parents = [books.open_run(settings, books.RunStart(f"run-{number}", "c" * 40)) for number in range(3)]
    for number, parent in enumerate(parents):
        books.book_stage(settings, parent, "fit", result(cached=False, out="e" * 32), worktree)
        books.book_stage(settings, parent, "fit", result(cached=True, out="e" * 32), worktree)
        tags = {"package_digest": "a" * 64, "run_commit": str(number) * 40, "gate.decision": "promote"}
        client.create_model_version(MODEL, source=settings.artifacts, run_id=parent, tags=tags)
    client.log_dict(parents[0], {"decision": "promote"}, VERDICT_FILE)
    client.delete_model_version(MODEL, "2")
    for alias, number in {CHAMPION: "3", "previous": "1", "held": "1"}.items():
        client.set_registered_model_alias(MODEL, alias, number)

    def told() -> list[Any]:
        found = registered_versions(settings)
        return [(one, verdict_of(settings, one), booked_stages(settings, one)) for one in found]

    with records(settings) as known:
        assert known is not None, "the schema of MLflow changed: read its tables again"
    by_sql = told()
    monkeypatch.setattr("pipelines.registry.records.SCHEMA", "another")
    assert told() == by_sql
    assert [(one.version, one.aliases, verdict) for one, verdict, _ in by_sql] == [
        ("1", ("held", "previous"), {"decision": "promote"}), ("3", ("champion",), None),
    ]  # fmt: skip
    assert {stage: (one.seconds, one.cached) for stage, one in by_sql[0][2].items()} == {"fit": (2.5, False)}
