"""Whatever the histories hold, every model gives finite scores that depend on the user's own history alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.models.base import Histories, Scoring
from tests.tiny_models import NUM_ITEMS, TinyShop

EVENTS = st.lists(st.tuples(st.integers(0, NUM_ITEMS - 1), st.floats(0, 400), st.floats(0.001, 1e6)), max_size=30)
CANDIDATES = st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=NUM_ITEMS, unique=True)


@cache
def models() -> dict[str, Scoring]:
    ranker = TinyShop().ranker()
    return {**ranker.signals.models(), ranker.name: ranker}


def histories_of(users: list[list[tuple[int, float, float]]]) -> Histories:
    rows = [(user, item, 400.0 - age, quantity) for user, events in enumerate(users) for item, age, quantity in events]
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    return Histories.from_events(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.float64),
        np.array(columns[3], np.float32),
        num_users=len(users),
        num_items=NUM_ITEMS,
        as_of=400.0,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=4), CANDIDATES)
def test_models_give_finite_scores_whatever_was_bought(
    users: list[list[tuple[int, float, float]]], candidates: list[int]
) -> None:
    histories, items = histories_of(users), np.array(sorted(candidates), np.int32)
    for name, model in models().items():
        scores = model.score(histories, items)
        assert scores.shape == (len(users), len(items)), name
        assert scores.dtype == np.float32, name
        assert np.isfinite(scores).all(), name


@settings(max_examples=25, deadline=None)
@given(EVENTS, EVENTS)
def test_models_score_a_user_alike_whoever_is_scored_beside(
    user: list[tuple[int, float, float]], neighbour: list[tuple[int, float, float]]
) -> None:
    items = np.arange(NUM_ITEMS, dtype=np.int32)
    for name, model in models().items():
        if name == "rank":
            continue
        alone = model.score(histories_of([user]), items)[0]
        beside = model.score(histories_of([neighbour, user]), items)[1]
        np.testing.assert_allclose(alone, beside, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(alone).max())))


@settings(max_examples=25, deadline=None)
@given(EVENTS)
def test_ranker_puts_every_bought_product_above_what_is_not_on_the_shortlist(
    user: list[tuple[int, float, float]],
) -> None:
    ranker = models()["rank"]
    scores = ranker.score(histories_of([user]), np.arange(NUM_ITEMS, dtype=np.int32))[0]
    bought = sorted({item for item, _, _ in user})
    assert (scores[bought] >= 0).all()
    assert (scores < 1).all()
