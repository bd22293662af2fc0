"""The train DAG on a tiny pipeline: Airflow, DVC, git and MLflow are all real, the stages are a few lines each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import StageError
from pipelines.lineage.audit import read
from pipelines.lineage.audit_check import check
from pipelines.lineage.promotions import standing_of
from pipelines.orchestration.dag_runs import DagOutcome, OneProcess, run_dag_in_one_process
from pipelines.registry.store import connect
from pipelines.registry.summary import latest_summary
from pipelines.runs.data_versions import commit_landing
from pipelines.settings import Settings
from tests.processes import gone

ROOT = Path(__file__).parents[2]

PIPELINE = """
stages:
  double:
    cmd: python step.py double
    deps: [step.py, data/raw/events]
    params: [seed]
    outs: [data/double.txt]
  package:
    cmd: python step.py package
    deps: [step.py, data/double.txt]
    outs: [data/package]
  evaluate:
    cmd: python step.py evaluate
    deps: [step.py, data/package, data/champion/champion.json]
    outs: [data/evaluate]
    metrics: [data/metrics.json]
"""

STEP = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

def double():
    files = sorted(Path("data/raw/events").glob("*.parquet"))
    Path("data/double.txt").write_text(str(2 * sum(pq.ParquetFile(file).metadata.num_rows for file in files)))

def package():
    from pipelines.models.base import Histories
    from pipelines.models.catalogue import ITEM_COLUMNS, Catalogue
    items = pa.table({name: ["a", "b"] for name in ITEM_COLUMNS})
    bought = Histories.from_events(
        *(np.array(column) for column in ([0, 1], [0, 1], [1.0, 2.0], [1.0, 1.0])), num_users=2, num_items=2, as_of=3.0
    )
    Path("data/package/catalogue").mkdir(parents=True)
    Catalogue(items, ("u0", "u1"), bought).save(Path("data/package/catalogue"))
    manifest = {"double": int(Path("data/double.txt").read_text())}
    Path("data/package/manifest.json").write_text(json.dumps(manifest))

def evaluate():
    folder = Path("data/evaluate")
    folder.mkdir(parents=True)
    rows = [
        {"user_id": f"u{user}", "model": model, "ndcg_at_10": score + user / 1000}
        for model, score in (("rank", 0.5), ("popularity", 0.2)) for user in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "per_user.parquet")
    models = {"rank": {"kind": "model", "ndcg_at_10": 0.5195}, "popularity": {"kind": "baseline", "ndcg_at_10": 0.2195}}
    champion = json.loads(Path("data/champion/champion.json").read_text())
    for path in (folder / "metrics.json", Path("data/metrics.json")):
        path.write_text(json.dumps({"users": 40, "models": models, "champion": champion}))
    (folder / "report.html").write_text("<html><body>report</body></html>")

{"double": double, "package": package, "evaluate": evaluate}[sys.argv[1]]()
"""

FAILING = """
import sys
sys.exit("the shelf is empty")
"""

FAILING_WITHOUT_BOOKS = """
import sys
from pathlib import Path
Path(sys.argv[0]).resolve().parents[2].joinpath("mlflow", "mlflow.db").write_text("no books")
sys.exit("the shelf fell over")
"""

SLEEPING = """
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[0]).resolve().parents[2].joinpath("sleeper").write_text(str(child.pid))
child.wait()
"""

KILLING = """
import os, signal, psutil
task = psutil.Process().parent().parent()
assert "pipelines.orchestration.one_process" in task.cmdline(), task.cmdline()
os.kill(task.pid, signal.SIGKILL)
"""

MEETING = """
import sys, time
from pathlib import Path
mine, other = sys.argv[1:]
home = Path(sys.argv[0]).resolve().parents[2]
home.joinpath(mine).touch()
deadline = time.monotonic() + 60
while not home.joinpath(other).exists():
    assert time.monotonic() < deadline, f"{other} did not run while {mine} ran"
    time.sleep(0.05)
Path(f"data/{mine}.txt").write_text(mine)
"""

MEETINGS = """
  left:
    cmd: python meet.py left right
    deps: [meet.py]
    outs: [data/left.txt]
  right:
    cmd: python meet.py right left
    deps: [meet.py]
    outs: [data/right.txt]
"""

TASKS = ["start", "double", "package", "evaluate", "finish", "register", "gate", "promote"]


@dataclass
class Shop:
    """A repository with a tiny pipeline and one data version."""

    root: Path
    settings: Settings

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout

    def commit(self, path: str, text: str) -> None:
        (self.root / path).write_text(text, encoding="utf-8")
        self.git("add", path)
        self.git("commit", "--allow-empty", "-qm", f"Change {path}")

    def train(self, **conf: str) -> DagOutcome:
        home = self.settings.home
        return run_dag_in_one_process("train", conf, home / "train.log", self.settings, progress=home / "progress")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.settings.home / "progress").read_text().splitlines()]


@pytest.fixture(scope="module")
def shop(mlflow_home: Path, airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    for home in (mlflow_home, airflow_home):
        shutil.copytree(home, root / ".shoploom", dirs_exist_ok=True)
    notifier = f"{shutil.which('tee')} {root / '.shoploom' / 'notified'}"
    shop = Shop(root, Settings(repository=root, SHOPLOOM_HOME=root / ".shoploom", notify_command=notifier))
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    shutil.copy(ROOT / "requirements.lock", root / "requirements.lock")
    (root / ".gitignore").write_text(".shoploom/\n", encoding="utf-8")
    (root / "params.yaml").write_text(
        "seed: {value: 7}\ngate: {margins: {latency: null, memory: null}}\n", encoding="utf-8"
    )
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (root / "step.py").write_text(textwrap.dedent(STEP), encoding="utf-8")
    shop.git("init", "-q", "-b", "main")
    shop.git("add", ".")
    shop.git("commit", "-qm", "Begin")
    landing = shop.settings.home / "landing"
    (landing / "events").mkdir(parents=True)
    (landing / "items").mkdir()
    times = pa.array([1_500_000_000_000_000] * 3, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"event_id": ["1", "2", "3"], "timestamp": times}), landing / "events" / "2017-W28.parquet")
    pq.write_table(pa.table({"item_id": ["1", "2"]}), landing / "items" / "items.parquet")
    commit_landing(shop.settings, landing, "Land 2017-W28")
    return shop


@pytest.fixture(scope="module", autouse=True)
def notifier(shop: Shop) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOPLOOM_NOTIFY_COMMAND", str(shop.settings.notify_command))
        yield


@pytest.fixture(scope="module")
def first(shop: Shop) -> DagOutcome:
    """The first training, told of to a file as OpenLineage."""
    told = {"type": "file", "log_file_path": str(shop.settings.home / "openlineage.jsonl"), "append": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(told))
        return shop.train().raise_for_failure()


def test_train_runs_every_task_and_promotes(shop: Shop, first: DagOutcome) -> None:
    assert first.tasks == dict.fromkeys(sorted(TASKS), "success")
    assert [first.returned[stage]["cached"] for stage in ("double", "package", "evaluate")] == [False] * 3
    assert first.returned["gate"]["decision"] == "promote"
    assert first.returned["promote"] == {"champion": "1", "previous": None, "moved": True}
    assert shop.git("status", "--porcelain") == ""
    commit = first.returned["finish"]["commit"]
    assert commit in shop.git("for-each-ref", "refs/shoploom/runs/")
    start = first.returned["start"]["start"]
    assert shop.git("rev-parse", f"{commit}^1", f"{commit}^2").split() == [start["code_commit"], start["data_commit"]]


def test_train_tells_what_each_stage_read_and_wrote_as_openlineage(shop: Shop, first: DagOutcome) -> None:
    lines = (shop.settings.home / "openlineage.jsonl").read_text(encoding="utf-8").splitlines()
    ended = {event["job"]["name"]: event for event in map(json.loads, lines) if event["eventType"] == "COMPLETE"}
    for stage in ("double", "package", "evaluate"):
        entry, event = first.returned[stage]["lock_entry"], ended[f"train.{stage}"]
        told = [
            {one["name"]: one["facets"]["version"]["datasetVersion"] for one in event[part]}
            for part in ("inputs", "outputs")
        ]
        read = {dep["path"]: dep["md5"] for dep in entry["deps"] if dep["path"].startswith("data/")}
        assert told == [read, {out["path"]: out["md5"] for out in entry["outs"]}]
        assert {one["namespace"] for one in event["outputs"]} == {f"file://{shop.settings.remote}"}


def test_train_keeps_the_version_s_model_card_in_mlflow(shop: Shop, first: DagOutcome, tmp_path: Path) -> None:
    run = first.returned["start"]["mlflow_run"]
    for name in ("model_card.md", "model_card.html"):
        text = Path(connect(shop.settings).download_artifacts(run, name, str(tmp_path))).read_text(encoding="utf-8")
        assert "Model card: version 1" in text
        assert first.returned["finish"]["commit"] in text
        assert "champion" in text


def test_train_is_recorded_in_the_audit_log_and_anchored(shop: Shop, first: DagOutcome) -> None:
    entries = [entry for entry in read(shop.settings) if entry.run == first.run_id]
    assert [entry.action for entry in entries] == ["train", "gate", "promote"]
    assert entries[0].subject == f"run {first.returned['finish']['commit']}"
    assert (entries[1].subject, entries[1].details["decision"]) == ("version 1", "promote")
    report = check(shop.settings)
    assert report.findings == ()
    assert report.anchored["git"] == report.entries
    assert report.anchored["mlflow"] >= 2


def test_train_reports_each_task_as_it_starts_and_ends(shop: Shop, first: DagOutcome) -> None:
    told = [(event["stage"], event["state"]) for event in shop.events() if event["event"] == "task"][: 2 * len(TASKS)]
    assert told == [(task, state) for task in TASKS for state in ("running", "success")]


def test_train_runs_no_stage_when_nothing_is_new(shop: Shop, first: DagOutcome) -> None:
    again = shop.train().raise_for_failure()
    assert [again.returned[stage]["cached"] for stage in ("double", "package", "evaluate")] == [True] * 3
    assert again.returned["register"]["created"] is False
    assert again.returned["promote"]["champion"] == "1"
    assert again.returned["promote"]["moved"] is False
    assert {event["note"] for event in shop.events() if event["stage"] == "double" and event["event"] == "task"} >= {
        "cached"
    }


def test_train_with_other_models_starts_from_a_marked_snapshot_and_leaves_params_yaml_alone(
    shop: Shop, first: DagOutcome
) -> None:
    before = (shop.root / "params.yaml").read_bytes()
    chosen = shop.train(models="linear,repeat").raise_for_failure()
    start = chosen.returned["start"]["start"]
    assert start["dirty"] is True
    assert chosen.returned["double"]["cached"] is True
    assert "linear: true" in shop.git("show", f"{chosen.returned['finish']['commit']}:params.yaml")
    assert (shop.root / "params.yaml").read_bytes() == before
    assert shop.git("status", "--porcelain") == ""


def test_train_ends_and_says_how_to_go_on_when_a_person_has_to_approve(shop: Shop, first: DagOutcome) -> None:
    shop.commit("step.py", STEP.replace('manifest = {"double"', 'manifest = {"again"'))
    shop.commit(
        "params.yaml",
        "seed: {value: 7}\ngate: {margins: {latency: null, memory: null}}\npromotion: {approval: required}\n",
    )
    waiting = shop.train().raise_for_failure()
    assert waiting.returned["promote"] == {"champion": "1", "previous": None, "moved": False}
    summary = latest_summary(shop.settings)
    assert summary is not None
    assert summary["promotion"].startswith("awaiting approval: shoploom approve 2 --key FILE, then shoploom promote 2")
    assert standing_of(shop.settings, "2").awaits_approval


def test_train_fails_with_the_stage_s_own_words(shop: Shop, first: DagOutcome) -> None:
    shop.commit("step.py", FAILING)
    failed = shop.train()
    assert (failed.state, failed.failed_task) == ("failed", "double")
    assert "the shelf is empty" in failed.error
    assert failed.tasks["package"] == "upstream_failed"
    with pytest.raises(StageError, match="the shelf is empty"):
        failed.raise_for_failure()
    told = json.loads((shop.settings.home / "notified").read_text(encoding="utf-8"))
    assert (told["dag"], told["task"]) == ("train", "double")
    assert "the shelf is empty" in told["error"]


def test_train_fails_with_the_stage_s_own_words_when_the_books_are_lost_too(shop: Shop, first: DagOutcome) -> None:
    books = shop.settings.home / "mlflow" / "mlflow.db"
    before = books.read_bytes()
    shop.commit("step.py", FAILING_WITHOUT_BOOKS)
    try:
        failed = shop.train()
        assert books.read_bytes() != before
    finally:
        books.write_bytes(before)
    assert (failed.state, failed.failed_task) == ("failed", "double")
    assert "the shelf fell over" in failed.error


def open_books(shop: Shop) -> list[Any]:
    """MLflow's runs that nobody closed."""
    client = connect(shop.settings)
    everything = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(everything, "attributes.status = 'RUNNING'"))


def test_train_fails_when_the_process_of_a_task_is_killed(shop: Shop, first: DagOutcome) -> None:
    shop.commit("step.py", KILLING)
    outcome = shop.train()
    assert (outcome.state, outcome.failed_task) == ("failed", "double")
    assert outcome.error == "its process ended with status -9 and said nothing"
    assert outcome.tasks["double"] == "failed"
    assert outcome.tasks["promote"] == "upstream_failed"
    told = json.loads((shop.settings.home / "notified").read_text(encoding="utf-8"))
    assert (told["task"], told["error"]) == ("double", outcome.error)
    assert not open_books(shop)


def test_train_runs_stages_at_once_that_are_ready(shop: Shop, first: DagOutcome) -> None:
    shop.commit("meet.py", textwrap.dedent(MEETING))
    shop.commit("step.py", textwrap.dedent(STEP))
    shop.commit("dvc.yaml", PIPELINE + MEETINGS)
    outcome = shop.train().raise_for_failure()
    assert (outcome.tasks["left"], outcome.tasks["right"]) == ("success", "success")
    shop.commit("dvc.yaml", PIPELINE)


def sleeper_of(shop: Shop, process: OneProcess) -> int:
    """The process that a stage started and waits for, once it has."""
    note = shop.settings.home / "sleeper"
    deadline = time.monotonic() + 120
    while not (note.exists() and note.read_text()) and process.running(0.2):
        assert time.monotonic() < deadline, "the stage did not start"
    sleeper = int(note.read_text())
    note.unlink()
    assert psutil.pid_exists(sleeper)
    return sleeper


def test_train_ends_itself_when_its_process_alone_is_told_to(shop: Shop, first: DagOutcome) -> None:
    shop.commit("step.py", SLEEPING)
    with OneProcess({"train": {}}, shop.settings.home / "train.log", shop.settings) as process:
        sleeper = sleeper_of(shop, process)
        (running,) = [
            one
            for one in psutil.Process().children()
            if "pipelines.orchestration.one_process" in one.cmdline() and one.status() != psutil.STATUS_ZOMBIE
        ]
        running.terminate()
        assert not process.running(30), "the run hangs"
        assert gone(sleeper, seconds=5)
    assert not open_books(shop)


def test_train_takes_the_whole_stage_with_it_when_cancelled(shop: Shop, first: DagOutcome) -> None:
    shop.commit("step.py", SLEEPING)
    process = OneProcess({"train": {}}, shop.settings.home / "train.log", shop.settings)
    with process:
        sleeper = sleeper_of(shop, process)
    assert gone(sleeper, seconds=0.1), "the stage's child outlived the run"
    assert os.environ.get("SHOPLOOM_STAGE") is None
