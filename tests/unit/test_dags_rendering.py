"""The DAG files, parsed as Airflow parses them: in a fresh process, with nothing heavy."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.orchestration.airflow import environment
from pipelines.settings import Settings

HEAVY = ("keras", "tensorflow", "dvc", "mlflow", "great_expectations", "pandas", "openvino", "sklearn", "implicit")

PROGRAM = """
import json, sys, time
import airflow.sdk
began = time.perf_counter()
import importlib
dag = importlib.import_module("dags." + sys.argv[1]).dag
seconds = time.perf_counter() - began
print(json.dumps({
    "seconds": seconds,
    "loaded": sorted(name for name in sys.modules if "." not in name),
    "edges": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "doc": dag.doc_md,
    "max_active_runs": dag.max_active_runs,
    "catchup": dag.catchup,
    "timetable": type(dag.timetable).__name__,
    "params": {name: dag.params.get_param(name).schema for name in dag.params},
}))
"""

RELOADS = """
import importlib, json, os, sys
said = {}
for folder in sys.argv[1:]:
    os.environ["SHOPLOOM_REPOSITORY"] = folder
    sys.modules.pop("dags.train", None)
    try:
        dag = importlib.import_module("dags.train").dag
        said[folder] = {"edges": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}}
    except Exception as error:
        said[folder] = {"refused": str(error)}
print(json.dumps(said))
"""

PIPELINE = """
stages:
  rank: {cmd: r, deps: [data/embed, data/train_mf], outs: [data/rank]}
  train_mf: {cmd: t, deps: [data/prepared], outs: [data/train_mf]}
  embed: {cmd: e, deps: [data/prepared/items], outs: [data/embed]}
  prepare: {cmd: p, outs: [data/prepared], desc: Clean and split.}
"""


REFUSED = {
    "key": ("stages: {a: {cmd: x, wdir: sub}}", "the key 'wdir' is not supported"),
    "name": ("stages: {gate: {cmd: x}}", "a stage cannot be named 'gate'"),
}


def python(folder: Path, program: str, *arguments: str) -> Any:
    """What ``program`` prints as JSON, run with Airflow's environment for the pipeline in ``folder``."""
    settings = Settings(repository=folder, SHOPLOOM_HOME=folder / "home")
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(settings),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def train(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = python(folder, PROGRAM, "train")
    return found


@pytest.fixture(scope="module")
def ingest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = python(folder, PROGRAM, "ingest")
    return found


@pytest.fixture(scope="module")
def monitor(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = python(folder, PROGRAM, "monitor")
    return found


@pytest.fixture(scope="module")
def approve(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = python(folder, PROGRAM, "approve")
    return found


@pytest.mark.parametrize("dag_id", ["train", "ingest", "monitor", "approve"])
def test_dag_file_loads_nothing_heavy(dag_id: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(dag_id)
    assert not set(HEAVY) & set(found["loaded"])
    print(f"dags/{dag_id}.py: {found['seconds']:.2f} s to import")


def test_train_renders_every_stage_between_start_and_finish(train: dict[str, Any]) -> None:
    assert train["edges"] == {
        "start": ["prepare"],
        "prepare": ["embed", "train_mf"],
        "embed": ["rank"],
        "train_mf": ["rank"],
        "rank": ["finish"],
        "finish": ["register"],
        "register": ["gate"],
        "gate": ["promote"],
        "promote": [],
    }
    assert (train["max_active_runs"], train["catchup"]) == (1, False)
    assert train["params"]["code"]["type"] == ["null", "string"]


def test_train_documentation_holds_the_hash_of_the_graph(folder: Path, train: dict[str, Any]) -> None:
    assert hashlib.sha256((folder / "dvc.yaml").read_bytes()).hexdigest() in train["doc"]
    assert "Clean and split." in train["doc"]


def test_monitor_measures_decides_and_tells(monitor: dict[str, Any]) -> None:
    assert monitor["edges"] == {"measure": ["decide"], "decide": ["emit"], "emit": []}
    assert (monitor["max_active_runs"], monitor["catchup"]) == (1, False)


def test_approve_asks_between_naming_a_version_and_promoting_it(approve: dict[str, Any]) -> None:
    assert approve["edges"] == {"which": ["ask"], "ask": ["promote"], "promote": []}
    assert approve["params"]["version"]["pattern"] == "^[0-9]{1,9}$"


def test_ingest_runs_on_data_intervals(ingest: dict[str, Any]) -> None:
    assert ingest["timetable"] == "CronDataIntervalTimetable"
    assert ingest["edges"] == {"land": ["validate"], "validate": ["version"], "version": ["emit"], "emit": []}
    assert ingest["params"]["from"] == {"type": ["null", "string"], "format": "date"}


def test_train_follows_dvc_yaml_and_is_refused_at_parse_time_by_name(folder: Path) -> None:
    for name, (pipeline, _) in REFUSED.items():
        (folder / name).mkdir()
        (folder / name / "dvc.yaml").write_text(pipeline, encoding="utf-8")
    (folder / "added").mkdir()
    added = PIPELINE + "  explain: {cmd: x, deps: [data/rank], outs: [data/explain]}\n"
    (folder / "added" / "dvc.yaml").write_text(added, encoding="utf-8")

    said = python(folder, RELOADS, *(str(folder / name) for name in (*REFUSED, "added")))
    for name, (_, named) in REFUSED.items():
        assert named in said[str(folder / name)]["refused"]
    assert said[str(folder / "added")]["edges"]["rank"] == ["explain"]
    assert said[str(folder / "added")]["edges"]["explain"] == ["finish"]
