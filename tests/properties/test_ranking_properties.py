"""What holds for ranking metrics on any scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.metrics import ranking

Case = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Scores with many ties, relevance and exclusions of a few users and items."""
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = generator.integers(-3, 4, (users, items)).astype(np.float32) / 2
    return scores, generator.random((users, items)) < 0.4, generator.random((users, items)) < 0.3


@given(cases(), st.integers(1, 15))
@settings(deadline=None, max_examples=150)
def test_top_k_equals_a_stable_sort(case: Case, k: int) -> None:
    scores, _, excluded = case
    for row, top in enumerate(ranking.top_k(scores, k, excluded)):
        offered = [item for item in np.argsort(-scores[row], kind="stable") if not excluded[row, item]]
        assert top[top >= 0].tolist() == offered[:k]


@given(cases(), st.integers(1, 15))
@settings(deadline=None, max_examples=150)
def test_metrics_lie_between_nought_and_one(case: Case, k: int) -> None:
    ranked = ranking.rank_users(*case[:2], k, case[2])
    for metric in (ranking.ndcg, ranking.recall, ranking.average_precision):
        values = metric(ranked)
        assert (np.isnan(values) == (ranked.relevant == 0)).all()
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1 + 1e-12)).all()
    assert 0 <= ranking.coverage(ranked.top, case[0].shape[1]) <= 1


@given(cases(), st.integers(1, 14))
@settings(deadline=None, max_examples=150)
def test_recall_and_coverage_do_not_fall_as_k_grows(case: Case, k: int) -> None:
    fewer, more = (ranking.rank_users(*case[:2], places, case[2]) for places in (k, k + 1))
    assert (np.nan_to_num(ranking.recall(more)) >= np.nan_to_num(ranking.recall(fewer))).all()
    num_items = case[0].shape[1]
    assert ranking.coverage(more.top, num_items) >= ranking.coverage(fewer.top, num_items)


@given(cases(), st.integers(1, 15), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_metrics_do_not_depend_on_the_order_of_users_or_untied_items(case: Case, k: int, random: object) -> None:
    _, relevant, excluded = case
    generator = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    users, items = relevant.shape
    scores = generator.permuted(np.tile(np.arange(items, dtype=np.float32), (users, 1)), axis=1)
    by_user, by_item = generator.permutation(users), generator.permutation(items)
    straight = ranking.rank_users(scores, relevant, k, excluded)
    turned = ranking.rank_users(
        scores[by_user][:, by_item], relevant[by_user][:, by_item], k, excluded[by_user][:, by_item]
    )
    for metric in (ranking.ndcg, ranking.recall, ranking.average_precision):
        np.testing.assert_allclose(metric(turned), metric(straight)[by_user])
    assert ranking.coverage(turned.top, items) == ranking.coverage(straight.top, items)


@given(cases(), st.integers(1, 15))
@settings(deadline=None, max_examples=100)
def test_relevant_items_first_reach_one(case: Case, k: int) -> None:
    relevant = case[1]
    ranked = ranking.rank_users(relevant.astype(np.float32), relevant, k)
    has = ranked.relevant > 0
    np.testing.assert_allclose(ranking.ndcg(ranked)[has], 1.0)
    np.testing.assert_allclose(ranking.average_precision(ranked)[has], 1.0)
