"""The gate's trial of serving: real server processes, on loopback, of the tiny shop's package."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from pipelines.params import GateParams
from pipelines.registry.gate_comparison import Evaluated
from pipelines.registry.gate_guardrails import Sources, measure_guardrails
from pipelines.registry.gate_serving import FIRST, ServingTrial, try_serving
from pipelines.settings import Settings
from tests.integration import test_package_and_evaluate as tiny
from tests.repositories import new_repository

shop = tiny.shop


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("trial")
    return new_repository(folder / "repository", home=folder / "home")


@pytest.fixture(scope="module")
def tried(shop: Path, settings: Settings) -> ServingTrial:
    return try_serving(settings, shop / "data/package", shop / "data/package")


def test_candidate_and_champion_are_asked_the_same_and_measured(tried: ServingTrial) -> None:
    assert (tried.refused, tried.champion_refused) == ("", "")
    assert tried.candidate is not None
    assert tried.champion is not None
    ours, theirs = tried.candidate, tried.champion
    assert len(ours.latencies_ms) == len(theirs.latencies_ms) > 10 * FIRST
    assert all(took > 0 for took in (*ours.latencies_ms, *theirs.latencies_ms))
    assert 50 < ours.memory_mb < 5000
    assert tried.seconds > sum((*ours.latencies_ms, *theirs.latencies_ms)) / 1000
    assert ours.memory_mb == pytest.approx(theirs.memory_mb, rel=0.25)


def test_what_was_measured_becomes_guardrails(tried: ServingTrial, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"models": {}}')
    measured = measure_guardrails(Sources(Evaluated(tmp_path), "champion", tried, GateParams()))
    latency, memory = measured["latency"].found, measured["memory"].found
    assert latency is not None
    assert memory is not None
    assert tried.candidate is not None
    assert latency.units == len(tried.candidate.latencies_ms)
    assert memory.slack > 0


def test_a_trial_leaves_no_process_and_no_state(tried: ServingTrial, settings: Settings) -> None:
    assert tried.candidate is not None
    ours = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not any("pipelines.serving.on_trial" in line for line in ours)
    assert not (settings.home / "serving").exists()


def test_a_damaged_candidate_is_refused_in_its_own_words(shop: Path, settings: Settings, tmp_path: Path) -> None:
    package = shutil.copytree(shop / "data/package", tmp_path / "package")
    (package / "catalogue/items.parquet").write_bytes(b"damaged")
    tried = try_serving(settings, package, None)
    assert tried.candidate is None
    assert "is not what its manifest says" in tried.refused


def test_a_champion_that_cannot_be_served_is_told_and_the_candidate_measured(
    shop: Path, settings: Settings, tmp_path: Path
) -> None:
    tried = try_serving(settings, shop / "data/package", tmp_path)
    assert tried.candidate is not None
    assert tried.champion is None
    assert tried.champion_refused.startswith("the champion cannot be served: ")
