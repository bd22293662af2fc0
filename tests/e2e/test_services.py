"""``up`` and ``down``: real services on free ports, and a DAG run by a real scheduler with two tasks in parallel."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipelines.errors import ServiceError
from pipelines.lineage.audit import read
from pipelines.lineage.release import Made, sign_release
from pipelines.orchestration import services
from pipelines.orchestration.airflow import metadata_database
from pipelines.orchestration.dag_runs import OneProcess, hold_alone
from pipelines.orchestration.databases import close_abandoned
from pipelines.pseudonyms import write_ring
from pipelines.registry.decisions import last_decisions
from pipelines.registry.gate_verdict import Verdict
from pipelines.registry.promotion import champion
from pipelines.runs.data_versions import commit_landing, latest_data_version, partition_hashes
from pipelines.runs.git import Git
from pipelines.settings import Settings, child_environment, sqlite_file
from tests.integration.test_registry_promotion import make_package, registered
from tests.processes import free_port, gone
from tests.tiny_shop import KEYS, land_tiny_shop

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]

TOLD = ".shoploom/openlineage.jsonl"

PIPELINE = """
stages:
  left: {cmd: python step.py left, deps: [step.py, data/raw/events], outs: [data/left.txt]}
  right:
    cmd: python step.py right
    deps: [step.py, data/raw/events]
    outs: [data/right.txt, data/validate/report.json]
"""

STEP = """
import json, sys, time
from pathlib import Path
time.sleep(4)
Path(f"data/{sys.argv[1]}.txt").write_text(sys.argv[1])
if sys.argv[1] == "right":
    Path("data/validate").mkdir(parents=True, exist_ok=True)
    events = {"accepted": 40, "quarantined": 2, "reasons": {"price_is_positive": 2}}
    Path("data/validate/report.json").write_text(json.dumps({"tables": {"events": events}}))
"""


@pytest.fixture(scope="module")
def settings(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(airflow_home, root / ".shoploom")
    settings = Settings(
        repository=root,
        SHOPLOOM_HOME=root / ".shoploom",
        airflow_port=free_port(),
        mlflow_port=free_port(),
        serve_port=free_port(),
        database_url=None,
        tracking_url=None,
    )
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    chosen = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    chosen["monitor"] |= {"rule": "k_of_n", "users": 0}
    chosen["gate"]["margins"] |= {"latency": None, "memory": None}
    for name, text in {
        ".gitignore": ".shoploom/\n",
        "params.yaml": yaml.safe_dump(chosen),
        "dvc.yaml": PIPELINE,
        "step.py": STEP,
    }.items():
        (root / name).write_text(text, encoding="utf-8")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "Begin"]):
        subprocess.run(
            ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *command], cwd=root, check=True
        )
    landing = root / ".shoploom" / "landing"
    land_tiny_shop(landing, date(2024, 1, 7))
    write_ring(KEYS, settings.home)
    commit_landing(settings, landing, "Land 2024-W01")
    return settings


@pytest.fixture(scope="module")
def up(settings: Settings) -> Iterator[services.Up]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOPLOOM_SOURCE", "tests.tiny_shop")
        told = {"type": "file", "log_file_path": str(settings.repository / TOLD), "append": True}
        patch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(told))
        yield services.up(settings)
    services.down(settings)


class Api:
    """Airflow's API, as the user that ``up`` names."""

    def __init__(self, up: services.Up) -> None:
        self.root = up.services["api_server"].address
        password = json.loads(up.password_file.read_text(encoding="utf-8"))[up.user]
        self.token = ""
        self.token = str(self.call("/auth/token", {"username": up.user, "password": password})["access_token"])

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.root + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, run: str, task: str, state: str, seconds: float = 150) -> None:
        """Until a task of a run is in a state."""
        deadline = time.monotonic() + seconds
        while True:
            states = {one["task_id"]: one["state"] for one in self.call(f"{run}/taskInstances")["task_instances"]}
            if states.get(task) == state:
                return
            assert time.monotonic() < deadline, states
            assert states.get(task) not in {"success", "failed", "upstream_failed", "skipped"}, states
            time.sleep(0.5)

    def wait_until_idle(self, seconds: float) -> None:
        """Until no DAG has had a run under way for three seconds: SQLite serves one writer at a time."""
        deadline, quiet_since = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() - quiet_since < 3:
            under_way = self.call("/api/v2/dags/~/dagRuns?state=running&state=queued")["dag_runs"]
            assert time.monotonic() < deadline, [run["dag_run_id"] for run in under_way]
            if under_way:
                quiet_since = time.monotonic()
            time.sleep(0.5)


def test_up_starts_services_on_loopback_that_answer(settings: Settings, up: services.Up) -> None:
    assert set(up.services) == {"api_server", "scheduler", "dag_processor", "mlflow", "serve"}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in (
            settings.airflow_port,
            settings.mlflow_port,
            settings.serve_port,
        ):
            assert connection.laddr.ip == "127.0.0.1"
    assert oct(up.password_file.stat().st_mode & 0o777) == "0o600"
    assert any(str(up.password_file) in line for line in up.lines())
    assert services.with_running_mlflow(settings).tracking == f"http://127.0.0.1:{settings.mlflow_port}"


def test_up_again_starts_nothing(settings: Settings, up: services.Up) -> None:
    assert services.up(settings).services == up.services


def test_up_names_a_port_that_is_taken(settings: Settings, up: services.Up, tmp_path: Path) -> None:
    other = Settings(
        repository=settings.repository,
        SHOPLOOM_HOME=tmp_path,
        airflow_port=settings.airflow_port,
        mlflow_port=settings.mlflow_port,
    )
    with pytest.raises(ServiceError, match=rf"port {settings.mlflow_port}, for which mlflow asks, is taken"):
        services.up(other)
    assert services.running(other) == {}


def test_one_process_run_is_refused_while_the_scheduler_is_up(settings: Settings, up: services.Up) -> None:
    with (
        pytest.raises(ServiceError, match="would run the same tasks a second time"),
        OneProcess({"train": {}}, settings.home / "x.log", settings),
    ):
        pass


def test_up_is_refused_while_a_run_is_under_way(settings: Settings, tmp_path: Path) -> None:
    other = Settings(repository=settings.repository, SHOPLOOM_HOME=tmp_path)
    lock = hold_alone(other)
    try:
        with pytest.raises(ServiceError, match="another run is under way"):
            services.up(other)
    finally:
        os.close(lock)
    assert services.running(other) == {}


def test_a_service_that_ends_is_quoted_from_this_start_on(settings: Settings, tmp_path: Path) -> None:
    other = Settings(repository=settings.repository, SHOPLOOM_HOME=tmp_path)
    log = tmp_path / "services" / "short.log"
    log.parent.mkdir()
    log.write_text("words of an earlier start\n", encoding="utf-8")
    for program, said in (
        ("import sys; sys.exit('words of this start')", "words of this start"),
        ("", "it said nothing"),
    ):
        short = services._Service("short", (sys.executable, "-c", program), lambda _: False)
        with pytest.raises(ServiceError, match=f"^short ended: {said}\n  -> less {log}$"):
            services._await_health([(short, services._start(short, other))], other)
    assert services.running(other) == {}


def test_one_process_that_ends_is_quoted_from_this_start_on(airflow_home: Path, tmp_path: Path) -> None:
    own = Settings(repository=ROOT, SHOPLOOM_HOME=shutil.copytree(airflow_home, tmp_path / "home"), database_url=None)
    log = tmp_path / "run.log"
    log.write_text("words of an earlier start\n", encoding="utf-8")
    with OneProcess({"tarin": {}}, log, own) as process, pytest.raises(ServiceError) as ended:
        process.wait()
    assert "there is no DAG 'tarin'" in ended.value.message
    assert "earlier" not in ended.value.message
    assert log.read_text(encoding="utf-8").startswith("words of an earlier start\n")


def test_up_closes_what_a_killed_run_left_behind(airflow_home: Path, tmp_path: Path) -> None:
    own = Settings(repository=ROOT, SHOPLOOM_HOME=shutil.copytree(airflow_home, tmp_path / "home"), database_url=None)
    database = sqlite_file(metadata_database(own))
    assert database is not None
    with closing(sqlite3.connect(database)) as connection, connection:
        for run, by in (("killed", "TEST"), ("scheduled", "TIMETABLE")):
            insert(connection, "dag_run", dag_id="train", run_id=run, state="running", triggered_by=by)
            for task, state in (("start", "success"), ("embed", "running"), ("fuse", None)):
                insert(connection, "task_instance", dag_id="train", run_id=run, task_id=task, state=state)
    assert close_abandoned(own) == 1
    with closing(sqlite3.connect(database)) as connection:
        runs = connection.execute("SELECT run_id, state FROM dag_run ORDER BY run_id").fetchall()
        tasks = connection.execute(
            "SELECT run_id, task_id, state FROM task_instance ORDER BY run_id, task_id"
        ).fetchall()
    assert runs == [("killed", "failed"), ("scheduled", "running")]
    assert tasks == [
        ("killed", "embed", "failed"),
        ("killed", "fuse", "failed"),
        ("killed", "start", "success"),
        ("scheduled", "embed", "running"),
        ("scheduled", "fuse", None),
        ("scheduled", "start", "success"),
    ]


def insert(connection: sqlite3.Connection, table: str, **values: str | None) -> None:
    """Insert a row; a column that must have a value and is given none gets one of its own."""
    for _, name, _, needed, default, _ in connection.execute(f"PRAGMA table_info({table})"):
        if needed and default is None and name not in values:
            values[name] = str(connection.total_changes + 1)
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))


def test_scheduler_trains_when_the_monitor_asks_and_runs_two_stages_in_parallel(
    settings: Settings, up: services.Up
) -> None:
    api = Api(up)
    deadline = time.monotonic() + 150
    while not {"monitor", "train"} <= {dag["dag_id"] for dag in api.call("/api/v2/dags")["dags"]}:
        assert time.monotonic() < deadline, "the DAG processor did not parse dags/monitor.py and dags/train.py"
        time.sleep(0.5)
    assert api.call("/api/v2/dags/train/dagRuns")["dag_runs"] == []
    api.call("/api/v2/dags/monitor/dagRuns", {"logical_date": None})
    while not (found := api.call("/api/v2/dags/train/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline, "the monitor, without a champion to keep, did not ask for a training"
        time.sleep(0.5)
    assert (len(found), found[0]["run_type"]) == (1, "asset_triggered")
    run = found[0]["dag_run_id"]
    path = f"/api/v2/dags/train/dagRuns/{urllib.request.quote(run)}/taskInstances"
    while True:
        tasks = {task["task_id"]: task for task in api.call(path)["task_instances"]}
        if tasks and tasks["finish"]["state"] in ("success", "failed", "upstream_failed"):
            break
        assert time.monotonic() < deadline, {name: task["state"] for name, task in tasks.items()}
        time.sleep(0.5)
    states = {name: tasks[name]["state"] for name in ("start", "left", "right", "finish")}
    assert states == dict.fromkeys(states, "success")
    begun = [datetime.fromisoformat(tasks[name]["start_date"]) for name in ("left", "right")]
    ended = [datetime.fromisoformat(tasks[name]["end_date"]) for name in ("left", "right")]
    assert max(begun) < min(ended), "the two stages ran one after the other"


def test_scheduler_tells_what_each_stage_read_and_wrote_as_openlineage(settings: Settings, up: services.Up) -> None:
    file, deadline = settings.repository / TOLD, time.monotonic() + 60
    while True:  # a task is told of after it has ended
        events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        ended = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
        if {"train.left", "train.right"} <= set(ended):
            break
        assert time.monotonic() < deadline, sorted(ended)
        time.sleep(0.5)
    tip = latest_data_version(settings)
    assert tip is not None
    for stage, files in {"left": ["left.txt"], "right": ["right.txt", "validate/report.json"]}.items():
        (read,) = ended[f"train.{stage}"]["inputs"]
        assert read["name"] == "data/raw/events"
        assert read["facets"]["version"]["datasetVersion"] == tip.listings["events"]
        written = {
            one["name"]: one["facets"]["version"]["datasetVersion"] for one in ended[f"train.{stage}"]["outputs"]
        }
        assert sorted(written) == [f"data/{name}" for name in files]
        assert written[f"data/{stage}.txt"] == hashlib.md5(stage.encode()).hexdigest()
    (judged,) = ended["train.right"]["inputs"]
    assert judged["inputFacets"]["dataQualityMetrics"]["rowCount"] == 42
    found = {one["assertion"]: one["success"] for one in judged["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert found == {"price_is_positive": False, "rows_are_accepted": False}


def wait_for_line(log: Path, *parts: str, seconds: float = 60) -> None:
    """Until a log holds a line with all of these words.

    The scheduler hears a moment after a task began to wait that its process ended. An answer that comes before that, as
    no person's does, has the scheduler take the task, queued again by then, for one that was killed.
    """
    deadline = time.monotonic() + seconds
    while not any(all(part in line for part in parts) for line in log.read_text(encoding="utf-8").splitlines()):
        assert time.monotonic() < deadline, parts
        time.sleep(0.2)


def test_approval_waits_in_airflow_and_promotes_only_what_is_signed(
    settings: Settings, up: services.Up, tmp_path: Path
) -> None:
    api, served = Api(up), services.with_running_mlflow(settings)
    shutil.copy(ROOT / "requirements.lock", settings.repository)
    package = make_package(tmp_path)
    made = registered(served, tmp_path)
    for path, ending, champions in (("unsigned", "failed", None), ("signed", "success", made.version)):
        if path == "signed":
            verdict = Verdict("promote", "own_counts", 0.1, (0.05, 0.15), 0.001, 40, "because").as_dict()
            whole = Made(made.version, made.digest, package, "e" * 40, "c" * 40, "d" * 40, "run", "none")
            sign_release(served, whole, {}, (verdict, {}))
        asked = api.call("/api/v2/dags/approve/dagRuns", {"logical_date": None, "conf": {"version": made.version}})
        run = f"/api/v2/dags/approve/dagRuns/{urllib.request.quote(asked['dag_run_id'])}"
        api.wait_for(run, "ask", "awaiting_input")
        wait_for_line(Path(up.services["scheduler"].log), "TaskInstance Finished", "task_id=ask", asked["dag_run_id"])
        answer = {"chosen_options": ["Approve"], "params_input": {}}
        api.call(f"{run}/taskInstances/ask/-1/hitlDetails", answer, "PATCH")
        api.wait_for(run, "promote", ending)
        reigning = champion(served)
        assert (reigning.version if reigning else None) == champions
    said = [(entry.action, entry.details["why"]) for entry in read(settings) if entry.action in ("refusal", "promote")]
    assert [action for action, _ in said] == ["refusal", "promote"]
    assert "version 1 does not verify: keys: no signing key is known here" in said[0][1]


def test_backfill_lands_eight_intervals_one_partition_each(settings: Settings, up: services.Up) -> None:
    api = Api(up)
    api.wait_until_idle(seconds=120)
    for dag in ("monitor", "train"):
        api.call(f"/api/v2/dags/{dag}", {"is_paused": True}, "PATCH")
    weeks = [f"2024-W{week:02d}" for week in range(2, 10)]
    shoploom = [sys.executable, "-m", "pipelines.cli", "airflow"]
    arguments = ["backfill", "create", "--dag-id", "ingest", "--from-date", "2024-01-07", "--to-date", "2024-02-26"]
    made = subprocess.run(
        [*shoploom, *arguments, "--max-active-runs", "4"],
        cwd=settings.repository,
        env=child_environment(settings, SHOPLOOM_AIRFLOW_PORT=str(settings.airflow_port), PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    deadline = time.monotonic() + 400
    while True:
        runs = api.call("/api/v2/dags/ingest/dagRuns?run_type=backfill")["dag_runs"]
        states = {run["dag_run_id"]: run["state"] for run in runs}
        if len(states) == len(weeks) and set(states.values()) <= {"success", "failed"}:
            break
        assert time.monotonic() < deadline, states
        time.sleep(0.5)
    assert set(states.values()) == {"success"}
    tip = latest_data_version(settings)
    assert tip is not None
    assert {name.removesuffix(".parquet") for name in partition_hashes(settings, tip)["events"]} == {"2024-W01", *weeks}
    git = Git(settings.repository)
    said = [git.message(commit).splitlines()[0] for commit in git.text("rev-list", tip.commit).split()]
    assert sorted(said) == ["Land 2024-W01", *(f"Land tiny_shop {week} to {week}" for week in weeks)]
    tasks = [
        task
        for run in states
        for task in api.call(f"/api/v2/dags/ingest/dagRuns/{urllib.request.quote(run)}/taskInstances")["task_instances"]
    ]
    spans = sorted((task["start_date"], task["end_date"], task["dag_run_id"]) for task in tasks)
    assert any(later[0] < earlier[1] and later[2] != earlier[2] for earlier, later in pairwise(spans)), (
        "no two intervals were landed at the same time"
    )


def test_a_load_leads_to_a_decision_without_anybody_asking(settings: Settings, up: services.Up) -> None:
    api = Api(up)
    api.wait_until_idle(seconds=60)
    api.call("/api/v2/dags/train", {"is_paused": True}, "PATCH")
    api.call("/api/v2/dags/monitor", {"is_paused": False}, "PATCH")
    asked = {"logical_date": None, "conf": {"from": "2024-03-04", "to": "2024-03-10"}}
    run = api.call("/api/v2/dags/ingest/dagRuns", asked)["dag_run_id"]
    deadline = time.monotonic() + 150
    while (state := api.call(f"/api/v2/dags/ingest/dagRuns/{urllib.request.quote(run)}")["state"]) != "success":
        assert state != "failed"
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    tip = latest_data_version(settings)
    assert tip is not None
    assert "2024-W10.parquet" in partition_hashes(settings, tip)["events"]
    served = services.with_running_mlflow(settings)
    while tip.commit not in (decided := {one["data_version"]: one for one in last_decisions(served, 5)}):
        assert time.monotonic() < deadline, api.call("/api/v2/dags/monitor/dagRuns")["dag_runs"]
        time.sleep(0.5)
    assert decided[tip.commit]["why"]
    if champion(served) is not None:  # that of the approval, whose data version is made up
        assert "trained on is not here" in decided[tip.commit]["unmeasured"]
    runs = api.call("/api/v2/dags/monitor/dagRuns?order_by=-run_after")["dag_runs"]
    assert runs[0]["run_type"] == "asset_triggered"


def test_down_stops_what_up_started_and_nothing_else(settings: Settings, up: services.Up) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        stopped = services.down(settings)
        assert set(stopped) == set(up.services)
        assert bystander.poll() is None
        for record in up.services.values():
            assert gone(record.pid, seconds=0.1)
        assert services.running(settings) == {}
        assert services.down(settings) == []
    finally:
        bystander.kill()
        bystander.wait()


def test_running_never_mistakes_a_later_process_for_a_service(settings: Settings) -> None:
    record = services.Record("scheduler", os.getpid(), started=1.0, address="", log="")
    folder = settings.home / "services"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scheduler.json").write_text(json.dumps(record.__dict__), encoding="utf-8")
    assert services.running(settings) == {}
    assert services.down(settings) == []
