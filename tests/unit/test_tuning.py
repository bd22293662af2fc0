"""Tuning: poor trials are given up, a kill costs one trial, the winner is a patch that applies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.errors import ConfigError, ModelError
from pipelines.models.found import models
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.repeat import RepeatSettings, RepeatTiming
from pipelines.models.text import TextSimilarity
from pipelines.params_patch import patch, patched
from pipelines.tuning import Material, Plan, Trial, rounded, study_name, tune
from tests.tiny_models import NUM_ITEMS, TinyShop

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shop() -> TinyShop:
    return TinyShop()


@pytest.fixture
def material(shop: TinyShop) -> Material:
    return Material(Linear, shop.training(), shop.candidates, shop.purchases)


def test_a_share_keeps_the_users_own_purchases(material: Material) -> None:
    part = material.share(0.25)
    histories = part.training.histories
    assert histories.num_users == 20
    assert histories.num_items == NUM_ITEMS
    assert (np.diff(part.purchases) > 0).all()
    again = material.share(0.25)
    assert np.array_equal(again.purchases, part.purchases)
    user, item = int(part.purchases[0] // NUM_ITEMS), int(part.purchases[0] % NUM_ITEMS)
    own = histories.items[histories.indptr[user] : histories.indptr[user + 1]]
    whole = material.training.histories
    same = [
        row
        for row in range(whole.num_users)
        if np.array_equal(whole.items[whole.indptr[row] : whole.indptr[row + 1]], own)
    ]
    assert any(row * NUM_ITEMS + item in material.purchases for row in same)
    assert material.share(1.0) is material


def test_the_best_is_never_worse_than_what_is_set_and_poor_trials_are_given_up(
    material: Material, tmp_path: Path
) -> None:
    ended: list[Trial] = []
    tuned = tune(
        material, LinearSettings(regularization=3000.0), Plan(14, "ndcg_at_10", tmp_path / "a.db"), ended.append
    )
    assert tuned.before is not None
    assert tuned.best > tuned.before
    assert [trial.number for trial in ended] == list(range(14))
    assert ended[0].parameters == {"regularization": 3000.0, "power": 0.5}
    given_up = [trial for trial in ended if trial.state == "pruned"]
    assert len(given_up) == tuned.counts["pruned"] >= 1
    assert all(len(trial.measures) == 1 for trial in given_up)
    best = max((trial for trial in ended if trial.state == "finished"), key=lambda t: t.measures[-1]["ndcg_at_10"])
    assert tuned.parameters == best.parameters
    assert material.judge(LinearSettings(**tuned.parameters))["ndcg_at_10"] == tuned.best


def test_tuning_goes_on_where_it_was_stopped(material: Material, tmp_path: Path) -> None:
    plan, now = Plan(5, "ndcg_at_10", tmp_path / "b.db"), LinearSettings()

    def stop(trial: Trial) -> None:
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(material, now, plan, stop)
    ended: list[Trial] = []
    tuned = tune(material, now, plan, ended.append)
    assert sum(tuned.counts.values()) == 5
    assert len(ended) == 3, "two were kept, and the one that was stopped was not counted"
    assert tune(material, now, plan, ended.append) == tuned
    assert len(ended) == 3


def test_a_study_is_of_one_model_data_and_metric(material: Material, shop: TinyShop) -> None:
    from dataclasses import replace

    names = {
        study_name(material, LinearSettings(), "ndcg_at_10"),
        study_name(material, LinearSettings(), "ndcg_at_10_new"),
        study_name(replace(material, purchases=shop.purchases[1:]), LinearSettings(), "ndcg_at_10"),
        study_name(material.share(0.5), LinearSettings(), "ndcg_at_10"),
        study_name(replace(material, kind=RepeatTiming), RepeatSettings(), "ndcg_at_10"),
    }
    assert len(names) == 5
    assert study_name(material, LinearSettings(regularization=5), "ndcg_at_10") in names


def test_trials_that_fail_are_told_and_cost_nothing_else(shop: TinyShop, tmp_path: Path) -> None:
    class Failing(Linear):
        @classmethod
        def fit(cls, training, settings):  # type: ignore[no-untyped-def]
            raise ModelError("it diverged", mend="lower it")

    material = Material(Failing, shop.training(), shop.candidates, shop.purchases)
    ended: list[Trial] = []
    with pytest.raises(ModelError, match="no trial could be finished: it diverged"):
        tune(material, LinearSettings(), Plan(2, "ndcg_at_10", tmp_path / "c.db"), ended.append)
    assert [trial.state for trial in ended] == ["failed", "failed"]


def test_a_model_without_spans_is_refused(shop: TinyShop, tmp_path: Path) -> None:
    material = Material(TextSimilarity, shop.training(), shop.candidates, shop.purchases)
    with pytest.raises(ConfigError, match="'text' states nothing to tune"):
        tune(material, TextSimilarity.Settings(), Plan(2, "ndcg_at_10", tmp_path / "d.db"), print)


@pytest.mark.parametrize("name", models())
def test_every_span_is_of_a_setting_and_within_its_range(name: str) -> None:
    kind = models()[name]
    for setting, span in kind.spans.items():
        assert setting in kind.Settings.model_fields
        assert 0 <= span.low < span.high
        whole = isinstance(getattr(kind.Settings(), setting), int)
        for end in (span.low, span.high):
            kind.Settings.model_validate({setting: int(end) if whole else end})


def test_rounded_keeps_four_digits() -> None:
    assert [rounded(value) for value in (123456.0, 0.00123456, 2.0)] == [123500.0, 0.001235, 2.0]


def test_a_patch_changes_the_values_alone_and_git_applies_it(tmp_path: Path) -> None:
    before = (ROOT / "params.yaml").read_text()
    after = patched(before, "train_linear", {"regularization": 123.4, "power": 0.25})
    assert yaml.safe_load(after)["train_linear"] == {
        **yaml.safe_load(before)["train_linear"], "regularization": 123.4, "power": 0.25
    }  # fmt: skip
    assert "# fuel is sold" in after
    (tmp_path / "params.yaml").write_text(before)
    (tmp_path / "change.patch").write_text(patch(before, after))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "change.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "params.yaml").read_text() == after
    assert patch(before, before) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a:\n  b: 1 # why\n\nc: {}\n", "a:\n  b: 2 # why\n\nc: {}\n"),
        ("c: {}", "c: {}\na:\n  b: 2\n"),
        ("a:\n  d: 3\n", "a:\n  b: 2\n  d: 3\n"),
    ],
)
def test_a_section_is_patched_however_it_stands(content: str, expected: str) -> None:
    assert patched(content, "a", {"b": 2}) == expected


def test_a_section_in_one_line_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be patched"):
        patched("a: {b: 1}\n", "a", {"b": 2})
