"""The fault corpus on a small shop: a sample of its kinds. ``bench_faults.py`` tries all of them on real data."""

from __future__ import annotations

import pytest

from tests.fault_shop import land_fault_shop
from tests.faults import FAULTS, World

SAMPLE = (
    "prices in cents",
    "prices in another currency",
    "a quarter of the prices in another currency",
    "prices missing, some",
    "some rows twice under new ids",
    "last week's feed under this week's dates and new ids",
    "users and items swapped",
    "a column renamed",
    "a file cut short",
    "a category renamed",
    "titles with damaged letters",
    "a clock four hours off",
    "the last days missing",
    "a bot",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    land_fault_shop(folder / "raw", weeks=9)
    return World(folder / "raw", folder / "cache")


@pytest.mark.parametrize("week", [-2, -1])
def test_a_clean_week_raises_no_alarm(world: World, week: int) -> None:
    assert world.load(world.partitions()[week]).outcome == "clean"


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_comes_to_what_is_expected_of_it(world: World, name: str) -> None:
    result = world.load(world.partitions()[-1], name, FAULTS[name])
    assert result.shows(FAULTS[name]), result


def test_corpus_is_as_large_as_it_says() -> None:
    assert len(FAULTS) >= 40
    assert {fault.outcome for fault in FAULTS.values()} == {"quarantine", "warn", "stop"}
