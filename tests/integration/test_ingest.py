"""The ingest DAG on the tiny shop: what came is judged beside what the data version holds already."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.artifacts import read_json, read_table, write_table
from pipelines.orchestration.dag_runs import DagOutcome, run_dag_in_one_process
from pipelines.pseudonyms import write_ring
from pipelines.runs.data_versions import DataVersion, commit_landing, latest_data_version
from pipelines.runs.load_docs import docs_of
from pipelines.settings import Settings
from tests.repositories import new_repository
from tests.tiny_shop import FIRST_DAY, KEYS, USERS, land_tiny_shop

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(airflow_home, root / ".shoploom")
    settings = new_repository(root, configured=True)
    write_ring(KEYS, settings.home)
    return settings


@pytest.fixture(scope="module")
def history(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> DataVersion:
    """Four ordinary weeks, but each of 300 times the rows that the source will give."""
    landing = tmp_path_factory.mktemp("landing")
    land_tiny_shop(landing, FIRST_DAY.replace(day=28))
    for path in (landing / "events").iterdir():
        rows = read_table(path)
        write_table(rows.take([row for row in range(rows.num_rows) for _ in range(300)]), path)
    return commit_landing(settings, landing, "Land four weeks")


def ingest(settings: Settings, monday: str, sunday: str) -> DagOutcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOPLOOM_SOURCE", "tests.tiny_shop")
        conf = {"from": monday, "to": sunday}
        return run_dag_in_one_process("ingest", conf, settings.home / "ingest.log", settings)


def test_ingest_stops_a_week_that_is_far_too_small_beside_the_history(settings: Settings, history: DataVersion) -> None:
    outcome = ingest(settings, "2024-01-29", "2024-02-04")
    assert (outcome.state, outcome.failed_task) == ("failed", "validate")
    assert "events: partition 2024-W05: volume_is_possible" in outcome.error
    assert str(settings.home / "side/validate/quarantine") in outcome.error
    refused = list((settings.home / "data_docs").glob("load-*/index.html"))
    assert len(refused) == 1, "the Data Docs of a refused load are kept"
    tip = latest_data_version(settings)
    assert tip is not None
    assert tip.commit == history.commit


def test_ingest_takes_a_week_when_the_cache_lacks_the_history_and_fetches_none(
    settings: Settings, history: DataVersion
) -> None:
    shutil.rmtree(settings.home / "cache")
    outcome = ingest(settings, "2024-01-29", "2024-02-04").raise_for_failure()
    written = (settings.home / "runs").glob("*/partitions-before.json")
    assert read_json(max(written, key=lambda path: path.stat().st_mtime)) == dict.fromkeys(
        ("2024-W01", "2024-W02", "2024-W03", "2024-W04")
    )
    assert {warning["check"] for warning in outcome.returned["validate"]["warnings"]} <= {"newest_event_is_fresh"}
    tip = latest_data_version(settings)
    assert tip is not None
    assert tip.changed == ()
    assert tip.commit != history.commit
    docs = docs_of(settings, tip.commit)
    assert docs is not None
    assert outcome.returned["version"]["docs"] == str(docs.parent)
    assert read_json(docs.parent / "report.json")["partitions"].keys() >= {"2024-W05"}


def test_no_file_of_a_load_holds_a_raw_user_id(settings: Settings, history: DataVersion) -> None:
    ingest(settings, "2024-02-05", "2024-02-11").raise_for_failure()
    raw = [f"user-{user:02d}".encode() for user in range(USERS)]
    hashed = KEYS.pseudonym("user-07").encode()
    tables, holders = 0, []
    for path in (path for path in settings.repository.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            tables += 1
            content = str(read_table(path).to_pylist()).encode()
        if any(name in content for name in raw):
            holders.append(path)
    objects = subprocess.run(
        ["git", "-C", str(settings.repository), "cat-file", "--batch-all-objects", "--batch"],
        check=True,
        capture_output=True,
    ).stdout
    assert not any(name in objects for name in raw)
    assert tables > 10
    assert holders == []
    kept = (settings.home / "remote").rglob("*")
    tables_kept = [read_table(path) for path in kept if path.is_file() and path.read_bytes()[:4] == b"PAR1"]
    assert any(hashed in str(table.to_pylist()).encode() for table in tables_kept)
