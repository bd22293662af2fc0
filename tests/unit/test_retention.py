"""Non-inferiority, Holm's correction and the number of users, against values by hand and other libraries'."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipelines.errors import DataError
from pipelines.metrics.power import chance_to_tell, users_needed
from pipelines.metrics.ranking import coverage, shown_to_one
from pipelines.metrics.retention import coverage_retention, holm, percentile_retention, retention

ALPHA = {"alpha": 0.05, "seed": 3, "resamples": 2000}


def levels(size: int = 400, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    reference = generator.uniform(0.2, 0.6, size)
    return reference + generator.normal(0, 0.05, size), reference


def test_a_loss_within_the_margin_is_kept_and_one_beyond_it_is_broken() -> None:
    challenger, reference = levels()
    kept, broken = (retention(challenger - loss, reference, 0.1, **ALPHA) for loss in (0.0, 0.1))
    assert kept.low > 0
    assert kept.p_kept < 0.05 < kept.p_broken
    assert broken.high < 0
    assert broken.p_broken < 0.05 < broken.p_kept
    assert kept.slack == pytest.approx(float((challenger - 0.9 * reference).mean()))


def test_bounds_agree_with_the_t_interval() -> None:
    challenger, reference = levels()
    found = retention(challenger, reference, 0.1, alpha=0.05, seed=1)
    slack = challenger - 0.9 * reference
    low, high = stats.t.interval(0.9, len(slack) - 1, slack.mean(), stats.sem(slack))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_less_is_better_turns_the_test_round() -> None:
    challenger, reference = levels()
    assert retention(challenger + 0.1, reference, 0.1, **ALPHA, less_is_better=True).p_broken < 0.05
    assert retention(challenger - 0.1, reference, 0.1, **ALPHA, less_is_better=True).p_kept < 0.05


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_what_is_the_same_for_every_user_is_kept(level: float) -> None:
    same = np.full(30, level)
    assert retention(same, same, 0.0, **ALPHA).p_kept < 0.05
    assert retention(same, same, 0.0, **ALPHA).p_broken == 1.0


def test_retention_of_nobody_is_refused() -> None:
    with pytest.raises(DataError, match="0 values"):
        retention(np.zeros(0), np.zeros(0), 0.1, **ALPHA)


def test_shown_to_one_is_what_coverage_loses_without_the_user() -> None:
    top = np.array([[0, 1, -1], [1, 2, 3], [3, 1, 0], [-1, -1, -1]], np.int32)
    alone = shown_to_one(top)
    assert alone.tolist() == [0, 1, 0, 0]
    for user in range(len(top)):
        assert coverage(top, 5) - coverage(np.delete(top, user, axis=0), 5) == pytest.approx(alone[user] / 5)


def test_coverage_is_held_to_its_share_by_jackknife() -> None:
    generator = np.random.default_rng(0)
    wide, narrow = (generator.integers(0, size, (300, 10)).astype(np.int32) for size in (2000, 1000))
    (own, alone), (other, alone_there) = ((coverage(top, 2000), shown_to_one(top) / 2000) for top in (wide, narrow))
    assert coverage_retention((own, alone), (other, alone_there), 0.2, alpha=0.05).p_kept < 0.05
    broken = coverage_retention((other, alone_there), (own, alone), 0.2, alpha=0.05)
    assert broken.high < 0
    assert broken.p_broken < 0.05
    same = coverage_retention((own, alone), (own, alone), 0.2, alpha=0.05)
    without = np.array([coverage(np.delete(wide, user, axis=0), 2000) for user in range(len(wide))])
    error = math.sqrt((299 / 300) * float(((without - without.mean()) ** 2).sum())) * 0.2
    assert same.slack - same.low == pytest.approx(float(stats.t.ppf(0.95, 299)) * error)


def test_percentile_of_times_that_double_is_broken() -> None:
    times = np.random.default_rng(2).gamma(4, 5, 200)
    assert percentile_retention(2 * times, times, 0.99, 0.5, alpha=0.05, seed=1).p_broken < 0.05
    assert percentile_retention(times, times, 0.99, 0.5, alpha=0.05, seed=1).p_kept < 0.05


def test_holm_by_hand() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}
    assert list(holm({"x": 0.9, "y": 0.8}).values()) == [1.0, 1.0]


def test_users_needed_is_the_textbook_number() -> None:
    expected = ((1.959964 + 0.841621) * 0.2 / 0.01) ** 2
    assert users_needed(0.01, 0.2, alpha=0.05, power=0.8, sides=2) == math.ceil(expected)
    assert users_needed(-0.01, 0.2, alpha=0.05, power=0.8, sides=2) == math.ceil(expected)
    assert users_needed(0.0, 0.2, alpha=0.05, power=0.8, sides=2) is None


def test_with_the_users_needed_the_chance_to_tell_is_the_power_asked_for() -> None:
    needed = users_needed(0.02, 0.3, alpha=0.05, power=0.9, sides=1)
    assert needed is not None
    assert chance_to_tell(0.02, 0.3, needed, alpha=0.05, sides=1) == pytest.approx(0.9, abs=0.001)
    assert chance_to_tell(0.0, 0.3, needed, alpha=0.05, sides=1) == pytest.approx(0.05)
    assert chance_to_tell(0.1, 0.0, 5, alpha=0.05, sides=2) == 1.0
