"""The ingest DAG on a shop's own files: landed by a mapping, held to the contract, versioned, without a raw user id."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.artifacts import read_table
from pipelines.orchestration.dag_runs import DagOutcome, run_dag_in_one_process
from pipelines.runs.data_versions import latest_data_version
from pipelines.runs.store import Store
from pipelines.settings import Settings
from pipelines.sources import load_source
from pipelines.sources.landing import land
from tests.repositories import new_repository
from tests.tabular_shop import CUSTOMERS, PRODUCTS, WEEKS, order_lines, write_shop

ROOT = Path(__file__).parents[2]
BAD = "7777;0;customer-00@shop.example;P1;many;1,00;02.01.2024 10:00;paid"
UNPLACED = "8888;0;customer-01@shop.example;P1;1;1,00;someday;paid"


@pytest.fixture(scope="module")
def settings(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(airflow_home, root / ".shoploom")
    write_shop(root / "till", [*order_lines(), BAD, UNPLACED])
    return new_repository(root, configured=True)


def ingest(settings: Settings) -> DagOutcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOPLOOM_SOURCE", "tabular:till/shop.yaml")
        return run_dag_in_one_process("ingest", {}, settings.home / "ingest.log", settings)


def test_a_shops_own_files_are_landed_validated_and_versioned(settings: Settings) -> None:
    outcome = ingest(settings).raise_for_failure()
    tables = outcome.returned["validate"]["tables"]
    assert tables["events"]["reasons"] == {"row_is_mapped": 1}
    assert tables["events"]["accepted"] == WEEKS * 2 * CUSTOMERS * 3
    assert tables["items"]["accepted"] == PRODUCTS
    assert tables["users"]["accepted"] == CUSTOMERS
    assert tables["unplaced"]["quarantined"] == 1
    tip = latest_data_version(settings)
    assert tip is not None
    store = Store(settings)
    try:
        for table, listing in tip.listings.items():
            for file in store.files(listing):
                rows = read_table(store.cache_path(file.md5))
                assert "shop.example" not in str(rows.to_pydict()), (table, file.path)
    finally:
        store.close()


def test_the_same_files_landed_again_give_the_same_data_version(settings: Settings) -> None:
    before = latest_data_version(settings)
    ingest(settings)
    after = latest_data_version(settings)
    assert before is not None
    assert after is not None
    assert after.commit == before.commit


def test_landing_gives_the_same_bytes_whatever_the_order_of_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "home"))
    lines = [*order_lines()[:300], BAD, UNPLACED]
    found = []
    for name, order in (("a", lines), ("b", lines[::-1])):
        source = load_source(f"tabular:{write_shop(tmp_path / name / 'till', order)}")
        land(source, None, None, tmp_path / name / "landing")
        folder = tmp_path / name / "landing"
        found.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")})
    assert found[0].keys() == found[1].keys()
    assert found[0] == found[1]
