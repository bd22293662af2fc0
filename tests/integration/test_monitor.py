"""The monitor DAG on the tiny shop: drift is measured, decided upon and logged; training follows, or does not."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.artifacts import read_table, write_table
from pipelines.orchestration.dag_runs import DagOutcome, OneProcess
from pipelines.registry.decisions import DECISION_FILE, last_decisions
from pipelines.registry.store import connect
from pipelines.runs.data_versions import commit_landing
from pipelines.settings import Settings
from pipelines.sources.landing import land
from tests.integration.test_dags_one_process import PIPELINE, STEP
from tests.tiny_shop import FIRST_DAY, TinyShop

ROOT = Path(__file__).parents[2]
PARAMS = """
seed: {value: 7}
gate: {margins: {latency: null, memory: null}}
prepare: {}
monitor: {rule: k_of_n, k: 2, n: 3}
"""


@dataclass
class Shop:
    """A repository with a tiny pipeline."""

    root: Path
    settings: Settings

    def land(self, first: int, last: int, *, drifted: bool = False) -> str:
        """Land weeks, with other users and five times the prices where they are to be drifted."""
        landing = self.settings.home / f"landing-{first}"
        land(TinyShop(), *(FIRST_DAY + timedelta(days=day) for day in (7 * (first - 1), 7 * last - 1)), landing)
        for path in (landing / "events").iterdir():
            rows = read_table(path)
            if drifted:
                users = pc.binary_join_element_wise(rows["user_id"], "new", "-")
                rows = rows.set_column(1, rows.schema.field(1), users)
                rows = rows.set_column(6, rows.schema.field(6), pc.multiply(rows["price"], 5.0))
            write_table(_with_last_day(rows), path)
        return commit_landing(self.settings, landing, f"Land {first} to {last}").commit

    def run(self, *dag_ids: str) -> list[DagOutcome]:
        runs: dict[str, dict[str, object]] = {dag_id: {} for dag_id in dag_ids}
        with OneProcess(runs, self.settings.home / "run.log", self.settings) as process:
            outcomes = process.wait()
        outcomes[0].raise_for_failure()
        return outcomes


def _with_last_day(rows: pa.Table) -> pa.Table:
    """The tiny shop rests on Sunday, and a week without its last day is not complete: two days later, then."""
    column = rows.schema.get_field_index("timestamp")
    later = pc.add(rows["timestamp"], pa.scalar(timedelta(days=1), pa.duration("us")))
    return rows.set_column(column, rows.schema.field(column), later.cast(rows.schema.field(column).type))


@pytest.fixture(scope="module")
def shop(mlflow_home: Path, airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("monitored")
    for home in (mlflow_home, airflow_home):
        shutil.copytree(home, root / ".shoploom", dirs_exist_ok=True)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    shutil.copy(ROOT / "requirements.lock", root / "requirements.lock")
    for name, text in {
        ".gitignore": ".shoploom/\n",
        "params.yaml": PARAMS,
        "dvc.yaml": PIPELINE,
        "step.py": STEP,
    }.items():
        (root / name).write_text(textwrap.dedent(text), encoding="utf-8")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "Begin"]):
        subprocess.run(
            ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *command], cwd=root, check=True
        )
    return Shop(root, Settings(repository=root, SHOPLOOM_HOME=root / ".shoploom"))


@pytest.fixture(scope="module")
def history(shop: Shop) -> list[tuple[str, list[DagOutcome]]]:
    """Three loads, each followed by a run: the first, an ordinary week and a drifted one, another drifted one."""
    ran = [(shop.land(1, 6), shop.run("monitor", "train"))]
    shop.land(7, 7)
    ran.append((shop.land(8, 8, drifted=True), shop.run("monitor", "train")))
    return [*ran, (shop.land(9, 9, drifted=True), shop.run("monitor"))]


def decisions(history: list[tuple[str, list[DagOutcome]]]) -> list[dict[str, Any]]:
    return [outcomes[0].returned["decide"] for _, outcomes in history]


def test_monitor_trains_first_then_waits_until_k_of_n_are_breached(
    history: list[tuple[str, list[DagOutcome]]],
) -> None:
    decided = decisions(history)
    assert [one["retrain"] for one in decided] == [True, False, True]
    assert [one["data_version"] for one in decided] == [commit for commit, _ in history]
    assert [len(outcomes) for _, outcomes in history] == [2, 1, 1], "train did not run where it was not asked for"
    assert decided[0]["why"] == "there is no champion yet"
    assert decided[1]["why"] == "1 of the last 2 windows are breached, 2 of 3 are needed"
    assert decided[2]["why"].startswith("2 of the last 3 windows are breached")


def test_monitor_measures_what_drifted_and_nothing_else(history: list[tuple[str, list[DagOutcome]]]) -> None:
    windows = {window["partition"]: window for window in decisions(history)[2]["windows"]}
    assert list(windows) == ["2024-W07", "2024-W08", "2024-W09"]
    assert windows["2024-W07"]["breached"] == []
    for name in ("2024-W08", "2024-W09"):
        assert set(windows[name]["breached"]) == {"price_drift", "new_user_share"}
        assert windows[name]["measures"]["new_user_share"] == 1.0


def test_monitor_decides_where_the_champion_s_quality_cannot_be_measured(
    history: list[tuple[str, list[DagOutcome]]],
) -> None:
    assert [bool(one["unmeasured"]) for one in decisions(history)] == [False, True, True]
    assert "does not say when its histories end" in decisions(history)[1]["unmeasured"]


def test_monitor_tells_the_train_dag_only_when_it_is_to_train(history: list[tuple[str, list[DagOutcome]]]) -> None:
    assert [outcomes[0].tasks["emit"] for _, outcomes in history] == ["success", "skipped", "success"]


def test_monitor_logs_each_decision_with_its_numbers_and_a_plot(
    shop: Shop, history: list[tuple[str, list[DagOutcome]]]
) -> None:
    logged = last_decisions(shop.settings, 10)
    assert [one["data_version"] for one in logged] == [commit for commit, _ in reversed(history)]
    client = connect(shop.settings)
    run = client.get_run(logged[0]["run"])
    assert run.data.metrics["new_user_share"] == 1.0
    assert run.data.tags["retrain"] == "true"
    assert {found.path for found in client.list_artifacts(run.info.run_id)} == {DECISION_FILE, "windows.png"}


def test_monitor_measures_nothing_again_where_nothing_is_new(
    shop: Shop, history: list[tuple[str, list[DagOutcome]]]
) -> None:
    params = shop.root / "params.yaml"
    params.write_text(PARAMS.replace("n: 3", "n: 3, users: 0"), encoding="utf-8")
    first = shop.run("monitor")[0].returned
    assert first["measure"]["asked"]["users"] == 0
    shutil.rmtree(shop.settings.home / "profiles")
    again = shop.run("monitor")[0].returned
    assert again["measure"] == first["measure"]
    assert again["decide"]["repeats"]
    assert not (shop.settings.home / "profiles").exists()
    params.write_text(PARAMS.replace("n: 3", "n: 4, users: 0"), encoding="utf-8")
    assert not shop.run("monitor")[0].returned["decide"]["repeats"]
    assert (shop.settings.home / "profiles").exists()
