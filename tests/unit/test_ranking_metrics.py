"""Ranking metrics: values written as arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.metrics import ranking


def _ranked(k: int = 3) -> ranking.RankedUsers:
    scores = np.array([[0.9, 0.1, 0.8, 0.7, 0.2], [0.5, 0.5, 0.5, 0.5, 0.5]], np.float32)
    relevant = np.array([[True, True, False, True, False], [False, False, False, False, False]])
    return ranking.rank_users(scores, relevant, k)


def test_ndcg_equals_the_arithmetic_of_its_definition() -> None:
    # User 0's ranking is 0, 2, 3: hits at places 1 and 3 of 3 relevant items.
    expected = (1 / math.log2(2) + 1 / math.log2(4)) / (1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4))
    assert ranking.ndcg(_ranked())[0] == pytest.approx(expected)


def test_ideal_counts_only_as_many_items_as_fit_in_k() -> None:
    # At k = 1 the one place is hit, so the ideal of min(1, 3) item is reached.
    assert ranking.ndcg(_ranked(k=1))[0] == pytest.approx(1.0)
    assert ranking.average_precision(_ranked(k=1))[0] == pytest.approx(1 / 1)
    assert ranking.recall(_ranked(k=1))[0] == pytest.approx(1 / 3)


def test_average_precision_and_recall_equal_their_arithmetic() -> None:
    assert ranking.average_precision(_ranked())[0] == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert ranking.recall(_ranked())[0] == pytest.approx(2 / 3)


def test_users_without_a_relevant_item_have_no_value() -> None:
    for metric in (ranking.ndcg, ranking.recall, ranking.average_precision):
        assert math.isnan(metric(_ranked())[1])
    assert ranking.mean(np.array([np.nan, 0.5, 0.25])) == pytest.approx((0.5 + 0.25) / 2)
    assert ranking.mean(np.array([np.nan])) is None


def test_equal_scores_are_ordered_by_id() -> None:
    scores = np.array([[1.0, 2.0, 1.0, -0.0, 0.0, 1.0]], np.float32)
    assert ranking.top_k(scores, 6).tolist() == [[1, 0, 2, 5, 3, 4]]


def test_negative_and_infinite_scores_keep_their_order() -> None:
    scores = np.array([[-np.inf, -2.0, -1.0, np.inf, -np.inf]], np.float32)
    assert ranking.top_k(scores, 5).tolist() == [[3, 2, 1, 0, 4]]


def test_excluded_items_are_neither_offered_nor_relevant() -> None:
    scores = np.array([[3.0, 2.0, 1.0]], np.float32)
    relevant = np.array([[True, True, False]])
    ranked = ranking.rank_users(scores, relevant, 3, excluded=np.array([[True, False, False]]))
    assert ranked.top.tolist() == [[1, 2, -1]]
    assert ranked.relevant.tolist() == [1]
    assert ranking.ndcg(ranked)[0] == pytest.approx(1.0)


def test_coverage_counts_distinct_offered_items() -> None:
    top = np.array([[0, 1, -1], [1, 2, -1]], np.int32)
    assert ranking.coverage(top, 6) == pytest.approx(3 / 6)


def test_scores_with_nan_are_refused_by_row() -> None:
    with pytest.raises(DataError, match="row 1"):
        ranking.top_k(np.array([[1.0], [np.nan]], np.float32), 1)


def test_top_k_equals_a_stable_sort_on_wide_rows_with_many_ties() -> None:
    generator = np.random.default_rng(4)
    scores = np.where(generator.random((6, 3000)) < 0.99, 0.0, generator.integers(-2, 3, (6, 3000))).astype(np.float32)
    scores[5] = -np.inf
    excluded = generator.random((6, 3000)) < 0.5
    excluded[4, 7:] = True
    for row, top in enumerate(ranking.top_k(scores, 10, excluded)):
        order = np.argsort(-scores[row], kind="stable")
        expected = order[~excluded[row, order]][:10]
        assert top.tolist() == [*expected, *[-1] * (10 - len(expected))]
