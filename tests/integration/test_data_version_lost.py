"""A data version whose bytes are gone (the state folder was removed, the branch was not) can be landed again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.errors import RunError
from pipelines.runs.data_versions import DataVersion, changes_of, commit_landing, read_pointers
from pipelines.runs.git import Git
from pipelines.runs.store import Store
from pipelines.settings import Settings
from tests.repositories import new_repository
from tests.tiny_shop import FIRST_DAY, land_tiny_shop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_repository(tmp_path / "code", home=tmp_path / "home")


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    land_tiny_shop(tmp_path / "landing", FIRST_DAY.replace(day=28))
    return tmp_path / "landing"


@pytest.fixture
def version(settings: Settings, landing: Path) -> DataVersion:
    return commit_landing(settings, landing, "Land four weeks")


def test_nothing_is_new_when_all_of_it_is_there(settings: Settings, landing: Path, version: DataVersion) -> None:
    assert changes_of(settings, landing) == ()


def test_a_landing_brings_back_what_the_object_store_lost(
    settings: Settings, landing: Path, version: DataVersion
) -> None:
    shutil.rmtree(settings.home)
    assert set(changes_of(settings, landing)) == set(version.changed)
    again = commit_landing(settings, landing, "Land four weeks")
    assert (again.commit, again.changed) == (version.commit, ())
    shutil.rmtree(settings.home / "cache")
    assert changes_of(settings, landing) == (), "the remote does not serve what was landed again"


def test_a_landing_brings_back_one_lost_partition(settings: Settings, landing: Path, version: DataVersion) -> None:
    store = Store(settings)
    lost = next(file for file in store.files(version.listings["events"]) if file.path == "2024-W02.parquet")
    path = store.cache_path(lost.md5)
    store.close()
    path.unlink()
    (settings.home / "remote" / path.relative_to(settings.home / "cache")).unlink()
    assert changes_of(settings, landing) == ("events/2024-W02.parquet",)
    assert commit_landing(settings, landing, "Land four weeks").commit == version.commit
    assert changes_of(settings, landing) == ()


def test_a_smaller_landing_does_not_take_the_place_of_a_lost_list(
    settings: Settings, landing: Path, version: DataVersion
) -> None:
    shutil.rmtree(settings.home)
    (landing / "events" / "2024-W01.parquet").unlink()
    with pytest.raises(RunError, match=r"lost the list of the 4 partitions .* this landing has 3") as refused:
        commit_landing(settings, landing, "Land three weeks")
    assert "shoploom ingest" in refused.value.mend


def test_a_landing_of_one_table_needs_no_other_s_list(settings: Settings, landing: Path, version: DataVersion) -> None:
    store = Store(settings)
    path = store.cache_path(version.listings["items"])
    store.close()
    path.unlink()
    (settings.home / "remote" / path.relative_to(settings.home / "cache")).unlink()
    for table in landing.iterdir():
        if table.is_dir() and table.name != "events":
            shutil.rmtree(table)
    (landing / "events" / "2024-W01.parquet").write_bytes((landing / "events" / "2024-W02.parquet").read_bytes())
    after = commit_landing(settings, landing, "Land a week again")
    assert after.changed == ("events/2024-W01.parquet",)
    assert after.listings == {**version.listings, "events": after.listings["events"]}
    git = Git(settings.repository)
    assert read_pointers(git, after.commit) == {
        f"data/raw/{table}": listing for table, listing in after.listings.items()
    }
