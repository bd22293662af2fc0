"""A trial of scorers, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from pipelines.errors import DataError
from pipelines.metrics import trial as trials
from pipelines.metrics.plots import draw_models
from pipelines.metrics.report import Example, Line, render
from pipelines.metrics.trial import Trial, activity, measure, measure_all

TEST = csr_matrix(np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]], bool))
TRAINING = csr_matrix(np.array([[1, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]], bool))
CANDIDATES = np.array([0, 1, 2], np.int32)
TRAINING_OF_MANY = csr_matrix(np.random.default_rng(4).random((40, 12)) < 0.3)


def test_trial_leaves_out_users_without_a_relevant_candidate() -> None:
    trial = Trial.build(TEST, TRAINING, CANDIDATES)
    assert trial.users.tolist() == [0, 2]
    assert trial.relevant.toarray().tolist() == [[True, False, True], [False, True, False]]
    assert trial.bought.toarray().tolist() == [[True, False, False], [False, True, False]]


def test_measure_gives_new_metrics_without_what_was_bought() -> None:
    trial = Trial.build(TEST, TRAINING, CANDIDATES)
    scores = np.array([[3, 2, 1], [3, 2, 1]], np.float32)
    outcome = measure(trial, lambda start, stop: scores[start:stop], k=2)
    # User 0 is offered 0, 1: one of two hits. User 2 is offered 0, 1: its one item at place 2.
    expected = [1 / (1 + 1 / np.log2(3)), (1 / np.log2(3)) / 1]
    np.testing.assert_allclose(outcome.values["ndcg_at_2"], expected)
    # New to user 0 are 1, 2, of which 2 is relevant, at place 2; user 2 has no new relevant item.
    np.testing.assert_allclose(outcome.values["ndcg_at_2_new"], [1 / np.log2(3), np.nan])
    assert outcome.coverage == pytest.approx(2 / 3)
    assert outcome.summary(2)["ndcg_at_2_new"] == pytest.approx(1 / np.log2(3), abs=1e-6)
    assert outcome.summary(2, np.array([False, True]))["ndcg_at_2_new"] is None
    np.testing.assert_allclose(outcome.curve[0], (1 + 0) / 2)


def test_measure_does_not_depend_on_how_many_users_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    bought = csr_matrix(generator.random((30, 12)) < 0.3)
    trial = Trial.build(csr_matrix(generator.random((30, 12)) < 0.3), bought, np.arange(12, dtype=np.int32))
    scores = generator.random((len(trial.users), 12)).astype(np.float32)
    whole = measure(trial, lambda start, stop: scores[start:stop], k=5)
    monkeypatch.setattr(trials, "USERS_AT_ONCE", 4)
    parts = measure(trial, lambda start, stop: scores[start:stop], k=5)
    assert whole.summary(5) == parts.summary(5)


def test_many_models_are_measured_as_each_alone_and_all_on_the_same_users(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    trial = Trial.build(csr_matrix(generator.random((40, 12)) < 0.3), TRAINING_OF_MANY, np.arange(12, dtype=np.int32))
    given = {name: generator.random((len(trial.users), 12)).astype(np.float32) for name in ("one", "other")}
    monkeypatch.setattr(trials, "USERS_AT_ONCE", 7)
    together = measure_all(trial, lambda start, stop: [(name, all_[start:stop]) for name, all_ in given.items()], k=5)
    assert list(together) == ["one", "other"]
    for name, scores in given.items():
        alone = measure(trial, lambda start, stop, scores=scores: scores[start:stop], k=5)
        np.testing.assert_array_equal(together[name].values["ndcg_at_5"], alone.values["ndcg_at_5"])
        np.testing.assert_array_equal(together[name].alone, alone.alone)


def test_nobody_has_an_outcome_of_every_model_without_a_value() -> None:
    trial = Trial.build(csr_matrix((3, 4), dtype=bool), TRAINING, CANDIDATES)
    outcome = measure_all(trial, lambda start, stop: [("one", np.zeros((stop - start, 3), np.float32))], k=2)["one"]
    assert outcome.values["ndcg_at_2"].shape == (0,)
    assert outcome.summary(2)["ndcg_at_2"] is None


def test_what_a_model_raises_on_one_chunk_of_users_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial.build(TEST, TRAINING, CANDIDATES)
    monkeypatch.setattr(trials, "USERS_AT_ONCE", 1)
    scores = np.array([[3, 2, 1], [3, np.nan, 1]], np.float32)
    with pytest.raises(DataError, match="hold NaN"):
        measure(trial, lambda start, stop: scores[start:stop], k=2)


def test_activity_sorts_users_into_thirds() -> None:
    segments, limits = activity(np.array([9, 1, 5, 2, 8, 6]))
    assert segments.tolist() == ["heavy", "light", "regular", "light", "heavy", "regular"]
    assert limits == (2, 6)


def _metrics() -> dict[str, object]:
    figures = {f"{name}_at_10{new}": 0.5 for name in ("ndcg", "recall", "map") for new in ("", "_new")}
    judged = {"users": 2, "effect": 0.1, "low": 0.0, "high": 0.2, "confidence": 0.95, "p_value": 0.01}
    names = {"popularity": "baseline", "rank": "model"}
    return {
        "users": 2,
        "candidates": 3,
        "best_baseline": "popularity",
        "protocol": {"k": 10, "segment_limits": [1, 2], "test_starts": 17490.208333333332},
        "champion": {"version": "<b>3</b>", "saw_test_window": False},
        "warnings": ["<i>few</i>"],
        "models": {name: {"kind": kind, "coverage_at_10": 0.5, **figures} for name, kind in names.items()},
        "comparisons": {"popularity": {"ndcg_at_10": {**judged, "significant": True}, "ndcg_at_10_new": None}},
        "segments": {"light": dict.fromkeys(names, figures)},
        "segment_users": {"light": 2},
        "cold_items": {"items": 0, "users": 0, "models": {}, "times_category_popularity": {}},
    }


def test_report_escapes_what_the_shop_wrote(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    metrics = _metrics()
    picture = tmp_path / "models.png"
    draw_models(metrics["models"], "ndcg_at_10", picture)  # type: ignore[arg-type]
    example = Example(f"search: {hostile}", (Line(hostile, hostile, True), Line(hostile, "")))
    page = render(json.loads(json.dumps(metrics)), {hostile: picture}, [example])
    assert "<script" not in page
    assert "<b>3</b>" not in page
    assert "&lt;i&gt;few&lt;/i&gt;" in page
    assert page.count("&lt;script&gt;") == 6
    assert page.count("✓") == 2
    assert "Monday 2017-11-20 05:00 UTC" in page
