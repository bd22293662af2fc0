"""``shoploom expectations propose``: what is proposed holds for what was accepted, and can be taken over as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from expectations.catalogues import catalogue_profile
from expectations.profiles import Categories, Profile, profile_of
from expectations.proposals import as_yaml, propose, weekday_volumes
from pipelines.artifacts import read_table
from pipelines.params import DistributionParams, ValidateParams
from pipelines.runs.data_versions import commit_landing
from tests.fault_shop import land_fault_shop
from tests.faults import World
from tests.repositories import new_repository

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("raw")
    land_fault_shop(directory, weeks=7)
    return directory


@pytest.fixture(scope="module")
def profiles(raw: Path) -> list[Profile]:
    categories = Categories(read_table(raw / "items/items.parquet"))
    paths = sorted((raw / "events").iterdir())
    return [profile_of(path.stem, read_table(path), categories) for path in paths]


@pytest.fixture(scope="module")
def fragment(raw: Path, profiles: list[Profile]) -> str:
    catalogue = catalogue_profile(read_table(raw / "items/items.parquet"))
    return as_yaml(propose(profiles, catalogue, DistributionParams()))


def test_proposals_are_a_fragment_of_params_that_clean_loads_pass(raw: Path, fragment: str, tmp_path: Path) -> None:
    chosen = yaml.safe_load(fragment)
    params = ValidateParams.model_validate(chosen["validate"])
    limits = DistributionParams.model_validate(chosen["distribution"])
    assert params.columns["events.price"].max is not None
    assert params.columns["events.channel"].values == ("app", "web")
    world = World(raw, tmp_path / "cache", params, limits)
    assert world.load(world.partitions()[-1]).outcome == "clean"


def test_every_proposal_has_its_numbers_above_it(fragment: str) -> None:
    lines = fragment.splitlines()
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("#") and not line.endswith(":"):
            assert lines[number - 1].lstrip().startswith("#"), line
    assert "by weekday (least..median..most): Monday" in fragment
    assert "median" in fragment
    assert "chosen is" in fragment


def test_weekday_volumes_are_least_median_and_most(profiles: list[Profile]) -> None:
    found = weekday_volumes(profiles)
    mondays = sorted(count for profile in profiles for day, count in profile.days.items() if day in MONDAYS)
    assert found["Monday"] == (mondays[0], mondays[3], mondays[-1])
    assert list(found)[-1] == "Sunday"


MONDAYS = ("2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22", "2024-01-29", "2024-02-05", "2024-02-12")


def test_a_day_on_which_nothing_was_sold_is_proposed_as_closed(raw: Path) -> None:
    categories = Categories(read_table(raw / "items/items.parquet"))
    profiles = []
    for path in sorted((raw / "events").iterdir()):
        rows = read_table(path)
        if path.stem == "2024-W03":
            days = rows["timestamp"].to_pandas().dt.tz_convert("Europe/Berlin").dt.strftime("%m-%d")
            rows = rows.filter((days != "01-17").to_numpy())
        profiles.append(profile_of(path.stem, rows, categories))
    proposals = {one.key: one for one in propose(profiles, None, DistributionParams())}
    assert proposals["closed_days"].value == ["01-17"]
    assert proposals["closed_days"].why == "no event on 2024-01-17"


def test_propose_prints_the_fragment_from_the_newest_data_version(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    settings = new_repository(root, configured=True)
    environment = {"SHOPLOOM_REPOSITORY": str(root), "SHOPLOOM_HOME": str(settings.home), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "expectations", "propose", "--json"]
    before = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (before.returncode, "shoploom ingest" in before.stderr) == (1, True)
    commit = commit_landing(settings, raw, "Land seven weeks").commit
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    result = json.loads(ran.stdout)
    assert (result["data_version"], result["partitions"]) == (commit, 7)
    assert yaml.safe_load(result["fragment"]).keys() == {"validate", "distribution"}
    assert len(list((settings.home / "profiles").iterdir())) == 7
