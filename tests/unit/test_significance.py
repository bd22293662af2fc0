"""Paired comparison of two rankings."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.metrics.significance import compare, compare_all


def test_compare_finds_no_effect_between_equal_rankings() -> None:
    values = np.random.default_rng(0).random(50)
    result = compare(values, values, seed=1, resamples=200)
    assert (result.effect, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert not result.significant


def test_compare_finds_a_clear_effect() -> None:
    generator = np.random.default_rng(0)
    reference = generator.random(400)
    result = compare(reference + 0.05 + 0.05 * generator.standard_normal(400), reference, seed=1, resamples=999)
    assert result.low < result.effect < result.high
    assert 0.04 < result.effect < 0.06
    assert result.p_value == pytest.approx(1 / 1000)
    assert result.significant


def test_compare_equals_the_exact_permutation_test_on_three_users() -> None:
    # Differences 1, 2, 3: of the 8 sign assignments two (all kept, all flipped) reach |sum| = 6.
    result = compare(np.array([1.0, 2.0, 3.0]), np.zeros(3), seed=3, resamples=20_000)
    assert result.effect == pytest.approx((1 + 2 + 3) / 3)
    assert result.p_value == pytest.approx(2 / 8, abs=0.015)


def test_compare_leaves_out_users_without_a_value_on_either_side() -> None:
    result = compare(np.array([1.0, np.nan, 0.5]), np.array([0.5, 0.1, np.nan]), seed=1, resamples=10)
    assert (result.users, result.effect) == (1, 0.5)


def test_compare_is_repeatable_and_turns_with_its_sides() -> None:
    generator = np.random.default_rng(5)
    one, other = generator.random(60), generator.random(60)
    assert compare(one, other, seed=9, resamples=500) == compare(one, other, seed=9, resamples=500)
    assert compare(one, other, seed=9, resamples=500).effect == pytest.approx(
        -compare(other, one, seed=9, resamples=500).effect
    )


def test_compare_all_gives_each_reference_what_it_gets_alone() -> None:
    generator = np.random.default_rng(8)
    challenger = np.where(generator.random(90) < 0.1, np.nan, generator.random(90))
    references = {name: generator.random(90) for name in ("one", "other")}
    references["sparse"] = np.where(generator.random(90) < 0.3, np.nan, generator.random(90))
    together = compare_all(challenger, references, seed=4, resamples=500)
    assert list(together) == list(references)
    assert together["sparse"].users < together["one"].users == together["other"].users
    for name, reference in references.items():
        alone = compare(challenger, reference, seed=4, resamples=500)
        assert (together[name].users, together[name].p_value) == (alone.users, alone.p_value)
        ends = (together[name].effect, together[name].low, together[name].high)
        assert ends == pytest.approx((alone.effect, alone.low, alone.high), abs=1e-12)


def test_interval_of_two_users_is_the_arithmetic_of_its_resamples() -> None:
    # Of two users with differences 0 and 1 the resampled mean is 0, 1/2 or 1, a quarter of the draws at either end.
    result = compare(np.array([0.0, 1.0]), np.zeros(2), seed=2, resamples=4_000, confidence=0.4)
    assert (result.low, result.high) == (1 / 2, 1 / 2)
    assert compare(np.array([0.0, 1.0]), np.zeros(2), seed=2, resamples=4_000).low == 0.0


def test_compare_refuses_what_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="paired"):
        compare(np.zeros(2), np.zeros(3), seed=1)
    with pytest.raises(DataError, match="no user"):
        compare(np.array([np.nan]), np.array([1.0]), seed=1)


@pytest.mark.parametrize("size", [40, 400])
def test_interval_holds_the_true_effect_about_as_often_as_it_says(size: int) -> None:
    generator = np.random.default_rng(11)
    inside = 0
    for trial in range(120):
        result = compare(generator.normal(0.1, 1.0, size), np.zeros(size), seed=trial, resamples=300)
        inside += result.low <= 0.1 <= result.high
    assert 0.88 * 120 <= inside <= 120
